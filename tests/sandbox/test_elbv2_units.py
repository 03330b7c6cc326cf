"""The load balancer's pure parts: rule conditions, redirects, matchers, the health state machine with its own clock."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sandbox.elbv2 import target_health
from sandbox.elbv2.listener_rules import Request, choose, holds, redirect_location
from sandbox.elbv2.target_health import Finding, Group, Registration, TargetHealth, code_matches

REQUEST = Request(
    method="GET",
    host="App.example.com",
    path="/api/v1/items",
    query="color=Red&size=l",
    headers=(("x-run", "Abc-7"), ("accept", "text/html")),
    client="127.0.0.1",
    scheme="http",
    port=80,
)
GROUP = Group(
    arn="tg",
    targets=(("127.1.0.4", 5000),),
    in_use=True,
    protocol="HTTP",
    port="traffic-port",
    path="/healthz",
    interval=10,
    timeout=5,
    healthy_threshold=3,
    unhealthy_threshold=2,
    matcher="200",
    deregistration_delay=30,
)
REFUSED = Finding.of("unhealthy", "Target.FailedHealthChecks")


def condition(field: str, *values: str) -> dict[str, Any]:
    return {"Field": field, "Values": list(values)}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (condition("path-pattern", "/api/*"), True),
        (condition("path-pattern", "/API/*"), False),
        (condition("path-pattern", "/nope", "/api/v?/items"), True),
        (condition("path-pattern", "/api"), False),
        (condition("host-header", "*.EXAMPLE.com"), True),
        (condition("host-header", "example.com"), False),
        (condition("http-request-method", "POST", "GET"), True),
        (condition("http-request-method", "get"), False),
        (condition("source-ip", "10.0.0.0/8", "127.0.0.1/32"), True),
        (condition("source-ip", "10.0.0.0/8"), False),
        ({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-RUN", "Values": ["abc-?"]}}, True),
        ({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Run", "Values": ["abc"]}}, False),
        ({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "COLOR", "Value": "red"}]}}, True),
        ({"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": "l"}]}}, True),
        ({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "size", "Value": "red"}]}}, False),
    ],
)
def test_conditions(given: dict[str, Any], expected: bool) -> None:
    assert holds(given, REQUEST) is expected


def test_rules_are_asked_by_number_and_the_default_one_last() -> None:
    rules: list[dict[str, Any]] = [
        {"Priority": "default", "Conditions": []},
        {"Priority": "10", "Conditions": [condition("path-pattern", "/api/*")]},
        {"Priority": "9", "Conditions": [condition("path-pattern", "/api/*"), condition("http-request-method", "PUT")]},
    ]
    assert choose(rules, REQUEST) is rules[1]
    assert choose(rules, replace(REQUEST, method="PUT")) is rules[2]
    assert choose(rules, replace(REQUEST, path="/")) is rules[0]


def test_a_redirect_keeps_what_it_is_not_told_to_change() -> None:
    assert redirect_location({"Protocol": "HTTPS", "Port": "443", "StatusCode": "HTTP_301"}, REQUEST) == (
        "https://App.example.com:443/api/v1/items?color=Red&size=l"
    )
    assert redirect_location({"Host": "new.example", "Path": "/x/#{path}", "Query": "q=1"}, REQUEST) == (
        "http://new.example:80/x/api/v1/items?q=1"
    )


@pytest.mark.parametrize(
    ("code", "matcher", "expected"),
    [(200, "200", True), (204, "200-299", True), (302, "200,302", True), (404, "200-299", False), (20, "200", False)],
)
def test_matcher(code: int, matcher: str, expected: bool) -> None:
    assert code_matches(code, matcher) is expected


def test_a_new_target_needs_one_passed_check_an_unhealthy_one_the_threshold() -> None:
    registration = Registration()
    registration.judge(REFUSED, GROUP)
    assert registration.finding.state == "initial"
    registration.judge(None, GROUP)
    assert registration.finding.state == "healthy"
    registration.judge(REFUSED, GROUP)
    assert registration.finding.state == "healthy", "one failure is not yet the unhealthy threshold"
    registration.judge(REFUSED, GROUP)
    assert registration.finding == REFUSED
    for _ in range(2):
        registration.judge(None, GROUP)
        assert registration.finding.state == "unhealthy"
    registration.judge(None, GROUP)
    assert registration.finding.state == "healthy"


def test_an_unhealthy_target_shows_the_latest_reason() -> None:
    registration = Registration()
    registration.judge(REFUSED, GROUP)
    registration.judge(REFUSED, GROUP)
    registration.judge(Finding.of("unhealthy", "Target.Timeout"), GROUP)
    assert registration.finding.reason == "Target.Timeout"


class Passing(TargetHealth):
    """Every check passes at once and is counted."""

    probes = 0

    async def probe(self, group: Group, address: str, port: int) -> Finding | None:
        self.probes += 1
        return None


class Bench:
    """A TargetHealth whose clock is the test's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.groups = [GROUP]
        self.health = Passing(lambda: self.groups, lambda *_: True, clock=lambda: self.now)

    def at(self, now: float, *, targets: tuple[tuple[str, int], ...] | None = None, in_use: bool = True) -> Finding:
        self.now = now
        self.groups = [replace(GROUP, targets=GROUP.targets if targets is None else targets, in_use=in_use)]

        async def tick() -> None:
            self.health.tick()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        asyncio.run(tick())
        return self.health.finding("tg", "127.1.0.4", 5000)


def test_a_target_of_an_unused_group_is_unused_and_not_checked() -> None:
    bench = Bench()
    assert bench.at(0, in_use=False).reason == "Target.NotInUse"
    assert bench.at(60, in_use=False).reason == "Target.NotInUse"
    assert bench.health.probes == 0
    assert bench.at(61).reason == "Elb.RegistrationInProgress"


def test_checks_come_at_the_interval() -> None:
    bench = Bench()
    assert bench.at(0).reason == "Elb.RegistrationInProgress"
    assert bench.at(target_health.REGISTRATION_SECONDS).state == "healthy"
    bench.at(9.9)
    assert bench.health.probes == 1
    bench.at(10.6)
    assert bench.health.probes == 2


def test_a_deregistered_target_drains_for_the_delay_and_starts_anew_when_it_comes_back() -> None:
    bench = Bench()
    bench.at(0)
    assert bench.at(1).state == "healthy"
    draining = bench.at(2, targets=())
    assert (draining.state, draining.reason) == ("draining", "Target.DeregistrationInProgress")
    assert bench.health.draining("tg") == [("127.1.0.4", 5000)]
    assert bench.at(31.9, targets=()).state == "draining"
    assert bench.at(32.1, targets=()).reason == "Target.NotRegistered"
    bench.at(40)
    bench.at(41)
    bench.at(42, targets=())
    assert bench.at(43).reason == "Elb.RegistrationInProgress"
