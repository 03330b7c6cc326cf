# Laid beside a copy of a stack, never in the stack: every API that the stacks call goes to the local AWS.
#
# These are the endpoint names of provider 3.39 (elb is ELBv2, too). Credentials come from the environment; those of the
# local AWS open nothing anywhere else.

provider "aws" {
  skip_metadata_api_check = true
  s3_force_path_style     = true
  max_retries             = 5

  endpoints {
    acm              = var.sandbox_endpoint
    cloudwatch       = var.sandbox_endpoint
    cloudwatchevents = var.sandbox_endpoint
    cloudwatchlogs   = var.sandbox_endpoint
    ec2              = var.sandbox_endpoint
    ecr              = var.sandbox_endpoint
    ecs              = var.sandbox_endpoint
    elb              = var.sandbox_endpoint
    iam              = var.sandbox_endpoint
    kms              = var.sandbox_endpoint
    rds              = var.sandbox_endpoint
    s3               = var.sandbox_endpoint
    secretsmanager   = var.sandbox_endpoint
    sns              = var.sandbox_endpoint
    sqs              = var.sandbox_endpoint
    sts              = var.sandbox_endpoint
  }
}
