#!/usr/bin/env python3
"""The smoke against bare Terraform, and against the script that one would write instead, in turn, in one local AWS.

usage: .venv/bin/python bench/smoke.py [--times 3] with the local AWS and its stacks up

Three ways: `terraform apply` and `destroy` of 20-alb alone; smoke_by_hand.sh (terraform, aws, jq, curl, psql; the same
questions in its preflight); alb_smoke.yml. Each way is taken `times` times, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from tests.e2e import harness
from tests.e2e.services import CLUSTER, DATABASE, SECRET, SERVICE

TERRAFORM = CHECKOUT / ".sandbox" / "bin" / "terraform"
SETTINGS = CHECKOUT / "sandbox" / "terraform"


@dataclass
class Took:
    """Seconds of one pass, and of its part before anything is created; calls to AWS."""

    wall: float
    preflight: float
    calls: int

    @property
    def rest(self) -> float:
        return self.wall - self.preflight


def outputs() -> dict[str, Any]:
    """What 00-network says of itself."""
    path = harness.SANDBOX_ROOT / ".sandbox" / "state" / "stacks" / "papyrus-prd" / "outputs.json"
    network: dict[str, Any] = json.loads(path.read_text("utf-8"))["00-network"]
    return network


def environment() -> dict[str, str]:
    """Of Terraform and the aws command: the local AWS, and nothing of the shell that could lead elsewhere."""
    known = harness.facts()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {
        **kept, "PATH": f"{CHECKOUT / '.venv' / 'bin'}:{kept['PATH']}", "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_ACCESS_KEY_ID": known["access_key_id"], "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        "AWS_REGION": known["region"], "AWS_DEFAULT_REGION": known["region"], "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_PAGER": "",
        "TF_CLI_CONFIG_FILE": str(CHECKOUT / ".sandbox" / "terraform" / "terraform.rc"),
        "TF_VAR_sandbox_endpoint": known["endpoint"],
    }  # fmt: skip


def stack(folder: Path) -> dict[str, Any]:
    """A copy of 20-alb with its variables, as a run makes it. Returns the variables."""
    network, known = outputs(), harness.facts()
    shutil.copytree(CHECKOUT / "infra" / "20-alb", folder)
    for name in ("sandbox_endpoint.tf", "sandbox_override.tf"):
        shutil.copy(SETTINGS / name, folder)
    now = datetime.now(UTC)
    suffix = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _each in range(6))
    variables = {
        "region": known["region"], "name": f"papyrus-bench-{suffix}", "service": SERVICE, "tag_prefix": "papyrus",
        "run_id": f"{now:%Y%m%dT%H%M%SZ}-{suffix}", "expires_at": f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}",
        "vpc_id": network["vpc_id"], "subnet_ids": network["public_subnet_ids"], "app_port": 5000,
        "scheme": "internet-facing", "ingress_cidrs": ["127.0.0.1/32"], "ecs_tasks_sg_id": network["ecs_tasks_sg_id"],
        "header_name": "X-Papyrus-Run", "header_value": secrets.token_hex(16),
    }  # fmt: skip
    (folder / "run.auto.tfvars.json").write_text(json.dumps(variables), "utf-8")
    return variables


def done(command: list[str], environ: dict[str, str] | None = None) -> str:
    """Standard output of a command that ended with 0."""
    finished = subprocess.run(command, env=environ, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{command[0]}: exit code {finished.returncode}\n{finished.stdout}\n{finished.stderr}"[-6000:])
    return finished.stdout


def bare(folder: Path) -> tuple[float, float]:
    """apply and destroy; init before it does not count."""
    stack(folder / "stack")
    terraform = [str(TERRAFORM), f"-chdir={folder / 'stack'}"]
    done([*terraform, "init", "-input=false"], environment())
    began = time.monotonic()
    for action in ("apply", "destroy"):
        done([*terraform, action, "-auto-approve", "-input=false"], environment())
    return time.monotonic() - began, 0.0


def by_hand(folder: Path) -> tuple[float, float]:
    """The script."""
    variables, network, known = stack(folder / "stack"), outputs(), harness.facts()
    given = {
        **environment(), "STACK": str(folder / "stack"), "CLUSTER": CLUSTER, "SERVICE": SERVICE, "SECRET": SECRET,
        "DATABASE": DATABASE, "TASKS_SG": network["ecs_tasks_sg_id"], "SUBNETS": ",".join(variables["subnet_ids"]),
        "PORT": "5000", "HEADER": f"{variables['header_name']}: {variables['header_value']}",
        "CA_FILE": known["ca_file"], "TERRAFORM": str(TERRAFORM), "CONNECT_TO": f"::127.0.0.1:{known['port']}",
    }  # fmt: skip
    began = time.monotonic()
    told = dict(line.split() for line in done([str(CHECKOUT / "bench" / "smoke_by_hand.sh")], given).splitlines())
    return time.monotonic() - began, int(told["preflight"]) / 1000


def playbook(folder: Path) -> tuple[float, float]:
    """alb_smoke.yml, from the start of ansible-playbook to its end; its preflight ends with the item preflight.json."""
    began, at = time.monotonic(), datetime.now(UTC)
    smoke = harness.run_smoke(folder, {})
    wall = time.monotonic() - began
    if smoke.exit_code:
        raise SystemExit(smoke.output[-6000:])
    [answered] = [line["at"] for line in smoke.lines if line["name"] == "preflight.json"]
    return wall, (datetime.fromisoformat(answered) - at).total_seconds()


WAYS: dict[str, Callable[[Path], tuple[float, float]]] = {
    "`terraform apply` and `destroy` alone": bare,
    "`smoke_by_hand.sh`": by_hand,
    "`alb_smoke.yml`": playbook,
}


def measure(way: Callable[[Path], tuple[float, float]]) -> Took:
    """One pass in a folder of its own."""
    before = max((call["n"] for call in harness.calls()), default=0)
    with tempfile.TemporaryDirectory(prefix="papyrus-bench-") as folder:
        wall, preflight = way(Path(folder))
    return Took(wall, preflight, len(harness.calls(before)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    took: dict[str, list[Took]] = {name: [] for name in WAYS}
    for number in range(times):
        for name, way in WAYS.items():
            took[name].append(measure(way))
            print(f"{number + 1}/{times} {name}: {took[name][-1]}", file=sys.stderr, flush=True)
    base = statistics.median(each.rest for each in took[next(iter(WAYS))])
    print("| median of " + str(times) + " | s | preflight s | the rest s | the rest / Terraform | calls to AWS |")
    print("|---|---|---|---|---|---|")
    for name, each in took.items():
        wall, preflight, rest, calls = (
            statistics.median(getattr(one, what) for one in each) for what in ("wall", "preflight", "rest", "calls")
        )
        print(f"| {name} | {wall:.1f} | {preflight:.1f} | {rest:.1f} | {rest / base:.2f} | {calls:.0f} |")


if __name__ == "__main__":
    main()
