# Names and ARNs that the playbooks and the inventory use.

output "repository_url" {
  description = "Where images are pushed to."
  value       = aws_ecr_repository.app.repository_url
}

output "cluster" {
  description = "Name of the cluster."
  value       = aws_ecs_cluster.this.name
}

output "service" {
  description = "Name of the service."
  value       = aws_ecs_service.app.name
}

output "task_definition_arn" {
  description = "Newest revision that this stack made; a release may have made newer ones."
  value       = aws_ecs_task_definition.app.arn
}

output "task_definition_revision" {
  description = "Its number."
  value       = aws_ecs_task_definition.app.revision
}

output "log_group" {
  description = "Log group of the app."
  value       = aws_cloudwatch_log_group.app.name
}

output "alb_log_bucket" {
  description = "Bucket for access logs of load balancers (prefix alb)."
  value       = aws_s3_bucket.alb_logs.bucket
}

output "task_role_arn" {
  description = "Role of the app."
  value       = aws_iam_role.task.arn
}

output "execution_role_arn" {
  description = "Role of ECS while it starts a task."
  value       = aws_iam_role.execution.arn
}
