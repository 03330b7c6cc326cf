"""G1: others who hold what a script needs, and transactions whose end was not heard, against a real PostgreSQL."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pg_container import Container, Database


def test_G1_a_table_held_by_another_session_is_a_clear_error(database: Database) -> None:
    database.run("CREATE TABLE s.t (a int)")
    database.lock_timeout = 3.0
    with database.server.connect(application_name="a long report") as other:
        other.execute("LOCK TABLE s.t")
        pid = other.info.backend_pid
        outcome = database.script("CREATE TABLE s.u ();\nALTER TABLE s.t ADD b int;")
    error = outcome.answer.error
    assert (error["sqlstate"], error["statement"], error["line"]) == ("55P03", 2, 2)
    assert f"waited 3.0 s (lock_timeout) for a lock of pid {pid} (papyrus_app, a long report)" in error["message"]
    assert database.tables() == ["t"]


def test_G1_two_applies_at_once_take_turns(database: Database) -> None:
    database.run("CREATE TABLE s.gate (a int)")
    first = Database(database.server, Container(database.container.variables), lock_timeout=60)
    second = Database(database.server, Container(database.container.variables), lock_timeout=2)
    with ThreadPoolExecutor(1) as threads, database.server.connect() as keeper:
        keeper.execute("LOCK TABLE s.gate")
        running = threads.submit(first.script, "CREATE TABLE s.t (a int);LOCK TABLE s.gate;")
        until_locked(database)
        outcome = second.script("CREATE TABLE s.u ();")
        assert outcome.answer.error["kind"] == "locked", outcome.answer.said
        assert "papyrus.ops test" in outcome.answer.error["message"]
        second.lock_timeout = 60
        waiting = ThreadPoolExecutor(1).submit(second.script, "CREATE TABLE s.u ();")
        keeper.rollback()
        assert running.result().committed is True
        assert waiting.result().committed is True
    assert database.tables() == ["gate", "t", "u"]


def until_locked(database: Database) -> None:
    """Until a script holds the database's lock."""
    deadline = time.monotonic() + 10
    while not database.rows("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_G1_a_connection_cut_in_the_middle_is_a_rollback(database: Database) -> None:
    results: list[Any] = []
    sql = "CREATE TABLE s.t (a int);SELECT pg_sleep(10);"
    worker = threading.Thread(target=lambda: results.append(database.script(sql)))
    worker.start()
    until_locked(database)
    database.rows("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    worker.join()
    assert results[0].committed is False
    assert results[0].answer.error["kind"] == "lost"
    assert "terminating connection due to administrator command" in results[0].answer.error["message"]
    assert database.tables() == []


@pytest.fixture(name="slow_commits")
def _slow_commits(database: Database) -> Iterator[Callable[[], None]]:
    """Commits are written down, then wait for a standby that never comes, until the yielded function is called."""

    def release() -> None:
        database.run("ALTER SYSTEM RESET synchronous_standby_names")
        database.rows("SELECT pg_reload_conf()")

    database.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    database.rows("SELECT pg_reload_conf()")
    yield release
    release()


def committing(database: Database) -> int:
    """Server process of a session that waits in COMMIT."""
    deadline = time.monotonic() + 20
    while not (found := database.rows("SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(found[0][0])


@pytest.mark.usefixtures("slow_commits")
def test_G1_a_connection_lost_in_commit_is_asked_about_by_the_program(database: Database) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(database.script, "CREATE TABLE s.t (a int);")
        database.rows(f"SELECT pg_terminate_backend({committing(database)})")
        outcome = running.result()
    assert outcome.committed is True and outcome.answer.ok
    assert "COMMIT (the connection was lost in the middle of it" in database.container.outputs[-1]
    assert database.tables() == ["t"]


def test_G1_a_program_killed_in_commit_is_asked_about_from_here(
    database: Database, slow_commits: Callable[[], None]
) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(database.script, "CREATE TABLE s.t (a int);")
        committing(database)
        database.container.children[-1].kill()
        while len(database.container.children) < 2 and not running.done():
            time.sleep(0.02)
        slow_commits()  # until now the transaction was in progress, and nobody may call it either way
        outcome = running.result()
    assert outcome.committed is True and outcome.answer.said is None
    assert outcome.asked_again.endswith("committed")
    assert database.tables() == ["t"]


@pytest.mark.usefixtures("slow_commits")
def test_G1_a_server_that_went_down_in_commit_leaves_it_open(database: Database) -> None:
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(database.script, "CREATE TABLE s.t (a int);")
        committing(database)
        database.server.stop()
        outcome = running.result()
    database.server.start()
    assert outcome.committed is None and not outcome.answer.ok
    assert "COMMIT was under way, asked again the server says: nothing" in outcome.answer.error["message"]
    assert database.tables() == ["t"], "and committed it was"
