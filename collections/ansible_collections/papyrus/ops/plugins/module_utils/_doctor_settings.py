# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What doctor is told beside what the preflight is told, and its own kinds of answer."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import _aws
from ._preflight import Ask, Finding, Settings

DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError")
"""Codes of AWS for "not allowed" (query and JSON protocols, EC2)."""


@dataclass(frozen=True)
class DoctorSettings(Settings):
    """What the inventory says beyond a preflight. Empty strings and None stand for "not given".

    `must` are the playbooks that these credentials have to be able to run; of the others doctor only says so.
    `signing_key` is the KMS key of the signer, `ledger` as papyrus_ledger.
    """

    must: tuple[str, ...] = ("alb_smoke",)
    drills: bool = False
    repository: str = ""
    base_image: str = ""
    image_platform: str = "linux/amd64"
    log_group: str = ""
    audit_log_groups: tuple[str, ...] = ()
    db_master_secret_id: str = ""
    fresh_login: bool = False
    rollout_timeout: float | None = None
    ledger: str = ""
    signing_key: str = ""
    alarm_name: str = ""
    certificate_arn: str = ""


def told(ask: Ask) -> DoctorSettings:
    """The settings of whoever asks, which are doctor's."""
    settings = ask.settings
    if not isinstance(settings, DoctorSettings):
        raise TypeError("doctor's rows need doctor's settings")
    return settings


def warn(reason: str, do: str, **data: Any) -> Finding:
    """Not in order, or not known, and no run is refused for it."""
    return Finding("warn", reason, {"do": do, **data})


def mend(reason: str, do: str, **data: Any) -> Finding:
    """NG, with what to do."""
    return Finding("ng", reason, {"do": do, **data})


def statement(actions: Sequence[str], resources: Sequence[str] = ("*",)) -> str:
    """A statement that allows the actions, without blanks: the table leaves it whole, to be copied."""
    return json.dumps({"Effect": "Allow", "Action": list(actions), "Resource": list(resources)}, separators=(",", ":"))


def denied(exc: BaseException) -> bool:
    """Whether AWS refused the question itself."""
    return isinstance(exc, _aws.AwsFailure) and exc.code in DENIED


def only_warns(answer: Callable[[Ask], Finding]) -> Callable[[Ask], Finding]:
    """For a row that no run asks for: that doctor may not ask is a WARN with the statement to add, never OK."""

    @functools.wraps(answer)
    def lenient(ask: Ask) -> Finding:
        try:
            return answer(ask)
        except _aws.AwsFailure as exc:
            if not denied(exc):
                raise
            action = iam_action(exc.operation)
            return warn(
                f"not known: {action} is not allowed to these credentials ({exc.code})",
                f"allow doctor to ask: {statement([action])}",
                code=exc.code,
            )

    return lenient


def iam_action(operation: str) -> str:
    """`elbv2:DescribeAccountLimits`, as failures name a call → `elasticloadbalancing:DescribeAccountLimits`."""
    service, dummy, name = operation.partition(":")
    prefixes = {"elbv2": "elasticloadbalancing", "service-quotas": "servicequotas"}
    return f"{prefixes.get(service, service)}:{name}"
