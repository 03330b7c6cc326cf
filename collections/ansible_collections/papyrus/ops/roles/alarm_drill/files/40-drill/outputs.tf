# What the drill needs to know; kept as evidence, so nothing here is secret. What is of the load balancer is null without one.

output "queue_url" {
  description = "Queue that hears the topic of the alarms."
  value       = aws_sqs_queue.receiver.id
}

output "subscription_arn" {
  description = "Subscription of the queue to the topic."
  value       = aws_sns_topic_subscription.receiver.arn
}

output "alarm_names" {
  description = "Names of the copies, by kind."
  value       = { for kind, alarm in aws_cloudwatch_metric_alarm.copy : kind => alarm.alarm_name }
}

output "announcement" {
  description = "Alarm that says that a drill is under way."
  value       = aws_cloudwatch_metric_alarm.announcement.alarm_name
}

output "impossible_task_definition" {
  description = "Task definition whose task cannot start."
  value       = aws_ecs_task_definition.impossible.arn
}

output "service" {
  description = "Service with the running image, behind the temporary load balancer."
  value       = one(aws_ecs_service.app[*].name)
}

output "task_sg_id" {
  description = "Security group of its task, which the database does not admit."
  value       = one(aws_security_group.task[*].id)
}

output "alb_arn" {
  description = "ARN of the load balancer."
  value       = one(module.alb[*].alb_arn)
}

output "alb_arn_suffix" {
  description = "Load balancer as CloudWatch names it."
  value       = one(module.alb[*].alb_arn_suffix)
}

output "alb_sg_id" {
  description = "Security group of the load balancer."
  value       = one(module.alb[*].alb_sg_id)
}

output "listener_arn" {
  description = "ARN of the listener."
  value       = one(module.alb[*].listener_arn)
}

output "target_group_arn" {
  description = "ARN of the target group, for the drill's task to be registered in."
  value       = one(module.alb[*].target_group_arn)
}

output "url" {
  description = "Where the drill's requests go."
  value       = one(module.alb[*].url)
}
