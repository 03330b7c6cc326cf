"""The database: one connection a call, bounded in time and number.

A connection for each call, not a pool: /dbcheck is a proof, and each proof shall log in anew, so that a password which
has drifted shows at once instead of when the last pooled connection ends; there is nothing stale to recover from. What
a pool would bound is bounded here: at most `slots` calls at a time, each with `database_budget` seconds for everything
(name, TCP, TLS, login, statements, commit).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg

from .config import Settings
from .errors import DatabaseUnavailable, Reason, unavailable

Connection = psycopg.Connection[tuple[Any, ...]]

_PRODUCT = """
    INSERT INTO papyrus_schema.products (sku, name, unit_price) VALUES (%s, 'health', 0)
    ON CONFLICT DO NOTHING
"""
_MARK = """
    INSERT INTO papyrus_schema.run_marks (run_id, path, task_arn, image_digest) VALUES (%s, %s, %s, %s)
    ON CONFLICT (run_id, path) DO NOTHING
"""
_MARK_THERE = "SELECT 1 FROM papyrus_schema.run_marks WHERE run_id = %s AND path = %s"
TLS = "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl"


@dataclass(frozen=True)
class Mark:
    """What a call left in the database. `rows` were new in products; `tls` is the server's word, "" for plaintext."""

    rows: int
    inserted: bool
    status: str
    tls: str


class _Line:
    """The socket of a connection under way, so that another thread can end it.

    Time-outs of the server do not help against a server that stopped answering, and TCP's do not when its kernel still
    acknowledges. Shutting the socket down makes libpq's wait return with an error, also inside TLS.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False
        self.held = False

    def hold(self, descriptor: int) -> None:
        with self._lock:
            # A duplicate: the number of the original may belong to somebody else by the time it is cut.
            self._socket = socket.socket(fileno=os.dup(descriptor))
            self.held = True
            if self._cut:
                self._shutdown()

    def cut(self) -> None:
        with self._lock:
            self._cut = True
            self._shutdown()

    def release(self) -> None:
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def _shutdown(self) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class Database:
    """Safe for threads; its own threads start with the first call, so it may be made before a fork."""

    def __init__(self, settings: Settings, slots: int = 2) -> None:
        self._settings = settings
        self._slots = threading.BoundedSemaphore(slots)

    def mark(self, sku: str, path: str, run_id: str | None, task_arn: str | None, image_digest: str | None) -> Mark:
        """Write the product, and the run's mark when there is a run; one transaction. Safe to repeat.

        DatabaseUnavailable within `database_budget` seconds otherwise.
        """

        def work(connection: Connection) -> Mark:
            product = connection.execute(_PRODUCT, (sku,))
            inserted = True
            if run_id is not None:
                connection.execute(_MARK, (run_id, path, task_arn, image_digest))
                inserted = connection.execute(_MARK_THERE, (run_id, path)).fetchone() is not None
            tls = connection.execute(TLS).fetchone()
            connection.commit()
            return Mark(product.rowcount, inserted, product.statusmessage or "", tls[0] if tls else "")

        return self.run(work)

    def run[Result](self, work: Callable[[Connection], Result]) -> Result:
        """`work` with a fresh connection, which is closed afterwards; uncommitted changes are lost."""
        if missing := self._settings.missing():
            raise DatabaseUnavailable(Reason.NOT_CONFIGURED, f"not set: {', '.join(missing)}")
        if not self._slots.acquire(blocking=False):
            raise DatabaseUnavailable(Reason.BUSY, "all database slots of this process are taken")
        line = _Line()
        future: concurrent.futures.Future[Result] = concurrent.futures.Future()
        # A thread, as resolving a name cannot be bounded otherwise; a daemon, as it must not hold up the exit.
        thread = threading.Thread(target=self._work, args=(work, line, future), name="database", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            self._slots.release()
            raise DatabaseUnavailable(Reason.BUSY, str(exc)) from exc
        try:
            return future.result(timeout=self._settings.database_budget)
        except concurrent.futures.TimeoutError as exc:
            line.cut()
            raise DatabaseUnavailable(Reason.TIMEOUT, f"no result in {self._settings.database_budget:g} s") from exc
        except psycopg.Error as exc:
            raise unavailable(exc, line.held, self._settings.db_password) from exc
        except OSError as exc:
            raise DatabaseUnavailable(Reason.ERROR, type(exc).__name__) from exc

    def _work[Result](
        self, work: Callable[[Connection], Result], line: _Line, future: concurrent.futures.Future[Result]
    ) -> None:
        try:
            with self._connect() as connection:
                line.hold(connection.fileno())
                result = work(connection)
                # __exit__ would commit what `work` did not; whoever wants a commit says so.
                connection.rollback()
        except BaseException as exc:  # the waiting thread raises it
            future.set_exception(exc)
        else:
            future.set_result(result)
        finally:
            line.release()
            self._slots.release()

    def _connect(self) -> Connection:
        settings = self._settings
        milliseconds = {
            "statement_timeout": settings.statement_timeout,
            "lock_timeout": settings.lock_timeout,
            "idle_in_transaction_session_timeout": settings.database_budget,
        }
        return psycopg.connect(
            host=settings.db_host,
            port=settings.db_port,
            dbname=settings.db_name,
            user=settings.db_user,
            password=settings.db_password,
            connect_timeout=max(1, round(settings.connect_timeout)),
            options=" ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in milliseconds.items()),
            tcp_user_timeout=int(settings.database_budget * 1000),
            keepalives=1,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=2,
            application_name="papyrus",
            prepare_threshold=None,
        )
