# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWS Config as the source of an export: of each resource of each type, deleted ones too, the items of a span of time.

A unit is a resource type. Its requests are pages of ListDiscoveredResources and, for each resource that a page names,
pages of GetResourceConfigHistory; the token of a page says which of them comes next.

https://docs.aws.amazon.com/config/latest/APIReference/API_ListDiscoveredResources.html
https://docs.aws.amazon.com/config/latest/APIReference/API_GetResourceConfigHistory.html
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ._aws import AwsFailure, aws_call
from ._export import Item, Page, Progress, Unit, listed
from ._export_pace import Patient
from ._export_record import wrapped
from ._names import parse_rfc3339
from ._rows import listing

Counts = Mapping[str, int]

MOST_A_SECOND = 10.0
"""Requests. AWS does not say what it takes; all of an account share it."""
PAGE = 100
"""The most that both calls take."""
PAD = 1.0
"""Seconds that are asked for beyond both ends of the span, as AWS does not say whether the ends are part of it.
What lies outside is left out here."""
LONG_BEFORE = 86_400.0
"""Seconds before the span. A resource that was deleted earlier has no items in it."""
COUNTED = (
    "resources",
    "deleted",
    "deleted_long_before",
    "without_items",
    "without_history",
    "history_refused",
    "types_refused",
)
"""Resources that were listed; of these the deleted, and those that were not asked as they went long before the span;
without items in it; unknown to the history; refused by it. Types that AWS does not list here."""
TIMES = ("configurationItemCaptureTime", "configurationItemDeliveryTime", "resourceCreationTime")
RAW = "PapyrusRawBody"
"""Where an answer's body lies besides what botocore made of it, which has only the fields that it knows."""
NO_RECORDER = "NoAvailableConfigurationRecorderException"
_HINT = (
    "AWS Config has no configuration recorder in this region, so it knows no resource and no change. Set one up"
    " (PutConfigurationRecorder, PutDeliveryChannel, StartConfigurationRecorder), or ask the region that has one."
    " What happened before it runs, it cannot tell."
)
_REFUSED = ("ValidationException", "InvalidParameterValueException")


@dataclass(frozen=True)
class _Next:
    """What the next request of a unit is: a page of resources (`id` is ""), or a page of one resource's items.

    `page` is the token of the page of resources, `at` its number; `after` the resource after which that page, listed
    once more, goes on; `history` the token of the page of items, which begin at `since`; `found` whether the resource
    had any before, the last of them at `last`. Pages before the number `again` are read once more, as the token of that
    one was lost.
    """

    page: str = ""
    at: int = 0
    after: str = ""
    id: str = ""
    history: str = ""
    since: float = 0.0
    found: bool = False
    last: float = 0.0
    again: int = 0

    @classmethod
    def of(cls, token: str) -> _Next:
        return cls(**json.loads(token)) if token else cls()

    def text(self) -> str:
        return json.dumps({name: value for name, value in asdict(self).items() if value}, separators=(",", ":"))


@dataclass(frozen=True)
class _Listed:
    """The page of resources that a unit is at: the ids to be asked, in order, and the token of the next page."""

    ids: tuple[str, ...]
    next_page: str


class ConfigSource:
    """The Source of an export. `client` is botocore's for `config`, without retries of its own.

    `types` are asked instead of all. `all_deleted` asks resources deleted long before the span as well. A unit is asked
    on one thread at a time.
    """

    operation = "config:GetResourceConfigHistory"
    delivery = 900.0
    retention = 0.0

    def __init__(
        self,
        client: Any,
        where: str,
        patient: Patient,
        *,
        types: Sequence[str] = (),
        all_deleted: bool = False,
    ) -> None:
        self.name = f"AWS Config's items of {where}"
        self._client = client
        self._patient = patient
        self._types = tuple(types)
        self._all_deleted = all_deleted
        self._listed: dict[str, _Listed] = {}
        keep_raw_bodies(client)

    def units(self, start: float, end: float) -> list[Unit]:
        """One for each resource type. AwsFailure when there is no recorder.

        The first has the recorder among its parameters: whoever resumes an export knows its units, and nothing else.
        """
        recorder = self._patient.ask(lambda: recorder_of(self._client))
        types = sorted(set(self._types or all_types(self._client, self._patient)))
        return [Unit(kind, start, end, {"recorder": recorder} if kind == types[0] else {}) for kind in types]

    def ask(self, unit: Unit, token: str) -> Page:
        """One request. What AWS refuses for a type or a resource as such is told in the page, and is no failure."""
        step = _Next.of(token)
        try:
            return self._history(unit, step) if step.id else self._list(unit, step)
        except AwsFailure as failure:
            if failure.code in _REFUSED and not (step.history if step.id else step.page):
                return self._refused(unit, step, failure)
            if step.id and failure.code == "ResourceNotDiscoveredException":
                return self._after(unit, step, counts={"without_history": 1})
            if failure.code == "InvalidNextTokenException" and (found := _without_token(step)):
                return Page((), found.text())
            raise

    def rest(self, unit: Unit, last: Item) -> Unit | None:
        """Always the whole unit: its resources have no order that could be relied on."""
        return None

    def summary(self, progress: Sequence[Progress]) -> dict[str, Any]:
        """The recorder, and each type that was asked."""
        recorder = progress[0].asked.parameters.get("recorder", {}) if progress else {}
        return {"recorder": recorder, "types": [_told(unit) for unit in progress]}

    def _list(self, unit: Unit, step: _Next) -> Page:
        asked: dict[str, Any] = {"resourceType": unit.key, "includeDeletedResources": True, "limit": PAGE}
        if step.page:
            asked["nextToken"] = step.page
        with aws_call("config:ListDiscoveredResources", f"resource type {unit.key}", _HINT if not step.page else ""):
            answer = self._client.list_discovered_resources(**asked)
            found = listed(answer, "resourceIdentifiers", "config:ListDiscoveredResources", unit.key)
        gone = [one for one in found if one.get("resourceDeletionTime")]
        skipped = {one["resourceId"] for one in gone if self._long_gone(one["resourceDeletionTime"], unit.start)}
        ids = [str(one["resourceId"]) for one in found if one["resourceId"] not in skipped]
        self._listed[unit.key] = _Listed(tuple(ids), str(answer.get("nextToken") or ""))
        if step.after:
            return self._after(unit, replace(step, id=step.after, after=""))
        counts = {"resources": len(found), "deleted": len(gone), "deleted_long_before": len(skipped)}
        return self._after(unit, step, counts=dict.fromkeys(COUNTED, 0) | counts)

    def _long_gone(self, deleted: Any, start: float) -> bool:
        at = seconds(deleted)
        return not self._all_deleted and at is not None and at < start - LONG_BEFORE

    def _history(self, unit: Unit, step: _Next) -> Page:
        asked: dict[str, Any] = {
            "resourceType": unit.key,
            "resourceId": step.id,
            "earlierTime": moment(max(unit.start, step.since) - PAD),
            "laterTime": moment(unit.end + PAD),
            "chronologicalOrder": "Forward",
            "limit": PAGE,
        }
        if step.history:
            asked["nextToken"] = step.history
        with aws_call(self.operation, f"{unit.key} {step.id}"):
            answer = self._client.get_resource_config_history(**asked)
            found = listed(answer, "configurationItems", self.operation, f"{unit.key} {step.id}")
        items = [item_of(entry, unit, step.id) for entry in raw_items(answer) or found]
        inside = tuple(item for item in items if unit.start <= item.at <= unit.end)
        any_found = step.found or bool(inside)
        if answer.get("nextToken"):
            last = max((item.at for item in inside), default=step.last)
            return Page(inside, replace(step, history=str(answer["nextToken"]), found=any_found, last=last).text())
        return self._after(unit, step, inside, counts={} if any_found else {"without_items": 1})

    def _refused(self, unit: Unit, step: _Next, failure: AwsFailure) -> Page:
        if not step.id:
            # Not in this region, or not a type any more: AWS knows no resource of it here.
            return Page((), counts={"types_refused": 1}, note=f"AWS refuses to list this type: {failure.message}")
        note = f"AWS refuses the history of {step.id}: {failure.message}"
        return self._after(unit, step, counts={"history_refused": 1}, note=note)

    def _after(
        self, unit: Unit, step: _Next, items: tuple[Item, ...] = (), *, counts: Counts | None = None, note: str = ""
    ) -> Page:
        """The page, with the token of what comes after the resource of `step`, or after a page was listed."""
        counts = (counts if step.at >= step.again else None) or {}
        here = _Next(page=step.page, at=step.at, again=step.again)
        known = self._listed.get(unit.key)
        if known is None:
            # Of an earlier start: the page has to be listed once more to know what comes next.
            return Page(items, replace(here, after=step.id).text(), counts, note)
        left = known.ids[known.ids.index(step.id) + 1 :] if step.id in known.ids else known.ids
        if left:
            return Page(items, replace(here, id=left[0]).text(), counts, note)
        token = replace(here, page=known.next_page, at=step.at + 1).text() if known.next_page else ""
        if not token:
            self._listed.pop(unit.key, None)
        return Page(items, token, counts, note)


def _without_token(step: _Next) -> _Next | None:
    """How to go on without the token that AWS does not know any more; None when that came to nothing before.

    The items of a resource from the last one on, as the oldest come first. The listing of a type from its start: what
    came already is known by its id, and is not counted again.
    """
    if step.id:
        return replace(step, history="", since=step.last) if step.history and step.last > step.since else None
    return _Next(again=step.at) if step.page and step.at > step.again else None


def _told(unit: Progress) -> dict[str, Any]:
    """What completeness.json has of a type. Most of the 500 have no resource: what is 0 or empty is left out."""
    counted = {"duplicates": unit.duplicates, "malformed": unit.malformed, **unit.counts, "note": unit.note}
    times = {"first": _shown(unit.first), "last": _shown(unit.last)}
    return {
        "type": unit.asked.key,
        "items": unit.items,
        "requests": unit.requests,
        "read_at": _shown(unit.ended) if unit.done else None,
        **{name: value for name, value in {**counted, **times}.items() if value},
    }


def none_listed(found: Mapping[str, Any]) -> str:
    """For a message: the regions (exports by region) in which AWS listed not one type, "" when there is none."""
    reasons = []
    for region, outcome in found.items():
        types = outcome.report["types"]
        if types and all(told.get("types_refused") for told in types):
            notes = [f"{told['type']}: {told['note'].partition(': ')[2]}" for told in types]
            reasons.append(f"{region}: AWS lists none of the types: {listing(notes)}")
    return " ".join(reasons)


def recorder_of(client: Any) -> dict[str, Any]:
    """Name, whether it records, and since or until when. AwsFailure when there is none."""
    with aws_call("config:DescribeConfigurationRecorderStatus", "the configuration recorder"):
        found = client.describe_configuration_recorder_status().get("ConfigurationRecordersStatus") or []
    if not found:
        raise AwsFailure(
            "there is no configuration recorder",
            code=NO_RECORDER,
            operation="config:DescribeConfigurationRecorderStatus",
            hint=_HINT,
        )
    status = found[0]
    told: dict[str, Any] = {"name": str(status.get("name") or ""), "recording": bool(status.get("recording"))}
    for name, given in (("started", "lastStartTime"), ("stopped", "lastStopTime")):
        told[name] = _shown(status[given]) if status.get(given) else ""
    return {**told, "last_status": str(status.get("lastStatus") or "")}


def all_types(client: Any, patient: Patient) -> set[str]:
    """Every type that botocore's model knows, and every one that Config has counted here (a newer type, perhaps)."""
    types, token = set(client.meta.service_model.shape_for("ResourceType").enum), ""
    while True:
        page = patient.ask(functools.partial(_counted, client, token))
        types |= {str(count["resourceType"]) for count in page.get("resourceCounts") or []}
        token = str(page.get("nextToken") or "")
        if not token:
            return types


def _counted(client: Any, token: str) -> Mapping[str, Any]:
    with aws_call("config:GetDiscoveredResourceCounts", "all resource types"):
        answer: Mapping[str, Any] = client.get_discovered_resource_counts(**({"nextToken": token} if token else {}))
        return answer


def keep_raw_bodies(client: Any) -> None:
    """From now on answers of GetResourceConfigHistory have their body as it came under `RAW`."""

    def keep(response_dict: Mapping[str, Any], customized_response_dict: dict[str, Any], **_more: Any) -> None:
        customized_response_dict[RAW] = response_dict.get("body")

    name = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parse.{name}.GetResourceConfigHistory", keep, unique_id="papyrus-raw-body")


def raw_items(answer: Mapping[str, Any]) -> list[Any]:
    """The items of an answer with all their fields, those included that botocore does not know; [] without body."""
    try:
        found = json.loads(answer[RAW])["configurationItems"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def item_of(entry: Any, unit: Unit, resource: str) -> Item:
    """One line of an entry. Its times are written as in the files that Config delivers (RFC 3339)."""
    captured = seconds(entry.get(TIMES[0])) if isinstance(entry, Mapping) else None
    if captured is None:
        line = wrapped({"resourceType": unit.key, "resourceId": resource, "item": entry})
        return Item(f"malformed/{hashlib.sha256(line).hexdigest()}", unit.start, line, malformed=True)
    shown = {name: _shown(value) if name in TIMES else value for name, value in entry.items()}
    line = dumped(shown)
    state = str(entry.get("configurationStateId") or hashlib.sha256(line).hexdigest())
    return Item("/".join((unit.key, resource, str(shown[TIMES[0]]), state)), captured, line)


def _shown(value: Any) -> Any:
    at = seconds(value)
    return value if at is None else rfc3339_ms(at)


def seconds(value: Any) -> float | None:
    """Seconds since 1970 of a time as botocore gives it, or as it came (a number, RFC 3339); None for anything else."""
    if isinstance(value, str):
        try:
            return parse_rfc3339(value).timestamp()
        except ValueError:
            return None
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return None


def moment(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.UTC)


def rfc3339_ms(at: float) -> str:
    return moment(round(at, 3)).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def dumped(value: Any) -> bytes:
    """JSON on one line; what JSON does not know as text."""
    return json.dumps(value, separators=(",", ":"), default=str, ensure_ascii=False).encode("utf-8", "backslashreplace")
