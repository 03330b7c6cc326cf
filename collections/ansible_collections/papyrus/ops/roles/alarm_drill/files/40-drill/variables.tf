# What one run says about its drill. Those of the load balancer are those of 20-alb, which checks them.

variable "region" {
  description = "AWS region of the service."
  type        = string
}

variable "name" {
  description = "Full name of this run's load balancer, groups, queue and service, its suffix included."
  type        = string
}

variable "service" {
  description = "ECS service whose alarms are drilled, for the tag <tag_prefix>:service."
  type        = string

  validation {
    condition     = length(trimspace(var.service)) > 0
    error_message = "The service must be named: nothing without its three tags is ever swept."
  }
}

variable "run_id" {
  description = "Run id, for the tag <tag_prefix>:run-id; its last six characters end every name."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{6}$", var.run_id))
    error_message = "A run id looks like 20260131T120000Z-abc234."
  }
}

variable "expires_at" {
  description = "Time (RFC 3339, UTC) after which a sweeper may delete everything of this run."
  type        = string
}

variable "tag_prefix" {
  description = "First part of the three tags' keys."
  type        = string
  default     = "papyrus"
}

variable "cluster" {
  description = "ECS cluster of the service."
  type        = string
}

variable "task_family" {
  description = "Family of the service's task definitions; that of the task that cannot start begins so."
  type        = string
}

variable "alarm_name" {
  description = "What the names of the permanent alarms begin with."
  type        = string
}

variable "topic_arn" {
  description = "Topic that the permanent alarms ring."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", var.topic_arn))
    error_message = "The topic is given by its ARN."
  }
}

variable "metric_namespace" {
  description = "Namespace of the metric data that the drill puts."
  type        = string

  validation {
    condition     = length(regexall("^AWS/", var.metric_namespace)) == 0
    error_message = "Namespaces that begin with AWS/ belong to AWS."
  }
}

variable "rung" {
  description = "Kinds of the alarms that the drill rings, for the announcement."
  type        = list(string)
}

variable "alarms" {
  description = "The permanent alarms to be copied as AWS has them, by kind. Kinds that begin with alb- look at the temporary load balancer."
  type = map(object({
    name                      = string
    description               = string
    comparison_operator       = string
    threshold                 = number
    evaluation_periods        = number
    datapoints_to_alarm       = number
    treat_missing_data        = string
    actions_enabled           = bool
    alarm_actions             = list(string)
    ok_actions                = list(string)
    insufficient_data_actions = list(string)

    evaluate_low_sample_count_percentiles = optional(string)

    metrics = list(object({
      id                 = string
      namespace          = string
      metric_name        = string
      dimensions         = map(string)
      period             = number
      statistic          = optional(string)
      extended_statistic = optional(string)
      unit               = optional(string)
      label              = optional(string)
      return_data        = optional(bool)
    }))

    expressions = list(object({
      id          = string
      expression  = string
      label       = optional(string)
      return_data = bool
    }))
  }))
}

variable "running" {
  description = "What serves now: task definition, image and network of the service's tasks."
  type = object({
    task_definition    = string
    image_repository   = string
    execution_role_arn = optional(string)
    subnets            = list(string)
    assign_public_ip   = bool
    launch_type        = optional(string)
    platform_version   = optional(string)
    capacity_providers = list(object({ name = string, weight = number, base = number }))
  })
}

variable "vpc_id" {
  description = "VPC of the tasks."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets of the load balancer."
  type        = list(string)
}

variable "app_port" {
  description = "Port of the app in the task."
  type        = number
}

variable "scheme" {
  description = "internet-facing or internal."
  type        = string
  default     = "internet-facing"
}

variable "ingress_cidrs" {
  description = "IPv4 networks that may reach the load balancer."
  type        = list(string)
}

variable "certificate_arn" {
  description = "ACM certificate of an HTTPS listener; null for HTTP."
  type        = string
  default     = null
}

variable "alb_log_bucket" {
  description = "Bucket for access logs; null writes none."
  type        = string
  default     = null
}

variable "health_check" {
  description = "Health check of the target group, as in 20-alb."
  type        = any
  default     = {}
}

variable "header_name" {
  description = "Header that requests of this run carry."
  type        = string
}

variable "header_value" {
  description = "Random value of that header."
  type        = string
  sensitive   = true
}
