"""What the sandbox writes down of itself, its log and its record of calls: useful, and bounded."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import recording
from sandbox.logfile import BoundedHandler
from sandbox.recording import Recording, without_secrets
from tests.sandbox.support import CHECKOUT, PYTHON, Sandbox

WRITER = """
import logging, pathlib, sys
from sandbox import logfile
logfile.configure(pathlib.Path(sys.argv[1]))
for name in ("sandbox.tasks", "persistence"):
    logging.getLogger(name).info("info of %s", name)
    logging.getLogger(name).warning("warning of %s", name)
"""


def handler(file: Path, largest: int) -> logging.Logger:
    logger = logging.Logger("test")
    logger.addHandler(BoundedHandler(file.open("a"), file, largest))
    return logger


def test_the_log_is_moved_aside_when_it_has_grown_and_goes_on_through_the_same_descriptor(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.log"
    logger = handler(file, largest=200)
    with file.open("a") as somebody_else:
        for number in range(100):
            logger.warning("line %d of the log", number)
        print("a traceback", file=somebody_else)
    kept = file.read_text()
    assert kept.endswith("a traceback\n")
    assert "\0" not in kept
    assert file.stat().st_size < 400
    before = (tmp_path / "sandbox.log.1").read_text()
    assert before.splitlines()[-1].startswith("line ")
    assert len(before) < 400


def test_a_stream_that_is_not_the_file_leaves_the_file_alone(tmp_path: Path) -> None:
    file, other = tmp_path / "sandbox.log", tmp_path / "terminal"
    file.write_text("of before\n")
    logger = logging.Logger("test")
    logger.addHandler(BoundedHandler(other.open("a"), file, 10))
    logger.warning("more than ten bytes")
    assert file.read_text() == "of before\n"
    assert "more than" in other.read_text()


def test_the_sandbox_is_heard_and_the_emulator_only_when_something_is_wrong(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PYTHON), "-c", WRITER, str(tmp_path / "log")], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert [line.partition(": ")[2] for line in done.stdout.splitlines()] == [
        "info of sandbox.tasks",
        "warning of sandbox.tasks",
        "warning of persistence",
    ]


def test_the_log_tells_of_the_start_and_not_of_every_save(sandbox: Sandbox) -> None:
    sandbox.client("sns").create_topic(Name="to-be-saved")
    text = (sandbox.root / ".sandbox" / "sandbox.log").read_text()
    assert f"INFO sandbox: up at {sandbox.endpoint}" in text
    assert "Persistence" not in text


def record(calls: Recording, name: str) -> None:
    calls.add(
        service="ecs",
        operation="ListTasks",
        parameters={"cluster": name},
        status=200,
        error_code=None,
        access_key_id="test",
        user_agent="",
    )


def test_the_record_of_calls_is_bounded_in_memory_and_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "KEPT", 5)
    monkeypatch.setattr(recording, "FILE_BYTES", 2_000)
    calls = Recording(tmp_path / "calls.jsonl")
    for number in range(100):
        record(calls, f"c{number}")
    assert [call["n"] for call in calls.after(0)] == [96, 97, 98, 99, 100]
    assert [call["n"] for call in calls.after(-2)] == [99, 100]
    assert sorted(os.listdir(tmp_path)) == ["calls.1.jsonl", "calls.jsonl"]
    files = [tmp_path / "calls.1.jsonl", tmp_path / "calls.jsonl"]
    assert all(file.stat().st_size < 2_500 for file in files)
    numbers = [json.loads(line)["n"] for file in files for line in file.read_text().splitlines()]
    assert numbers == list(range(numbers[0], 101))


def test_one_large_call_is_recorded_small() -> None:
    events = [{"timestamp": number, "message": "x" * 10_000} for number in range(10_000)]
    clean = without_secrets({"logEvents": events})
    assert len(clean["logEvents"]) == recording.LONGEST_LIST + 1
    assert clean["logEvents"][-1] == "… (10000 items)"
    assert sys.getsizeof(json.dumps(clean)) < 1_000_000
