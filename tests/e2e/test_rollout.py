"""F3 against a local AWS: what a rollout says when it succeeds, dies, is rolled back, stopped or overtaken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import RunningSmoke, Smoke
from .services import CLUSTER, REGISTERABLE, Services, until

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
        # Tasks of a rollout count as steady sooner with a health check that passes at once.
        made = services.service("rollout", container={"healthCheck": None})
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


def test_F3_a_good_revision_is_deployed(stage: Stage) -> None:
    stage.revise(environment=[{"name": "CHANGED", "value": "1"}])
    smoke = stage.run()
    assert smoke.exit_code == 0, smoke.output[-3000:]
    said = release(smoke)
    assert (said["result"], said["serving"], said["cause"]) == ("deployed", stage.new, "")
    assert stage.serving() == {stage.new}
    kinds = [entry["event"] for entry in entries(smoke)]
    assert (kinds[0], kinds[-1]) == ("begin", "verdict")
    assert "[papyrus-prd]" in smoke.output.partition("has begun")[0], "progress is on the terminal"


def test_F3_a_task_that_dies_with_exit_code_3_is_named_at_once_and_the_breaker_goes_back(stage: Stage) -> None:
    stage.revise(**DIES)
    running = stage.begin()
    running.wait_for(lambda: "app | boom: no blueprint" in running.output)
    assert "ROLLBACK" not in running.output, "named while waiting, not after the rollback"
    smoke = running.end(150)
    taken_back(stage, smoke, "deployment circuit breaker", "exit code 3", "its log ends: boom: no blueprint")
    deaths = [entry for entry in entries(smoke) if entry["event"] == "task_stopped"]
    assert len(deaths) == 3
    assert {death["stop_code"] for death in deaths} == {"EssentialContainerExited"}


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (
            {"healthCheck": {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "timeout": 2, "retries": 1}},
            ["Task failed container health checks"],
        ),
        ({"image": "REPOSITORY@sha256:" + "0" * 64}, ["TaskFailedToStart", "CannotPullContainerError"]),
        (
            {
                "secrets": [
                    {"name": "X", "valueFrom": "arn:aws:secretsmanager:us-west-2:123456789012:secret:none-aaaaaa"}
                ]
            },
            ["TaskFailedToStart", "ResourceInitializationError"],
        ),
    ],
    ids=["health", "image", "secret"],
)
def test_F3_tasks_that_cannot_become_healthy(stage: Stage, container: dict[str, Any], words: list[str]) -> None:
    if "image" in container:
        repository = stage.definition["containerDefinitions"][0]["image"].partition("@")[0]
        container = {"image": container["image"].replace("REPOSITORY", repository)}
    stage.revise(**container)
    taken_back(stage, stage.run(), "deployment circuit breaker", *words)


def test_F3_an_alarm_that_rings_is_named(stage: Stage) -> None:
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
    stage.revise(**NEVER_HEALTHY)

    def ring() -> None:
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="rings")

    smoke = stage.during(stage.begin(), ring)
    cloudwatch.delete_alarms(AlarmNames=[name])
    taken_back(stage, smoke, f"alarm {name}", f"in ALARM: {name}")


@pytest.mark.soak
def test_F3_a_rollout_that_somebody_stops_says_so(stage: Stage) -> None:
    stage.revise(**NEVER_HEALTHY)
    smoke = stage.during(
        stage.begin(), lambda: stage.ecs.stop_service_deployment(serviceDeploymentArn=stage.deployment())
    )
    taken_back(stage, smoke, "", "stopped on request")


def test_F3_another_rollout_in_the_middle_supersedes_it(stage: Stage) -> None:
    stage.revise(**NEVER_HEALTHY)

    def overtake() -> None:
        stage.ecs.update_service(cluster=CLUSTER, service=stage.name, taskDefinition=stage.old, forceNewDeployment=True)

    smoke = stage.during(stage.begin(), overtake)
    assert smoke.exit_code == 2
    said = release(smoke)
    assert (said["result"], said["by"]) == ("superseded", ""), said
    assert stage.deployment() in said["cause"]
    until(lambda: Services.steady(stage.name), "the other rollout")
    assert stage.serving() == {stage.old}


@pytest.mark.parametrize("stage", [NOTHING], indirect=True)
def test_F3_without_circuit_breaker_the_time_limit_ends_it_and_old_tasks_are_left_alone(stage: Stage) -> None:
    before = {task["taskArn"] for task in Services.running(stage.name)}
    stage.revise(**NEVER_HEALTHY)
    refused = stage.run(papyrus_rollout_timeout=None)
    assert refused.exit_code == 2
    assert "has no deployment circuit breaker" in refused.output
    assert release(refused)["result"] == "not_started"
    stage.folder = stage.folder / "limited"
    smoke = stage.run(papyrus_rollout_timeout=3)
    taken_back(stage, smoke, "papyrus.ops", "not deployed within 3 s")
    assert {task["taskArn"] for task in Services.running(stage.name)} == before


@pytest.mark.soak
@pytest.mark.parametrize("stage", [HANDS_OFF], indirect=True)
def test_F3_a_breaker_that_does_not_roll_back_is_helped(stage: Stage) -> None:
    stage.revise(**DIES)
    taken_back(stage, stage.run(), "papyrus.ops", "exit code 3")


def test_F3_a_failed_smoke_goes_back_and_says_why(stage: Stage) -> None:
    stage.revise(environment=[{"name": "CHANGED", "value": "1"}])
    smoke = stage.run(smoke_fails_with="/dbcheck answered 500")
    taken_back(stage, smoke, "papyrus.ops", "/dbcheck answered 500")


@pytest.mark.soak
def test_F3_check_mode_shows_the_plan_and_writes_nothing(stage: Stage) -> None:
    stage.revise(environment=[{"name": "CHANGED", "value": "1"}])
    last = max((call["n"] for call in harness.calls()), default=0)
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
