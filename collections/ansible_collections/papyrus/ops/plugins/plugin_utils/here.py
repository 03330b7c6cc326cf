# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module in a fork of Ansible's worker, where that is the same machine, user and Python: what actions share.

A module that Ansible sends as a payload starts an interpreter and compiles everything that it imports, each time anew.
Here the controller has imported it already.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import selectors
import signal
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from ansible import constants as C
from ansible.module_utils import basic
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as core_version

CORES = ("2.19", "2.20", "2.21")
"""Versions of ansible-core whose insides this knows, those it is tested with; any other runs modules in its own way."""

try:
    from ansible.executor.module_common import _BuiltModule
    from ansible.module_utils import _internal
    from ansible.module_utils.common.json import Direction, get_module_encoder
except ImportError:
    KNOWN_ANSIBLE = False
else:
    KNOWN_ANSIBLE = core_version.startswith(tuple(f"{core}." for core in CORES))

PROFILE = "legacy"
"""How modules and Ansible write to each other: what a module gets that says nothing about it."""


class Arguments(bytes):
    """The arguments of a module, in the place of a payload."""


class HereModule(ActionBase):
    """Runs the module of the same name: here when it can be, else as Ansible runs any module.

    Not here: for another connection, user or interpreter, in the background, where files of a module shall be kept
    (`ANSIBLE_KEEP_REMOTE_FILES`), and by an Ansible that is not known. Here arguments never lie in a file.
    """

    module: ModuleType
    """The module, imported together with its action: by the controller, before it forks its workers."""

    _supports_check_mode = True
    _supports_async = True
    _here = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        in_background = bool(self._task.async_val)
        self._here = self._is_here(task_vars or {})
        result.update(self._execute_module(task_vars=task_vars, wrap_async=in_background))
        if not in_background:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _is_here(self, task_vars: Mapping[str, Any]) -> bool:
        """Whether the module would run on this machine, as this user and by this interpreter, and nobody wants more."""
        apart = self._connection.transport != "local" or self._connection.become or self._task.async_val
        if apart or C.DEFAULT_KEEP_REMOTE_FILES or not KNOWN_ANSIBLE:
            return False
        if self._task.delegate_to:
            task_vars = task_vars.get("ansible_delegated_vars", {}).get(self._task.delegate_to, {})
        interpreter = C.config.get_config_value("INTERPRETER_PYTHON", variables=task_vars)
        return bool(self._templar.template(interpreter) == sys.executable)

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        """In the place of Ansible's: arguments alone need no file, whatever is said of pipelining."""
        return self._here or bool(super()._is_pipelining_enabled(module_style, wrap_async))

    def _configure_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> tuple[Any, str]:
        """In the place of Ansible's: no payload where none is needed."""
        if module_name != self._task.action or not self._here:
            built: tuple[Any, str] = super()._configure_module(module_name, module_args, task_vars)
            return built
        encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
        text = json.dumps({"ANSIBLE_MODULE_ARGS": module_args}, cls=encoder)
        given = _BuiltModule(
            b_module_data=Arguments(text, "utf-8"),
            module_style="new",
            shebang=f"#!{sys.executable}",
            serialization_profile=PROFILE,
        )
        return given, str(self.module.__file__)

    def _low_level_execute_command(
        self, cmd: str, sudoable: bool = True, in_data: bytes | None = None, **options: Any
    ) -> dict[str, Any]:
        """In the place of Ansible's: where there is no payload the command has nothing to run."""
        if not isinstance(in_data, Arguments):
            answer: dict[str, Any] = super()._low_level_execute_command(cmd, sudoable, in_data, **options)
            return answer
        environment: dict[str, Any] = {}
        self._compute_environment_string(environment)

        def work() -> None:
            os.chdir(self._loader.get_basedir())
            os.environ.update({str(name): str(value) for name, value in environment.items()})
            basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = bytes(in_data), PROFILE
            self.module.main()

        code, *said = forked(work)
        out, err = (text.decode("utf-8", "surrogateescape") for text in said)
        lines = {"stdout_lines": out.splitlines(), "stderr_lines": err.splitlines()}
        return {"rc": code, "stdout": out, "stderr": err, **lines}


def forked(work: Callable[[], None]) -> tuple[int, bytes, bytes]:
    """Exit code (negative: the signal that ended it), standard output and error of `work` in a fork of this process."""
    pipes = [os.pipe() for _each in range(2)]

    def child() -> None:
        # As in a new interpreter; a worker's own handlers end its whole group.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for target, (reader, writer) in zip((1, 2), pipes, strict=True):
            os.close(reader)
            os.dup2(writer, target)
            os.close(writer)
        sys.stdout, sys.stderr = (
            os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="surrogateescape") for fd in (1, 2)
        )
        _internal.is_controller = False  # what a module warns of belongs to its result
        work()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    for _reader, writer in pipes:
        os.close(writer)
    output, errors = _read([reader for reader, _writer in pipes])
    process.join()
    return int(process.exitcode or 0), output, errors


def _read(descriptors: list[int]) -> list[bytes]:
    """Everything that comes out of pipes until they are closed at their other end; closes them."""
    found = {descriptor: bytearray() for descriptor in descriptors}
    with selectors.DefaultSelector() as selector:
        for descriptor in descriptors:
            selector.register(descriptor, selectors.EVENT_READ)
        while selector.get_map():
            for key, _events in selector.select():
                data = os.read(key.fd, 1 << 16)
                found[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [bytes(found[descriptor]) for descriptor in descriptors]
