# Everything that infra/iam can be asked for: tests/terraform/policies/__init__.py reads the documents of this plan. No AWS is asked.

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
