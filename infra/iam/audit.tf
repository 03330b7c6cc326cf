# Reading the account's trails. The event history, Config's items and the list of log groups know no resource.

data "aws_iam_policy_document" "export" {
  statement {
    sid = "Trails"
    actions = [
      "cloudtrail:LookupEvents",
      "config:GetDiscoveredResourceCounts",
      "config:GetResourceConfigHistory",
      "config:ListDiscoveredResources",
      "logs:DescribeLogGroups",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "Recorder"
    actions   = ["config:DescribeConfigurationRecorderStatus"]
    resources = ["${local.here["config"]}:configuration-recorder/*"]
  }

  statement {
    sid       = "AuditedLogs"
    actions   = ["logs:FilterLogEvents"]
    resources = [for name in coalesce(var.audit_log_groups, [var.log_group]) : "${local.logs}:${name}:*"]
  }
}

# Whoever looks for runs that nobody closed, and an auditor, read every version of the ledger's entries.
data "aws_iam_policy_document" "versions" {
  count = var.ledger == null ? 0 : 1

  statement {
    sid       = "VersionsOfEntries"
    actions   = ["s3:GetObjectVersion"]
    resources = ["arn:${local.partition}:s3:::${var.ledger.bucket}/${var.ledger.prefix}/*"]
  }

  statement {
    sid       = "VersionsInTheLedger"
    actions   = ["s3:ListBucketVersions"]
    resources = ["arn:${local.partition}:s3:::${var.ledger.bucket}"]
  }
}
