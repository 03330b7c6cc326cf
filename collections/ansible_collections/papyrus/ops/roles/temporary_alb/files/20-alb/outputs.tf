# What the rest of a run needs to know about its ALB; kept as evidence, so nothing here is secret.

output "alb_arn" {
  description = "ARN of the load balancer."
  value       = aws_lb.this.arn
}

output "alb_arn_suffix" {
  description = "Load balancer as CloudWatch names it."
  value       = aws_lb.this.arn_suffix
}

output "alb_dns_name" {
  description = "Name that AWS gave the load balancer."
  value       = aws_lb.this.dns_name
}

output "alb_zone_id" {
  description = "Hosted zone of that name, for an alias record."
  value       = aws_lb.this.zone_id
}

output "alb_sg_id" {
  description = "Security group of the load balancer."
  value       = aws_security_group.alb.id
}

output "listener_arn" {
  description = "ARN of the listener."
  value       = aws_lb_listener.this.arn
}

output "listener_rule_arn" {
  description = "ARN of the rule that forwards this run's requests."
  value       = aws_lb_listener_rule.run.arn
}

output "target_group_arn" {
  description = "ARN of the target group, for the targets to be registered in."
  value       = aws_lb_target_group.app.arn
}

output "target_group_arn_suffix" {
  description = "Target group as CloudWatch names it."
  value       = aws_lb_target_group.app.arn_suffix
}

output "url_scheme" {
  description = "http or https."
  value       = lower(aws_lb_listener.this.protocol)
}

output "url_port" {
  description = "Port of the listener."
  value       = aws_lb_listener.this.port
}

output "url" {
  description = "Where the run's requests go."
  value       = "${lower(aws_lb_listener.this.protocol)}://${aws_lb.this.dns_name}"
}
