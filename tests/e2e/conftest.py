"""One local AWS with the permanent stacks, started by scripts/test before pytest; services beside them per case."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from . import harness
from .services import Services

TOGETHER = {
    "test_audit",
    "test_database_proof",
    "test_least_privilege",
    "test_preflight_faults",
    "test_redaction",
    "test_run_faults",
}
"""Files whose tests look at the same costly runs."""


class ByRun(LoadScopeScheduling):
    """Tests that share a costly run go to one worker, any other to whoever is free; in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return path if Path(path).stem in TOGETHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByRun:
    return ByRun(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, or it would be what everybody waits for in the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Maker of services; everything that it made is removed at the end."""
    assert harness.facts()["endpoint"], "the local AWS is not up"
    made = Services()
    yield made
    made.close()
