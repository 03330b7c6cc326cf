"""L1, N1, H2: what a workflow's steps call, in a checkout whose ansible-playbook only notes what it was asked."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from workflow_files import CHECKOUT, command, run_step, step

RUN = "20261124T120000Z-abc234"
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAplanted",
    "AWS_SECRET_ACCESS_KEY": "pl/anted+secret",
    "AWS_SESSION_TOKEN": "pl//token",
}
IDS = {"VPC_ID": "vpc-0aa11", "PUBLIC_SUBNET_IDS": "subnet-0bb22bb2, subnet-0cc33cc3", "ECS_TASK_SG_ID": "sg-0dd44dd4"}
IDS |= {"VPC_ID": "vpc-0aa11aa1"}
PRIVATE = [*KEYS.values(), "vpc-0aa11aa1", "subnet-0bb22bb2", "subnet-0cc33cc3", "sg-0dd44dd4", "ci-token-planted"]

STUB = """#!/bin/sh
root=%s
printf '%%s\\n' "$@" >$root/asked
env >$root/environment
for each in "$@"; do case $each in @*) cp "${each#@}" $root/told; stat -c %%a "${each#@}" >$root/mode ;; esac; done
cp "$AWS_SHARED_CREDENTIALS_FILE" $root/credentials 2>/dev/null
if [ -d $root/leave ]; then cp -r $root/leave/* $root/papyrus/evidence/; fi
echo '::error file=x::from a tag'
[ -z "$HANG" ] || { touch $root/hanging; sleep 60; }
exit "${CODE:-0}"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the scripts, the runner's settings, an inventory and the stub."""
    for folder in ("scripts", "runner/env", ".venv/bin", "playbooks", "inventories/prd", "tmp"):
        (tmp_path / folder).mkdir(parents=True)
    copied = ["scripts/workflow_play.py", "scripts/workflow_end.py", "runner/env/settings", "runner/env/envvars"]
    for name in copied:
        (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stub = tmp_path / ".venv" / "bin" / "ansible-playbook"
    stub.write_text(STUB % tmp_path, "utf-8")
    stub.chmod(0o755)
    return tmp_path


def surroundings(checkout: Path, **given: str) -> dict[str, str]:
    """The environment of a step on GitHub, as far as it matters."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    return {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(packages),  # the stub's folder has no packages of its own
        "HOME": str(checkout),
        "TMPDIR": str(checkout / "tmp"),
        "RUNNER_TEMP": str(checkout),
        "INVENTORY": "inventories/prd",
        "AWS_REGION": "us-west-2",
        "AWS_CREDENTIAL_EXPIRATION": '"2026-11-27T12:00:00.000Z"',
        "GITHUB_TOKEN": "ci-token-planted",
        **KEYS,
        **given,
    }


def swept(checkout: Path, **given: str) -> subprocess.CompletedProcess[str]:
    return run_step("sweep", "Sweep", checkout, surroundings(checkout, **{"RUN_IDS": "", "CHECK": "", **given}))


def smoked(checkout: Path, **given: str) -> subprocess.CompletedProcess[str]:
    values = {"SERVICE": "papyrus-prd", "CHECK": "true", **IDS, **given}
    return run_step("alb-smoke", "Smoke", checkout, surroundings(checkout, **values))


def ended(checkout: Path, **given: str) -> subprocess.CompletedProcess[str]:
    files = {"GITHUB_STEP_SUMMARY": str(checkout / "summary.md"), "GITHUB_OUTPUT": str(checkout / "output")}
    values = {**surroundings(checkout), **files, **given}
    return run_step("alb-smoke", "Say how it ended", checkout, {k: v for k, v in values.items() if k not in KEYS})


def asked(checkout: Path) -> list[str]:
    return (checkout / "asked").read_text("utf-8").splitlines()


def told(checkout: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((checkout / "told").read_bytes())
    return result


def bundle(checkout: Path, reason: str, result: str = "FAILED", run: str = RUN) -> None:
    """A bundle as far as the summary reads it, which the stub leaves."""
    folder = checkout / "leave" / run
    folder.mkdir(parents=True)
    verdict = {"result": result, "first_failure": {"step": "C7", "cause": reason}}
    rows: list[dict[str, Any]] = [
        {"name": "run.json", "path": "run.json", "status": "info", "step": "all"},
        {"name": "a.json", "path": "a.json", "status": "ok", "step": "C6", "meta": {"reason": "fine"}},
        {"name": "b.json", "path": "b.json", "status": "ng", "step": "C7", "meta": {"reason": reason}},
        {"name": "verdict.json", "path": "1_verdict.json", "status": "ng", "step": "all", "meta": {}},
    ]
    (folder / "1_verdict.json").write_text(json.dumps(verdict), "utf-8")
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n", "utf-8")


@pytest.mark.parametrize("code", ["0", "2", "4"])
def test_N1_the_schedule_sweeps_everything_expired_and_hands_the_exit_code_on(checkout: Path, code: str) -> None:
    bundle(checkout, "x")
    assert swept(checkout, CODE=code).returncode == int(code)
    assert asked(checkout)[-1] == "sweep.yml"
    assert not {"--check", "--limit"} & set(asked(checkout))
    assert str(checkout / "inventories" / "prd") in asked(checkout)
    assert told(checkout) == {"papyrus_evidence_root": str(checkout / "papyrus" / "evidence")}


def test_N1_runs_are_named_by_id_and_check_mode_is_asked_for(checkout: Path) -> None:
    other = "20261124T120000Z-xyz567"
    assert swept(checkout, RUN_IDS=f" {RUN}, {other}\n", CHECK="true").returncode == 0
    assert "--check" in asked(checkout)
    assert told(checkout)["papyrus_sweep_run_ids"] == [RUN, other]


def test_L1_the_ids_of_a_smoke_are_runtime_variables(checkout: Path) -> None:
    assert smoked(checkout).returncode == 0
    found = told(checkout)
    assert found["papyrus_vpc_id"] == "vpc-0aa11aa1"
    assert found["papyrus_alb_subnet_ids"] == ["subnet-0bb22bb2", "subnet-0cc33cc3"]
    assert found["papyrus_tasks_sg_id"] == "sg-0dd44dd4"
    assert (checkout / "mode").read_text("utf-8") == "600\n"
    assert asked(checkout)[asked(checkout).index("--limit") + 1] == "papyrus-prd"


def test_L1_ids_that_are_not_set_stay_the_inventorys(checkout: Path) -> None:
    assert smoked(checkout, VPC_ID="", PUBLIC_SUBNET_IDS=" ", ECS_TASK_SG_ID="").returncode == 0
    assert list(told(checkout)) == ["papyrus_evidence_root"]


def test_K1_an_export_says_how_far_back(checkout: Path) -> None:
    bundle(checkout, "x")
    run_step("audit-export", "Export", checkout, surroundings(checkout, HOURS="26"))
    assert asked(checkout)[-1] == "audit_export.yml" and told(checkout)["papyrus_audit_hours"] == 26


HOSTILE = [
    "$(touch pwned)",
    "`touch pwned`",
    "x; touch pwned",
    "{{ lookup('pipe', 'touch pwned') }}",
    "../../x",
    "--check",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_N1_what_is_no_run_id_is_refused_and_never_run(checkout: Path, hostile: str) -> None:
    assert swept(checkout, RUN_IDS=hostile).returncode == 2
    assert not (checkout / "pwned").exists() and not (checkout / "asked").exists()


@pytest.mark.parametrize("hostile", [*HOSTILE, "all", "", "a,b", "a:b", "*"])
def test_L1_what_is_no_host_is_refused_and_never_run(checkout: Path, hostile: str) -> None:
    assert smoked(checkout, SERVICE=hostile).returncode == 2
    assert not (checkout / "pwned").exists() and not (checkout / "asked").exists()


@pytest.mark.parametrize("name", list(IDS))
def test_L1_what_is_no_id_is_refused_and_not_repeated(checkout: Path, name: str) -> None:
    for wrong in ("{{ lookup('pipe', 'id') }}", "vpc-XYZ", "sg-0dd44dd4 sg-0dd44dd5", "planted-value"):
        ran = smoked(checkout, **{name: wrong})
        assert ran.returncode == 2 and name in ran.stderr and wrong not in ran.stdout + ran.stderr
        assert not (checkout / "asked").exists()


@pytest.mark.parametrize("hours", ["0", "-1", "1e9", "26; x", "{{ 1 }}", ""])
def test_K1_what_is_no_number_of_hours_is_refused(checkout: Path, hours: str) -> None:
    assert run_step("audit-export", "Export", checkout, surroundings(checkout, HOURS=hours)).returncode == 2


def test_N1_a_hostile_inventory_is_no_inventory(checkout: Path) -> None:
    assert swept(checkout, INVENTORY="x; touch pwned $(touch pwned)").returncode == 2
    assert not (checkout / "pwned").exists() and not (checkout / "asked").exists()


def test_H2_credentials_are_in_one_private_file_and_in_no_environment_argv_or_artifact(checkout: Path) -> None:
    bundle(checkout, "x")
    ran = smoked(checkout, CHECK="false", GITHUB_ACTIONS="true")
    lines = (checkout / "credentials").read_text("utf-8").splitlines()
    assert lines == ["[default]", *(f"{name.lower()} = {value}" for name, value in KEYS.items())]
    environment = (checkout / "environment").read_text("utf-8")
    assert "\nAWS_CREDENTIAL_EXPIRATION=2026-11-27T12:00:00.000Z\n" in f"\n{environment}"
    given = environment.replace("ci-token-planted", "")  # what Ansible may use, and no artifact may have
    for secret in PRIVATE:
        assert secret not in given and secret not in "\n".join(asked(checkout)) and secret not in ran.stderr
        for path in (checkout / "papyrus").rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path
    shown = [line for line in ran.stdout.splitlines() if any(secret in line for secret in PRIVATE)]
    assert shown == [f"::add-mask::{each}" for each in sorted(PRIVATE[3:7])]
    private = checkout / "papyrus.private"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "credentials").stat().st_mode) == 0o600


def test_L1_the_artifacts_say_what_ran_with_names_of_variables_only(checkout: Path) -> None:
    smoked(checkout, CODE="2")
    job = checkout / "papyrus" / "runner" / "job"
    assert (job / "rc").read_text("utf-8") == "2" and (job / "status").read_text("utf-8") == "failed"
    environment = json.loads((job / "command").read_bytes())["env"]
    assert "GITHUB_TOKEN" in environment and all(isinstance(each, str) for each in environment)


def test_L1_a_playbook_that_ends_well_without_a_bundle_has_proved_nothing(checkout: Path) -> None:
    ran = smoked(checkout, CHECK="false")
    assert ran.returncode == 1 and "proved nothing" in ran.stderr


def test_C6_a_cancelled_step_cancels_the_playbook_and_keeps_what_the_guard_needs(checkout: Path) -> None:
    """GitHub sends SIGINT to the step's own process, and waits for 7.5 s.

    https://docs.github.com/en/actions/reference/workflow-cancellation-reference
    """
    environment = surroundings(checkout, SERVICE="papyrus-prd", CHECK="", HANG="1")
    with subprocess.Popen(
        command(step("alb-smoke", "Smoke")["run"], checkout), cwd=checkout, env=environment
    ) as process:
        deadline = time.monotonic() + 30
        while not (checkout / "hanging").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        began = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 254
        assert time.monotonic() - began < 7.5
    assert (checkout / "papyrus" / "runner" / "job" / "status").read_text("utf-8") == "canceled"
    assert (checkout / "papyrus.private" / "credentials").exists()


def test_H2_what_the_playbook_prints_is_no_command_to_the_runner(checkout: Path) -> None:
    """https://docs.github.com/actions/reference/workflow-commands-for-github-actions#stopping-and-starting-workflow-commands"""
    lines = swept(checkout, GITHUB_ACTIONS="true", CHECK="true").stdout.splitlines()
    silence = re.fullmatch(r"::stop-commands::(papyrus-[0-9a-f]{32})", lines[0])
    assert silence is not None
    assert lines.index("::error file=x::from a tag") < lines.index(f"::{silence.group(1)}::")


def test_N1_the_summary_has_the_verdict_and_what_failed_first(checkout: Path) -> None:
    bundle(checkout, "still there")
    (checkout / "summary.md").write_text("before\n", "utf-8")
    smoked(checkout, CHECK="false")
    assert ended(checkout).returncode == 0
    lines = (checkout / "summary.md").read_text("utf-8").splitlines()
    assert lines[:4] == ["before", f"### {RUN}: FAILED", "", "First failure, C7: still there"]
    assert [line for line in lines if line.startswith("| C")] == [
        "| C7 | b&#46;json | NG | still there |", "| C6 | a&#46;json | OK | fine |"
    ]  # fmt: skip
    assert (checkout / "output").read_text("utf-8") == f"run-ids={RUN}\nresult=FAILED\n"
    assert not (checkout / "papyrus.private").exists()


def test_H2_the_ids_of_the_smoke_are_in_no_summary_and_no_output(checkout: Path) -> None:
    bundle(checkout, "subnet-0bb22bb2 of vpc-0aa11aa1 has no route; sg-0dd44dd4 is closed")
    smoked(checkout, CHECK="false")
    ended(checkout)
    text = (checkout / "summary.md").read_text("utf-8") + (checkout / "output").read_text("utf-8")
    assert "First failure, C7: &#42;&#42;&#42; of &#42;&#42;&#42; has no route" in text
    for secret in PRIVATE:
        assert secret not in text and "".join(f"&#{ord(c)};" if c == "-" else c for c in secret) not in text


def test_L1_the_worst_of_several_runs_is_the_result(checkout: Path) -> None:
    for result, run in (("PASSED", "a"), ("WARNED", "b"), ("FAILED", "c"), ("PASSED", "d")):
        bundle(checkout, "x", result, f"20261124T120000Z-{run * 6}")
        smoked(checkout, CHECK="false")
        ended(checkout)
        subprocess.run(["rm", "-rf", str(checkout / "papyrus")], check=True)
    results = re.findall(r"^result=(.*)$", (checkout / "output").read_text("utf-8"), re.MULTILINE)
    assert results == ["PASSED", "WARNED", "FAILED", "FAILED"]


@pytest.mark.parametrize("torn", ["", "{", '{"name": "run.json"}\n'])
def test_N1_a_bundle_without_verdict_says_so(checkout: Path, torn: str) -> None:
    (checkout / "leave" / RUN).mkdir(parents=True)
    (checkout / "leave" / RUN / "manifest.jsonl").write_text(torn, "utf-8")
    smoked(checkout, CHECK="false")
    ended(checkout)
    assert (checkout / "summary.md").read_text("utf-8").startswith(f"### {RUN}: no verdict")
    assert "result=none" in (checkout / "output").read_text("utf-8")


def test_N1_nothing_that_was_opened_is_said_as_well(checkout: Path) -> None:
    ended(checkout)
    assert "No evidence" in (checkout / "summary.md").read_text("utf-8")
    assert (checkout / "output").read_text("utf-8") == "run-ids=\nresult=none\n"


def test_C6_the_end_waits_for_the_guard_and_keeps_what_it_needs_until_then(checkout: Path) -> None:
    """A run's private folder is the last thing that its guard removes."""
    bundle(checkout, "x")
    smoked(checkout, CHECK="false")
    guard = checkout / "tmp" / f"papyrus-{RUN.rsplit('-', 1)[1]}-x"
    guard.mkdir()
    script = step("alb-smoke", "Say how it ended")["run"] + " --wait 1"
    values = {**surroundings(checkout), "GITHUB_STEP_SUMMARY": str(checkout / "summary.md")}
    ran = subprocess.run(
        command(script, checkout), cwd=checkout, env=values, capture_output=True, text=True, check=True
    )
    assert f"Waiting for the guard of {RUN}" in ran.stdout
    assert "the sweep has to" in (checkout / "summary.md").read_text("utf-8")
    assert (checkout / "papyrus.private" / "credentials").exists()
    with subprocess.Popen(command(script, checkout), cwd=checkout, env=values | {"GITHUB_STEP_SUMMARY": ""}) as waiting:
        time.sleep(0.5)
        guard.rmdir()
        assert waiting.wait(20) == 0
    assert not (checkout / "papyrus.private").exists()


def test_H2_text_of_others_in_the_summary_is_text(checkout: Path) -> None:
    hostile = "<img src=x onerror=alert(1)> [a](https://evil.example) | `x` ![](x) @team #1 &lt; \n# big\r\n::error::"
    bundle(checkout, hostile)
    smoked(checkout, CHECK="false")
    ended(checkout)
    text = (checkout / "summary.md").read_text("utf-8")
    written = [line for line in text.splitlines() if "onerror" in line]
    assert len(written) == 2
    for line in written:
        assert not re.search(r"[<>\[\]`!@*_\\.]|::|//|&(?!#\d+;)|(?<!&)#", line), line
