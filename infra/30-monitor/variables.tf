# What is watched, when it rings, and who hears it.

variable "region" {
  description = "AWS region of the service."
  type        = string
}

variable "name" {
  description = "First part of the names of alarms, topic, rules and log groups; usually the service's."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,51}$", var.name))
    error_message = "The name has 1 to 52 letters, digits, hyphens or underscores: it begins the names of rules, which have at most 64."
  }
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
  description = "Family of the service's task definition. Tasks of <family>-drill-* are watched, too: those of an alarm drill."
  type        = string
}

variable "load_balancer" {
  description = "Load balancer as CloudWatch names it, app/<name>/<id>; null for none, then there are no alarms of one."
  type        = string
  default     = null

  validation {
    condition     = var.load_balancer == null ? true : can(regex("^app/[A-Za-z0-9-]{1,32}/[0-9a-f]+$", var.load_balancer))
    error_message = "A load balancer is named by the end of its ARN: app/<name>/<id>."
  }
}

variable "memory_percent" {
  description = "Memory of the service's tasks, in percent of what they reserve, above which it rings."
  type        = number
  default     = 80

  validation {
    condition     = var.memory_percent > 0 && var.memory_percent < 100
    error_message = "A percentage above 0 and below 100: at 100 the task is killed before anybody hears."
  }
}

variable "cpu_percent" {
  description = "CPU of the service's tasks, in percent of what they reserve, above which it rings."
  type        = number
  default     = 80

  validation {
    condition     = var.cpu_percent > 0 && var.cpu_percent < 100
    error_message = "A percentage above 0 and below 100."
  }
}

variable "alb_5xx_count" {
  description = "Answers with status 5xx a minute above which it rings."
  type        = number
  default     = 1

  validation {
    condition     = var.alb_5xx_count >= 0
    error_message = "A number of answers, 0 or more."
  }
}

variable "alb_latency_seconds" {
  description = "Seconds that one answer in ten may take before it rings."
  type        = number
  default     = 1.5

  validation {
    condition     = var.alb_latency_seconds > 0
    error_message = "A number of seconds above 0."
  }
}

variable "ignored_exit_codes" {
  description = "Exit codes of containers that are no failure. 143 belongs here when a sidecar ends by SIGTERM without handling it."
  type        = list(number)
  default     = [0]

  validation {
    condition     = contains(var.ignored_exit_codes, 0) && alltrue([for code in var.ignored_exit_codes : code >= 0 && code <= 255 && floor(code) == code])
    error_message = "Exit codes are whole numbers from 0 to 255, and 0 is one of those that are ignored."
  }
}

variable "treat_missing_data" {
  description = "What a minute without data means to each alarm; README.md says why the defaults are what they are."
  type = object({
    memory      = optional(string, "breaching")
    cpu         = optional(string, "missing")
    alb-5xx     = optional(string, "notBreaching")
    alb-latency = optional(string, "notBreaching")
    task-exit   = optional(string, "notBreaching")
    task-start  = optional(string, "notBreaching")
  })
  default = {}

  validation {
    condition     = alltrue([for way in values(var.treat_missing_data) : contains(["breaching", "notBreaching", "ignore", "missing"], way)])
    error_message = "Missing data are breaching, notBreaching, ignore or missing."
  }
}

# What is wrong with a value is said by topic.tf: an error of a validation here would quote the file with the endpoints.
variable "subscriptions" {
  description = "Who hears the topic: protocol (https, email, email-json, sms, sqs, lambda) and endpoint. Mail waits until it is confirmed by the link in it."
  type        = list(object({ protocol = string, endpoint = string }))
  default     = []
  sensitive   = true
}

variable "runbook_url" {
  description = "Where it says what to do when an alarm rings; goes into each message. null for none."
  type        = string
  default     = null
}

variable "metric_namespace" {
  description = "CloudWatch namespace of the counts of stopped tasks."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#:-]{1,255}$", var.metric_namespace)) && length(regexall("^AWS/", var.metric_namespace)) == 0
    error_message = "A namespace has letters, digits and ._/#:- and does not begin with AWS/."
  }
}

variable "log_resource_policy" {
  description = "Whether this stack makes the resource policy that lets EventBridge write. false where a policy of yours has it for /aws/events/* already: a region has room for ten."
  type        = bool
  default     = true
}

variable "log_retention_days" {
  description = "Days that the events of stopped tasks are kept."
  type        = number
  default     = 90
}

variable "key_deletion_days" {
  description = "Days between the deletion of the topic's key and its end."
  type        = number
  default     = 30
}

variable "tags" {
  description = "Tags on everything, beside Stack."
  type        = map(string)
  default     = {}
}
