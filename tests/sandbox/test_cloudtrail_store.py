"""The audit database by itself: killed, damaged, full, old."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.audit import store as stores
from sandbox.audit.store import RETENTION_SECONDS, Event, Query, Store
from tests.sandbox.support import CHECKOUT, until

NOW = int(time.time())
WRITER = """
import itertools, sys, time
from pathlib import Path
from sandbox.audit.store import Event, Store
store = Store(Path(sys.argv[1]))
for n in itertools.count(int(sys.argv[2])):
    named = (("T", f"n{n % 5}"),)
    store.add(Event("1", "r", 3_000_000_000 + n, 0.0, f"e{n}", "RunTask", "ecs", False, "root", "k", named, "{}"))
    if n % 50 == 0:
        print(n, flush=True)
        time.sleep(0.002)
"""


def event(number: int, at: int = NOW) -> Event:
    resources = (("AWS::ECS::Cluster", f"c{number % 3}"),)
    return Event("1", "r", at, 0.0, f"e{number}", "RunTask", "ecs", False, "root", "k", resources, "{}")


def everything(column: str | None = None, value: str = "") -> Query:
    return Query("1", "r", 0, NOW * 2, NOW * 2, column, value)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "audit.sqlite")
    yield made
    made.close()


def test_a_killed_writer_leaves_a_whole_database_and_loses_less_than_two_seconds(tmp_path: Path) -> None:
    file, begun = tmp_path / "audit.sqlite", 1
    for seconds in (1.9, 2.1):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(file), str(begun)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            told, since = begun, time.monotonic()
            seen: list[tuple[float, int]] = []
            while time.monotonic() - since < seconds:
                told = int(writer.stdout.readline())
                seen.append((time.monotonic(), told))
            os.kill(writer.pid, signal.SIGKILL)
            killed = time.monotonic()
        safe = [number for at, number in seen if at < killed - 1.5] or [begun - 1]
        with sqlite3.connect(file) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            last, count = database.execute(
                "SELECT coalesce(max(time) - 3000000000, 0), count(*) FROM events"
            ).fetchone()
            named = database.execute("SELECT count(*) FROM resources WHERE kind = 1").fetchone()[0]
        database.close()
        assert last >= safe[-1]
        assert (count, named) == (last, last)
        begun = last + 1


def test_a_file_that_is_no_database_is_put_aside(tmp_path: Path) -> None:
    file = tmp_path / "audit.sqlite"
    file.write_bytes(b"not a database at all " * 500)
    store = Store(file)
    store.add(event(1))
    assert len(store.page(everything(), None, 10)) == 1
    store.close()
    assert (tmp_path / "audit.broken").read_bytes().startswith(b"not a database")


def test_what_is_older_than_the_retention_goes_with_its_resources(store: Store) -> None:
    old = NOW - RETENTION_SECONDS - 1
    store.add_all([event(n, old) for n in range(2_500)] + [event(n) for n in range(3_000, 3_010)])
    assert store.prune(NOW) == 2_500
    assert len(store.page(everything(), None, 100)) == 10
    assert len(store.page(everything("type", "AWS::ECS::Cluster"), None, 100)) == 10


def test_the_oldest_go_when_there_are_too_many(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MOST_EVENTS", 20)
    store.add_all([event(n, NOW + n) for n in range(50)])
    assert store.prune(NOW) == 30
    assert [found.event.event_id for found in store.page(everything(), None, 100)][-1] == "e30"


def test_a_failed_lot_leaves_nothing_behind(store: Store) -> None:
    store.add(event(1))
    impossible: Any = object()
    wrong = Event("1", "r", NOW, 0.0, impossible, "n", "s", False, None, None, (), "{}")
    with pytest.raises(sqlite3.Error):
        store.add_all([event(2), wrong])
    store.add(event(3))
    assert [found.event.event_id for found in store.page(everything(), None, 10)] == ["e3", "e1"]


def test_the_write_ahead_log_is_emptied_while_much_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "LONGEST_LOG", 1_000_000)
    monkeypatch.setattr(stores, "COMMIT_SECONDS", 0.05)
    store, written = Store(tmp_path / "audit.sqlite"), 0
    log = tmp_path / "audit.sqlite-wal"
    for _ in range(20):
        store.add_all([event(n) for n in range(written, written + 500)])
        written += 500
    until(lambda: log.stat().st_size < 1_000_000, "a short log", 5)
    assert len(store.page(everything(), None, written + 1)) == written
    store.close()
