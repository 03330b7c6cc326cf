# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The live line on a real pseudo terminal (issue 8): it comes and goes, and nothing printed is ever damaged."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.plugin_utils.live_screen import Screen, cut, width
from ansible_collections.papyrus.ops.tests.unit import pty_screen
from ansible_collections.papyrus.ops.tests.unit.pty_screen import Terminal


class Stand:
    """A screen on a terminal, with a stream that writes there as sys.stdout does."""

    def __init__(self, columns: int = 80, unbuffered: bool = False) -> None:
        self.terminal = Terminal(columns)
        fd = os.dup(self.terminal.slave)
        self.stream: Any = os.fdopen(fd, "w", encoding="utf-8", buffering=1)
        if unbuffered:  # PYTHONUNBUFFERED
            self.stream = io.TextIOWrapper(os.fdopen(os.dup(fd), "wb", 0), "utf-8", write_through=True)
        self.live = Screen(threading.RLock(), [self.stream])
        self.seen = pty_screen.Screen(columns)

    def look(self) -> list[str]:
        return self.seen.feed(self.terminal.read()).text

    def close(self) -> None:
        self.live.close()
        self.terminal.close()


@pytest.fixture(params=[False, True], ids=["buffered", "unbuffered"])
def stand(request: pytest.FixtureRequest) -> Iterator[Stand]:
    made = Stand(unbuffered=request.param)
    yield made
    made.close()


def test_the_line_is_painted_in_place_and_gone_before_anything_is_printed(stand: Stand) -> None:
    stand.stream.write("TASK [one]\n")
    for text in ("a long first line of progress", "short", "another"):
        stand.live.paint(text)
        assert stand.look() == ["TASK [one]", text]
    stand.stream.write("ok: [prd]\n")
    assert stand.look() == ["TASK [one]", "ok: [prd]", ""]
    stand.live.paint("again " * 9)
    stand.live.close()
    stand.stream.write("PLAY RECAP\n")
    assert stand.look() == ["TASK [one]", "ok: [prd]", "PLAY RECAP", ""]


def test_print_and_bytes_and_several_lines_are_left_whole(stand: Stand) -> None:
    stand.live.paint("x" * 70)
    print("one", "two", sep="\n", file=stand.stream)
    stand.live.paint("x" * 70)
    stand.stream.buffer.write(b"three\n")
    if isinstance(stand.stream.buffer, io.BufferedWriter):
        stand.live.paint("never over what is not out yet")
    stand.stream.flush()
    stand.live.paint("x" * 70)
    stand.stream.write("four\n")
    assert stand.look() == ["one", "two", "three", "four", ""]
    assert not any("never" in state for state in stand.seen.states)


def test_a_line_that_somebody_has_begun_is_not_painted_over(stand: Stand) -> None:
    stand.stream.write("password: ")
    stand.stream.flush()
    stand.live.paint("progress")
    assert stand.look() == ["password:"]
    stand.stream.write("\n")
    stand.live.paint("progress")
    assert stand.look() == ["password:", "progress"]


@pytest.mark.parametrize("columns", [1, 2, 10, 33, 80])
@pytest.mark.parametrize("text", ["plain " * 30, "表示される進捗" * 10, "e\u0301" * 60, "aが" * 40])
def test_a_narrow_terminal_cuts_the_line_so_that_it_never_wraps(columns: int, text: str) -> None:
    stand = Stand(columns)
    stand.live.paint(text)
    assert len(stand.look()) == 1
    kept = stand.look()[0].rstrip("…")
    assert text.startswith(kept)
    assert sum(map(width, stand.look()[0])) < columns, "the last column stays free"
    assert columns < 10 or kept == text or sum(map(width, kept)) >= columns - 4
    stand.stream.write("printed\n"[:columns] + "\n")
    assert "…" not in "".join(stand.look())
    stand.close()


def test_widths() -> None:
    assert [width(each) for each in ("e", "\u0301", "漢", "\u200d", "Ａ", "é")] == [1, 0, 2, 0, 2, 1]


def test_what_fits_is_not_cut() -> None:
    assert [cut("abc", 3), cut("abcd", 3), cut("漢字", 4), cut("漢字", 3), cut("x", 0)] == [
        "abc",
        "ab…",
        "漢字",
        "漢…",
        "",
    ]


def test_a_resized_terminal_is_asked_each_time(stand: Stand) -> None:
    stand.live.paint("y" * 79)
    stand.terminal.resize(20)
    stand.live.paint("z" * 79)
    assert "z" * 18 + "…" in stand.terminal.read().decode()


def test_a_terminal_that_takes_nothing_holds_nobody_up(stand: Stand) -> None:
    began = time.monotonic()
    for number in range(2000):
        stand.live.paint(f"{number} " + "x" * 60)
    assert time.monotonic() - began < 10
    assert os.get_blocking(stand.stream.fileno()), "the shell's own terminal stays as it is"


def test_only_a_terminal_gets_a_line(tmp_path: Any) -> None:
    with (tmp_path / "out").open("w") as file, pytest.raises(OSError):
        Screen(threading.RLock(), [file])


def test_a_terminal_that_is_gone_is_an_error_of_painting_and_not_of_printing(stand: Stand) -> None:
    stand.live.paint("x")
    os.close(stand.terminal.master)
    with pytest.raises(OSError):
        stand.live.paint("y")
    stand.live.clear_before_others()
    stand.live.close()
    stand.live.close()


def test_the_streams_are_as_before_when_it_is_closed(stand: Stand) -> None:
    assert "watched" in stand.stream.buffer.write.__name__
    stand.live.close()
    assert "watched" not in stand.stream.buffer.write.__name__
