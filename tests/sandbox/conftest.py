"""One sandbox for the session, in a folder of its own, ended with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandbox.support import Network, Sandbox, make_network, open_folder


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    with open_folder() as root:
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
