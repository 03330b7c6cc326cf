# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The login of `_db_login`, made from inside a running task through ECS Exec: for runners without a route (B2)."""

from __future__ import annotations

from pathlib import Path

from . import _aws, _exec, _pg_remote
from ._db_login import Login, LoginResult, judged, scrub

TIMEOUT = 20.0
"""Seconds for the login; the agent's readiness comes on top."""


def login(
    who: Login, clients: _aws.Clients, target: _exec.Target, python: str, private: str | None = None
) -> LoginResult:
    """Logs in with these values, not with the container's own. They travel as the command's standard input, echo off.

    Never raises for what AWS, container or server say.
    """

    def run(command: _exec.Command, files: _exec.Files) -> _exec.ExecResult:
        return _exec.run_command(clients, target, command, files)

    place = _pg_remote.Place(
        python=python,
        connection={
            "host": who.host,
            "port": str(who.port),
            "dbname": who.dbname,
            "user": who.user,
            "password": who.password,
        },
        timeout=TIMEOUT,
    )
    answer = _pg_remote.ask(run, place, "login", {}, _exec.Files(private=Path(private) if private else None))
    said = answer.said or {}
    if not answer.ok or not said.get("connected"):
        error = answer.error
        text = scrub(_pg_remote.explained(error), who.password)
        return LoginResult(False, f"through Exec: {text}", sqlstate=str(error.get("sqlstate") or ""))
    session = dict(said.get("session") or {})
    tls = str(session.get("tls") or "")
    facts = {
        "user": session.get("user"),
        "database": session.get("database"),
        "ssl": bool(tls),
        "tls_version": tls or None,
        "server_version": session.get("server_version"),
        "password_asked": bool(session.get("password_asked")),
        "task": answer.result.task_arn,
    }
    return judged(facts, ", from inside the task")
