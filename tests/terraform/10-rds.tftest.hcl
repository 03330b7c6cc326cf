# Promises of the database (H1, B4, B5), with a provider that answers by itself.

mock_provider "aws" {}

variables {
  region          = "us-west-2"
  identifier      = "papyrus-prd"
  vpc_id          = "vpc-0123456789abcdef0"
  subnet_ids      = ["subnet-a", "subnet-b"]
  ecs_tasks_sg_id = "sg-0123456789abcdef0"
  master_password = "not-a-real-password"
  secret_name     = "papyrus/prd/db"
}

run "b4_tls_only" {
  command = plan

  assert {
    condition     = one(aws_db_parameter_group.this.parameter).name == "rds.force_ssl" && one(aws_db_parameter_group.this.parameter).value == "1"
    error_message = "rds.force_ssl is 1."
  }

  assert {
    condition     = aws_db_parameter_group.this.family == "postgres17" && aws_db_instance.this.storage_encrypted
    error_message = "The family follows the version; storage is encrypted."
  }
}

run "b5_tasks_only_by_default" {
  command = plan

  assert {
    condition     = length(aws_security_group_rule.rds_from_allowed) == 0 && aws_security_group_rule.rds_from_tasks.source_security_group_id == var.ecs_tasks_sg_id
    error_message = "5432 is open to the tasks' group and to nothing else."
  }

  assert {
    condition     = aws_db_instance.this.publicly_accessible == false && aws_db_instance.this.deletion_protection
    error_message = "The instance is private and protected."
  }
}

run "b5_an_allowlist_is_a_rule_of_its_own" {
  command = plan
  variables {
    db_allowed_cidrs = ["10.9.0.4/32"]
  }

  assert {
    condition     = aws_security_group_rule.rds_from_allowed[0].cidr_blocks == tolist(["10.9.0.4/32"])
    error_message = "The allowlist is open to what it says."
  }
}

run "b5_the_internet_is_refused" {
  command = plan
  variables {
    db_allowed_cidrs = ["0.0.0.0/0"]
  }
  expect_failures = [var.db_allowed_cidrs]
}
