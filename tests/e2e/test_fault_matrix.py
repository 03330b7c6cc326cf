"""The matrix of faults (docs/faults.md): in the ordinary suite a few calls of each part, by `make soak` the whole."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .services import CLUSTER

sys.path.insert(0, str(harness.CHECKOUT / "collections"))

from . import fault_applies, fault_direct, fault_preflight, fault_sweeps
from .fault_cells import FAULTS, Api, Outcome, cells_of, done
from .fault_matrix import baseline, delays, once
from .fault_runs import PLAYBOOKS

FEW = [
    ("ec2", "DescribeSecurityGroups", {"MaxResults": 5}),
    ("elbv2", "DescribeLoadBalancers", {}),
    ("ecs", "ListTasks", {"cluster": CLUSTER}),
]


WELL = {"exit_code": 0, "result": "PASSED", "cause": "", "left": [], "gone": "ok"}
BAD = {**WELL, "exit_code": 2, "result": "FAILED", "cause": "ecs:ListTasks failed"}


def right(cells: Iterable[Any]) -> None:
    """Every cell is as it should be."""
    assert [cell for cell in cells if cell.wrong] == []


def asked(services: Iterable[str]) -> dict[str, Any]:
    """A baseline as a run leaves it, of a few calls."""
    agent = {"user_agent": "Botocore", "read_only": True, "status": 200}
    return {
        "calls": [
            {"service": service, "operation": operation, "parameters": parameters, **agent}
            for service, operation, parameters in FEW
            if service in services
        ]
    }


def test_C7_a_read_call_that_is_hit_is_asked_again_and_never_nothing_found() -> None:
    cells = fault_direct.run(
        asked(["ec2", "elbv2", "ecs"]), ["throttled", "page 200", "cut off", "answer lost"], ever=False
    )
    assert [cell.tries for cell in cells] == [2] * 12
    right(cells)


def test_B_a_row_whose_call_fails_is_never_OK() -> None:
    known = fault_preflight.needs()
    cells = [
        fault_preflight.one(api, "expired", known[api], fault_preflight.TIMEOUT)
        for api in (Api("python", "rds", "DescribeDBParameters"), Api("python", "elbv2", "DescribeLoadBalancers"))
    ]
    assert all(cell.hit and cell.rows for cell in cells)
    right(cells)


def test_C7_a_sweep_never_says_gone_when_a_describe_failed() -> None:
    where = fault_sweeps.scope()
    cells = [
        fault_sweeps.one([Api("python", "ec2", "DescribeSecurityGroups")], "expired", None, where),
        fault_sweeps.one([Api("python", "elbv2", "DeleteLoadBalancer")], "expired", None, where),
        fault_sweeps.one(fault_sweeps.LOOKS + fault_sweeps.DELETES, "500 but done", 1, where),
    ]
    assert [cell.gone for cell in cells] == [False, False, True]
    assert all(cell.left for cell in cells[:2])
    right(cells)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the parts of the whole matrix keep what they found; the table is made of it by fault_table."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture
def late() -> Iterator[None]:
    """With AWS' own delays on."""
    with delays():
        yield


@pytest.mark.soak
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_N1_each_call_of_a_run_hit_once(playbook: str, fault: str, results: Path, late: None) -> None:
    outcome = once(results, playbook, fault)
    assert outcome.wrong == ""
    assert outcome.left == [] or playbook == "sweep"  # which did not make it
    assert any(cell.hit for cell in outcome.cells.values())


@pytest.mark.soak
def test_C7_each_read_call_of_a_run_by_itself(results: Path) -> None:
    right(fault_direct.run(baseline(results, "alb_smoke"), FAULTS))


@pytest.mark.soak
def test_B_each_call_of_the_preflight_failing_for_ever() -> None:
    right(fault_preflight.run())


@pytest.mark.soak
def test_C7_each_call_of_a_sweep(late: None) -> None:
    right(fault_sweeps.run(FAULTS))


@pytest.mark.soak
def test_C6_each_call_of_terraform(results: Path, late: None) -> None:
    apis = [Api(**api) for api in baseline(results, "alb_smoke")["apis"]]
    right(fault_applies.run(results / "applies", apis))


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (WELL, ""),
        ({**WELL, "result": "WARNED"}, ""),
        (BAD, ""),
        ({**BAD, "left": ["sg-1"], "gone": "ng"}, ""),
        ({**BAD, "left": ["sg-1"]}, "there is ['sg-1']"),
        ({**WELL, "left": ["sg-1"], "gone": "not needed"}, "there is ['sg-1']"),
        ({**WELL, "exit_code": 2}, "with exit code 2"),
        ({**WELL, "exit_code": 4}, "with exit code 4"),
        ({**BAD, "exit_code": 0}, "with exit code 0"),
        ({**BAD, "cause": ""}, "does not say by what"),
    ],
)
def test_C7_a_verdict_that_cannot_be_so_is_seen(run: dict[str, Any], said: str) -> None:
    wrong = Outcome(playbook="sweep", fault="throttled", seconds=1.0, **run).contradiction()
    assert said in wrong if said else wrong == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "well, though AWS never did"),
        ({"fault": "cut off"}, ""),
        ({"api": "ec2:DetachNetworkInterface"}, ""),
        ({"times": "once"}, ""),
        ({"hit": 0}, ""),
        ({"applied": False, "said": "Throttling"}, ""),
        ({"destroyed": False}, "failed, and says nothing"),
        ({"applied": False, "said": "Throttling", "gone": False}, "does not say that it is gone"),
        ({"applied": False, "said": "Throttling", "left": ["sg-1"]}, "left: ['sg-1']"),
    ],
)
def test_C6_an_apply_is_judged_by_what_is_there(changes: dict[str, Any], said: str) -> None:
    cell = {"api": "elbv2:CreateRule", "fault": "throttled", "times": "always", "hit": 3, "tries": 3, "applied": True,
            "said": "", "destroyed": True, "gone": True, "left": [], "twice": {}, "seconds": 1.0}  # fmt: skip
    judged = fault_applies.judged(fault_applies.ApplyCell(**{**cell, **changes}))
    assert judged.startswith(said) if said else judged == ""


def test_what_became_of_each_call_is_told_by_the_record() -> None:
    agents = {"python": "Botocore/1", "terraform": "HashiCorp Terraform/1", "person": "curl"}

    def call(operation: str, status: int = 200, fault: str | None = None, token: str = "", who: str = "python") -> Any:
        return {
            "service": "ecs", "operation": operation, "status": status, "fault": fault, "user_agent": agents[who],
            "parameters": {"clientToken": token}, "read_only": operation.startswith("List"),
        }  # fmt: skip

    calls = [
        call("ListTasks", 500, "error 500"), call("ListTasks"), call("ListTasks", 200, "answer lost"),
        call("RunTask", 200, "answer lost", "a"), call("RunTask", 200, None, "a"), call("RunTask", 200, None, "b"),
        call("CreateService", 200, "500 but done"), call("CreateService"), call("CreateService", 400),
        call("CreateService", 200, "page 200"),
        call("ListTasks", 200, None, "", "terraform"), call("ListTasks", 200, None, "", "person"),
    ]  # fmt: skip
    cells = {name: (cell.called, cell.hit, cell.again) for name, cell in cells_of(calls).items()}
    assert cells == {
        "python ecs:ListTasks": (3, 2, 1),
        "python ecs:RunTask": (3, 1, 1),
        "python ecs:CreateService": (4, 2, 1),
        "terraform ecs:ListTasks": (1, 0, 0),
    }
    assert done(calls) == {"ecs:CreateService": 2, "ecs:RunTask": 2}


def test_the_record_says_which_fault_was_in_the_way() -> None:
    [api] = [Api("python", "ecs", "ListTasks")]
    before = harness.last_call()
    with fault_direct.in_the_way([api], "error 500", 1) as key:
        fault_direct.product_clients(key)("ecs").list_tasks(cluster=CLUSTER)
    calls = [call for call in harness.calls(before) if call["access_key_id"] == key]
    assert [call["fault"] for call in calls] == ["error 500", None]
