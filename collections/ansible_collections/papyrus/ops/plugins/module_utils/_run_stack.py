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
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import _leftovers
from ._aws import AwsFailure, Clients, aws_call
from ._evidence import Bundle, BundleError, content_bytes
from ._guard_processes import process
from ._lease import NoLease, require_lease
from ._locks import LockTimeout
from ._names import rfc3339, utc_now
from ._redaction import Redactor
from ._run_settings import ChildFile, Settings, Stack, StateFile
from ._terraform import (
    ProcessRunner,
    Ran,
    Terraform,
    TerraformError,
    complete_line,
    environment,
    outputs_of,
    why_failed,
)
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
    shutil.copytree(source, folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
    for name, module in stack.modules.items():
        _stage_module(name, Path(module), folder)
    for file in stack.override_files:
        shutil.copy(file, folder / Path(file).name)
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
    shutil.copytree(source, folder / name, ignore=_NOT_COPIED, dirs_exist_ok=True)
    (folder / name / PROVIDER_FILE).unlink(missing_ok=True)


def _backend(stack: Stack, run_id: str) -> dict[str, Any]:
    """`{type: config}` with `{run_id}` filled in: two runs must not share a state."""
    text = json.dumps(stack.backend)
    if "{run_id}" not in text:
        raise TerraformError("the backend of a temporary stack must have {run_id} in its key: each run has a state")
    return dict(json.loads(text.replace("{run_id}", run_id)))


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
        self.evidence_errors: list[str] = []

    # Evidence

    def keep(self, name: str, content: Any, *, status: str, step: str, **meta: Any) -> None:
        try:
            self.bundle.append(name, content_bytes(content), status=status, step=step, meta=meta)
        except (OSError, ValueError, BundleError, LockTimeout) as exc:
            self.evidence_errors.append(f"{name}: {exc}")
            self._log(f"{name} could not be written: {exc}")

    def phase(self, name: str, event: str) -> None:
        self.keep("phase.json", {"phase": name, "event": event}, status="info", step="all", phase=name, event=event)

    def _keep_log(self, name: str, step: str, log: Path, ok: bool, reason: str, **meta: Any) -> None:
        text = log.read_bytes() if log.exists() else b""
        reason = reason or complete_line(text.decode("utf-8", "replace"))
        self.keep(name, text or (reason + "\n").encode(), status="ok" if ok else "ng", step=step, reason=reason, **meta)

    # Before Terraform

    def terraform(self, log: Path) -> Terraform:
        env = environment(self._environ, self.stack.environment, self.private / "tf")
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
        except (NoLease, TerraformError, OSError, ValueError) as exc:
            self._keep_log("terraform_apply.log", "C1", log, False, str(exc))
            return self._applied({"ok": False, "error": str(exc), "outputs": {}, "seconds": 0.0})
        # Before the first create call, so that whoever comes after a crash knows that there is something to destroy.
        self.state.update(apply="running")
        self.phase(APPLY_PHASE, "start")
        terraform = self.terraform(log)
        versions: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        try:
            ran = terraform.init(self.limits.init)
            if ran.ok and not self._stop.is_set():
                versions = {"providers": terraform.providers()}
                self.state.update(may_exist=True)
                ran = terraform.apply(self.limits.apply, self.limits.lock)
            ok, error = ran.ok and not self._stop.is_set(), "" if ran.ok else why_failed(ran)
            if ran.ok and self._stop.is_set():
                error = "interrupted"
        except TerraformError as exc:
            ok, error = False, str(exc)
        self._keep_log("terraform_apply.log", "C1", log, ok, error, **versions)
        outputs = self._keep_state(terraform)
        self.phase(APPLY_PHASE, "end")
        seconds = round(self._clock() - start, 1)
        return self._applied({"ok": ok, "error": error, "outputs": outputs, "seconds": seconds, **versions})

    def _require_may_create(self) -> None:
        if self.settings.problems:
            raise NoLease("; ".join(self.settings.problems))
        require_lease(self.bundle, self.settings.open_ledger(), self.settings.run_id, self.settings.expires_at)

    def _applied(self, result: dict[str, Any]) -> dict[str, Any]:
        self.state.update(apply="ok" if result["ok"] else "failed", outputs=result["outputs"], applied=result)
        self._log(f"apply: {'ok' if result['ok'] else result['error']}")
        return result

    def _keep_state(self, terraform: Terraform) -> dict[str, Any]:
        """State and outputs as evidence (D2), as far as they go."""
        try:
            state = terraform.state()
        except TerraformError as exc:
            self._log(str(exc))
            return {}
        outputs = outputs_of(state)
        self.keep("terraform_outputs.json", outputs, status="ok" if outputs else "info", step="D2")
        if state:
            clean = Redactor(self.private).redact_object(state)
            self.keep("terraform.tfstate", clean, status="info", step="D2", terraform=state.get("terraform_version"))
        return outputs

    # Destroy

    def destroy(self) -> dict[str, Any]:
        """Destroys with bounded retries, then asks AWS what is left.

        Returns `ok`, `error`, `attempts`, `gone`, `left`, `by_hand`, `seconds`; nothing of it raises.
        """
        start = self._clock()
        known = self.state.read()
        if known.get("apply") is None:
            return {"ok": True, "created": False, "error": "", "attempts": [], "gone": True, "left": [], "by_hand": [],
                    "seconds": 0.0}  # fmt: skip
        self.state.update(destroy="running")
        self.phase("terraform destroy", "start")
        log = self.private / "destroy.log"
        terraform = self.terraform(log)
        if known.get("apply") != "ok":
            self._delete_lost(terraform)
        nothing = self._nothing_to_destroy(terraform, known)
        attempts = [] if nothing else self._attempts(terraform)
        ok = not attempts or attempts[-1]["ok"]
        error = "" if ok else f"{attempts[-1]['error']} (after {len(attempts)} attempts)"
        if nothing:
            with contextlib.suppress(OSError):
                log.write_text(f"{nothing}\n", "utf-8")
        self._keep_log("terraform_destroy.log", "C6", log, ok, error, attempts=attempts)
        gone = self._prove_gone(known.get("outputs") or {}, log, wait=ok)
        self.phase("terraform destroy", "end")
        result = {
            "ok": ok and gone["gone"],
            "created": True,
            "error": error or gone["error"],
            "attempts": attempts,
            **{key: gone[key] for key in ("gone", "left", "by_hand")},
            "seconds": round(self._clock() - start, 1),
        }
        self.state.update(destroy="ok" if result["ok"] else "failed", destroyed=result)
        self._log(f"destroy: {'ok' if result['ok'] else result['error']}")
        return result

    def _delete_lost(self, terraform: Terraform) -> None:
        """Deletes a load balancer that bears this run's tags and is not in Terraform's state.

        Terraform was killed while AWS made it, which takes minutes. Left alone it would hold the security group, and
        each attempt to destroy that would wait for it in vain. Whatever else is lost, the gone-check names.
        """
        try:
            known = json.dumps(terraform.state())
            clients = self._clients()
            found = _leftovers.find(clients, self.settings.scope())
            lost = [r for r in found.resources if r["kind"] == "load_balancer" and r["id"] not in known]
            for resource in lost:
                with aws_call("DeleteLoadBalancer", resource["id"]):
                    clients("elbv2").delete_load_balancer(LoadBalancerArn=resource["id"])
        except (TerraformError, AwsFailure) as exc:
            self._log(f"before the destroy: {exc}")
            return
        if lost:
            reason = f"deleted, as Terraform had lost it: {', '.join(str(resource['name']) for resource in lost)}"
            self._log(reason)
            self.keep("terraform_lost.json", lost, status="info", step="C6", reason=reason)

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
        for number in range(1, self.limits.attempts + 1):
            try:
                ran = terraform.destroy(self.limits.destroy, self.limits.lock)
                attempts.append(_attempt(number, ran))
            except TerraformError as exc:
                attempts.append({"number": number, "ok": False, "error": str(exc), "seconds": 0.0, "exit_code": None})
            if attempts[-1]["ok"] or number == self.limits.attempts:
                break
            self._log(f"destroy, attempt {number}: {attempts[-1]['error']}")
            self._sleep(self.limits.backoff * number)
        return attempts

    def _prove_gone(self, outputs: Mapping[str, Any], log: Path, *, wait: bool) -> dict[str, Any]:
        """C7: what is left after the destroy, what deleted the group, and the Describe answers that show absence."""
        limits = self.limits
        scope = self.settings.scope()
        try:
            clients = self._clients()
            first = _leftovers.find(clients, scope)
            self.keep("alb_sg_leftover.json", first.as_dict(), status="info", step="C7")
            self.keep("alb_sg_delete.log", _delete_log(log, first), status="info", step="C7")
            timeout = limits.gone if wait else 0
            last = _leftovers.wait_gone(
                clients,
                scope,
                outputs,
                timeout=timeout,
                interval=limits.gone_interval,
                clock=self._clock,
                sleep=self._sleep,
            )
        except Exception as exc:  # no client at all (no credentials, no SDK): that is not "gone", and has to be said
            reason = f"AWS could not be asked what is left: {exc}"
            self.keep(
                "alb_sg_verify_gone.json", {"gone": False, "reason": reason}, status="ng", step="C7", reason=reason
            )
            return {"gone": False, "left": [], "by_hand": [], "error": reason}
        answered = f"{len(last.described)} Describe calls answered, nothing of the run is there"
        reason = answered if last.gone else _leftovers.describe(last)
        content = {"at": rfc3339(utc_now(), microseconds=True), "reason": reason, **last.as_dict()}
        by_hand = _leftovers.by_hand(last.resources, self.settings.region)
        if by_hand:
            content["delete_by_hand"] = by_hand
        self.keep(
            "alb_sg_verify_gone.json", content, status="ok" if last.gone else "ng", step="C7",
            reason=reason, request_ids=last.request_ids()[:50],
        )  # fmt: skip
        return {"gone": last.gone, "left": last.resources, "by_hand": by_hand, "error": "" if last.gone else reason}


def _attempt(number: int, ran: Ran) -> dict[str, Any]:
    return {
        "number": number,
        "ok": ran.ok,
        "error": "" if ran.ok else why_failed(ran),
        "seconds": round(ran.seconds, 1),
        "exit_code": ran.returncode,
    }


def _delete_log(log: Path, first: _leftovers.Found) -> str:
    """What Terraform said about security groups and their rules, and what was seen right after it."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    about = [line for line in lines if "aws_security_group" in line and ": " in line and not line.startswith(" ")]
    return "\n".join([*about, f"# after the destroy: {_leftovers.describe(first)}"]) + "\n"
