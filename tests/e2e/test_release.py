"""release back to the revision before when anything breaks (F1-F3). From a changed line to a proof: tests/molecule."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import harness, pty_launch
from .recorded import changed_app
from .releases import PLAYBOOK, Release, Served, left_nothing, went_back
from .services import Services
from .test_interrupts import PHASES, taken_down_by_the_guard
from .together import RunningTogether

ON_A_TERMINAL = (sys.executable, pty_launch.__file__)
DBCHECK, HEALTHZ = "papyrus/blueprints/dbcheck.py", "papyrus/blueprints/healthz.py"
BEGIN = "import os\n"
DIES = f"{BEGIN}print('boom: no blueprint', flush=True)\nraise SystemExit(3)\n"


def seen_on_a_terminal(smoke: harness.Smoke, host: str, result: str) -> None:
    """The line of progress through the long steps, lines of the rollout that stay, and the table at the end."""
    lines = pty_launch.painted(smoke.output)
    # A target that is healthy at the first look is waited for by nobody: what is said of one is test_targets_wait's.
    for task, waits in (
        ("Wait for the temporary ALB", "creating aws_lb.this"),
        ("Destroy the temporary ALB and prove", "destroy"),
    ):
        name = f"{task[:40]}.*  \\d+:\\d\\d  .*{waits}"
        assert any(re.search(name, line) for line in lines), (name, lines)
    assert max(map(len, lines)) < pty_launch.COLUMNS
    left = pty_launch.PAINTED.sub("", smoke.output)
    assert re.search(rf"^\[{host}\] \[ +\d+ s\] .*SUCCESSFUL", left, re.MULTILINE), "no line of the rollout"
    table = left.partition("VERDICT ***")[2]
    assert re.search(rf"{result}  {host} +\S+ +{smoke.run_id}  \d+:\d\d", table)
    assert f"report:   {smoke.bundle}/report.html" in table


def test_F_without_a_change_nothing_is_pushed_or_registered_and_C6_sigint_in_the_smoke(
    tmp_path: Path, services: Services
) -> None:
    service = services.service("same", breaker=True)
    before = Served(service)
    release = Release(tmp_path / "run", service)
    release.wait_for_task(PHASES["probes"], 300)
    release.interrupt()
    smoke = taken_down_by_the_guard(release)
    assert not {"RegisterTaskDefinition", "PutImage", "InitiateLayerUpload", "UploadLayerPart"} & set(release.writes)
    assert json.loads(smoke.item("image_push.json"))["outcome"] == "was there already"
    assert json.loads(smoke.item("taskdef_diff.json"))["registered"] is False
    subject = smoke.statement["subject"][0]  # no binding was made: it is about what was to be released
    assert f"sha256:{subject['digest']['sha256']}" == json.loads(smoke.item("image_push.json"))["digest"]
    told = smoke.verdict["release"]
    assert (told["result"], told["serving"], told["proven"]) == ("deployed", before.revision, False), told
    assert f"{before.name}:1 was deployed but is not proven" in release.output
    after = Served(service)
    assert after.only(before.revision), (after.revisions, after.deployments)
    assert before.digests == after.digests


def test_F_check_mode_shows_the_whole_plan_and_writes_nothing(tmp_path: Path) -> None:
    variables = changed_app(tmp_path) | {"papyrus_task_environment": {"PGSSLMODE": "verify-full", "ADDED": "yes"}}
    release = Release(tmp_path / "run", variables, "--check", "--diff")
    smoke = release.end()
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert release.writes == []
    assert smoke.bundles == []
    said = " ".join(smoke.output.split())
    for words in (
        "(would be pushed)",
        "after: papyrus-task:(new)",
        "+ ADDED: 'yes'",
        "would rehearse (ROLLBACK) and then apply (COMMIT) init.sql, sha256 ",
        "check mode; would be rolled out, as a revision that is yet to be registered",
        "aws_lb.this will be created",
        ":5000",
        "the identity chain of papyrus-task-service is left out",
    ):
        assert words in said, words


@dataclass
class Broken:
    """Releases of two services that fail, each in its own way; the runs, by their case."""

    services: dict[str, dict[str, Any]]
    old: dict[str, str]
    smokes: dict[str, harness.Smoke]

    def went_back(self, case: str, by: str, *words: str) -> harness.Smoke:
        went_back(self.smokes[case], self.services[case], self.old[case], by, *words)
        return self.smokes[case]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, services: Services) -> Broken:
    """Both as hosts of one run, on a terminal."""
    begin = "def dbcheck() -> Response:\n"
    edits = {
        "exit3": {"gunicorn.conf.py": (BEGIN, DIES)},
        "dbcheck": {DBCHECK: (begin, f"{begin}    return 1 / 0\n")},
    }
    made = {case: services.service(case, breaker=True) for case in edits}
    old = {case: Served(service).revision for case, service in made.items()}
    folder = tmp_path_factory.mktemp("broken")
    cases: dict[str, dict[str, Any]] = {}
    for case, changes in edits.items():
        (folder / case).mkdir()
        cases[case] = {"rollout_interval": 1, **made[case], **changed_app(folder / case, changes)}
    running = RunningTogether(folder / "run", cases, PLAYBOOK, ON_A_TERMINAL)
    return Broken(made, old, running.smokes())


def test_F3_dying_with_exit_3_is_taken_back_by_the_circuit_breaker(broken: Broken) -> None:
    broken.went_back("exit3", "deployment circuit breaker", "exit code 3", "boom: no blueprint")


def test_F3_a_dbcheck_that_fails_is_taken_back_by_the_run_itself(broken: Broken) -> None:
    smoke = broken.went_back("dbcheck", "papyrus.ops", "/dbcheck", "500")
    assert "HTTP/1.1 500" in smoke.item("dbcheck.log")
    seen_on_a_terminal(smoke, "dbcheck", "FAILED")


def test_C6_sigint_in_the_middle_of_the_rollout(tmp_path: Path, services: Services) -> None:
    service = services.service("sigint", breaker=True)
    release = Release(tmp_path / "run", service | changed_app(tmp_path))
    release.wait_for(lambda: "has begun" in release.output, 200)
    release.interrupt()
    smoke = release.end_by_guard()
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    told = smoke.verdict["release"]
    assert told["result"] == "failed"
    assert "interrupted" in told["cause"]
    # Nobody holds the new revision up: where it came to serve later than that was written, it says what is asked for.
    now = Served(service).revision
    asked_for = f"the service asks for {now.rpartition('/')[2]} "
    assert told["serving"] == now or (told["serving"] == told["previous"] and asked_for in told["cause"]), told
    assert left_nothing(smoke)


# What the rollout's own tests show as well, in whole runs: by hand, as each takes minutes.


@pytest.mark.soak
def test_F3_a_healthz_that_fails_is_taken_back_by_the_circuit_breaker(tmp_path: Path, services: Services) -> None:
    service = services.service("healthz", breaker=True)
    old = Served(service).revision
    broken = changed_app(tmp_path, {HEALTHZ: ('{"ok": True})', '{"ok": False}, 500)')})
    smoke = Release(tmp_path / "run", service | broken).end()
    went_back(smoke, service, old, "deployment circuit breaker", "health check")


def secret_changed(
    services: Services, folder: Path, kind: str, **changes: Any
) -> tuple[harness.Smoke, dict[str, Any], str]:
    """A release during which the secret changes, once its preflight has passed. Run, service, revision before."""
    secret = services.secret()
    service = services.service(kind, breaker=True, secret=secret["arn"]) | {
        "papyrus_secret_id": secret["papyrus_secret_id"]
    }
    old = Served(service).revision
    release = Release(folder / "run", service | changed_app(folder))
    release.wait_for_task("Make the revision of the release", 200)
    manager = harness.client("secretsmanager")
    value = json.loads(manager.get_secret_value(SecretId=secret["arn"])["SecretString"]) | changes
    kept = {key: member for key, member in value.items() if member is not None}
    manager.put_secret_value(SecretId=secret["arn"], SecretString=json.dumps(kept))
    return release.end(), service, old


@pytest.mark.soak
def test_F3_a_secret_without_its_key_is_taken_back_by_the_circuit_breaker(tmp_path: Path, services: Services) -> None:
    smoke, service, old = secret_changed(services, tmp_path, "nokey", password=None)
    went_back(smoke, service, old, "deployment circuit breaker", "ResourceInitializationError", "password")


@pytest.mark.soak
def test_E1_a_password_that_drifts_meanwhile_is_taken_back_by_the_run_itself(
    tmp_path: Path, services: Services
) -> None:
    smoke, service, old = secret_changed(services, tmp_path, "drift", password="not-the-password-at-all")
    went_back(smoke, service, old, "papyrus.ops", "password")
    assert "not-the-password-at-all" not in smoke.output


@pytest.mark.soak
def test_F3_an_image_that_vanishes_is_taken_back_by_the_circuit_breaker(tmp_path: Path, services: Services) -> None:
    service = services.service("noimage", breaker=True)
    old, (image, digest) = Served(service).revision, services.image()
    chosen = {"papyrus_image_builder": "none", "papyrus_release_image": digest}
    release = Release(tmp_path / "run", service | chosen)
    release.wait_for_task("Keep what differs from the revision", 200)
    repository = image.partition("/")[2].partition("@")[0]
    harness.client("ecr").batch_delete_image(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    went_back(release.end(), service, old, "deployment circuit breaker", "CannotPullContainerError")
