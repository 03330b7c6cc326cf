# What one run says about its temporary ALB. None has a value of one account: a run writes them into its own tfvars.

variable "region" {
  description = "AWS region of the service under verification."
  type        = string
}

variable "name" {
  description = "Full name of the load balancer, target group and security group of this run, its suffix included."
  type        = string

  validation {
    condition     = length(var.name) <= 32 && can(regex("^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$", var.name))
    error_message = "A load balancer's name has at most 32 characters: letters, digits and hyphens, with no hyphen at either end."
  }

  validation {
    condition     = length(regexall("^internal-", var.name)) == 0
    error_message = "A load balancer's name may not begin with internal-, AWS reserves that."
  }
}

variable "service" {
  description = "ECS service under verification, for the tag <tag_prefix>:service."
  type        = string

  validation {
    condition     = length(trimspace(var.service)) > 0
    error_message = "The service must be named: nothing without its three tags is ever swept."
  }
}

variable "run_id" {
  description = "Run id, <UTC yyyymmddThhmmssZ>-<6 lower-case base32 characters>, for the tag <tag_prefix>:run-id."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{8}T[0-9]{6}Z-[a-z2-7]{6}$", var.run_id))
    error_message = "A run id looks like 20260131T120000Z-abc234."
  }
}

variable "expires_at" {
  description = "Time (RFC 3339, UTC) after which a sweeper may delete everything of this run, for the tag <tag_prefix>:expires-at."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$", var.expires_at))
    error_message = "The expiry is a UTC time such as 2026-01-31T13:00:00Z."
  }
}

variable "tag_prefix" {
  description = "First part of the three tags' keys."
  type        = string
  default     = "papyrus"

  validation {
    condition     = can(regex("^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$", var.tag_prefix)) && lower(substr(var.tag_prefix, 0, 3)) != "aws"
    error_message = "The tag prefix has 1 to 64 letters, digits, dots, underscores or hyphens and does not begin with aws."
  }
}

variable "vpc_id" {
  description = "VPC of the tasks."
  type        = string

  validation {
    condition     = can(regex("^vpc-[0-9a-z]+$", var.vpc_id))
    error_message = "The VPC is given by its id, vpc-…."
  }
}

variable "subnet_ids" {
  description = "Subnets of the load balancer: at least two, in different zones; public ones for an internet-facing one."
  type        = list(string)

  validation {
    condition     = length(distinct(var.subnet_ids)) >= 2
    error_message = "An application load balancer needs two subnets in two availability zones."
  }
}

variable "ecs_tasks_sg_id" {
  description = "Security group of the tasks. When given, it admits the load balancer on the app's port for the run; null leaves it alone."
  type        = string
  default     = null
}

variable "app_port" {
  description = "Port of the app in the task."
  type        = number

  validation {
    condition     = var.app_port >= 1 && var.app_port <= 65535
    error_message = "A port is a number from 1 to 65535."
  }
}

variable "scheme" {
  description = "internet-facing or internal."
  type        = string
  default     = "internet-facing"

  validation {
    condition     = contains(["internet-facing", "internal"], var.scheme)
    error_message = "The scheme is internet-facing or internal."
  }
}

variable "ingress_cidrs" {
  description = "IPv4 networks that may reach the load balancer, usually the runner's own address as a /32."
  type        = list(string)

  validation {
    condition     = length(var.ingress_cidrs) > 0
    error_message = "Name at least one network that may reach the load balancer, for example the runner's address as a /32."
  }

  validation {
    condition     = alltrue([for cidr in var.ingress_cidrs : can(regex("/([1-9]|[12][0-9]|3[0-2])$", cidr))])
    error_message = "Each network needs a prefix length from 1 to 32: the whole internet (0.0.0.0/0, ::/0) is refused."
  }

  validation {
    condition     = alltrue([for cidr in var.ingress_cidrs : try(cidrsubnet(cidr, 0, 0) == cidr, false)])
    error_message = "Each network is an IPv4 one written by its first address (203.0.113.0/24, not 203.0.113.7/24)."
  }
}

variable "certificate_arn" {
  description = "ACM certificate. When given, the listener is HTTPS on 443; null makes it HTTP on 80."
  type        = string
  default     = null
}

variable "ssl_policy" {
  description = "Security policy of an HTTPS listener."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-2021-06"
}

variable "alb_log_bucket" {
  description = "Bucket for access logs (stack 15-ecs makes one); null writes none."
  type        = string
  default     = null
}

variable "health_check" {
  description = "Health check of the target group. The defaults decide within seconds, as a smoke needs it."
  type = object({
    path                = optional(string, "/healthz")
    interval            = optional(number, 5)
    timeout             = optional(number, 3)
    healthy_threshold   = optional(number, 2)
    unhealthy_threshold = optional(number, 2)
    matcher             = optional(string, "200")
  })
  default = {}

  validation {
    condition     = can(regex("^/", var.health_check.path))
    error_message = "The path of the health check begins with a slash."
  }

  validation {
    condition = (
      var.health_check.interval >= 5 && var.health_check.interval <= 300 &&
      var.health_check.timeout >= 2 && var.health_check.timeout <= 120 &&
      var.health_check.timeout < var.health_check.interval
    )
    error_message = "The interval is 5 to 300 seconds, the timeout 2 to 120 seconds and shorter than the interval."
  }

  validation {
    condition = (
      var.health_check.healthy_threshold >= 2 && var.health_check.healthy_threshold <= 10 &&
      var.health_check.unhealthy_threshold >= 2 && var.health_check.unhealthy_threshold <= 10
    )
    error_message = "A threshold is 2 to 10 checks."
  }
}

variable "header_name" {
  description = "Header that requests of this run carry; everything without it gets 403."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9-]{0,39}$", var.header_name)) && lower(var.header_name) != "host"
    error_message = "A header's name has at most 40 letters, digits and hyphens, and is not Host."
  }
}

variable "header_value" {
  description = "Random value of that header. Letters and digits only: in a listener rule * and ? are wildcards."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9]{20,128}$", var.header_value))
    error_message = "The header's value is 20 to 128 random letters and digits."
  }
}

variable "idle_timeout" {
  description = "Seconds after which the load balancer closes a silent connection."
  type        = number
  default     = 60
}

variable "deregistration_delay" {
  description = "Seconds that a removed target may finish its requests in."
  type        = number
  default     = 5
}
