# Where the database is; nothing of who may log in.

output "db_instance" {
  description = "Identifier of the DB instance."
  value       = aws_db_instance.this.identifier
}

output "db_address" {
  description = "Host name of the endpoint."
  value       = aws_db_instance.this.address
}

output "db_port" {
  description = "Port of the endpoint."
  value       = aws_db_instance.this.port
}

output "db_master_username" {
  description = "Master user."
  value       = aws_db_instance.this.username
}

output "db_parameter_group" {
  description = "Parameter group with rds.force_ssl."
  value       = aws_db_parameter_group.this.name
}

output "db_sg_id" {
  description = "Security group of the database."
  value       = aws_security_group.rds.id
}

output "db_secret_arn" {
  description = "ARN of the secret that the app reads."
  value       = aws_secretsmanager_secret.db.arn
}
