# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is kept of a command's output: bounds, secrets, recordings (N3, J2)."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _cast, _exec_files, _exec_output
from ansible_collections.papyrus.ops.plugins.module_utils._exec_output import Piece, Recorder
from ansible_collections.papyrus.ops.plugins.module_utils._exec_types import Command, ExecResult, Files, Target
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from hypothesis import given, settings
from hypothesis import strategies as st

SECRET = b"the-password-nobody-may-see"


def redactor() -> Redactor:
    made = Redactor()
    made.add("password", SECRET)
    return made


def recorded(parts: list[bytes], limit: int = 10_000, gap: float = 1.0) -> Recorder:
    recorder = Recorder(limit, lambda: 0.0)
    recorder.start()
    for number, part in enumerate(parts):
        recorder.write(part, number * gap)
    return recorder


def test_N3_output_within_the_limit_is_whole_and_has_its_times() -> None:
    final = recorded([b"one", b"two"]).final(None, 2.0)
    assert (final.data, final.total, final.truncated, final.cut_note) == (b"onetwo", 6, False, "")
    assert final.pieces == [Piece(0.0, b"one"), Piece(1.0, b"two")]


@pytest.mark.parametrize("limit", [0, 1, 5, 10])
def test_N3_beyond_the_limit_it_is_counted_and_said(limit: int) -> None:
    final = recorded([b"0123456789", b"abc"], limit).final(None, 1.0)
    assert final.data == b"0123456789abc"[:limit]
    assert final.total == 13
    assert final.truncated
    assert "13 bytes in all" in final.cut_note


def test_N3_memory_does_not_grow_with_output() -> None:
    recorder = Recorder(100_000, lambda: 0.0)
    recorder.start()
    tracemalloc.start()
    for number in range(20_000):
        recorder.write(b"x" * 10_000, number * 0.02)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert recorder.total == 200_000_000
    assert used < 1_000_000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=80), st.integers(0, 60), st.integers(0, 60))
def test_N3_a_secret_cut_between_pieces_is_redacted_in_each_of_them(sizes: list[int], before: int, after: int) -> None:
    text = b"a" * before + SECRET + b"\n" + b"b" * after + SECRET
    pieces, position = [], 0
    for number, size in enumerate(sizes):
        pieces.append(Piece(float(number), text[position : position + size]))
        position += size
    pieces.append(Piece(float(len(sizes)), text[position:]))
    made = redactor()
    result = _exec_output.redacted(pieces, made)
    joined = b"".join(piece.data for piece in result)
    assert joined == made.redact(text)
    assert SECRET not in joined
    assert [piece.at for piece in result] == sorted(piece.at for piece in result)


def test_N3_redaction_leaves_the_timing_of_other_pieces() -> None:
    parts = [b"line %d\n" % number for number in range(20)]
    parts[7:7] = [b"pw " + SECRET[:9], SECRET[9:15], SECRET[15:] + b"\n"]
    result = _exec_output.redacted([Piece(float(n), part) for n, part in enumerate(parts)], redactor())
    assert len(result) >= 20
    assert b"".join(piece.data for piece in result).count(b"[redacted:password:") == 1


@pytest.mark.parametrize("limit", range(0, 60, 7))
def test_N3_a_secret_at_the_cut_is_not_shown_in_part(limit: int) -> None:
    final = recorded([b"0123456789" + SECRET + b"x" * 9000], limit).final(redactor(), 1.0)
    assert final.truncated
    for length in range(6, len(SECRET)):
        assert SECRET[:length] not in final.data


@pytest.mark.parametrize("limit", [0, 40, 1000, 1050, 1199, 1200])
def test_N3_only_whole_secrets_are_redacted_into_what_is_shown(limit: int) -> None:
    made, secret = Redactor(), bytes(65 + number * 7 % 26 for number in range(200))
    made.add("password", secret)
    final = recorded([secret * 1000], limit).final(made, 1.0)
    assert final.data == made.token("password", secret) * (limit // 200)
    assert b"".join(piece.data for piece in final.pieces) == final.data


def test_J2_a_recording_is_asciicast_v2_with_whole_characters() -> None:
    word = "né🦉".encode()
    pieces = [(0.5, word[:2]), (1.0, word[2:5]), (0.9, word[5:] + b"\n"), (2.0, b"\xff")]
    lines = [json.loads(line) for line in _cast.lines(pieces, columns=80, rows=24, timestamp=7, command="c", title="t")]
    assert lines[0]["version"] == 2
    assert (lines[0]["width"], lines[0]["height"], lines[0]["timestamp"]) == (80, 24, 7)
    assert "".join(event[2] for event in lines[1:]) == "né🦉\r\n\ufffd"
    assert all(event[1] == "o" for event in lines[1:])
    times = [event[0] for event in lines[1:]]
    assert times == sorted(times)


def result(**changes: object) -> ExecResult:
    made = ExecResult("exited", "exit code 7", rc=7, task_arn="arn:task", container="app", session_id="s-1")
    made.started_at, made.ended_at = "2026-01-31T12:00:00.000000Z", "2026-01-31T12:00:01.000000Z"
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def test_J1_the_transcript_has_what_an_auditor_asks_for_and_then_the_output(tmp_path: Path) -> None:
    files = Files(log=tmp_path / "x_exec.log", cast=tmp_path / "x_cli.cast")
    final = recorded([b"raw \xff\n", b"y" * 50], limit=20).final(None, 1.0)
    _exec_files.write(files, "psql\n-c 'x'", result(), final, None)
    head, dummy, output = (tmp_path / "x_exec.log").read_bytes().partition(b"\n\n")
    for line in (
        b"command:    psql\n            -c 'x'",
        b"task:       arn:task",
        b"container:  app",
        b"started:    2026-01-31T12:00:00.000000Z",
        b"ended:      2026-01-31T12:00:01.000000Z",
        b"exit code:  7",
        b"output:     56 bytes",
    ):
        assert line in head
    assert (
        output == b"raw \xff\n" + b"y" * 14 + b"\n[papyrus.ops: output cut here, the command wrote 56 bytes in all]\n"
    )
    assert "output cut here" in (tmp_path / "x_cli.cast").read_text("utf-8").splitlines()[-1]


def test_J1_a_transcript_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        _exec_files.check(Files(log=tmp_path / "nowhere" / "x.log"))


def test_N3_bytes_that_are_no_text_are_in_the_result_as_well() -> None:
    assert result(output=b"text").as_dict()["stdout_base64"] is None
    assert result(output=b"\xff").as_dict()["stdout_base64"] == "/w=="
    assert result(output=b"\xff").as_dict()["stdout"] == "\ufffd"


def test_N3_stdin_is_not_shown_with_its_command() -> None:
    assert "secret" not in repr(Command("x", stdin=b"secret"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Target("c"), "either a task or a service"),
        (lambda: Target("c", service="s", task="t"), "either a task or a service"),
        (Command, "either"),
        (lambda: Command("x", argv=("y",)), "either"),
        (lambda: Command("a\0b"), "NUL"),
        (lambda: Command("x", timeout=0), "more than 0"),
        (lambda: Command("x", max_output=-1), "negative"),
    ],
)
def test_N3_what_makes_no_sense_is_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=says):
        make()
