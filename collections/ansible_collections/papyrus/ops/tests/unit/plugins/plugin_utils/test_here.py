# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""L3: a module runs in a fork of the worker where it can, else as Ansible runs it, and says the same both times."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.module_utils import _internal
from ansible_collections.papyrus.ops.plugins.plugin_utils import here
from ansible_collections.papyrus.ops.plugins.plugin_utils.here import HereModule, forked

COLLECTION = Path(__file__).resolve().parents[4]
PLUGINS = COLLECTION / "plugins"

WAYS: dict[str, dict[str, Any]] = {
    "here": {},
    "here, delegated": {"delegate_to": "twin"},
    "failed here": {"given": "COMMIT"},
    "interpreter": {"vars": {"ansible_python_interpreter": "PYTHON"}},
    "delegated to an interpreter": {"delegate_to": "other"},
    "failed": {"given": "COMMIT", "vars": {"ansible_python_interpreter": "PYTHON"}},
    "here, without pipelining": {"vars": {"ansible_pipelining": False}},
    "background": {"async": 60, "poll": 1},
}


def test_l3_each_module_has_an_action() -> None:
    """Of its own name, so that the controller imports both together, and module_defaults reach it as a module."""
    modules = {path.name for path in (PLUGINS / "modules").glob("[a-z]*.py")}
    assert modules == {path.name for path in (PLUGINS / "action").glob("[a-z]*.py")}


@pytest.fixture(name="found", scope="module")
def _found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], bool]]:
    """By its way: the result of the module, and whether Ansible started an interpreter for it."""
    folder = tmp_path_factory.mktemp("here")
    other = folder / "python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
    other.chmod(0o755)
    tasks: list[dict[str, Any]] = []
    for way, words in WAYS.items():
        task = {key: value for key, value in words.items() if key != "given"}
        asked = {"content": words.get("given", "SELECT 'Ünïcode'")}
        tasks += [
            {"name": way, "papyrus.ops.sql_script_info": asked, "register": "answer", "ignore_errors": True, **task},
            {"ansible.builtin.copy": {"content": "{{ answer | to_json }}", "dest": f"{folder}/{way}.json"}},
        ]
    text = yaml.safe_dump([{"hosts": "one", "gather_facts": False, "tasks": tasks}]).replace("PYTHON", str(other))
    (folder / "play.yml").write_text(text, "utf-8")
    same = {"ansible_connection": "local", "ansible_pipelining": True}
    hosts = {name: {**same, "ansible_python_interpreter": sys.executable} for name in ("one", "twin")}
    hosts["other"] = {**same, "ansible_python_interpreter": str(other)}
    (folder / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}), "utf-8")
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-vvv", "-i", "hosts.yml", "play.yml"],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTION.parents[2]), "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_HOME": str(folder / "home")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr[-2000:]
    said = {part.split("]")[0]: part for part in ran.stdout.split("\nTASK [")}
    return {way: (json.loads((folder / f"{way}.json").read_text("utf-8")), " EXEC " in said[way]) for way in WAYS}


@pytest.mark.parametrize("way", WAYS)
def test_l3_a_module_runs_here_where_it_is_the_same(found: dict[str, tuple[dict[str, Any], bool]], way: str) -> None:
    assert found[way][1] is ("here" not in way)


@pytest.mark.parametrize(("here", "apart"), [("here", "interpreter"), ("failed here", "failed")])
def test_l3_what_a_module_says_is_the_same_both_ways(
    found: dict[str, tuple[dict[str, Any], bool]], here: str, apart: str
) -> None:
    mine, theirs = found[here][0], found[apart][0]
    assert bool(mine.get("failed")) is here.startswith("failed")
    assert mine == theirs


@pytest.mark.parametrize(
    ("differs", "runs_here"),
    [
        ({}, True),
        ({"transport": "ssh"}, False),
        ({"become": object()}, False),
        ({"async_val": 60}, False),
        ({"keeps_files": True}, False),
        ({"known": False}, False),
        ({"interpreter": "/usr/bin/python3"}, False),
    ],
)
def test_l3_only_what_is_the_same_runs_here(
    monkeypatch: pytest.MonkeyPatch, differs: dict[str, Any], runs_here: bool
) -> None:
    """Another user's module above all: here it would run as the controller's."""
    monkeypatch.setattr(here.C, "DEFAULT_KEEP_REMOTE_FILES", differs.get("keeps_files", False))
    monkeypatch.setattr(here, "KNOWN_ANSIBLE", differs.get("known", True))
    action = HereModule.__new__(HereModule)
    action._connection = SimpleNamespace(transport=differs.get("transport", "local"), become=differs.get("become"))
    action._task = SimpleNamespace(async_val=differs.get("async_val", 0), delegate_to=None)
    action._templar = SimpleNamespace(template=str)
    variables = {"ansible_python_interpreter": differs.get("interpreter", sys.executable)}
    assert action._is_here(variables) is runs_here


def test_l3_a_fork_gives_back_all_that_it_prints() -> None:
    size = 1 << 20

    def work() -> None:
        print("ü" * size)
        print("e" * size, file=sys.stderr)
        sys.exit(3)

    assert forked(work) == (3, ("ü" * size + "\n").encode(), b"e" * size + b"\n")


def test_l3_a_fork_is_a_module_and_no_controller(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it changes stays its own: environment, folder, and who it is."""
    monkeypatch.setattr(_internal, "is_controller", True)
    before = os.getcwd(), dict(os.environ)

    def work() -> None:
        os.chdir("/")
        os.environ["PAPYRUS_FORKED"] = "1"
        print(_internal.is_controller, end="")

    assert forked(work) == (0, b"False", b"")
    assert (os.getcwd(), dict(os.environ), _internal.is_controller) == (*before, True)


def interrupted(number: signal.Signals) -> None:
    """What a module does that cleans up when it is interrupted."""
    try:
        os.kill(os.getpid(), number)
    except KeyboardInterrupt:
        print("cleaned up", end="")
        sys.exit(3)


@pytest.mark.parametrize(
    ("number", "ended"), [(signal.SIGTERM, (-signal.SIGTERM, b"", b"")), (signal.SIGINT, (3, b"cleaned up", b""))]
)
def test_l3_a_fork_takes_signals_as_a_new_interpreter_does(
    number: signal.Signals, ended: tuple[int, bytes, bytes]
) -> None:
    """Whatever its worker does with them: that would end the whole group. Ctrl-C is an exception that it can catch."""
    before = signal.signal(number, lambda *_arguments: os._exit(77))
    try:
        assert forked(lambda: interrupted(number)) == ended
    finally:
        signal.signal(number, before)
