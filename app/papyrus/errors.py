"""Why the database could not be used: a closed vocabulary for answers, and how psycopg's errors map to it."""

from __future__ import annotations

import re
from enum import StrEnum

import psycopg
from psycopg import errors


class Reason(StrEnum):
    """What a client of /dbcheck may learn. No host, name, user or message of the server goes with it."""

    BUSY = "busy"  # as many database calls as this process allows are under way
    NOT_CONFIGURED = "not_configured"  # a DB_ setting is empty or not usable
    NAME = "name_not_resolved"
    REFUSED = "refused"  # nothing listens, or the network says so
    TIMEOUT = "timeout"  # connecting, waiting for a lock or a statement took too long
    TLS = "tls"  # certificate not trusted, or one side insists on (no) encryption
    AUTHENTICATION = "authentication"  # user or password not accepted
    DATABASE = "no_such_database"
    UNAVAILABLE = "unavailable"  # starting, stopping, out of connections, or hanging up before the login
    SCHEMA = "schema_missing"  # tables not there or of another shape: init.sql has not been applied
    PERMISSION = "permission"
    LOST = "connection_lost"  # died in the middle; the call may be repeated
    ERROR = "error"


# Classes and codes: https://www.postgresql.org/docs/current/errcodes-appendix.html, the longest match counts.
_BY_SQLSTATE = {
    "08": Reason.LOST,
    "0A": Reason.ERROR,
    "28": Reason.AUTHENTICATION,
    "3D": Reason.DATABASE,
    "3F": Reason.SCHEMA,
    "40": Reason.UNAVAILABLE,
    "42501": Reason.PERMISSION,
    "42703": Reason.SCHEMA,
    "42P01": Reason.SCHEMA,
    "42P10": Reason.SCHEMA,
    "53": Reason.UNAVAILABLE,
    "25006": Reason.UNAVAILABLE,
    "55P03": Reason.TIMEOUT,
    "57014": Reason.TIMEOUT,
    "57P01": Reason.LOST,
    "57P02": Reason.LOST,
    "57P03": Reason.UNAVAILABLE,
}

# A connection that was never made has no SQLSTATE; libpq gives text only. Its own messages are not translated here
# (the wheels carry no catalogues), the server's may be: then the reason is the less exact one of the end.
# In this order: a refusal for want of encryption is worded as one of authentication.
_BY_MESSAGE = tuple(
    (re.compile(pattern, re.S | re.I), reason)
    for pattern, reason in (
        (r"no pg_hba\.conf entry.*no encryption", Reason.TLS),
        (r"unexpected eof|EOF detected|server closed the connection|connection reset", Reason.UNAVAILABLE),
        (r"does not support SSL|SSL error|certificate|sslmode", Reason.TLS),
        (r"no pg_hba\.conf entry|authentication failed|role .* does not exist|no password", Reason.AUTHENTICATION),
        (r"database .* does not exist", Reason.DATABASE),
        (r"could not translate host name|failed to resolve host|name or service not known", Reason.NAME),
        (r"timeout expired|timed out", Reason.TIMEOUT),
        (r"starting up|shutting down|not yet accepting|too many|remaining connection", Reason.UNAVAILABLE),
        (r"connection refused|no route to host|network is unreachable", Reason.REFUSED),
        (r"invalid port number|invalid integer value|invalid connection option", Reason.NOT_CONFIGURED),
    )
)


class DatabaseUnavailable(Exception):
    """The work was not done, or nobody knows whether it was. `detail` is for the log, never for an answer."""

    def __init__(self, reason: Reason, detail: str = "", sqlstate: str | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail
        self.sqlstate = sqlstate


def reason_of(exc: BaseException, connected: bool) -> Reason:
    """The one word for an error of psycopg. `connected`: the login was through when it came."""
    if isinstance(exc, errors.ConnectionTimeout):
        return Reason.TIMEOUT
    sqlstate = getattr(exc, "sqlstate", None)
    if sqlstate:
        for length in (5, 2):
            if (reason := _BY_SQLSTATE.get(sqlstate[:length])) is not None:
                return reason
        return Reason.ERROR
    if connected:
        return Reason.LOST if isinstance(exc, psycopg.OperationalError) else Reason.ERROR
    text = str(exc)
    return next((reason for pattern, reason in _BY_MESSAGE if pattern.search(text)), Reason.ERROR)


def unavailable(exc: psycopg.Error, connected: bool, password: str) -> DatabaseUnavailable:
    """The failure of one call. libpq does not quote passwords; should one appear, it does not get through here."""
    detail = " ".join(str(exc).split())
    if password:
        detail = detail.replace(password, "***")
    return DatabaseUnavailable(reason_of(exc, connected), detail, getattr(exc, "sqlstate", None))
