# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One login to PostgreSQL over verified TLS: proves a password and reads who and how from the server itself."""

from __future__ import annotations

import json
import traceback
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

try:
    import psycopg

    PSYCOPG_IMPORT_ERROR: str | None = None
    PSYCOPG_ERRORS: tuple[type[Exception], ...] = (psycopg.Error,)
except ImportError:  # libpq missing is an ImportError too; modules report it with missing_required_lib
    PSYCOPG_IMPORT_ERROR = traceback.format_exc()
    PSYCOPG_ERRORS = ()

WHO = (
    "SELECT 1, current_user, current_database(), coalesce(s.ssl, false), s.version, s.cipher "
    "FROM (SELECT 1) AS one LEFT JOIN pg_stat_ssl AS s ON s.pid = pg_backend_pid()"
)
HIDDEN = "[password]"


@dataclass(frozen=True)
class Login:
    """Whom to log in as, and where. The password is left out of `repr`."""

    host: str
    port: int
    dbname: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Transport:
    """How to get there. `ca_file` must hold the CA of the server's certificate; times in seconds.

    `hostaddr` replaces name resolution only: the certificate is still checked against the host's name.
    """

    ca_file: str | None = None
    hostaddr: str | None = None
    connect_timeout: int = 15
    statement_timeout: int = 15


@dataclass(frozen=True)
class LoginResult:
    ok: bool
    reason: str
    facts: dict[str, Any] = field(default_factory=dict)
    sqlstate: str = ""


def scrub(text: str, password: str) -> str:
    """`text` without the password in any spelling in which an error message could carry it."""
    if not password:
        return text
    spellings = {
        password,
        repr(password)[1:-1],
        json.dumps(password)[1:-1],
        urllib.parse.quote(password, safe=""),
        urllib.parse.quote_plus(password),
        password.replace("\\", "\\\\").replace("'", "\\'"),
    }
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, HIDDEN)
    return text


HINTS = (
    (
        "password authentication failed",
        "the password (or username) in the secret is not the database's: rotate or correct the secret",
    ),
    ("no pg_hba.conf entry", "the server refuses this user, database or a connection without TLS"),
    (
        "certificate verify failed",
        "the server's certificate is not signed by the given CA file: use the RDS bundle of this region",
    ),
    ("does not match host name", "the server's certificate is for another host: the address leads elsewhere"),
    ("root certificate file", "the CA file cannot be read: set ca_file to the RDS bundle"),
    ("does not exist", "the database or role that the secret names is not there: create it or correct the secret"),
    (
        "timeout expired",
        "the database cannot be reached from here (route, security group): use login=none or log in through Exec",
    ),
    ("connection refused", "nothing listens there, or a security group rejects: check that the instance is available"),
    ("could not translate host name", "the endpoint's name does not resolve from here"),
    ("failed to resolve host", "the endpoint's name does not resolve from here"),
    ("server closed the connection", "the server or a gate before it closed the connection: check the security group"),
    ("too many connections", "the database has no free connection; try again later"),
)


def explain(error: str) -> str:
    """The first line of a libpq error with what to do about it."""
    line = " ".join(error.split())
    lower = line.lower()
    hint = next((hint for sign, hint in HINTS if sign in lower), "")
    return f"{line}: {hint}" if hint else line or "the login failed without a message"


def login(
    who: Login,
    transport: Transport,
    connect: Callable[..., Any] | None = None,
    errors: tuple[type[Exception], ...] = (),
) -> LoginResult:
    """Logs in, asks `SELECT 1` and pg_stat_ssl, closes. Never raises for what server or network say.

    The result fails when the server did not ask for the password (trust would prove nothing) and when the session
    is not encrypted. libpq's options: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
    """
    if connect is None:
        if PSYCOPG_IMPORT_ERROR is not None:
            return LoginResult(False, "psycopg is not installed for this Python: install psycopg[binary]")
        connect = psycopg.connect
        errors = PSYCOPG_ERRORS
    if not transport.ca_file:
        return LoginResult(False, "no CA file is given: verify-full needs the CA of the server's certificate (ca_file)")
    options: dict[str, Any] = {
        "host": who.host,
        "port": who.port,
        "dbname": who.dbname,
        "user": who.user,
        "password": who.password,
        "sslmode": "verify-full",
        "sslrootcert": transport.ca_file,
        "gssencmode": "disable",
        "connect_timeout": transport.connect_timeout,
        "options": f"-c statement_timeout={transport.statement_timeout * 1000}",
        "application_name": "papyrus.ops",
        "autocommit": True,
    }
    if transport.hostaddr:
        options["hostaddr"] = transport.hostaddr
    try:
        with connect(**options) as connection:
            asked = bool(connection.pgconn.used_password)
            row: Any = connection.execute(WHO).fetchone()
            version = connection.info.server_version
    except errors as exc:
        return LoginResult(
            False, explain(scrub(str(exc), who.password)), sqlstate=str(getattr(exc, "sqlstate", None) or "")
        )
    facts = {
        "user": row[1],
        "database": row[2],
        "ssl": bool(row[3]),
        "tls_version": row[4],
        "cipher": row[5],
        "server_version": version,
        "password_asked": asked,
    }
    if row[0] != 1:
        return LoginResult(False, f"SELECT 1 answered {row[0]!r}", facts)
    return judged(facts)


def judged(facts: dict[str, Any], where: str = "") -> LoginResult:
    """What a session proves: nothing, unless the server itself calls it encrypted and asked for the password."""
    if not facts["ssl"]:
        return LoginResult(False, "the server's own pg_stat_ssl says that the session is not encrypted", facts)
    if not facts["password_asked"]:
        return LoginResult(
            False, "the server let the user in without asking for the password, so nothing is proved", facts
        )
    return LoginResult(True, f"{facts['user']} in {facts['database']} over {facts['tls_version']}{where}", facts)
