"""N1, H2, L1: the workflows of this repository give away nothing, are bounded, and keep their evidence."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from workflow_files import WORKFLOWS, jobs, loaded, path_of, run_step, step, steps

PLAYING = {"sweep": "Sweep", "alb-smoke": "Smoke", "audit-export": "Export"}
"""Workflows that reach AWS, and their step that does."""
MINUTES = {"ci": 120}


def each_workflow(paths: list[Path] = WORKFLOWS) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def test_L1_there_is_a_workflow_for_each_thing_that_is_run_without_a_person() -> None:
    assert [path.stem for path in WORKFLOWS] == ["alb-smoke", "audit-export", "ci", "sweep"]


@each_workflow()
def test_H2_actions_are_pinned_by_commit_and_name_their_version(path: Path) -> None:
    used = re.findall(r"^\s+(?:- )?uses:\s*(.*)$", path.read_text("utf-8"), re.MULTILINE)
    assert used
    for each in used:
        own = each == "$/.github/workflows/sweep.yml"  # this repository's, at the same commit
        assert own or re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_H2_an_action_has_one_commit_everywhere() -> None:
    used = {line for path in WORKFLOWS for line in re.findall(r"uses: (\S+@\S+) #", path.read_text("utf-8"))}
    assert len(used) == len({each.partition("@")[0] for each in used})


@each_workflow()
def test_H2_no_expression_is_in_a_script_and_every_job_is_bounded(path: Path) -> None:
    assert loaded(path)["permissions"] == {}
    assert loaded(path)["concurrency"]["group"]
    for job in jobs(path).values():
        if "uses" not in job:
            assert 0 < job["timeout-minutes"] <= MINUTES.get(path.stem, 60)
    for each in steps(path):
        assert "${{" not in each.get("run", ""), each["name"]


def test_H2_ci_has_nothing_to_give_away() -> None:
    """Pull requests of strangers run in it: no secret, no token but to read, no environment."""
    [job] = jobs(path_of("ci")).values()
    assert (job["permissions"], "environment" in job) == ({"contents": "read"}, False)
    assert "secrets." not in path_of("ci").read_text("utf-8")
    assert "pull_request_target" not in loaded(path_of("ci"))[True]
    assert step("ci", "Keep what the local AWS and the tests have logged")["if"] == "always()"


@pytest.mark.parametrize(
    ("workflow", "events"),
    [
        ("sweep", {"schedule", "workflow_dispatch", "workflow_call"}),
        ("alb-smoke", {"workflow_dispatch"}),
        ("audit-export", {"schedule", "workflow_dispatch"}),
    ],
)
def test_H2_nobody_outside_starts_what_has_a_role(workflow: str, events: set[str]) -> None:
    """No pull request, no comment; a workflow_call is one by this repository's own workflows."""
    assert set(loaded(path_of(workflow))[True]) == events


@pytest.mark.parametrize("workflow", PLAYING)
def test_H2_a_job_asks_for_its_role_and_for_nothing_else(workflow: str) -> None:
    job = next(iter(jobs(path_of(workflow)).values()))
    assert job["permissions"] == {"contents": "read", "id-token": "write"}
    assert job["environment"] in ("papyrus-sweep", "papyrus-smoke", "papyrus-export")
    assert step(workflow, "Check the repository out")["with"]["persist-credentials"] is False
    assert loaded(path_of(workflow))["concurrency"]["cancel-in-progress"] is False


def test_H2_each_role_has_an_environment_of_its_own() -> None:
    environments = [next(iter(jobs(path_of(workflow)).values()))["environment"] for workflow in PLAYING]
    assert len(set(environments)) == len(PLAYING)


def test_L1_a_service_is_smoked_once_at_a_time() -> None:
    assert loaded(path_of("alb-smoke"))["concurrency"]["group"] == "papyrus-smoke-${{ inputs.service }}"


@pytest.mark.parametrize("workflow", PLAYING)
def test_H2_only_the_step_that_plays_has_the_credentials(workflow: str) -> None:
    """What is installed is installed before; the steps after it find nothing in their environment."""
    [role] = [each for each in steps(path_of(workflow)) if each.get("id") == "role"]
    assert (role["with"]["output-credentials"], role["with"]["output-env-credentials"]) == (True, False)
    names = [each["name"] for each in steps(path_of(workflow))]
    assert names.index("Install the collection's environment from its hashed lock") < names.index(role["name"])
    having = [each["name"] for each in steps(path_of(workflow)) if "steps.role.outputs" in json.dumps(each)]
    assert having == [PLAYING[workflow]]


def test_H2_secrets_are_three_ids_in_the_environment_of_one_step() -> None:
    for path in WORKFLOWS:
        text = path.read_text("utf-8")
        assert ("secrets." in text) == (path.stem == "alb-smoke"), path.stem
    having = [each for each in steps(path_of("alb-smoke")) if "secrets." in json.dumps(each)]
    assert [each["name"] for each in having] == ["Smoke"]
    given = {name: value for name, value in having[0]["env"].items() if "secrets." in value}
    assert given == {name: f"${{{{ secrets.{name} }}}}" for name in ("VPC_ID", "PUBLIC_SUBNET_IDS", "ECS_TASK_SG_ID")}


@pytest.mark.parametrize("workflow", PLAYING)
def test_N1_the_evidence_is_kept_however_the_run_ends(workflow: str) -> None:
    """The folder that is kept is the one that is played in; the private one beside it is not in it."""
    kept, end = step(workflow, "Keep the evidence"), step(workflow, "Say how it ended")
    assert kept["if"] == end["if"] == "always()"
    assert kept["with"]["path"] == "${{ runner.temp }}/papyrus"
    for each in (end, step(workflow, PLAYING[workflow])):
        assert '--folder "$RUNNER_TEMP/papyrus"' in each["run"]
        assert each["run"].startswith("exec ")  # GitHub signals the step's own process, and bash would keep it
    names = [each["name"] for each in steps(path_of(workflow))]
    assert names[-3:] == [PLAYING[workflow], end["name"], kept["name"]]


def test_N1_what_a_smoke_may_have_left_is_swept_under_the_sweeps_role() -> None:
    sweep, inputs = jobs(path_of("alb-smoke"))["sweep"], loaded(path_of("sweep"))[True]["workflow_call"]["inputs"]
    assert (sweep["needs"], sweep["uses"]) == ("smoke", "$/.github/workflows/sweep.yml")
    assert sweep["if"].startswith("always()") and "needs.smoke.result != 'success'" in sweep["if"]
    assert set(sweep["with"]) == set(inputs) == {"run_ids"}
    assert "secrets" not in sweep
    assert jobs(path_of("alb-smoke"))["smoke"]["outputs"]["run-ids"] == "${{ steps.end.outputs.run-ids }}"


@pytest.mark.parametrize("workflow", PLAYING)
def test_H2_where_nothing_is_set_up_it_says_what_is_missing(workflow: str, tmp_path: Path) -> None:
    found = step(workflow, "It is set up")
    values = dict.fromkeys(found["env"], "x") | {"ACCOUNT": ""}
    ended = subprocess.run(
        ["bash", "-e", "-c", found["run"]], env=values | {"PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 1 and "PAPYRUS_ACCOUNT_ID" in ended.stderr and "REGION" not in ended.stderr


@pytest.mark.parametrize("right", [True, False])
def test_H2_terraform_is_installed_by_its_checksum_or_not_at_all(right: bool, tmp_path: Path) -> None:
    archive, programs, path = tmp_path / "given.zip", tmp_path / "bin", tmp_path / "path"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("terraform", "#!/bin/sh\necho Terraform\n")
    programs.mkdir()
    (programs / "curl").write_text(f'#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done; cp {archive} "$2"\n', "utf-8")
    (programs / "curl").chmod(0o755)
    digest = hashlib.sha256(archive.read_bytes() + (b"" if right else b"x")).hexdigest()
    ended = run_step(
        "alb-smoke", "Install Terraform by its checksum", tmp_path,
        {"URL": "https://x.example/t.zip", "SHA256": digest, "RUNNER_TEMP": str(tmp_path), "GITHUB_PATH": str(path),
         "PATH": f"{programs}:/usr/bin:/bin"},
    )  # fmt: skip
    assert (ended.returncode == 0, path.exists(), (tmp_path / "terraform" / "terraform").exists()) == (right,) * 3
    if right:
        found = subprocess.run([Path(path.read_text("utf-8").strip(), "terraform")], capture_output=True, check=True)
        assert found.stdout == b"Terraform\n"


@each_workflow()
def test_H2_shellcheck_passes_each_script(path: Path, tmp_path: Path) -> None:
    for number, each in enumerate(each for each in steps(path) if "run" in each):
        script = tmp_path / f"{number}.sh"
        script.write_text("#!/bin/bash\nset -e\n" + each["run"], "utf-8")
        found = subprocess.run(
            [str(Path(sys.executable).with_name("shellcheck")), str(script)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout
