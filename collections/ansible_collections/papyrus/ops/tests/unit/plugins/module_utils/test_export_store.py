# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An export on disk: ended at any system call, on a full disk, beside another one, damaged (K1)."""

from __future__ import annotations

import errno
import functools
import gzip
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _export_store
from ansible_collections.papyrus.ops.plugins.module_utils._cloudtrail_source import cloudtrail_filter
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused
from ansible_collections.papyrus.ops.tests.unit.export_world import (
    DAY,
    NOW,
    History,
    Killed,
    Ran,
    SimClock,
    asked,
    event,
    lines,
    run,
    spread,
)

CALLS = ("write", "fsync", "ftruncate", "rename", "replace", "link", "unlink", "mkdir")
COUNT = 130
RULE = cloudtrail_filter("odd", sources=["odd"])
SPAN = asked(NOW - 4 * 3600, NOW)
EVENTS = [event(n, NOW - 4 * 3600 + 110 * n, eventSource="odd.x" if n % 2 else "even.x") for n in range(COUNT)]


def exported(root: Path, source: History | None = None, **how: Any) -> Ran:
    return run(source or History(EVENTS, SimClock(), page=20), root, SPAN, criterion=RULE, **how)


def whole(ran: Ran) -> bool:
    """Whether everything is there, once, and nothing else in the folder."""
    assert ran.outcome is not None
    folder = ran.outcome.folder
    report = json.loads((folder / "completeness.json").read_text())
    full, odd = (lines(folder / file["name"]) for file in report["files"])
    return (
        sorted(line["number"] for line in full) == list(range(COUNT))
        and odd == [line for line in full if line["number"] % 2]
        and [file["lines"] for file in report["files"]] == [COUNT, COUNT // 2]
        and sum(window["events"] for window in report["windows"]) == COUNT
        and {path.name for path in folder.iterdir()} == {"completeness.json", *(one["name"] for one in report["files"])}
    )


class Calls:
    """Counts system calls that change the disk; what `at` says becomes of the one with that number."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, number: int, at: Callable[[str, tuple[Any, ...]], None]
    ) -> None:
        self.made = 0
        self.number = number
        self.at = at
        for name in CALLS:
            monkeypatch.setattr(os, name, functools.partial(self._call, name, getattr(os, name)))

    def _call(self, name: str, real: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        self.made += 1
        if self.made == self.number:
            self.at(name, arguments)
        return None if name == "fsync" else real(*arguments, **named)


def killed_half_way(name: str, arguments: tuple[Any, ...]) -> None:
    """What a kill can leave: half of a write is on disk, other calls were not made."""
    if name == "write":
        with os.fdopen(os.dup(arguments[0]), "wb") as file:
            file.write(bytes(arguments[1])[: len(arguments[1]) // 2])
    raise Killed


def full(name: str, arguments: tuple[Any, ...]) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(name="total")
def _total(tmp_path: Path) -> int:
    """System calls of a whole export."""
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch, 0, full)
        assert whole(exported(tmp_path / "never"))
        return calls.made


def test_K1_an_export_that_ends_at_any_system_call_is_gone_on_with(tmp_path: Path, total: int) -> None:
    requests = len(exported(tmp_path / "never").flights.started)
    assert total > 50
    for number in range(1, total + 1):
        root = tmp_path / str(number)
        source = History(EVENTS, SimClock(), page=20)
        with pytest.MonkeyPatch.context() as patch:
            Calls(patch, number, killed_half_way)
            try:
                ran = exported(root, source)
            except Killed:
                ran = Ran(None, None)
        begun = [path for path in root.iterdir() if not path.name.startswith(".")] if root.exists() else []
        finished = [path for path in begun if (path / "completeness.json").exists()]
        if not finished:
            source.clock.sleep(60)
            ran = exported(root, source)
            assert whole(ran), f"killed at call {number} of {total}"
            assert ran.outcome is not None
            assert not begun or ran.outcome.folder == begun[0], f"killed at call {number} of {total}"
            assert len(source.asked) <= requests + 2, f"killed at call {number} of {total}"
        else:
            names = [file["name"] for file in json.loads((finished[0] / "completeness.json").read_text())["files"]]
            found = lines(finished[0] / names[0])
            assert sorted(line["number"] for line in found) == list(range(COUNT))


def test_K1_a_disk_that_is_full_stops_the_export_and_loses_nothing(tmp_path: Path, total: int) -> None:
    stopped = 0
    for number in range(1, total + 1, 3):
        root = tmp_path / str(number)
        source = History(EVENTS, SimClock(), page=20)
        with pytest.MonkeyPatch.context() as patch:
            Calls(patch, number, full)
            try:
                ran = exported(root, source)
            except ExportRefused as refused:
                assert "No space left on device" in str(refused)
                assert source.asked == []
            else:
                assert ran.outcome is not None
                stopped += ran.outcome.reason.endswith("No space left on device")
        if not list(root.glob("*/completeness.json")):
            assert whole(exported(root, source)), f"full at call {number} of {total}"
    assert stopped > 10


def _hold(root: Path, ready: Any, go: Any) -> None:
    class Waiting(History):
        def ask(self, unit: Any, token: str) -> Any:
            ready.set()
            go.wait(30)
            return super().ask(unit, token)

    exported(root, Waiting(EVENTS, SimClock(), page=20))


@pytest.fixture(name="other")
def _other(tmp_path: Path) -> Iterator[Any]:
    """Another process that exports below the same folder, and waits."""
    context = multiprocessing.get_context("fork")
    ready, go = context.Event(), context.Event()
    process = context.Process(target=_hold, args=[tmp_path / "root", ready, go])
    process.start()
    assert ready.wait(30)
    yield go
    go.set()
    process.join(30)
    assert process.exitcode == 0


def test_K1_who_wants_to_export_into_a_folder_that_another_writes_is_refused(tmp_path: Path, other: Any) -> None:
    root = tmp_path / "root"
    (folder,) = root.iterdir()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    source = History(EVENTS, SimClock(), page=20)
    with pytest.raises(ExportRefused, match=f"another export writes into {folder}"):
        exported(root, source)
    assert source.asked == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # A new one beside it is not in anybody's way.
    assert whole(exported(root, source, resume=False))
    other.set()


def test_K1_an_export_in_another_folder_of_this_process_does_not_lose_the_lock(tmp_path: Path, other: Any) -> None:
    """POSIX locks go with any descriptor of the file: looking for unfinished exports must not open it."""
    root = tmp_path / "root"
    (folder,) = root.iterdir()
    request = json.loads((folder / _export_store.REQUEST).read_text())["request"]
    for _time in range(2):
        assert _export_store.unfinished(root, request) == folder
        with pytest.raises(ExportRefused, match="another export"), _export_store.opened(folder):
            pass
    other.set()


@pytest.mark.parametrize("left", [[], [_export_store.JOURNAL], [_export_store.JOURNAL, _export_store.REQUEST]])
def test_K1_somebody_who_finishes_while_the_other_opens_is_no_error(tmp_path: Path, left: list[str]) -> None:
    exported(tmp_path, stop_after=6)
    (folder,) = tmp_path.iterdir()
    kept = {name: (folder / name).read_bytes() for name in left}
    assert whole(exported(tmp_path))
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(_export_store.Finished), _export_store.opened(folder):
        pass
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["torn", "no-json", "no-object", "ahead"])
def test_K1_what_the_journal_does_not_vouch_for_is_asked_again(tmp_path: Path, damage: str) -> None:
    source = History(EVENTS, SimClock(), page=20)
    exported(tmp_path, source, stop_after=6)
    (folder,) = tmp_path.iterdir()
    journal = folder / _export_store.JOURNAL
    text = journal.read_bytes()
    (part,) = folder.glob("*Z.jsonl.gz.part")
    if damage == "ahead":  # the journal came to the disk, the file did not
        os.truncate(part, part.stat().st_size - 10)
    else:
        more = {"torn": text.splitlines()[-1][:-7], "no-json": b"\0" * 90_000 + b"\n", "no-object": b"[1]\n"}[damage]
        journal.write_bytes(text + more)
        with part.open("ab") as file:
            file.write(b"behind the end" * 10_000)
    with _export_store.opened(folder) as (_request, store):
        store.open(str)
        assert text.startswith(journal.read_bytes())
    exported(tmp_path, source, stop_after=1)  # what was behind the last line must not come back
    ran = exported(tmp_path, source)
    assert whole(ran)
    assert ran.outcome is not None
    assert ran.outcome.resumed is True


def test_K1_a_file_that_was_damaged_between_two_attempts_is_not_called_complete(tmp_path: Path) -> None:
    source = History(EVENTS, SimClock(), page=20)
    exported(tmp_path, source, stop_after=6)
    (part,) = tmp_path.glob("*/*Z.jsonl.gz.part")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 0xFF
    part.write_bytes(data)
    ran = exported(tmp_path, source)
    assert ran.outcome is not None
    assert (ran.outcome.complete, f"{part} was damaged" in ran.outcome.reason) == (False, True)
    assert not list(tmp_path.glob("*/completeness.json"))


def test_K1_folders_and_files_of_others_below_the_root_are_left_alone(tmp_path: Path) -> None:
    theirs = {
        "20260101T000000Z/completeness.json": "{}",
        "20260101T000001Z/.request.json": "no json",
        "20260101T000002Z/.request.json": "[1]",
        "20260101T000003Z/notes.txt": "mine",
        "README.md": "about",
        "20260202T120000Z/kept": "taken name",
    }
    for name, text in theirs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    ran = exported(tmp_path)
    assert whole(ran)
    assert ran.outcome is not None
    assert ran.outcome.folder.name == "20260202T120000Z-2"
    assert ran.outcome.files[0]["name"] == "cloudtrail_events_20260202T120000Z.jsonl.gz"
    assert {name: (tmp_path / name).read_text() for name in theirs} == theirs


def test_K1_every_checkpoint_leaves_a_whole_gzip_file(tmp_path: Path) -> None:
    """What is there of an export that goes on can be read, by anybody."""
    source = History(EVENTS, SimClock(), page=20)
    read = []
    ask = source.ask

    def watched(unit: Any, token: str) -> Any:
        for path in tmp_path.glob("*/*Z.jsonl.gz.part"):
            read.append(len(gzip.decompress(path.read_bytes()).splitlines()))
        return ask(unit, token)

    source.ask = watched
    exported(tmp_path, source)
    assert read == sorted(read)
    assert read[-1] > 100


def test_K1_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    source = History(EVENTS, SimClock(), page=20)
    exported(tmp_path / "root", source, stop_after=6)
    (part,) = (tmp_path / "root").glob("*/*Z.jsonl.gz.part")
    victim = tmp_path / "victim"
    victim.write_bytes(part.read_bytes() + b"more")
    part.unlink()
    part.symlink_to(victim)
    before = victim.read_bytes()
    ran = exported(tmp_path / "root", source)
    assert ran.outcome is not None
    assert ran.outcome.complete is False
    assert victim.read_bytes() == before


def test_K1_the_plan_of_many_units_is_kept_and_of_an_unfinished_plan_nothing(tmp_path: Path) -> None:
    source = History(spread(50, NOW - DAY, NOW), SimClock())
    run(source, tmp_path, asked(NOW - DAY, NOW), criterion=RULE, stop_after=0)
    (folder,) = tmp_path.iterdir()
    journal = folder / _export_store.JOURNAL
    plan, planned = journal.read_bytes().splitlines(keepends=True)[:2]
    assert json.loads(planned) == {"planned": 25}
    journal.write_bytes(plan)
    later = asked(NOW - 2 * DAY, NOW)
    assert len(source.units(later.start, later.end)) == 49
    run(source, tmp_path, asked(NOW - DAY, NOW), criterion=RULE, stop_after=3)
    ran = run(source, tmp_path, asked(NOW - DAY, NOW), criterion=RULE)
    assert ran.outcome is not None
    assert (ran.outcome.folder, ran.outcome.report["counts"]["units_done"]) == (folder, 25)
    assert len(ran.whole) == 50
