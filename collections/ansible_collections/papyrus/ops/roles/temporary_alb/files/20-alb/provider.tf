# The provider of the stack, left out where the stack is a module of another (40-drill): a module takes that of its caller.

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
