"""pytest-ansible's `ansible_adhoc` with the checkout's collection: what tests that run one module on localhost share.

A test module takes all of it: `from tests.adhoc import MARKS, Run, collections, process, run`, `pytestmark = MARKS`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

CHECKOUT = Path(__file__).resolve().parents[1]
Run = Callable[..., dict[str, Any]]

MARKS = [
    # pytest-ansible means to give its host manager up some day, and names nothing to use instead.
    pytest.mark.filterwarnings("ignore:Host management is deprecated:DeprecationWarning"),
    # It sets up the loader of collections for each task, here after the one that knows the checkout's.
    pytest.mark.filterwarnings("ignore:AnsibleCollectionFinder has already been configured:UserWarning"),
    # Ansible forks its workers beside a thread that reads their results.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def collections() -> Iterator[None]:
    """Ansible's loader of collections, with the checkout's; afterwards all is as other tests of the process had it."""

    def loaded() -> dict[str, Any]:
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "ansible_collections"}

    before, finders, hooks = loaded(), list(sys.meta_path), list(sys.path_hooks)
    for name in before:
        del sys.modules[name]
    init_plugin_loader([str(CHECKOUT / "collections")])
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)
    sys.meta_path[:], sys.path_hooks[:] = finders, hooks
    sys.path_importer_cache.clear()
    AnsibleCollectionConfig._collection_finder = None


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Ansible in this process handles its signals, and lets no later child have its stdin: both as they were again."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    inheritable = {fd: os.get_inheritable(fd) for fd in (0, 1, 2)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for fd, value in inheritable.items():
            os.set_inheritable(fd, value)


@pytest.fixture
def process() -> Iterator[None]:
    with unchanged():
        yield


@pytest.fixture
def run(ansible_adhoc: Any, collections: None, process: None, tmp_path: Path) -> Run:
    """Runs one module on localhost, with the interpreter of the tests: `run("http_probe", url=…)` gives its result."""
    inventory = tmp_path / "hosts.json"
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(tmp_path / "remote"),
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"localhost": variables}}}))

    def call(module: str, **options: Any) -> dict[str, Any]:
        localhost = ansible_adhoc(inventory=str(inventory), host_pattern="localhost")["localhost"]
        return dict(getattr(localhost, f"papyrus.ops.{module}")(**options)["localhost"])

    return call
