# Promises of the drill's stack (I1), with a provider that answers by itself.

mock_provider "aws" {
  mock_data "aws_vpc" {
    defaults = {
      cidr_block = "10.20.0.0/16"
    }
  }
  mock_data "aws_iam_policy_document" {
    defaults = {
      json = "{}"
    }
  }
  mock_resource "aws_lb" {
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-drill-abc234/50dc6c495c0c9188"
      arn_suffix = "app/papyrus-drill-abc234/50dc6c495c0c9188"
      dns_name   = "papyrus-drill-abc234-1.us-west-2.elb.amazonaws.com"
    }
  }
  mock_resource "aws_lb_target_group" {
    defaults = {
      arn        = "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/papyrus-drill-abc234/73e2d6bc24d8a067"
      arn_suffix = "targetgroup/papyrus-drill-abc234/73e2d6bc24d8a067"
    }
  }
  mock_resource "aws_lb_listener" {
    defaults = {
      arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:listener/app/papyrus-drill-abc234/50dc6c495c0c9188/f2f7dc8efc522ab2"
    }
  }
  mock_resource "aws_security_group" {
    defaults = {
      id = "sg-0aaaaaaaaaaaaaaaa"
    }
  }
  mock_resource "aws_sqs_queue" {
    defaults = {
      arn = "arn:aws:sqs:us-west-2:123456789012:papyrus-drill-abc234"
      id  = "https://sqs.us-west-2.amazonaws.com/123456789012/papyrus-drill-abc234"
    }
  }
  mock_resource "aws_ecs_task_definition" {
    defaults = {
      arn = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task-drill-abc234:1"
    }
  }
}

variables {
  region           = "us-west-2"
  name             = "papyrus-drill-abc234"
  service          = "papyrus-task-service"
  run_id           = "20260131T120000Z-abc234"
  expires_at       = "2026-01-31T13:00:00Z"
  cluster          = "papyrus-ecs-prd"
  task_family      = "papyrus-task"
  alarm_name       = "papyrus-task-service"
  topic_arn        = "arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"
  metric_namespace = "papyrus/Drill"
  rung             = ["memory", "alb-5xx", "alb-latency", "task-exit"]
  vpc_id           = "vpc-0123456789abcdef0"
  subnet_ids       = ["subnet-a", "subnet-b"]
  app_port         = 5000
  ingress_cidrs    = ["203.0.113.7/32"]
  header_name      = "X-Papyrus-Run"
  header_value     = "abcdefghijklmnopqrstuvwxyz0123456789ABCD"

  running = {
    task_definition    = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7"
    image_repository   = "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus"
    execution_role_arn = "arn:aws:iam::123456789012:role/papyrusTaskExecutionRole"
    subnets            = ["subnet-c"]
    assign_public_ip   = false
    launch_type        = "FARGATE"
    platform_version   = "LATEST"
    capacity_providers = []
  }

  alarms = {
    memory = {
      name                      = "papyrus-task-service-memory"
      description               = "Memory is high."
      comparison_operator       = "GreaterThanThreshold"
      threshold                 = 80
      evaluation_periods        = 5
      datapoints_to_alarm       = 2
      treat_missing_data        = "breaching"
      actions_enabled           = true
      alarm_actions             = ["arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"]
      ok_actions                = ["arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"]
      insufficient_data_actions = []
      expressions               = []
      metrics = [{
        id          = ""
        namespace   = "AWS/ECS"
        metric_name = "MemoryUtilization"
        dimensions  = { ClusterName = "papyrus-ecs-prd", ServiceName = "papyrus-task-service" }
        period      = 60
        statistic   = "Average"
      }]
    }
    alb-latency = {
      name                      = "papyrus-task-service-alb-latency"
      description               = "Answers are slow."
      comparison_operator       = "GreaterThanThreshold"
      threshold                 = 1.5
      evaluation_periods        = 5
      datapoints_to_alarm       = 2
      treat_missing_data        = "notBreaching"
      actions_enabled           = true
      alarm_actions             = ["arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"]
      ok_actions                = ["arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"]
      insufficient_data_actions = []
      expressions               = []

      evaluate_low_sample_count_percentiles = "evaluate"

      metrics = [{
        id                 = ""
        namespace          = "AWS/ApplicationELB"
        metric_name        = "TargetResponseTime"
        dimensions         = { LoadBalancer = "app/permanent/1", TargetGroup = "targetgroup/permanent/1" }
        period             = 60
        extended_statistic = "p90"
      }]
    }
    alb-5xx = {
      name                      = "papyrus-task-service-alb-5xx"
      description               = "Answers are errors."
      comparison_operator       = "GreaterThanThreshold"
      threshold                 = 1
      evaluation_periods        = 5
      datapoints_to_alarm       = 2
      treat_missing_data        = "notBreaching"
      actions_enabled           = true
      alarm_actions             = ["arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"]
      ok_actions                = []
      insufficient_data_actions = []
      expressions = [{
        id          = "errors"
        expression  = "SUM([FILL(target, 0), FILL(balancer, 0)])"
        label       = "5xx"
        return_data = true
      }]
      metrics = [
        {
          id          = "target"
          namespace   = "AWS/ApplicationELB"
          metric_name = "HTTPCode_Target_5XX_Count"
          dimensions  = { LoadBalancer = "app/permanent/1" }
          period      = 60
          statistic   = "Sum"
          return_data = false
        },
        {
          id          = "balancer"
          namespace   = "AWS/ApplicationELB"
          metric_name = "HTTPCode_ELB_5XX_Count"
          dimensions  = { LoadBalancer = "app/permanent/1" }
          period      = 60
          statistic   = "Sum"
          return_data = false
        },
      ]
    }
  }
}

run "i1_a_copy_differs_by_its_place_alone" {
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.copy["memory"].alarm_name == "papyrus-task-service-memory-drill-abc234" &&
      aws_cloudwatch_metric_alarm.copy["memory"].namespace == "papyrus/Drill" &&
      aws_cloudwatch_metric_alarm.copy["memory"].dimensions == tomap({ ClusterName = "papyrus-ecs-prd", ServiceName = "papyrus-task-service", Drill = "abc234" })
    )
    error_message = "The copy of an alarm of the service looks at the drill's own data."
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.copy["memory"].threshold == 80 &&
      aws_cloudwatch_metric_alarm.copy["memory"].evaluation_periods == 5 &&
      aws_cloudwatch_metric_alarm.copy["memory"].datapoints_to_alarm == 2 &&
      aws_cloudwatch_metric_alarm.copy["memory"].treat_missing_data == "breaching" &&
      aws_cloudwatch_metric_alarm.copy["memory"].comparison_operator == "GreaterThanThreshold" &&
      aws_cloudwatch_metric_alarm.copy["memory"].statistic == "Average" &&
      aws_cloudwatch_metric_alarm.copy["memory"].metric_name == "MemoryUtilization" &&
      aws_cloudwatch_metric_alarm.copy["memory"].period == 60 &&
      aws_cloudwatch_metric_alarm.copy["memory"].alarm_actions == toset([var.topic_arn]) &&
      aws_cloudwatch_metric_alarm.copy["memory"].ok_actions == toset([var.topic_arn])
    )
    error_message = "Everything else of a copy is the permanent alarm's."
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.copy["alb-latency"].namespace == "AWS/ApplicationELB" &&
      aws_cloudwatch_metric_alarm.copy["alb-latency"].extended_statistic == "p90" &&
      aws_cloudwatch_metric_alarm.copy["alb-latency"].evaluate_low_sample_count_percentiles == "evaluate" &&
      aws_cloudwatch_metric_alarm.copy["alb-latency"].dimensions == tomap({ LoadBalancer = "app/papyrus-drill-abc234/50dc6c495c0c9188", TargetGroup = "targetgroup/papyrus-drill-abc234/73e2d6bc24d8a067" })
    )
    error_message = "The copy of an alarm of the load balancer looks at the temporary one."
  }

  assert {
    condition = alltrue([
      for query in aws_cloudwatch_metric_alarm.copy["alb-5xx"].metric_query : query.expression == "SUM([FILL(target, 0), FILL(balancer, 0)])" || alltrue([
        for metric in query.metric : metric.dimensions == tomap({ LoadBalancer = "app/papyrus-drill-abc234/50dc6c495c0c9188" }) && metric.stat == "Sum"
      ])
    ]) && length(aws_cloudwatch_metric_alarm.copy["alb-5xx"].metric_query) == 3
    error_message = "Each metric of an expression looks at the temporary load balancer, the expression stays."
  }

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.copy["alb-5xx"].ok_actions) == 0
    error_message = "What a permanent alarm lacks its copy lacks, too: the drill must not mend it."
  }
}

run "i1_whoever_reads_a_page_of_the_drill_is_told_so" {
  command = plan

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.copy : startswith(alarm.alarm_description, "DRILL, no incident (run 20260131T120000Z-abc234). A copy of ")])
    error_message = "The description of each copy says DRILL first."
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.announcement.alarm_name == "papyrus-task-service-drill-abc234" &&
      startswith(aws_cloudwatch_metric_alarm.announcement.alarm_description, "DRILL, no incident") &&
      strcontains(aws_cloudwatch_metric_alarm.announcement.alarm_description, "memory, alb-5xx, alb-latency, task-exit") &&
      aws_cloudwatch_metric_alarm.announcement.treat_missing_data == "ignore"
    )
    error_message = "The announcement names what rings, and keeps its state."
  }
}

run "i1_the_drills_task_is_the_running_revision_in_a_group_of_its_own" {
  assert {
    condition = (
      aws_ecs_service.app[0].task_definition == var.running.task_definition &&
      aws_ecs_service.app[0].network_configuration[0].security_groups == toset([aws_security_group.task[0].id]) &&
      aws_ecs_service.app[0].network_configuration[0].subnets == toset(["subnet-c"])
    )
    error_message = "The task is the service's own, in another security group."
  }

  assert {
    condition     = aws_security_group_rule.task_from_alb[0].type == "ingress" && aws_security_group_rule.task_from_alb[0].from_port == 5000 && aws_security_group_rule.task_from_alb[0].cidr_blocks == null
    error_message = "Only the temporary load balancer reaches the task."
  }

  assert {
    condition     = jsondecode(aws_ecs_task_definition.impossible.container_definitions)[0].image == "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:0000000000000000000000000000000000000000000000000000000000000000"
    error_message = "The impossible image has a digest of zeros."
  }

  assert {
    condition     = aws_ecs_task_definition.impossible.family == "papyrus-task-drill-abc234"
    error_message = "The rule of the permanent alarm knows the family by its beginning."
  }
}

run "i1_only_the_topic_writes_to_the_queue" {
  command = plan

  assert {
    condition = alltrue([
      for statement in data.aws_iam_policy_document.receiver.statement :
      anytrue([for condition in statement.condition : condition.variable == "aws:SourceArn" && tolist(condition.values) == tolist([var.topic_arn])])
    ])
    error_message = "The queue's policy names the topic."
  }
}

run "i1_no_load_balancer_where_no_alarm_of_one_is_drilled" {
  command = plan

  variables {
    alarms = {}
    rung   = ["task-exit"]
  }

  assert {
    condition     = length(module.alb) == 0 && length(aws_ecs_service.app) == 0 && length(aws_security_group.task) == 0 && output.url == null
    error_message = "A drill of tasks alone makes no load balancer."
  }
}

run "i1_the_namespace_of_aws_is_refused" {
  command = plan

  variables {
    metric_namespace = "AWS/ECS"
  }

  expect_failures = [var.metric_namespace]
}

run "i1_a_topic_is_named_by_its_arn" {
  command = plan

  variables {
    topic_arn = "papyrus-task-service-alarms"
  }

  expect_failures = [var.topic_arn]
}
