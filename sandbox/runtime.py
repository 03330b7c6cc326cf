"""What one running sandbox is made of: handed to every seam, so that nothing is a hidden global."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from sandbox import emulator
from sandbox.iam.decisions import Decisions

if TYPE_CHECKING:
    from sandbox.addresses import Addresses
    from sandbox.audit import Audit
    from sandbox.config import Settings
    from sandbox.containers import Container
    from sandbox.engine import Engine
    from sandbox.faults import Faults
    from sandbox.logs.intake import Intake
    from sandbox.messages.notifications import Notifications
    from sandbox.metrics import Metrics
    from sandbox.metrics.alarms import Alarms
    from sandbox.processes import Processes
    from sandbox.recording import Recording
    from sandbox.registry import Registry
    from sandbox.requests import ApiRequest
    from sandbox.switches import Switches

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Backend(Protocol):
    """Makes one kind of container real. Registered by the value of the container's `ministack` label."""

    def prepare(self, container: Container) -> None:
        """Give it its address (container.ip) and whatever else must exist before it starts."""

    def start(self, container: Container) -> None:
        """Start it and return soon; sets container.status, and container.process once there is one."""

    def stop(self, container: Container, timeout: float) -> None:
        """End it within the timeout (seconds) and a little more; sets container.exit_code."""

    def remove(self, container: Container) -> None:
        """Give back what prepare() took. Its data stays or goes as the AWS resource's would."""


class DataPlane(Protocol):
    """Answers ordinary HTTP requests that are for a host of its own, such as a load balancer's name."""

    def serves(self, host: str) -> bool:
        """`host` is the Host header in lower case, without the port."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Websockets(Protocol):
    """Serves every websocket."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None: ...

    async def close(self) -> None:
        """End all of them, soon: the server waits for its connections."""


@dataclass
class Runtime:
    settings: Settings
    processes: Processes
    addresses: Addresses
    faults: Faults
    recording: Recording
    switches: Switches
    # CloudTrail's event history and Config's items.
    audit: Audit
    # What policies were asked in IAM mode.
    decisions: Decisions = field(default_factory=Decisions)
    # Container kind ("ecs") → who makes it real. Seams put theirs in at install().
    backends: dict[str, Backend] = field(default_factory=dict)
    # Asked in turn, before a request is taken for an AWS API call.
    data_planes: list[DataPlane] = field(default_factory=list)
    # ECS's seam puts its data channels in.
    websockets: Websockets = field(init=False)
    # Called in the server's loop once it serves, and at its end in reverse order (plain functions, kept short).
    at_start: list[Callable[[], None]] = field(default_factory=list)
    at_stop: list[Callable[[], None]] = field(default_factory=list)
    # The server's event loop, set before at_start runs.
    loop: asyncio.AbstractEventLoop | None = None
    # The container engine that the emulator talks to, and what it is run for (see sandbox.engine).
    engine: Engine = field(init=False)
    # ECR's blobs and the registry's HTTP side.
    registry: Registry = field(init=False)
    # CloudWatch: where the sandbox's own services publish (`runtime.metrics.put`), and the alarms over it.
    metrics: Metrics = field(init=False)
    alarms: Alarms = field(init=False)
    # CloudWatch Logs: where events go that nobody puts by its API.
    logs: Intake = field(init=False)
    # SNS: deliveries and confirmations.
    notifications: Notifications = field(init=False)
    # (target group ARN, IP, port) → state as DescribeTargetHealth has it; the load balancer's seam puts its own in.
    target_state: Callable[[str, str, int], str] | None = None
    # Likewise its description: why it is not healthy.
    target_description: Callable[[str, str, int], str] | None = None
    # Facts for sandbox.json that are known only once the sandbox runs.
    facts: dict[str, str] = field(default_factory=dict)
    _dirty: threading.Event = field(default_factory=threading.Event, repr=False)

    def changed(self) -> None:
        """Something worth keeping has changed: the state is saved within a few seconds. Any thread."""
        self._dirty.set()

    def scope_of(self, request: ApiRequest) -> AbstractContextManager[None]:
        """Within it the emulator's stores show what whoever asks has in the request's region."""
        settings = self.settings
        return emulator.tenant_scope(request.access_key_id, settings.account, request.region or settings.region)

    def take_changed(self) -> bool:
        """Whether something has changed since the last time this was asked."""
        was = self._dirty.is_set()
        self._dirty.clear()
        return was
