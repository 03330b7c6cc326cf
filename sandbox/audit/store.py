"""The audit database: CloudTrail's event history and Config's items, in SQLite beside the emulator's state."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# How long the event history is shown.
# https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events.html
RETENTION_SECONDS = 90 * 86_400
# A bound of our own: the oldest go when there are more.
MOST_EVENTS = 2_000_000
# Events in memory while the disk takes none.
MOST_PENDING = 50_000
COMMIT_SECONDS = 0.5
PRUNE_SECONDS = 600.0
# SQLite's write-ahead log (bytes): copied into the database when it is long, emptied when it grows all the same.
LONG_LOG, LONGEST_LOG = 4 * 1024 * 1024, 32 * 1024 * 1024
TYPE, NAME = 0, 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scopes (
    id INTEGER PRIMARY KEY, account TEXT NOT NULL, region TEXT NOT NULL, UNIQUE (account, region));
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY, scope INTEGER NOT NULL, time INTEGER NOT NULL, arrived REAL NOT NULL,
    event_id TEXT NOT NULL, name TEXT NOT NULL, source TEXT NOT NULL, read_only TEXT NOT NULL,
    username TEXT, access_key TEXT, resources TEXT NOT NULL, record TEXT NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS events_by_id ON events (scope, event_id);
CREATE INDEX IF NOT EXISTS events_by_time ON events (scope, time);
CREATE INDEX IF NOT EXISTS events_by_name ON events (scope, name, time);
CREATE INDEX IF NOT EXISTS events_by_source ON events (scope, source, time);
CREATE INDEX IF NOT EXISTS events_by_change ON events (scope, time) WHERE read_only = 'false';
CREATE INDEX IF NOT EXISTS events_by_username ON events (scope, username, time);
CREATE INDEX IF NOT EXISTS events_by_access_key ON events (scope, access_key, time);
CREATE TABLE IF NOT EXISTS resources (
    scope INTEGER NOT NULL, kind INTEGER NOT NULL, value TEXT NOT NULL, time INTEGER NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (scope, kind, value, time, seq)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS items (
    seq INTEGER PRIMARY KEY, scope INTEGER NOT NULL, type TEXT NOT NULL, id TEXT NOT NULL,
    captured REAL NOT NULL, status TEXT NOT NULL, digest TEXT NOT NULL, item TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS items_of_a_resource ON items (scope, type, id, captured);
"""
log = logging.getLogger("sandbox.audit")


@dataclass(frozen=True)
class Event:
    """One line of the event history. `time` is in whole seconds, as CloudTrail has it; `arrived`: when it came here."""

    account: str
    region: str
    time: int
    arrived: float
    event_id: str
    name: str
    source: str
    read_only: bool
    username: str | None
    access_key: str | None
    # (type, name), as LookupEvents shows them.
    resources: tuple[tuple[str, str], ...]
    # The record itself: JSON, or whatever was imported.
    record: str


@dataclass(frozen=True)
class Found:
    """An event with its place: pages go on below (time, seq)."""

    seq: int
    event: Event


@dataclass(frozen=True)
class Query:
    """What LookupEvents asks. `column` is one of COLUMNS, "type", "resource" or None; times are inclusive."""

    account: str
    region: str
    start: int
    end: int
    arrived_by: float
    column: str | None = None
    value: str = ""


COLUMNS = ("event_id", "name", "source", "read_only", "username", "access_key")
FIELDS = "e.seq, e.time, e.arrived, e.event_id, e.name, e.source, e.read_only, e.username, e.access_key"
FIELDS += ", e.resources, e.record"


class Store:
    """One connection behind a lock, committed by a thread. Every method may be called on any thread."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._log = file.with_name(file.name + "-wal")
        self._pending: deque[Event] = deque()
        self._scopes: dict[tuple[str, str], int] = {}
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._failing = False
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            aside = file.with_suffix(".broken")
            log.warning("%s is no database (%s): it is put aside as %s", file.name, error, aside.name)
            file.replace(aside)
            for suffix in ("-wal", "-shm"):
                file.with_name(file.name + suffix).unlink(missing_ok=True)
            self._db = self._open()
        self._db.execute("INSERT OR IGNORE INTO facts VALUES ('secret', ?)", (secrets.token_hex(16),))
        self._db.commit()
        found = self._db.execute("SELECT value FROM facts WHERE name = 'secret'").fetchone()
        # Signs page tokens; kept, so that a token outlives a restart.
        self.secret: bytes = bytes.fromhex(found[0])
        self._writer = threading.Thread(target=self._keep_writing, name="audit", daemon=True)
        self._writer.start()

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._file, check_same_thread=False, timeout=30)
        # WAL: a process killed at any moment leaves a whole database; what was committed is there.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        # Checkpoints wait for the disk: the writer's thread makes them, not the requests' one.
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("PRAGMA cache_size = -8000")
        database.executescript(SCHEMA)
        return database

    # Events

    def add(self, event: Event) -> None:
        """Remember an event: written at once unless the database is busy, safe within COMMIT_SECONDS."""
        self._pending.append(event)
        if len(self._pending) > MOST_PENDING:
            self._pending.popleft()
        if self._lock.acquire(blocking=False):
            try:
                self._insert_pending()
            finally:
                self._lock.release()

    def add_all(self, events: Iterable[Event]) -> int:
        """Write these now; the number of those that were new by their event id."""
        with self._transaction():
            return sum(self._insert(event) for event in events)

    def flush(self) -> None:
        """Write what waits, so that a reader sees it."""
        if self._pending:
            with self._lock:
                self._insert_pending()

    def _insert_pending(self) -> None:
        while self._pending:
            event = self._pending.popleft()
            try:
                self._insert(event)
            except sqlite3.Error as error:
                self._pending.appendleft(event)
                if not self._failing:
                    log.warning("audit records wait in memory: %s", error)
                self._failing = True
                return
        self._failing = False

    def _commit(self) -> None:
        with self._lock:
            self._insert_pending()
            try:
                self._db.commit()
            except sqlite3.Error as error:
                self._scopes.clear()
                log.warning("audit records of the last %s s are lost: %s", COMMIT_SECONDS, error)
                self._db.rollback()

    def _insert(self, event: Event) -> int:
        scope = self._scope(event.account, event.region)
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO events (scope, time, arrived, event_id, name, source, read_only, username,"
            " access_key, resources, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                scope,
                event.time,
                event.arrived,
                event.event_id,
                event.name,
                event.source,
                "true" if event.read_only else "false",
                event.username,
                event.access_key,
                json.dumps(event.resources) if event.resources else "",
                event.record,
            ),
        )
        if cursor.rowcount and event.resources:
            keys = _resource_keys(scope, event.time, cursor.lastrowid or 0, event.resources)
            self._db.executemany("INSERT OR IGNORE INTO resources VALUES (?, ?, ?, ?, ?)", keys)
        return cursor.rowcount

    def page(self, query: Query, after: tuple[int, int] | None, limit: int) -> list[Found]:
        """Events newest first, of equal times those that came last first; after the place of the last one seen."""
        self.flush()
        with self._lock:
            scope = self._known_scope(query.account, query.region)
            if after is None:
                return self._newest(query, scope, "", (query.end,), limit)
            time_, seq = after
            # Two seeks in the index, so that a page costs the same however many events have one time.
            found = self._newest(query, scope, "AND {at}.time = ? AND {at}.seq < ?", (query.end, time_, seq), limit)
            if len(found) < limit:
                found += self._newest(query, scope, "", (min(query.end, time_ - 1),), limit - len(found))
            return found

    def _newest(self, query: Query, scope: int, further: str, values: tuple[int, ...], limit: int) -> list[Found]:
        parameters: list[Any]
        if query.column in ("type", "resource"):
            at, source = "r", "resources r JOIN events e ON e.seq = r.seq"
            where, parameters = "r.scope = ? AND r.kind = ? AND r.value = ?", [scope]
            parameters += [TYPE if query.column == "type" else NAME, query.value]
        else:
            at, source, where, parameters = "e", "events e", "e.scope = ?", [scope]
            if query.column == "read_only":
                # Written out, so that the index of changes serves; reads are most of what there is.
                where += f" AND e.read_only = '{'true' if query.value == 'true' else 'false'}'"
            elif query.column is not None:
                where += f" AND e.{query.column} = ?"
                parameters.append(query.value)
        parameters += [query.start, *values, query.arrived_by, limit]
        rows = self._db.execute(
            f"SELECT {FIELDS} FROM {source} WHERE {where} AND {at}.time >= ? AND {at}.time <= ? "
            f"{further.format(at=at)} AND e.arrived <= ? ORDER BY {at}.time DESC, {at}.seq DESC LIMIT ?",
            parameters,
        )
        return [_found(query.account, query.region, row) for row in rows]

    # Config's items

    def add_item(
        self,
        account: str,
        region: str,
        kind: str,
        identifier: str,
        captured: float,
        status: str,
        digest: str,
        item: str,
    ) -> None:
        with self._transaction():
            self._db.execute(
                "INSERT INTO items (scope, type, id, captured, status, digest, item) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._scope(account, region), kind, identifier, captured, status, digest, item),
            )

    def latest_items(self) -> list[tuple[str, str, str, str, str, str, str]]:
        """(account, region, type, id, status, digest, item) of the last item of each resource."""
        with self._lock:
            return self._db.execute(
                "SELECT s.account, s.region, i.type, i.id, i.status, i.digest, i.item"
                " FROM items i JOIN scopes s ON s.id = i.scope"
                " WHERE i.seq IN (SELECT max(seq) FROM items GROUP BY scope, type, id)"
            ).fetchall()

    def items(
        self,
        account: str,
        region: str,
        kind: str,
        identifier: str,
        between: tuple[float, float],
        *,
        newest_first: bool = True,
        after: tuple[float, int] | None = None,
        limit: int = 1,
    ) -> list[tuple[float, int, dict[str, Any]]]:
        """(captured, number, item) of a resource's items within these times (inclusive), after such a place."""
        order, beyond = ("DESC", "<") if newest_first else ("ASC", ">")
        parameters: list[Any] = [kind, identifier, *between]
        further = ""
        if after is not None:
            further = f"AND (captured, seq) {beyond} (?, ?)"
            parameters += after
        with self._lock:
            rows = self._db.execute(
                "SELECT captured, seq, item FROM items WHERE scope = ? AND type = ? AND id = ? AND captured >= ?"
                f" AND captured <= ? {further} ORDER BY captured {order}, seq {order} LIMIT ?",
                [self._known_scope(account, region), *parameters, limit],
            ).fetchall()
        return [(captured, seq, json.loads(item)) for captured, seq, item in rows]

    # Upkeep

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing of what is written within; what was written before it stays."""
        self._commit()
        with self._lock:
            try:
                with self._db:
                    yield
            except BaseException:
                # A number that was given out within is taken back with the rest.
                self._scopes.clear()
                raise

    def _scope(self, account: str, region: str) -> int:
        """The number of an account and region, made when new: within a transaction."""
        known = self._known_scope(account, region)
        if known < 0:
            cursor = self._db.execute("INSERT INTO scopes (account, region) VALUES (?, ?)", (account, region))
            known = self._scopes[(account, region)] = int(cursor.lastrowid or 0)
        return known

    def _known_scope(self, account: str, region: str) -> int:
        """The number of an account and region; -1, which nothing has, when there is nothing of it yet."""
        known = self._scopes.get((account, region))
        if known is None:
            query = "SELECT id FROM scopes WHERE account = ? AND region = ?"
            found = self._db.execute(query, (account, region)).fetchone()
            if found is None:
                return -1
            known = self._scopes[(account, region)] = int(found[0])
        return known

    def prune(self, now: float) -> int:
        """Forget events older than the retention, and the oldest over the bound; how many went."""
        gone = 0
        with self._lock:
            scopes = [row[0] for row in self._db.execute("SELECT id FROM scopes").fetchall()]
            last = self._db.execute("SELECT max(seq) FROM events").fetchone()[0] or 0
        old = [("scope = ? AND time < ? ORDER BY time", (scope, int(now - RETENTION_SECONDS))) for scope in scopes]
        for where, values in [*old, ("seq <= ? ORDER BY seq", (last - MOST_EVENTS,))]:
            while removed := self._remove(where, values):
                gone += removed
        with self._transaction():
            self._db.execute("DELETE FROM items WHERE captured < ?", (now - RETENTION_SECONDS,))
        return gone

    def _remove(self, where: str, values: tuple[int, ...]) -> int:
        """A thousand at a time, so that nobody waits long for the lock."""
        with self._transaction():
            query = f"SELECT seq, scope, time, resources FROM events WHERE {where} LIMIT 1000"
            rows = self._db.execute(query, values).fetchall()
            for seq, scope, time_, resources in rows:
                if resources:
                    keys = _resource_keys(scope, time_, seq, json.loads(resources))
                    self._db.executemany(
                        "DELETE FROM resources WHERE scope = ? AND kind = ? AND value = ? AND time = ? AND seq = ?",
                        keys,
                    )
            self._db.executemany("DELETE FROM events WHERE seq = ?", [(row[0],) for row in rows])
        return len(rows)

    def _keep_writing(self) -> None:
        checkpoints = self._open()
        pruned = 0.0
        while not self._ended.wait(COMMIT_SECONDS):
            self._commit()
            try:
                size = self._log.stat().st_size if self._log.exists() else 0
                if size > LONGEST_LOG:
                    # Under steady writing the log is begun anew only when nobody writes for a moment.
                    with self._lock:
                        self._db.commit()
                        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                elif size > LONG_LOG:
                    checkpoints.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                if time.monotonic() - pruned > PRUNE_SECONDS:
                    pruned = time.monotonic()
                    self.prune(time.time())
            except sqlite3.Error as error:
                log.warning("audit database: %s", error)
        checkpoints.close()

    def close(self) -> None:
        """Write what is pending and end the thread."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._writer.join(5)
        self._commit()
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._db.close()


def _resource_keys(
    scope: int, time_: int, seq: int, resources: Iterable[Iterable[str]]
) -> list[tuple[int, int, str, int, int]]:
    return [
        (scope, kind, value, time_, seq) for pair in resources for kind, value in zip((TYPE, NAME), pair, strict=True)
    ]


def _found(account: str, region: str, row: tuple[Any, ...]) -> Found:
    seq, time_, arrived, event_id, name, source, read_only, username, access_key, resources, record = row
    listed = tuple((kind, named) for kind, named in json.loads(resources)) if resources else ()
    event = Event(
        account,
        region,
        time_,
        arrived,
        event_id,
        name,
        source,
        read_only == "true",
        username,
        access_key,
        listed,
        record,
    )
    return Found(seq, event)
