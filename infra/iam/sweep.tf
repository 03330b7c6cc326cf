# Finding what runs have left, and, where drills are run, what those leave beside a load balancer.

data "aws_iam_policy_document" "find" {
  statement {
    sid = "Find"
    actions = [
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeSecurityGroups",
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeLoadBalancerAttributes",
      "elasticloadbalancing:DescribeLoadBalancers",
      "elasticloadbalancing:DescribeTags",
      "elasticloadbalancing:DescribeTargetGroups",
    ]
    resources = ["*"]
  }
}

data "aws_iam_policy_document" "drills" {
  count = var.drills == null ? 0 : 1

  # A task definition is no resource of DeregisterTaskDefinition: any can be deregistered with it (running tasks stay).
  statement {
    sid = "FindOfDrills"
    actions = [
      "ecs:DeregisterTaskDefinition",
      "ecs:DescribeTaskDefinition",
      "ecs:ListTaskDefinitionFamilies",
      "ecs:ListTaskDefinitions",
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
    sid       = "LookAtDrills"
    actions   = ["ecs:DescribeServices", "ecs:DescribeTasks"]
    resources = ["${local.ecs}:service/${var.cluster}/${local.drill_name}", local.tasks]
  }

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
    sid       = "FindAlarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["${local.alarms}:*"]
  }

  statement {
    sid       = "LookAtAlarms"
    actions   = ["cloudwatch:ListTagsForResource"]
    resources = ["${local.alarms}:${var.drills.alarm_name}-*${local.drill_end}"]
  }

  statement {
    sid       = "DeleteAlarms"
    actions   = ["cloudwatch:DeleteAlarms"]
    resources = ["${local.alarms}:${var.drills.alarm_name}-*${local.drill_end}"]

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
    sid       = "LookAtQueues"
    actions   = ["sqs:ListQueueTags"]
    resources = ["${local.queues}:${local.drill_name}"]
  }

  statement {
    sid       = "DeleteQueues"
    actions   = ["sqs:DeleteQueue"]
    resources = ["${local.queues}:${local.drill_name}"]

    dynamic "condition" {
      for_each = local.marks_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # A subscription has no tags and is no resource: whoever may end one of the topic may end any.
  statement {
    sid       = "Subscriptions"
    actions   = ["sns:ListSubscriptionsByTopic", "sns:Unsubscribe"]
    resources = [var.drills.topic_arn]
  }
}
