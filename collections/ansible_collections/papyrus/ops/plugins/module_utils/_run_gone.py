# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the end of one run leaves in AWS: asked for, swept by its tags, proved gone; with its evidence (C7)."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import _leftovers
from ._aws import AwsFailure, Clients
from ._evidence import Bundle, BundleError, content_bytes
from ._locks import LockTimeout
from ._names import rfc3339, utc_now
from ._printable import extra_variable
from ._run_settings import Settings
from ._sweep import Order, Swept, sweep

REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "NoCredentialsError",
        "OperationNotPermitted",
        "PartialCredentialsError",
        "ProfileNotFound",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnauthorizedSSOTokenError",
        "UnrecognizedClientException",
    }
)
"""What no waiting mends. Anything else may: a network that is away, a service in trouble, a dependency that goes."""

SWEPT = "; it was swept by its tags, nothing is there any more"

_LONGEST_PAUSE = 60.0

_CONSEQUENCE = "it is kept, as "
"""So the sweep begins the error of what goes only after something else that could not be deleted."""


class Keeper:
    """Puts items of evidence into a bundle. One that cannot be written is logged, and never stops a destroy."""

    def __init__(self, bundle: Bundle, log: Callable[[str], None]) -> None:
        self._bundle = bundle
        self._log = log

    def keep(self, name: str, content: Any, *, status: str, step: str, **meta: Any) -> None:
        try:
            self._bundle.append(name, content_bytes(content), status=status, step=step, meta=meta)
        except (OSError, ValueError, BundleError, LockTimeout) as exc:
            self._log(f"{name} could not be written: {exc}")


def sweep_command(run_ids: Iterable[str]) -> str:
    """The one command that takes what runs have left; with the inventory and the environment of the run."""
    return f"ansible-playbook papyrus.ops.sweep {extra_variable('papyrus_sweep_run_ids', ','.join(run_ids))}"


def left_behind(result: Mapping[str, Any], *, run_id: str, expires_at: str, name: str) -> str:
    """For a person: what of a run is left, until when it is leased, and the one command that takes it."""
    left = sorted({str(resource["name"] or resource["id"]) for resource in result.get("left") or []})
    what = ", ".join(left) or (f"perhaps everything that is named {name}" if name else "what is not known")
    text = (
        f"LEFT BEHIND: {what} ({str(result.get('error')).rstrip('.')}). One command takes it, with the inventory of "
        f"this run and valid credentials: {sweep_command([run_id])} - its lease ends at {expires_at}, from then on any "
        "sweep of this service takes it"
    )
    if result.get("by_hand"):
        text += ". By hand: " + " && ".join(result["by_hand"])
    return f"{text}."


class Rest:
    """Of one run. `clients` makes fresh ones each time, so that credentials that were renewed meanwhile count."""

    def __init__(
        self,
        settings: Settings,
        clients: Callable[[], Clients],
        keep: Callable[..., None],
        *,
        log: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._clients = clients
        self._keep = keep
        self._log = log
        self._clock = clock
        self._sleep = sleep

    def lost(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What of this run would hold its security group and is not in Terraform's `state`. AwsFailure.

        Load balancers, and rules on the groups of others: those whose create call had no answer.
        """
        text = json.dumps(state)
        instances = [each for resource in _objects(state, "resources") for each in _objects(resource, "instances")]
        known = {_rule_of(each["attributes"]) for each in instances if isinstance(each.get("attributes"), Mapping)}
        found = _leftovers.find(self._clients(), self._settings.scope()).resources
        return [
            each
            for each in found
            if (each["kind"] == "load_balancer" and each["id"] not in text)
            or (each["kind"] == "security_group_rule" and _rule_of(each["detail"]) not in known)
        ]

    def sweep(self, cause: str, patience: float) -> list[str]:
        """Deletes by tags and descriptions what the run has left, again and again while that may help.

        It ends when everything is gone, when AWS refuses, when nothing succeeds for `patience` seconds, and after
        `limits.sweep` seconds. What was done is evidence, whatever came of it. Returns its log; nothing of it raises.
        """
        limits = self._settings.limits
        started = self._clock()
        deadline, progress = started + limits.sweep, started
        order = Order(service=self._settings.service, run_ids=frozenset({self._settings.run_id}))
        pause, rounds, error = limits.backoff, 0, ""
        swept: Swept | None = None
        done: list[dict[str, Any]] = []
        log: list[str] = []
        calls: Counter[str] = Counter()
        while True:
            rounds += 1
            try:
                swept = sweep(
                    self._clients(),
                    self._settings.scope(),
                    order,
                    timeout=max(0.0, deadline - self._clock()),
                    interval=limits.gone_interval,
                    say=self._log,
                    clock=self._clock,
                    sleep=self._sleep,
                )
            except Exception as exc:
                # No client at all: no credentials, no SDK, no room on the disk. Or a fault of ours, which stays one.
                error = str(exc)
                refused = not isinstance(exc, AwsFailure | OSError) or getattr(exc, "code", "") in REFUSED
                self._log(f"the sweep ended early: {type(exc).__name__}: {exc}")
            else:
                error, refused = "", _hopeless(swept)
                done += swept.deleted
                log += swept.log
                calls.update(swept.calls)
                progress = self._clock() if swept.deleted else progress
                if swept.gone:
                    break
            now = self._clock()
            if refused or now + pause > min(deadline, progress + patience):
                break
            self._log(f"not everything is gone, looking again in {pause:g} s")
            self._sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        content = {
            "cause": cause,
            "deleted": done,
            "spared": swept.spared if swept else [],
            "failed": swept.failed if swept else [],
            "gone": bool(swept and swept.gone),
            "error": error,
            "rounds": rounds,
            "calls": dict(calls),
            "log": log,
        }
        names = ", ".join(str(resource["name"] or resource["id"]) for resource in done) or "nothing"
        self._keep("swept.json", content, status="info", step="C6", reason=f"{cause}; swept by its tags: {names}")
        return log

    def prove(self, outputs: Mapping[str, Any], log: Sequence[str], *, timeout: float) -> dict[str, Any]:
        """C7: what is left now, what deleted the group (`log`), and the Describe answers that show absence.

        Waits at most `timeout` seconds for it. Returns `gone`, `left`, `by_hand`, `error`; nothing of it raises.
        """
        scope = self._settings.scope()
        try:
            clients = self._clients()
            first = _leftovers.find(clients, scope)
            self._keep("alb_sg_leftover.json", first.as_dict(), status="info", step="C7")
            said = "\n".join([*log, f"# after that: {_leftovers.describe(first)}"]) + "\n"
            self._keep("alb_sg_delete.log", said, status="info", step="C7")
            last = _leftovers.wait_gone(
                clients,
                scope,
                outputs,
                timeout=timeout,
                interval=self._settings.limits.gone_interval,
                clock=self._clock,
                sleep=self._sleep,
            )
        except Exception as exc:  # no client at all (no credentials, no SDK): that is not "gone", and has to be said
            reason = f"AWS could not be asked what is left: {exc}"
            self._keep(
                "alb_sg_verify_gone.json", {"gone": False, "reason": reason}, status="ng", step="C7", reason=reason
            )
            return {"gone": False, "left": [], "by_hand": [], "error": reason}
        answered = f"{len(last.described)} Describe calls answered, nothing of the run is there"
        reason = answered if last.gone else _leftovers.describe(last)
        content = {"at": rfc3339(utc_now(), microseconds=True), "reason": reason, **last.as_dict()}
        by_hand = _leftovers.by_hand(last.resources, self._settings.region)
        if by_hand:
            content["delete_by_hand"] = by_hand
        self._keep(
            "alb_sg_verify_gone.json", content, status="ok" if last.gone else "ng", step="C7",
            reason=reason, request_ids=last.request_ids()[:50],
        )  # fmt: skip
        return {"gone": last.gone, "left": last.resources, "by_hand": by_hand, "error": "" if last.gone else reason}


def _hopeless(swept: Swept) -> bool:
    """Whether no waiting helps: AWS has refused what is in the way, or what is left is not the sweep's to delete."""
    refused = [str(failure.get("code")) in REFUSED for failure in swept.after.failures]
    blamed = [str(failed["error"]) for failed in swept.failed if not str(failed["error"]).startswith(_CONSEQUENCE)]
    refused += [any(f" {code}: " in error for code in REFUSED) for error in blamed]
    return all(refused)


def _objects(value: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The objects in a list of a state; what else somebody has put there must not stop a teardown."""
    listed = value.get(key)
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def _rule_of(attributes: Mapping[str, Any]) -> tuple[str, str]:
    """The group that a rule is on, and the one that it names: by what a find has of it, or by Terraform's state."""
    group = attributes.get("group_id") or attributes.get("security_group_id")
    keys = ("peer", "source_security_group_id", "referenced_security_group_id")
    return str(group or ""), str(next((attributes[key] for key in keys if attributes.get(key)), ""))


def group_lines(log: Path) -> list[str]:
    """What Terraform said about security groups and their rules."""
    try:
        lines = log.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return [line for line in lines if "aws_security_group" in line and ": " in line and not line.startswith(" ")]
