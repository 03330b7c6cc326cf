# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""PostgreSQL work inside a container: sessions, logins, queries.

The files _pg_program*.py travel there as text and run on what is there: Python 3.8 and psycopg 3.1 are enough, and
they import nothing but each other. They print what an operator reads, then one line `<mark> <JSON>`: the answer. The
mark is random, so that no notice, warning or chatty start-up file can be taken for it. A line `<mark> {"xid": …}` comes
before the first statement: with it the server can be asked afterwards how the transaction ended, whatever became of
this process.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse
from typing import Any

try:
    import psycopg
    import psycopg.sql
    from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus

    PSYCOPG_IMPORT_ERROR = ""
except ImportError as exc:  # libpq missing is an ImportError, too
    PSYCOPG_IMPORT_ERROR = f"{type(exc).__name__}: {exc}"

TLS_MODES = ("require", "verify-ca", "verify-full")
WHO = (
    "SELECT pg_catalog.current_database()::text, CURRENT_USER::text, coalesce(s.ssl, false)::text, "
    "coalesce(s.version, ''), "
    "pg_catalog.pg_backend_pid()::text, pg_catalog.current_setting('server_version') "
    "FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_stat_ssl AS s ON s.pid = pg_catalog.pg_backend_pid()"
)
LIMITS = (
    "SELECT pg_catalog.set_config(s.name, v.value, false) FROM pg_catalog.pg_settings AS s JOIN (VALUES "
    "('lock_timeout', $1), ('statement_timeout', $2), ('idle_in_transaction_session_timeout', $2), "
    "('client_connection_check_interval', '2000')) AS v (name, value) ON v.name = s.name "
    "WHERE $3 = 'all' OR s.setting::bigint = 0 OR s.setting::bigint > v.value::bigint"
)
SPOKEN = 200
"""Lines about statements, and notices, that are kept; the rest is counted."""

LONGEST = 1000
"""Characters of one message that are kept."""

LOGIN_STATES = (
    ("password authentication failed", "28P01"),
    ("no pg_hba.conf entry", "28000"),
    ("pg_hba.conf rejects connection", "28000"),
    ("is not permitted to log in", "28000"),
    ("too many connections", "53300"),
    ("remaining connection slots are reserved", "53300"),
    ("the database system is starting up", "57P03"),
    ("the database system is shutting down", "57P03"),
    ("permission denied for database", "42501"),
)
"""libpq does not hand on the SQLSTATE of a refused login, so it is read off the server's text."""

_secrets: list[str] = []


class Refused(Exception):
    """What stops the work. `error` is the answer's error; `committed` None: nobody here knows."""

    def __init__(self, kind: str, message: str, committed: bool | None = False, **facts: Any) -> None:
        super().__init__(message)
        self.committed = committed
        self.error = {"kind": kind, "message": message, "sqlstate": "", **facts}


def scrub(text: str) -> str:
    """Without the passwords in any spelling in which a message could carry them."""
    for secret in _secrets:
        spellings = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], urllib.parse.quote(secret, safe="")}
        spellings |= {secret.replace("'", "''"), secret.replace("\\", "\\\\").replace("'", "\\'")}
        for spelling in sorted(spellings, key=len, reverse=True):
            text = text.replace(spelling, "[password]")
    return text


def short(text: str) -> str:
    """A message may hold a whole row; the answer has to fit what is kept of the output."""
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def clean(value: Any) -> Any:
    if isinstance(value, str):
        return scrub(value)
    if isinstance(value, dict):
        return {key: clean(item) for key, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list) else value


def write(text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    while data:
        data = data[os.write(1, data) :]


def say(text: str) -> None:
    """One line for people, nothing in it that a terminal would obey."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in scrub(text))
    write(line + "\n")


class Session:
    """One connection, its limits, and what the server says of it. Everything goes through the extended protocol, which
    takes one statement a call: a text in which server and parser see different statements cannot smuggle one in."""

    def __init__(self, given: dict[str, Any], parts: dict[str, str]) -> None:
        self.given = given
        self.parts = parts
        self.notices: list[str] = []
        self.notices_left_out = 0
        self.ends = time.monotonic() + float(given["seconds"])
        self.connection = connect(parts, given)
        self.connection.add_notice_handler(self._notice)
        self.pgconn = self.connection.pgconn
        self.limits("all")
        row = self.rows(WHO)[0]
        self.facts = {
            "database": row[0],
            "user": row[1],
            "tls": (row[3] or "unknown version") if row[2] == "true" else "",
            "pid": int(row[4] or 0),
            "server_version": row[5],
            "password_asked": bool(self.pgconn.used_password),
        }

    def _notice(self, diag: Any) -> None:
        text = short(f"{diag.severity}: {diag.message_primary}")
        if len(self.notices) < SPOKEN:
            self.notices.append(text)
            say("   " + text)
        else:
            self.notices_left_out += 1

    def limits(self, which: str = "lifted") -> None:
        """Also after a SET of the script's: it may lower them, not lift them."""
        statement = max(1, int((self.ends - time.monotonic()) * 1000))
        self.rows(LIMITS, str(int(float(self.given["lock_timeout"]) * 1000)), str(statement), which)

    def run(self, text: str, *values: str) -> Any:
        """The libpq result of one statement; Refused with the server's words."""
        result = self.pgconn.exec_params(text.encode("utf-8"), [value.encode("utf-8") for value in values])
        if result.status in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY):
            return result
        if result.status != ExecStatus.FATAL_ERROR:
            raise Refused("copy", "the statement wants to move data outside of SQL (COPY)")
        raise Refused(**server_error(result, self.lost(), bytes(self.pgconn.error_message).decode("utf-8", "replace")))

    def rows(self, text: str, *values: str) -> list[list[str | None]]:
        result = self.run(text, *values)
        table: list[list[str | None]] = []
        for row in range(result.ntuples):
            cells = [result.get_value(row, column) for column in range(result.nfields)]
            table.append([None if cell is None else cell.decode("utf-8") for cell in cells])
        return table

    def lost(self) -> bool:
        return bool(self.pgconn.status == ConnStatus.BAD)

    def in_transaction(self) -> bool:
        return bool(self.pgconn.transaction_status == TransactionStatus.INTRANS)

    def require_tls(self) -> None:
        if not self.facts["tls"]:
            raise Refused(
                "plaintext", "the server's own pg_stat_ssl says that this session is not encrypted; nothing was run"
            )


def server_error(result: Any, lost: bool, message: str) -> dict[str, Any]:
    """Keyword arguments of Refused."""

    def text(name: str) -> str:
        value = result.error_field(getattr(DiagnosticField, name))
        return short(value.decode("utf-8", "replace")) if value else ""

    answer: dict[str, Any] = {"kind": "lost" if lost else "sql", "message": text("MESSAGE_PRIMARY") or message.strip()}
    answer["sqlstate"] = text("SQLSTATE")
    for key, name in (("detail", "MESSAGE_DETAIL"), ("hint", "MESSAGE_HINT"), ("context", "CONTEXT")):
        if text(name):
            answer[key] = text(name)
    if text("STATEMENT_POSITION"):
        answer["position"] = int(text("STATEMENT_POSITION"))
    return answer


def target(given: dict[str, Any]) -> dict[str, str]:
    """Where and as whom to log in: what was given, else what the container's variables say."""
    parts: dict[str, str] = {}
    for part, variable in given["environment"].items():
        value = given["connection"].get(part)
        if value is None:
            value = os.environ.get(variable, "")
        parts[part] = str(value)
    parts["port"] = parts.get("port") or "5432"
    missing = [
        given["environment"].get(part) or part for part in ("host", "user", "password", "dbname") if not parts.get(part)
    ]
    if missing:
        raise Refused(
            "setting",
            "the container has no variable {}; name the right one in 'environment'".format(", ".join(missing)),
        )
    mode = given["connection"].get("sslmode") or os.environ.get("PGSSLMODE", "")
    parts["sslmode"] = mode if mode in TLS_MODES or given["connection"].get("sslmode") else "require"
    remember(parts["password"])
    return parts


def remember(secret: str) -> None:
    """From here on nothing that is printed has it."""
    _secrets.append(secret)


def quoted(session: Session, name: str) -> str:
    """An identifier."""
    return psycopg.sql.Identifier(name).as_string(session.connection)


def connect(parts: dict[str, str], given: dict[str, Any]) -> Any:
    try:
        return psycopg.connect(
            host=parts["host"],
            port=parts["port"],
            dbname=parts["dbname"],
            user=parts["user"],
            password=parts["password"],
            sslmode=parts["sslmode"],
            gssencmode="disable",
            connect_timeout=max(2, int(min(10, float(given["seconds"])))),
            application_name=given["application_name"],
            client_encoding="utf8",
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=20000,
            autocommit=True,
        )
    except psycopg.Error as exc:
        message = " ".join(str(exc).split())
        state = next((state for sign, state in LOGIN_STATES if "FATAL" in message and sign in message), "")
        if "FATAL" in message and not state and "does not exist" in message:
            state = "3D000" if "database" in message else "28000"
        raise Refused("connect", message, sqlstate=state) from exc


def login(given: dict[str, Any]) -> dict[str, Any]:
    try:
        session = Session(given, target(given))
    except Refused as exc:
        error = exc.error
        plain = error["sqlstate"] == "28000" and any(s in error["message"] for s in ("no encryption", "SSL off"))
        say("LOGIN refused: " + error["message"])
        return {"ok": False, "connected": False, "refused_plaintext": plain, "error": error}
    say("LOGIN {user} in {database}: {0}".format(session.facts["tls"] or "PLAINTEXT", **session.facts))
    return {"ok": True, "connected": True, "refused_plaintext": False, "session": session.facts, "error": None}


def query(given: dict[str, Any]) -> dict[str, Any]:
    session = Session(given, target(given))
    session.require_tls()
    session.run("BEGIN READ ONLY")
    session.rows("SELECT 1")  # a snapshot is taken: from here on nothing can make the transaction READ WRITE again
    answer: dict[str, Any] = {}
    size = 0
    for asked in given["queries"]:
        name = asked["name"]
        try:
            # Placeholders become $1, $2 …; prepared, as only that refuses a second statement in the text.
            cursor = session.connection.execute(asked["sql"], asked.get("args") or None, prepare=True)
            table = [[plain(cell) for cell in row] for row in cursor.fetchall()] if cursor.description else []
        except psycopg.Error as exc:
            message = " ".join(str(exc.diag.message_primary or exc).split())
            raise Refused("sql", message, sqlstate=exc.sqlstate or "", query=name) from exc
        if not session.in_transaction():
            raise Refused("sql", "the query ended its read-only transaction", query=name)
        size += len(json.dumps(table))
        if size > given["max_bytes"]:
            raise Refused("limit", f"the rows are more than {given['max_bytes']} bytes; ask for less", query=name)
        answer[name] = table
        say(f"{name}: {len(table)} rows")
    session.run("ROLLBACK")
    return {"ok": True, "rows": answer, "session": session.facts, "error": None}


def plain(value: Any) -> Any:
    """What JSON has stays as it is; the rest as PostgreSQL would print it, nearly."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
