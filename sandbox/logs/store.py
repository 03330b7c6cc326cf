"""Log events: in memory in the order of their times, and on disk as they come, so that a kill loses none.

The emulator keeps groups and streams, and their events as a list in each stream; it would write all of them to disk
again at every save. Here each stream has a file that is only ever appended to.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from pathlib import Path
from typing import Any

from sandbox import emulator

log = logging.getLogger("sandbox.logs")
Event = dict[str, Any]
Stream = dict[str, Any]
# (milliseconds since 1970, number in the order of arrival): where an event stands among all others.
Position = tuple[int, int]
START: Position = (-1, 0)
# After every number that there is: the end of a millisecond, or of everything.
LAST_NUMBER = 2**70
END: Position = (2**70, 0)
# What an event costs beyond its message, in limits of batches and pages.
EVENT_OVERHEAD = 26


def position(event: Event) -> Position:
    return event["timestamp"], event["n"]


def event_id(event: Event) -> str:
    """56 digits, as AWS's; they sort as the events do."""
    return f"{event['timestamp']:020d}{event['n']:036d}"


def size_of(message: str) -> int:
    return len(message.encode()) + EVENT_OVERHEAD


class EventStore:
    """Appends events of streams, and reads them again after a start. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._last = 0
        folder.mkdir(parents=True, exist_ok=True)

    def _number(self) -> int:
        """Larger than every one before, also than those of earlier starts."""
        self._last = max(self._last + 1, time.time_ns())
        return self._last

    def _file(self, group: str, stream: str) -> Path:
        responses = emulator.core("responses")
        name = json.dumps([responses.get_account_id(), responses.get_region(), group, stream])
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()}.jsonl"

    def append(self, group: str, name: str, events: Iterable[tuple[int, str]]) -> None:
        """Add (time, message) to an existing stream of the caller's tenant, in the order of their times."""
        now = int(time.time() * 1000)
        with self._lock:
            new = [
                {"timestamp": at, "message": message, "ingestionTime": now, "n": self._number()}
                for at, message in sorted(events, key=lambda event: event[0])
            ]
            if not new:
                return
            stream: Stream = emulator.service("cloudwatch_logs")._log_groups[group]["streams"][name]
            self._write(group, name, new)
            _insert(stream, new)

    def _write(self, group: str, name: str, events: list[Event]) -> None:
        file = self._file(group, name)
        responses = emulator.core("responses")
        head = ""
        if not file.exists():
            head = json.dumps([responses.get_account_id(), responses.get_region(), group, name]) + "\n"
        rows = (json.dumps([e["timestamp"], e["ingestionTime"], e["n"], e["message"]]) + "\n" for e in events)
        with file.open("a") as journal:
            journal.write(head + "".join(rows))

    def forget(self, group: str, names: Iterable[str]) -> None:
        """The streams of the caller's tenant are deleted."""
        with self._lock:
            for name in names:
                self._file(group, name).unlink(missing_ok=True)

    def load(self) -> None:
        """Give every stream its events again; what belongs to no group any more goes."""
        groups = emulator.service("cloudwatch_logs")._log_groups
        self._take_over(groups)
        for file in sorted(self._folder.glob("*.jsonl")):
            with file.open() as journal:
                head, events = journal.readline(), list(_read(journal))
            try:
                account, region, group, name = json.loads(head)
            except ValueError:
                account = region = group = name = ""
            found = groups.get_scoped(account, region, group)
            if found is None:
                file.unlink()
                continue
            # Records are saved every few seconds, so that a stream can be younger than they are.
            stream = found["streams"].setdefault(name, new_stream())
            stream["events"] = []
            with self._lock:
                _insert(stream, sorted(events, key=position))
                self._last = max([self._last, *(event["n"] for event in events)])

    def _take_over(self, groups: Any) -> None:
        """Events that the emulator saved with its records, before there were files of their own."""
        for (account, region, group), known in groups.all_items():
            for name, stream in known["streams"].items():
                if stream["events"]:
                    old, stream["events"] = stream["events"], []
                    with emulator.request_scope(account, region):
                        self.append(group, name, [(event["timestamp"], event["message"]) for event in old])


def _read(rows: Iterable[str]) -> Iterator[Event]:
    for row in rows:
        try:
            at, ingested, number, message = json.loads(row)
        except ValueError:
            # Cut off by a kill.
            continue
        yield {"timestamp": at, "message": message, "ingestionTime": ingested, "n": number}


def _insert(stream: Stream, new: list[Event]) -> None:
    """New events, sorted, among those of a stream. A late one makes a new list: readers keep the old."""
    if not new:
        return
    events: list[Event] = stream["events"]
    if events and position(events[-1]) > position(new[0]):
        stream["events"] = list(merge(events, new, key=position))
    else:
        events.extend(new)
    first, last = new[0]["timestamp"], new[-1]["timestamp"]
    oldest, youngest = stream.get("firstEventTimestamp"), stream.get("lastEventTimestamp")
    stream["firstEventTimestamp"] = first if oldest is None else min(oldest, first)
    stream["lastEventTimestamp"] = last if youngest is None else max(youngest, last)
    stream["lastIngestionTime"] = new[-1]["ingestionTime"]
    stream["_bytes"] = stream.get("_bytes", 0) + sum(size_of(event["message"]) for event in new)


def new_stream() -> Stream:
    return {
        "events": [],
        "uploadSequenceToken": "1",
        "creationTime": int(time.time() * 1000),
        "firstEventTimestamp": None,
        "lastEventTimestamp": None,
        "lastIngestionTime": None,
    }


def after(events: list[Event], start: Position) -> int:
    """Index of the first event that stands after a position."""
    return bisect_right(events, start, key=position)


def merged(streams: dict[str, Stream], start: Position, until: int | None) -> Iterator[tuple[Event, str]]:
    """(event, stream name) of all these streams after a position, up to and with `until` milliseconds, in order.

    Only what is taken from it is looked at, whatever the streams hold.
    """

    def one(name: str, events: list[Event], at: int, size: int) -> Iterator[tuple[Event, str]]:
        for index in range(at, size):
            event = events[index]
            if until is not None and event["timestamp"] > until:
                return
            yield event, name

    parts = []
    for name, stream in streams.items():
        events = stream["events"]
        if events and position(events[-1]) > start:
            parts.append(one(name, events, after(events, start), len(events)))
    return parts[0] if len(parts) == 1 else merge(*parts, key=lambda found: position(found[0]))


def merged_back(streams: dict[str, Stream], floor: Position, before: Position) -> Iterator[tuple[Event, str]]:
    """As merged(), the latest first: what stands before one position and after another."""

    def one(name: str, events: list[Event], at: int) -> Iterator[tuple[Event, str]]:
        for index in range(at - 1, -1, -1):
            event = events[index]
            if position(event) <= floor:
                return
            yield event, name

    parts = []
    for name, stream in streams.items():
        events = stream["events"]
        parts.append(one(name, events, bisect_left(events, before, key=position)))
    return merge(*parts, key=lambda found: position(found[0]), reverse=True)
