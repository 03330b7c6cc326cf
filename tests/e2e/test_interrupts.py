"""Ctrl-C, SIGTERM, SIGKILL and an unreachable host: the guard takes everything down, completes and seals the bundle."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from . import harness
from .harness import RunningSmoke, left_behind, private_folders, processes_of

PHASES = {
    "apply": "Wait for the temporary ALB",
    "wait": "wait until it is healthy",
    "probes": "Ask every path",
}


def taken_down_by_the_guard(running: RunningSmoke, public_key: bytes = b"") -> harness.Smoke:
    """Require a FAILED verdict, sealed by the guard and in the ledger; nothing left, no process, no private folder."""
    smoke = running.end_by_guard()
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    assert smoke.verdict["first_failure"]["cause"]
    assert left_behind(smoke.run_id) == []
    assert processes_of(smoke.run_id) == []
    assert private_folders(smoke.run_id) == []
    assert smoke.closed["result"] == "FAILED"
    statement = smoke.statement_by(public_key) if public_key else smoke.statement
    says = harness.seal_of(statement)
    assert (says["by"], says["afterCrash"]) == ("guard", True)
    assert says["trust"] == ("kms" if public_key else "self-asserted")
    assert statement["predicate"]["failedTests"][0].startswith(smoke.verdict["first_failure"]["step"])
    return smoke


# "wait" is in the suite by SIGTERM, and "probes" by a release, whose smoke is this one (test_release).
@pytest.mark.parametrize(
    "phase", ["apply", *(pytest.param(each, marks=pytest.mark.soak) for each in ("wait", "probes"))]
)
def test_C6_sigint(tmp_path: Path, phase: str) -> None:
    running = RunningSmoke(tmp_path, {})
    running.wait_for_task(PHASES[phase])
    running.interrupt()
    taken_down_by_the_guard(running)


def test_C6_sigterm(tmp_path: Path) -> None:
    kms = harness.client("kms")
    arn = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
    public_key = load_der_public_key(kms.get_public_key(KeyId=arn)["PublicKey"])
    running = RunningSmoke(tmp_path, {"papyrus_signer": {"type": "kms", "key_id": arn}})
    running.wait_for_task(PHASES["wait"])
    running.signal(signal.SIGTERM)
    taken_down_by_the_guard(running, public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.soak  # in the suite by ansible-runner's cancel, which is a SIGKILL (test_runner)
def test_C6_sigkill_of_the_controller_alone(tmp_path: Path) -> None:
    running = RunningSmoke(tmp_path, {})
    running.wait_for_task(PHASES["apply"])
    running.signal(signal.SIGKILL)
    smoke = taken_down_by_the_guard(running)
    assert "gone" in json.loads(smoke.item("alb_sg_verify_gone.json"))


def test_C6_unreachable_host(tmp_path: Path) -> None:
    unreachable = {
        "ansible_connection": "ssh",
        "ansible_host": "127.0.0.1",
        "ansible_port": 9,
        "ansible_ssh_common_args": "-o ConnectTimeout=3",
    }
    running = RunningSmoke(tmp_path, unreachable)
    smoke = taken_down_by_the_guard(running)
    assert smoke.exit_code == 4
