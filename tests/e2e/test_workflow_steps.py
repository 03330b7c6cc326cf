"""L1: the steps of alb-smoke.yml as GitHub's runner would run them, against the local AWS; then the sweep's step."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import harness
from .harness import CHECKOUT, Smoke, left_behind, private_folders
from .test_interrupts import PHASES
from .test_runner import known_secrets

GOOD = ("PASSED", "WARNED")
"""The second where the working tree has changes that no commit holds."""
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAplanted0",
    "AWS_SECRET_ACCESS_KEY": "pl/anted0secret",
    "AWS_SESSION_TOKEN": "pl//0token",
}


def script(workflow: str, name: str) -> tuple[str, set[str]]:
    """A step's shell, and the variables that the workflow gives it."""
    content: dict[str, Any] = yaml.safe_load(
        (CHECKOUT / ".github" / "workflows" / f"{workflow}.yml").read_text("utf-8")
    )
    [step] = [each for job in content["jobs"].values() for each in job.get("steps", []) if each["name"] == name]
    return step["run"], set(step.get("env", {}))


class Job:
    """A job's runner: its folder for temporary files, its files for summary and outputs, its steps."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inventory = folder, folder / "inventories" / "prd"
        (folder / "temp").mkdir(parents=True)
        shutil.copytree(CHECKOUT / "inventories" / "sandbox", self.inventory)
        own = {"sandbox_checkout": str(CHECKOUT), "papyrus_ledger": str(folder / "ledger")}
        (self.inventory / "group_vars" / "all" / "zz.yml").write_text(yaml.safe_dump(own), "utf-8")
        outputs = harness.SANDBOX_ROOT / ".sandbox" / "state" / "stacks" / "papyrus-prd" / "outputs.json"
        network = json.loads(outputs.read_bytes())["00-network"]
        self.ids = {
            "VPC_ID": network["vpc_id"],
            "PUBLIC_SUBNET_IDS": ",".join(network["public_subnet_ids"]),
            "ECS_TASK_SG_ID": network["ecs_tasks_sg_id"],
        }
        self.secret = [*KEYS.values(), network["vpc_id"], *network["public_subnet_ids"], network["ecs_tasks_sg_id"]]
        self.environ = {
            **{name: os.environ[name] for name in ("PATH", "HOME")},
            **({"TMPDIR": os.environ["TMPDIR"]} if "TMPDIR" in os.environ else {}),
            **KEYS,
            **self.ids,
            "PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "GITHUB_ACTIONS": "true",
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_OUTPUT": str(folder / "output"),
            "RUNNER_TEMP": str(folder / "temp"),
            "INVENTORY": str(self.inventory),
            "SERVICE": "papyrus-prd",
            "CHECK": "false",
            "RUN_IDS": "",
            "AWS_REGION": "us-west-2",
            "AWS_CREDENTIAL_EXPIRATION": "",
        }
        self.log = folder / "log"

    def start(self, workflow: str, name: str) -> subprocess.Popen[bytes]:
        """The step's own process, with nothing in its environment that the workflow does not give it."""
        text, given = script(workflow, name)
        asked = {key for key in self.environ if key in (*KEYS, *self.ids)} - given
        environ = {key: value for key, value in self.environ.items() if key not in asked}
        file = self.folder / "step.sh"
        file.write_text(text, "utf-8")
        with self.log.open("ab") as stream:
            return subprocess.Popen(
                ["bash", "-e", str(file)], cwd=CHECKOUT, env=environ, stdout=stream, stderr=stream,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    @property
    def kept(self) -> Path:
        """What is uploaded."""
        return self.folder / "temp" / "papyrus"

    def smoke(self, code: int) -> Smoke:
        roots = self.kept / "evidence"
        return Smoke(code, self.log.read_text("utf-8"), roots, 0.0, sorted(roots.glob("*/")))

    def outputs(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.folder / "output").read_text("utf-8").splitlines())

    def printed(self) -> str:
        """The log as GitHub shows it: masked values are the runner's to hide, these lines are never shown."""
        return re.sub(r"^::add-mask::.*\n", "", self.log.read_text("utf-8"), flags=re.MULTILINE)


class Watch(threading.Thread):
    """Looks for secrets in the command lines of all processes while a step is under way."""

    def __init__(self, secrets: list[str]) -> None:
        super().__init__(daemon=True)
        self.secrets, self.seen, self.over = secrets, set[str](), threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes().decode("utf-8", "replace")
                except OSError:
                    continue
                self.seen |= {f"{each} in {line}" for each in self.secrets if each in line}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path)
    yield made
    assert not (tmp_path / "temp" / "papyrus.private").exists()


def nothing_is_given_away(job: Job, watch: Watch) -> None:
    """Not in argv, outputs, summary, nor (beside evidence, which names the network) in what is uploaded."""
    watch.over.set()
    watch.join()
    assert watch.seen == set()
    told = (job.folder / "summary.md").read_text("utf-8").replace("&#45;", "-") + json.dumps(job.outputs())
    assert [each for each in job.secret if each in told] == []
    more = list(known_secrets().values())
    for path in (path for path in job.kept.rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert [each for each in [*KEYS.values(), *more] if each.encode() in data] == [], path
    assert [each for each in KEYS.values() if each in job.printed()] == []


@pytest.mark.soak
def test_L1_the_steps_of_the_workflow_prove_the_service(job: Job) -> None:
    watch = Watch(job.secret)
    watch.start()
    code = job.start("alb-smoke", "Smoke").wait(1800)
    assert job.start("alb-smoke", "Say how it ended").wait(300) == 0
    smoke = job.smoke(code)
    result = smoke.verdict["result"]
    assert smoke.exit_code == 0 and result in GOOD, smoke.output[-3000:]
    assert job.outputs() == {"run-ids": smoke.run_id, "result": result}
    assert (job.folder / "summary.md").read_text("utf-8").startswith(f"### {smoke.run_id}: {result}\n")
    assert json.loads((job.folder / "ledger" / f"{smoke.run_id}.closed.json").read_bytes())["result"] == result
    assert (job.kept / "runner" / "job" / "rc").read_text("utf-8") == "0"
    nothing_is_given_away(job, watch)


@pytest.mark.soak
def test_C6_a_cancelled_workflow_is_taken_down_and_swept(job: Job) -> None:
    """SIGINT to the step's process, as GitHub sends it; the later steps run, then the job that sweeps the run's id."""
    watch = Watch(job.secret)
    watch.start()
    process = job.start("alb-smoke", "Smoke")
    deadline = time.monotonic() + 900
    while PHASES["apply"] not in job.log.read_text("utf-8"):
        assert process.poll() is None and time.monotonic() < deadline, job.log.read_text("utf-8")[-3000:]
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGINT)
    code = process.wait(60)
    assert job.start("alb-smoke", "Say how it ended").wait(300) == 0
    smoke = job.smoke(code)
    assert (smoke.exit_code, smoke.verdict["result"]) == (254, "FAILED")
    assert job.outputs() == {"run-ids": smoke.run_id, "result": "FAILED"}
    assert harness.seal_of(smoke.statement)["by"] == "guard"
    assert (left_behind(smoke.run_id), private_folders(smoke.run_id)) == ([], [])
    nothing_is_given_away(job, watch)
    first = smoke.run_id
    shutil.rmtree(job.kept)  # a job of its own, on a machine of its own
    job.environ["RUN_IDS"] = first
    assert job.start("sweep", "Sweep").wait(300) == 0, job.log.read_text("utf-8")[-3000:]
    assert job.start("sweep", "Say how it ended").wait(60) == 0
    assert job.smoke(0).verdict["result"] in GOOD
