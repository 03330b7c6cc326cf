"""The molecule scenario passes, and its verify.yml fails on each planted fault."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.e2e import harness


@pytest.fixture(scope="module")
def ephemeral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the scenario, converged once."""
    folder = tmp_path_factory.mktemp("molecule")
    converged = molecule("converge", folder)
    assert converged.returncode == 0, converged.stdout[-4000:]
    return folder


def molecule(action: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one action of the scenario with its own folder for everything that molecule writes."""
    tools = harness.CHECKOUT / ".venv" / "bin"
    return subprocess.run(
        [str(tools / "molecule"), action, "--scenario-name", "default"],
        cwd=harness.CHECKOUT,
        env=os.environ
        | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "MOLECULE_EPHEMERAL_DIRECTORY": str(folder),
            "PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT),
            "NO_COLOR": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )


def bundle(folder: Path) -> Path:
    """The bundle that the scenario's converge made."""
    (found,) = folder.glob("evidence/runs/*/")
    return found


def test_L2_verify_passes_on_a_good_run(ephemeral: Path) -> None:
    verified = molecule("verify", ephemeral)
    assert verified.returncode == 0, verified.stdout[-4000:]


def test_L2_verify_fails_on_a_changed_item(ephemeral: Path) -> None:
    item = next(bundle(ephemeral).glob("*_healthz.log"))
    kept = item.read_bytes()
    item.write_bytes(kept.replace(b"200", b"500", 1))
    try:
        verified = molecule("verify", ephemeral)
    finally:
        item.write_bytes(kept)
    assert verified.returncode != 0
    assert "is not whole" in verified.stdout


def test_L2_verify_fails_on_a_security_group_that_is_left(ephemeral: Path) -> None:
    ec2 = harness.client("ec2")
    vpc = next(vpc for vpc in ec2.describe_vpcs()["Vpcs"] if vpc["CidrBlock"] == harness.facts()["vpc_cidr"])["VpcId"]
    name = "papyrus-smoke-" + bundle(ephemeral).name.rsplit("-", 1)[1]
    group = ec2.create_security_group(GroupName=name, Description="planted", VpcId=vpc)["GroupId"]
    try:
        verified = molecule("verify", ephemeral)
    finally:
        ec2.delete_security_group(GroupId=group)
    assert verified.returncode != 0
    assert "is left in AWS" in verified.stdout
