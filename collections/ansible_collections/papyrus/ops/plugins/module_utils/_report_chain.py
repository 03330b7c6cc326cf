# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The identity chain of the report: from the registry's digest to the answer, link by link, whole or broken (N2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ._binding import brief
from ._ecs_tasks import short
from ._report_source import Entry, Source, dict_of, dicts_of, text_of
from ._report_svg import Drawing, Node, path_across, path_down

CHAINS = 5
"""Tasks whose path is drawn; the others have their links in the table."""

ROWS = 120

_ORDER = ("ok", "none", "skip", "ng")

# Links of binding.json that lead to each station behind the first one; those across tasks have names of their own.
_WAYS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Task definition", frozenset({"registry", "released image", "released index"})),
    ("Running task", frozenset({"revision", "container", "released revision", "service", "task"})),
    ("Interface", frozenset({"interface"})),
    ("Target", frozenset({"target"})),
    ("Answer", frozenset({"answer"})),
)

LINKS = {
    "registry": "The registry has the digest that the task definition names",
    "revision": "The task runs the revision that the service serves",
    "container": "The running container has that digest",
    "interface": "The task's interface has the task's address",
    "target": "That address is the healthy target",
    "answer": "The answer names that task and that image",
    "released revision": "The service serves the revision that was released",
    "released image": "The task definition names the image that was released",
    "released index": "The index that was released holds the image",
    "service": "The service stayed as it was meanwhile",
    "task": "The tasks stayed the same meanwhile",
}


@dataclass(frozen=True)
class Link:
    task: str
    title: str
    status: str
    expected: str
    found: str
    text: str


@dataclass(frozen=True)
class Path:
    task: str
    status: str
    across: Drawing
    down: Drawing


@dataclass(frozen=True)
class Answer:
    count: str
    url: str
    status: str
    remote: str
    task: str
    image: str


@dataclass(frozen=True)
class Chain:
    """`note` says why there is no path; `more` counts tasks and links that are in binding.json only."""

    entry: Entry | None
    note: str
    paths: list[Path]
    links: list[Link]
    answers: list[Answer]
    more_paths: int
    more_links: int


def chain(source: Source) -> Chain | None:
    """None for a run that had no answers to tie to an image."""
    entry = source.last("binding.json")
    found = dict_of(source.value(entry))
    if entry is None and not source.asks:
        return None
    if entry is None:
        return Chain(
            None, "Nothing in this bundle ties the answers to an image: it has no binding.json.", [], [], [], 0, 0
        )
    chains, across = dicts_of(found.get("chains")), dicts_of(found.get("run"))
    note = "" if chains else f"No chain could be made: {entry.reason or 'binding.json is missing or garbled'}"
    links = [_link("", each) for each in across]
    for each in chains:
        links += [_link(short(text_of(each.get("task_arn"))), item) for item in dicts_of(each.get("links"))]
    links.sort(key=lambda link: link.status != "ng")
    image = dict_of(found.get("image"))
    paths = [_path(image, each, across) for each in chains[:CHAINS]]
    answers = [
        Answer(
            text_of(each.get("count")),
            text_of(each.get("url")),
            text_of(each.get("error")) or text_of(each.get("status")),
            text_of(each.get("remote")),
            short(text_of(each.get("task"))),
            brief(text_of(each.get("image"))),
        )
        for each in dicts_of(found.get("answers"))[:20]
    ]
    return Chain(entry, note, paths, links[:ROWS], answers, max(len(chains) - CHAINS, 0), max(len(links) - ROWS, 0))


def _link(task: str, each: Mapping[str, Any]) -> Link:
    name = text_of(each.get("link"))
    return Link(
        task, LINKS.get(name, name), _status(each), text_of(each.get("expected")), text_of(each.get("found")),
        text_of(each.get("text")),
    )  # fmt: skip


def _status(each: Mapping[str, Any]) -> str:
    status = text_of(each.get("status"))
    return status if status in _ORDER else "none"


def _path(image: Mapping[str, Any], chain: Mapping[str, Any], across: list[Mapping[str, Any]]) -> Path:
    links = dicts_of(chain.get("links"))
    by_name = {text_of(each.get("link")): each for each in links}

    def said(name: str, side: str = "found") -> str:
        return text_of(by_name.get(name, {}).get(side))

    digest = text_of(image.get("platform")) or text_of(image.get("digest")) or text_of(image.get("pinned"))
    interface, target, answer = said("interface").split(), said("target").split(), by_name.get("answer", {})
    task = short(text_of(chain.get("task_arn")))
    repository = short(text_of(image.get("reference")).partition("@")[0])
    values = [
        (short(said("revision") or said("revision", "expected")), ""),
        (_digest(said("container")), task[:12] + "…" if len(task) > 12 else task),
        (" ".join(interface[1:2]) or said("interface", "expected"), " ".join(interface[:1])),
        (" ".join(target[:1]), " ".join(target[1:2])),
        (
            _digest(said("answer")) if answer.get("status") == "ok" else "none of this task" if answer else "not asked",
            "",
        ),
    ]
    start = "none" if not digest else "ng" if text_of(image.get("missing")) else "ok"
    nodes = [Node("Registry", _digest(digest) or "unknown digest", repository, start)]
    for (title, names), (value, extra) in zip(_WAYS, values, strict=True):
        statuses = [_status(each) for each in (*links, *across) if text_of(each.get("link")) in names]
        nodes.append(Node(title, value or "nothing", extra, max(statuses, key=_ORDER.index, default="none")))
    worst = max((node.status for node in nodes), key=_ORDER.index)
    title = (
        f"Identity chain of task {task}: {'whole' if worst == 'ok' else 'broken' if worst == 'ng' else 'incomplete'}"
    )
    return Path(task, worst, path_across(title, nodes), path_down(title, nodes))


def _digest(digest: str) -> str:
    """Fit for a station: twelve characters of a digest."""
    value = digest.rpartition(":")[2]
    return value[:12] + "…" if len(value) == 64 else short(digest)[:24]
