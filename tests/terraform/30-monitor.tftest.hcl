# Promises of the alarms (H1, I1), with a provider that answers by itself.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = {
      account_id = "123456789012"
    }
  }

  mock_data "aws_partition" {
    defaults = {
      partition = "aws"
    }
  }

  mock_data "aws_iam_policy_document" {
    defaults = {
      json = "{}"
    }
  }

  mock_resource "aws_sns_topic" {
    override_during = plan
    defaults = {
      arn = "arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms"
    }
  }

  mock_resource "aws_kms_key" {
    override_during = plan
    defaults = {
      arn    = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
      key_id = "11111111-2222-3333-4444-555555555555"
    }
  }

  mock_resource "aws_cloudwatch_log_group" {
    override_during = plan
    defaults = {
      arn = "arn:aws:logs:us-west-2:123456789012:log-group:/aws/events/x"
    }
  }
}

variables {
  region           = "us-west-2"
  name             = "papyrus-task-service"
  cluster          = "papyrus-ecs-prd"
  service          = "papyrus-task-service"
  task_family      = "papyrus-task"
  metric_namespace = "papyrus/Monitor"
}

run "i1_memory_and_cpu_above_80_percent_in_2_of_5_minutes" {
  command = plan

  assert {
    condition = alltrue([
      for alarm in [aws_cloudwatch_metric_alarm.memory, aws_cloudwatch_metric_alarm.cpu] :
      alarm.namespace == "AWS/ECS" && alarm.statistic == "Average" && alarm.comparison_operator == "GreaterThanThreshold" &&
      alarm.threshold == 80 && alarm.period == 60 && alarm.evaluation_periods == 5 && alarm.datapoints_to_alarm == 2 &&
      alarm.dimensions == tomap({ ClusterName = "papyrus-ecs-prd", ServiceName = "papyrus-task-service" })
    ])
    error_message = "Memory and CPU ring above 80 % on average in 2 of 5 minutes."
  }

  assert {
    condition     = [aws_cloudwatch_metric_alarm.memory.metric_name, aws_cloudwatch_metric_alarm.cpu.metric_name] == ["MemoryUtilization", "CPUUtilization"]
    error_message = "Each looks at its own metric."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.memory.treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.cpu.treat_missing_data == "missing"
    error_message = "A service of which no task runs rings once."
  }
}

run "i1_without_a_load_balancer_nothing_of_one_is_watched" {
  command = plan

  assert {
    condition     = length(aws_cloudwatch_metric_alarm.alb_5xx) == 0 && length(aws_cloudwatch_metric_alarm.alb_latency) == 0
    error_message = "Alarms of a load balancer need one."
  }

  assert {
    condition     = output.alarm_names == { cpu = "papyrus-task-service-cpu", memory = "papyrus-task-service-memory", task-exit = "papyrus-task-service-task-exit", task-start = "papyrus-task-service-task-start" }
    error_message = "The other alarms are there all the same."
  }
}

run "i1_errors_and_slowness_of_the_named_load_balancer" {
  command = plan
  variables {
    load_balancer = "app/papyrus/50dc6c495c0c9188"
  }

  assert {
    condition     = { for query in aws_cloudwatch_metric_alarm.alb_5xx[0].metric_query : query.id => query.expression if coalesce(query.return_data, false) } == { errors = "SUM([FILL(target, 0), FILL(balancer, 0)])" }
    error_message = "5xx of the app and of the load balancer count together, whichever has data."
  }

  assert {
    condition = { for query in aws_cloudwatch_metric_alarm.alb_5xx[0].metric_query : query.id => one(query.metric).metric_name if query.id != "errors" } == {
      target   = "HTTPCode_Target_5XX_Count"
      balancer = "HTTPCode_ELB_5XX_Count"
    }
    error_message = "Both metrics are asked for."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.alb_5xx[0].threshold == 1 && aws_cloudwatch_metric_alarm.alb_5xx[0].datapoints_to_alarm == 2 && aws_cloudwatch_metric_alarm.alb_5xx[0].evaluation_periods == 5
    error_message = "5xx ring above 1 in 2 of 5 minutes."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.alb_latency[0].extended_statistic == "p90" && aws_cloudwatch_metric_alarm.alb_latency[0].threshold == 1.5 && aws_cloudwatch_metric_alarm.alb_latency[0].datapoints_to_alarm == 2 && aws_cloudwatch_metric_alarm.alb_latency[0].evaluation_periods == 5
    error_message = "p90 of the response time rings above 1.5 s in 2 of 5 minutes."
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.alb_5xx[0].treat_missing_data == "notBreaching" && aws_cloudwatch_metric_alarm.alb_latency[0].treat_missing_data == "notBreaching"
    error_message = "Without requests nothing is wrong."
  }

  assert {
    condition     = length(output.alarm_names) == 6
    error_message = "All six are there."
  }
}

run "i1_stopped_tasks_of_this_service_and_of_its_drills" {
  command = plan

  assert {
    condition = jsondecode(aws_cloudwatch_event_rule.stop["task-exit"].event_pattern).detail == {
      lastStatus = ["STOPPED"]
      clusterArn = ["arn:aws:ecs:us-west-2:123456789012:cluster/papyrus-ecs-prd"]
      taskDefinitionArn = [
        { prefix = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:" },
        { prefix = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task-drill-" },
      ]
      containers = { exitCode = [{ "anything-but" = [0] }] }
    }
    error_message = "Any exit code but 0 of this family, and of no other one that begins like it."
  }

  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.stop["task-start"].event_pattern).detail.stopCode == ["TaskFailedToStart"] && lookup(jsondecode(aws_cloudwatch_event_rule.stop["task-start"].event_pattern).detail, "containers", null) == null
    error_message = "A task that never ran has no exit code."
  }

  assert {
    condition = alltrue([
      for kind, alarm in aws_cloudwatch_metric_alarm.stop :
      alarm.threshold == 0 && alarm.statistic == "Sum" && alarm.evaluation_periods == 1 && alarm.treat_missing_data == "notBreaching" &&
      alarm.metric_name == one(aws_cloudwatch_log_metric_filter.stop[kind].metric_transformation).name &&
      alarm.namespace == one(aws_cloudwatch_log_metric_filter.stop[kind].metric_transformation).namespace
    ])
    error_message = "One such task rings, and the alarm counts what its filter gives."
  }
}

run "i1_every_alarm_tells_the_encrypted_topic_that_it_rings_and_that_it_is_over" {
  command = plan
  variables {
    load_balancer = "app/papyrus/50dc6c495c0c9188"
  }

  assert {
    condition = alltrue([
      for alarm in concat([aws_cloudwatch_metric_alarm.memory, aws_cloudwatch_metric_alarm.cpu], aws_cloudwatch_metric_alarm.alb_5xx,
      aws_cloudwatch_metric_alarm.alb_latency, values(aws_cloudwatch_metric_alarm.stop)) :
      alarm.alarm_actions == toset([aws_sns_topic.alarms.arn]) && alarm.ok_actions == toset([aws_sns_topic.alarms.arn]) && coalesce(alarm.actions_enabled, true)
    ])
    error_message = "Alarm and OK go to the topic."
  }

  assert {
    condition     = aws_sns_topic.alarms.kms_master_key_id == aws_kms_key.alarms.arn && aws_kms_key.alarms.enable_key_rotation
    error_message = "The topic has a key of its own: CloudWatch cannot use that of AWS."
  }
}

run "i1_endpoints_stay_out_of_names" {
  command = plan
  variables {
    subscriptions = [
      { protocol = "https", endpoint = "https://pager.example.com/key-0123456789" },
      { protocol = "email", endpoint = "oncall@example.com" },
    ]
  }

  assert {
    condition     = join(" ", keys(aws_sns_topic_subscription.alarms)) == "email-${substr(sha256("oncall@example.com"), 0, 8)} https-${substr(sha256("https://pager.example.com/key-0123456789"), 0, 8)}"
    error_message = "Each subscription is named by protocol and hash."
  }
}

run "i1_alarms_in_the_clear_are_refused" {
  command = plan
  variables {
    subscriptions = [{ protocol = "http", endpoint = "http://pager.example.com/" }]
  }
  expect_failures = [aws_sns_topic_subscription.alarms]
}

run "i1_a_name_that_rules_could_not_have_is_refused" {
  command = plan
  variables {
    name = "a-name-of-a-service-that-is-so-long-that-no-rule-bears-it"
  }
  expect_failures = [var.name]
}

run "i1_a_load_balancer_by_its_name_alone_is_refused" {
  command = plan
  variables {
    load_balancer = "papyrus"
  }
  expect_failures = [var.load_balancer]
}

run "i1_exit_code_0_is_never_a_failure" {
  command = plan
  variables {
    ignored_exit_codes = [143]
  }
  expect_failures = [var.ignored_exit_codes]
}

run "i1_missing_data_have_four_meanings" {
  command = plan
  variables {
    treat_missing_data = { memory = "fine" }
  }
  expect_failures = [var.treat_missing_data]
}

run "i1_thresholds_that_never_ring_are_refused" {
  command = plan
  variables {
    memory_percent      = 100
    cpu_percent         = 0
    alb_5xx_count       = -1
    alb_latency_seconds = 0
  }
  expect_failures = [var.memory_percent, var.cpu_percent, var.alb_5xx_count, var.alb_latency_seconds]
}

run "i1_the_log_policy_can_be_left_to_another_one" {
  command = plan
  variables {
    log_resource_policy = false
  }

  assert {
    condition     = length(aws_cloudwatch_log_resource_policy.events) == 0
    error_message = "A region has room for ten of them."
  }
}
