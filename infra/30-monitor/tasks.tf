# Tasks that stop by themselves or never start: EventBridge rule → log group → metric filter → alarm.

locals {
  cluster_arn = "arn:${local.partition}:ecs:${var.region}:${local.account_id}:cluster/${var.cluster}"

  # The family of the service, and those that a drill of its alarms makes for a while.
  task_definitions = [
    for family in ["${var.task_family}:", "${var.task_family}-drill-"] :
    { prefix = "arn:${local.partition}:ecs:${var.region}:${local.account_id}:task-definition/${family}" }
  ]

  # What happened, by kind, and what of a stopped task's event says so. A container that never started has no exit code,
  # so no task is in both.
  stops = {
    task-exit = {
      what   = "A container of ${var.task_family} ended with an exit code other than ${join(", ", var.ignored_exit_codes)}."
      detail = { containers = { exitCode = [{ "anything-but" = var.ignored_exit_codes }] } }
    }
    task-start = {
      what   = "A task of ${var.task_family} could not be started."
      detail = { stopCode = ["TaskFailedToStart"] }
    }
  }
}

resource "aws_cloudwatch_event_rule" "stop" {
  for_each = local.stops

  name        = "${var.name}-${each.key}"
  description = each.value.what

  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    account     = [local.account_id]
    detail = merge(each.value.detail, {
      lastStatus        = ["STOPPED"]
      clusterArn        = [local.cluster_arn]
      taskDefinitionArn = local.task_definitions
    })
  })
}

# The name has to begin with /aws/events/ for the console to show it as a rule's target.
resource "aws_cloudwatch_log_group" "stop" {
  for_each = local.stops

  name              = "/aws/events/${var.name}-${each.key}"
  retention_in_days = var.log_retention_days

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_cloudwatch_event_target" "stop" {
  for_each = local.stops

  rule      = aws_cloudwatch_event_rule.stop[each.key].name
  target_id = "log-group"
  arn       = aws_cloudwatch_log_group.stop[each.key].arn

  # Before it, events would be lost without a word.
  depends_on = [aws_cloudwatch_log_resource_policy.events]
}

data "aws_iam_policy_document" "events" {
  statement {
    sid       = "RulesOfThisAccountWrite"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = [for kind in keys(local.stops) : "${aws_cloudwatch_log_group.stop[kind].arn}:*"]

    principals {
      type        = "Service"
      identifiers = ["delivery.logs.amazonaws.com", "events.amazonaws.com"]
    }
  }
}

# CloudWatch Logs has room for ten of these in a region, so this is one for both groups, and it can be left out.
resource "aws_cloudwatch_log_resource_policy" "events" {
  count = var.log_resource_policy ? 1 : 0

  policy_name     = "${var.name}-events"
  policy_document = data.aws_iam_policy_document.events.json
}

resource "aws_cloudwatch_log_metric_filter" "stop" {
  for_each = local.stops

  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.stop[each.key].name
  pattern        = "{ $.detail.lastStatus = \"STOPPED\" }"

  metric_transformation {
    namespace = var.metric_namespace
    name      = "${var.name}-${each.key}"
    value     = "1"
  }
}

resource "aws_cloudwatch_metric_alarm" "stop" {
  for_each = local.stops

  alarm_name          = local.alarm_names[each.key]
  alarm_description   = "${each.value.what} The event is in ${aws_cloudwatch_log_group.stop[each.key].name}.${local.runbook}"
  namespace           = var.metric_namespace
  metric_name         = aws_cloudwatch_log_metric_filter.stop[each.key].name
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 1
  datapoints_to_alarm = 1
  treat_missing_data  = var.treat_missing_data[each.key]
  alarm_actions       = local.actions
  ok_actions          = local.actions

  lifecycle {
    prevent_destroy = true
  }
}
