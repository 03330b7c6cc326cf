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
from .fault_cells import FAULTS, Api
from .fault_matrix import baseline, delays, once
from .fault_runs import PLAYBOOKS

FEW = [
    ("ec2", "DescribeSecurityGroups", {"MaxResults": 5}),
    ("elbv2", "DescribeLoadBalancers", {}),
    ("ecs", "ListTasks", {"cluster": CLUSTER}),
]


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
    assert len(cells) == 12
    # More than once again where the local AWS had a reason of its own, as its rate, which all tests share.
    assert all(cell.tries >= 2 for cell in cells)
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


def test_the_record_says_which_fault_was_in_the_way() -> None:
    [api] = [Api("python", "ecs", "ListTasks")]
    with fault_direct.in_the_way([api], "error 500", 1) as key:
        fault_direct.product_clients(key)("ecs").list_tasks(cluster=CLUSTER)
    calls = [call for call in harness.calls() if call["access_key_id"] == key]
    assert [call["fault"] for call in calls] == ["error 500", None]
