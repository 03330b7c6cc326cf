# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the running tasks really are: their image as ECS knows it, environment and URL map from inside them (F3)."""

from __future__ import annotations

import json
import re
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _aws, _ecs_tasks, _exec
from ._calls import Calls
from ._routes import missing_routes
from ._rows import Row, Status, listing

Run = Callable[..., _exec.ExecResult]
Wanted = tuple[str, str, Mapping[str, Any]]
"""Name of the variable ("" for the URL map), command, task."""
Names = Mapping[str, frozenset[str]]
"""Digests of one image (index, platform's manifest, configuration) by the task definition that names it."""

STEP = "F3"
WORKERS = 6
"""Exec sessions at once: each waits most of its time."""

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
ROUTES_LINE = re.compile(r"^ROUTES: (\[.*\])\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Question:
    """What the tasks have to be. `expected` are digests of which each task must have one; empty: those that they pin.

    `environment` has allowed values by name of variable. `routes_command` prints a line `ROUTES: [JSON]`. Without
    `exec_required` an Exec that cannot work is a skip. `without_environment` says why no variable is asked for.
    """

    cluster: str
    service: str
    container: str = ""
    expected: tuple[str, ...] = ()
    environment: Mapping[str, Sequence[str]] = field(default_factory=dict)
    without_environment: str = ""
    routes_command: str = ""
    routes_required: tuple[str, ...] = ()
    exec_required: bool = True
    timeout: float = 30.0
    connect_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in self.environment:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")


@dataclass
class Seen:
    """One command in one task: what it answered, and the transcript of its session. `about` as in `Wanted`."""

    about: str
    task: Mapping[str, Any]
    result: _exec.ExecResult
    transcript: str = ""

    @property
    def id(self) -> str:
        return _ecs_tasks.short(str(self.task["task_arn"]))


@dataclass
class Look:
    """Rows and items of evidence; `tasks` as the other modules return them, `images` by task definition."""

    tasks: list[dict[str, Any]] = field(default_factory=list)
    images: dict[str, frozenset[str]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    evidence: list[dict[str, Any]] = field(default_factory=list)

    def add(self, name: str, row: Row, content: str, **meta: Any) -> None:
        self.rows.append(row)
        self.evidence.append(
            {
                "name": name,
                "step": STEP,
                "content": content,
                "media_type": "text/plain",
                "rows": [{"id": row.id, "status": row.status, "reason": row.reason}],
                "meta": {"request_ids": list(row.request_ids)[:20], **meta},
            }
        )


def environment_command(name: str) -> str:
    """`printenv NAME`, and in a container without printenv what the shell was given; 1 when it is not set."""
    return (
        f"if command -v printenv >/dev/null 2>&1; then printenv {name}; "
        f'else [ "${{{name}+set}}" ] && printf "%s\\n" "${name}"; fi'
    )


def look(
    clients: _aws.Clients,
    question: Question,
    private: Path | None,
    names_of: Callable[[str], frozenset[str]] = lambda task_definition: frozenset(),
    run: Run = _exec.run_command,
    dry: bool = False,
) -> Look:
    """All of it. AwsFailure when ECS cannot be asked, TaskProblem when no task runs.

    `names_of` gives every digest of the image that a task definition names, nothing where the registry does not say.
    `dry` opens no session, and bears that no task runs.
    """
    calls = Calls(clients)
    found = _ecs_tasks.running_tasks(calls, question.cluster, question.service, question.container or None)
    answer = Look(tasks=found.tasks)
    if not found.tasks:
        message = _ecs_tasks.no_task_message(question.cluster, question.service, found)
        if not dry:
            raise _ecs_tasks.TaskProblem(message)
        answer.rows.append(Row(STEP, "Running tasks have the expected image", "skip", message))
        return answer
    for task in found.tasks:
        definition = str(task["task_definition"])
        if definition not in answer.images:
            answer.images[definition] = names_of(definition)
    row = judge_images(found.tasks, question.expected, answer.images, tuple(calls.request_ids))
    named = {(str(task["image"]), str(task["image_digest"])) for task in found.tasks}
    images = [{"reference": reference, "digest": digest} for reference, digest in sorted(named)][:20]
    content = images_text(answer, found.left_out, question.expected, row)
    answer.add("running_image.log", row, content, images=images)
    if dry:
        return answer
    with tempfile.TemporaryDirectory(prefix="running-", dir=private) as folder:
        seen = Sessions(clients, question, Path(folder), private, run)(commands(question, found.tasks))
    for name, allowed in question.environment.items():
        own = [item for item in seen if item.about == name]
        answer.add(f"{name.lower()}_env.log", judge_environment(name, allowed, own, question), text(own))
    if question.without_environment:
        reason = question.without_environment
        answer.add("pgsslmode_env.log", Row("B13", "Environment of the running tasks", "skip", reason), reason)
    if question.routes_command:
        own = [item for item in seen if not item.about]
        answer.add("flask_url_map_after.log", judge_routes(own, question), text(own))
    return answer


def commands(question: Question, tasks: Sequence[Mapping[str, Any]]) -> list[Wanted]:
    asked: list[Wanted] = [(name, environment_command(name), task) for name in question.environment for task in tasks]
    if question.routes_command:
        asked += [("", question.routes_command, task) for task in one_of_each_image(tasks)]
    return asked


def one_of_each_image(tasks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first task of each digest: the same image has the same code."""
    return list({str(task["image_digest"]): task for task in reversed(tasks)}.values())[::-1]


class Sessions:
    """Commands in tasks, some at a time; each leaves its transcript."""

    def __init__(self, clients: _aws.Clients, question: Question, folder: Path, private: Path | None, run: Run) -> None:
        self.clients, self.question, self.folder, self.private, self.run = clients, question, folder, private, run

    def __call__(self, wanted: Sequence[Wanted]) -> list[Seen]:
        """In the order of `wanted`; what is raised in a session is raised here."""
        with futures.ThreadPoolExecutor(max_workers=WORKERS) as pool:
            return list(pool.map(self.one, range(len(wanted)), wanted))

    def one(self, index: int, wanted: Wanted) -> Seen:
        about, command, task = wanted
        question, log = self.question, self.folder / f"{index}.log"
        result = self.run(
            self.clients,
            _exec.Target(cluster=question.cluster, task=str(task["task_arn"]), container=str(task["container"])),
            _exec.Command(command=command, timeout=question.timeout, connect_timeout=question.connect_timeout),
            _exec.Files(log=log, private=self.private),
        )
        return Seen(about, task, result, log.read_text("utf-8", "replace") if log.exists() else "")


def text(seen: Sequence[Seen]) -> str:
    """The transcripts one after the other; what could not be run has its reason."""
    return "\n".join(item.transcript or f"{item.task['task_arn']}: {item.result.reason}\n" for item in seen)


def own_names(task: Mapping[str, Any], images: Names) -> frozenset[str]:
    """Digests of the image that the task's definition names: the registry's word, else the digest that it pins."""
    match = DIGEST.search(str(task["image"]).partition("@")[2])
    return images.get(str(task["task_definition"])) or frozenset([match.group(0)] if match else [])


def judge_images(
    tasks: Sequence[Mapping[str, Any]],
    expected: Sequence[str],
    images: Names | None = None,
    request_ids: tuple[str, ...] = (),
) -> Row:
    """Every task runs an expected image; without one, that which its own task definition names. Pure."""

    def row(status: Status, reason: str) -> Row:
        return Row(STEP, "Running tasks have the expected image", status, reason, request_ids=request_ids)

    own = {str(task["task_arn"]): own_names(task, images or {}) for task in tasks}
    nameless = [str(task["image"]) for task in tasks if not expected and not own[str(task["task_arn"])]]
    if nameless:
        return row("skip", f"no digest is expected: {listing(dict.fromkeys(nameless))} pins none, ECR has none for it")
    silent = [_ecs_tasks.short(task["task_arn"]) for task in tasks if not task["image_digest"]]
    if silent:
        return row("ng", f"ECS does not say which image {listing(silent)} runs")
    wrong = [task for task in tasks if not right(str(task["image_digest"]), expected, own[str(task["task_arn"])])]
    if wrong:
        wanted = expected or sorted({name for task in wrong for name in own[str(task["task_arn"])]})
        runs = (f"{_ecs_tasks.short(task['task_arn'])} runs {task['image_digest']}" for task in wrong)
        return row("ng", f"{listing(runs)}, expected is {' or '.join(wanted)}")
    found = dict.fromkeys(str(task["image_digest"]) for task in tasks)
    return row("ok", f"{len(tasks)} of {len(tasks)} running tasks have {listing(found)}")


def right(runs: str, expected: Sequence[str], own: frozenset[str]) -> bool:
    """ECS may name an image by its index or by the platform's manifest: both are the image."""
    return runs in expected or (runs in own and (not expected or bool(own.intersection(expected))))


def images_text(seen: Look, left_out: Sequence[Mapping[str, str]], expected: Sequence[str], row: Row) -> str:
    lines = [f"expected: {' or '.join(expected) or 'what each task definition names'}"]
    for task in seen.tasks:
        lines += [
            f"task:     {task['task_arn']}",
            f"  task definition: {task['task_definition']}",
            f"  container:       {task['container']}",
            f"  image:           {task['image']}",
            f"  its digests:     {', '.join(sorted(own_names(task, seen.images))) or 'none known'}",
            f"  imageDigest:     {task['image_digest'] or 'none'}",
            f"  running since:   {task['started_at'] or 'unknown'}",
        ]
    lines += [f"left out: {item['task_arn']}: {item['reason']}" for item in left_out]
    return "\n".join([*lines, f"{row.status.upper()}: {row.reason}"]) + "\n"


def _row(row_id: str, title: str, problems: Sequence[str], good: str, seen: Sequence[Seen], question: Question) -> Row:
    ids = tuple(request_id for item in seen for request_id in item.result.request_ids)
    idle = [item for item in seen if item.result.outcome == "not_run"]
    if idle and not question.exec_required:
        reason = f"no path of this run uses Exec, and it does not work here: {idle[0].result.reason}"
        return Row("B3", title, "skip", reason, request_ids=ids)
    if problems:
        return Row(row_id, title, "ng", listing(problems, 3), request_ids=ids)
    return Row(row_id, title, "ok", good, request_ids=ids)


def judge_environment(name: str, allowed: Sequence[str], seen: Sequence[Seen], question: Question) -> Row:
    """The variable has an allowed value in every task; pure."""
    problems, values = [], []
    for item in seen:
        result = item.result
        value = result.stdout.strip("\n")
        if result.outcome == "exited" and result.rc == 1 and not value:
            problems.append(f"{name} is not set in {item.id}")
        elif not result.ok:
            problems.append(f"{name} of {item.id} cannot be read: {why(result)}")
        elif value not in allowed:
            problems.append(f"{name} is {shlex.quote(value)} in {item.id}, allowed is {' or '.join(allowed)}")
        else:
            values.append(value)
    good = f"{name} is {listing(dict.fromkeys(values))} in {len(values)} of {len(seen)} running tasks"
    return _row("B13", f"{name} inside the running tasks", problems, good, seen, question)


def judge_routes(seen: Sequence[Seen], question: Question) -> Row:
    """The application inside each image has the required routes; pure."""
    problems, found = [], []
    for item in seen:
        rules = routes_of(item.result.stdout)
        if not item.result.ok:
            problems.append(f"the URL map of {item.id} cannot be dumped: {why(item.result)}")
        elif rules is None:
            problems.append(f"{question.routes_command} in {item.id} printed no line ROUTES: [...]")
        elif missing := missing_routes(rules, question.routes_required):
            problems.append(f"{item.id} does not have {', '.join(missing)}; it has {', '.join(rules)}")
        else:
            found = rules
    return _row("B1", "URL map inside the running tasks", problems, f"registered: {', '.join(found)}", seen, question)


def routes_of(output: str) -> list[str] | None:
    """The JSON list behind the last `ROUTES:`; None when there is none."""
    lines = ROUTES_LINE.findall(output.replace("\r\n", "\n"))
    try:
        rules = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return [str(rule) for rule in rules] if isinstance(rules, list) else None


def why(result: _exec.ExecResult) -> str:
    """Why a command gave no answer: its reason, and the last line that it printed."""
    last = next((line.strip() for line in reversed(result.stdout.splitlines()) if line.strip()), "")
    return f"{result.reason}: {last}" if last else result.reason
