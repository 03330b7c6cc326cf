# The service under verification: repository, cluster, task definition, service. Roles are in iam.tf, the log bucket in logs.tf.

data "aws_caller_identity" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id

  # JSON keys of the secret, by the variable that the app finds them in.
  secret_keys = {
    DB_HOST     = "host"
    DB_NAME     = "dbname"
    DB_PASSWORD = "password"
    DB_PORT     = "port"
    DB_USER     = "username"
  }
}

resource "aws_ecr_repository" "app" {
  name                 = var.repository
  image_tag_mutability = "IMMUTABLE"

  image_scanning_configuration {
    scan_on_push = true
  }
}

resource "aws_ecs_cluster" "this" {
  name = var.cluster

  setting {
    name  = "containerInsights"
    value = "enabled"
  }
}

resource "aws_cloudwatch_log_group" "app" {
  name              = "/ecs/${var.task_family}"
  retention_in_days = var.log_retention_days
}

resource "aws_ecs_task_definition" "app" {
  family                   = var.task_family
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = tostring(var.cpu)
  memory                   = tostring(var.memory)
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn

  container_definitions = jsonencode([
    {
      name      = var.container
      image     = var.image
      essential = true

      portMappings = [{ containerPort = var.port, hostPort = var.port, protocol = "tcp" }]

      environment = [for name in sort(keys(var.environment)) : { name = name, value = var.environment[name] }]
      secrets = [
        for name in sort(keys(local.secret_keys)) : {
          name      = name
          valueFrom = "${coalesce(var.db_secret_arn, "none")}:${local.secret_keys[name]}::"
        }
      ]

      # ECS does not see a temporary ALB: this alone tells it that the app no longer answers.
      healthCheck = {
        command     = ["CMD", "python", "-m", "papyrus.healthcheck"]
        interval    = var.health_check_interval
        timeout     = 5
        retries     = 3
        startPeriod = 30
      }

      # ECS Exec leaves processes behind that need an init to reap them; it also needs a writable root.
      linuxParameters        = { initProcessEnabled = true }
      readonlyRootFilesystem = false

      logConfiguration = {
        logDriver = "awslogs"
        options = {
          "awslogs-group"         = aws_cloudwatch_log_group.app.name
          "awslogs-region"        = var.region
          "awslogs-stream-prefix" = var.container
        }
      }

      mountPoints = []
      volumesFrom = []
    }
  ])

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = var.image != null && var.db_secret_arn != null
      error_message = "The service needs image and db_secret_arn. To apply the repository alone, target aws_ecr_repository.app."
    }
  }
}

resource "aws_ecs_service" "app" {
  name                               = var.service
  cluster                            = aws_ecs_cluster.this.id
  task_definition                    = aws_ecs_task_definition.app.arn
  desired_count                      = var.desired_count
  launch_type                        = "FARGATE"
  platform_version                   = "LATEST"
  enable_execute_command             = true
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  enable_ecs_managed_tags            = true
  propagate_tags                     = "SERVICE"
  wait_for_steady_state              = false

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [var.ecs_tasks_sg_id]
    assign_public_ip = var.assign_public_ip
  }

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  # Which revision runs is the business of releases, and of the playbook when this stack made a newer one.
  lifecycle {
    ignore_changes = [task_definition]
  }

  depends_on = [aws_iam_role_policy.execution, aws_iam_role_policy.task]
}
