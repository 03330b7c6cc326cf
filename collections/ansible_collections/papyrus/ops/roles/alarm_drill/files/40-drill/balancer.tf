# The running image behind a temporary load balancer, in a security group that the database does not admit: what needs the database
# is slow and then fails. Only there when an alarm of a load balancer is drilled.
#
# The folder alb is a copy of 20-alb without its provider, so that it takes this stack's: whoever stages the stack puts it there.

module "alb" {
  source = "./alb"
  count  = local.with_alb ? 1 : 0

  region          = var.region
  name            = var.name
  service         = var.service
  run_id          = var.run_id
  expires_at      = var.expires_at
  tag_prefix      = var.tag_prefix
  vpc_id          = var.vpc_id
  subnet_ids      = var.subnet_ids
  app_port        = var.app_port
  scheme          = var.scheme
  ingress_cidrs   = var.ingress_cidrs
  certificate_arn = var.certificate_arn
  alb_log_bucket  = var.alb_log_bucket
  health_check    = var.health_check
  header_name     = var.header_name
  header_value    = var.header_value

  # The permanent tasks' group stays as it is.
  ecs_tasks_sg_id = null
}

resource "aws_security_group" "task" {
  count = local.with_alb ? 1 : 0

  # As every temporary name it ends with the suffix of the run.
  name        = replace(var.name, "/-${local.suffix}$/", "-task-${local.suffix}")
  description = local.rule_description
  vpc_id      = var.vpc_id

  # The task's network interface is deleted some time after it.
  timeouts {
    delete = "20m"
  }
}

resource "aws_security_group_rule" "task_from_alb" {
  count = local.with_alb ? 1 : 0

  type                     = "ingress"
  security_group_id        = aws_security_group.task[0].id
  protocol                 = "tcp"
  from_port                = var.app_port
  to_port                  = var.app_port
  source_security_group_id = module.alb[0].alb_sg_id
  description              = local.rule_description
}

# To the registry, the logs and the secret. The database's own group is what keeps the task out.
resource "aws_security_group_rule" "task_to_all" {
  count = local.with_alb ? 1 : 0

  type              = "egress"
  security_group_id = aws_security_group.task[0].id
  protocol          = "-1"
  from_port         = 0
  to_port           = 0
  cidr_blocks       = ["0.0.0.0/0"]
  description       = local.rule_description
}

resource "aws_ecs_service" "app" {
  count = local.with_alb ? 1 : 0

  name                               = var.name
  cluster                            = var.cluster
  task_definition                    = var.running.task_definition
  desired_count                      = 1
  launch_type                        = length(var.running.capacity_providers) == 0 ? var.running.launch_type : null
  platform_version                   = var.running.platform_version
  deployment_minimum_healthy_percent = 0
  deployment_maximum_percent         = 100
  propagate_tags                     = "SERVICE"
  wait_for_steady_state              = false

  dynamic "capacity_provider_strategy" {
    for_each = var.running.capacity_providers
    content {
      capacity_provider = capacity_provider_strategy.value.name
      weight            = capacity_provider_strategy.value.weight
      base              = capacity_provider_strategy.value.base
    }
  }

  network_configuration {
    subnets          = var.running.subnets
    security_groups  = [aws_security_group.task[0].id]
    assign_public_ip = var.running.assign_public_ip
  }

  depends_on = [aws_security_group_rule.task_to_all]
}
