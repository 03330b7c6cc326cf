# Finding what runs have left, those of a drill included, and, where drills are run, deleting what only they make.

data "aws_iam_policy_document" "find" {
  statement {
    sid = "Find"
    actions = [
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups",
      "ecs:DescribeTaskDefinition",
      "ecs:ListTaskDefinitionFamilies",
      "ecs:ListTaskDefinitions",
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeLoadBalancerAttributes",
      "elasticloadbalancing:DescribeLoadBalancers",
      "elasticloadbalancing:DescribeTags",
      "elasticloadbalancing:DescribeTargetGroups",
      "sqs:ListQueues",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "FindInTheCluster"
    actions   = ["ecs:ListServices", "ecs:ListTasks"]
    resources = ["*"]

    dynamic "condition" {
      for_each = local.in_the_cluster
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "LookIntoTheCluster"
    actions   = ["ecs:DescribeServices", "ecs:DescribeTasks"]
    resources = ["${local.ecs}:service/${var.cluster}/${local.drill_name}", local.tasks]
  }

  # By the beginning of their names, which is no resource.
  statement {
    sid       = "FindAlarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["${local.alarms}:*"]
  }

  statement {
    sid       = "LookAtAlarms"
    actions   = ["cloudwatch:ListTagsForResource"]
    resources = [local.drill_alarms]
  }

  statement {
    sid       = "LookAtQueues"
    actions   = ["sqs:ListQueueTags"]
    resources = [local.drill_queue]
  }

  statement {
    sid       = "FindSubscriptions"
    actions   = ["sns:ListSubscriptionsByTopic"]
    resources = [local.topic]
  }
}

data "aws_iam_policy_document" "drills" {
  count = var.drills ? 1 : 0

  statement {
    sid       = "DeleteFromTheCluster"
    actions   = ["ecs:DeleteService", "ecs:StopTask"]
    resources = ["${local.ecs}:service/${var.cluster}/${local.drill_name}", local.tasks]

    dynamic "condition" {
      for_each = local.marks_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "DeleteAlarms"
    actions   = ["cloudwatch:DeleteAlarms"]
    resources = [local.drill_alarms]

    dynamic "condition" {
      for_each = local.marks_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "DeleteQueues"
    actions   = ["sqs:DeleteQueue"]
    resources = [local.drill_queue]

    dynamic "condition" {
      for_each = local.marks_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # A subscription has no tags: whoever may end one of the topic may end any. Its ARN is the topic's with an id behind.
  statement {
    sid       = "EndSubscriptions"
    actions   = ["sns:Unsubscribe"]
    resources = [local.topic, "${local.topic}:*"]
  }

  # A task definition is no resource of this action: any can be deregistered with it (running tasks stay).
  statement {
    sid       = "DeregisterRevisions"
    actions   = ["ecs:DeregisterTaskDefinition"]
    resources = ["*"]
  }
}
