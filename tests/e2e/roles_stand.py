"""Playbooks under the roles of infra/iam, in a local AWS of its own with the permanent stacks and IAM mode on."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sandbox.support import CHECKOUT, Sandbox, open_folder
from tests.terraform import policies

from .harness import RunningSmoke, Smoke
from .runner_roles import ENVIRONMENTS, Roles

SERVICE, LEDGER, PREFIX = "papyrus-task-service", "ledger-of-runs", "runs"
# What differs from run to run in a resource's name, and what stands for it in the record.
VARYING = (
    (r"(papyrus-(?:smoke|drill))-[a-z2-7]{6}\b", r"\1-??????"),
    (r"(:alarm:.+-drill)-[a-z2-7]{6}$", r"\1-??????"),
    (r"(:sns:[^:]+:\d{12}:[^:]+):[0-9a-f-]{36}$", r"\1:*"),
    (r"((?:loadbalancer/app|targetgroup)/[^/]+)/\w{16}", r"\1/*"),
    (r"((?:listener|listener-rule)/app/[^/]+)/.+", r"\1/*"),
    (r"(service-(?:deployment|revision)/[^/]+/[^/]+)/.+", r"\1/*"),
    (r"(:task/[^/]+)/[0-9a-f]{32}", r"\1/*"),
    (r"(:task-definition/[^:]+):\d+", r"\1:*"),
    (r"(:security-group)/sg-\w+", r"\1/sg-*"),
    (r"(:vpc)/vpc-\w+", r"\1/vpc-*"),
    (r"(:key)/[0-9a-f-]{36}", r"\1/*"),
    (r"(:secret:.+)-\w{6}$", r"\1-??????"),
    (r"(:log-group:[^:]+):log-stream:.*", r"\1:*"),
    (r"(:::[^/]+/[^/]+)/.*", r"\1/*"),
    (r"(:configuration-recorder)/.*", r"\1/*"),
)


@dataclass
class RolesStand:
    """Runs playbooks and keeps what each asked of policies."""

    sandbox: Sandbox
    roles: Roles
    folder: Path
    tasks_sg_id: str
    # Role → question without what varies → playbooks that raised it
    asked: dict[str, dict[tuple[Any, ...], set[str]]] = field(default_factory=dict)

    def run(self, role: str, playbook: str, variables: dict[str, Any] | None = None, title: str = "") -> Smoke:
        """A playbook under a role, to its end; its questions are added to the record."""
        title = title or playbook
        self.roles.forget()
        run = RunningSmoke(
            self.folder / title,
            {
                "papyrus_ledger": f"s3://{LEDGER}/{PREFIX}?owner=123456789012",
                "papyrus_signer": {"type": "kms", "key_id": self.roles.variables["signing_key_arn"]},
                "papyrus_aws_environment": self.roles.environment(role),
                **(variables or {}),
            },
            playbook=f"playbooks/{playbook}.yml",
            environment={"PAPYRUS_SANDBOX_ROOT": str(self.sandbox.root)},
        )
        done = run.end(1200)
        self._remember(playbook)
        return done

    def _remember(self, playbook: str) -> None:
        names = {"papyrusTaskRole": "task", "papyrusTaskExecutionRole": "execution"}
        names |= {arn.rpartition("/")[2]: role for role, arn in self.roles.arns.items()}
        for principal, questions in self.roles.asked().items():
            if principal not in names:
                continue
            kept = self.asked.setdefault(names[principal], {})
            for one in questions:
                key = (
                    one["action"],
                    self.without_ids(one["resource"]),
                    one["call"],
                    one["allowed"],
                    tuple(one["statements"]),
                )
                kept.setdefault(key, set()).add(playbook)

    def without_ids(self, resource: str) -> str:
        text = resource.replace(self.tasks_sg_id, "sg-tasks")
        for pattern, replacement in VARYING:
            if "sg-tasks" not in text:
                text = re.sub(pattern, replacement, text)
        return text

    def record(self) -> dict[str, Any]:
        """As tests/terraform/policies/recorded.json has it."""
        names = ("action", "resource", "call", "allowed", "statements")
        return {
            role: [
                {**dict(zip(names, key, strict=True)), "statements": list(key[-1]), "runs": sorted(runs)}
                for key, runs in sorted(questions.items(), key=lambda item: (item[0][:3], item[0][4]))
            ]
            for role, questions in sorted(self.asked.items())
        }

    def write(self) -> None:
        """Replace the record that the ordinary tests compare policies with."""
        lines = [
            f' "{role}": [\n' + ",\n".join(f"  {json.dumps(one)}" for one in questions) + "\n ]"
            for role, questions in self.record().items()
        ]
        head = '{"made_by": "tests/e2e/test_roles_soak.py",\n"roles": {\n'
        policies.RECORDED.write_text(head + ",\n".join(lines) + "\n}}\n", "utf-8")


def outputs(root: Path) -> dict[str, Any]:
    """Of the permanent stacks, by stack."""
    path = root / ".sandbox" / "state" / "stacks" / "papyrus-prd" / "outputs.json"
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def variables(sandbox: Sandbox) -> dict[str, Any]:
    """infra/iam's, of a local AWS with the permanent stacks: ledger and key are made."""
    out, known = outputs(sandbox.root), sandbox.facts
    s3, secrets = sandbox.client("s3"), sandbox.client("secretsmanager")
    s3.create_bucket(
        Bucket=LEDGER,
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": known["region"]},
    )
    retention = {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=LEDGER, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": retention}
    )
    key = sandbox.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
    return {
        "region": known["region"],
        "name": "papyrus-prd",
        "service": SERVICE,
        "cluster": "papyrus-ecs-prd",
        "task_family": "papyrus-task",
        "container": "app",
        "repository": "papyrus",
        "base_repositories": ["sandbox/host-python"],
        "log_group": out["15-ecs"]["log_group"],
        "task_role_arn": out["15-ecs"]["task_role_arn"],
        "execution_role_arn": out["15-ecs"]["execution_role_arn"],
        "db_instance": "papyrus-prd",
        "db_parameter_group": "papyrus-prd-*",
        "db_secret_arn": secrets.describe_secret(SecretId="papyrus/prd/db")["ARN"],
        "db_master_secret_arn": secrets.describe_secret(SecretId="papyrus/prd/db-master")["ARN"],
        "vpc_id": out["00-network"]["vpc_id"],
        "subnet_ids": out["00-network"]["public_subnet_ids"],
        "tasks_sg_id": out["00-network"]["ecs_tasks_sg_id"],
        "ledger": {"bucket": LEDGER, "prefix": PREFIX},
        "signing_key_arn": key,
        "drills": True,
        "github_repository": "example/papyrus.ops",
        "github_environments": ENVIRONMENTS,
    }


@contextmanager
def roles_stand(folder: Path) -> Iterator[RolesStand]:
    """A local AWS with everything permanent and the roles; about three minutes."""
    with open_folder() as root:
        sandbox = Sandbox(root)
        try:
            sandbox.up()
            environment = {
                name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))
            }
            applied = subprocess.run(
                [str(CHECKOUT / "scripts" / "stacks")],
                env={**environment, "PAPYRUS_SANDBOX_ROOT": str(root)},
                capture_output=True,
                text=True,
                timeout=900,
            )
            assert applied.returncode == 0, applied.stdout[-4000:] + applied.stderr[-1000:]
            given = variables(sandbox)
            roles = Roles(sandbox, folder / "roles", given).apply()
            with sandbox.switched(iam=True):
                yield RolesStand(sandbox, roles, folder, given["tasks_sg_id"])
        finally:
            sandbox.down()
