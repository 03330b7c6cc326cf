# Execution role and task role of 15-ecs: tests/terraform/policies/__init__.py reads the documents of this plan. No AWS is asked.

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
  target = data.aws_caller_identity.current
  values = {
    account_id = "123456789012"
  }
}

override_resource {
  target          = aws_ecr_repository.app
  override_during = plan
  values = {
    arn = "arn:aws:ecr:us-west-2:123456789012:repository/papyrus"
  }
}

override_resource {
  target          = aws_cloudwatch_log_group.app
  override_during = plan
  values = {
    arn = "arn:aws:logs:us-west-2:123456789012:log-group:/ecs/papyrus-task"
  }
}

variables {
  region          = "us-west-2"
  cluster         = "papyrus-ecs-prd"
  service         = "papyrus-task-service"
  task_family     = "papyrus-task"
  container       = "app"
  port            = 5000
  repository      = "papyrus"
  image           = "123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
  db_secret_arn   = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf"
  subnet_ids      = ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"]
  ecs_tasks_sg_id = "sg-0123456789abcdef0"
  task_role       = "papyrusTaskRole"
  execution_role  = "papyrusTaskExecutionRole"
}

run "everything" {
  command = plan
}
