# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Travels with _pg_program.py: the statements of a SQL file in one transaction, and how a transaction ended."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from typing import Any

from ._pg_program import SPOKEN, Refused, Session, say, target, write

BLOCKERS = (
    "SELECT DISTINCT pg_catalog.format('pid %s (%s, %s)', a.pid, a.usename, nullif(a.application_name, '')) "
    "FROM unnest(pg_catalog.pg_blocking_pids($1)) AS b (pid) JOIN pg_catalog.pg_stat_activity AS a ON a.pid = b.pid"
)
WRITES = (
    "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::text FROM pg_catalog.pg_stat_xact_user_tables "
    r"WHERE schemaname NOT LIKE 'pg\_temp%'"
)
# One schema change at a time in a database: the number is the beginning of SHA-256 of `papyrus.ops schema`.
ADVISORY_LOCK = int.from_bytes(hashlib.sha256(b"papyrus.ops schema").digest()[:8], "big", signed=True)
LOCK_TIMEOUT = "55P03"


class Watch(threading.Thread):
    """While a statement waits: who holds it up? A second connection asks, before the lock time-out ends the wait."""

    def __init__(self, session: Session) -> None:
        super().__init__(daemon=True)
        self.session = session
        self.after = float(session.given["lock_timeout"]) / 2
        self.seen: list[str] = []
        self.over = threading.Event()
        self.work = (0, time.monotonic())

    def begins(self, number: int) -> None:
        self.work = (number, time.monotonic())

    def run(self) -> None:
        asked = 0
        while not self.over.wait(min(0.2, self.after / 2)):
            number, since = self.work
            if number == asked or time.monotonic() - since < self.after:
                continue
            asked = number
            try:
                other = Session(self.session.given, self.session.parts)
                self.seen = [str(row[0]) for row in other.rows(BLOCKERS, str(self.session.facts["pid"]))]
                other.connection.close()
            except Exception:
                continue  # then the error says less


class Script:
    """The statements of one file in one transaction, which ends by ROLLBACK or, when asked for, by COMMIT."""

    def __init__(self, given: dict[str, Any], session: Session) -> None:
        self.given = given
        self.session = session
        self.text: str = given["text"]
        self.xid = ""
        self.done = 0
        self.tags: dict[str, int] = {}
        self.watch = Watch(session)

    def run(self) -> dict[str, Any]:
        self.watch.start()
        try:
            return self._transaction()
        except Refused:
            if not self.session.lost():
                self.session.run("ROLLBACK")
            raise
        finally:
            self.watch.over.set()

    def _transaction(self) -> dict[str, Any]:
        session = self.session
        session.run("BEGIN")
        say("BEGIN")
        self._tell_xid()
        self._take_turn()
        before = self._catalogue()
        for number, place in enumerate(self.given["statements"], 1):
            self._statement(number, place)
        self.watch.begins(-2)
        try:
            # Else a deferred constraint would be looked at by COMMIT alone, and a dry run would not see it fail.
            session.run("SET CONSTRAINTS ALL IMMEDIATE")
            after, written = self._catalogue(), int(session.rows(WRITES)[0][0] or 0)
        except Refused as exc:
            exc.error["message"] = "at the end of the transaction: " + exc.error["message"]
            raise self._explained(exc) from exc
        if self.given["commit"]:
            self._commit()
        else:
            session.run("ROLLBACK")
            say("ROLLBACK")
        say(f"CATALOGUE: {'unchanged' if before == after else 'changed'}; {written} rows written")
        return {
            "committed": bool(self.given["commit"]),
            "alters": before != after or written > 0,
            "catalogue_before": before,
            "catalogue_after": after,
            "rows_written": written,
        }

    def _take_turn(self) -> None:
        self.watch.begins(-1)
        try:
            self.session.rows("SELECT pg_catalog.pg_advisory_xact_lock($1)", str(ADVISORY_LOCK))
        except Refused as exc:
            if exc.error["sqlstate"] == LOCK_TIMEOUT:
                exc.error.update(kind="locked", message="another schema change is under way in this database")
            raise self._explained(exc) from exc

    def _catalogue(self) -> str:
        return str(self.session.rows(self.given["catalogue"])[0][0])

    def _tell_xid(self) -> None:
        """Before anything is done: it makes the end of the transaction knowable when this process is gone."""
        self.xid = str(self.session.rows("SELECT pg_catalog.txid_current()::text")[0][0])
        write(f"{self.given['mark']} {json.dumps({'xid': self.xid})}\n")

    def _statement(self, number: int, place: list[int]) -> None:
        start, end, line = place
        session = self.session
        if time.monotonic() > session.ends:
            message = f"the time limit of {self.given['seconds']} s is over"
            raise Refused("limit", message, statement=number, line=line)
        self.watch.begins(number)
        try:
            result = session.run(self.text[start:end])
        except Refused as exc:
            position = exc.error.pop("position", None)
            exc.error.update(statement=number, line=line)
            if position is not None:
                at = start + position - 1
                exc.error.update(line=self.text.count("\n", 0, at) + 1, column=at - self.text.rfind("\n", 0, at))
            raise self._explained(exc) from exc
        tag = (result.command_status or b"").decode("utf-8", "replace")
        if not session.in_transaction():
            raise Refused("ended", "the statement ended the transaction", None, statement=number, line=line)
        self.done += 1
        word = tag.rstrip("0123456789 ")
        self.tags[word] = self.tags.get(word, 0) + 1
        if number <= SPOKEN:
            say(f"{number}  line {line}  {tag}")
        elif number == SPOKEN + 1:
            say("…  the other statements are counted only")
        if word in ("SET", "RESET"):
            session.limits()

    def _explained(self, exc: Refused) -> Refused:
        if exc.error["sqlstate"] == LOCK_TIMEOUT:
            held = ", ".join(self.watch.seen)
            exc.error["message"] += f"; waited {self.given['lock_timeout']} s (lock_timeout)"
            exc.error["message"] += f" for a lock of {held}" if held else ""
            exc.error["blockers"] = self.watch.seen
        return exc

    def _commit(self) -> None:
        try:
            result = self.session.run("COMMIT")
        except Refused as exc:
            if not self.session.lost():
                raise
            how = self._ask_again()
            if how != "committed":
                exc.committed = False if how == "aborted" else None
                exc.error["message"] += f"; COMMIT was under way, asked again the server says: {how or 'nothing'}"
                raise
            say("COMMIT (the connection was lost in the middle of it; asked again, the server says: committed)")
            return
        if result.command_status != b"COMMIT":
            raise Refused("sql", f"COMMIT was answered with {result.command_status!r}: all was rolled back")
        say("COMMIT")

    def _ask_again(self) -> str:
        for pause in (0.2, 1, 3):
            time.sleep(pause)
            try:
                how = transaction_status(Session(self.given, self.session.parts), self.xid)
            except Refused:
                continue
            if how != "in progress":
                return how
        return ""


def transaction_status(session: Session, xid: str) -> str:
    """`committed`, `aborted`, `in progress`, or "" when the server does not remember."""
    return session.rows("SELECT coalesce(pg_catalog.txid_status($1), '')", xid)[0][0] or ""


def script(given: dict[str, Any]) -> dict[str, Any]:
    content = given["text"].encode("utf-8")
    digest = hashlib.sha256(content).hexdigest()
    count = len(given["statements"])
    say(f"SCRIPT {given['name']}: {len(content)} bytes, {count} statements, sha256 {digest}")
    answer: dict[str, Any] = {"sha256": digest, "statements": count, "committed": False, "alters": False}
    session: Session | None = None
    work: Script | None = None
    try:
        if digest != given["sha256"]:
            expected = given["sha256"]
            raise Refused("hash", f"the container has other bytes (sha256 {digest}) than were meant ({expected})")
        session = Session(given, target(given))
        session.require_tls()
        say("SESSION {user} in {database}, {tls}, server {server_version}".format(**session.facts))
        work = Script(given, session)
        answer.update(work.run(), ok=True, error=None)
    except Refused as exc:
        answer.update(ok=False, error=exc.error, committed=exc.committed)
        where = "".join(f", {key} {exc.error[key]}" for key in ("statement", "line", "column") if key in exc.error)
        say(f"ERROR {exc.error['sqlstate'] or exc.error['kind']}{where}: {exc.error['message']}")
        if work is not None and exc.committed is False:
            say("ROLLBACK (nothing of it is left)")
    if session is not None:
        answer.update(session=session.facts, notices=session.notices, notices_left_out=session.notices_left_out)
    if work is not None:
        answer.update(done=work.done, tags=work.tags, xid=work.xid)
    return answer


def outcome(given: dict[str, Any]) -> dict[str, Any]:
    """How the transaction `xid` ended; waits while it is in progress."""
    session = Session(given, target(given))
    how = transaction_status(session, given["xid"])
    while how == "in progress" and time.monotonic() < session.ends - 1:
        time.sleep(0.5)
        how = transaction_status(session, given["xid"])
    say(f"TRANSACTION {given['xid']}: {how or 'not known any more'}")
    return {"ok": True, "status": how, "session": session.facts, "error": None}
