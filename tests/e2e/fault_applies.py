"""Apply and destroy of the temporary ALB, as a run does them, with a fault in the way of one call of the provider.

A create whose answer is lost may fail the run, never leave anything or make it twice. A call that fails for ever ends
the apply, or the destroy and then the sweep takes what it left.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._run_open import open_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Settings
from ansible_collections.papyrus.ops.plugins.module_utils._run_stack import StackRun

from . import harness
from .fault_cells import HAPPENS, RECORD, Api, done
from .fault_direct import in_the_way, product_clients
from .services import SERVICE

STACKS = ".sandbox/state/stacks/papyrus-prd/outputs.json"
# What makes one thing each time that it is carried out. ELBv2 gives what is there when the same is asked for again.
MAKES = ("ec2:CreateSecurityGroup", "elbv2:CreateLoadBalancer", "elbv2:CreateTargetGroup", "elbv2:CreateListener",
         "elbv2:CreateRule", "ec2:AuthorizeSecurityGroupIngress")  # fmt: skip
LOST = ("answer lost", "500 but done")
NOT_NEEDED = ("ec2:DetachNetworkInterface", "ec2:DescribeAccountAttributes")
"""The provider hurries by the first, as interfaces of a load balancer go by themselves, and does without the second."""
FOR_EVER = ("throttled", "error 500", "reset before", "cut off", "expired", "page 503")


@dataclass
class ApplyCell:
    """One apply and destroy. `applied` and `gone` are what the product said, `left` what AWS had afterwards."""

    api: str
    fault: str
    times: str
    hit: int
    tries: int
    applied: bool
    said: str
    destroyed: bool
    gone: bool
    left: list[str]
    twice: dict[str, int]
    seconds: float
    wrong: str = ""


def network_outputs() -> dict[str, Any]:
    """What the stack of the network says of itself."""
    outputs: dict[str, Any] = json.loads((harness.SANDBOX_ROOT / STACKS).read_text("utf-8"))["00-network"]
    return outputs


def options(folder: Path, key: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What run_open gets for a smoke of the permanent service, and the environment of the run."""
    known = harness.facts()
    outputs = network_outputs()
    environment = {
        "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"),
        "AWS_ENDPOINT_URL": known["endpoint"], "AWS_REGION": known["region"], "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"], "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    variables = {
        "region": known["region"], "service": SERVICE, "tag_prefix": "papyrus", "vpc_id": outputs["vpc_id"],
        "subnet_ids": outputs["public_subnet_ids"], "app_port": 5000, "scheme": "internet-facing",
        "ingress_cidrs": ["127.0.0.1/32"], "header_name": "X-Papyrus-Run", "header_value": "0123456789abcdef" * 2,
        "health_check": {"path": "/healthz"}, "ecs_tasks_sg_id": outputs["ecs_tasks_sg_id"],
    }  # fmt: skip
    sandbox, role = harness.CHECKOUT / "sandbox" / "terraform", "collections/ansible_collections/papyrus/ops/roles"
    stack = {
        "source": str(harness.CHECKOUT / role / "temporary_alb/files/20-alb"),
        "name_prefix": "papyrus-smoke",
        "variables": variables,
        "binary": str(harness.CHECKOUT / ".sandbox/bin/terraform"),
        "environment": {
            "TF_CLI_CONFIG_FILE": str(harness.CHECKOUT / ".sandbox/terraform/terraform.rc"),
            "TF_VAR_sandbox_endpoint": known["endpoint"],
        },
        "override_files": [str(sandbox / "sandbox_endpoint.tf"), str(sandbox / "sandbox_override.tf")],
        "limits": {"backoff": 2, "sweep": 60, "gone": 10, "gone_interval": 1},
    }
    return {
        "tag_prefix": "papyrus", "lease_minutes": 60, "service": SERVICE, "region": known["region"],
        "account_id": known["account_id"], "evidence_root": str(folder / "runs"), "ledger": str(folder / "ledger"),
        "start_guard": False, "stack": stack,
    }, environment  # fmt: skip


def one(folder: Path, api: Api, fault: str, times: int | None) -> ApplyCell:
    """Open a run, apply, destroy; look with nothing of the product."""

    begun = time.monotonic()
    with in_the_way([api], fault, times) as key:
        given, environment = options(folder / f"{api.operation}-{fault.replace(' ', '-')}-{times}", key)
        run = open_run(given, {}, controller=None, environ=environment)
        stack = StackRun(Settings.load(run["private"]), lambda: product_clients(key), environ=environment)
        try:
            applied, destroyed = stack.apply(), stack.destroy()
        finally:
            shutil.rmtree(run["private"])  # no guard that would do it
    mine = RECORD.of(key)
    asked = [call for call in mine if Api.of(call) == api]
    made = Counter({name: count for name, count in done(mine).items() if name in MAKES})
    left = harness.left_behind(run["id"])
    cell = ApplyCell(
        api=str(api),
        fault=fault,
        times="once" if times else "always",
        hit=sum(1 for call in asked if call["fault"]),
        tries=len(asked),
        applied=bool(applied["ok"]),
        said=str(applied["error"] or destroyed["error"])[:500],
        destroyed=bool(destroyed["ok"]),
        gone=bool(destroyed["gone"]),
        left=left,
        twice={
            name: count for name, count in made.items() if count > 1 + (name == "ec2:AuthorizeSecurityGroupIngress")
        },
        seconds=round(time.monotonic() - begun, 1),
    )
    cell.wrong = judged(cell)
    return cell


def judged(cell: ApplyCell) -> str:
    """What is not as it should be, "" for nothing."""
    needless = cell.fault in HAPPENS or cell.api in NOT_NEEDED
    if cell.left:
        return f"left: {cell.left}"
    if not cell.gone:
        return "does not say that it is gone"
    if cell.hit and cell.times == "always" and cell.applied and cell.destroyed and not needless:
        return "well, though AWS never did what was asked"
    if not (cell.applied and cell.destroyed) and not cell.said:
        return "failed, and says nothing"
    return ""


def run(folder: Path, apis: Iterable[Api], at_once: int = 6, say: Callable[[str], None] = print) -> list[ApplyCell]:
    """Each write with its answer lost; each call for ever with a fault, in turn."""
    terraform = [api for api in apis if api.caller == "terraform"]
    writes = [api for api in terraform if not api.operation.startswith(("Describe", "Get", "List"))]
    wanted: list[tuple[Api, str, int | None]] = [(api, fault, 1) for api in writes for fault in LOST]
    wanted += [(api, FOR_EVER[number % len(FOR_EVER)], None) for number, api in enumerate(terraform)]

    def tell(each: tuple[Api, str, int | None]) -> ApplyCell:
        cell = one(folder, *each)
        how = f"applied {cell.applied}, destroyed {cell.destroyed}, gone {cell.gone}, {cell.seconds} s"
        say(f"{cell.api} {cell.fault} {cell.times}: {how}; {cell.said[:160]} {cell.wrong and 'WRONG ' + cell.wrong}")
        return cell

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(tell, wanted))
