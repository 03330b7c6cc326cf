# Reading the account's trails. The event history, Config's items and the list of log groups know no resource.

data "aws_iam_policy_document" "export" {
  statement {
    sid = "Trails"
    actions = [
      "cloudtrail:LookupEvents",
      "config:DescribeConfigurationRecorderStatus",
      "config:GetDiscoveredResourceCounts",
      "config:GetResourceConfigHistory",
      "config:ListDiscoveredResources",
      "ecs:DescribeTaskDefinition",
      "logs:DescribeLogGroups",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "AuditedLogs"
    actions   = ["logs:FilterLogEvents"]
    resources = [for name in coalesce(var.audit_log_groups, [var.log_group]) : "${local.logs}:${name}:*"]
  }

  # An auditor compares bundles with every version of the ledger's entries.
  dynamic "statement" {
    for_each = var.ledger == null ? [] : [var.ledger]
    content {
      sid       = "VersionsOfEntries"
      actions   = ["s3:GetObjectVersion"]
      resources = ["arn:${local.partition}:s3:::${statement.value.bucket}/${statement.value.prefix}/*"]
    }
  }

  dynamic "statement" {
    for_each = var.ledger == null ? [] : [var.ledger]
    content {
      sid       = "VersionsInTheLedger"
      actions   = ["s3:ListBucketVersions"]
      resources = ["arn:${local.partition}:s3:::${statement.value.bucket}"]
    }
  }
}
