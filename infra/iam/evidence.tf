# Signing bundles and announcing runs. Nothing here can take an entry of the ledger back.

data "aws_iam_policy_document" "evidence" {
  count = local.keeps_evidence ? 1 : 0

  dynamic "statement" {
    for_each = var.signing_key_arn == null ? [] : [var.signing_key_arn]
    content {
      sid       = "Sign"
      actions   = ["kms:GetPublicKey", "kms:Sign"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.ledger == null ? [] : [var.ledger]
    content {
      sid       = "ReadEntries"
      actions   = ["s3:GetObject"]
      resources = ["arn:${local.partition}:s3:::${statement.value.bucket}/${statement.value.prefix}/*"]
    }
  }

  # Never over an entry that is there.
  dynamic "statement" {
    for_each = var.ledger == null ? [] : [var.ledger]
    content {
      sid       = "AddEntries"
      actions   = ["s3:PutObject"]
      resources = ["arn:${local.partition}:s3:::${statement.value.bucket}/${statement.value.prefix}/*"]

      condition {
        test     = "StringEquals"
        variable = "s3:if-none-match"
        values   = ["*"]
      }
    }
  }

  dynamic "statement" {
    for_each = var.ledger == null ? [] : [var.ledger]
    content {
      sid       = "Ledger"
      actions   = ["s3:GetBucketObjectLockConfiguration", "s3:ListBucket"]
      resources = ["arn:${local.partition}:s3:::${statement.value.bucket}"]
    }
  }
}

locals {
  keeps_evidence = var.signing_key_arn != null || var.ledger != null
}
