# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL work as a module asks for it: secrets read, the SQL looked at, one session in the container."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ._calls import Calls
from ._exec_types import Files
from ._pg_catalogue import catalogue_query
from ._pg_remote import Answer, Outcome, Place, Run, ask, explained, run_script
from ._secret_drift import DBNAME_KEYS, SecretProblem, parse_secret, read_secret
from ._sql_script import Script, examine

MAX_ROWS = 256 * 1024
"""Bytes of rows as JSON that a query may answer: the whole output has to fit what Exec keeps."""

MAINTENANCE = "postgres"
"""The database that every server has; from there a missing one is made."""

SECRET_KEYS = {"host": ("host",), "port": ("port",), "dbname": DBNAME_KEYS, "user": ("username", "user")}


class PgProblem(Exception):
    """The work was not done, or nobody knows; the text says what, where and what to do next."""

    def __init__(self, message: str, result: Mapping[str, Any] | None = None, changed: bool = False) -> None:
        super().__init__(message)
        self.result = dict(result or {})
        self.changed = changed


@dataclass(frozen=True)
class Work:
    """Where and by what means. `register` makes a password known to whatever writes."""

    calls: Calls
    run: Run
    place: Place
    files: Files
    register: Callable[[str], None]
    where: str
    fail: bool = True


@dataclass
class Done:
    """What the module returns."""

    changed: bool
    result: dict[str, Any] = field(default_factory=dict)


def with_login(work: Work, secret_id: str | None, dbname: str | None, sslmode: str | None = None) -> Work:
    """The same with a login from a secret, and with another database or TLS mode. PgProblem when it cannot be read."""
    connection = _login_of(work, secret_id) if secret_id else {}
    if dbname:
        connection["dbname"] = dbname
    if sslmode:
        connection["sslmode"] = sslmode
    return replace(work, place=replace(work.place, connection=connection))


def _login_of(work: Work, secret_id: str) -> dict[str, str]:
    """Host, port and database may be missing from a secret: then they are the container's."""
    secret = _secret(work, secret_id)
    found = {"password": _password(work, secret, secret_id, "password")}
    for part, keys in SECRET_KEYS.items():
        value = next((secret[key] for key in keys if secret.get(key) not in (None, "")), None)
        if value is not None:
            found[part] = str(value)
    if "user" not in found:
        raise PgProblem(f"secret {secret_id} has no username; write it as JSON with username and password")
    return found


def _secret(work: Work, secret_id: str) -> dict[str, Any]:
    try:
        return parse_secret(read_secret(work.calls, secret_id), secret_id)
    except SecretProblem as exc:
        raise PgProblem(str(exc)) from exc


def _password(work: Work, secret: Mapping[str, Any], secret_id: str, key: str) -> str:
    value = secret.get(key)
    if not isinstance(value, str) or not value:
        raise PgProblem(f"secret {secret_id} has no {key} with a text in it")
    work.register(value)
    return value


def login(work: Work) -> Done:
    """An answer either way is an answer; PgProblem only when there was none."""
    answer = ask(work.run, work.place, "login", {}, work.files)
    if answer.said is None or (answer.error.get("kind") not in ("", "connect", None)):
        raise PgProblem(f"login from {_place(work, answer)}: {explained(answer.error)}", _shape(answer))
    said, session = answer.said, answer.said.get("session") or {}
    return Done(
        False,
        {
            **_shape(answer),
            "connected": bool(said.get("connected")),
            "tls": session.get("tls", ""),
            "user": session.get("user", ""),
            "sqlstate": answer.error.get("sqlstate", ""),
            "refused_plaintext": bool(said.get("refused_plaintext")),
        },
    )


def query(work: Work, queries: Sequence[Mapping[str, Any]]) -> Done:
    """Rows by name. PgProblem names the query that failed."""
    answer = ask(work.run, work.place, "query", {"queries": list(queries), "max_bytes": MAX_ROWS}, work.files)
    result = {**_shape(answer), "rows": (answer.said or {}).get("rows", {})}
    if not answer.ok and work.fail:
        raise PgProblem(f"query from {_place(work, answer)}: {explained(answer.error)}", result)
    return Done(False, result)


def read_script(src: str | None, content: str | None, expected: str | None) -> Script:
    """The bytes, looked at. PgProblem when they cannot be read, are refused, or are not those that were meant."""
    name = Path(src).name if src else "content"
    try:
        data = Path(src).read_bytes() if src else (content or "").encode("utf-8")
    except OSError as exc:
        raise PgProblem(f"{src} cannot be read, nothing was run: {exc}") from exc
    script = examine(data, name)
    reason = script.not_meant(expected) or script.refused
    if reason:
        raise PgProblem(reason, script.as_dict())
    return script


def script(work: Work, what: Script, commit: bool) -> Done:
    """The whole file in one transaction. PgProblem when it failed, or when nobody knows whether it was committed."""
    parameters = {
        "name": what.name,
        "text": what.text,
        "sha256": what.sha256,
        "statements": [[statement.start, statement.end, statement.line] for statement in what.statements],
        "commit": commit,
        "catalogue": catalogue_query(),
    }
    outcome = run_script(work.run, work.place, parameters, work.files)
    answer, said = outcome.answer, outcome.answer.said or {}
    result = {
        **_shape(answer),
        "sha256": said.get("sha256", ""),
        "committed": outcome.committed,
        "asked_again": outcome.asked_again,
        "alters": bool(said.get("alters")),
        "notices": said.get("notices", []),
        "tags": said.get("tags", {}),
        "rows_written": said.get("rows_written", 0),
        "catalogue": {"before": said.get("catalogue_before", ""), "after": said.get("catalogue_after", "")},
        "warnings_of_sql": what.as_dict()["warnings_of_sql"],
    }
    changed = outcome.committed is True and (bool(said.get("alters")) or not said)
    good = answer.ok and outcome.committed is commit
    if not good and work.fail:
        kind = "apply" if commit else "dry run"
        message = (
            f"{kind} of {what.name} from {_place(work, answer)}: {explained(answer.error)} {_ending(outcome, commit)}"
        )
        raise PgProblem(message.strip(), result, changed)
    return Done(changed, result)


def _ending(outcome: Outcome, commit: bool) -> str:
    if outcome.committed is None:
        why = f" ({outcome.asked_again})" if outcome.asked_again else ""
        return f"INDETERMINATE: nobody knows whether it was committed{why}. Look at the database before anything else"
    if outcome.committed:
        return f"It was COMMITTED nevertheless ({outcome.asked_again or 'so the server says'})."
    if outcome.answer.result.outcome == "not_run":
        return "Nothing was run."
    return f"Nothing of it is left{' (' + outcome.asked_again + ')' if outcome.asked_again else ''}."


@dataclass(frozen=True)
class Wanted:
    """What should be there. Without a role there is nothing to grant."""

    database: str
    role: str = ""
    password_secret_id: str = ""
    schema: str = ""
    grants: Sequence[str] = ()


def prepare(work: Work, wanted: Wanted) -> Done:
    """Makes database, role and grants where they are missing."""
    password = ""
    if wanted.role and wanted.password_secret_id:
        secret = _secret(work, wanted.password_secret_id)
        password = _password(work, secret, wanted.password_secret_id, "password")
    parameters = {
        "database": wanted.database,
        "role": wanted.role,
        "password": password,
        "schema": wanted.schema,
        "grants": list(wanted.grants),
    }
    place = work.place
    if "dbname" not in place.connection:
        place = replace(place, connection={**place.connection, "dbname": MAINTENANCE})
    answer = ask(work.run, place, "prepare", parameters, work.files)
    said = answer.said or {}
    result = {**_shape(answer), "changes": said.get("changes", []), "left_out": said.get("left_out", [])}
    if not answer.ok and work.fail:
        made = f" Before that: {', '.join(result['changes'])}." if result["changes"] else ""
        message = f"preparing database {wanted.database} from {_place(work, answer)}: {explained(answer.error)}{made}"
        raise PgProblem(message, result, bool(result["changes"]))
    return Done(bool(result["changes"]), result)


def _place(work: Work, answer: Answer) -> str:
    result = answer.result
    return f"container {result.container} of {result.task_arn}" if result.task_arn else work.where


def _shape(answer: Answer) -> dict[str, Any]:
    """What every kind of work returns."""
    return {
        **answer.result.as_dict(),
        "stdout": answer.shown,
        "session": (answer.said or {}).get("session", {}),
        "error": answer.error or None,
    }


def plan(kind: str, given: Any, what: Script | None) -> str:
    """For check mode: what would be done."""
    if what is not None:
        verb = "apply (COMMIT)" if given["commit"] else "rehearse (ROLLBACK)"
        return f"{verb} {what.name}, {len(what.statements)} statements, sha256 {what.sha256},"
    if kind == "prepare":
        wanted = [f"database {given['database']}"]
        wanted += [f"role {given['role']}"] if given["role"] else []
        wanted += [f"grants on schema {given['schema']}"] if given["schema"] else []
        return f"make what is missing of {', '.join(wanted)}"
    return f"ask {len(given)} queries" if kind == "query" else "log in"
