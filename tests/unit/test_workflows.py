"""N1, H2: the workflows of this repository give away nothing, and what they are told is never a command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
SWEEP = CHECKOUT / ".github" / "workflows" / "sweep.yml"
RUN = "20261124T120000Z-abc234"

STUB = """#!/bin/sh
printf '%s\\n' "$@" >asked
for each in "$@"; do case $each in @*) cp "${each#@}" told ;; esac; done
env | grep -c ^AWS_ >aws
if [ -d leave ]; then mkdir -p evidence && cp -r leave/* evidence/; fi
echo '::error file=x::from a tag'
exit "${CODE:-0}"
"""


def loaded(path: Path) -> dict[str, Any]:
    """A workflow; YAML reads the key `on` as true."""
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = loaded(path)["jobs"]
    return result


def step(name: str) -> dict[str, Any]:
    [found] = [each for each in jobs(SWEEP)["sweep"]["steps"] if each["name"] == name]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_H2_actions_are_pinned_by_commit_and_name_their_version(path: Path) -> None:
    used = re.findall(r"^\s+(?:- )?uses:\s*(.*)$", path.read_text("utf-8"), re.MULTILINE)
    assert used
    for each in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_H2_no_expression_is_in_a_script_and_every_job_is_bounded(path: Path) -> None:
    assert loaded(path)["permissions"] == {}
    for job in jobs(path).values():
        assert 0 < job["timeout-minutes"] <= 60
        for each in job["steps"]:
            assert "${{" not in each.get("run", ""), each["name"]


def test_H2_the_sweep_asks_for_a_role_and_for_nothing_else() -> None:
    content = loaded(SWEEP)
    assert set(content[True]) == {
        "schedule",
        "workflow_dispatch",
    }  # nobody outside starts it: no pull request, no comment
    assert content["concurrency"] == {"group": "papyrus-sweep", "cancel-in-progress": False}
    job = content["jobs"]["sweep"]
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert job["environment"] == "papyrus-sweep"
    assert "secrets." not in SWEEP.read_text("utf-8")
    assert step("Check the repository out")["with"]["persist-credentials"] is False


def test_H2_only_the_sweep_itself_has_the_credentials() -> None:
    """What is installed is installed before; the steps after it find nothing in their environment."""
    role = step("Take the role that may sweep")
    assert (role["with"]["output-credentials"], role["with"]["output-env-credentials"]) == (True, False)
    names = [each["name"] for each in jobs(SWEEP)["sweep"]["steps"]]
    assert names.index("Install the collection's environment from its hashed lock") < names.index(role["name"])
    having = [each["name"] for each in jobs(SWEEP)["sweep"]["steps"] if "steps.role.outputs" in json.dumps(each)]
    assert having == ["Sweep"]


def test_N1_the_evidence_is_kept_however_the_sweep_ends() -> None:
    kept = step("Keep the evidence")
    assert kept["if"] == "always()"
    assert kept["with"]["path"].endswith("/papyrus-sweep") and '"$RUNNER_TEMP/papyrus-sweep"' in step("Sweep")["run"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_H2_shellcheck_passes_each_script(path: Path, tmp_path: Path) -> None:
    for number, each in enumerate(each for job in jobs(path).values() for each in job["steps"] if "run" in each):
        script = tmp_path / f"{number}.sh"
        script.write_text("#!/bin/bash\nset -eo pipefail\n" + each["run"], "utf-8")
        found = subprocess.run(
            [str(Path(sys.executable).with_name("shellcheck")), str(script)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert found.returncode == 0, found.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the script and an ansible-playbook that only notes what it was asked."""
    for folder in ("scripts", ".venv/bin", "playbooks"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "scripts" / "scheduled_sweep.py").write_bytes(
        (CHECKOUT / "scripts" / "scheduled_sweep.py").read_bytes()
    )
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    stub = tmp_path / ".venv" / "bin" / "ansible-playbook"
    stub.write_text(STUB, "utf-8")
    stub.chmod(0o755)
    return tmp_path


def swept(checkout: Path, **given: str) -> subprocess.CompletedProcess[str]:
    """The script of the step Sweep, as the runner starts it."""
    values = {"INVENTORY": "inventories/prd", "RUN_IDS": "", "CHECK": "", "RUNNER_TEMP": str(checkout), **given}
    script = step("Sweep")["run"].replace("/papyrus-sweep", "/evidence")
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=checkout, env={"PATH": "/usr/bin:/bin", **values}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_N1_the_schedule_sweeps_everything_expired_and_hands_the_exit_code_on(checkout: Path) -> None:
    ended = swept(checkout, CODE="2")
    assert ended.returncode == 2
    asked = (checkout / "asked").read_text("utf-8").splitlines()
    assert asked[:3] == ["playbooks/sweep.yml", "--inventory", "inventories/prd"] and "--check" not in asked
    assert json.loads((checkout / "told").read_bytes()) == {"papyrus_evidence_root": str(checkout / "evidence")}


def test_N1_runs_are_named_by_id_and_check_mode_is_asked_for(checkout: Path) -> None:
    other = "20261124T120000Z-xyz567"
    assert swept(checkout, RUN_IDS=f" {RUN}, {other}\n", CHECK="true").returncode == 0
    assert "--check" in (checkout / "asked").read_text("utf-8").splitlines()
    assert json.loads((checkout / "told").read_bytes())["papyrus_sweep_run_ids"] == [RUN, other]


@pytest.mark.parametrize(
    "hostile",
    [
        "$(touch pwned)",
        "`touch pwned`",
        f"{RUN}; touch pwned",
        "{{ lookup('pipe', 'touch pwned') }}",
        "../../x",
        "--check",
    ],
)
def test_N1_what_is_no_run_id_is_refused_and_never_run(checkout: Path, hostile: str) -> None:
    ended = swept(checkout, RUN_IDS=hostile)
    assert ended.returncode == 2
    assert not (checkout / "pwned").exists() and not (checkout / "asked").exists()


def test_N1_a_hostile_inventory_is_one_word(checkout: Path) -> None:
    swept(checkout, INVENTORY="x; touch pwned $(touch pwned)")
    assert "x; touch pwned $(touch pwned)" in (checkout / "asked").read_text("utf-8").splitlines()
    assert not (checkout / "pwned").exists()


def test_H2_what_the_playbook_prints_is_no_command_to_the_runner(checkout: Path) -> None:
    """https://docs.github.com/actions/reference/workflow-commands-for-github-actions#stopping-and-starting-workflow-commands"""
    lines = swept(checkout, GITHUB_ACTIONS="true").stdout.splitlines()
    silence = re.fullmatch(r"::stop-commands::(sweep-[0-9a-f]{32})", lines[0])
    assert silence is not None
    assert lines.index("::error file=x::from a tag") < lines.index(f"::{silence.group(1)}::")
    assert "::" not in swept(checkout).stdout.replace("::error file=x::from a tag", "")


def bundle(folder: Path, reason: str, result: str = "FAILED") -> None:
    """A bundle as far as the summary reads it."""
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


def test_N1_the_summary_has_the_verdict_and_what_failed_first(checkout: Path) -> None:
    bundle(checkout / "leave" / RUN, "still there")
    summary = checkout / "summary.md"
    summary.write_text("before\n", "utf-8")
    swept(checkout, GITHUB_STEP_SUMMARY=str(summary))
    lines = summary.read_text("utf-8").splitlines()
    assert lines[:4] == ["before", f"### Sweep {RUN}: FAILED", "", "First failure, C7: still there"]
    assert [line for line in lines if line.startswith("| C")] == [
        "| C7 | b&#46;json | NG | still there |", "| C6 | a&#46;json | OK | fine |"
    ]  # fmt: skip


@pytest.mark.parametrize("torn", ["", "{", '{"name": "run.json"}\n'])
def test_N1_a_bundle_without_verdict_says_so(checkout: Path, torn: str) -> None:
    (checkout / "leave" / RUN).mkdir(parents=True)
    (checkout / "leave" / RUN / "manifest.jsonl").write_text(torn, "utf-8")
    swept(checkout, GITHUB_STEP_SUMMARY=str(checkout / "summary.md"))
    assert (checkout / "summary.md").read_text("utf-8").startswith(f"### Sweep {RUN}: no verdict")


def test_H2_text_of_others_in_the_summary_is_text(checkout: Path) -> None:
    hostile = "<img src=x onerror=alert(1)> [a](https://evil.example) | `x` ![](x) @team #1 &lt; \n# big\r\n::error::"
    bundle(checkout / "leave" / RUN, hostile)
    swept(checkout, GITHUB_STEP_SUMMARY=str(checkout / "summary.md"))
    text = (checkout / "summary.md").read_text("utf-8")
    written = [line for line in text.splitlines() if "onerror" in line]
    assert len(written) == 2
    for line in written:
        assert not re.search(r"[<>\[\]`!@*_\\.]|::|//|&(?!#\d+;)|(?<!&)#", line), line
