"""One sandbox for the session, in a folder of its own, ended with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.support import Network, Sandbox, make_network


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    # Not among pytest's own folders, which every pytest that starts closes to others: the user that PostgreSQL runs as
    # under root must reach its data.
    root = Path(tempfile.mkdtemp(prefix="papyrus-sandbox-test-"))
    root.chmod(0o755)
    running = Sandbox(root)
    try:
        yield running.up()
    finally:
        running.down()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def network(sandbox: Sandbox) -> Network:
    return make_network(sandbox)


@pytest.fixture
def no_faults(sandbox: Sandbox) -> Iterator[Sandbox]:
    """The sandbox, with all fault switches off afterwards."""
    yield sandbox
    sandbox.http("DELETE", "/_sandbox/faults")
