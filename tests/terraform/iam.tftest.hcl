# Promises of the runner roles (H2). The provider is the real one, as only it writes policy documents; no AWS is asked.

provider "aws" {
  region                      = "us-west-2"
  access_key                  = "nobody"
  secret_key                  = "nobody"
  skip_credentials_validation = true
  skip_get_ec2_platforms      = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}

override_data {
  target = data.aws_caller_identity.this
  values = {
    account_id = "123456789012"
  }
}

variables {
  region             = "us-west-2"
  name               = "papyrus-prd"
  service            = "papyrus-task-service"
  cluster            = "papyrus-ecs-prd"
  task_family        = "papyrus-task"
  container          = "app"
  repository         = "papyrus"
  log_group          = "/ecs/papyrus-task"
  task_role_arn      = "arn:aws:iam::123456789012:role/papyrusTaskRole"
  execution_role_arn = "arn:aws:iam::123456789012:role/papyrusTaskExecutionRole"
  db_instance        = "papyrus-prd"
  db_parameter_group = "papyrus-prd-*"
  db_secret_arn      = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf"
  vpc_id             = "vpc-0123456789abcdef0"
  subnet_ids         = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  github_repository  = "example/papyrus.ops"
  oidc_provider_arn  = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
  github_environments = {
    smoke   = "smoke"
    release = "production"
    export  = "audit"
    sweep   = "sweep"
  }
}

run "a_boundary_is_on_each_role" {
  command = plan
  variables {
    permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
  }

  assert {
    condition     = alltrue([for role in aws_iam_role.runner : role.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary"])
    error_message = "Each role has the boundary."
  }
}

run "the_least" {
  command = plan

  assert {
    condition     = !contains(keys(aws_iam_policy.this), "evidence") && !contains(keys(aws_iam_policy.this), "drills")
    error_message = "No ledger, key or drill: no policy for them."
  }

  assert {
    condition     = !strcontains(data.aws_iam_policy_document.make.json, "RuleOfTheTasksGroup") && !strcontains(data.aws_iam_policy_document.unmake["unmake"].json, "RuleOfTheTasksGroup")
    error_message = "Without a tasks' group nobody may change one."
  }

  assert {
    condition     = alltrue([for document in data.aws_iam_policy_document.unmake : !strcontains(document.json, "drill")])
    error_message = "What a drill leaves is deleted only where drills are run."
  }
}

run "trust_is_of_one_repository_environment_and_branch" {
  command = plan

  assert {
    condition = jsonencode({ for operator, keys in jsondecode(data.aws_iam_policy_document.trust["release"].json).Statement[0].Condition :
      operator => { for key, values in keys : key => flatten([values]) } }) == jsonencode({
      StringEquals = {
        "token.actions.githubusercontent.com:aud" = ["sts.amazonaws.com"]
        "token.actions.githubusercontent.com:sub" = ["repo:example/papyrus.ops:environment:production"]
        "token.actions.githubusercontent.com:ref" = ["refs/heads/main"]
      }
    })
    error_message = "Audience, repository with environment, and branch, each by StringEquals."
  }

  assert {
    condition     = jsondecode(data.aws_iam_policy_document.trust["release"].json).Statement[0].Action == "sts:AssumeRoleWithWebIdentity"
    error_message = "By a token, and by nothing else."
  }
}

run "wildcards_are_refused" {
  command = plan
  variables {
    service           = "*"
    github_repository = "example/*"
    github_refs       = ["refs/heads/*"]
    github_environments = {
      smoke   = "*"
      release = "production"
      export  = "audit"
      sweep   = "sweep"
    }
  }
  expect_failures = [var.service, var.github_repository, var.github_refs, var.github_environments]
}

run "a_load_balancer_anywhere_is_refused" {
  command = plan
  variables {
    subnet_ids = []
    tag_prefix = "aws"
  }
  expect_failures = [var.subnet_ids, var.tag_prefix]
}

# All that the stack can be asked for: tests/terraform/policies/__init__.py reads the documents of this plan.
run "everything" {
  command = plan
  variables {
    db_master_secret_arn = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-master-AbCdEf"
    tasks_sg_id          = "sg-0123456789abcdef0"
    base_repositories    = ["sandbox/host-python"]
    ledger               = { bucket = "ledger-of-runs", prefix = "runs" }
    signing_key_arn      = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
    exec_key_arn         = "arn:aws:kms:us-west-2:123456789012:key/66666666-7777-8888-9999-000000000000"
    drills               = true
  }
}
