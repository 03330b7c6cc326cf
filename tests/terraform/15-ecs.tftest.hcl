# Promises of the service (H1, H3, A6), with a provider that answers by itself.

mock_provider "aws" {
  mock_data "aws_iam_policy_document" {
    defaults = {
      json = "{}"
    }
  }
}

variables {
  region          = "us-west-2"
  cluster         = "papyrus-ecs-prd"
  service         = "papyrus-task-service"
  task_family     = "papyrus-task"
  container       = "app"
  port            = 5000
  repository      = "papyrus"
  image           = "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  db_secret_arn   = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf"
  subnet_ids      = ["subnet-a", "subnet-b"]
  ecs_tasks_sg_id = "sg-0123456789abcdef0"
  task_role       = "papyrusTaskRole"
  execution_role  = "papyrusTaskExecutionRole"
}

run "b3_exec_and_breaker" {
  command = plan

  assert {
    condition     = aws_ecs_service.app.enable_execute_command && aws_ecs_service.app.deployment_circuit_breaker[0].enable
    error_message = "ECS Exec is on, and a failing rollout goes back."
  }

  assert {
    condition     = aws_ecr_repository.app.image_tag_mutability == "IMMUTABLE"
    error_message = "A tag never moves."
  }
}

run "h3_log_bucket_is_closed_and_forgets" {
  command = plan

  assert {
    condition     = aws_s3_bucket_public_access_block.alb_logs.block_public_policy && aws_s3_bucket_public_access_block.alb_logs.restrict_public_buckets
    error_message = "The bucket is never public."
  }

  assert {
    condition     = aws_s3_bucket.alb_logs.lifecycle_rule[0].expiration[0].days == 30
    error_message = "Logs expire."
  }
}

run "f1_an_image_by_tag_is_refused" {
  command = plan
  variables {
    image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus:latest"
  }
  expect_failures = [var.image]
}

run "b13_plaintext_is_refused" {
  command = plan
  variables {
    environment = { PGSSLMODE = "prefer" }
  }
  expect_failures = [var.environment]
}

run "without_an_image_nothing_is_taken_away" {
  command = plan
  variables {
    image = null
  }
  expect_failures = [aws_ecs_task_definition.app]
}
