"""Watches a run from outside while it is under way: its processes with arguments and environment, and its files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import harness
from .harness import RunningSmoke

PROC = Path("/proc")
EVERY = 0.05
"""Seconds between two looks; a child that lives shorter may be missed, so no test counts on seeing one of those."""

KINDS = (
    ("guard", re.compile(rb"module_utils\._guard")),
    ("provider", re.compile(rb"terraform-provider-")),
    ("terraform", re.compile(rb"terraform/cli\.py|^\S*\0?\S*bin/terraform\0")),
    ("git", re.compile(rb"^(?:\S*/)?git\0")),
    ("routes", re.compile(rb"importlib, json, os, sys\nmodule_name")),
    ("pip", re.compile(rb"\0pip\0download\0")),
    ("controller", re.compile(rb"ansible-playbook\0")),  # and its workers, which are forks of it
    ("module", re.compile(rb"AnsiballZ_|^\S*/python[0-9.]*\0$|^/bin/sh\0-c\0")),
)


@dataclass(frozen=True)
class Seen:
    """A process as it was at one look: what it is, its arguments, and its environment at its start."""

    kind: str
    argv: bytes
    environ: bytes

    def variables(self) -> set[str]:
        return {pair.partition(b"=")[0].decode("utf-8", "replace") for pair in self.environ.split(b"\0") if pair}


@dataclass
class Watch:
    """A thread that looks until the run's controller has ended and nothing of the run is left.

    Members are the controller, whatever descends from it, and what has descended from those: each is remembered by pid
    and start time, so a guard that outlives its parent stays one. `open_files` are paths below `folder` that somebody
    else could have read, with their modes. `told` are command lines of anybody that had one of the secrets, which are
    those given and the header of the run, read from the run's own variables.
    """

    running: RunningSmoke
    folder: Path
    secrets: dict[str, bytes] = field(default_factory=dict)
    told: set[tuple[str, bytes]] = field(default_factory=set)
    seen: set[Seen] = field(default_factory=set)
    open_files: dict[str, str] = field(default_factory=dict)
    files: set[str] = field(default_factory=set)
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._members: dict[int, str] = {}
        self._known: set[tuple[int, str, bytes]] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def of(self, *kinds: str) -> set[Seen]:
        return {each for each in self.seen if each.kind in kinds}

    def having(self, name: str) -> set[str]:
        """Kinds of those that had a secret in their environment."""
        return {each.kind for each in self.seen if self.secrets[name] in each.environ}

    def end(self) -> None:
        """Return when the run is over for good."""
        self._thread.join(2000)
        assert not self._thread.is_alive(), "the run does not end"

    def _run(self) -> None:
        while self.running.process.poll() is None or self._members:
            self._processes()
            self._files()
            time.sleep(EVERY)

    def _processes(self) -> None:
        parents: dict[int, tuple[int, str]] = {}
        for entry in PROC.iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError, ValueError, IndexError):
                    parts = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                    if parts[0] not in "ZX":
                        parents[int(entry.name)] = int(parts[1]), parts[19]
        self._members = {pid: start for pid, start in self._members.items() if parents.get(pid, (0, ""))[1] == start}
        if self.running.process.pid in parents:
            self._members[self.running.process.pid] = parents[self.running.process.pid][1]
        grown = True
        while grown:
            fresh = {pid: start for pid, (parent, start) in parents.items() if parent in self._members}
            grown = not fresh.items() <= self._members.items()
            self._members |= fresh
        for pid, (_parent, start) in parents.items():
            with contextlib.suppress(OSError):
                argv = (PROC / str(pid) / "cmdline").read_bytes()
                self.told |= {(name, argv) for name, secret in self.secrets.items() if secret in argv}
                if argv and pid in self._members and (pid, start, argv) not in self._known:
                    environ = (PROC / str(pid) / "environ").read_bytes()
                    self._known.add((pid, start, argv))
                    kind = next((name for name, form in KINDS if form.search(argv)), "other")
                    self.seen.add(Seen(kind, argv, environ))

    def _files(self) -> None:
        for top, folders, files in os.walk(self.folder):
            for name in [*folders, *files]:
                path = os.path.join(top, name)
                with contextlib.suppress(OSError, ValueError):
                    mode = os.lstat(path).st_mode
                    self.files.add(os.path.relpath(path, self.folder))
                    if name == "run.auto.tfvars.json" and "header" not in self.secrets:
                        self.secrets["header"] = json.loads(Path(path).read_bytes())["header_value"].encode()
                    if not stat.S_ISLNK(mode) and stat.S_IMODE(mode) & 0o077:
                        self.open_files[os.path.relpath(path, self.folder)] = oct(stat.S_IMODE(mode))


PLANTED = ("GITHUB_TOKEN", "DEPLOY_PASSWORD")
"""Secrets of other programs, as a runner of CI has them in its environment."""

HARMLESS = re.compile(r"(ansible_|pymp-).*/|papyrus-.*/stack/\.terraform\.lock\.hcl")
"""What others could read were it not in a folder that they may not enter: Ansible's own code of a module and its
socket, Terraform's hashes."""


def database_password() -> str:
    """The password of the app that the permanent secret holds."""
    value = harness.client("secretsmanager").get_secret_value(SecretId="papyrus/prd/db")["SecretString"]
    found: str = json.loads(value)["password"]
    return found


def watch(folder: Path, variables: dict[str, Any], *arguments: str, playbook: str = "playbooks/alb_smoke.yml") -> Watch:
    """Runs a playbook to its end as CI does, with credentials and other secrets in its environment, and watches it."""
    # Short: names of sockets below it have 108 characters at most.
    known, temporary = harness.facts(), Path(tempfile.mkdtemp(prefix="surface-"))
    planted = {name: secrets.token_hex(16) for name in PLANTED}
    credentials = {"AWS_ACCESS_KEY_ID": known["access_key_id"], "AWS_SECRET_ACCESS_KEY": known["secret_access_key"]}
    environment = {"TMPDIR": str(temporary), "XDG_RUNTIME_DIR": "", **planted, **credentials}
    given = {"papyrus_aws_environment": {"AWS_ENDPOINT_URL": known["endpoint"], "AWS_REGION": known["region"]}}
    running = RunningSmoke(folder / "run", given | variables, arguments, playbook, environment)
    planted |= {"database": database_password(), "aws": known["secret_access_key"]}
    watched = Watch(running, temporary, {name: value.encode() for name, value in planted.items()})
    watched.end()
    watched.left = [path.name for path in temporary.iterdir()]
    shutil.rmtree(temporary)
    return watched


def no_command_line_has_a_secret(watched: Watch) -> None:
    """Of anybody, the local AWS' containers included; its own dummy key is in command lines of other tests' runs."""
    assert set(watched.secrets) == {*PLANTED, "database", "aws", "header"}
    assert {(name, argv) for name, argv in watched.told if name != "aws"} == set()
    assert not any(watched.secrets["aws"] in each.argv for each in watched.seen)


def children_have_what_they_need(watched: Watch) -> None:
    """Ansible hands its whole environment on to the modules; what the run itself starts gets what is for it.

    The collection's own modules are forks of the controller's workers; those of others are processes of their own.
    """
    kinds = {each.kind for each in watched.seen}
    modules = kinds & {"module"}
    assert kinds >= {"controller", "guard", "terraform", "provider"}
    assert kinds <= {name for name, dummy in KINDS}, [each.argv for each in watched.of("other")]
    assert watched.having("aws") == {"controller", "guard", "terraform", "provider"} | modules
    for name in PLANTED:
        assert watched.having(name) == {"controller"} | modules
    for name in ("database", "header"):
        assert watched.having(name) == set()


def temporary_files_are_private(watched: Watch) -> None:
    private = {path.partition("/")[0] for path in watched.files if path.startswith("papyrus-")}
    assert len(private) == 1
    for name in ("terraform.tfstate", "run.auto.tfvars.json"):
        assert f"{next(iter(private))}/stack/{name}" in watched.files
    assert {path for path in watched.open_files if not HARMLESS.match(path)} == set()
    assert {path.rpartition("/")[0] for path in watched.open_files} & watched.open_files.keys() == set()
    assert [name for name in watched.left if name.startswith("papyrus-")] == []
