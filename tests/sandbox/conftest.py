"""One sandbox for the session, in a folder of its own, ended with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import behaviours
from tests.sandbox.s3_support import HERE, Make, empty
from tests.sandbox.support import Network, Sandbox, make_network, open_folder


def pytest_collection_finish() -> None:
    """What is to be taken out of sandboxes is taken out of this process too, for tests that call functions."""
    out: list[str] = []
    for name in filter(None, os.environ.get(behaviours.VARIABLE, "").split(",")):
        try:
            behaviours.take_out([*out, name])
        except behaviours.UnknownBehaviour:
            # Of a module that no test has imported: it concerns the sandbox only.
            continue
        out.append(name)


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


@pytest.fixture
def s3(sandbox: Sandbox) -> Any:
    return sandbox.client("s3")


@pytest.fixture
def bucket(s3: Any) -> Iterator[Make]:
    """Makes buckets; those without Object Lock are gone after the test."""
    made: list[str] = []

    def make(name: str, *, lock: bool = False, versioned: bool = False) -> str:
        s3.create_bucket(Bucket=name, ObjectLockEnabledForBucket=lock, **HERE)
        if versioned:
            s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        if not lock:
            made.append(name)
        return name

    yield make
    for name in made:
        empty(s3, name)
