"""F3 against a local AWS: what a rollout says when it succeeds, dies, is rolled back, stopped or overtaken."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import RunningSmoke, Smoke
from .services import CLUSTER, IDLE, REGISTERABLE, Services, until
from .together import RunningTogether

BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
HANDS_OFF = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}
NOTHING = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
SECRETS = "arn:aws:secretsmanager:us-west-2:123456789012"
DIES = {"command": ["python", "-c", "import sys; print('boom: no blueprint'); sys.exit(3)"]}
NEVER_HEALTHY = {"healthCheck": {"command": ["CMD-SHELL", "exit 1"], "interval": 300, "retries": 3}}


class Stage:
    """A service of its own that serves revision 1, and a revision 2 that differs from it."""

    def __init__(self, services: Services, folder: Path, configuration: dict[str, Any]) -> None:
        self.folder = folder
        self.ecs = harness.client("ecs")
        # Nobody asks the app anything, and tasks count as steady sooner without a health check.
        made = services.service("rollout", container=IDLE)
        self.name = str(made["papyrus_service"])
        self.ecs.update_service(cluster=CLUSTER, service=self.name, deploymentConfiguration=configuration)
        self.definition = self.ecs.describe_task_definition(taskDefinition=self.name)["taskDefinition"]
        self.old = str(self.definition["taskDefinitionArn"])
        self.new = ""
        self.variables: dict[str, Any] = {**made, "rollout_interval": 0.5}

    def revise(self, **container: Any) -> str:
        app = {**self.definition["containerDefinitions"][0], **container}
        kept = {key: self.definition[key] for key in REGISTERABLE if self.definition.get(key)}
        registered = self.ecs.register_task_definition(family=self.name, containerDefinitions=[app], **kept)
        self.new = str(registered["taskDefinition"]["taskDefinitionArn"])
        self.variables["revision_made"] = {"task_definition_arn": self.new, "previous": self.old}
        return self.new

    def begin(self, *arguments: str, **variables: Any) -> RunningSmoke:
        return RunningSmoke(self.folder, self.variables | variables, arguments, playbook="tests/e2e/rollout.yml")

    def run(self, *arguments: str, **variables: Any) -> Smoke:
        return self.begin(*arguments, **variables).end(150)

    def during(self, running: RunningSmoke, act: Callable[[], Any]) -> Smoke:
        """Do something once the rollout has begun."""
        running.wait_for(lambda: "has begun" in running.output)
        act()
        return running.end(150)

    def deployment(self) -> str:
        found = self.ecs.list_service_deployments(cluster=CLUSTER, service=self.name)["serviceDeployments"]
        return str(max(found, key=lambda item: item["createdAt"])["serviceDeploymentArn"])

    def serving(self) -> set[str]:
        """Revisions of the tasks that run, asked without the product's code."""
        arns = self.ecs.list_tasks(cluster=CLUSTER, serviceName=self.name)["taskArns"]
        tasks = self.ecs.describe_tasks(cluster=CLUSTER, tasks=arns)["tasks"] if arns else []
        return {str(task["taskDefinitionArn"]) for task in tasks if task["lastStatus"] == "RUNNING"}


@pytest.fixture(name="stage")
def _stage(services: Services, tmp_path: Path, request: pytest.FixtureRequest) -> Stage:
    return Stage(services, tmp_path, getattr(request, "param", BREAKER))


def release(smoke: Smoke) -> dict[str, Any]:
    """What the last item that speaks of a release says."""
    said = [line["meta"]["release"] for line in smoke.lines if "release" in line["meta"]]
    assert said[0]["result"] == "failed" and "interrupted" in said[0]["cause"], "written before anything was begun"
    return dict(said[-1])


def entries(smoke: Smoke) -> list[dict[str, Any]]:
    return [json.loads(line) for line in smoke.item("rollout.jsonl").splitlines()]


def taken_back(stage: Stage, smoke: Smoke, by: str, *words: str) -> dict[str, Any]:
    """Require: failed, rolled back by this one, for this cause, the old revision serving, all of it on the terminal."""
    assert smoke.exit_code == 2, smoke.output[-3000:]
    said = release(smoke)
    assert (said["result"], said["by"]) == ("rolled_back", by), said
    assert (said["task_definition"], said["serving"], said["previous"]) == (stage.new, stage.old, stage.old)
    for word in words:
        assert word in said["cause"], said["cause"]
        assert word in smoke.output, smoke.output[-3000:]
    assert stage.serving() == {stage.old}
    return said


# Services that are rolled out at once, as hosts of one run: what becomes of each is its own matter.

CHANGED: dict[str, Any] = {"environment": [{"name": "CHANGED", "value": "1"}]}
UNHEALTHY = {"healthCheck": {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "timeout": 2, "retries": 1}}
TAKEN_BACK: dict[str, tuple[dict[str, Any], list[str]]] = {
    "health": (UNHEALTHY, ["Task failed container health checks"]),
    "image": ({"image": "REPOSITORY@sha256:" + "0" * 64}, ["TaskFailedToStart", "CannotPullContainerError"]),
    "secret": (
        {"secrets": [{"name": "X", "valueFrom": f"{SECRETS}:secret:none-aaaaaa"}]},
        ["TaskFailedToStart", "ResourceInitializationError"],
    ),
}
"""Tasks that cannot become healthy: members of their container, and what the cause has to say."""


def lines_of(case: str, output: str) -> str:
    """Lines of progress of one host."""
    return "\n".join(line for line in output.splitlines() if line.startswith(f"[{case}] "))


def told(case: str, output: str) -> str:
    """What the terminal has of one host: its lines of progress, and what its tasks failed with."""
    failed = re.findall(rf"^fatal: \[{case}\].*?(?=^\S)", output, re.MULTILINE | re.DOTALL)
    return "\n".join([lines_of(case, output), *failed])


@dataclass
class Rolled:
    """Services by their case, the runs that rolled them out, and what the terminal had when the first task had died."""

    stages: dict[str, Stage]
    smokes: dict[str, Smoke]
    named: str
    alarm: str
    before: dict[str, set[str]]

    def of(self, case: str) -> tuple[Stage, Smoke]:
        return self.stages[case], self.smokes[case]


def alarmed(stage: Stage) -> str:
    """Name of a quiet alarm that the service's rollouts look at."""
    cloudwatch, name = harness.client("cloudwatch"), f"{stage.name}-5xx"
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="Test",
        MetricName=name,
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="quiet")
    alarms = {"alarms": {"alarmNames": [name], "enable": True, "rollback": True}}
    stage.ecs.update_service(cluster=CLUSTER, service=stage.name, deploymentConfiguration=BREAKER | alarms)
    return name


def tasks_of(stage: Stage) -> set[str]:
    """ARNs of the tasks that run."""
    return {task["taskArn"] for task in Services.running(stage.name)}


@pytest.fixture(scope="module")
def rolled(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Rolled:
    """Every case in one run."""
    folder, cloudwatch = tmp_path_factory.mktemp("rolled"), harness.client("cloudwatch")
    containers = {
        "good": CHANGED,
        "dies": DIES,
        **{case: container for case, (container, dummy) in TAKEN_BACK.items()},
        "alarm": NEVER_HEALTHY,
        "overtaken": NEVER_HEALTHY,
        "refused": NEVER_HEALTHY,
        "limited": NEVER_HEALTHY,
        "smoked": CHANGED,
    }
    stages = {}
    for case, container in containers.items():
        stage = stages[case] = Stage(services, folder, NOTHING if case in ("refused", "limited") else BREAKER)
        repository = stage.definition["containerDefinitions"][0]["image"].partition("@")[0]
        image = {"image": container["image"].replace("REPOSITORY", repository)} if "image" in container else {}
        stage.revise(**container | image)
    stages["refused"].variables["papyrus_rollout_timeout"] = None
    stages["limited"].variables["papyrus_rollout_timeout"] = 3
    stages["smoked"].variables["smoke_fails_with"] = "/dbcheck answered 500"
    alarm, before = alarmed(stages["alarm"]), {case: tasks_of(stages[case]) for case in ("refused", "limited")}
    cases = {case: stage.variables for case, stage in stages.items()}
    running = RunningTogether(folder / "run", cases, "tests/e2e/rollout.yml")
    try:
        running.wait_for(lambda: "app | boom: no blueprint" in lines_of("dies", running.output))
        named = lines_of("dies", running.output)
        begun(running, "alarm")
        cloudwatch.set_alarm_state(AlarmName=alarm, StateValue="ALARM", StateReason="rings")
        begun(running, "overtaken")
        over = stages["overtaken"]
        over.ecs.update_service(cluster=CLUSTER, service=over.name, taskDefinition=over.old, forceNewDeployment=True)
        smokes = running.smokes()
    finally:
        cloudwatch.delete_alarms(AlarmNames=[alarm])
    own = {case: dataclasses.replace(smoke, output=told(case, smoke.output)) for case, smoke in smokes.items()}
    return Rolled(stages, own, named, alarm, before)


def begun(running: RunningSmoke, case: str) -> None:
    """Return once the rollout of this host has begun."""
    running.wait_for(lambda: "has begun" in lines_of(case, running.output))


def test_F3_a_good_revision_is_deployed(rolled: Rolled) -> None:
    stage, smoke = rolled.of("good")
    assert smoke.exit_code == 0, smoke.output[-3000:]
    said = release(smoke)
    assert (said["result"], said["serving"], said["cause"]) == ("deployed", stage.new, "")
    assert stage.serving() == {stage.new}
    kinds = [entry["event"] for entry in entries(smoke)]
    assert (kinds[0], kinds[-1]) == ("begin", "verdict")
    assert "SUCCESSFUL" in smoke.output.partition("has begun")[2], "progress is on the terminal"


def test_F3_a_task_that_dies_with_exit_code_3_is_named_at_once_and_the_breaker_goes_back(rolled: Rolled) -> None:
    stage, smoke = rolled.of("dies")
    assert "ROLLBACK" not in rolled.named, "named while waiting, not after the rollback"
    taken_back(stage, smoke, "deployment circuit breaker", "exit code 3", "its log ends: boom: no blueprint")
    deaths = [entry for entry in entries(smoke) if entry["event"] == "task_stopped"]
    assert len(deaths) == 3
    assert {death["stop_code"] for death in deaths} == {"EssentialContainerExited"}


@pytest.mark.parametrize("case", TAKEN_BACK)
def test_F3_tasks_that_cannot_become_healthy(rolled: Rolled, case: str) -> None:
    taken_back(*rolled.of(case), "deployment circuit breaker", *TAKEN_BACK[case][1])


def test_F3_an_alarm_that_rings_is_named(rolled: Rolled) -> None:
    taken_back(*rolled.of("alarm"), f"alarm {rolled.alarm}", f"in ALARM: {rolled.alarm}")


def test_F3_another_rollout_in_the_middle_supersedes_it(rolled: Rolled) -> None:
    stage, smoke = rolled.of("overtaken")
    assert smoke.exit_code == 2
    said = release(smoke)
    assert (said["result"], said["by"]) == ("superseded", ""), said
    assert stage.deployment() in said["cause"]
    until(lambda: Services.steady(stage.name), "the other rollout")
    assert stage.serving() == {stage.old}


def test_F3_without_circuit_breaker_there_has_to_be_a_time_limit(rolled: Rolled) -> None:
    stage, smoke = rolled.of("refused")
    assert smoke.exit_code == 2
    assert "has no deployment circuit breaker" in smoke.output
    assert release(smoke)["result"] == "not_started"
    assert tasks_of(stage) == rolled.before["refused"]


def test_F3_without_circuit_breaker_the_time_limit_ends_it_and_old_tasks_are_left_alone(rolled: Rolled) -> None:
    stage, smoke = rolled.of("limited")
    taken_back(stage, smoke, "papyrus.ops", "not deployed within 3 s")
    assert tasks_of(stage) == rolled.before["limited"]


def test_F3_a_failed_smoke_goes_back_and_says_why(rolled: Rolled) -> None:
    taken_back(*rolled.of("smoked"), "papyrus.ops", "/dbcheck answered 500")


# Runs of their own: one that is interrupted, and by hand what takes long.


@pytest.mark.soak
def test_F3_a_rollout_that_somebody_stops_says_so(stage: Stage) -> None:
    stage.revise(**NEVER_HEALTHY)
    smoke = stage.during(
        stage.begin(), lambda: stage.ecs.stop_service_deployment(serviceDeploymentArn=stage.deployment())
    )
    taken_back(stage, smoke, "", "stopped on request")


@pytest.mark.soak
@pytest.mark.parametrize("stage", [HANDS_OFF], indirect=True)
def test_F3_a_breaker_that_does_not_roll_back_is_helped(stage: Stage) -> None:
    stage.revise(**DIES)
    taken_back(stage, stage.run(), "papyrus.ops", "exit code 3")


@pytest.mark.soak
def test_F3_check_mode_shows_the_plan_and_writes_nothing(stage: Stage) -> None:
    stage.revise(environment=[{"name": "CHANGED", "value": "1"}])
    last = harness.last_call()
    smoke = stage.run("--check", "--diff")
    assert smoke.exit_code == 0, smoke.output[-3000:]
    assert f"+    task_definition: {stage.new}" in smoke.output
    mine = [call for call in harness.calls(last) if stage.name in json.dumps(call["parameters"])]
    assert "ListServiceDeployments" in {call["operation"] for call in mine}
    assert [call["operation"] for call in mine if not call["read_only"]] == []
    assert stage.serving() == {stage.old}


@pytest.mark.soak
def test_F3_what_ends_the_module_before_its_verdict_is_in_the_evidence(stage: Stage) -> None:
    stage.revise(environment=[{"name": "CHANGED", "value": "1"}])
    smoke = stage.run(rollout_interval=0)
    assert smoke.exit_code == 2
    assert (release(smoke)["result"], release(smoke)["task_definition"]) == ("failed", stage.new)
    assert "interval must be more than 0" in release(smoke)["cause"]
    assert "interval must be more than 0" in smoke.output.partition("The revision is deployed")[2]


def test_F3_an_interrupted_rollout_is_not_shown_as_fine(stage: Stage) -> None:
    stage.revise(**NEVER_HEALTHY)
    running = stage.begin()
    running.wait_for(lambda: "has begun" in running.output)
    running.interrupt()
    smoke = running.end(180)
    assert smoke.exit_code not in (0, 2)
    assert release(smoke)["result"] == "failed"
    assert release(smoke)["cause"] == "interrupted before its verdict"
    stage.ecs.stop_service_deployment(serviceDeploymentArn=stage.deployment())


@pytest.mark.soak
def test_F3_several_hosts_at_once_keep_their_lines_apart(services: Services, tmp_path: Path) -> None:
    hosts: dict[str, Any] = {}
    stages = {name: Stage(services, tmp_path / name, BREAKER) for name in ("one", "two")}
    for name, stage in stages.items():
        stage.revise(environment=[{"name": "CHANGED", "value": "1"}])
        hosts[name] = stage.variables | {"sandbox_checkout": str(harness.CHECKOUT)}
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")
    arguments = ("-i", "inventories/sandbox", "-i", str(inventory), "-f", "2")
    running = RunningSmoke(tmp_path, {"rollout_hosts": "one,two"}, arguments, playbook="tests/e2e/rollout.yml")
    smoke = running.end(150)
    assert smoke.exit_code == 0, smoke.output[-3000:]
    told = [line for line in smoke.output.splitlines() if line.startswith(("[one] ", "[two] "))]
    for name, stage in stages.items():
        assert stage.serving() == {stage.new}
        assert [line for line in told if line.startswith(f"[{name}]") and "has begun" in line]
        assert not [line for line in told if stage.name in line and not line.startswith(f"[{name}]")]
    assert len({line[:5] for line in told[: len(told) // 2]}) == 2, "side by side, not one after the other"
