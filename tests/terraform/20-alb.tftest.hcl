# Promises of the temporary ALB (C1-C3, C8), with a provider that answers by itself.

mock_provider "aws" {
  mock_data "aws_vpc" {
    defaults = {
      cidr_block = "10.20.0.0/16"
    }
  }
}

variables {
  region          = "us-west-2"
  name            = "papyrus-smoke-abc234"
  service         = "papyrus-task-service"
  run_id          = "20260131T120000Z-abc234"
  expires_at      = "2026-01-31T13:00:00Z"
  vpc_id          = "vpc-0123456789abcdef0"
  subnet_ids      = ["subnet-a", "subnet-b"]
  ecs_tasks_sg_id = "sg-0123456789abcdef0"
  app_port        = 5000
  ingress_cidrs   = ["203.0.113.7/32"]
  header_name     = "X-Papyrus-Run"
  header_value    = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"
}

run "c1_only_the_runs_header_is_forwarded" {
  command = plan

  assert {
    condition     = aws_lb_listener.this.default_action[0].type == "fixed-response" && aws_lb_listener.this.default_action[0].fixed_response[0].status_code == "403"
    error_message = "The default action must refuse."
  }

  assert {
    condition = alltrue([
      for condition in aws_lb_listener_rule.run.condition : alltrue([
        for header in condition.http_header : header.http_header_name == "X-Papyrus-Run" && header.values == toset([var.header_value])
      ])
    ])
    error_message = "The rule must forward by the run's header."
  }

  assert {
    condition     = aws_lb_listener.this.port == 80 && aws_lb_listener.this.protocol == "HTTP" && aws_lb.this.internal == false
    error_message = "Without a certificate the listener is HTTP on 80, the load balancer internet-facing."
  }
}

run "c1_only_the_given_networks_and_the_tasks" {
  command = plan

  assert {
    condition     = aws_security_group_rule.alb_from_runner.cidr_blocks == tolist(["203.0.113.7/32"]) && aws_security_group_rule.alb_from_runner.from_port == 80
    error_message = "Only the given networks may come in, on the listener's port."
  }

  assert {
    condition     = aws_security_group_rule.alb_to_tasks.source_security_group_id == var.ecs_tasks_sg_id && aws_security_group_rule.alb_to_tasks.cidr_blocks == null
    error_message = "The load balancer may reach the tasks' group only."
  }

  assert {
    condition     = aws_security_group_rule.alb_to_tasks.from_port == 5000 && aws_security_group_rule.alb_to_tasks.to_port == 5000
    error_message = "The load balancer may reach the app's port only."
  }
}

run "c1_names_and_descriptions_carry_the_run" {
  command = plan

  assert {
    condition     = aws_lb.this.name == var.name && aws_lb_target_group.app.name == var.name && aws_security_group.alb.name == var.name
    error_message = "Every name is the one that was given."
  }

  assert {
    condition = alltrue([
      for description in [
        aws_security_group_rule.alb_from_runner.description,
        aws_security_group_rule.alb_to_tasks.description,
        aws_security_group_rule.tasks_from_alb[0].description,
        aws_security_group.alb.description,
      ] : description == "papyrus run 20260131T120000Z-abc234 until 2026-01-31T13:00:00Z of papyrus-task-service"
    ])
    error_message = "What cannot be tagged must carry the run in its description."
  }
}

run "c3_no_rule_on_the_tasks_without_their_group" {
  command = plan

  variables {
    ecs_tasks_sg_id = null
  }

  assert {
    condition     = length(aws_security_group_rule.tasks_from_alb) == 0
    error_message = "Without the tasks' group nothing is added to it."
  }

  assert {
    condition     = aws_security_group_rule.alb_to_tasks.cidr_blocks == tolist(["10.20.0.0/16"])
    error_message = "Without the tasks' group the load balancer may reach the VPC only."
  }
}

run "c3_one_rule_on_the_tasks_with_their_group" {
  command = plan

  assert {
    condition     = aws_security_group_rule.tasks_from_alb[0].security_group_id == var.ecs_tasks_sg_id && aws_security_group_rule.tasks_from_alb[0].from_port == 5000
    error_message = "The tasks' group admits the load balancer on the app's port."
  }
}

run "c1_https_with_a_certificate" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/00000000-0000-4000-8000-000000000000"
    scheme          = "internal"
  }

  assert {
    condition     = aws_lb_listener.this.port == 443 && aws_lb_listener.this.protocol == "HTTPS" && aws_lb_listener.this.ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    error_message = "With a certificate the listener is HTTPS on 443 with a current policy."
  }

  assert {
    condition     = aws_security_group_rule.alb_from_runner.from_port == 443 && aws_lb.this.internal
    error_message = "The group admits the listener's port; internal means internal."
  }
}

run "h3_access_logs_only_when_a_bucket_is_given" {
  command = plan

  variables {
    alb_log_bucket = "logs"
  }

  assert {
    condition     = aws_lb.this.access_logs[0].bucket == "logs" && aws_lb.this.access_logs[0].enabled
    error_message = "Access logs go to the given bucket."
  }
}

run "health_check_takes_single_values" {
  command = plan

  variables {
    health_check = { path = "/ready", interval = 10 }
  }

  assert {
    condition     = aws_lb_target_group.app.health_check[0].path == "/ready" && aws_lb_target_group.app.health_check[0].timeout == 3
    error_message = "What is not said keeps its default."
  }
}

run "c8_name_of_33_characters_is_refused" {
  command = plan
  variables {
    name = "papyrus-smoke-1234567890123-abc234"
  }
  expect_failures = [var.name]
}

run "name_with_a_hyphen_at_the_end_is_refused" {
  command = plan
  variables {
    name = "papyrus-smoke-"
  }
  expect_failures = [var.name]
}

run "name_that_aws_reserves_is_refused" {
  command = plan
  variables {
    name = "internal-smoke-abc234"
  }
  expect_failures = [var.name]
}

run "no_networks_are_refused" {
  command = plan
  variables {
    ingress_cidrs = []
  }
  expect_failures = [var.ingress_cidrs]
}

run "the_internet_is_refused" {
  command = plan
  variables {
    ingress_cidrs = ["203.0.113.7/32", "0.0.0.0/0"]
  }
  expect_failures = [var.ingress_cidrs]
}

run "the_internet_spelled_otherwise_is_refused" {
  command = plan
  variables {
    ingress_cidrs = ["203.0.113.7/00"]
  }
  expect_failures = [var.ingress_cidrs]
}

run "the_ipv6_internet_is_refused" {
  command = plan
  variables {
    ingress_cidrs = ["::/0"]
  }
  expect_failures = [var.ingress_cidrs]
}

run "a_network_not_written_by_its_first_address_is_refused" {
  command = plan
  variables {
    ingress_cidrs = ["203.0.113.7/24"]
  }
  expect_failures = [var.ingress_cidrs]
}

run "one_subnet_is_refused" {
  command = plan
  variables {
    subnet_ids = ["subnet-a", "subnet-a"]
  }
  expect_failures = [var.subnet_ids]
}

run "an_empty_vpc_is_refused" {
  command = plan
  variables {
    vpc_id = ""
  }
  expect_failures = [var.vpc_id]
}

run "a_header_with_wildcards_is_refused" {
  command = plan
  variables {
    header_value = "****************************************"
  }
  expect_failures = [var.header_value]
}

run "a_run_without_an_id_is_refused" {
  command = plan
  variables {
    run_id = "today"
  }
  expect_failures = [var.run_id]
}

run "a_lease_without_an_end_is_refused" {
  command = plan
  variables {
    expires_at = "never"
  }
  expect_failures = [var.expires_at]
}

run "a_timeout_as_long_as_the_interval_is_refused" {
  command = plan
  variables {
    health_check = { interval = 5, timeout = 5 }
  }
  expect_failures = [var.health_check]
}

run "an_unknown_scheme_is_refused" {
  command = plan
  variables {
    scheme = "public"
  }
  expect_failures = [var.scheme]
}
