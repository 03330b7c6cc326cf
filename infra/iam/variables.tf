# Who may come in, and the names of what they may touch.

variable "region" {
  description = "AWS region of the service. The roles are good in this region only, as every ARN in their policies is of it."
  type        = string
}

variable "name" {
  description = "First part of the names of roles and policies."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,39}$", var.name))
    error_message = "The name has 1 to 40 letters, digits, hyphens or underscores."
  }
}

variable "tag_prefix" {
  description = "papyrus_tag_prefix of the inventory: begins the tags and the names of everything temporary."
  type        = string
  default     = "papyrus"

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9-]{0,18}$", var.tag_prefix)) && !startswith(lower(var.tag_prefix), "aws")
    error_message = "The prefix has 1 to 19 letters, digits or hyphens (<prefix>-smoke-<suffix> has at most 32), and does not begin with aws."
  }
}

# The service under verification

variable "service" {
  description = "Name of the ECS service. Only what is tagged with it may be changed or deleted."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,254}$", var.service))
    error_message = "One service by its name: a role for several, or for a pattern, could delete what is another's."
  }
}

variable "cluster" {
  description = "Name of the ECS cluster."
  type        = string
}

variable "task_family" {
  description = "Family of the service's task definition."
  type        = string
}

variable "container" {
  description = "Container that ECS Exec may reach."
  type        = string
}

variable "repository" {
  description = "Name of the ECR repository."
  type        = string
}

variable "base_repositories" {
  description = "ECR repositories of this account and region that base images are pulled from."
  type        = list(string)
  default     = []
}

variable "log_group" {
  description = "Log group of the app."
  type        = string
}

variable "task_role_arn" {
  description = "Task role of the service (output of 15-ecs); may be passed to ECS tasks."
  type        = string
}

variable "execution_role_arn" {
  description = "Execution role of the service (output of 15-ecs); may be passed to ECS tasks."
  type        = string
}

variable "db_instance" {
  description = "Identifier of the RDS instance."
  type        = string
}

variable "db_parameter_group" {
  description = "Name of its parameter group; * stands for any characters, as the group changes with the engine's version."
  type        = string
}

variable "db_secret_arn" {
  description = "Secret of the app's login."
  type        = string
}

variable "db_master_secret_arn" {
  description = "Secret of the owner's login, which the release role reads to bring the schema in order; null: it uses the app's."
  type        = string
  default     = null
}

# The network of the temporary load balancer

variable "vpc_id" {
  description = "VPC in which security groups may be made."
  type        = string
}

variable "subnet_ids" {
  description = "Subnets in which load balancers may be made."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 2
    error_message = "A load balancer needs two subnets; without any the role could make one anywhere."
  }
}

variable "alb_scheme" {
  description = "internet-facing or internal: the only scheme in which load balancers may be made."
  type        = string
  default     = "internet-facing"

  validation {
    condition     = contains(["internet-facing", "internal"], var.alb_scheme)
    error_message = "A scheme is internet-facing or internal."
  }
}

variable "tasks_sg_id" {
  description = "Security group of the tasks, to which a run adds its rule; null: no rule is added, none may be."
  type        = string
  default     = null
}

# Evidence

variable "ledger" {
  description = "Ledger in S3: bucket and prefix, without a slash at its end; null for a ledger in a folder."
  type        = object({ bucket = string, prefix = string })
  default     = null
}

variable "signing_key_arn" {
  description = "KMS key by which runs sign (an ARN, not an alias); null for another signer."
  type        = string
  default     = null
}

variable "exec_key_arn" {
  description = "KMS key of the cluster's ECS Exec sessions; null where they have none."
  type        = string
  default     = null
}

variable "audit_log_groups" {
  description = "Log groups that the export role may read; null: that of the app."
  type        = list(string)
  default     = null
}

variable "alarm_name" {
  description = "First part of the names of the permanent alarms and of their topic (papyrus_monitor_name); null: the service's name."
  type        = string
  default     = null
}

variable "drills" {
  description = "Whether alarm drills are run: the sweep role may then delete what they leave; it may always look for it."
  type        = bool
  default     = false
}

# Who may take the roles

variable "github_repository" {
  description = "Repository whose workflows may take the roles: owner/name."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", var.github_repository))
    error_message = "One repository as owner/name, without wildcards."
  }
}

variable "github_environments" {
  description = "Environment of the repository in which a job must run to take a role, by role."
  type = object({
    smoke   = string
    release = string
    export  = string
    sweep   = string
  })

  validation {
    condition     = alltrue([for name in values(var.github_environments) : can(regex("^[A-Za-z0-9_.-]{1,255}$", name))])
    error_message = "Environments by their names: letters, digits, dots, hyphens, underscores; no wildcards."
  }
}

variable "github_refs" {
  description = "Git references from which a job must run; empty only where the environment's own branch rules are to be enough."
  type        = list(string)
  default     = ["refs/heads/main"]

  validation {
    condition     = alltrue([for ref in var.github_refs : can(regex("^refs/(heads|tags)/[^*?$]+$", ref))])
    error_message = "References in full, such as refs/heads/main, without wildcards."
  }
}

variable "oidc_issuer" {
  description = "Issuer of the workflows' tokens, without https://."
  type        = string
  default     = "token.actions.githubusercontent.com"

  validation {
    condition     = can(regex("^[a-z0-9.-]+(/[A-Za-z0-9._/-]*[A-Za-z0-9_-])?$", var.oidc_issuer))
    error_message = "The issuer is a host, with a path perhaps, without https:// and without a slash at its end."
  }
}

variable "oidc_provider_arn" {
  description = "The account's provider for that issuer, where it has one (there can be one only); null: it is made here."
  type        = string
  default     = null
}

variable "oidc_thumbprints" {
  description = "Of the provider made here. IAM does not look at them for GitHub, but provider 3.39 wants one."
  type        = list(string)
  default     = ["ffffffffffffffffffffffffffffffffffffffff"]
}

variable "permissions_boundary" {
  description = "ARN of a policy that bounds each role, where the account demands one."
  type        = string
  default     = null
}

variable "session_seconds" {
  description = "Longest life of a session. A run asks for what it and its teardown need (B14), and a release is the longest."
  type        = number
  default     = 7200
}

variable "tags" {
  description = "Tags on everything, beside Stack."
  type        = map(string)
  default     = {}
}
