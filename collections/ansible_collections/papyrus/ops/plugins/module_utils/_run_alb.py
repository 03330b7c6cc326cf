# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What temporary_alb does: asks the guard, or destroys here when that is dead. It creates nothing without one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._aws import Clients, client_factory
from ._guard_socket import Client, GuardError, GuardGone
from ._progress import PROGRESS
from ._redaction import Redactor
from ._run_gone import left_behind
from ._run_plan import planned
from ._run_settings import Settings
from ._run_unguarded import destroy_without_guard, sweep_without_state
from ._terraform import TerraformError
from ._terraform_watch import TerraformWatch

_LOG_LINES = 40


class AlbFailure(Exception):
    """`result` has `cause` and `step` beside what is known: for the module's failure."""

    def __init__(self, step: str, cause: str, **result: Any) -> None:
        self.result: dict[str, Any] = {"cause": cause, "step": step, "changed": False, **result}
        super().__init__(cause)


def predict(run: Mapping[str, Any], state: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check mode: names that would be created, with Terraform's plan for V(started). Nothing is there that could go."""
    created = state in ("started", "present")
    names = dict(run.get("names") or {})
    result = {"changed": created and bool(names), "names": names, "outputs": {}, "plan": ""}
    if state == "started":
        try:
            result["plan"] = planned(run, options)
        except (TerraformError, OSError) as exc:
            raise AlbFailure("C1", f"the temporary ALB cannot be planned: {exc}") from exc
    return {**result, "diff": {"before": "", "after": result["plan"]}}


def start(run: Mapping[str, Any]) -> dict[str, Any]:
    """Begins the apply; what stands in its way (no lease, a name AWS refuses) comes out when it is waited for."""
    try:
        answer = _client(run).ask("apply")
    except (GuardGone, GuardError) as exc:
        raise AlbFailure("C1", f"nothing is created without the guard of the run: {exc}") from exc
    return {"changed": bool(answer["started"]), "names": dict(run.get("names") or {})}


def wait_present(run: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    started = start(run)
    try:
        result = _client(run).wait("apply", timeout, _look(run, "apply", "state and outputs are kept"))
    except (GuardGone, GuardError) as exc:
        raise AlbFailure("C1", f"the temporary ALB was being created: {exc}") from exc
    if result is None:
        raise AlbFailure(
            "C1", f"terraform apply has not ended after {timeout:g} s; its guard goes on", log=_log(run, "apply")
        )
    if not result["ok"]:
        raise AlbFailure("C1", str(result["error"]), changed=True, log=_log(run, "apply"))
    return {
        "changed": started["changed"],
        "outputs": result["outputs"],
        "seconds": result["seconds"],
        "log": _log(run, "apply"),
        "diff": {"before": "", "after": f"load balancer, target group, security group: {run.get('name')}\n"},
    }


def remove(run: Mapping[str, Any], timeout: float, *, clients: Callable[[], Clients] | None = None) -> dict[str, Any]:
    """Destroys by the guard; by the same code here when it is dead; only looks when the private folder is gone too."""
    clients = clients or (lambda: client_factory({"region_name": run["region"]} if run.get("region") else {}))
    guard = "alive"
    try:
        client = _client(run)
        client.ask("destroy", again=True)
        result = client.wait("destroy", timeout, _look(run, "destroy", "AWS is asked for what is left"))
    except GuardError as exc:
        raise AlbFailure("C6", str(exc), guard=guard) from exc
    except GuardGone:
        guard = "dead"
        result = _remove_here(run, clients, timeout)
    if result is None:
        cause = f"terraform destroy has not ended after {timeout:g} s; its guard goes on"
        raise AlbFailure("C6", cause, guard=guard, log=_log(run, "destroy"))
    keys = ("attempts", "gone", "swept", "left", "by_hand", "seconds")
    answer = {**{key: result.get(key) for key in keys}, "guard": guard, "log": _log(run, "destroy")}
    if not result.get("ok"):
        raise AlbFailure("C6", _cause(run, result), **{**answer, "changed": True})
    created = bool(result.get("created"))
    before = f"load balancer, target group, security group: {run.get('name')}\n" if created else ""
    return {"changed": created, **answer, "diff": {"before": before, "after": ""}}


def _cause(run: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    text = f"the temporary ALB could not be removed as it should: {str(result.get('error')).rstrip('.')}"
    return (
        text
        if result.get("gone")
        else f"{text}. "
        + left_behind(result, run_id=str(run["id"]), expires_at=str(run["expires_at"]), name=str(run.get("name") or ""))
    )


def _remove_here(run: Mapping[str, Any], clients: Callable[[], Clients], timeout: float) -> dict[str, Any]:
    """What the guard would do. Where the private folder is gone, and with it the state: what the tags lead to."""
    if run.get("private") and Path(str(run["private"])).is_dir():
        settings = Settings.load(run["private"])
        if settings.stack is not None:
            return destroy_without_guard(settings, clients)
    return sweep_without_state(run, clients, timeout)


def _client(run: Mapping[str, Any]) -> Client:
    if not run.get("private"):
        raise GuardGone("the run was opened without one, or in check mode")
    return Client(str(run["private"]))


def _look(run: Mapping[str, Any], name: str, then: str) -> Callable[[], None]:
    """Tells what the guard's Terraform does just now."""
    watch = TerraformWatch(Path(str(run["private"])) / f"{name}.log", then)

    def look() -> None:
        with contextlib.suppress(OSError):
            PROGRESS.now(watch.look())

    return look


def _log(run: Mapping[str, Any], name: str) -> list[str]:
    """Last lines of Terraform's output, redacted: a module's result is printed."""
    try:
        private = Path(str(run["private"]))
        text = Redactor(private).redact((private / f"{name}.log").read_bytes()).decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in text.splitlines() if line.strip()][-_LOG_LINES:]
