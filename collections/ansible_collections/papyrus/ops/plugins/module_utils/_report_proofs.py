# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's proofs: preflight rows, running tasks, probes, health polls, the database, recordings (B, C5, D, E)."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._binding import brief
from ._ecs_tasks import short
from ._report_source import Entry, Excerpt, Source, dict_of, dicts_of, list_of, number_of, parsed, plain, text_of
from ._report_svg import Bar, Drawing, strip
from ._report_text import Block, clock, cut, duration, moment

SAME = 12
"""Items of one kind that are shown; a run has a handful, a hostile bundle any number."""


BODY = 300
"""Characters of an answer's body that are shown without its transcript."""

_TIMES = (("dns", "name"), ("connect", "connect"), ("tls", "TLS"), ("first_byte", "first byte"), ("total", "whole"))

CELLS = 120
"""Polls that have a cell of their own in the strip of a target."""


@dataclass(frozen=True)
class Row:
    id: str
    title: str
    status: str
    reason: str


@dataclass(frozen=True)
class Preflight:
    entry: Entry
    rows: list[Row]
    more: int


@dataclass(frozen=True)
class Proof:
    """An item with its checks and its transcript."""

    entry: Entry
    title: str
    rows: list[Row]
    excerpt: Excerpt


@dataclass(frozen=True)
class Probe:
    proof: Proof
    name: str
    url: str
    answers: list[str]
    timings: list[tuple[str, str]]


@dataclass(frozen=True)
class Change:
    """A poll in which a target's state or its reason was another than before; `polls` that saw it in a row."""

    poll: str
    at: str
    elapsed: str
    target: str
    state: str
    reason: str
    polls: int


@dataclass(frozen=True)
class Health:
    entry: Entry
    polls: int
    strips: list[tuple[str, Drawing]]
    changes: list[Change]
    more: int


@dataclass(frozen=True)
class Cast:
    entry: Entry
    command: str
    title: str
    began: str
    frames: list[tuple[str, Block]]
    left_out: int
    sequences: int
    note: str


@dataclass(frozen=True)
class Mark:
    path: str
    task: str
    image: str
    at: str


@dataclass(frozen=True)
class Database:
    """`tls` is who spoke how encrypted, and which item says so."""

    proofs: list[Proof]
    rows: str
    marks: list[Mark]
    tls: list[tuple[str, str, str]]


# Preflight


def preflights(source: Source) -> list[Preflight]:
    """Newest first: a release asks twice, before anything changes and of the new revision."""
    return [_preflight(source, entry) for entry in reversed(source.named("preflight.json")[-3:])]


def _preflight(source: Source, entry: Entry) -> Preflight:
    content = dict_of(source.value(entry))
    rows = [row_of(row) for row in dicts_of(content.get("rows")) or entry.rows]
    source.shown.add(entry.place)
    rows.sort(key=lambda row: {"ng": 0, "skip": 1}.get(row.status, 2))
    return Preflight(entry, rows[:100], max(len(rows) - 100, 0))


def row_of(row: Mapping[str, Any]) -> Row:
    status = text_of(row.get("status"))
    return Row(
        text_of(row.get("id")),
        text_of(row.get("title")),
        status if status in ("ok", "ng", "skip", "info") else "none",
        text_of(row.get("reason")),
    )


# Items with a transcript

TITLES = {
    "running_image.log": "The image that every task runs",
    "pgsslmode_env.log": "PGSSLMODE inside the container",
    "flask_url_map_after.log": "Routes that the running application has",
    "papyrus_psql_insert_cli.log": "Written from inside the task, through ECS Exec",
    "papyrus_psql_insert_app.log": "Written by the app, through the load balancer",
    "papyrus_sku_check.log": "Rows and this run's marks, read back",
    "plaintext_refused.log": "A session without encryption is refused",
    "fresh_login.log": "Login of a fresh task with the secret of today",
    "schema_dryrun_exec.log": "Schema rehearsed: BEGIN … ROLLBACK",
    "schema_apply_exec.log": "Schema applied: COMMIT",
    "schema_grants_exec.log": "Grants for the app's role",
    "schema_prepare_exec.log": "Database and role",
    "terraform_apply.log": "terraform apply",
    "terraform_destroy.log": "terraform destroy",
    "guard.log": "What the guard did after the run had ended early",
}


def proof(source: Source, entry: Entry) -> Proof:
    return Proof(
        entry, TITLES.get(entry.name, entry.name), [row_of(row) for row in entry.rows[:40]], source.excerpt(entry)
    )


def running(source: Source) -> list[Proof]:
    names = ("running_image.log", "pgsslmode_env.log", "flask_url_map_after.log")
    return [proof(source, entry) for entry in source.named(*names)[-SAME:]]


# Probes


def probes(source: Source) -> list[Probe]:
    found = [entry for entry in source.entries if entry.step == "D1" and "url" in entry.meta]
    return [_probe(source, entry) for entry in found[-SAME * 2 :]]


def _probe(source: Source, entry: Entry) -> Probe:
    text = source.text(entry)
    answers = [line.strip() for line in text.split("\n") if re.match(r"HTTP/\d", line)]
    bodies = [part.strip() for part in re.split(r"(?m)^HTTP/\d.*\n(?:.+\n)*", text)[1:]]
    said = [f"{answer}, {cut(body, BODY)}" if body else answer for answer, body in zip(answers, bodies, strict=False)]
    remotes = [text_of(remote) for remote in list_of(entry.meta.get("remotes"))]
    timings = []
    for i, each in enumerate(dicts_of(entry.meta.get("timings"))[:20]):
        times = [(word, _seconds(each.get(name))) for name, word in _TIMES]
        words = ", ".join(f"{word} {took}" for word, took in times if took)
        timings.append((remotes[i] if i < len(remotes) else "", words))
    name = entry.name.removesuffix(".log")
    return Probe(proof(source, entry), name, text_of(entry.meta.get("url")), said[:20], timings)


def _seconds(value: Any) -> str:
    number = number_of(value)
    return "" if number is None else duration(number)


# Health polls


def health(source: Source) -> list[Health]:
    return [_health(source, entry) for entry in source.named("target_health.jsonl")[-4:]]


def _health(source: Source, entry: Entry) -> Health:
    source.shown.add(entry.place)
    polls = source.records(entry)
    targets: dict[str, list[tuple[Mapping[str, Any], str, str]]] = {}
    for poll in polls:
        for target in dicts_of(poll.get("targets")):
            name = f"{text_of(target.get('id'))}:{text_of(target.get('port'))}"
            reason = text_of(target.get("reason")) or text_of(target.get("description")) or text_of(poll.get("reason"))
            targets.setdefault(name, []).append((poll, text_of(target.get("state")) or "unknown", reason))
    changes: list[Change] = []
    strips: list[tuple[str, Drawing]] = []
    for name, seen in list(targets.items())[:8]:
        own = list(_changes(name, seen))
        changes += own
        strips.append((name, _strip(name, seen)))
    return Health(entry, len(polls), strips, changes[:60], max(len(changes) - 60, 0))


def _changes(target: str, seen: Sequence[tuple[Mapping[str, Any], str, str]]) -> Iterator[Change]:
    start = 0
    for i in range(1, len(seen) + 1):
        if i < len(seen) and seen[i][1:] == seen[start][1:]:
            continue
        poll, state, reason = seen[start]
        elapsed = number_of(poll.get("elapsed"))
        yield Change(
            text_of(poll.get("poll")),
            clock(moment(poll.get("at"))),
            "" if elapsed is None else f"+{duration(elapsed)}",
            target,
            state,
            reason,
            i - start,
        )
        start = i


_STATES = ("healthy", "initial", "draining", "unused", "unhealthy")


def _strip(name: str, seen: Sequence[tuple[Mapping[str, Any], str, str]]) -> Drawing:
    """Polls side by side; when they are many, equal ones in a row as one part."""
    parts: list[tuple[str, int, int]] = []
    for i, (_poll, state, _reason) in enumerate(seen):
        if parts and parts[-1][0] == state and len(seen) > CELLS:
            parts[-1] = (state, parts[-1][1], i + 1)
        else:
            parts.append((state, i, i + 1))
    width = min(100 / max(len(seen), 1), 2.5)
    bars = [
        Bar(first * width, last * width, state if state in _STATES else "unknown", f"{_polls(first, last)}: {state}")
        for state, first, last in parts[:300]
    ]
    return strip(f"Health of {name}", "; ".join(_in_words(seen)), bars)


def _in_words(seen: Sequence[tuple[Mapping[str, Any], str, str]]) -> Iterator[str]:
    start = 0
    for i in range(1, len(seen) + 1):
        if i == len(seen) or seen[i][1] != seen[start][1]:
            yield f"{_polls(start, i)}: {seen[start][1]}"
            start = i


def _polls(first: int, last: int) -> str:
    return f"poll {first + 1}" if last == first + 1 else f"polls {first + 1} to {last}"


# Database

_MARK = re.compile(r"^MARK: (\S+) task_arn=(\S*) image_digest=(\S*) marked_at=(\S*)", re.MULTILINE)
_ROWS = re.compile(r"^ROWS: (.*)$", re.MULTILINE)
_TLS = re.compile(r"^TLS: (?:(\w+) )?(\S+)$", re.MULTILINE)


def database(source: Source) -> Database:
    entries = [entry for entry in source.entries if re.fullmatch(r"E[1-9]|G\d*", entry.step)][-SAME * 2 :]
    read_back = source.text(source.last("papyrus_sku_check.log"))
    rows = _ROWS.search(read_back)
    marks = [
        Mark(path, short(task), brief(image), clock(moment(at), date=True) or at)
        for path, task, image, at in _MARK.findall(read_back)[:20]
    ]
    shown = [proof(source, entry) for entry in entries if not entry.name.endswith(".cast")]
    return Database(shown, rows.group(1) if rows else "", marks, list(_tls(source)))


def _tls(source: Source) -> Iterator[tuple[str, str, str]]:
    login = _login(source.object("secrets_rds_drift.json"))
    if login:
        cipher = f", {text_of(login.get('cipher'))}" if login.get("cipher") else ""
        who = f"{text_of(login.get('user'))} in {text_of(login.get('database'))}"
        yield f"Preflight's login, {who}", f"{text_of(login.get('tls_version'))}{cipher}", "secrets_rds_drift.json"
    for name, who in (
        ("papyrus_psql_insert_cli.log", "Write from inside the task"),
        ("fresh_login.log", "Login of a fresh task"),
        ("papyrus_sku_check.log", "Session of path"),
    ):
        for path, version in _TLS.findall(source.text(source.last(name)))[:6]:
            yield (f"{who} {path}" if path else who), version, name
    for name, row_id, title in (
        ("preflight.json", "B4", "The server's own setting"),
        ("preflight.json", "B13", "PGSSLMODE of the task definition"),
        ("pgsslmode_env.log", "B13", "PGSSLMODE in the running container"),
    ):
        entry = source.last(name)
        for row in entry.rows if entry else []:
            if row.get("id") == row_id:
                yield title, text_of(row.get("reason")), name


def _login(drift: Mapping[str, Any]) -> Mapping[str, Any]:
    return dict_of(dict_of(dict_of(dict_of(drift.get("row")).get("data")).get("facts")).get("login"))


# Recordings


def casts(source: Source) -> list[Cast]:
    found = [entry for entry in source.entries if entry.name.endswith(".cast")]
    return [_cast(source, entry) for entry in found[-SAME:]]


def _cast(source: Source, entry: Entry) -> Cast:
    """Frames as text with their times. Terminal sequences are left out here, and counted: the file has them."""
    source.shown.add(entry.place)
    content = source.view.read(entry.line, 256 * 1024)
    lines = [] if content is None else content.data.splitlines()
    header = dict_of(parsed(lines[0])) if lines else {}
    frames: list[tuple[str, Block]] = []
    sequences = length = left_out = 0
    for line in lines[1:]:
        event = list_of(parsed(line))
        at = number_of(event[0]) if len(event) == 3 else None
        if at is None or event[1] != "o" or not isinstance(event[2], str):
            continue
        if len(frames) >= 400 or length > 24_000:
            left_out += 1
            continue
        text, count = plain(event[2].replace("\r\n", "\n"))
        text = Block(text[:8_000])
        frames.append((f"{at:.3f} s", text))
        sequences += count
        length += len(text)
    if content is None:
        note = "The manifest lists this file, the bundle does not hold it."
    else:
        note = "" if header else "This is no asciicast."
    began = number_of(header.get("timestamp"))
    return Cast(
        entry,
        text_of(header.get("command")),
        text_of(header.get("title")),
        "" if began is None else clock(_utc(began), date=True),
        frames,
        left_out,
        sequences,
        note,
    )


def _utc(seconds: float) -> dt.datetime | None:
    try:
        return dt.datetime.fromtimestamp(seconds, dt.UTC)
    except (OverflowError, OSError, ValueError):
        return None


@dataclass(frozen=True)
class Rest:
    proofs: list[Proof]
    more: int


def unshown(source: Source, limit: int = 60) -> Rest | None:
    """Items that no part of the page has shown; None when there is none."""
    quiet = {"run.json", "verdict.json", "phase.json"}
    found = [entry for entry in source.entries if entry.place not in source.shown and entry.name not in quiet]
    shown = [
        Proof(entry, TITLES.get(entry.name, entry.name), [row_of(row) for row in entry.rows[:40]],
              source.excerpt(entry, 6_000, 2_000))
        for entry in found[:limit]
    ]  # fmt: skip
    return Rest(shown, len(found) - len(shown)) if found else None
