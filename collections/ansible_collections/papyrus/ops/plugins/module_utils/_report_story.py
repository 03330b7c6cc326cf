# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's stories: how the release went, what was created and the proof that each is gone (F, C1, C6, C7)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._ecs_tasks import short
from ._report_proofs import Proof, proof
from ._report_source import Entry, Source, dict_of, dicts_of, list_of, number_of, spread, text_of
from ._report_text import duration
from ._verdict import APPLY_ITEM, DESTROY_ITEM, GONE_ITEM

EVENTS = 150
"""Entries of one rollout that are shown, of its beginning and of its end."""

RESOURCES = 200

_NOTE = "about to"
"""How the event of a note begins that was written before a rollout, in case that nothing can be written after it."""


# Release


@dataclass(frozen=True)
class Difference:
    place: str
    before: str
    after: str


@dataclass(frozen=True)
class Event:
    at: str
    kind: str
    text: str
    repeats: str


@dataclass(frozen=True)
class Rollout:
    entry: Entry
    result: str
    events: list[Event]
    caption: str


@dataclass(frozen=True)
class Release:
    image: list[tuple[str, str]]
    revision: list[tuple[str, str]]
    differences: list[Difference]
    rollouts: list[Rollout]


def release(source: Source) -> Release | None:
    """None for a run that released nothing."""
    pushed, revision = source.object("image_push.json"), source.object("taskdef_diff.json")
    entries = source.named("rollout.jsonl")
    for entry in [*source.named("image_push.json", "taskdef_diff.json"), *entries]:
        source.shown.add(entry.place)
    if not (pushed or revision or entries):
        return None
    image = [
        (title, _plain(pushed.get(key)))
        for title, key in (
            ("Image", "image"),
            ("Outcome", "outcome"),
            ("Builder", "builder"),
            ("Platform", "platform"),
            ("Base", "base"),
            ("Tags", "tags"),
        )
        if pushed.get(key)
    ]
    made = [
        (title, text_of(value))
        for title, value in (
            ("New revision", revision.get("task_definition_arn")),
            ("Made from", revision.get("previous")),
            ("Registered", "yes" if revision.get("registered") is True else "no, it was there already"),
            ("Why", revision.get("reason")),
            ("Notes", "; ".join(text_of(note) for note in list_of(revision.get("notes")))),
        )
        if value and revision
    ]
    differences = [
        Difference(
            " / ".join(text_of(each.get(key)) for key in ("container", "member", "name") if each.get(key)),
            text_of(each.get("before")) or "absent",
            text_of(each.get("after")) or "absent",
        )
        for each in dicts_of(revision.get("differences"))[:60]
    ]
    told = [_rollout(source, entry) for entry in entries[-8:]]
    # A note from before counts only where nothing came after it: the rollout was interrupted.
    rollouts = [each for i, each in enumerate(told) if not each.result.startswith(_NOTE) or i == len(told) - 1]
    return Release(image, made, differences, rollouts)


def _plain(value: Any) -> str:
    """A list's members, an image by its reference."""
    if isinstance(value, Mapping):
        return text_of(value.get("reference")) or text_of(value)
    return ", ".join(text_of(each) for each in value) if isinstance(value, list) else text_of(value)


def _rollout(source: Source, entry: Entry) -> Rollout:
    records = source.records(entry)
    said = text_of(dict_of(entry.meta.get("release")).get("result")).replace("_", " ")
    first = text_of(records[0].get("event")) if records else ""
    said = first if first.startswith(_NOTE) else said
    events = [_event(record) for _place, record in spread(records, EVENTS)]
    left_out = len(records) - len(events)
    caption = (
        f"As it was followed; {left_out} entries in the middle are in {entry.path}"
        if left_out
        else "As it was followed"
    )
    return Rollout(entry, said, events, caption)


def _event(record: Mapping[str, Any]) -> Event:
    elapsed, repeats = number_of(record.get("elapsed")), number_of(record.get("repeats"))
    last = number_of(record.get("last_elapsed"))
    until = f"seen {repeats + 1:.0f} times, until +{duration(last)}" if repeats and last is not None else ""
    kind = text_of(record.get("event"))
    text = text_of(record.get("text")) or _rest(record)
    return Event("" if elapsed is None else f"+{duration(elapsed)}", kind.replace("_", " "), text, until)


def _rest(record: Mapping[str, Any]) -> str:
    """An entry without a text: its members."""
    quiet = ("event", "at", "elapsed", "request_ids")
    return ", ".join(f"{key.replace('_', ' ')} {text_of(value)}" for key, value in record.items() if key not in quiet)


# Created and gone


@dataclass(frozen=True)
class Resource:
    """`proof` is what shows that it is gone; `status` ok, ng (it is still there) or none (nothing shows it)."""

    address: str
    id: str
    status: str
    proof: str
    request_ids: str


@dataclass(frozen=True)
class Call:
    operation: str
    asked: str
    answer: str
    request_ids: str


@dataclass(frozen=True)
class Gone:
    entry: Entry | None
    note: str
    created: list[Resource]
    caption: str
    more: int
    left: list[tuple[str, str]]
    calls: list[Call]
    attempts: list[tuple[str, str, str]]
    proofs: list[Proof]


def gone(source: Source) -> Gone:
    entry = source.last(GONE_ITEM)
    found = dict_of(source.value(entry))
    described = dicts_of(found.get("described"))
    left = dicts_of(found.get("resources"))
    resources = list(_created(source))
    created = [_resource(address, ident, holder, entry, described, left) for address, ident, holder in resources]
    note = ""
    if entry is None:
        note = (
            "Nothing in this bundle shows that what was created is gone."
            if source.last(APPLY_ITEM) is not None or resources
            else "The run created nothing temporary."
        )
    elif entry.status != "ok":
        note = f"Not proved gone: {entry.reason}"
    destroy = source.last(DESTROY_ITEM)
    attempts = [
        (
            text_of(each.get("number")),
            _took(each.get("seconds")),
            "ok" if each.get("ok") is True else text_of(each.get("error")) or "failed",
        )
        for each in dicts_of(destroy.meta.get("attempts") if destroy else None)[:20]
    ]
    names = (APPLY_ITEM, DESTROY_ITEM, "alb_sg_delete.log")
    for each in source.named(GONE_ITEM, "alb_sg_leftover.json"):
        source.shown.add(each.place)
    return Gone(
        entry,
        note,
        created[:RESOURCES],
        f"{len(created)} resources of Terraform's state, each with its proof",
        max(len(created) - RESOURCES, 0),
        [(text_of(each.get("kind")).replace("_", " "), text_of(each.get("id"))) for each in left[:RESOURCES]],
        [_call(each) for each in described[:RESOURCES]],
        attempts,
        [proof(source, each) for each in source.named(*names)[-8:]],
    )


def _took(value: Any) -> str:
    seconds = number_of(value)
    return "" if seconds is None else duration(seconds)


def _created(source: Source) -> Iterator[tuple[str, str, str]]:
    """Address, id and what holds it ("" for none) of each resource of Terraform's state; its outputs without one."""
    state = source.object("terraform.tfstate")
    for resource in dicts_of(state.get("resources")):
        if resource.get("mode") == "data":
            continue
        name = f"{text_of(resource.get('type'))}.{text_of(resource.get('name'))}"
        for instance in dicts_of(resource.get("instances")):
            attributes = dict_of(instance.get("attributes"))
            key = instance.get("index_key")
            address = f"{name}[{text_of(key)}]" if key is not None else name
            holders = (attributes.get(key) for key in ("security_group_id", "listener_arn", "load_balancer_arn"))
            yield address, text_of(attributes.get("id")), next((text_of(each) for each in holders if each), "")
    if not state.get("resources"):
        for name, value in sorted(source.object("terraform_outputs.json").items()):
            if name.endswith(("_arn", "_sg_id")):
                yield f"output {name}", text_of(value), ""


def _resource(
    address: str,
    ident: str,
    holder: str,
    entry: Entry | None,
    described: list[Mapping[str, Any]],
    left: list[Mapping[str, Any]],
) -> Resource:
    """Proof by its own id before proof by what held it: an absent group has no rule, a present one was read."""
    if any(text_of(each.get("id")) == ident for each in left):
        return Resource(address, ident, "ng", "still there", "")
    by_id = _asked_for(ident, described)
    if by_id is not None and number_of(by_id.get("count")) == 0:
        answer = text_of(by_id.get("answer")) or "no such resource"
        return Resource(address, ident, "ok", f"{text_of(by_id.get('operation'))}: {answer}", _ids(by_id))
    by_holder = _asked_for(holder, described) if holder else None
    if by_holder is not None and number_of(by_holder.get("count")) == 0:
        return Resource(address, ident, "ok", f"what held it is gone: {short(holder)}", _ids(by_holder))
    if by_holder is not None and entry is not None and entry.status == "ok":
        return Resource(
            address, ident, "ok", f"{short(holder)} was read: nothing of this run is in it", _ids(by_holder)
        )
    return Resource(address, ident, "none", "nothing in this bundle shows it", "")


def _asked_for(ident: str, described: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The last call that named this very id in its parameters."""
    if not ident:
        return None
    return next((each for each in reversed(described) if ident in _values(each.get("parameters"))), None)


def _values(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 6:
        inner = value.values() if isinstance(value, Mapping) else list_of(value)
        for each in inner:
            yield from _values(each, depth + 1)


def _call(each: Mapping[str, Any]) -> Call:
    count = number_of(each.get("count"))
    answer = text_of(each.get("answer"))
    if not answer:
        answer = "" if count is None else "none" if count == 0 else f"{count:.0f} found"
    asked = ", ".join(
        dict.fromkeys(short(value) if ":" in value else value for value in _asked(each.get("parameters")))
    )
    return Call(text_of(each.get("operation")), asked or "all", answer, _ids(each))


def _asked(parameters: Any) -> Iterator[str]:
    """`tag:papyrus:run-id = …` for filters, the ids themselves otherwise."""
    for each in dicts_of(dict_of(parameters).get("Filters")):
        yield f"{text_of(each.get('Name'))} = {' or '.join(text_of(value) for value in list_of(each.get('Values')))}"
    yield from _values({key: value for key, value in dict_of(parameters).items() if key != "Filters"})


def _ids(each: Mapping[str, Any]) -> str:
    return ", ".join(text_of(value) for value in list_of(each.get("request_ids"))[:10])
