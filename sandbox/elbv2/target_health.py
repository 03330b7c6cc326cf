"""Health of registered targets, checked for real: one state machine a registration, one loop for all.

States, reason codes and their texts: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
and https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sandbox.addresses import is_ours
from sandbox.behaviours import behaviour

# Target group ARN, address, port.
Key = tuple[str, str, int]
log = logging.getLogger("sandbox.health")
# How long a new target stays in Elb.RegistrationInProgress before its first check. AWS: a few seconds.
REGISTRATION_SECONDS = 0.5
TICK_SECONDS = 0.1
# An ALB's health checker reads no more of an answer than its head.
LARGEST_HEAD = 16 * 1024

DESCRIPTIONS = {
    "Elb.RegistrationInProgress": "Target registration is in progress",
    "Elb.InitialHealthChecking": "Initial health checks in progress",
    "Target.Timeout": "Request timed out",
    "Target.FailedHealthChecks": "Health checks failed",
    "Target.NotRegistered": "Target is not registered to the target group",
    "Target.NotInUse": "Target group is not configured to receive traffic from the load balancer",
    "Target.DeregistrationInProgress": "Target deregistration is in progress",
}


@dataclass(frozen=True)
class Group:
    """A target group as far as health goes. Times in seconds; `in_use` when an active load balancer forwards to it."""

    arn: str
    targets: tuple[tuple[str, int], ...]
    in_use: bool
    protocol: str
    port: str
    path: str
    interval: float
    timeout: float
    healthy_threshold: int
    unhealthy_threshold: int
    matcher: str
    deregistration_delay: float
    # Targets in Availability Zones that the load balancer has no subnet in.
    aside: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True)
class Finding:
    """What a target's health is now, in DescribeTargetHealth's words."""

    state: str
    reason: str | None = None
    description: str | None = None

    @classmethod
    def of(cls, state: str, reason: str | None = None, description: str | None = None) -> Finding:
        return cls(state, reason, description or (DESCRIPTIONS.get(reason) if reason else None))


NOT_REGISTERED = Finding.of("unused", "Target.NotRegistered")
NOT_IN_USE = Finding.of("unused", "Target.NotInUse")
NOT_ENABLED = Finding.of(
    "unused", "Target.NotInUse", "Target is in an Availability Zone that is not enabled for the load balancer"
)
REGISTERING = Finding.of("initial", "Elb.RegistrationInProgress")
# How long a target is remembered that is registered no more, in seconds, and how many states of each.
REMEMBERED_SECONDS = 3600.0
REMEMBERED_STATES = 50


@behaviour("elbv2", otherwise=lambda: Finding.of("healthy"))
def first_finding() -> Finding:
    """A target that is being registered, or not checked yet, is `initial`.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    return REGISTERING


@behaviour("elbv2", otherwise=lambda: Finding.of("healthy"))
def not_registered() -> Finding:
    """A target that is not registered is `unused`, Target.NotRegistered.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    return NOT_REGISTERED


@behaviour("elbv2", otherwise=lambda _: False)
def _not_in_use(group: Group) -> bool:
    """Targets of a group to which no load balancer forwards are `unused`, Target.NotInUse, and not checked.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    return not group.in_use


@behaviour("elbv2", otherwise=lambda *_: False)
def _zone_is_not_enabled(group: Group, target: tuple[str, int]) -> bool:
    """A target in an Availability Zone that its load balancer has no subnet in is `unused`, and gets nothing.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    return target in group.aside


@dataclass
class Registration:
    """One target in one group, from its registration on; a new registration starts from the beginning."""

    finding: Finding = field(default_factory=first_finding)
    successes: int = 0
    failures: int = 0
    due: float = 0.0
    checking: bool = False
    drained_at: float | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def judge(self, failure: Finding | None, group: Group) -> None:
        """Take in the result of one check (None: passed)."""
        if failure is None:
            self.successes, self.failures = self.successes + 1, 0
            if _one_pass_is_enough_at_first(self) or _healthy_threshold(self, group):
                self.finding = Finding.of("healthy")
            return
        self.successes, self.failures = 0, self.failures + 1
        if self.finding.state == "unhealthy" or _unhealthy_threshold(self, group):
            self.finding = failure


@behaviour("elbv2", otherwise=lambda _: False)
def _one_pass_is_enough_at_first(registration: Registration) -> bool:
    """A newly registered target is healthy after one check that passed.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return registration.finding.state == "initial"


@behaviour("elbv2", otherwise=lambda *_: True)
def _healthy_threshold(registration: Registration, group: Group) -> bool:
    """An unhealthy target is healthy again after HealthyThresholdCount passed checks in a row.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return registration.successes >= group.healthy_threshold


@behaviour("elbv2", otherwise=lambda *_: True)
def _unhealthy_threshold(registration: Registration, group: Group) -> bool:
    """A target is unhealthy after UnhealthyThresholdCount failed checks in a row.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return registration.failures >= group.unhealthy_threshold


def code_matches(code: int, matcher: str) -> bool:
    """`matcher` as in Matcher.HttpCode: `200`, `200,202`, `200-299`."""
    for part in matcher.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdigit() and int(first) <= code <= int(last or first):
            return True
    return False


class TargetHealth:
    """Checks every registered target at its group's interval. `groups` and `reaches` are asked at each tick and check.

    `reaches(group arn, address, port)` says whether the load balancer's packets get to the target at all.
    """

    def __init__(
        self,
        groups: Callable[[], Iterable[Group]],
        reaches: Callable[[str, str, int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._groups = groups
        self._reaches = reaches
        self._clock = clock
        self._registrations: dict[Key, Registration] = {}
        # Findings with the time from which they were true, the oldest first.
        self._past: dict[Key, deque[tuple[float, Finding]]] = {}

    def finding(self, group: str, address: str, port: int) -> Finding:
        """Current health; that of a target that is not registered for an unknown one. From any thread."""
        registration = self._registrations.get((group, address, port))
        return registration.finding if registration else not_registered()

    def finding_before(self, group: str, address: str, port: int, seconds: float) -> Finding | None:
        """Health so many seconds ago; the oldest known one when it was not known then, None when it never was."""
        moment, past = self._clock() - seconds, list(self._past.get((group, address, port), ()))
        return next((finding for since, finding in reversed(past) if since <= moment), past[0][1] if past else None)

    def known_before(self, group: str, seconds: float) -> list[tuple[str, int]]:
        """Targets that were registered, or draining, so many seconds ago."""
        return [
            (address, port)
            for arn, address, port in list(self._past)
            if arn == group and self.finding_before(arn, address, port, seconds) not in (None, NOT_REGISTERED)
        ]

    def draining(self, group: str) -> list[tuple[str, int]]:
        """Targets that were deregistered and are not through with it."""
        return [
            (address, port)
            for (arn, address, port), registration in list(self._registrations.items())
            if arn == group and registration.drained_at is not None
        ]

    async def run(self) -> None:
        """Check for ever."""
        while True:
            self.tick()
            await asyncio.sleep(TICK_SECONDS)

    def tick(self) -> None:
        """Follow registrations and start the checks that are due."""
        now = self._clock()
        seen: set[Key] = set()
        known: dict[str, Group] = {}
        for group in self._groups():
            known[group.arn] = group
            for address, port in group.targets:
                key = (group.arn, address, port)
                seen.add(key)
                self._follow(key, group, now)
        for key, registration in list(self._registrations.items()):
            if key in seen:
                continue
            gone = known.get(key[0])
            self._leave(key, registration, gone, now)
        self._remember(now)

    def _remember(self, now: float) -> None:
        for key, registration in self._registrations.items():
            past = self._past.setdefault(key, deque(maxlen=REMEMBERED_STATES))
            if not past or past[-1][1] != registration.finding:
                past.append((now, registration.finding))
        for key, past in list(self._past.items()):
            if key in self._registrations:
                continue
            if past[-1][1] != NOT_REGISTERED:
                past.append((now, NOT_REGISTERED))
            elif now - past[-1][0] > REMEMBERED_SECONDS:
                del self._past[key]

    def _follow(self, key: Key, group: Group, now: float) -> None:
        registration = self._registrations.get(key)
        if registration is None or registration.drained_at is not None:
            registration = self._registrations[key] = Registration(due=now + REGISTRATION_SECONDS)
        left_out = NOT_IN_USE if _not_in_use(group) else None
        if left_out is None and _zone_is_not_enabled(group, key[1:]):
            left_out = NOT_ENABLED
        if left_out is not None:
            if registration.finding != left_out:
                registration.finding = left_out
                registration.successes = registration.failures = 0
            return
        if registration.finding in (NOT_IN_USE, NOT_ENABLED):
            registration.finding = REGISTERING
            registration.due = now + REGISTRATION_SECONDS
        if registration.due <= now and not registration.checking:
            if registration.finding == REGISTERING:
                registration.finding = Finding.of("initial", "Elb.InitialHealthChecking")
            registration.due = now + group.interval
            registration.checking = True
            task = asyncio.get_running_loop().create_task(self._check(registration, group, key[1], key[2]))
            registration.tasks.add(task)
            task.add_done_callback(registration.tasks.discard)

    def _leave(self, key: Key, registration: Registration, group: Group | None, now: float) -> None:
        if registration.drained_at is None and group is not None:
            _draining(registration, group, now)
        if group is None or registration.drained_at is None or registration.drained_at <= now:
            self._registrations.pop(key, None)

    async def _check(self, registration: Registration, group: Group, address: str, port: int) -> None:
        try:
            failure = await self.probe(group, address, port)
            if registration.drained_at is None and registration.finding.state != "unused":
                before = registration.finding
                registration.judge(failure, group)
                if registration.finding.state != before.state:
                    name, now = group.arn.rpartition(":targetgroup/")[2], registration.finding
                    log.info("target %s:%s of %s: %s %s", address, port, name, now.state, now.description or "")
        finally:
            registration.checking = False

    async def probe(self, group: Group, address: str, port: int) -> Finding | None:
        """One health check: None when it passed, else the finding that an unhealthy target would have."""
        checked = _checked_port(group, port)
        try:
            async with asyncio.timeout(group.timeout):
                # An address outside 127.0.0.0/8 is some real host's, never ours: nobody answers there.
                if not is_ours(address) or _kept_out(self._reaches, group, address, checked):
                    await asyncio.sleep(group.timeout + 1)
                code = await status_of(address, checked, group.path, group.protocol == "HTTPS")
        except TimeoutError:
            return _check_timeout()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return _check_refused()
        return _code_mismatch(code, group)


@behaviour("elbv2")
def _draining(registration: Registration, group: Group, now: float) -> None:
    """A deregistered target is `draining` until the deregistration delay of its group has passed.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/edit-target-group-attributes.html#deregistration-delay
    """
    if registration.finding.state != "unused":
        registration.drained_at = now + group.deregistration_delay
        registration.finding = Finding.of("draining", "Target.DeregistrationInProgress")


@behaviour("elbv2", otherwise=lambda group, port: port)
def _checked_port(group: Group, port: int) -> int:
    """Checks go to the target's own port, or to HealthCheckPort when that is a number.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroup.html
    """
    return port if group.port == "traffic-port" else int(group.port)


@behaviour("elbv2", otherwise=lambda *_: False)
def _kept_out(reaches: Callable[[str, str, int], bool], group: Group, address: str, port: int) -> bool:
    """Checks pass the security groups of load balancer and target; where a rule lacks, they time out.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return not reaches(group.arn, address, port)


@behaviour("elbv2", otherwise=lambda: None)
def _check_timeout() -> Finding | None:
    """A check without an answer within HealthCheckTimeoutSeconds fails: Target.Timeout.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    return Finding.of("unhealthy", "Target.Timeout")


@behaviour("elbv2", otherwise=lambda: None)
def _check_refused() -> Finding | None:
    """A check whose connection is refused, or not answered in HTTP, fails: Target.FailedHealthChecks.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    return Finding.of("unhealthy", "Target.FailedHealthChecks")


@behaviour("elbv2", otherwise=lambda *_: None)
def _code_mismatch(code: int, group: Group) -> Finding | None:
    """A check whose status the Matcher does not name fails: Target.ResponseCodeMismatch, with the code in its words.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """
    if code_matches(code, group.matcher):
        return None
    return Finding.of("unhealthy", "Target.ResponseCodeMismatch", f"Health checks failed with these codes: [{code}]")


async def status_of(address: str, port: int, path: str, tls: bool) -> int:
    """HTTP status of a GET as ELB's health checker sends it (its TLS verifies nothing, as AWS documents).

    Raises OSError, IncompleteReadError, LimitOverrunError, or ValueError when the answer is not HTTP.
    """
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(address, port, ssl=context, limit=LARGEST_HEAD)
    try:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n"
            "User-Agent: ELB-HealthChecker/2.0\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
        )
        writer.write(request.encode("latin-1"))
        head = await reader.readuntil(b"\r\n")
        version, _, rest = head.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            raise ValueError(f"not an HTTP answer: {head[:40]!r}")
        return int(rest[:3])
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
