"""A real PostgreSQL with TLS on loopback, and a database in it with a container beside it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pg_container import Container, Database, postgres_helpers


@pytest.fixture(scope="session", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    helpers = postgres_helpers()
    binaries = helpers.find_binaries()
    if binaries is None:
        pytest.fail("no PostgreSQL: set PAPYRUS_TEST_POSTGRES_BIN to the folder with initdb, or install the sandbox")
    server = helpers.Postgres(binaries, helpers.Certificates(tmp_path_factory.mktemp("tls")))
    yield server
    server.remove()


@pytest.fixture(name="database")
def _database(server: Any) -> Database:
    variables = {
        **server.settings(),
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(server.certificates.ca),
    }
    database = Database(server, Container(variables))
    database.run("DROP SCHEMA IF EXISTS papyrus_schema CASCADE")
    database.run("DROP SCHEMA IF EXISTS s CASCADE")
    database.run("CREATE SCHEMA s")
    return database
