# The alarms of a service. They stay up whether or not a load balancer is there; the topic that they ring is in topic.tf,
# what turns stopped tasks into metrics in tasks.tf.
#
# What must outlive every run has prevent_destroy: a destroy of this stack is refused as a whole, and so is a plan that
# would replace one of them. README.md says how the stack is taken down on purpose.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition

  # By kind; the alarm of a kind is called <name>-<kind>.
  alarm_names = {
    for kind in ["memory", "cpu", "alb-5xx", "alb-latency", "task-exit", "task-start"] : kind => "${var.name}-${kind}"
  }

  # The same for all: whoever hears that it rings hears that it is over, too. By way of the policy, as no alarm may ring
  # before it is let in.
  actions = [aws_sns_topic_policy.alarms.arn]

  # An alarm's message carries its description: what it means, and where it says what to do.
  runbook = var.runbook_url == null ? "" : " ${var.runbook_url}"

  alb_alarms = var.load_balancer == null ? 0 : 1
}

resource "aws_cloudwatch_metric_alarm" "memory" {
  alarm_name          = local.alarm_names["memory"]
  alarm_description   = "Memory of ${var.service} in ${var.cluster} is above ${var.memory_percent} % on average, or no task of it runs (no data).${local.runbook}"
  namespace           = "AWS/ECS"
  metric_name         = "MemoryUtilization"
  dimensions          = { ClusterName = var.cluster, ServiceName = var.service }
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.memory_percent
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 2
  treat_missing_data  = var.treat_missing_data.memory
  alarm_actions       = local.actions
  ok_actions          = local.actions

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_cloudwatch_metric_alarm" "cpu" {
  alarm_name          = local.alarm_names["cpu"]
  alarm_description   = "CPU of ${var.service} in ${var.cluster} is above ${var.cpu_percent} % on average.${local.runbook}"
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  dimensions          = { ClusterName = var.cluster, ServiceName = var.service }
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.cpu_percent
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 2
  treat_missing_data  = var.treat_missing_data.cpu
  alarm_actions       = local.actions
  ok_actions          = local.actions

  lifecycle {
    prevent_destroy = true
  }
}

# Errors of the app and errors that the load balancer makes itself (no target, time-out) are two metrics of which mostly
# only one has data; one alarm sees both.
resource "aws_cloudwatch_metric_alarm" "alb_5xx" {
  count = local.alb_alarms

  alarm_name          = local.alarm_names["alb-5xx"]
  alarm_description   = "Answers with status 5xx, by the app or by the load balancer for it, are more than ${var.alb_5xx_count} a minute.${local.runbook}"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alb_5xx_count
  evaluation_periods  = 5
  datapoints_to_alarm = 2
  treat_missing_data  = var.treat_missing_data["alb-5xx"]
  alarm_actions       = local.actions
  ok_actions          = local.actions

  metric_query {
    id          = "errors"
    expression  = "SUM([FILL(target, 0), FILL(balancer, 0)])"
    label       = "5xx of targets and load balancer"
    return_data = true
  }

  metric_query {
    id = "target"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_Target_5XX_Count"
      dimensions  = { LoadBalancer = var.load_balancer }
      period      = 60
      stat        = "Sum"
    }
  }

  metric_query {
    id = "balancer"

    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_ELB_5XX_Count"
      dimensions  = { LoadBalancer = var.load_balancer }
      period      = 60
      stat        = "Sum"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "alb_latency" {
  count = local.alb_alarms

  alarm_name          = local.alarm_names["alb-latency"]
  alarm_description   = "One answer in ten takes longer than ${var.alb_latency_seconds} s (p90 of TargetResponseTime).${local.runbook}"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "TargetResponseTime"
  dimensions          = { LoadBalancer = var.load_balancer }
  extended_statistic  = "p90"
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alb_latency_seconds
  period              = 60
  evaluation_periods  = 5
  datapoints_to_alarm = 2
  treat_missing_data  = var.treat_missing_data["alb-latency"]
  alarm_actions       = local.actions
  ok_actions          = local.actions

  # A quiet service has few answers a minute; ignoring such minutes would leave it unwatched.
  evaluate_low_sample_count_percentiles = "evaluate"
}
