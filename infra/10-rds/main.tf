# The PostgreSQL that the app writes to: TLS only, reachable by the tasks only, its secret.
#
# The instance has no initial database (provider 3.x and 6.x name that argument differently): the playbook makes it.

locals {
  major = split(".", var.engine_version)[0]
}

resource "aws_security_group" "rds" {
  name        = "${var.identifier}-rds"
  description = "PostgreSQL of ${var.identifier}"
  vpc_id      = var.vpc_id
  tags        = { Name = "${var.identifier}-rds" }
}

resource "aws_security_group_rule" "rds_from_tasks" {
  type                     = "ingress"
  security_group_id        = aws_security_group.rds.id
  protocol                 = "tcp"
  from_port                = 5432
  to_port                  = 5432
  source_security_group_id = var.ecs_tasks_sg_id
  description              = "PostgreSQL from the ECS tasks"
}

resource "aws_security_group_rule" "rds_from_allowed" {
  count = length(var.db_allowed_cidrs) > 0 ? 1 : 0

  type              = "ingress"
  security_group_id = aws_security_group.rds.id
  protocol          = "tcp"
  from_port         = 5432
  to_port           = 5432
  cidr_blocks       = var.db_allowed_cidrs
  description       = "PostgreSQL from the allowlist of the inventory"
}

resource "aws_security_group_rule" "tasks_to_rds" {
  type                     = "egress"
  security_group_id        = var.ecs_tasks_sg_id
  protocol                 = "tcp"
  from_port                = 5432
  to_port                  = 5432
  source_security_group_id = aws_security_group.rds.id
  description              = "PostgreSQL of ${var.identifier}"
}

resource "aws_db_subnet_group" "this" {
  name        = var.identifier
  description = "Database subnets of ${var.identifier}"
  subnet_ids  = var.subnet_ids
}

resource "aws_db_parameter_group" "this" {
  name        = "${var.identifier}-pg${local.major}"
  family      = "postgres${local.major}"
  description = "TLS only"

  parameter {
    name         = "rds.force_ssl"
    value        = "1"
    apply_method = "immediate"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "this" {
  identifier     = var.identifier
  engine         = "postgres"
  engine_version = var.engine_version
  instance_class = var.instance_class

  allocated_storage = var.allocated_storage
  storage_type      = "gp3"
  storage_encrypted = true

  username = var.master_username
  password = var.master_password
  port     = 5432

  db_subnet_group_name   = aws_db_subnet_group.this.name
  parameter_group_name   = aws_db_parameter_group.this.name
  vpc_security_group_ids = [aws_security_group.rds.id]
  publicly_accessible    = false
  multi_az               = var.multi_az

  backup_retention_period    = var.backup_retention_period
  copy_tags_to_snapshot      = true
  auto_minor_version_upgrade = true
  apply_immediately          = true

  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = var.skip_final_snapshot
  final_snapshot_identifier = "${var.identifier}-final"
}

resource "aws_secretsmanager_secret" "db" {
  name                    = var.secret_name
  description             = "Where and as whom the app of ${var.identifier} logs in"
  recovery_window_in_days = var.secret_recovery_days
}
