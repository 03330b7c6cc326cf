# Versions that this stack is valid for: it stays inside what provider 3.39 and 6.x both accept.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 3.39, < 7.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      "${var.tag_prefix}:run-id"     = var.run_id
      "${var.tag_prefix}:expires-at" = var.expires_at
      "${var.tag_prefix}:service"    = var.service
    }
  }
}
