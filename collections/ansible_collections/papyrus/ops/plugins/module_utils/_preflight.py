# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evaluates the rows of a preflight side by side on shared answers; a row that raises is NG, never the others' end."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from . import _aws
from ._calls import Calls, api_name
from ._progress import PROGRESS
from ._rows import Row, Status, listing

T = TypeVar("T")

WORKERS = 8
"""Rows under way at once; each waits for AWS most of its time."""

GRACE = 2.0
"""Seconds by which a program that answers a row is ended before the row is late: it says why, and none is left."""

RETRIES: dict[str, Any] = {"mode": "standard", "max_attempts": 5}
"""Of the clients: a call that is throttled for ever has failed after 31 seconds at most, in time for its row."""


@dataclass(frozen=True)
class Settings:
    """What the inventory expects. Empty strings and None stand for "not given"; times in seconds.

    `dry` is check mode: no call that AWS counts as a write, such as an Exec session, is made.
    """

    account_id: str
    region: str
    before: Literal["smoke", "release"] = "smoke"
    dry: bool = False
    cluster: str = ""
    service: str = ""
    container: str = ""
    port: int | None = None
    task_family: str = ""
    exec_required: bool = True
    secret_id: str = ""
    db_instance: str = ""
    db_username_rule: str = "master"
    db_name: str | None = None
    db_allowlist: tuple[str, ...] = ()
    db_login: Literal["direct", "exec", "none"] = "direct"
    db_ca_file: str | None = None
    exec_python: str = "python"
    private: str | None = None
    db_hostaddr: str | None = None
    vpc_id: str = ""
    tasks_sg_id: str = ""
    alb_scheme: str = "internet-facing"
    alb_subnet_ids: tuple[str, ...] = ()
    alb_ingress_cidrs: tuple[str, ...] = ()
    tag_prefix: str = "papyrus"
    name_prefix: str = ""
    run_id: str = ""
    lease_minutes: int = 60
    app_source: str = ""
    app_factory: str = ""
    app_python: str = ""
    app_paths: tuple[str, ...] = ()
    app_environment: Mapping[str, str] = field(default_factory=dict)
    routes_required: tuple[str, ...] = ()
    terraform_binary: str = "terraform"
    credentials: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 120.0
    agent_timeout: float = 45.0
    agent_interval: float = 2.0

    @property
    def has_database(self) -> bool:
        return bool(self.db_instance)

    @property
    def releasing(self) -> bool:
        """What the release itself is about to change does not refuse it."""
        return self.before == "release"


@dataclass(frozen=True)
class Finding:
    """The answer to one question, before it gets its id, title and request ids."""

    status: Status
    reason: str
    data: Mapping[str, Any] = field(default_factory=dict)


def ok(reason: str, **data: Any) -> Finding:
    return Finding("ok", reason, data)


def ng(reason: str, **data: Any) -> Finding:
    return Finding("ng", reason, data)


def skip(reason: str, **data: Any) -> Finding:
    return Finding("skip", reason, data)


def later(reason: str, **data: Any) -> Finding:
    """OK before a release, for what the release itself changes."""
    return ok(f"{reason}; the release changes that, and asks again after its rollout", **data)


NO_DATABASE = "the service has no database (no database instance is given)"


class Facts:
    """Answers of AWS that several rows need: each is asked for once, by whoever needs it first."""

    def __init__(self, clients: _aws.Clients, settings: Settings) -> None:
        self.clients = clients
        self.settings = settings
        self.register: Callable[[str], None] = lambda secret: None
        self.until = time.monotonic() + settings.timeout
        self._lock = threading.Lock()
        self._known: dict[str, Future[tuple[Any, list[str]]]] = {}
        self._asked: list[str] = []

    @contextlib.contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Around one call, so that a row which is late can say whose answer it waits for."""
        self._asked.append(what)
        try:
            yield
        finally:
            self._asked.remove(what)

    def left(self) -> float:
        """Seconds that a program may take which answers a row: what is left for all rows, less the time to end it."""
        return max(0.1, round(self.until - time.monotonic() - GRACE, 1))

    @property
    def unanswered(self) -> list[str]:
        """Calls under way."""
        return sorted(set(self._asked))

    def get(self, name: str, make: Callable[[Ask], Any]) -> tuple[Any, list[str]]:
        """The answer and the request ids behind it; a failure is everybody's who asks."""
        with self._lock:
            future = self._known.get(name)
            mine = future is None
            if future is None:
                future = self._known[name] = Future()
        if mine:
            ask = Ask(self)
            try:
                value = make(ask)
            except Exception as exc:  # kept for all who ask, and raised again below
                future.set_exception(exc)
            else:
                future.set_result((value, ask.request_ids))
        return future.result()

    def known(self) -> dict[str, Any]:
        """Every answer that came, by name."""
        with self._lock:
            done = {name: future for name, future in self._known.items() if future.done()}
        return {name: future.result()[0] for name, future in done.items() if future.exception() is None}


class _Heard(Calls):
    """Calls that are known while they are under way."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts.clients)
        self._facts = facts

    def call(self, service: str, operation: str, resource: str, /, *, hint: str = "", **parameters: Any) -> Any:
        with self._facts.asking(f"{service}:{api_name(operation)} on {resource}"):
            return super().call(service, operation, resource, hint=hint, **parameters)


class Ask:
    """What one row asks: facts that it shares with others, and calls of its own. Collects the request ids of both."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.settings = facts.settings
        self.calls = _Heard(facts)
        self._shared: list[str] = []

    def fact(self, name: str, make: Callable[[Ask], T]) -> T:
        value: T
        value, ids = self.facts.get(name, make)
        self._shared += ids
        return value

    @property
    def request_ids(self) -> list[str]:
        return list(dict.fromkeys([*self._shared, *self.calls.request_ids]))


@dataclass(frozen=True)
class Check:
    """One row. `reads` names its own fact where it is kept as evidence."""

    id: str
    title: str
    answer: Callable[[Ask], Finding]


def evaluate(check: Check, facts: Facts) -> Row:
    """The row of a check. Whatever is raised becomes NG with its cause."""
    ask = Ask(facts)
    try:
        finding = check.answer(ask)
    except Exception as exc:  # a row must not take the others with it
        finding = ng(cause(exc))
    reason = " ".join(finding.reason.split())  # one readable line, whatever AWS or libpq put into it
    return Row(check.id, check.title, finding.status, reason, finding.data, tuple(ask.request_ids))


def cause(exc: Exception) -> str:
    """Failures made for people by their text, anything else with its class, as it is a fault of the program."""
    known = (_aws.AwsFailure, ValueError, OSError)
    text = str(exc) or type(exc).__name__
    if isinstance(exc, known) or type(exc).__module__.startswith("ansible_collections."):
        return text
    return f"the question could not be answered ({type(exc).__name__}: {text})"


def evaluate_all(
    checks: Sequence[Check], facts: Facts, *, workers: int = WORKERS, clock: Callable[[], float] = time.monotonic
) -> list[Row]:
    """Rows in the order of `checks`. One that is not answered in time is NG; its thread is left behind (daemon)."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    answers: queue.SimpleQueue[tuple[int, Row]] = queue.SimpleQueue()
    for index in range(len(checks)):
        todo.put(index)

    def work() -> None:
        while True:
            try:
                index = todo.get_nowait()
            except queue.Empty:
                return
            answers.put((index, evaluate(checks[index], facts)))

    for thread in [threading.Thread(target=work, daemon=True) for dummy in range(min(workers, len(checks)))]:
        thread.start()
    rows: dict[int, Row] = {}
    deadline = clock() + facts.settings.timeout
    facts.until = time.monotonic() + facts.settings.timeout
    while len(rows) < len(checks):
        PROGRESS.now(f"no answer yet: {listing(each.id for n, each in enumerate(checks) if n not in rows)}")
        try:
            index, row = answers.get(timeout=max(0.0, deadline - clock()))
        except queue.Empty:
            break
        rows[index] = row
    late = f"not answered within {facts.settings.timeout:g} s"
    if facts.unanswered:
        late += f"; AWS was still being asked for {listing(facts.unanswered)}"
    return [rows.get(index) or Row(check.id, check.title, "ng", late) for index, check in enumerate(checks)]


def run(first: Check, checks: Sequence[Check], facts: Facts) -> list[Row]:
    """`first` (identity) alone; only when it is OK, all others. No call is made in an account that is not expected."""
    identity = evaluate(first, facts)
    if identity.status != "ok":
        return [identity]
    return [identity, *evaluate_all(checks, facts)]
