"""A run of the temporary ALB without Ansible around it, for the kill storm: same lease, guard, Terraform, verdict.

The product's own functions are called in the order in which alb_smoke's tasks call them, in one process, which is the
controller that the guard watches. Left out are the proofs and Ansible: three quarters of a run's processor time.
Called as ansible-playbook is: argv ends with `-e @<file of variables>`.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
WORK_SECONDS = 15.0
"""What probes and proofs take of a run."""


def task(name: str) -> None:
    """A line as Ansible writes one."""
    print(f"\nTASK [{name}] ***", flush=True)


def environment(facts: dict[str, Any]) -> dict[str, str]:
    """What the inventory of the local AWS gives to every task."""
    return {
        "AWS_ENDPOINT_URL": facts["endpoint"],
        "AWS_ACCESS_KEY_ID": facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": facts["secret_access_key"],
        "AWS_REGION": facts["region"],
        "AWS_DEFAULT_REGION": facts["region"],
        "AWS_CONFIG_FILE": str(CHECKOUT / "sandbox" / "aws.config"),
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.0/8,localhost",
    }


def options(facts: dict[str, Any], network: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What the role gives to run_open."""
    sandbox = CHECKOUT / ".sandbox"
    return {
        "evidence_root": given["papyrus_evidence_root"],
        "ledger": given["papyrus_ledger"],
        "service": "papyrus-task-service",
        "account_id": facts["account_id"],
        "region": facts["region"],
        "tag_prefix": "papyrus",
        "lease_minutes": given.get("papyrus_lease_minutes", 60),
        "playbook": "kill_driver",
        "signer": {"type": "file", "private_key": facts["signing_key"]},
        "start_guard": True,
        "stack": {
            "source": str(CHECKOUT / "infra" / "20-alb"),
            "name_prefix": "papyrus-smoke",
            "binary": str(sandbox / "bin" / "terraform"),
            "environment": {
                "TF_CLI_CONFIG_FILE": str(sandbox / "terraform" / "terraform.rc"),
                "TF_VAR_sandbox_endpoint": facts["endpoint"],
            },
            "override_files": [
                str(CHECKOUT / "sandbox" / "terraform" / name)
                for name in ("sandbox_endpoint.tf", "sandbox_override.tf")
            ],
            "variables": {
                "region": facts["region"],
                "service": "papyrus-task-service",
                "tag_prefix": "papyrus",
                "vpc_id": network["vpc_id"],
                "subnet_ids": network["public_subnet_ids"],
                "ecs_tasks_sg_id": network["ecs_tasks_sg_id"],
                "app_port": 5000,
                "ingress_cidrs": ["127.0.0.1/32"],
                "header_name": "X-Papyrus-Run",
                "header_value": secrets.token_hex(20),
            },
        },
    }


def register(target_group: str) -> None:
    """The running task as the target."""
    import boto3

    ecs = boto3.client("ecs")
    arns = ecs.list_tasks(cluster="papyrus-ecs-prd", serviceName="papyrus-task-service")["taskArns"]
    details = ecs.describe_tasks(cluster="papyrus-ecs-prd", tasks=arns)["tasks"][0]["attachments"][0]["details"]
    address = next(pair["value"] for pair in details if pair["name"] == "privateIPv4Address")
    boto3.client("elbv2").register_targets(TargetGroupArn=target_group, Targets=[{"Id": address, "Port": 5000}])


def work(until: Path, waits: bool) -> None:
    """What a run does with its load balancer; a run that `waits` does it until a file is there."""
    time.sleep(WORK_SECONDS)
    while waits and not until.exists():
        time.sleep(0.2)


def main(argv: list[str]) -> int:
    """Exit code 0 when the run has passed."""
    given = json.loads(Path(argv[-1].removeprefix("@")).read_text("utf-8"))
    root = Path(os.environ["PAPYRUS_SANDBOX_ROOT"]) / ".sandbox"
    facts = json.loads((root / "sandbox.json").read_text("utf-8"))
    outputs = json.loads((root / "state" / "stacks" / "papyrus-prd" / "outputs.json").read_text("utf-8"))
    os.environ.update(environment(facts))
    sys.path.insert(0, str(CHECKOUT / "collections"))
    from ansible_collections.papyrus.ops.plugins.module_utils import _run_alb, _run_close, _run_open
    from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import process

    task("Open the run")
    run = _run_open.open_run(
        options(facts, outputs["00-network"], given), {}, controller=process(os.getpid()), environ=os.environ
    )
    failure: dict[str, Any] = {}
    try:
        task("Start the temporary ALB")
        _run_alb.start(run)
        task("Wait for the temporary ALB")
        present = _run_alb.wait_present(run, 1200)
        task("Put the running task behind the temporary ALB")
        register(present["outputs"]["target_group_arn"])
        task("Prove the service")
        work(Path(argv[-1].removeprefix("@")).with_name("go-on"), given.get("kill_driver_waits", False))
    except _run_alb.AlbFailure as exc:
        failure = {"step": exc.result["step"], "task": "", "cause": str(exc)}
    try:
        task("Remove the temporary ALB")
        _run_alb.remove(run, 1200)
    except _run_alb.AlbFailure as exc:
        failure = failure or {"step": exc.result["step"], "task": "", "cause": str(exc)}
    task("Close the run with its verdict")
    result = _run_close.close_run(run, failure, ())["verdict"]["result"]
    return 0 if result in ("PASSED", "WARNED") else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
