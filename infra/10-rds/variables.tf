# What the database is made of. The master password comes from a tfvars file of mode 0600 and lies in this stack's state.

variable "region" {
  description = "AWS region."
  type        = string
}

variable "identifier" {
  description = "Identifier of the DB instance, and first part of every other name."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the database (output vpc_id of 00-network)."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the database, in two zones (output database_subnet_ids of 00-network)."
  type        = list(string)
}

variable "ecs_tasks_sg_id" {
  description = "Security group of the tasks, the one that 5432 is open to (output ecs_tasks_sg_id of 00-network)."
  type        = string
}

variable "db_allowed_cidrs" {
  description = "Networks beside the tasks that may reach 5432, for example a bastion's address. Empty: tasks only."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.db_allowed_cidrs : can(regex("/(1[6-9]|2[0-9]|3[0-2])$", cidr)) && can(cidrhost(cidr, 0))])
    error_message = "Each network is an IPv4 one of at most a /16."
  }
}

variable "engine_version" {
  description = "PostgreSQL version, major or major.minor; rds.force_ssl exists from 11 on."
  type        = string
  default     = "17"
}

variable "instance_class" {
  description = "Class of the DB instance."
  type        = string
  default     = "db.t4g.micro"
}

variable "allocated_storage" {
  description = "Storage in GiB."
  type        = number
  default     = 20
}

variable "multi_az" {
  description = "Whether a standby is kept in the second zone."
  type        = bool
  default     = false
}

variable "backup_retention_period" {
  description = "Days of automatic backups."
  type        = number
  default     = 7
}

variable "deletion_protection" {
  description = "Whether AWS refuses to delete the instance."
  type        = bool
  default     = true
}

variable "skip_final_snapshot" {
  description = "Whether the instance may be deleted without a last snapshot."
  type        = bool
  default     = false
}

variable "master_username" {
  description = "Master user: makes the database and the app's role, and is used for nothing else."
  type        = string
  default     = "papyrus_admin"
}

variable "master_password" {
  description = "Password of the master user."
  type        = string
  sensitive   = true
}

variable "secret_name" {
  description = "Secrets Manager secret that the app reads. Its value is written by the playbook, not by Terraform."
  type        = string
}

variable "secret_recovery_days" {
  description = "Days in which a deleted secret can be restored; 0 deletes at once."
  type        = number
  default     = 7
}

variable "tags" {
  description = "Tags on everything, beside Stack."
  type        = map(string)
  default     = {}
}
