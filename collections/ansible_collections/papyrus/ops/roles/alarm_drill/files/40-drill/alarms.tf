# Run-scoped copies of permanent alarms: the same rule, the same actions, another place of the metric. A copy that looks at a load
# balancer looks at the temporary one; any other at a namespace that the drill itself fills.

locals {
  # By "<kind> <id>": where the copy finds its metric. The id is empty in an alarm of one metric.
  places = merge([
    for kind, alarm in var.alarms : {
      for metric in alarm.metrics : "${kind} ${metric.id}" => {
        namespace = startswith(kind, "alb-") ? metric.namespace : var.metric_namespace
        dimensions = merge(
          metric.dimensions,
          startswith(kind, "alb-") ? { LoadBalancer = one(module.alb[*].alb_arn_suffix) } : { Drill = local.suffix },
          contains(keys(metric.dimensions), "TargetGroup") ? { TargetGroup = one(module.alb[*].target_group_arn_suffix) } : {},
        )
      }
    }
  ]...)

  # An alarm of one metric names it itself; an alarm of an expression has queries.
  single = { for kind, alarm in var.alarms : kind => alarm.metrics[0] if length(alarm.expressions) == 0 }
}

resource "aws_cloudwatch_metric_alarm" "copy" {
  for_each = var.alarms

  alarm_name                = "${each.value.name}-drill-${local.suffix}"
  alarm_description         = substr("DRILL, no incident (run ${var.run_id}). A copy of ${each.value.name}: ${each.value.description}", 0, 1024)
  comparison_operator       = each.value.comparison_operator
  threshold                 = each.value.threshold
  evaluation_periods        = each.value.evaluation_periods
  datapoints_to_alarm       = each.value.datapoints_to_alarm
  treat_missing_data        = each.value.treat_missing_data
  actions_enabled           = each.value.actions_enabled
  alarm_actions             = each.value.alarm_actions
  ok_actions                = each.value.ok_actions
  insufficient_data_actions = each.value.insufficient_data_actions

  evaluate_low_sample_count_percentiles = each.value.evaluate_low_sample_count_percentiles

  namespace          = try(local.places["${each.key} "].namespace, null)
  dimensions         = try(local.places["${each.key} "].dimensions, null)
  metric_name        = try(local.single[each.key].metric_name, null)
  period             = try(local.single[each.key].period, null)
  statistic          = try(local.single[each.key].statistic, null)
  extended_statistic = try(local.single[each.key].extended_statistic, null)
  unit               = try(local.single[each.key].unit, null)

  dynamic "metric_query" {
    for_each = each.value.expressions
    content {
      id          = metric_query.value.id
      expression  = metric_query.value.expression
      label       = metric_query.value.label
      return_data = metric_query.value.return_data
    }
  }

  dynamic "metric_query" {
    for_each = length(each.value.expressions) == 0 ? [] : each.value.metrics
    content {
      id          = metric_query.value.id
      label       = metric_query.value.label
      return_data = metric_query.value.return_data

      metric {
        namespace   = local.places["${each.key} ${metric_query.value.id}"].namespace
        metric_name = metric_query.value.metric_name
        dimensions  = local.places["${each.key} ${metric_query.value.id}"].dimensions
        period      = metric_query.value.period
        stat        = coalesce(metric_query.value.statistic, metric_query.value.extended_statistic)
        unit        = metric_query.value.unit
      }
    }
  }
}

# Tells those who are on call that a drill begins, and that it is over: the drill sets its state. It never has data, and keeps
# the state that it has.
resource "aws_cloudwatch_metric_alarm" "announcement" {
  alarm_name          = "${var.alarm_name}-drill-${local.suffix}"
  alarm_description   = "DRILL, no incident (run ${var.run_id}). While this alarm rings, alarms of ${var.alarm_name} are rung on purpose, ${join(", ", var.rung)}: those of tasks are the permanent ones and do not say DRILL. Over when this is OK, at the latest at ${var.expires_at}."
  namespace           = var.metric_namespace
  metric_name         = "Announcement"
  dimensions          = { Drill = local.suffix }
  statistic           = "Maximum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  period              = 60
  evaluation_periods  = 1
  treat_missing_data  = "ignore"
  alarm_actions       = [var.topic_arn]
  ok_actions          = [var.topic_arn]

  # So that the drill hears its own announcement.
  depends_on = [aws_sns_topic_subscription.receiver]
}
