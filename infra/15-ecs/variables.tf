# What the service is made of.

variable "region" {
  description = "AWS region."
  type        = string
}

variable "cluster" {
  description = "Name of the ECS cluster."
  type        = string
}

variable "service" {
  description = "Name of the ECS service."
  type        = string
}

variable "task_family" {
  description = "Family of the task definition; names the log group /ecs/<family>, too."
  type        = string
}

variable "container" {
  description = "Name of the app's container."
  type        = string
}

variable "port" {
  description = "Port of the app."
  type        = number
}

variable "repository" {
  description = "Name of the ECR repository."
  type        = string
}

variable "image" {
  description = "Image of the app by digest, <repository url>@sha256:…; null only while nothing but the repository is applied."
  type        = string
  default     = null

  validation {
    condition     = var.image == null ? true : can(regex("@sha256:[0-9a-f]{64}$", var.image))
    error_message = "The image is named by its digest (…@sha256:…): a tag can be moved, a digest cannot."
  }
}

variable "db_secret_arn" {
  description = "ARN of the app's secret (output db_secret_arn of 10-rds); null only while nothing but the repository is applied."
  type        = string
  default     = null
}

variable "environment" {
  description = "Environment of the app's container."
  type        = map(string)
  default = {
    PGSSLMODE     = "verify-full"
    PGSSLROOTCERT = "/app/rds-ca.pem"
  }

  validation {
    condition     = contains(["require", "verify-ca", "verify-full"], lookup(var.environment, "PGSSLMODE", ""))
    error_message = "PGSSLMODE must be require, verify-ca or verify-full: the app never talks to its database in the clear."
  }
}

variable "subnet_ids" {
  description = "Subnets of the tasks (output public_subnet_ids of 00-network)."
  type        = list(string)
}

variable "ecs_tasks_sg_id" {
  description = "Security group of the tasks (output ecs_tasks_sg_id of 00-network)."
  type        = string
}

variable "assign_public_ip" {
  description = "Whether tasks get a public address: needed to pull the image where there is neither NAT nor VPC endpoints. Nothing can come in by it."
  type        = bool
  default     = true
}

variable "desired_count" {
  description = "Number of tasks."
  type        = number
  default     = 1
}

variable "cpu" {
  description = "CPU units of a task."
  type        = number
  default     = 256
}

variable "memory" {
  description = "Memory of a task in MiB."
  type        = number
  default     = 512
}

variable "task_role" {
  description = "Name of the role that the app has."
  type        = string
}

variable "execution_role" {
  description = "Name of the role that ECS has while it starts a task."
  type        = string
}

variable "health_check_interval" {
  description = "Seconds between two health checks of the container; the first one that passes lets a rollout go on."
  type        = number
  default     = 10

  validation {
    condition     = var.health_check_interval >= 5 && var.health_check_interval <= 300
    error_message = "ECS allows 5 to 300 seconds."
  }
}

variable "log_retention_days" {
  description = "Days that the app's log is kept."
  type        = number
  default     = 30
}

variable "alb_log_retention_days" {
  description = "Days that access logs of load balancers are kept."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags on everything, beside Stack."
  type        = map(string)
  default     = {}
}
