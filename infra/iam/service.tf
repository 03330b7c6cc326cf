# Commands in the running task, and a task of its own that logs in to the database.

data "aws_iam_policy_document" "exec" {
  # IAM knows the cluster and the container, not the service: any task of the cluster that has a container of this name can be reached.
  statement {
    sid       = "Exec"
    actions   = ["ecs:ExecuteCommand"]
    resources = [local.cluster, local.tasks]

    condition {
      test     = "StringEquals"
      variable = "ecs:container-name"
      values   = [var.container]
    }
  }

  # Its command is not IAM's business: with this role and ECS Exec the app's own code can be made to do anything that its task role may.
  statement {
    sid       = "TaskOfTheRun"
    actions   = ["ecs:RunTask"]
    resources = [local.revision]

    dynamic "condition" {
      for_each = concat(local.in_the_cluster, local.marks_given)
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "MarksOfTheTask"
    actions   = ["ecs:TagResource"]
    resources = [local.tasks]

    dynamic "condition" {
      for_each = concat(local.marks_given, [{ test = "StringEquals", variable = "ecs:CreateAction", values = ["RunTask"] }])
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "EndOfTheTask"
    actions   = ["ecs:StopTask"]
    resources = [local.tasks]

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
    sid       = "RolesOfTheTask"
    actions   = ["iam:PassRole"]
    resources = [var.task_role_arn, var.execution_role_arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ecs-tasks.amazonaws.com"]
    }
  }

  # The client of an encrypted session asks for its key.
  dynamic "statement" {
    for_each = var.exec_key_arn == null ? [] : [var.exec_key_arn]
    content {
      sid       = "SessionKey"
      actions   = ["kms:GenerateDataKey"]
      resources = [statement.value]
    }
  }
}

# What a release changes: images of one repository, revisions of one family, one service.
data "aws_iam_policy_document" "release" {
  statement {
    sid = "Push"
    actions = [
      "ecr:BatchCheckLayerAvailability",
      "ecr:CompleteLayerUpload",
      "ecr:InitiateLayerUpload",
      "ecr:PutImage",
      "ecr:UploadLayerPart",
    ]
    resources = ["${local.here["ecr"]}:repository/${var.repository}"]
  }

  dynamic "statement" {
    for_each = length(var.base_repositories) == 0 ? [] : [var.base_repositories]
    content {
      sid       = "BaseImage"
      actions   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = [for name in statement.value : "${local.here["ecr"]}:repository/${name}"]
    }
  }

  statement {
    sid       = "Revision"
    actions   = ["ecs:RegisterTaskDefinition"]
    resources = [local.revision]
  }

  # A revision keeps the tags of the one that it was made from.
  statement {
    sid       = "TagsOfTheRevision"
    actions   = ["ecs:TagResource"]
    resources = [local.revision]

    condition {
      test     = "StringEquals"
      variable = "ecs:CreateAction"
      values   = ["RegisterTaskDefinition"]
    }
  }

  # Only to a revision of the family: a call that names none (to scale the service to nothing, say) is refused.
  statement {
    sid       = "RollOut"
    actions   = ["ecs:UpdateService"]
    resources = [local.service]

    condition {
      test     = "ArnLike"
      variable = "ecs:task-definition"
      values   = [local.revision]
    }
  }

  statement {
    sid = "Deployment"
    actions = [
      "ecs:DescribeServiceDeployments",
      "ecs:DescribeServiceRevisions",
      "ecs:ListServiceDeployments",
      "ecs:StopServiceDeployment",
    ]
    resources = [
      local.service,
      "${local.ecs}:service-deployment/${var.cluster}/${var.service}/*",
      "${local.ecs}:service-revision/${var.cluster}/${var.service}/*",
    ]
  }

  statement {
    sid       = "Revisions"
    actions   = ["ecs:ListTaskDefinitions"]
    resources = ["*"]
  }

  dynamic "statement" {
    for_each = var.db_master_secret_arn == null ? [] : [var.db_master_secret_arn]
    content {
      sid       = "OwnerSecret"
      actions   = ["secretsmanager:GetSecretValue"]
      resources = [statement.value]
    }
  }
}
