# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How processes are started: apart from the terminal, without input, with the given environment, and ended whole."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._processes import PRIVATE_UMASK, Child, ask, bare_environment

SELF = """
import json, os, sys
print(json.dumps({"input": sys.stdin.read(), "environment": sorted(os.environ), "folder": os.getcwd(),
                  "group": os.getpgid(0), "session": os.getsid(0), "pid": os.getpid()}))
"""
WITH_A_CHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1], "w").write(str(child.pid))
print("started", flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    """Whether it is there and no zombie that only waits to be reaped by init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_sees_no_input_and_no_environment_but_what_is_given(tmp_path: Path) -> None:
    answer = ask([sys.executable, "-I", "-c", SELF], env={"LC_ALL": "C.UTF-8"}, cwd=tmp_path, timeout=20)
    said = json.loads(answer.output)
    assert (answer.returncode, answer.errors) == (0, b"")
    assert (said["input"], said["environment"], said["folder"]) == ("", ["LC_ALL"], str(tmp_path))


def test_C6_a_command_is_out_of_reach_of_the_terminals_interrupt() -> None:
    said = json.loads(ask([sys.executable, "-I", "-c", SELF], env={}, timeout=20).output)
    assert said["group"] == said["pid"] != os.getpgid(0)
    assert said["session"] == os.getsid(0)


def test_C6_with_a_session_it_has_no_terminal_to_lose(tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        child = Child([sys.executable, "-I", "-c", SELF], env={}, output=log, session=True)
    assert child.ended(20)
    said = json.loads((tmp_path / "log").read_text())
    assert said["session"] == said["group"] == child.pid


def test_a_late_command_is_ended_with_what_it_started(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    command = [sys.executable, "-I", "-c", WITH_A_CHILD, str(noted)]
    with (tmp_path / "log").open("wb") as log:
        child = Child(command, env={}, output=log)
    while not (tmp_path / "log").stat().st_size:
        assert not child.ended(0.05), "it ended by itself"
    assert not child.ended(0)
    child.kill_group()
    assert child.returncode == -9
    grandchild = int(noted.read_text())
    deadline = time.monotonic() + 5  # the kernel delivers the signal in its own time
    while is_running(grandchild):
        assert time.monotonic() < deadline, "what it started is still there"


def test_a_command_without_an_answer_in_time_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"no answer within 0\.2 s"):
        ask([sys.executable, "-I", "-c", "import time; time.sleep(60)"], env={}, timeout=0.2)


def test_a_command_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing-command"):
        ask([str(tmp_path / "missing-command")], env={}, timeout=1)


def test_a_complaint_is_standard_error_or_else_the_output() -> None:
    code = "import sys; print('out'); print(sys.argv[1], file=sys.stderr, end=''); sys.exit(3)"
    loud = ask([sys.executable, "-I", "-c", code, "bad"], env={}, timeout=20)
    quiet = ask([sys.executable, "-I", "-c", code, ""], env={}, timeout=20)
    assert (loud.returncode, loud.complaint, loud.text) == (3, "bad", "out\n")
    assert quiet.complaint == "out"


def test_H2_a_bare_environment_has_no_credentials() -> None:
    environ = {
        "PATH": "/bin",
        "HOME": "/h",
        "LC_ALL": "C",
        "AWS_PROFILE": "p",
        "AWS_SECRET_ACCESS_KEY": "s",
        "LESS": "x",
    }
    assert bare_environment(environ) == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C"}
    assert bare_environment(environ, "LE.+|X") == {"PATH": "/bin", "HOME": "/h", "LC_ALL": "C", "LESS": "x"}


@pytest.mark.parametrize(("umask", "expected"), [(PRIVATE_UMASK, ("0o600", "0o700")), (0o022, ("0o644", "0o755"))])
def test_H2_files_of_a_child_are_for_their_owner_alone(tmp_path: Path, umask: int, expected: tuple[str, str]) -> None:
    with Child(
        ["sh", "-c", ">file; mkdir folder"], env=dict(os.environ), output=-3, cwd=tmp_path, umask=umask
    ) as child:
        assert child.ended(20)
    modes = tuple(oct((tmp_path / name).stat().st_mode & 0o777) for name in ("file", "folder"))
    assert modes == expected
