# What the drill of a service's alarms needs for as long as it runs: a queue that hears what the alarms' topic says, and a
# task that cannot start. Copies of alarms are in alarms.tf, the load balancer with a task behind it in balancer.tf.
#
# The permanent alarms, their topic and the service itself are only read.

locals {
  suffix = substr(var.run_id, -6, 6)

  # Rules have no tags here (aws_security_group_rule): a sweeper finds them by this text, and knows by it whose they are.
  rule_description = "${var.tag_prefix} run ${var.run_id} until ${var.expires_at} of ${var.service}"

  with_alb = anytrue([for kind in keys(var.alarms) : startswith(kind, "alb-")])
}

# The receiver of the drill: what reaches it reaches every subscription of the topic. SNS writes to it with the topic's own key,
# the queue's is SQS's.
resource "aws_sqs_queue" "receiver" {
  name                       = var.name
  message_retention_seconds  = 3600
  visibility_timeout_seconds = 30

  # The provider tags it by a second call. A kill between the two leaves it bare: by this, which is there before and after
  # it, a sweeper knows whose it is.
  depends_on = [aws_ecs_task_definition.impossible]
}

data "aws_iam_policy_document" "receiver" {
  statement {
    sid       = "OnlyTheTopicOfTheAlarmsSends"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.receiver.arn]

    principals {
      type        = "Service"
      identifiers = ["sns.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values   = [var.topic_arn]
    }
  }
}

resource "aws_sqs_queue_policy" "receiver" {
  queue_url = aws_sqs_queue.receiver.id
  policy    = data.aws_iam_policy_document.receiver.json
}

resource "aws_sns_topic_subscription" "receiver" {
  topic_arn = var.topic_arn
  protocol  = "sqs"
  endpoint  = aws_sqs_queue.receiver.arn

  # Before it, messages would be lost without a word.
  depends_on = [aws_sqs_queue_policy.receiver]
}

# No image has this digest, so that its task fails to start. The rule of the permanent alarm knows the family by its beginning.
resource "aws_ecs_task_definition" "impossible" {
  family                   = "${var.task_family}-drill-${local.suffix}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = "256"
  memory                   = "512"
  execution_role_arn       = var.running.execution_role_arn

  container_definitions = jsonencode([
    {
      name        = "impossible"
      image       = "${var.running.image_repository}@sha256:${join("", [for position in range(64) : "0"])}"
      essential   = true
      environment = []
      mountPoints = []
      volumesFrom = []
    }
  ])
}
