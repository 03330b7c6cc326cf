# ARNs, and the conditions by which policies know what belongs to runs of this service.

locals {
  # arn:<partition>:<service>:<region>:<account>
  here = { for name in ["cloudwatch", "config", "ec2", "ecr", "ecs", "elasticloadbalancing", "logs", "rds", "sns", "sqs"] :
    name => "arn:${local.partition}:${name}:${var.region}:${local.account_id}"
  }
  ecs  = local.here["ecs"]
  elb  = local.here["elasticloadbalancing"]
  logs = "${local.here["logs"]}:log-group"

  cluster = "${local.ecs}:cluster/${var.cluster}"
  service = "${local.ecs}:service/${var.cluster}/${var.service}"
  # ECS names a task by nothing but its cluster: IAM cannot tell tasks of one service from those of another.
  tasks    = "${local.ecs}:task/${var.cluster}/*"
  revision = "${local.ecs}:task-definition/${var.task_family}:*"

  # Everything temporary is named <prefix>-smoke-<suffix> (a drill's: <prefix>-drill-<suffix>), the suffix being that of the run.
  smoke_name = "${var.tag_prefix}-smoke-??????"
  drill_name = "${var.tag_prefix}-drill-??????"
  temporary  = var.drills ? [local.smoke_name, local.drill_name] : [local.smoke_name]

  # The permanent alarms ring one topic; a drill copies them under their own names with -drill-<suffix> behind.
  alarm_name   = coalesce(var.alarm_name, var.service)
  alarms       = "${local.here["cloudwatch"]}:alarm"
  topic        = "${local.here["sns"]}:${local.alarm_name}-alarms"
  drill_alarms = "${local.alarms}:${local.alarm_name}-*drill-??????"
  drill_queue  = "${local.here["sqs"]}:${local.drill_name}"

  run_tag     = "${var.tag_prefix}:run-id"
  expiry_tag  = "${var.tag_prefix}:expires-at"
  service_tag = "${var.tag_prefix}:service"

  # The three marks as they must be given, and no other tag: by others somebody else's policies may decide.
  marks_given = [
    { test = "StringEquals", variable = "aws:RequestTag/${local.service_tag}", values = [var.service] },
    { test = "StringLike", variable = "aws:RequestTag/${local.run_tag}", values = ["????????T??????Z-??????"] },
    { test = "StringLike", variable = "aws:RequestTag/${local.expiry_tag}", values = ["????-??-??T??:??:??Z"] },
    { test = "ForAllValues:StringEquals", variable = "aws:TagKeys", values = [local.service_tag, local.run_tag, local.expiry_tag] },
  ]

  # The three marks as a resource must bear them before it is changed or deleted.
  marks_borne = [
    { test = "StringEquals", variable = "aws:ResourceTag/${local.service_tag}", values = [var.service] },
    { test = "StringLike", variable = "aws:ResourceTag/${local.run_tag}", values = ["????????T??????Z-??????"] },
    { test = "StringLike", variable = "aws:ResourceTag/${local.expiry_tag}", values = ["????-??-??T??:??:??Z"] },
  ]

  # Target groups get their tags after they are made by provider 3.x, listeners and rules none at all: their name decides, and
  # where they are tagged, the service.
  marks_if_borne = [
    { test = "StringEqualsIfExists", variable = "aws:ResourceTag/${local.service_tag}", values = [var.service] },
  ]

  in_the_cluster = [{ test = "ArnEquals", variable = "ecs:cluster", values = [local.cluster] }]
}
