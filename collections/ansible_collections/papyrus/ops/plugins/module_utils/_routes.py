# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Routes of a Flask application, dumped by a child process which sees none of the parent's environment (B1, B6)."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._processes import PRIVATE_UMASK, Child

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(\))?")
OUTPUT_LIMIT = 64 * 1024
"""Characters of the child's output that are kept, from its end."""

CHILD = """
import importlib, json, os, sys
module_name, function_name, result, *paths = sys.argv[1:]
sys.path[:0] = paths
made = getattr(importlib.import_module(module_name), function_name)
app = made() if not hasattr(made, "url_map") else made
routes = [
    {"rule": rule.rule, "endpoint": rule.endpoint, "methods": sorted(rule.methods or ())}
    for rule in app.url_map.iter_rules()
]
with open(result, "w", encoding="utf-8") as out:
    json.dump(routes, out)
sys.stdout.flush()
sys.stderr.flush()
os._exit(0)
"""


@dataclass(frozen=True)
class Question:
    """Which application to load. `environment` is all that the child gets beside PATH, HOME and its locale.

    `factory` is `module:function` as gunicorn spells it; `source` and `paths` go on the import path, in this order.
    """

    factory: str
    source: str
    python: str = ""
    paths: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    timeout: float = 20.0


@dataclass(frozen=True)
class Routes:
    """`routes` sorted by rule; `reason` is empty when all is well; `output` is what the application printed."""

    ok: bool
    reason: str
    routes: list[dict[str, Any]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    output: str = ""
    exit_code: int | None = None

    @property
    def rules(self) -> list[str]:
        return [str(route["rule"]) for route in self.routes]

    def log(self, factory: str) -> str:
        """Content of the evidence file `routes.log`."""
        lines = [f"factory {factory}", f"ROUTES: {json.dumps(self.rules)}"]
        lines += [f"{route['rule']} {','.join(route['methods'])} -> {route['endpoint']}" for route in self.routes]
        if self.missing:
            lines.append(f"MISSING: {json.dumps(self.missing)}")
        lines.append("OK" if self.ok else f"NG: {self.reason}")
        if self.output.strip() and not self.ok:
            lines += ["--- output of the application ---", self.output.rstrip()]
        return "\n".join(lines) + "\n"


def last_line(output: str) -> str:
    """The last line of a traceback, where Python names the error."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def missing_routes(rules: Iterable[str], required: Sequence[str]) -> list[str]:
    present = set(rules)
    return [route for route in dict.fromkeys(required) if route not in present]


def child_environment(home: str, environment: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of the child: nothing of the parent but PATH, so no credentials and no endpoints."""
    base = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "TMPDIR": home,
        "LC_ALL": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return {**base, **{str(key): str(value) for key, value in environment.items()}}


def dump(question: Question) -> Routes:
    """Loads the application in a child and reads its routes. This runs the application's import-time code.

    Never raises for what the application does; a malformed factory or a missing folder is a reason too.
    """
    if not FACTORY.fullmatch(question.factory):
        return Routes(False, f"the factory {question.factory!r} is not of the form module:function")
    if not Path(question.source).is_dir():
        return Routes(False, f"there is no folder {question.source} with the application")
    module_name, dummy, function_name = question.factory.partition(":")
    with tempfile.TemporaryDirectory(prefix="routes-", ignore_cleanup_errors=True) as home:
        result = Path(home, "routes.json")
        command = [question.python or sys.executable, "-I", "-B", "-c", CHILD]
        command += [module_name, function_name.removesuffix("()"), str(result)]
        command += [str(Path(path).absolute()) for path in (question.source, *question.paths)]
        exit_code, output = _run(command, home, child_environment(home, question.environment), question.timeout)
        if exit_code is None:
            reason = output if output.startswith("cannot start") else f"did not load within {question.timeout:g} s"
            return Routes(False, reason, output=output)
        if exit_code != 0:
            named = last_line(output) or f"ended with exit code {exit_code} and printed nothing"
            return Routes(False, f"{question.factory} does not load: {named}", output=output, exit_code=exit_code)
        try:
            routes = sorted(json.loads(result.read_text(encoding="utf-8")), key=lambda route: str(route["rule"]))
        except (OSError, ValueError):
            named = last_line(output) or "it printed nothing"
            return Routes(
                False, f"{question.factory} ended before its routes were read: {named}", output=output, exit_code=0
            )
    missing = missing_routes((route["rule"] for route in routes), question.required)
    reason = (
        f"not registered: {', '.join(missing)}; registered are {', '.join(r['rule'] for r in routes)}"
        if missing
        else ""
    )
    return Routes(not missing, reason, routes, missing, output, 0)


def _run(command: list[str], cwd: str, environment: dict[str, str], timeout: float) -> tuple[int | None, str]:
    """Exit code (None: not started or too late) and the end of stdout and stderr together."""
    with tempfile.TemporaryFile() as sink:
        try:
            child = Child(command, cwd=cwd, env=environment, output=sink, session=True, umask=PRIVATE_UMASK)
        except OSError as exc:
            return None, f"cannot start {command[0]}: {exc.strerror or exc}"
        try:
            exit_code = child.returncode if child.ended(timeout) else None
        finally:
            child.kill_group()  # threads and children of the application end with it
        size = sink.seek(0, os.SEEK_END)
        sink.seek(max(0, size - OUTPUT_LIMIT))
        return exit_code, sink.read().decode("utf-8", "replace")
