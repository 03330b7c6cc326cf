"""One local AWS with the permanent stacks, started by scripts/test before pytest; services beside them per case."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import harness
from .services import Services


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """Maker of services; what it made is removed as soon as the file's tests are over, as idle tasks cost as well."""
    assert harness.facts()["endpoint"], "the local AWS is not up"
    made = Services()
    yield made
    made.close()
