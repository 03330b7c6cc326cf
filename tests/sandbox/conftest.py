"""One sandbox for the session, in a folder of its own, ended with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.support import Network, Sandbox, make_network


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    root: Path = tmp_path_factory.mktemp("sandbox")
    # The user that PostgreSQL runs as under root must reach its data.
    for folder in (root, *root.parents[:2]):
        folder.chmod(0o755)
    running = Sandbox(root)
    try:
        yield running.up()
    finally:
        running.down()


@pytest.fixture(scope="session")
def network(sandbox: Sandbox) -> Network:
    return make_network(sandbox)


@pytest.fixture
def no_faults(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, with all fault switches off afterwards."""
    yield sandbox
    sandbox.http("DELETE", "/_sandbox/faults")
