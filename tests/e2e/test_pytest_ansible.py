"""L3: modules through pytest-ansible against the local AWS, each told where it is by its own options."""

from __future__ import annotations

from typing import Any

import pytest

from tests.adhoc import MARKS, Run, collections, process, run

from . import harness
from .services import CLUSTER, SERVICE, Services, permanent_service

__all__ = ["collections", "process", "run"]

pytestmark = MARKS


@pytest.fixture
def aws() -> dict[str, Any]:
    """The options that every module of AWS takes."""
    known = harness.facts()
    keys = {"access_key": known["access_key_id"], "secret_key": known["secret_access_key"]}
    return {"endpoint_url": known["endpoint"], "region": known["region"], **keys}


def test_L3_C4_the_module_finds_the_task_that_aws_runs(run: Run, aws: dict[str, Any]) -> None:
    result = run("ecs_task_ip", cluster=CLUSTER, service=SERVICE, container="app", **aws)
    assert result.get("failed", False) is False, result
    assert {task["task_arn"] for task in result["tasks"]} == {task["taskArn"] for task in Services.running(SERVICE)}


def test_L3_F2_without_a_change_the_running_revision_is_the_answer(run: Run, aws: dict[str, Any]) -> None:
    before = permanent_service()["taskDefinition"]
    result = run("ecs_taskdef_revision", cluster=CLUSTER, service=SERVICE, container="app", **aws)
    assert result.get("failed", False) is False and result["changed"] is False, result
    assert result["task_definition_arn"] == before


def test_L3_C4_a_service_that_is_not_there_fails_the_task_by_its_name(run: Run, aws: dict[str, Any]) -> None:
    result = run("ecs_task_ip", cluster=CLUSTER, service="no-such-service", **aws)
    assert result["failed"] is True and "no-such-service" in result["msg"]
