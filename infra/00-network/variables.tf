# What the network is made of.

variable "region" {
  description = "AWS region."
  type        = string
}

variable "name" {
  description = "Name of the VPC, and first part of every other name."
  type        = string
}

variable "vpc_cidr" {
  description = "Network of the VPC, a /16."
  type        = string

  validation {
    condition     = can(regex("/16$", var.vpc_cidr)) && try(cidrsubnet(var.vpc_cidr, 0, 0) == var.vpc_cidr, false)
    error_message = "The VPC's network is a /16 written by its first address, for example 10.20.0.0/16."
  }
}

variable "availability_zones" {
  description = "Zones to have subnets in, at least two; null means the first two of the region by letter."
  type        = list(string)
  default     = null

  validation {
    condition     = var.availability_zones == null ? true : length(distinct(var.availability_zones)) >= 2
    error_message = "A load balancer and a database subnet group need two availability zones."
  }
}

variable "dns_hostnames" {
  description = "Whether the VPC gives host names; interface endpoints with private names need it. The provider waits ten seconds for it."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags on everything, beside Stack."
  type        = map(string)
  default     = {}
}
