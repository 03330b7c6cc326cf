# Ids that the other stacks and the inventory use.

output "vpc_id" {
  description = "VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "Network of the VPC."
  value       = aws_vpc.this.cidr_block
}

output "public_subnet_ids" {
  description = "Subnets with a route to the internet gateway, one a zone: tasks and temporary load balancers."
  value       = aws_subnet.public[*].id
}

output "database_subnet_ids" {
  description = "Subnets with the local route alone, one a zone."
  value       = aws_subnet.database[*].id
}

output "ecs_tasks_sg_id" {
  description = "Security group of the tasks."
  value       = aws_security_group.ecs_tasks.id
}
