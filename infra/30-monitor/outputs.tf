# What drills, dashboards and other stacks need to know.

output "topic_arn" {
  description = "Topic that every alarm rings."
  value       = aws_sns_topic.alarms.arn
}

output "topic_key_arn" {
  description = "Key of the topic."
  value       = aws_kms_key.alarms.arn
}

output "alarm_names" {
  description = "Names of the alarms that there are, by kind."
  value = merge(
    {
      memory = aws_cloudwatch_metric_alarm.memory.alarm_name
      cpu    = aws_cloudwatch_metric_alarm.cpu.alarm_name
    },
    { for kind, alarm in aws_cloudwatch_metric_alarm.stop : kind => alarm.alarm_name },
    { for alarm in aws_cloudwatch_metric_alarm.alb_5xx : "alb-5xx" => alarm.alarm_name },
    { for alarm in aws_cloudwatch_metric_alarm.alb_latency : "alb-latency" => alarm.alarm_name },
  )
}

output "log_groups" {
  description = "Log groups with the events of stopped tasks, by kind."
  value       = { for kind, group in aws_cloudwatch_log_group.stop : kind => group.name }
}

output "rule_names" {
  description = "EventBridge rules, by kind."
  value       = { for kind, rule in aws_cloudwatch_event_rule.stop : kind => rule.name }
}

output "load_balancer" {
  description = "Load balancer that is watched; null for none."
  value       = var.load_balancer
}
