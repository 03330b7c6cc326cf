# The topic that every alarm rings, its key, and who hears it.

data "aws_iam_policy_document" "key" {
  statement {
    sid       = "AccountAdministers"
    actions   = ["kms:*"]
    resources = ["*"]

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account_id}:root"]
    }
  }

  # The key of AWS (alias/aws/sns) cannot be used: its policy does not let CloudWatch in and cannot be changed, and
  # alarms would stay silent.
  statement {
    sid       = "AlarmsOfThisAccountEncrypt"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey*"]
    resources = ["*"]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_kms_key" "alarms" {
  description             = "Messages of alarms of ${var.name}"
  policy                  = data.aws_iam_policy_document.key.json
  enable_key_rotation     = true
  deletion_window_in_days = var.key_deletion_days

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "alarms" {
  name          = "alias/${var.name}-alarms"
  target_key_id = aws_kms_key.alarms.key_id
}

resource "aws_sns_topic" "alarms" {
  name              = "${var.name}-alarms"
  kms_master_key_id = aws_kms_key.alarms.arn

  lifecycle {
    prevent_destroy = true
  }
}

data "aws_iam_policy_document" "topic" {
  statement {
    sid       = "AlarmsOfThisAccountPublish"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }

    condition {
      test     = "ArnLike"
      variable = "aws:SourceArn"
      values   = ["arn:${local.partition}:cloudwatch:${var.region}:${local.account_id}:alarm:${var.name}-*"]
    }
  }

  # A message on this topic is an alarm's: whoever may publish by a policy of their own may not publish here.
  statement {
    sid       = "NobodyElsePublishes"
    effect    = "Deny"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:PrincipalIsAWSService"
      values   = ["false"]
    }
  }

  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["sns:Publish", "sns:Subscribe"]
    resources = [aws_sns_topic.alarms.arn]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_sns_topic_policy" "alarms" {
  arn    = aws_sns_topic.alarms.arn
  policy = data.aws_iam_policy_document.topic.json
}

# An endpoint can be a secret (the URL of a paging service has its key in it): Terraform's output shows its protocol and a
# part of its hash.
resource "aws_sns_topic_subscription" "alarms" {
  for_each = {
    for subscription in nonsensitive(var.subscriptions) :
    "${subscription.protocol}-${substr(sha256(subscription.endpoint), 0, 8)}" => sensitive(subscription)...
  }

  topic_arn = aws_sns_topic.alarms.arn
  protocol  = nonsensitive(each.value[0].protocol)
  endpoint  = each.value[0].endpoint

  lifecycle {
    precondition {
      condition     = contains(["https", "email", "email-json", "sms", "sqs", "lambda"], nonsensitive(each.value[0].protocol))
      error_message = "A subscription's protocol is https, email, email-json, sms, sqs or lambda; http would carry alarms in the clear."
    }
  }

  depends_on = [aws_sns_topic_policy.alarms]
}
