# What a smoke and a release look at. Nothing here changes anything; `*` where an action knows no resource.

data "aws_iam_policy_document" "look" {
  statement {
    sid = "Network"
    actions = [
      "ec2:DescribeAccountAttributes",
      "ec2:DescribeAddresses",
      "ec2:DescribeInstances",
      "ec2:DescribeInternetGateways",
      "ec2:DescribeNetworkInterfaces",
      "ec2:DescribeRouteTables",
      "ec2:DescribeSecurityGroupRules",
      "ec2:DescribeSecurityGroups",
      "ec2:DescribeSubnets",
      "ec2:DescribeVpcs",
    ]
    resources = ["*"]
  }

  statement {
    sid = "LoadBalancers"
    actions = [
      "elasticloadbalancing:DescribeCapacityReservation",
      "elasticloadbalancing:DescribeListenerAttributes",
      "elasticloadbalancing:DescribeListeners",
      "elasticloadbalancing:DescribeLoadBalancerAttributes",
      "elasticloadbalancing:DescribeLoadBalancers",
      "elasticloadbalancing:DescribeRules",
      "elasticloadbalancing:DescribeTags",
      "elasticloadbalancing:DescribeTargetGroupAttributes",
      "elasticloadbalancing:DescribeTargetGroups",
      "elasticloadbalancing:DescribeTargetHealth",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "Service"
    actions   = ["ecs:DescribeClusters", "ecs:DescribeServices"]
    resources = [local.cluster, local.service]
  }

  statement {
    sid       = "Tasks"
    actions   = ["ecs:DescribeTasks"]
    resources = [local.tasks]
  }

  # ListTasks without a container instance names no resource.
  statement {
    sid       = "TasksOfTheCluster"
    actions   = ["ecs:ListTasks"]
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
    sid       = "ByNothingButTheAction"
    actions   = ["ecr:GetAuthorizationToken", "ecs:DescribeTaskDefinition", "rds:DescribeEvents"]
    resources = ["*"]
  }

  statement {
    sid       = "Database"
    actions   = ["rds:DescribeDBInstances"]
    resources = ["${local.here["rds"]}:db:${var.db_instance}"]
  }

  statement {
    sid       = "DatabaseParameters"
    actions   = ["rds:DescribeDBParameters"]
    resources = ["${local.here["rds"]}:pg:${var.db_parameter_group}"]
  }

  statement {
    sid       = "AppSecret"
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [var.db_secret_arn]
  }

  statement {
    sid       = "Image"
    actions   = ["ecr:BatchGetImage", "ecr:DescribeImages", "ecr:DescribeRepositories", "ecr:GetDownloadUrlForLayer"]
    resources = ["${local.here["ecr"]}:repository/${var.repository}"]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:FilterLogEvents", "logs:GetLogEvents"]
    resources = ["${local.logs}:${var.log_group}:*"]
  }
}
