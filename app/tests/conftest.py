"""Fixtures: the app on the import path, a real PostgreSQL with TLS on loopback, clients of the app."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

APP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(APP), str(APP / "tests")]
INIT_SQL = (APP / "init.sql").read_text()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One PostgreSQL for all tests; tests that stop or freeze it bring it back."""
    helpers = importlib.import_module("papyrus_postgres")
    binaries = helpers.find_binaries()
    if binaries is None:
        pytest.fail("no PostgreSQL: set PAPYRUS_TEST_POSTGRES_BIN to the folder with initdb, or install the sandbox")
    server = helpers.Postgres(binaries, helpers.Certificates(tmp_path_factory.mktemp("tls")))
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture
def database(cluster: Any) -> Any:
    """The cluster, up, with fresh tables."""
    with cluster.connect() as connection:
        connection.execute("DROP SCHEMA IF EXISTS papyrus_schema CASCADE")
        connection.execute(INIT_SQL)
    return cluster


@pytest.fixture
def make_client(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A test client of an app with the given settings and libpq's variables."""

    def make(settings: dict[str, str], **libpq: str) -> Any:
        for name in ("PGSSLMODE", "PGSSLROOTCERT"):
            monkeypatch.delenv(name, raising=False)
        for name, value in libpq.items():
            monkeypatch.setenv(name, value)
        return importlib.import_module("papyrus").create_app(settings).test_client()

    return make


@pytest.fixture
def client(database: Any, make_client: Callable[..., Any]) -> Any:
    """The app on the database, as recommended: verify-full."""
    return make_client(database.settings(), PGSSLMODE="verify-full", PGSSLROOTCERT=str(database.certificates.ca))
