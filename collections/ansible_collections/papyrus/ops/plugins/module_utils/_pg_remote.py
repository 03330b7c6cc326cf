# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sends the PostgreSQL program into a container, with its parameters by standard input, and reads its answer."""

from __future__ import annotations

import json
import secrets
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import decode_source
from pathlib import Path
from types import ModuleType
from typing import Any

from . import _pg_program, _pg_program_main, _pg_program_prepare, _pg_program_script
from ._db_login import explain
from ._exec_types import Command, ExecResult, Files

Run = Callable[[Command, Files], ExecResult]
"""`_exec.run_command` with clients and target already given."""

PARTS = ("host", "port", "dbname", "user", "password")
ENVIRONMENT = {"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "user": "PGUSER", "password": "PGPASSWORD"}
"""Variables of the container from which each part of a login comes: libpq's own by default."""

# Nothing secret, and one line: program and parameters come by standard input. The entry for the working directory
# leaves the import path, so that no file that lies there is taken for a module of Python.
BOOTSTRAP = (
    "import sys;sys.path[:]=[p for p in sys.path if p];import json,zlib;"
    'd=json.loads(zlib.decompress(sys.stdin.buffer.read()));exec(d["loader"])'
)
LOADER = """
import types
package = sys.modules["pg"] = types.ModuleType("pg")
package.__path__ = []
for name, text in d["modules"]:
    module = sys.modules[name] = types.ModuleType(name)
    module.__package__ = "pg"
    exec(compile(text, name, "exec"), module.__dict__)
sys.exit(module.main(d["parameters"]))
"""

NO_FILES = Files()

# Headroom between the program's own time limit and the one after which Exec ends it.
GRACE = 5.0


@dataclass(frozen=True)
class Place:
    """How to reach the database from inside: the container's Python, its variables, and what is given instead."""

    python: str = "python"
    environment: Mapping[str, str] = field(default_factory=dict)
    connection: Mapping[str, str] = field(default_factory=dict, repr=False)
    application_name: str = "papyrus.ops"
    timeout: float = 60.0
    connect_timeout: float = 60.0
    lock_timeout: float = 10.0


@dataclass
class Answer:
    """`said` is the program's answer, None when none came; `xid` the transaction's number, once it began."""

    result: ExecResult
    said: dict[str, Any] | None = None
    xid: str = ""
    mark: str = ""

    @property
    def ok(self) -> bool:
        return self.said is not None and bool(self.said.get("ok")) and self.result.outcome == "exited"

    @property
    def error(self) -> dict[str, Any]:
        """What went wrong, in the program's shape, also where the program never spoke."""
        if self.said is not None and (self.said.get("error") or self.result.outcome == "exited"):
            return dict(self.said.get("error") or {})
        return {"kind": "exec", "message": self._no_answer(), "sqlstate": ""}

    @property
    def shown(self) -> str:
        """The output without the program's own lines."""
        return "".join(line for line in self.result.stdout.splitlines(keepends=True) if not self._own(line))

    def _own(self, line: str) -> bool:
        return bool(self.mark) and line.startswith(self.mark + " ")

    def _no_answer(self) -> str:
        result = self.result
        if result.outcome != "exited":
            return result.reason or result.outcome
        if result.rc == 127:
            return "the container has no such Python; name the one that has psycopg 3 ('python', papyrus_exec_python)"
        last = next((line for line in reversed(result.stdout.splitlines()) if line.strip()), "nothing")
        return f"the program ended with exit code {result.rc} and without an answer; its last line: {last[:300]}"


def payload(parameters: Mapping[str, Any]) -> bytes:
    """Standard input of BOOTSTRAP: the program's files, in the order in which they need each other, and parameters."""
    files = (_pg_program, _pg_program_script, _pg_program_prepare, _pg_program_main)
    modules = [("pg." + file.__name__.rsplit(".", 1)[-1], _source(file)) for file in files]
    document = json.dumps({"loader": LOADER, "modules": modules, "parameters": parameters}, ensure_ascii=False)
    return zlib.compress(document.encode("utf-8"), 9)


def _source(file: ModuleType) -> str:
    """Of a file on disk, of one that Ansible has imported, or of one in the archive as which it sends modules."""
    loader: Any = file.__spec__.loader if file.__spec__ else None
    text = loader.get_source(file.__name__) if loader else None
    if not text:
        raise RuntimeError(f"the source of {file.__name__} cannot be read")
    return decode_source(text) if isinstance(text, bytes) else str(text)  # Ansible's loader of collections has bytes


def ask(run: Run, place: Place, op: str, parameters: Mapping[str, Any], files: Files = NO_FILES) -> Answer:
    """One session in the container. Never raises for what happens there."""
    mark = "papyrus-" + secrets.token_hex(12)
    given = {
        "mark": mark,
        "op": op,
        "seconds": max(1.0, place.timeout - GRACE),
        "lock_timeout": place.lock_timeout,
        "environment": {**ENVIRONMENT, **place.environment},
        "connection": dict(place.connection),
        "application_name": place.application_name[:63],
        **parameters,
    }
    command = Command(
        argv=[place.python, "-c", BOOTSTRAP],
        stdin=payload(given),
        timeout=place.timeout,
        connect_timeout=place.connect_timeout,
    )
    return read(run(command, files), mark)


def read(result: ExecResult, mark: str) -> Answer:
    """The program's own lines: those that begin with the mark."""
    answer = Answer(result, mark=mark)
    for line in result.stdout.splitlines():
        word, _space, text = line.partition(" ")
        if word != mark:
            continue
        try:
            said = json.loads(text)
        except ValueError:
            continue  # cut off in the middle
        if "op" in said:
            answer.said = said
        else:
            answer.xid = str(said.get("xid", ""))
    return answer


@dataclass(frozen=True)
class Outcome:
    """How a script ended. `committed` None: nobody could be asked."""

    answer: Answer
    committed: bool | None
    asked_again: str = ""


def run_script(run: Run, place: Place, parameters: Mapping[str, Any], files: Files = NO_FILES) -> Outcome:
    """A script's transaction, with its end asked for a second time when the first session did not tell it.

    `parameters` are the program's: name, text, sha256, statements, commit, catalogue.
    """
    answer = ask(run, place, "script", parameters, files)
    if answer.said is not None:
        return Outcome(answer, answer.said.get("committed"))
    if answer.result.outcome == "not_run" or not parameters["commit"]:
        return Outcome(answer, False)
    if answer.result.outcome == "exited" and not answer.xid:
        return Outcome(answer, False)  # it ended by itself, before the transaction began
    if not answer.xid:
        return Outcome(answer, None, "its transaction's number never arrived, so the server cannot be asked about it")
    again = ask(run, place, "outcome", {"xid": answer.xid}, Files(private=files.private))
    status = str((again.said or {}).get("status") or "")
    text = (
        f"asked again, the server says of transaction {answer.xid}: {status or again.error.get('message') or 'nothing'}"
    )
    if files.log is not None:
        _append(files.log, f"\n{text}\n")
    return Outcome(answer, {"committed": True, "aborted": False}.get(status), text)


def _append(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8") as file:
        file.write(text)


HINTS = {
    "setting": "Set papyrus_db_environment (option 'environment') to the names of the container's variables.",
    "psycopg": "Name the container's Python that has it (papyrus_exec_python, option 'python'), or add it.",
    "plaintext": "Set PGSSLMODE=require or stricter in the task definition, and rds.force_ssl=1 on the server.",
    "hash": "The bytes were damaged on the way, or the file was changed: begin again with the dry run.",
    "locked": "Wait until it has ended, or end it, then run this again.",
    "lock": "Let the sessions that hold it end, or end them (pg_terminate_backend), then run this again.",
    "limit": "Raise 'timeout', or do it in smaller steps.",
    "lost": "Look at the database's events and log, then run this again.",
}


def explained(error: Mapping[str, Any]) -> str:
    """The error in one sentence, with what to do next."""
    kind = "lock" if error.get("sqlstate") == "55P03" and error["kind"] == "sql" else str(error.get("kind", ""))
    message = " ".join(str(error.get("message", "")).split())
    text = explain(message) if kind == "connect" else message
    places = [f"{key} {error[key]}" for key in ("query", "statement", "line", "column") if error.get(key)]
    state = f" (SQLSTATE {error['sqlstate']})" if error.get("sqlstate") else ""
    text = f"{', '.join(places)}: {text}" if places else text
    text = text.rstrip(".") + state + "."
    for key in ("detail", "hint"):
        if error.get(key):
            text += f" {key.capitalize()}: {error[key]}"
    return f"{text} {HINTS[kind]}" if kind in HINTS else text
