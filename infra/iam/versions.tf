# Versions that this stack is valid for: it stays inside what provider 3.39 and 6.x both accept.
#
# No backend is named here: whoever applies it names one (see README.md).

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
    tags = merge(var.tags, { Stack = "iam" })
  }
}
