# The temporary load balancer: made with the run's marks or not at all, changed and deleted only with them.

data "aws_iam_policy_document" "make" {
  # A group needs its VPC, too; the VPC is not what is tagged.
  statement {
    sid       = "GroupInTheVpc"
    actions   = ["ec2:CreateSecurityGroup"]
    resources = ["${local.here["ec2"]}:vpc/${var.vpc_id}"]
  }

  statement {
    sid       = "GroupWithMarks"
    actions   = ["ec2:CreateSecurityGroup"]
    resources = ["${local.here["ec2"]}:security-group/*"]

    dynamic "condition" {
      for_each = local.marks_given
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # Only in the call that makes the group: no other group can get marks.
  statement {
    sid       = "MarksOfTheGroup"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.here["ec2"]}:security-group/*"]

    dynamic "condition" {
      for_each = concat(local.marks_given, [{ test = "StringEquals", variable = "ec2:CreateAction", values = ["CreateSecurityGroup"] }])
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "RulesOfTheGroup"
    actions   = ["ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress"]
    resources = ["${local.here["ec2"]}:security-group/*"]

    dynamic "condition" {
      for_each = local.marks_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # IAM knows neither the port nor the source of a rule: whoever may add the run's rule to the tasks' group may add any to it.
  dynamic "statement" {
    for_each = var.tasks_sg_id == null ? [] : [var.tasks_sg_id]
    content {
      sid       = "RuleOfTheTasksGroup"
      actions   = ["ec2:AuthorizeSecurityGroupIngress"]
      resources = ["${local.here["ec2"]}:security-group/${statement.value}"]
    }
  }

  statement {
    sid       = "LoadBalancer"
    actions   = ["elasticloadbalancing:CreateLoadBalancer"]
    resources = ["${local.elb}:loadbalancer/app/${local.smoke_name}/*"]

    dynamic "condition" {
      for_each = concat(local.marks_given, [
        { test = "StringEquals", variable = "elasticloadbalancing:Scheme", values = [var.alb_scheme] },
        # "All of none" is true as well: there must be some.
        { test = "Null", variable = "elasticloadbalancing:Subnet", values = ["false"] },
        { test = "ForAllValues:StringEquals", variable = "elasticloadbalancing:Subnet", values = var.subnet_ids },
      ])
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "TargetGroup"
    actions   = ["elasticloadbalancing:CreateTargetGroup"]
    resources = ["${local.elb}:targetgroup/${local.smoke_name}/*"]
  }

  statement {
    sid     = "ListenerAndRule"
    actions = ["elasticloadbalancing:CreateListener", "elasticloadbalancing:CreateRule"]
    resources = [
      "${local.elb}:loadbalancer/app/${local.smoke_name}/*",
      "${local.elb}:listener/app/${local.smoke_name}/*",
    ]

    dynamic "condition" {
      for_each = local.marks_if_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # What bears another service's mark cannot be given ours.
  statement {
    sid     = "Marks"
    actions = ["elasticloadbalancing:AddTags"]
    resources = [
      "${local.elb}:loadbalancer/app/${local.smoke_name}/*",
      "${local.elb}:targetgroup/${local.smoke_name}/*",
      "${local.elb}:listener/app/${local.smoke_name}/*",
      "${local.elb}:listener-rule/app/${local.smoke_name}/*",
    ]

    dynamic "condition" {
      for_each = concat(local.marks_given, local.marks_if_borne)
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "Balance"
    actions   = ["elasticloadbalancing:ModifyLoadBalancerAttributes", "elasticloadbalancing:SetSecurityGroups"]
    resources = ["${local.elb}:loadbalancer/app/${local.smoke_name}/*"]

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
    sid = "Targets"
    actions = [
      "elasticloadbalancing:ModifyTargetGroup",
      "elasticloadbalancing:ModifyTargetGroupAttributes",
      "elasticloadbalancing:RegisterTargets",
    ]
    resources = ["${local.elb}:targetgroup/${local.smoke_name}/*"]

    dynamic "condition" {
      for_each = local.marks_if_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # The account's first load balancer makes this role.
  statement {
    sid       = "FirstLoadBalancer"
    actions   = ["iam:CreateServiceLinkedRole"]
    resources = ["arn:${local.partition}:iam::${local.account_id}:role/aws-service-role/elasticloadbalancing.amazonaws.com/*"]

    condition {
      test     = "StringEquals"
      variable = "iam:AWSServiceName"
      values   = ["elasticloadbalancing.amazonaws.com"]
    }
  }
}

# Who takes it away, and in what pieces: Terraform one by one, a sweep in as few as it takes.
locals {
  takers = {
    unmake = {
      parts = ["elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteRule", "elasticloadbalancing:DeleteTargetGroup"]
      kinds = ["listener/app", "listener-rule/app", "targetgroup"]
      group = ["ec2:DeleteSecurityGroup", "ec2:RevokeSecurityGroupEgress", "ec2:RevokeSecurityGroupIngress"]
    }
    clear = {
      parts = ["elasticloadbalancing:DeleteListener", "elasticloadbalancing:DeleteTargetGroup"]
      kinds = ["listener/app", "targetgroup"]
      group = ["ec2:DeleteSecurityGroup"]
    }
  }
}

# Taking it away. That something has expired IAM cannot ask (dates are compared with no variable): the
# sweep's own code does, by AWS' clock.
data "aws_iam_policy_document" "unmake" {
  for_each = local.takers

  statement {
    sid       = "DeleteLoadBalancer"
    actions   = ["elasticloadbalancing:DeleteLoadBalancer"]
    resources = [for name in local.temporary : "${local.elb}:loadbalancer/app/${name}/*"]

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
    sid       = "DeleteItsParts"
    actions   = each.value.parts
    resources = flatten([for name in local.temporary : [for kind in each.value.kinds : "${local.elb}:${kind}/${name}/*"]])

    dynamic "condition" {
      for_each = local.marks_if_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  statement {
    sid       = "DeleteGroup"
    actions   = each.value.group
    resources = ["${local.here["ec2"]}:security-group/*"]

    dynamic "condition" {
      for_each = local.marks_borne
      content {
        test     = condition.value.test
        variable = condition.value.variable
        values   = condition.value.values
      }
    }
  }

  # A rule is no resource of this action: whoever may take the run's rule from the tasks' group may take any from it.
  dynamic "statement" {
    for_each = var.tasks_sg_id == null ? [] : [var.tasks_sg_id]
    content {
      sid       = "RevokeRuleOfTheTasksGroup"
      actions   = ["ec2:RevokeSecurityGroupIngress"]
      resources = ["${local.here["ec2"]}:security-group/${statement.value}"]
    }
  }
}
