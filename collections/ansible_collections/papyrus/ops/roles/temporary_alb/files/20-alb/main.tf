# The temporary ALB of one run: who may reach it, whom it may reach, and the one rule that forwards.
#
# The load balancer itself takes the provider a minute of waiting, whatever AWS answers. So it depends on the security
# group alone: rules, target group and everything else are made beside it, and only the listener comes after it.

locals {
  listener_port = var.certificate_arn == null ? 80 : 443

  # Rules have no tags here (aws_security_group_rule): a sweeper finds them by this text, and knows by it whose they are.
  rule_description = "${var.tag_prefix} run ${var.run_id} until ${var.expires_at} of ${var.service}"
}

data "aws_vpc" "this" {
  count = var.ecs_tasks_sg_id == null ? 1 : 0
  id    = var.vpc_id
}

resource "aws_security_group" "alb" {
  name        = var.name
  description = local.rule_description
  vpc_id      = var.vpc_id

  # The ALB's network interfaces outlive it by minutes on AWS and hold the group.
  timeouts {
    delete = "20m"
  }
}

resource "aws_security_group_rule" "alb_from_runner" {
  type              = "ingress"
  security_group_id = aws_security_group.alb.id
  protocol          = "tcp"
  from_port         = local.listener_port
  to_port           = local.listener_port
  cidr_blocks       = var.ingress_cidrs
  description       = local.rule_description
}

resource "aws_security_group_rule" "alb_to_tasks" {
  type                     = "egress"
  security_group_id        = aws_security_group.alb.id
  protocol                 = "tcp"
  from_port                = var.app_port
  to_port                  = var.app_port
  source_security_group_id = var.ecs_tasks_sg_id
  cidr_blocks              = var.ecs_tasks_sg_id == null ? [data.aws_vpc.this[0].cidr_block] : null
  description              = local.rule_description
}

resource "aws_security_group_rule" "tasks_from_alb" {
  count = var.ecs_tasks_sg_id == null ? 0 : 1

  type                     = "ingress"
  security_group_id        = var.ecs_tasks_sg_id
  protocol                 = "tcp"
  from_port                = var.app_port
  to_port                  = var.app_port
  source_security_group_id = aws_security_group.alb.id
  description              = local.rule_description
}

resource "aws_lb" "this" {
  name                       = var.name
  internal                   = var.scheme == "internal"
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.alb.id]
  subnets                    = var.subnet_ids
  idle_timeout               = var.idle_timeout
  drop_invalid_header_fields = true
  enable_deletion_protection = false

  dynamic "access_logs" {
    for_each = var.alb_log_bucket == null ? [] : [var.alb_log_bucket]
    content {
      bucket  = access_logs.value
      prefix  = "alb"
      enabled = true
    }
  }
}

resource "aws_lb_target_group" "app" {
  name                 = var.name
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = var.app_port
  vpc_id               = var.vpc_id
  deregistration_delay = var.deregistration_delay

  health_check {
    protocol            = "HTTP"
    path                = var.health_check.path
    interval            = var.health_check.interval
    timeout             = var.health_check.timeout
    healthy_threshold   = var.health_check.healthy_threshold
    unhealthy_threshold = var.health_check.unhealthy_threshold
    matcher             = var.health_check.matcher
  }

  # The provider tags it by a second call. A kill between the two leaves it bare: by the group of its name, which is there
  # before and after it, a sweeper knows whose it is.
  depends_on = [aws_security_group.alb]
}

resource "aws_lb_listener" "this" {
  load_balancer_arn = aws_lb.this.arn
  port              = local.listener_port
  protocol          = var.certificate_arn == null ? "HTTP" : "HTTPS"
  certificate_arn   = var.certificate_arn
  ssl_policy        = var.certificate_arn == null ? null : var.ssl_policy

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "text/plain"
      message_body = "Forbidden"
      status_code  = "403"
    }
  }
}

resource "aws_lb_listener_rule" "run" {
  listener_arn = aws_lb_listener.this.arn
  priority     = 1

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.app.arn
  }

  condition {
    http_header {
      http_header_name = var.header_name
      values           = [var.header_value]
    }
  }
}
