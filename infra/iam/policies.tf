# Which role may do what: a policy for each purpose, so that roles share what they share.

locals {
  documents = merge(
    {
      look    = data.aws_iam_policy_document.look.json
      make    = data.aws_iam_policy_document.make.json
      unmake  = data.aws_iam_policy_document.unmake["unmake"].json
      clear   = data.aws_iam_policy_document.unmake["clear"].json
      exec    = data.aws_iam_policy_document.exec.json
      release = data.aws_iam_policy_document.release.json
      export  = data.aws_iam_policy_document.export.json
      find    = data.aws_iam_policy_document.find.json
    },
    { for name, found in {
      evidence = data.aws_iam_policy_document.evidence
      versions = data.aws_iam_policy_document.versions
      drills   = data.aws_iam_policy_document.drills
    } : name => found[0].json if length(found) > 0 },
  )

  wanted = {
    smoke   = ["look", "make", "unmake", "exec", "evidence"]
    release = ["look", "make", "unmake", "exec", "release", "evidence"]
    export  = ["export", "evidence", "versions"]
    sweep   = ["find", "clear", "drills", "evidence", "versions"]
  }

  attached = merge([for role, names in local.wanted : {
    for name in names : "${role}-${name}" => { role = role, policy = name } if contains(keys(local.documents), name)
  }]...)
}

resource "aws_iam_policy" "this" {
  for_each = local.documents

  name        = "${var.name}-${each.key}"
  description = "papyrus.ops, service ${var.service}: ${each.key}"
  policy      = each.value
}

resource "aws_iam_role_policy_attachment" "this" {
  for_each = local.attached

  role       = aws_iam_role.runner[each.value.role].name
  policy_arn = aws_iam_policy.this[each.value.policy].arn
}
