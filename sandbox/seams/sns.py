"""SNS: subscriptions and deliveries are the sandbox's own, topics and what is published the emulator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.emulator import service
from sandbox.messages.notifications import Notifications

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    sns = service("sns")
    runtime.notifications = Notifications(runtime)
    sns._fanout = runtime.notifications.fan_out
    error = sns._error
    # SNS's own code, which the emulator writes as the newer services do.
    codes = {"InvalidParameterException": "InvalidParameter"}
    sns._error = lambda code, message, status=400: error(codes.get(code, code), message, status)
