# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Terraform's command line behind an injected runner: bounded in time, one SIGINT at most, errors in one line."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from ._processes import PRIVATE_UMASK, Child, ask

# What a child needs of the surrounding environment. TF_VAR_*, TF_CLI_ARGS*, TF_WORKSPACE and TF_LOG of the operator's
# shell would change what a run does, and secrets of other programs are none of Terraform's business.
_INHERITED = re.compile(
    r"PATH|HOME|LANG|LC_[A-Z]+|TZ|TMPDIR|USER|LOGNAME|SSL_CERT_FILE|SSL_CERT_DIR|(?i:https?_proxy|no_proxy|all_proxy)"
    r"|AWS_.*|TF_CLI_CONFIG_FILE|TF_PLUGIN_CACHE_DIR|TF_TOKEN_.*|LD_LIBRARY_PATH|GOGC|GOMEMLIMIT|GOMAXPROCS"
)
_ALWAYS = {"TF_IN_AUTOMATION": "1", "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1"}
# Go's collector at its default takes a fifth of each command's time, most of it while the provider's schema is read.
_UNLESS_SET = {"GOGC": "400"}


_LOCKED_PROVIDER = re.compile(r'provider "([^"]+)" \{\s*version\s*= "([^"]+)"')


class TerraformError(Exception):
    """Terraform could not be run or said something that is not an answer."""


@dataclass(frozen=True)
class Ran:
    """One ended command: exit code (negative: the signal that ended it), seconds, its output, and how it was ended."""

    argv: tuple[str, ...]
    returncode: int
    seconds: float
    output: str
    interrupted: bool = False
    killed: bool = False

    @property
    def ok(self) -> bool:
        return self.returncode == 0 and not self.killed


class Runner(Protocol):
    """Runs one command at a time; output is appended to `log`."""

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, timeout: float) -> Ran: ...


class ProcessRunner:
    """Runs a child in a process group of its own, so that a Ctrl-C in the terminal never reaches it.

    At its time limit, or by `interrupt`, it gets SIGINT once: Terraform then ends the resource under way, saves its
    state and frees the lock. A second signal would make it drop both, so none is ever sent but SIGKILL after `grace`
    seconds.
    """

    def __init__(
        self,
        *,
        grace: float = 300.0,
        on_start: Callable[[int], None] | None = None,
        on_interrupt: Callable[[int], None] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        self.grace = grace
        self._on_start = on_start
        self._on_interrupt = on_interrupt
        self._on_end = on_end
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._interrupted_at: float | None = None

    @property
    def pid(self) -> int | None:
        with self._lock:
            return self._child.pid if self._child else None

    def interrupt(self) -> bool:
        """SIGINT for the command under way, unless it had one. True when one was sent."""
        with self._lock:
            if self._child is None or self._interrupted_at is not None or self._child.poll() is not None:
                return False
            self._interrupted_at = time.monotonic()
            if self._on_interrupt is not None:
                self._on_interrupt(self._child.pid)
            self._child.send_signal(signal.SIGINT)
            return True

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, timeout: float) -> Ran:
        start = time.monotonic()
        with log.open("ab") as file:
            os.fchmod(file.fileno(), 0o600)
            offset = file.tell()
            try:
                with self._lock:
                    self._interrupted_at = None
                    # Straight into the file: what Terraform said is there even when this process is killed.
                    self._child = child = Child(argv, cwd=cwd, env=env, output=file, umask=PRIVATE_UMASK)
            except OSError as exc:
                raise TerraformError(
                    f"{argv[0]} cannot be started: {exc.strerror or exc}. Install Terraform or OpenTofu, "
                    "or name its path (papyrus_terraform_binary)."
                ) from exc
        try:
            if self._on_start is not None:
                self._on_start(child.pid)
            killed = self._wait(child, start + timeout)
        finally:
            with self._lock:
                self._child = None
                interrupted = self._interrupted_at is not None
            if self._on_end is not None:
                self._on_end()
        with log.open("rb") as file:
            file.seek(offset)
            output = file.read().decode("utf-8", "replace")
        return Ran(tuple(argv), child.returncode, time.monotonic() - start, output, interrupted, killed)

    def _wait(self, child: Child, deadline: float) -> bool:
        while True:
            with self._lock:
                interrupted_at = self._interrupted_at
            limit = deadline if interrupted_at is None else interrupted_at + self.grace
            if child.ended(min(0.5, max(0.01, limit - time.monotonic()))):
                if child.returncode < 0:
                    child.kill_group()  # a provider plugin outlives a Terraform that was killed
                return False
            if time.monotonic() < limit:
                continue
            if interrupted_at is None:
                self.interrupt()
                continue
            child.kill_group()  # its provider plugins too
            return True


def environment(
    inherited: Mapping[str, str], given: Mapping[str, Any], data_folder: Path | None = None
) -> dict[str, str]:
    """Environment of a Terraform child: the little that it needs, then what the inventory gives."""
    result = _UNLESS_SET | {key: value for key, value in inherited.items() if _INHERITED.fullmatch(key)} | _ALWAYS
    if data_folder is not None:
        result["TF_DATA_DIR"] = str(data_folder)
    result.update({key: str(value) for key, value in given.items()})
    return result


class Terraform:
    """The commands of one stack copy. Variables come from `*.auto.tfvars.json` in the folder, never from argv.

    `clean` takes secrets out of what a command has said, before an error is cut out of it. The log has all of it.
    """

    def __init__(
        self,
        binary: str,
        folder: Path,
        env: Mapping[str, str],
        runner: Runner,
        log: Path,
        clean: Callable[[str], str] = str,
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.env = dict(env)
        self._runner = runner
        self._log = log
        self._clean = clean

    def init(self, timeout: float = 300) -> Ran:
        return self._run("init", "-input=false", "-no-color", timeout=timeout)

    def plan(self, timeout: float = 300) -> Ran:
        return self._run("plan", "-input=false", "-no-color", "-lock=false", timeout=timeout)

    def apply(self, timeout: float, lock_timeout: int = 60) -> Ran:
        return self._run(
            "apply", "-auto-approve", "-input=false", "-no-color", f"-lock-timeout={lock_timeout}s", timeout=timeout
        )

    def destroy(self, timeout: float, lock_timeout: int = 60) -> Ran:
        return self._run(
            "destroy", "-auto-approve", "-input=false", "-no-color", f"-lock-timeout={lock_timeout}s", timeout=timeout
        )

    def force_unlock(self, lock_id: str, timeout: float = 120) -> Ran:
        """Frees a lock whose holder is known to be dead; whoever calls knows that."""
        return self._run("force-unlock", "-force", lock_id, timeout=timeout)

    def state(self, timeout: float = 60) -> dict[str, Any]:
        """The state, empty when there is none yet. TerraformError when it cannot be read."""
        local = self.folder / "terraform.tfstate"
        try:
            if local.exists():  # half a second faster than asking for it, and the waiting is on the run's path
                return dict(json.loads(local.read_bytes()))
            raw = self._capture("state", "pull", timeout=timeout).strip()
            return dict(json.loads(raw)) if raw else {}
        except (OSError, ValueError) as exc:
            raise TerraformError(f"the state in {self.folder} cannot be read: {exc}") from exc

    def providers(self) -> dict[str, str]:
        """Versions of the providers that `init` chose, from its lock file."""
        try:
            text = (self.folder / ".terraform.lock.hcl").read_text("utf-8")
        except OSError:
            return {}
        return dict(_LOCKED_PROVIDER.findall(text))

    def _run(self, *arguments: str, timeout: float) -> Ran:
        with self._log.open("ab") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(f"$ terraform {' '.join(arguments)}\n".encode())
        ran = self._runner.run([self.binary, *arguments], cwd=self.folder, env=self.env, log=self._log, timeout=timeout)
        with self._log.open("ab") as file:
            how = " after one SIGINT" if ran.interrupted else ""
            how += ", then killed" if ran.killed else ""
            file.write(f"\n# exit code {ran.returncode} after {ran.seconds:.1f} s{how}\n\n".encode())
        return replace(ran, output=self._clean(ran.output))

    def _capture(self, *arguments: str, timeout: float) -> bytes:
        return capture([self.binary, *arguments], cwd=self.folder, env=self.env, timeout=timeout)


def capture(argv: Sequence[str], *, cwd: Path | None, env: Mapping[str, str], timeout: float) -> bytes:
    """Standard output of a short command that only reads. TerraformError when it fails."""
    try:
        answer = ask(argv, cwd=cwd, env=env, timeout=timeout)
    except OSError as exc:
        raise TerraformError(f"{' '.join(argv)} failed: {exc}") from exc
    if answer.returncode != 0:
        raise TerraformError(f"{' '.join(argv)} failed with {answer.returncode}: {one_line(answer.complaint)}")
    return answer.output


def parse_version(raw: bytes) -> dict[str, Any]:
    """`terraform version -json` → {"terraform": "1.15.5", "providers": {…}, "platform": "linux_amd64"}."""
    try:
        said = json.loads(raw)
        return {
            "terraform": str(said["terraform_version"]),
            "providers": dict(said.get("provider_selections") or {}),
            "platform": str(said.get("platform", "")),
        }
    except (ValueError, KeyError, TypeError) as exc:
        raise TerraformError(
            f"`version -json` answered something else: {one_line(raw.decode('utf-8', 'replace'))}"
        ) from exc


def outputs_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs as `{name: value}`; sensitive ones are left out, as outputs become evidence."""
    outputs = state.get("outputs") or {}
    return {name: output["value"] for name, output in outputs.items() if not output.get("sensitive")}


# Errors

_ERROR_START = re.compile(r"^[│|\s]*Error: (?P<summary>.*)$")
_RESOURCE = re.compile(r"^[│|\s]*with (?P<address>[A-Za-z0-9_.\[\]\"-]+),?$")
_BOX = re.compile(r"^[╷╵│]\s?|^\s*[╷╵]\s*$")
_CODES = (
    re.compile(r"api error (?P<code>[A-Za-z][\w.]+): "),  # AWS SDK for Go v2
    re.compile(
        r"(?:^|[\s:(])(?P<code>[A-Z][\w]*(?:\.[\w]+)*): [^\n]*\s+status code: \d+"
    ),  # SDK v1, with or without line end
    re.compile(r"(?P<code>[A-Z][\w]*(?:\.[\w]+)*): .*\n?\s*status code: \d+"),
)
_CREATING = ": Creating..."
_REQUEST_ID = re.compile(r"request ?id: (?P<id>[A-Za-z0-9-]+)", re.IGNORECASE)


@dataclass(frozen=True)
class TerraformProblem:
    """One `Error:` block: resource address, AWS' error code and request id where it has them; `summary` is one line."""

    summary: str
    resource: str
    code: str
    request_id: str

    def __str__(self) -> str:
        return f"{self.resource}: {self.summary}" if self.resource else self.summary


def one_line(text: str, limit: int = 600) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def problems(output: str) -> list[TerraformProblem]:
    """The `Error:` blocks of Terraform's human output, with or without the box around them."""
    found: list[TerraformProblem] = []
    block: list[str] = []
    inside = False
    for raw in [*output.splitlines(), "Error: "]:
        line = _BOX.sub("", raw)
        start = _ERROR_START.match(line)
        if start or line.startswith(("Warning: ", "$ terraform ", "# exit code ")):
            if inside:
                found.append(_problem(block))
            inside, block = bool(start), [start.group("summary")] if start else []
        elif inside:
            block.append(line)
    return found


def _problem(block: list[str]) -> TerraformProblem:
    text: list[str] = []
    resource = ""
    for line in block:
        match = _RESOURCE.match(line)
        if match:
            resource = match.group("address")
            continue
        if re.match(r"^\s+on .+ line \d+", line) or re.match(r"^\s*\d+: ", line):
            continue
        text.append(line)
    whole = "\n".join(text)
    code = next((m.group("code") for m in (pattern.search(whole) for pattern in _CODES) if m), "")
    request = _REQUEST_ID.search(whole)
    return TerraformProblem(one_line(whole), resource, code, request.group("id") if request else "")


@dataclass(frozen=True)
class StateLock:
    """The lock that kept a command from its state: `path` is where the state lies, `who` is user@host."""

    id: str
    path: str
    who: str
    operation: str
    created: str

    def __str__(self) -> str:
        return f"lock {self.id} on {self.path}, taken for {self.operation} at {self.created} by {self.who}"


_LOCK_FIELD = re.compile(r"^[│|\s]*(ID|Path|Operation|Who|Created):[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LOCK_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def held_lock(output: str) -> StateLock | None:
    """The lock that a command complained of, as Terraform and OpenTofu word it; None for any other complaint."""
    info = output.partition("Error acquiring the state lock")[2].partition("Lock Info:")[2]
    said = dict(reversed(_LOCK_FIELD.findall(info)))  # the first of each counts
    if not _LOCK_ID.fullmatch(said.get("ID", "")):
        return None  # a lock without a readable id cannot be freed by it
    return StateLock(*(said.get(field, "") for field in ("ID", "Path", "Who", "Operation", "Created")))


def lost_before_creating(ran: Ran) -> bool:
    """Whether a reset connection ended an apply that had asked for nothing to be made: it can be done again.

    The AWS SDK of provider 3.x asks nothing again after `read: connection reset`, whatever `max_retries` says:
    https://github.com/hashicorp/terraform-provider-aws/issues/10715
    """
    found = problems(ran.output)
    return bool(found) and _CREATING not in ran.output and all("connection reset" in each.summary for each in found)


def complete_line(output: str) -> str:
    """The last `Apply complete! …` or `Destroy complete! …`, or ""."""
    lines = [line for line in output.splitlines() if re.match(r"(?:Apply|Destroy) complete!", line)]
    return lines[-1].strip() if lines else ""


def why_failed(ran: Ran) -> str:
    """One readable line: which resource, what AWS said; or how the command ended when it said nothing."""
    found = problems(ran.output)
    command = ran.argv[1] if len(ran.argv) > 1 else ran.argv[0]
    how = "was killed after its time limit" if ran.killed else f"ended with exit code {ran.returncode}"
    if ran.returncode < 0 and not ran.killed:
        how = f"was ended from outside by {signal.Signals(-ran.returncode).name}"
    if ran.interrupted and not ran.killed:
        how = f"was interrupted (exit code {ran.returncode})"
    if found:
        return f"terraform {command} {how}: " + "; ".join(str(problem) for problem in found)
    lines = [line for line in ran.output.splitlines() if line.strip()]
    return f"terraform {command} {how}" + (f": {one_line(lines[-1])}" if lines else ", and said nothing")
