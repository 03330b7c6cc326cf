"""ExecuteCommand: whom it reaches, and the session that it gives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.support import Network, Sandbox, refused, until


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    yield Stand.make(sandbox, network, "exec-stand")


@pytest.fixture(scope="module")
def reachable(stand: Stand) -> Iterator[str]:
    """A task with two containers, started with enableExecuteCommand."""
    image = stand.image(SLEEPER)
    definition = stand.define("reachable", {"image": image}, {"image": image, "name": "side", "portMappings": []})
    arn = stand.run(definition, enableExecuteCommand=True)
    yield arn
    stand.stop(arn)


def execute(stand: Stand, task: str, **more: Any) -> dict[str, Any]:
    given = {"command": "sh", "interactive": True, **more}
    answer: dict[str, Any] = stand.ecs.execute_command(cluster=stand.cluster, task=task, **given)
    return answer


@pytest.mark.behaviour("ecs.exec_task_runs", "ecs.exec_is_enabled")
def test_a_task_without_exec_or_that_does_not_run_is_not_reached(stand: Stand) -> None:
    arn = stand.run(stand.define("plain", {"image": stand.image(SLEEPER)}))
    stand.until_task(arn, "RUNNING")
    with refused("InvalidParameterException", "execute command was not enabled when the task was run", 400):
        execute(stand, arn)
    stand.stop(arn)
    with refused("InvalidParameterException", "not running"):
        execute(stand, arn)


@pytest.mark.behaviour(
    "ecs.exec_agent_is_connected", "ecs.exec_container_exists", "ecs.the_only_container", "ecs.exec_is_interactive"
)
def test_a_session_is_given_once_the_agent_of_a_known_container_runs(stand: Stand, reachable: str) -> None:
    stand.until_task(reachable, "RUNNING")
    with refused("TargetNotConnectedException", "internal error"):
        execute(stand, reachable, container="app")

    def agents() -> list[str]:
        containers = stand.task(reachable)["containers"]
        return [agent["lastStatus"] for container in containers for agent in container["managedAgents"]]

    until(lambda: agents() == ["RUNNING", "RUNNING"], "the agents")
    with refused("InvalidParameterException", "Container name is required"):
        execute(stand, reachable)
    with refused("InvalidParameterException", "no-such"):
        execute(stand, reachable, container="no-such")
    with refused("InvalidParameterException", "Interactive is the only mode"):
        execute(stand, reachable, container="app", interactive=False)
    answer = execute(stand, reachable, container="side")
    session = answer["session"]
    assert (answer["taskArn"], answer["containerName"], answer["interactive"]) == (reachable, "side", True)
    assert session["sessionId"].startswith("ecs-execute-command-")
    start = stand.sandbox.endpoint.replace("http://", "ws://")
    assert session["streamUrl"].startswith(f"{start}/v1/data-channel/{session['sessionId']}")
    assert len(session["tokenValue"]) > 100


def test_who_is_not_there_is_not_reached(stand: Stand) -> None:
    with refused("InvalidParameterException", "The referenced task was not found."):
        execute(stand, "0" * 32)


@pytest.mark.behaviour("ecs.exec_needs_a_task_role")
def test_a_service_with_exec_needs_a_task_role(stand: Stand) -> None:
    definition = stand.define("no-role", {"image": stand.image(SLEEPER)})
    with refused("InvalidParameterException", "valid taskRoleArn is not being used"):
        stand.create("no-role", definition, 0, enableExecuteCommand=True)
    role = stand.role("exec-task-role")
    allowed = stand.define("with-role", {"image": stand.image(SLEEPER)}, taskRoleArn=role)
    assert stand.create("with-role", allowed, 0, enableExecuteCommand=True)["enableExecuteCommand"]
