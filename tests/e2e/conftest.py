"""One local AWS with the permanent stacks, started by scripts/test before pytest; services beside them per case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from . import harness
from .services import Services

LONGEST = [
    "test_alarm_drill",
    "test_run_faults",
    "test_audit",
    "test_scenarios",
    "test_installed",
    "test_redaction",
    "test_database_proof",
    "test_release",
    "test_alb_smoke",
    "test_preflight_faults",
    "test_least_privilege",
    "test_runner",
    "test_interrupts",
    "test_schema",
]
"""Files that begin first, or they would be what everybody waits for in the end."""

TOGETHER = {
    "test_alb_smoke",
    "test_audit",
    "test_database_proof",
    "test_least_privilege",
    "test_preflight_faults",
    "test_redaction",
    "test_run_faults",
}
"""Files whose tests look at the same costly runs."""

BY_ITSELF = {
    "test_a_second_service_is_proved_by_variables_alone",
    "test_check_mode_predicts_and_writes_nothing",
    "test_J1_a_signing_key_that_is_not_there_is_refused_before_anything_exists",
    "test_the_playbook_is_the_same_from_inside_playbooks",
}
"""Tests of test_alb_smoke that do not look at its one run."""


class ByRun(LoadScopeScheduling):
    """Tests that share a costly run go to one worker, any other to whoever is free; in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        path, _separator, test = nodeid.partition("::")
        return path if Path(path).stem in TOGETHER and test not in BY_ITSELF else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRun:
    return ByRun(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, or it would be what everybody waits for in the end."""
    begin = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: begin.get(item.path.stem, len(begin)))


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Maker of services; everything that it made is removed at the end."""
    assert harness.facts()["endpoint"], "the local AWS is not up"
    made = Services()
    yield made
    made.close()
