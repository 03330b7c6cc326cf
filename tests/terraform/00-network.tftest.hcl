# Promises of the network (H1), with a provider that answers by itself.

mock_provider "aws" {}

variables {
  region   = "us-west-2"
  name     = "papyrus-prd"
  vpc_cidr = "10.20.0.0/16"
}

run "h1_two_zones_for_tasks_and_for_the_database" {
  command = plan

  assert {
    condition     = aws_subnet.public[*].availability_zone == ["us-west-2a", "us-west-2b"] && length(aws_subnet.database) == 2
    error_message = "Both kinds of subnets lie in two zones."
  }

  assert {
    condition     = length(setintersection(aws_subnet.public[*].cidr_block, aws_subnet.database[*].cidr_block)) == 0
    error_message = "Subnets do not overlap."
  }
}

run "h1_tasks_have_no_way_in_and_only_tls_out" {
  command = plan

  assert {
    condition     = aws_security_group_rule.ecs_tasks_to_https.type == "egress" && aws_security_group_rule.ecs_tasks_to_https.to_port == 443
    error_message = "Tasks reach AWS APIs over TLS."
  }
}

run "one_zone_is_refused" {
  command = plan
  variables {
    availability_zones = ["us-west-2a"]
  }
  expect_failures = [var.availability_zones]
}

run "a_small_network_is_refused" {
  command = plan
  variables {
    vpc_cidr = "10.20.0.0/24"
  }
  expect_failures = [var.vpc_cidr]
}
