# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What modules tell while they run (issue 8): nothing when nobody looks, nothing with a secret, and no error ever."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _progress, _results
from ansible_collections.papyrus.ops.plugins.module_utils._poller import Done, GoOn, poll
from ansible_collections.papyrus.ops.plugins.module_utils._progress import LONGEST, PROGRESS, VARIABLE, Progress
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.tests.unit.told import Told

SECRET = "hunter2-hunter2"


def opened(clean: object = str) -> Progress:
    progress = Progress()
    progress.open(clean)
    return progress


def test_each_text_is_a_whole_line_and_the_same_wait_is_told_once_until_something_happens(told: Told) -> None:
    progress = opened()
    for text in ("waits", "waits", "", "waits on", "waits on"):
        progress.now(text)
    progress.line("a step\nand more")
    progress.now("waits on")
    assert told.all == [{"now": "waits"}, {"now": "waits on"}, {"line": "a step\nand more"}, {"now": "waits on"}]


def test_nothing_is_told_before_there_is_somebody_who_takes_the_secrets_out(told: Told) -> None:
    Progress().line(SECRET)
    assert told.all == []


def test_secrets_are_taken_out_and_what_a_terminal_would_obey(told: Told) -> None:
    progress = opened(lambda text: text.replace(SECRET, "[redacted]"))
    progress.line(f"{SECRET}\x1b[2J")
    progress.now(f"{SECRET}\u202e")
    assert told.all == [{"line": "[redacted]\\x1b[2J"}, {"now": "[redacted]\\u202e"}]


def test_a_redactor_that_fails_lets_nothing_through(told: Told) -> None:
    def clean(text: str) -> str:
        raise ValueError(text)

    opened(clean).line(SECRET)
    assert told.all == []


def test_every_module_that_redacts_its_results_tells_with_what_its_run_knows(told: Told, tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "password", SECRET)
    module = SimpleNamespace(params={"private": str(tmp_path)}, exit_json=None, fail_json=None)
    _results.redact_results(module)
    PROGRESS.line(f"refused: {SECRET}")
    assert told.text.startswith("refused: [redacted:password:")


def test_the_poller_tells_why_it_goes_on(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    PROGRESS.open(str)
    seen = iter(["initial", "initial", "unhealthy", "healthy"])
    poll(
        lambda: next(seen),
        lambda state: Done() if state == "healthy" else GoOn(f"it is {state}"),
        timeout=10, interval=1, clock=lambda: 0.0, sleep=lambda seconds: None,
    )  # fmt: skip
    assert told.all == [{"now": "it is initial"}, {"now": "it is unhealthy"}]


def test_without_the_callback_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    progress = opened()
    progress.line("a line")
    progress.now("waits")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_gone_is_not_made_again(told: Told) -> None:
    progress = opened()
    told.path.unlink()
    progress.line("nobody looks any more")
    assert not told.path.exists()


def test_no_link_is_followed(told: Told, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    told.path.unlink()
    told.path.symlink_to(other)
    opened().line("a line")
    assert other.read_bytes() == b""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_no_error_of_the_disk_reaches_the_module(told: Told, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_progress.os, "write", write)
    progress = opened()
    progress.line("a line")
    monkeypatch.undo()
    progress.line("it is not tried again")
    assert told.all == []


def test_a_text_has_an_end_and_may_hold_anything(told: Told) -> None:
    progress = opened()
    progress.line("x" * 3 * LONGEST)
    progress.line("\udcff")
    assert [len(text) for text in told.lines] == [LONGEST, len("\\udcff")]
