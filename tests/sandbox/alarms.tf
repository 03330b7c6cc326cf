# What alarms rest on, read by test_cloudwatch_terraform.py.
terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

provider "aws" {
  region                      = var.region
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_get_ec2_platforms      = true
  endpoints {
    cloudwatch       = var.endpoint
    cloudwatchlogs   = var.endpoint
    cloudwatchevents = var.endpoint
    sns              = var.endpoint
    sqs              = var.endpoint
    sts              = var.endpoint
    iam              = var.endpoint
  }
}

variable "endpoint" {}

variable "region" {}

resource "aws_sns_topic" "t" {
  name = "tf-alarms"
  tags = { a = "b" }
}

resource "aws_sns_topic_policy" "p" {
  arn = aws_sns_topic.t.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "alarms"
      Effect    = "Allow"
      Principal = { Service = "cloudwatch.amazonaws.com" }
      Action    = "sns:Publish"
      Resource  = aws_sns_topic.t.arn
    }]
  })
}

resource "aws_sqs_queue" "q" { name = "tf-q" }

resource "aws_sns_topic_subscription" "s" {
  topic_arn            = aws_sns_topic.t.arn
  protocol             = "sqs"
  endpoint             = aws_sqs_queue.q.arn
  raw_message_delivery = true
  filter_policy        = jsonencode({ a = ["b"] })
}

resource "aws_cloudwatch_log_group" "g" {
  name              = "/tf/g"
  retention_in_days = 30
  tags              = { x = "y" }
}

resource "aws_cloudwatch_log_metric_filter" "f" {
  name           = "f"
  log_group_name = aws_cloudwatch_log_group.g.name
  pattern        = "{ $.level = \"ERROR\" }"
  metric_transformation {
    name          = "Errors"
    namespace     = "Tf"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_log_resource_policy" "r" {
  policy_name = "tf"
  policy_document = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = ["events.amazonaws.com", "delivery.logs.amazonaws.com"] }
      Action    = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource  = "${aws_cloudwatch_log_group.g.arn}:*"
    }]
  })
}

resource "aws_cloudwatch_metric_alarm" "a" {
  alarm_name          = "tf-a"
  alarm_description   = "x"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HTTPCode_Target_5XX_Count"
  dimensions          = { LoadBalancer = "app/x/1" }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 3
  datapoints_to_alarm = 2
  threshold           = 5
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.t.arn]
  ok_actions          = [aws_sns_topic.t.arn]
  tags                = { t = "v" }
}

resource "aws_cloudwatch_metric_alarm" "p" {
  alarm_name          = "tf-p"
  namespace           = "AWS/ApplicationELB"
  metric_name         = "TargetResponseTime"
  extended_statistic  = "p95"
  period              = 300
  evaluation_periods  = 1
  threshold           = 2
  comparison_operator = "GreaterThanOrEqualToThreshold"
}

resource "aws_cloudwatch_metric_alarm" "m" {
  alarm_name          = "tf-m"
  evaluation_periods  = 2
  threshold           = 10
  comparison_operator = "GreaterThanThreshold"
  metric_query {
    id          = "e1"
    expression  = "100*m2/m1"
    label       = "rate"
    return_data = true
  }
  metric_query {
    id = "m1"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "RequestCount"
      period      = 60
      stat        = "Sum"
      unit        = "Count"
      dimensions  = { LoadBalancer = "app/x/1" }
    }
  }
  metric_query {
    id = "m2"
    metric {
      namespace   = "AWS/ApplicationELB"
      metric_name = "HTTPCode_ELB_5XX_Count"
      period      = 60
      stat        = "Sum"
      dimensions  = { LoadBalancer = "app/x/1" }
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "c" {
  alarm_name = "tf-c"
  alarm_rule = "ALARM(${aws_cloudwatch_metric_alarm.a.alarm_name}) OR ALARM(${aws_cloudwatch_metric_alarm.p.alarm_name})"
}

resource "aws_cloudwatch_event_rule" "r" {
  name = "tf-r"
  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail      = { lastStatus = ["STOPPED"] }
  })
  tags = { t = "v" }
}

resource "aws_cloudwatch_event_target" "t" {
  rule      = aws_cloudwatch_event_rule.r.name
  target_id = "logs"
  arn       = aws_cloudwatch_log_group.g.arn
}
