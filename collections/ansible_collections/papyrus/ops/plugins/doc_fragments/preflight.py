# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a preflight and doctor are told of a service."""

from __future__ import annotations


class ModuleDocFragment:
    """`papyrus.ops.preflight`: the service, its database, its temporary ALB, its app."""

    DOCUMENTATION = r"""
options:
  account_id:
    description: The account that the inventory expects.
    type: str
    required: true
  expected_region:
    description: The region that the inventory expects.
    type: str
    required: true
  cluster:
    description: ECS cluster.
    type: str
    required: true
  service:
    description: ECS service.
    type: str
    required: true
  container:
    description: Container that serves requests. May be left out when the task has only one.
    type: str
  port:
    description: Its port. That of its definition when left out.
    type: int
  task_family:
    description: Family that the running task definition must belong to.
    type: str
  exec_required:
    description: Whether the run uses ECS Exec. Row B3 is skipped instead of NG otherwise.
    type: bool
    default: true
  secret_id:
    description: Secret with the database's connection.
    type: str
  db_instance:
    description: RDS instance. Without it the rows about a database are skipped.
    type: str
  db_username_rule:
    description: Whom the secret must name, V(master) or a role.
    type: str
    default: master
  db_name:
    description: Database that the secret must name, see M(papyrus.ops.secrets_rds_drift).
    type: str
  db_allowlist:
    description: CIDRs, prefix lists and security groups that may reach the database beside the tasks.
    type: list
    elements: str
    default: []
  db_login:
    description:
      - Whether to log in with the secret from here, or with its current values from inside a running task through ECS
        Exec. Check mode opens no Exec session, row B2 is then skipped.
    type: str
    choices: [direct, exec, none]
    default: direct
  exec_python:
    description: The container's Python that has psycopg 3, for O(db_login=exec).
    type: str
    default: python
  db_ca_file:
    description: CA certificates for the login.
    type: path
  db_hostaddr:
    description: IP address for the login, see M(papyrus.ops.secrets_rds_drift).
    type: str
  vpc_id:
    description: VPC of service and ALB.
    type: str
  tasks_sg_id:
    description: Security group of the tasks. Those of the running tasks when left out.
    type: str
  alb_scheme:
    description: Scheme of the temporary ALB.
    type: str
    choices: [internet-facing, internal]
    default: internet-facing
  alb_subnet_ids:
    description: Subnets of the temporary ALB.
    type: list
    elements: str
    default: []
  alb_ingress_cidrs:
    description: Who may reach the temporary ALB. The whole internet is refused, also in parts.
    type: list
    elements: str
    default: []
  tag_prefix:
    description: Prefix of the tags on temporary resources.
    type: str
    default: papyrus
  name_prefix:
    description: Prefix of the names of temporary resources. O(tag_prefix) with C(-smoke) when left out.
    type: str
  lease_minutes:
    description: How long this run may live.
    type: int
    default: 60
  app_source:
    description: Folder with the application. Row B1 is skipped without it.
    type: path
  app_factory:
    description: Its factory as C(module:function).
    type: str
  app_python:
    description: Interpreter with the application's dependencies.
    type: path
  app_paths:
    description: Further folders for the application's import path.
    type: list
    elements: path
    default: []
  app_environment:
    description: Dummy settings for loading the application.
    type: dict
    default: {}
  routes_required:
    description: Routes that must be registered.
    type: list
    elements: str
    default: []
  terraform_binary:
    description: Terraform or OpenTofu.
    type: str
    default: terraform
  timeout:
    description:
      - Seconds after which an unanswered row is NG. Nothing in a row has a shorter limit but calls of AWS, sessions of
        ECS Exec and logins in the database, so that a busy controller answers later, and not NG.
    type: float
    default: 120
"""
