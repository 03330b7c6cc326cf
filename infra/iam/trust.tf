# Who may take a role: jobs of one repository, in one environment, from named branches.

data "aws_partition" "this" {}

data "aws_caller_identity" "this" {}

locals {
  partition  = data.aws_partition.this.partition
  account_id = data.aws_caller_identity.this.account_id
  provider   = var.oidc_provider_arn == null ? aws_iam_openid_connect_provider.github[0].arn : var.oidc_provider_arn
}

resource "aws_iam_openid_connect_provider" "github" {
  count = var.oidc_provider_arn == null ? 1 : 0

  url             = "https://${var.oidc_issuer}"
  client_id_list  = ["sts.amazonaws.com"]
  thumbprint_list = var.oidc_thumbprints
}

data "aws_iam_policy_document" "trust" {
  for_each = var.github_environments

  statement {
    sid     = "Workflow"
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [local.provider]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }

    # GitHub names the environment in `sub` instead of the branch when a job has one.
    condition {
      test     = "StringEquals"
      variable = "${var.oidc_issuer}:sub"
      values   = ["repo:${var.github_repository}:environment:${each.value}"]
    }

    dynamic "condition" {
      for_each = length(var.github_refs) == 0 ? [] : [var.github_refs]
      content {
        test     = "StringEquals"
        variable = "${var.oidc_issuer}:ref"
        values   = condition.value
      }
    }
  }
}

resource "aws_iam_role" "runner" {
  for_each = var.github_environments

  name                 = "${var.name}-${each.key}"
  description          = "papyrus.ops ${each.key}: jobs of ${var.github_repository} in the environment ${each.value}"
  assume_role_policy   = data.aws_iam_policy_document.trust[each.key].json
  permissions_boundary = var.permissions_boundary
  max_session_duration = var.session_seconds
}
