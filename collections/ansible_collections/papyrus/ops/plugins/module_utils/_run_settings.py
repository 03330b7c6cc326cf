# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run's guard has to know, kept in the run-private folder (0600): settings, time limits, state of the stack."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ._evidence import Bundle
from ._guard_processes import Process
from ._ledger import Ledger, open_ledger
from ._leftovers import Scope
from ._leftovers_drill import drill_scope
from ._locks import write_durable
from ._redaction import Redactor

SETTINGS_FILE = "guard.json"
STATE_FILE = "stack.json"
CHILD_FILE = "terraform.json"
GUARD_FILE = "guard.pid"
GUARD_LOG = "guard.log"
SOCKET_FILE = "guard.sock"


@dataclass(frozen=True)
class Limits:
    """Seconds, but for `attempts`. AWS keeps an ALB's interfaces for minutes, and its security group as long."""

    init: float = 300
    apply: float = 1200
    destroy: float = 1500
    attempts: int = 3
    backoff: float = 5
    interrupt_grace: float = 300
    gone: float = 300
    gone_interval: float = 3
    sweep: float = 2100
    lock: int = 60

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Limits:
        """ValueError for a name that is no limit."""
        known = {entry.name: entry.type for entry in fields(cls)}
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(f"stack.limits has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        changes: dict[str, Any] = {k: int(v) if known[k] == "int" else float(v) for k, v in given.items()}
        return replace(cls(), **changes)


@dataclass(frozen=True)
class Stack:
    """The Terraform folder of a run and how it is run; `modules` are folders by what they are called in it."""

    source: str
    name: str
    variables: dict[str, Any] = field(default_factory=dict)
    override_files: tuple[str, ...] = ()
    modules: dict[str, str] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)
    binary: str = "terraform"
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, options: Mapping[str, Any], name: str) -> Stack | None:
        """The `stack` of run_open's options; None without one."""
        given = options.get("stack")
        if not given:
            return None
        return cls(
            source=str(Path(str(given["source"])).absolute()),
            name=name,
            variables=dict(given.get("variables") or {}),
            override_files=tuple(str(Path(str(path)).absolute()) for path in given.get("override_files") or []),
            modules={str(key): str(Path(str(path)).absolute()) for key, path in (given.get("modules") or {}).items()},
            backend=dict(given.get("backend") or {}),
            binary=str(given.get("binary") or "terraform"),
            environment={str(key): str(value) for key, value in (given.get("environment") or {}).items()},
        )


@dataclass(frozen=True)
class Signing:
    """How a bundle is sealed: `signer` as `_signers.check_signer` returns it, {} for not at all."""

    signer: Mapping[str, Any] = field(default_factory=dict)
    timestamp_url: str = ""
    region: str = ""

    @classmethod
    def of(cls, run: Mapping[str, Any]) -> Signing:
        """Of a run as run_open returns it."""
        signer = run.get("signer")
        url, region = (str(run.get(key) or "") for key in ("timestamp_url", "region"))
        return cls(dict(signer) if isinstance(signer, Mapping) else {}, url, region)


@dataclass(frozen=True)
class Settings:
    """One run, as its guard and every module see it."""

    run_id: str
    suffix: str
    folder: str
    private: str
    ledger: str
    service: str
    region: str
    tag_prefix: str
    expires_at: str
    controller: Process | None
    stack: Stack | None
    limits: Limits
    problems: tuple[str, ...] = ()
    allowed_skips: tuple[str, ...] = ()
    signer: dict[str, Any] = field(default_factory=dict)
    timestamp_url: str = ""
    trace_file: str = ""

    def save(self) -> None:
        data = json.dumps(asdict(self), indent=1, sort_keys=True).encode()
        write_durable(Path(self.private) / SETTINGS_FILE, data, mode=0o600)

    @classmethod
    def load(cls, private: str | Path) -> Settings:
        raw = json.loads((Path(private) / SETTINGS_FILE).read_bytes())
        controller, stack = raw.pop("controller"), raw.pop("stack")
        raw["limits"] = Limits(**raw["limits"])
        raw["problems"] = tuple(raw["problems"])
        raw["allowed_skips"] = tuple(raw["allowed_skips"])
        if stack is not None:
            stack["override_files"] = tuple(stack["override_files"])
        return cls(
            **raw,
            controller=Process(**controller) if controller else None,
            stack=Stack(**stack) if stack else None,
        )

    def bundle(self) -> Bundle:
        return Bundle(self.folder, Redactor(self.private))

    def open_ledger(self) -> Ledger:
        return open_ledger(self.ledger, region=self.region)

    def signing(self) -> Signing:
        return Signing(self.signer, self.timestamp_url, self.region)

    def scope(self) -> Scope:
        variables = self.stack.variables if self.stack else {}
        return Scope(
            tag_prefix=self.tag_prefix,
            service=self.service,
            run_id=self.run_id,
            names=(self.stack.name,) if self.stack and self.stack.name else (),
            drill=drill_scope(variables),
        )


class StateFile:
    """What has been done with the stack, for whoever has to go on when the guard is dead."""

    def __init__(self, private: str | Path) -> None:
        self._path = Path(private) / STATE_FILE

    def read(self) -> dict[str, Any]:
        try:
            value = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        return dict(value)

    def update(self, **changes: Any) -> dict[str, Any]:
        state = {**self.read(), **changes}
        write_durable(self._path, json.dumps(state).encode(), mode=0o600, replace=True)
        return state


class ChildFile:
    """The Terraform process under way, so that it can be found when its guard was killed."""

    def __init__(self, private: str | Path) -> None:
        self._path = Path(private) / CHILD_FILE

    def write(self, child: Process, interrupted: bool) -> None:
        data = json.dumps({**asdict(child), "interrupted": interrupted}).encode()
        write_durable(self._path, data, mode=0o600, replace=True)

    def read(self) -> tuple[Process, bool] | None:
        """The process and whether it has had its one SIGINT."""
        try:
            raw = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        return Process(int(raw["pid"]), str(raw["start"])), bool(raw["interrupted"])

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


def guard_process(private: str | Path) -> Process | None:
    """The guard of a run as it announced itself, or None."""
    try:
        raw = json.loads((Path(private) / GUARD_FILE).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return Process(int(raw["pid"]), str(raw["start"]))


def write_guard_process(private: str | Path, own: Process) -> None:
    write_durable(Path(private) / GUARD_FILE, json.dumps(asdict(own)).encode(), mode=0o600, replace=True)


_ROOM = 2 * 1024**3  # a provider is a binary of most of a gigabyte, and init puts it into the private folder


def private_root(environ: Mapping[str, str]) -> str | None:
    """Where run-private folders go: $XDG_RUNTIME_DIR when it is ours and has room, else the temporary folder (None)."""
    root = environ.get("XDG_RUNTIME_DIR", "")
    if not root:
        return None
    try:
        ours = os.stat(root).st_uid == os.getuid() and os.access(root, os.W_OK | os.X_OK)
        space = os.statvfs(root)
    except OSError:
        return None
    return root if ours and space.f_bavail * space.f_frsize >= _ROOM else None
