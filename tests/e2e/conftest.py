"""One local AWS with the permanent stacks, started by scripts/test before pytest; services beside them per case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import harness
from .services import Services


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    """Maker of services; everything that it made is removed at the end."""
    assert harness.facts()["endpoint"], "the local AWS is not up"
    made = Services()
    yield made
    made.close()
