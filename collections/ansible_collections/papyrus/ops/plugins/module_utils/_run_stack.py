# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The temporary stack of one run: prepared, applied, destroyed and proved gone, with its evidence; guard or not."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._aws import AwsFailure, Clients
from ._evidence import Bundle, BundleError, content_bytes
from ._guard_processes import process, working_in
from ._lease import NoLease, require_lease
from ._redaction import Redactor
from ._run_gone import SWEPT, Keeper, Rest, group_lines
from ._run_settings import ChildFile, Settings, Stack, StateFile
from ._terraform import (
    ProcessRunner,
    Ran,
    StateLock,
    Terraform,
    TerraformError,
    complete_line,
    environment,
    held_lock,
    lost_before_creating,
    outputs_of,
    why_failed,
)
from ._trace_terraform import debug_environment, gather
from ._verdict import APPLY_PHASE

# Of another run or of an operator; a copy which took them along would not be this run's own.
_NOT_COPIED = shutil.ignore_patterns(
    ".terraform", "*.tfstate", "*.tfstate.*", "*.tfvars", "*.tfvars.json", "crash.log", "*.lock.info"
)

PROVIDER_FILE = "provider.tf"
_MODULE = re.compile(r"[a-z0-9][a-z0-9_-]*")
_VARIABLE = re.compile(r'^\s*variable\s+"?(\w+)"?', re.MULTILINE)
_PROTECTED = re.compile(r'^\s*"?prevent_destroy"?\s*[=:]\s*true\b', re.MULTILINE)


def require_temporary(folder: Path) -> None:
    """TerraformError for a stack that is not made to go away with its run, modules of it included.

    A temporary one takes the run's id and expiry as variables, for the tags by which everything of it is found again.
    """
    files = [*folder.rglob("*.tf"), *folder.rglob("*.tf.json")]
    protected = sorted(path.name for path in files if _PROTECTED.search(path.read_text("utf-8", "replace")))
    if protected:
        raise TerraformError(
            f"the stack is permanent: prevent_destroy in {', '.join(protected)}; a run destroys all that it applies"
        )
    root = "\n".join(path.read_text("utf-8", "replace") for path in folder.glob("*.tf"))
    missing = sorted({"expires_at", "run_id"} - set(_VARIABLE.findall(root)))
    if missing:
        raise TerraformError(
            f"the stack is no temporary one: it has no variable {', '.join(missing)}, by which what it makes would be "
            "tagged and found again; a run destroys all that it applies"
        )


def stage(stack: Stack, folder: Path, run_id: str, expires_at: str) -> None:
    """Copies the stack to folder with override files, backend and the run's variables; may raise TerraformError."""
    source = Path(stack.source)
    if not source.is_dir():
        raise TerraformError(f"the stack's folder {source} does not exist")
    _copy_private(source, folder)
    for name, module in stack.modules.items():
        _stage_module(name, Path(module), folder)
    for file in stack.override_files:
        _write_private(folder / Path(file).name, Path(file).read_bytes())
    require_temporary(folder)
    if stack.backend:
        _write_private(folder / "run_backend_override.tf.json", {"terraform": {"backend": _backend(stack, run_id)}})
    variables = {**stack.variables, "name": stack.name, "run_id": run_id, "expires_at": expires_at}
    _write_private(folder / "run.auto.tfvars.json", variables)


def _stage_module(name: str, source: Path, folder: Path) -> None:
    """Another stack as a module of this one, below `name`: without its provider, as a module takes its caller's."""
    if not _MODULE.fullmatch(name):
        raise TerraformError(f"{name!r} is no name of a module's folder: lower-case letters, digits, - and _")
    if not source.is_dir():
        raise TerraformError(f"the folder {source} of the module {name} does not exist")
    _copy_private(source, folder / name)
    (folder / name / PROVIDER_FILE).unlink(missing_ok=True)


def _backend(stack: Stack, run_id: str) -> dict[str, Any]:
    """`{type: config}` with `{run_id}` filled in: two runs must not share a state."""
    text = json.dumps(stack.backend)
    if "{run_id}" not in text:
        raise TerraformError("the backend of a temporary stack must have {run_id} in its key: each run has a state")
    return dict(json.loads(text.replace("{run_id}", run_id)))


def _copy_private(source: Path, folder: Path) -> None:
    """The copy is for the run alone, whoever may read the stack itself, and at no moment for others."""
    folder.mkdir(mode=0o700, exist_ok=True)
    names = os.listdir(source)
    for name in sorted(set(names) - set(_NOT_COPIED(str(source), names))):
        if (source / name).is_dir():
            _copy_private(source / name, folder / name)
        else:
            _write_private(folder / name, (source / name).read_bytes())


def _write_private(path: Path, content: Any) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o600)
        file.write(content_bytes(content))


class Interruptible(ProcessRunner):
    """A runner that leaves word of its child in the private folder."""

    def __init__(self, private: str, grace: float) -> None:
        file = ChildFile(private)

        def write(pid: int, interrupted: bool) -> None:
            child = process(pid)
            if child is not None:
                file.write(child, interrupted)

        super().__init__(
            grace=grace,
            on_start=lambda pid: write(pid, False),
            on_interrupt=lambda pid: write(pid, True),
            on_end=file.remove,
        )


class StackRun:
    """Apply and destroy for one run, one at a time. Evidence that cannot be written never stops a destroy."""

    def __init__(
        self,
        settings: Settings,
        clients: Callable[[], Clients],
        *,
        environ: Mapping[str, str] | None = None,
        runner: ProcessRunner | None = None,
        bundle: Bundle | None = None,
        log: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if settings.stack is None:
            raise ValueError("this run has no stack: it was opened without one")
        self.settings = settings
        self.stack = settings.stack
        self.limits = settings.limits
        self.private = Path(settings.private)
        self.folder = self.private / "stack"
        self.state = StateFile(settings.private)
        self.bundle = bundle or settings.bundle()
        self._clients = clients
        self._runner = runner or Interruptible(settings.private, settings.limits.interrupt_grace)
        self._log = log
        self._clock = clock
        self._sleep = sleep
        self._stop = threading.Event()
        self._environ = dict(os.environ if environ is None else environ)
        self.keep = Keeper(self.bundle, log).keep
        self._rest = Rest(settings, clients, self.keep, log=log, clock=clock, sleep=sleep)

    # Evidence

    def phase(self, name: str, event: str) -> None:
        self.keep("phase.json", {"phase": name, "event": event}, status="info", step="all", phase=name, event=event)

    def _keep_log(self, name: str, step: str, log: Path, ok: bool, reason: str, **meta: Any) -> None:
        text = log.read_bytes() if log.exists() else b""
        reason = reason or complete_line(text.decode("utf-8", "replace"))
        self.keep(name, text or (reason + "\n").encode(), status="ok" if ok else "ng", step=step, reason=reason, **meta)

    # Before Terraform

    def terraform(self, log: Path) -> Terraform:
        given = {**self.stack.environment, **debug_environment(self.private)}
        env = environment(self._environ, given, self.private / "tf")
        clean = Redactor(self.private).redact_text
        return Terraform(self.stack.binary, self.folder, env, self._runner, log, clean)

    def prepare(self) -> None:
        """Makes the run's own copy of the stack, with its variables in a file that nobody else can read (C2)."""
        header = self.stack.variables.get("header_value")
        if isinstance(header, str) and header:
            Redactor.register(self.private, "run-header", header)
        stage(self.stack, self.folder, self.settings.run_id, self.settings.expires_at)

    # Apply

    def interrupt(self) -> None:
        """Lets a Terraform under way end (one SIGINT), and no further apply begin."""
        self._stop.set()
        self._runner.interrupt()

    def apply(self) -> dict[str, Any]:
        """init and apply. Returns `ok`, `error`, `outputs`, `seconds`; never raises for what Terraform or AWS say."""
        start = self._clock()
        log = self.private / "apply.log"
        try:
            self._require_may_create()
            self.prepare()
            # Before the first create call: whoever comes after a crash knows that there is something to destroy.
            self.state.update(apply="running")
        except (NoLease, TerraformError, OSError, ValueError) as exc:
            self._keep_log("terraform_apply.log", "C1", log, False, str(exc))
            return self._applied({"ok": False, "error": str(exc), "outputs": {}, "seconds": 0.0})
        self.phase(APPLY_PHASE, "start")
        terraform = self.terraform(log)
        versions: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        try:
            ran = terraform.init(self.limits.init)
            if ran.ok and not self._stop.is_set():
                versions = {"providers": terraform.providers()}
                self.state.update(may_exist=True)
                ran = self._apply(terraform)
            ok, error = ran.ok and not self._stop.is_set(), "" if ran.ok else why_failed(ran)
            if ran.ok and self._stop.is_set():
                error = "interrupted"
        except (TerraformError, OSError) as exc:
            ok, error = False, str(exc)
        self._keep_log("terraform_apply.log", "C1", log, ok, error, **versions)
        gather(self.private, "apply")
        outputs = self._keep_state(terraform)
        self.phase(APPLY_PHASE, "end")
        seconds = round(self._clock() - start, 1)
        return self._applied({"ok": ok, "error": error, "outputs": outputs, "seconds": seconds, **versions})

    def _apply(self, terraform: Terraform) -> Ran:
        """Once; again, a few times, while a lost connection ends it before anything was asked for."""
        number = 0
        while True:
            number += 1
            ran = terraform.apply(self.limits.apply, self.limits.lock)
            if ran.ok or self._stop.is_set() or number >= self.limits.attempts or not lost_before_creating(ran):
                return ran
            self._log(f"apply, attempt {number}: {why_failed(ran)}")
            self._sleep(self.limits.backoff * number)

    def _require_may_create(self) -> None:
        if self.settings.problems:
            raise NoLease("; ".join(self.settings.problems))
        require_lease(self.bundle, self.settings.open_ledger(), self.settings.run_id, self.settings.expires_at)

    def _applied(self, result: dict[str, Any]) -> dict[str, Any]:
        self._remember(apply="ok" if result["ok"] else "failed", outputs=result["outputs"], applied=result)
        self._log(f"apply: {'ok' if result['ok'] else result['error']}")
        return result

    def _keep_state(self, terraform: Terraform) -> dict[str, Any]:
        """State and outputs as evidence (D2), as far as they go."""
        try:
            state = terraform.state()
            clean = Redactor(self.private).redact_object(state)
        except (TerraformError, OSError) as exc:
            self._log(str(exc))
            return {}
        outputs = outputs_of(state)
        self.keep("terraform_outputs.json", outputs, status="ok" if outputs else "info", step="D2")
        if state:
            self.keep("terraform.tfstate", clean, status="info", step="D2", terraform=state.get("terraform_version"))
        return outputs

    # Destroy

    def destroy(self, patience: float | None = None) -> dict[str, Any]:
        """Destroys with bounded retries, sweeps by tags what Terraform did not take, then proves absence (C6, C7).

        For so many seconds (`limits.gone`) the sweep is tried again while nothing of it succeeds, as the network may
        come back.

        Returns `ok` (Terraform took everything), `error`, `attempts`, `gone` (nothing is there, whoever took it),
        `swept`, `left`, `by_hand`, `seconds`; nothing of it raises. What fails in it never stops the rest: neither a
        full disk nor a private folder that somebody removed keeps the resources alive.
        """
        start = self._clock()
        known = self._known()
        if known.get("apply") is None:
            return {"ok": True, "created": False, "error": "", "attempts": [], "gone": True, "swept": False,
                    "left": [], "by_hand": [], "seconds": 0.0}  # fmt: skip
        self._remember(destroy="running")
        self.phase("terraform destroy", "start")
        log = self.private / "destroy.log"
        attempts, swept = self._destroy_by_terraform(known, log)
        ok = not attempts or attempts[-1]["ok"]
        error = "" if ok else f"{attempts[-1]['error']} (after {len(attempts)} attempts)"
        self._keep_log("terraform_destroy.log", "C6", log, ok, error, attempts=attempts)
        gather(self.private, "destroy")
        outputs = known.get("outputs") or {}
        gone = self._rest.prove(outputs, group_lines(log), timeout=self.limits.gone if ok else 0)
        if not gone["gone"]:
            cause = f"Terraform's destroy {'left something: ' + gone['error'] if ok else 'failed: ' + error}"
            ok, swept, error = False, True, error or cause
            said = self._rest.sweep(cause, self.limits.gone if patience is None else patience)
            gone = self._rest.prove(outputs, said, timeout=0)
            error += SWEPT if gone["gone"] else "" if gone["error"] in error else f"; {gone['error']}"
        self.phase("terraform destroy", "end")
        result = {
            "ok": ok and gone["gone"],
            "created": True,
            "error": error,
            "attempts": attempts,
            "swept": swept,
            **{key: gone[key] for key in ("gone", "left", "by_hand")},
            "seconds": round(self._clock() - start, 1),
        }
        self._remember(destroy="ok" if result["ok"] else "failed", destroyed=result)
        self._log(f"destroy: {'ok' if result['ok'] else result['error']}")
        return result

    def _known(self) -> dict[str, Any]:
        """What has been done with the stack, by its file; where that is gone by the bundle, which has the phase of an
        apply before the apply begins."""
        known: dict[str, Any] = {}
        try:
            known = self.state.read()
        except (OSError, ValueError) as exc:
            self._log(f"what was done with the stack cannot be read: {exc}")
        if known.get("apply") is None:
            try:
                begun = any((line.get("meta") or {}).get("phase") == APPLY_PHASE for line in self.bundle.lines())
            except (OSError, ValueError, BundleError) as exc:
                self._log(f"the bundle cannot be read: {exc}")
                begun = True  # nobody knows: looking costs little
            if begun:
                known |= {"apply": "lost", "may_exist": True}
        return known

    def _remember(self, **changes: Any) -> None:
        try:
            self.state.update(**changes)
        except (OSError, ValueError) as exc:
            self._log(f"{', '.join(changes)} could not be written down: {exc}")

    def _destroy_by_terraform(self, known: Mapping[str, Any], log: Path) -> tuple[list[dict[str, Any]], bool]:
        """Its attempts, none when it has nothing to do; and whether something was swept before."""
        swept = False
        try:
            terraform = self.terraform(log)
            if known.get("apply") != "ok":
                swept = self._sweep_lost(terraform)
            nothing = self._nothing_to_destroy(terraform, known)
            if not nothing:
                return self._attempts(terraform), swept
            with contextlib.suppress(OSError):
                log.write_text(f"{nothing}\n", "utf-8")
            return [], swept
        except OSError as exc:  # of the private folder: a full disk, or nothing of it is there
            error = f"Terraform cannot work in {self.private}: {exc}"
            return [{"number": 1, "ok": False, "error": error, "seconds": 0.0, "exit_code": None}], swept

    def _sweep_lost(self, terraform: Terraform) -> bool:
        """Sweeps the run when something of it is not in Terraform's state: it was killed, or an answer was lost.

        AWS takes minutes to make a load balancer. Left alone that, or a rule on the tasks' group, would hold the run's
        own group, and each attempt to destroy that would wait in vain for as long as the stack lets it (20 minutes).
        """
        try:
            lost = self._rest.lost(terraform.state())
        except (TerraformError, AwsFailure) as exc:
            self._log(f"before the destroy: {exc}")
            return False
        if lost:
            names = ", ".join(str(resource["name"]) for resource in lost)
            self._rest.sweep(f"Terraform has lost {names}", 0)
        return bool(lost)

    def _nothing_to_destroy(self, terraform: Terraform, known: Mapping[str, Any]) -> str:
        """Why a destroy has nothing to do, or "". It would fail where already the plan did (a missing variable)."""
        if not known.get("may_exist"):
            return "Nothing was applied: Terraform's apply never started."
        try:
            if not terraform.state().get("resources"):
                return "Nothing to destroy: Terraform's state holds no resource."
        except TerraformError as exc:
            self._log(f"before the destroy: {exc}")
        return ""

    def _attempts(self, terraform: Terraform) -> list[dict[str, Any]]:
        attempts: list[dict[str, Any]] = []
        unlocked = False
        for number in range(1, self.limits.attempts + 1):
            output = ""
            try:
                ran = terraform.destroy(self.limits.destroy, self.limits.lock)
                attempts.append(_attempt(number, ran))
                output = ran.output
            except TerraformError as exc:
                attempts.append({"number": number, "ok": False, "error": str(exc), "seconds": 0.0, "exit_code": None})
            if attempts[-1]["ok"] or number == self.limits.attempts:
                break
            self._log(f"destroy, attempt {number}: {attempts[-1]['error']}")
            if not unlocked and (lock := held_lock(output)) is not None:
                unlocked = True
                attempts[-1]["unlocked"] = self._unlock(terraform, lock)
            self._sleep(self.limits.backoff * number)
        return attempts

    def _unlock(self, terraform: Terraform, lock: StateLock) -> str:
        """Frees a lock that a Terraform of this run left when it was killed; says what was done, or why not.

        Only on this run's own state (its id is in the path), only a lock taken on this machine, and never while
        anything still works in the run's copy of the stack.
        """
        living = working_in(self.folder)
        if not self.stack.backend:
            why = "it is on a local state, where it ends with its process"
        elif self.settings.run_id not in lock.path:
            why = "it is not on the state of this run"
        elif lock.who.rpartition("@")[2] != socket.gethostname():
            why = "it was not taken on this machine"
        elif living:
            why = f"processes {', '.join(str(member.pid) for member in living)} work in this run's copy of the stack"
        else:
            try:
                ran = terraform.force_unlock(lock.id)
            except (TerraformError, OSError) as exc:
                why = str(exc)
            else:
                why = "" if ran.ok else why_failed(ran)
        said = f"{lock} was left as it is: {why}" if why else f"{lock} was freed: whoever held it is dead"
        self._log(said)
        return said


def _attempt(number: int, ran: Ran) -> dict[str, Any]:
    return {
        "number": number,
        "ok": ran.ok,
        "error": "" if ran.ok else why_failed(ran),
        "seconds": round(ran.seconds, 1),
        "exit_code": ran.returncode,
    }
