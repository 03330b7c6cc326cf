# What workflows need to take the roles.

output "role_arns" {
  description = "ARN of each role: smoke, release, export, sweep."
  value       = { for name, role in aws_iam_role.runner : name => role.arn }
}

output "oidc_provider_arn" {
  description = "Provider that the roles trust."
  value       = local.provider
}
