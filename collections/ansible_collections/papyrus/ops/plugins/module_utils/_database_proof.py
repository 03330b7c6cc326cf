# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what the proofs of a database write left: command in the task, refused plaintext, fresh login, rows, marks.

Everything here is pure: answers of other modules in, rows and items of evidence out.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from . import _names
from ._ecs_tasks import short
from ._rows import Row, listing

Result = Mapping[str, Any]

TLS = re.compile(r"TLSv1(\.[0-9])?")
"""What pg_stat_ssl.version says of an encrypted session: https://www.postgresql.org/docs/current/monitoring-stats.html"""

CLOCK_SKEW = dt.timedelta(minutes=5)
"""By which the clocks of database and runner may differ."""

CLI, PLAINTEXT, FRESH, READ_BACK = (
    "papyrus_psql_insert_cli.log",
    "plaintext_refused.log",
    "fresh_login.log",
    "papyrus_sku_check.log",
)
CAST = "papyrus_psql_insert_cli.cast"


@dataclass(frozen=True)
class Expected:
    """What a run's proofs have to show.

    `tasks` are the running tasks (`task_arn`, `image_digest`), `images` groups of digests that are one image each,
    `behind` the ARNs of the tasks that the load balancer asks (none: any running one).
    `output` are regular expressions for the command's output (`{run_id}` stands for the run's), `tls` has one group for
    the server's word about the command's session.
    `rows` are the rows by path, in the order in which they are shown.
    """

    run_id: str
    paths: tuple[str, ...] = ("cli", "app")
    tasks: Sequence[Mapping[str, Any]] = ()
    images: Sequence[Sequence[str]] = ()
    behind: Sequence[str] = ()
    output: tuple[str, ...] = ()
    tls: str = ""
    rows: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _names.parse_run_id(self.run_id)
        for pattern in (*self.output, self.tls):
            try:
                re.compile(self.of_run(pattern))
            except re.error as exc:
                raise ValueError(f"{pattern!r} is no regular expression: {exc}") from exc
        if self.tls and re.compile(self.of_run(self.tls)).groups != 1:
            raise ValueError(f"{self.tls!r} must have one group, the word about TLS")

    def of_run(self, pattern: str) -> str:
        return pattern.replace("{run_id}", re.escape(self.run_id))

    def digest_of(self, task_arn: str) -> str | None:
        """The image of a running task; None for a task that is not one of them."""
        return next((str(task["image_digest"]) for task in self.tasks if task["task_arn"] == task_arn), None)

    def one_image(self, left: str, right: str) -> bool:
        """A container may know its image by another digest than ECS does: index, manifest or configuration."""
        return left == right or any(left in names and right in names for names in self.images)


def last_line(result: Result) -> str:
    return next((line.strip() for line in reversed(_output(result).splitlines()) if line.strip()), "")


def _output(result: Result) -> str:
    return str(result.get("stdout") or "").replace("\r\n", "\n")


def _row(step: str, title: str, problems: Sequence[str], good: str, result: Result) -> Row:
    ids = tuple(map(str, result.get("request_ids") or ()))
    if problems:
        return Row(step, title, "ng", "; ".join(problems), request_ids=ids)
    return Row(step, title, "ok", good, request_ids=ids)


def not_exited(result: Result) -> str:
    """Why a command's exit code is not known, or ""; a module that failed has only `msg`."""
    if result.get("outcome") == "exited" and isinstance(result.get("rc"), int):
        return ""
    return str(result.get("reason") or result.get("msg") or "it gave no answer")


def judge_cli(result: Result, expected: Expected) -> Row:
    """E1: the command ended with 0 in a running task, said what is expected, and the server's session was encrypted."""
    problems: list[str] = []
    if reason := not_exited(result):
        problems.append(f"the command in the container is not known to have ended: {reason}")
    elif result["rc"] != 0:
        problems.append(f"the command in the container ended with exit code {result['rc']}: {last_line(result)}")
    else:
        missing = [item for item in expected.output if not re.search(expected.of_run(item), _output(result), re.M)]
        if missing:
            problems.append(f"the command's output has nothing like {listing(map(repr, missing))}")
        if expected.tls and not TLS.fullmatch(word := tls_word(result, expected)):
            problems.append(f"the server does not call the command's session encrypted, it says {word or 'nothing'}")
        if expected.tasks and expected.digest_of(str(result.get("task_arn"))) is None:
            problems.append(f"the command ran in {short(str(result.get('task_arn')))}, which is not a running task")
    word = tls_word(result, expected)
    good = f"{_output(result).strip().splitlines()[0] if _output(result).strip() else 'exit code 0'}"
    good += f" in {short(str(result.get('task_arn', '')))}" + (f" over {word}" if word else "")
    return _row("E1", "Write from inside the task", problems, good, result)


def tls_word(result: Result, expected: Expected) -> str:
    """The server's word about the session, as the command printed it; "" when it did not."""
    match = re.search(expected.of_run(expected.tls), _output(result), re.M) if expected.tls else None
    return str(match.group(1)) if match else ""


def judge_plaintext(result: Result) -> Row:
    """E1, the negative: only the server's own refusal of an unencrypted session counts."""
    problems = []
    if result.get("connected"):
        problems.append(
            f"PLAINTEXT ACCEPTED: the server let {result.get('user') or 'the app'} in without encryption; "
            "set rds.force_ssl=1 and see that it is in effect"
        )
    elif reason := not_exited(result):
        problems.append(f"nobody knows whether the server refuses plaintext: {reason}")
    elif result.get("refused_plaintext") is not True:
        said = f"{result.get('sqlstate') or ''} {error_text(result)}".strip()
        problems.append(f"the login failed, but not because the server refuses plaintext: {said or 'no reason'}")
    good = f"the server refused a session without encryption: {error_text(result)}"
    return _row("E1", "Plaintext is refused by the server", problems, good, result)


def error_text(result: Result) -> str:
    error = result.get("error")
    text = error.get("message") if isinstance(error, Mapping) else error
    return " ".join(str(text or result.get("msg") or "").split())


def judge_fresh_login(result: Result) -> Row:
    """E1, with today's secret: running tasks keep the values that they were started with."""
    problems = []
    if not result.get("ok"):
        reason = result.get("reason") or result.get("msg") or "no answer"
        problems.append(f"a freshly started task cannot log in: {reason}")
    if result.get("task_arn") and not result.get("stopped"):
        problems.append(f"task {result['task_arn']} is not proved stopped")
    said = listing(map(str, result.get("lines") or ()), 2)
    good = f"{said or 'exit code 0'}, task {short(str(result.get('task_arn', '')))} stopped"
    return _row("E1", "Login of a freshly started task", problems, good, result)


@dataclass(frozen=True)
class ReadBack:
    """What was found afterwards: rows, marks (path, task ARN, image digest, time), words about TLS by path."""

    rows: Sequence[Sequence[Any]]
    marks: Sequence[Sequence[Any]]
    tls: Mapping[str, str]


def same(value: Any, wanted: Any) -> bool:
    """Equal, numbers by value: PostgreSQL's numeric arrives as text (`0.00`)."""
    if isinstance(wanted, bool) or isinstance(value, bool) or not isinstance(wanted, (int, float)):
        return bool(value == wanted)
    return number(value) == Decimal(str(wanted))


def number(value: Any) -> Decimal | None:
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return None


def shown(row: Sequence[Any], wanted: Sequence[Any]) -> str:
    """A row as Python prints a tuple, without blanks; a number where one is expected is shown by its value."""
    cells = []
    for index, value in enumerate(row):
        like = wanted[index] if index < len(wanted) else None
        found = number(value) if isinstance(like, (int, float)) and not isinstance(like, bool) else None
        cells.append(f"{found.normalize():f}" if found is not None else repr(value))
    return f"({','.join(cells)})"


def rows_line(found: Sequence[Sequence[Any]], expected: Expected) -> str:
    """What was read, the rows of the paths first and in their order."""
    order = [expected.rows[path] for path in expected.paths if path in expected.rows]
    ordered = sorted(found, key=lambda row: next((i for i, want in enumerate(order) if row[:1] == list(want[:1])), 99))
    like = order[0] if order else []
    return f"ROWS: [{', '.join(shown(row, like) for row in ordered)}]"


def row_problems(found: Sequence[Sequence[Any]], expected: Expected) -> list[str]:
    problems = []
    for path in expected.paths:
        wanted = expected.rows.get(path, ())
        if not any(len(row) == len(wanted) and all(map(same, row, wanted)) for row in found):
            problems.append(f"the row of path {path}, {shown(wanted, wanted)}, is not there")
    return problems


def mark_problems(found: Sequence[Sequence[Any]], expected: Expected, cli_task: str) -> list[str]:
    """Each path has one mark of this run, made since it began, by a running task with that task's image."""
    problems = []
    began = _names.parse_run_id(expected.run_id).started
    for path in expected.paths:
        own = [mark for mark in found if mark and mark[0] == path]
        if len(own) != 1:
            problems.append(f"path {path} has {len(own)} marks of this run")
            continue
        dummy, task, digest, marked_at = (list(own[0]) + [None] * 4)[:4]
        image = expected.digest_of(str(task))
        if not task or image is None:
            problems.append(f"the mark of path {path} is by task {task or 'unknown'}, which is not a running one")
        elif not expected.one_image(str(digest), image):
            problems.append(f"the mark of path {path} names image {digest or 'none'}, its task runs {image}")
        elif path == "app" and expected.behind and task not in expected.behind:
            problems.append(f"the mark of path app is by task {task}, which is not behind the load balancer")
        if path == "cli" and cli_task and task != cli_task:
            problems.append(f"the mark of path cli is by {short(str(task))}, the command ran in {short(cli_task)}")
        moment = moment_of(marked_at)
        if moment is None or moment < began - CLOCK_SKEW:
            problems.append(
                f"the mark of path {path} is of {marked_at or 'no time'}, the run is of {began.isoformat()}"
            )
    return problems


def moment_of(value: Any) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else None


def tls_problems(words: Mapping[str, str], paths: Sequence[str]) -> list[str]:
    return [
        f"the server does not call the session of path {path} encrypted, it says {words.get(path) or 'nothing'}"
        for path in paths
        if not TLS.fullmatch(words.get(path) or "")
    ]


def judge_read_back(result: Result, seen: ReadBack, expected: Expected, cli_task: str) -> tuple[Row, str]:
    """E3 and the text of its evidence."""
    problems = []
    if result.get("failed") or not isinstance(result.get("rows"), Mapping):
        reason = error_text(result) or not_exited(result) or "no rows"
        problems.append(f"rows and marks cannot be read back: {reason}")
    else:
        problems += row_problems(seen.rows, expected) + mark_problems(seen.marks, expected, cli_task)
    problems += tls_problems(seen.tls, expected.paths)
    line = rows_line(seen.rows, expected)
    row = _row("E3", "Rows and this run's marks read back", problems, line, result)
    lines = [f"run: {expected.run_id}", line]
    for mark in seen.marks:
        path, task, digest, marked_at = (list(mark) + [None] * 4)[:4]
        gone = " (not behind the load balancer)" if expected.behind and task not in expected.behind else ""
        lines.append(f"MARK: {path} task_arn={task} image_digest={digest} marked_at={marked_at}{gone}")
    lines += [f"TLS: {path} {seen.tls.get(path) or 'none'}" for path in expected.paths]
    lines.append(f"read back by: ECS Exec in {result.get('task_arn') or 'no task'}, session {result.get('session_id')}")
    lines.append(f"{row.status.upper()}: {row.reason}")
    return row, "\n".join(lines) + "\n"


def header_tls(answer: Mapping[str, Any] | None, header: str) -> str:
    """The app's word about its own session: the same in every answer of the probe, else "" (or the worst of them)."""
    words = [
        str(next((item["value"] for item in response["headers"] if item["name"].lower() == header.lower()), ""))
        for response in (answer or {}).get("responses", [])
    ]
    bad = [word for word in words if not TLS.fullmatch(word)]
    return (bad or words or [""])[0]


def item(name: str, row: Row, content: str, src: str = "", exists: Callable[[str], bool] = bool) -> dict[str, Any]:
    """One item of evidence: the file where there is one, else the text."""
    made: dict[str, Any] = {
        "name": name,
        "step": row.id,
        "rows": [{"id": row.id, "status": row.status, "reason": row.reason}],
        "meta": {"request_ids": list(row.request_ids)[:20]},
    }
    return {**made, **({"src": src} if src and exists(src) else {"content": content})}


def skipped(name: str, step: str, reason: str) -> tuple[Row, dict[str, Any]]:
    row = Row(step, "Proof of the database", "skip", reason)
    return row, item(name, row, reason + "\n")
