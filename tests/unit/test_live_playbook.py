"""The callback papyrus.ops.live in real playbooks (issue 8): on a terminal, without one, interrupted."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.tests.unit.pty_screen import Screen, Terminal

CHECKOUT = Path(__file__).resolve().parents[2]
PLAYBOOK = CHECKOUT / "tests" / "unit" / "live_playbook.yml"
PATIENCE = 120.0
"""Seconds for what takes three on a machine with nothing else to do."""
WAITING = "Ask a service that is not there  0:0"


class Play:
    """ansible-playbook under way; on a terminal of its own, as from a shell, unless it is told to write to a file."""

    def __init__(self, folder: Path, seconds: int = 3, terminal: bool = True, **environment: str) -> None:
        self.folder, self.recorded = folder, b""
        folder.mkdir(exist_ok=True)
        (folder / "hosts").write_text("prd ansible_connection=local ansible_python_interpreter=auto_silent\n")
        own = ("ANSIBLE_", "PAPYRUS_", "CI", "NO_COLOR", "PYTHONUNBUFFERED")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        inherited |= {
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
            "TERM": "xterm",
        }
        self.terminal = Terminal(80) if terminal else None
        output: Any = self.terminal.slave if self.terminal else (folder / "output").open("wb")
        self.process = subprocess.Popen(
            [
                str(CHECKOUT / ".venv" / "bin" / "ansible-playbook"), "-i", str(folder / "hosts"), str(PLAYBOOK),
                "-e", json.dumps({"folder": str(folder), "seconds": seconds}),
            ],
            cwd=CHECKOUT, env=inherited | environment, stdin=output if terminal else subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=self.terminal.become_controlling if self.terminal else None,
        )  # fmt: skip

    @property
    def output(self) -> str:
        if self.terminal is None:
            return (self.folder / "output").read_text("utf-8")
        self.recorded += self.terminal.read()
        return self.recorded.decode("utf-8", "replace")

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s:\n{self.output[-3000:]}"
            time.sleep(0.02)

    def end(self) -> int:
        """Its exit code; nothing of it is left."""
        self.wait_for(lambda: (self.output, self.process.poll() is not None)[1], "its end")
        self.wait_for(lambda: not self.processes(), "the end of all that it has started")
        return self.process.returncode

    def processes(self) -> list[int]:
        """The processes with its folder in their command line or environment, but for itself."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                told = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in told and int(path.name) not in (os.getpid(), self.process.pid):
                found.append(int(path.name))
        return found

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.terminal:
            self.terminal.close()


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Callable[..., Play]]:
    made: list[Play] = []

    def start(*given: Any, **more: Any) -> Play:
        made.append(Play(tmp_path / str(len(made)), *given, **more))
        return made[-1]

    yield start
    for each in made:
        each.close()


def items(folder: Path) -> list[tuple[str, str, str]]:
    [manifest] = (folder / "runs").glob("*/manifest.jsonl")
    return [(line["name"], line["status"], line["step"]) for line in map(json.loads, manifest.open())]


def test_L1_on_a_terminal_the_line_comes_and_goes_and_a_table_ends_it(play: Callable[..., Play]) -> None:
    run = play()
    run.wait_for(lambda: WAITING in run.output, "the line")
    threads = {pid: len(os.listdir(f"/proc/{pid}/task")) for pid in run.processes()}
    assert threads and set(threads.values()) == {1}, "a worker or module has a thread"
    os.kill(run.process.pid, signal.SIGSTOP)
    run.recorded += run.terminal.read(0.5)
    os.kill(run.process.pid, signal.SIGCONT)
    assert run.end() == 0
    screen = Screen(80).feed(run.recorded)
    shown = [state for state in screen.states if state.startswith("Ask a service")]
    assert any(re.fullmatch(r"Ask a service that is not there  0:\d\d  127\.0\.0\.1:9: .*", each) for each in shown)
    assert len(set(shown)) > 1 and all(len(each) < 80 for each in shown)
    text = "\n".join(screen.text)
    assert not any(WAITING in row for row in screen.text), "the line is gone"
    assert text.index("PLAY RECAP") < text.index("VERDICT") < text.index("FAILED  prd  svc  ")
    [bundle] = (run.folder / "runs").iterdir()
    assert f"evidence: {bundle}" in text.replace("\n", "")
    plain = play(terminal=False, PAPYRUS_OPS_LIVE_MODE="off")
    assert plain.end() == 0 and "VERDICT" not in plain.output
    assert items(run.folder) == items(plain.folder)
    assert "\x1b" not in plain.output and "[prd] [" not in plain.output


def test_L1_without_a_terminal_a_plain_line_tells_what_is_waited_for(play: Callable[..., Play]) -> None:
    run = play(terminal=False)
    run.wait_for(lambda: "[prd] [" in run.output, "a line")
    assert run.process.poll() is None, "it comes only when everything is over"
    assert run.end() == 0
    [line] = [line for line in run.output.splitlines() if line.startswith("[prd] [")]
    assert re.fullmatch(r"\[prd\] \[ +\d+ s\] 127\.0\.0\.1:9: .*", line)
    assert run.output.count("\r") == 0 and "FAILED  prd  svc  " in run.output


def interrupted(play: Callable[..., Play], delay: float, how: str) -> None:
    run = play(60)
    run.wait_for(lambda: "TASK [Open the run]" in run.output, "its first task")
    time.sleep(delay)
    if how == "Ctrl-C":
        os.write(run.terminal.master, b"\x03")
    else:
        os.kill(run.process.pid, signal.SIGTERM)
    began = time.monotonic()
    code = run.end()
    assert code in (99, -signal.SIGTERM), run.output[-2000:]
    assert time.monotonic() - began < 30, f"{how} after {delay:.2f} s took {time.monotonic() - began:.1f} s"
    run.close()


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_C6_an_interrupt_ends_it_at_once(play: Callable[..., Play], how: str) -> None:
    interrupted(play, 2.0, how)


@pytest.mark.soak
def test_C6_no_interrupt_at_any_time_makes_it_hang(play: Callable[..., Play]) -> None:
    chance = random.Random(8)
    for _number in range(60):
        interrupted(play, chance.uniform(0.0, 4.0), chance.choice(["Ctrl-C", "SIGTERM"]))
