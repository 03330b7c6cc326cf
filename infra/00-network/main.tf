# The VPC: public subnets for tasks and temporary load balancers, database subnets without a way out, the tasks' security group.
#
# Rules of shared security groups are resources of their own, never inline: so the rule that a temporary ALB adds for the
# time of a run is no drift of this stack.

locals {
  zones = coalesce(var.availability_zones, ["${var.region}a", "${var.region}b"])
}

resource "aws_vpc" "this" {
  cidr_block           = var.vpc_cidr
  enable_dns_support   = true
  enable_dns_hostnames = var.dns_hostnames
  tags                 = { Name = var.name }
}

resource "aws_subnet" "public" {
  count = length(local.zones)

  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 8, count.index)
  tags              = { Name = "${var.name}-public-${local.zones[count.index]}" }
}

resource "aws_subnet" "database" {
  count = length(local.zones)

  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(var.vpc_cidr, 8, 100 + count.index)
  tags              = { Name = "${var.name}-database-${local.zones[count.index]}" }
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = var.name }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count = length(aws_subnet.public)

  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

# Stays with the local route alone: what is in the database subnets neither reaches the internet nor is reached from it.
resource "aws_route_table" "database" {
  vpc_id = aws_vpc.this.id
  tags   = { Name = "${var.name}-database" }
}

resource "aws_route_table_association" "database" {
  count = length(aws_subnet.database)

  subnet_id      = aws_subnet.database[count.index].id
  route_table_id = aws_route_table.database.id
}

resource "aws_security_group" "ecs_tasks" {
  name        = "${var.name}-ecs-tasks"
  description = "Tasks of ${var.name}: no way in but a temporary ALB"
  vpc_id      = aws_vpc.this.id
  tags        = { Name = "${var.name}-ecs-tasks" }
}

# Image, secret, logs and ECS Exec are AWS APIs. The way to the database is opened by stack 10-rds.
resource "aws_security_group_rule" "ecs_tasks_to_https" {
  type              = "egress"
  security_group_id = aws_security_group.ecs_tasks.id
  protocol          = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_blocks       = ["0.0.0.0/0"]
  description       = "AWS APIs: ECR, Secrets Manager, CloudWatch Logs, ECS Exec"
}
