# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose processes a guard ends when its controller is dead: those of the controller, never those of another guard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import (
    GUARD_LINE,
    Family,
    Process,
    process,
)
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import _BOOT

NAP = "import time; time.sleep(60)"
# A controller with a worker and a job as `async` begins one, before that has left the controller's tree.
ASYNCHRONOUS = r"""
import os, subprocess, sys
nap = sys.argv[1]
job = f"import subprocess, sys\nprint(subprocess.Popen([sys.executable, '-c', {nap!r}]).pid, flush=True)\n{nap}"
print(subprocess.Popen([sys.executable, "-c", nap]).pid, flush=True)
print(subprocess.Popen([sys.executable, "-c", job, "/x/async_wrapper.py", "j1"]).pid, flush=True)
exec(nap)
"""
# A controller with a worker, and a second worker that becomes the guard of another run, which has its Terraform.
CONTROLLER = r"""
import os, subprocess, sys, time
folder, nap = sys.argv[1:]
line = os.environ["LINE"]
def told(name, pid):
    with open(os.path.join(folder, name), "w") as file:
        file.write(str(pid))
    os.rename(os.path.join(folder, name), os.path.join(folder, name + ".pid"))
told("worker", subprocess.Popen([sys.executable, "-c", nap]).pid)
pid = os.fork()
if not pid:
    while not os.path.exists(os.path.join(folder, "looked")):
        time.sleep(0.02)
    program = f"import subprocess, sys\n# {line}\nchild = subprocess.Popen([sys.executable, '-c', {nap!r}])\n"
    program += f"open({folder!r} + '/terraform.tmp', 'w').write(str(child.pid))\n"
    program += f"import os; os.rename({folder!r} + '/terraform.tmp', {folder!r} + '/terraform.pid')\nchild.wait()"
    os.execv(sys.executable, [sys.executable, "-c", program])
told("guard", pid)
time.sleep(60)
"""


def of(folder: Path, name: str) -> Process:
    deadline = time.monotonic() + 20
    while not (folder / f"{name}.pid").exists():
        assert time.monotonic() < deadline, f"{name} did not start"
        time.sleep(0.02)
    found = process(int((folder / f"{name}.pid").read_text()))
    assert found is not None
    return found


@pytest.fixture(name="controller")
def _controller(tmp_path: Path) -> Iterator[Process]:
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path), NAP]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, "LINE": GUARD_LINE}) as started:
        found = process(started.pid)
        assert found is not None
        yield found
        for path in tmp_path.glob("*.pid"):
            left = of(tmp_path, path.stem) if Path(f"/proc/{path.read_text()}").exists() else None
            if left is not None:
                os.kill(left.pid, signal.SIGKILL)
        started.kill()


def test_C6_a_guard_ends_the_controllers_workers_and_never_the_guard_of_another_run(
    controller: Process, tmp_path: Path
) -> None:
    worker, guard = of(tmp_path, "worker"), of(tmp_path, "guard")
    family = Family(controller, {os.getpid()})
    assert {worker, guard} <= family.left()  # before its exec nothing tells it from a worker
    (tmp_path / "looked").touch()
    terraform = of(tmp_path, "terraform")
    family.look()
    os.kill(controller.pid, signal.SIGKILL)
    assert family.end(grace=1) == [worker]
    assert (worker.alive(), guard.alive(), terraform.alive()) == (False, True, True)


def test_N1_what_has_ended_is_not_alive_nor_is_a_later_process_of_its_pid() -> None:
    with subprocess.Popen([sys.executable, "-c", NAP], stdin=subprocess.DEVNULL) as started:
        found = process(started.pid)
        assert found is not None and found.alive()
        assert not Process(found.pid, found.start + "0").alive()
        os.kill(found.pid, signal.SIGKILL)
        os.waitid(os.P_PID, found.pid, os.WEXITED | os.WNOWAIT)  # its parent has not taken note: a zombie
        assert Path(f"/proc/{found.pid}").exists() and not found.alive()


def test_C6_a_guard_is_known_by_the_line_that_it_is_started_with() -> None:
    assert GUARD_LINE in _BOOT.splitlines()


def test_H1_an_asynchronous_job_is_never_ended_with_the_left_overs() -> None:
    command = [sys.executable, "-c", ASYNCHRONOUS, NAP]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        pids = [int(started.stdout.readline()) for _number in range(3)]  # the worker's first
        controller = process(started.pid)
        assert controller is not None
        family = Family(controller, {os.getpid()})
        started.kill()
        assert {member.pid for member in family.end()} == {pids[0]}
        for pid in pids[1:]:
            os.kill(pid, signal.SIGKILL)
