# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Travels with _pg_program.py: makes a database, a login role and its grants where they are missing."""

from __future__ import annotations

from typing import Any

from ._pg_program import Refused, Session, quoted, remember, say, target

DATABASES = "SELECT 1 FROM pg_catalog.pg_database WHERE datname = $1"
ROLES = "SELECT rolcanlogin::text FROM pg_catalog.pg_roles WHERE rolname = $1"
SCHEMAS = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1"
MAY_CONNECT = "SELECT pg_catalog.has_database_privilege($1, $2, 'CONNECT')::text"
MAY_USE = "SELECT pg_catalog.has_schema_privilege($1, $2, 'USAGE')::text"
LACKING = (
    "SELECT c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') "
    "AND NOT pg_catalog.has_table_privilege($2, c.oid, $3) ORDER BY c.relname"
)
ALREADY_THERE = ("42P04", "42710", "23505")
"""duplicate_database, duplicate_object, and what two sessions get that make the same at the same moment."""


class Prepare:
    """Each step looks first, so that a second call changes nothing; `changes` says what was made."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.given = given
        self.parts = target(given)
        self.changes: list[str] = []
        self.left_out: list[str] = []

    def run(self) -> dict[str, Any]:
        given = self.given
        session = self._session(self.parts)
        self._make_database(session)
        if given["role"]:
            self._make_role(session)
        inside = self._session({**self.parts, "dbname": given["database"]})
        if given["role"]:
            self._grant(inside)
        return {"ok": True, "changes": self.changes, "left_out": self.left_out, "session": inside.facts, "error": None}

    def _session(self, parts: dict[str, str]) -> Session:
        session = Session(self.given, parts)
        session.require_tls()
        return session

    def _do(self, session: Session, text: str, what: str) -> None:
        try:
            session.run(text)
        except Refused as exc:
            if exc.error["sqlstate"] in ALREADY_THERE:
                return
            exc.error["message"] = what + ": " + exc.error["message"]
            raise
        self.changes.append(what)
        say("CHANGED: " + what)

    def _make_database(self, session: Session) -> None:
        name = self.given["database"]
        if not session.rows(DATABASES, name):
            self._do(session, "CREATE DATABASE " + quoted(session, name), "create database " + name)

    def _make_role(self, session: Session) -> None:
        name, password = self.given["role"], self.given["password"]
        role = quoted(session, name)
        found = session.rows(ROLES, name)
        if not found:
            secret = " PASSWORD " + self._verifier(session) if password else ""
            self._do(session, "CREATE ROLE " + role + " LOGIN" + secret, "create role " + name)
        elif found[0][0] != "true":
            self._do(session, "ALTER ROLE " + role + " LOGIN", "let role " + name + " log in")
        if session.rows(MAY_CONNECT, name, self.given["database"])[0][0] != "true":
            database = quoted(session, self.given["database"])
            self._do(session, "GRANT CONNECT ON DATABASE " + database + " TO " + role, "let role " + name + " connect")
        if found and password and not self._password_holds():
            text = "ALTER ROLE " + role + " PASSWORD " + self._verifier(session)
            self._do(session, text, "give role " + name + " the secret's password")

    def _verifier(self, session: Session) -> str:
        """A SCRAM verifier, made here: neither the password nor what could log in with it reaches the server's log."""
        password, name = self.given["password"].encode("utf-8"), self.given["role"].encode("utf-8")
        verifier = str(session.pgconn.encrypt_password(password, name, b"scram-sha-256"), "ascii")
        return "'" + verifier.replace("'", "''") + "'"

    def _password_holds(self) -> bool:
        """Only a login can tell: stored passwords are hidden from everybody but superusers."""
        given = self.given
        parts = {**self.parts, "dbname": given["database"], "user": given["role"], "password": given["password"]}
        try:
            Session(given, parts).connection.close()
        except Refused as exc:
            if exc.error["sqlstate"] != "28P01":
                raise
            return False
        return True

    def _grant(self, session: Session) -> None:
        given = self.given
        name, schema = given["role"], given["schema"]
        if not schema:
            return
        if not session.rows(SCHEMAS, schema):
            self.left_out.append("grants: there is no schema " + schema + " yet")
            say("LEFT OUT: " + self.left_out[-1])
            return
        role, place = quoted(session, name), quoted(session, schema)
        if session.rows(MAY_USE, name, schema)[0][0] != "true":
            self._do(session, "GRANT USAGE ON SCHEMA " + place + " TO " + role, "let " + name + " use schema " + schema)
        for privilege in given["grants"]:
            for row in session.rows(LACKING, schema, name, privilege):
                table = place + "." + quoted(session, str(row[0]))
                what = f"grant {privilege} on {schema}.{row[0]} to {name}"
                self._do(session, "GRANT " + privilege + " ON " + table + " TO " + role, what)


def prepare(given: dict[str, Any]) -> dict[str, Any]:
    if given["password"]:
        remember(given["password"])
    work = Prepare(given)
    try:
        return work.run()
    except Refused as exc:
        say("ERROR {}: {}".format(exc.error["sqlstate"], exc.error["message"]))
        return {"ok": False, "changes": work.changes, "left_out": work.left_out, "error": exc.error}
