"""A container for the PostgreSQL program without one: a child process with variables of its own, and a database."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils import _pg_catalogue, _pg_remote, _sql_script
from ansible_collections.papyrus.ops.plugins.module_utils._exec_types import Command, ExecResult, Files

ENVIRONMENT = {"host": "DB_HOST", "port": "DB_PORT", "dbname": "DB_NAME", "user": "DB_USER", "password": "DB_PASSWORD"}


def postgres_helpers() -> ModuleType:
    """The app's own way to a PostgreSQL with TLS; the app itself is not imported."""
    path = CHECKOUT / "app" / "tests" / "papyrus_postgres.py"
    spec = importlib.util.spec_from_file_location("papyrus_postgres", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass
class Container:
    """Runs commands as the container would: with its variables alone. `before` may spoil standard input on its way."""

    variables: dict[str, str]
    before: Callable[[bytes], bytes] = lambda data: data
    commands: list[Command] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Command) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **self.variables}
        return subprocess.Popen(
            list(command.argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=environment,
        )

    def run(self, command: Command, files: Files) -> ExecResult:
        """`_exec.run_command` of a container that is always there."""
        self.commands.append(command)
        child = self.start(command)
        self.children.append(child)
        output, _nothing = child.communicate(self.before(command.stdin or b""), timeout=60)
        self.outputs.append(output.decode("utf-8", "replace"))
        if files.log is not None:
            files.log.write_bytes(output)
        return ExecResult("exited", "", rc=child.returncode, output=output, output_bytes=len(output))


@dataclass
class Database:
    """The server with a container beside it."""

    server: Any
    container: Container
    connection: Mapping[str, str] = field(default_factory=dict)
    lock_timeout: float = 1.0
    timeout: float = 30.0

    @property
    def place(self) -> _pg_remote.Place:
        return _pg_remote.Place(
            # Another one, with another psycopg, by hand.
            python=os.environ.get("PAPYRUS_TEST_CONTAINER_PYTHON", sys.executable),
            environment=ENVIRONMENT,
            connection=self.connection,
            application_name="papyrus.ops test",
            lock_timeout=self.lock_timeout,
            timeout=self.timeout,
        )

    def ask(self, op: str, **parameters: Any) -> _pg_remote.Answer:
        return _pg_remote.ask(self.container.run, self.place, op, parameters)

    def parameters(self, sql: str | bytes, commit: bool = True, **changed: Any) -> dict[str, Any]:
        """Of a script that the gate lets through, or of any text when `statements` are given."""
        content = sql.encode() if isinstance(sql, str) else sql
        script = _sql_script.examine(content, "test.sql")
        assert "statements" in changed or not script.refusals, script.refused
        return {
            "name": "test.sql",
            "text": content.decode(),
            "sha256": script.sha256,
            "statements": [[part.start, part.end, part.line] for part in script.statements],
            "commit": commit,
            "catalogue": _pg_catalogue.catalogue_query(),
            **changed,
        }

    def script(self, sql: str | bytes, commit: bool = True, **changed: Any) -> _pg_remote.Outcome:
        return _pg_remote.run_script(self.container.run, self.place, self.parameters(sql, commit, **changed))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database says to somebody else."""
        with self.server.connect() as connection:
            found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
        return found

    def run(self, sql: str) -> None:
        with self.server.connect() as connection:
            connection.autocommit = True
            connection.execute(sql)

    def tables(self, schema: str = "s") -> list[str]:
        sql = f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}' ORDER BY 1"
        return [row[0] for row in self.rows(sql)]
