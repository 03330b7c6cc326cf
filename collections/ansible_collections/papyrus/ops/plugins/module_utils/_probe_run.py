# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a probe: resolve, ask one or every address, compare with what is expected, retry only where asked (D1)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._probe import Answer, ProbeFailure, fetch
from ._probe_request import Address, BadRequest, Request, resolve
from ._progress import PROGRESS

Clean = Callable[[str], str]
"""Takes secrets out of a text; before it is cut short, as no part of one is known for what it is."""

_LONGEST = 400
UNSET: Any = object()
"""Stands for an expectation that was not given; None is a JSON value (null)."""


@dataclass(frozen=True)
class Expect:
    """What a good answer looks like; what is not given is not looked at. `headers` are regular expressions (search)."""

    status: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = UNSET
    json_exact: Any = UNSET
    body_contains: str | None = None

    def __post_init__(self) -> None:
        for name, pattern in self.headers.items():
            try:
                re.compile(pattern)
            except re.error as exc:
                raise BadRequest(f"expect.headers.{name}: {pattern!r} is no regular expression: {exc}") from None


@dataclass(frozen=True)
class Settings:
    """Times in seconds. `retries` counts further tries of an address after a failed one."""

    timeout: float = 10.0
    resolve_timeout: float = 0.0
    every_address: bool = False
    retries: int = 0
    retry_interval: float = 1.0
    max_body: int = 1024 * 1024
    ca_file: str | None = None


@dataclass
class Probe:
    """`responses` has one entry an address that was asked; `failures` every try that did not do, in order."""

    ok: bool
    reason: str
    responses: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    resolution: dict[str, Any] = field(default_factory=dict)


def same_json(expected: Any, found: Any) -> bool:
    """Equal as JSON: true is not 1, but 1 is 1.0."""
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(same_json(expected[key], found[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same_json, expected, found))
    return type(expected) is type(found) and expected == found or _same_number(expected, found)


def _same_number(expected: Any, found: Any) -> bool:
    return isinstance(expected, (int, float)) and isinstance(found, (int, float)) and expected == found


def json_differences(expected: Any, found: Any, path: str = "$", clean: Clean = str) -> list[str]:
    """Where `found` does not contain `expected`: objects may have more keys, lists and values must be equal."""
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            return [f"{path} is {_brief(found, clean)}, expected is an object"]
        differences: list[str] = []
        for key, value in expected.items():
            where = f"{path}.{key}"
            differences += (
                json_differences(value, found[key], where, clean) if key in found else [f"{where} is missing"]
            )
        return differences
    if isinstance(expected, list):
        if not isinstance(found, list) or len(expected) != len(found):
            return [f"{path} is {_brief(found, clean)}, expected is {_brief(expected, clean)}"]
        return [
            difference
            for index, (left, right) in enumerate(zip(expected, found, strict=True))
            for difference in json_differences(left, right, f"{path}[{index}]", clean)
        ]
    return (
        []
        if same_json(expected, found)
        else [f"{path} is {_brief(found, clean)}, expected is {_brief(expected, clean)}"]
    )


def _brief(value: Any, clean: Clean) -> str:
    return _cut(clean(repr(value)), 80)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}…"


def mismatches(expect: Expect, answer: Answer, clean: Clean = str) -> list[str]:
    """Each expectation that the answer does not meet, one sentence each; [] when it is good."""
    problems: list[str] = []
    if expect.status and answer.status not in expect.status:
        wanted = " or ".join(map(str, expect.status))
        problem = f"status is {answer.status}, expected is {wanted}"
        location = answer.header("location")
        if 300 <= answer.status < 400 and location:
            problem += f" (a redirect to {clean(location)}, which is not followed)"
        problems.append(problem)
    for name, pattern in expect.headers.items():
        value = answer.header(name)
        if value is None:
            problems.append(f"header {name} is missing")
        elif not re.search(pattern, value):
            problems.append(f"header {name} is {_brief(value, clean)}, expected is /{pattern}/")
    if expect.json is not UNSET or expect.json_exact is not UNSET:
        problems += _json_problems(expect, answer, clean)
    if expect.body_contains is not None and expect.body_contains.encode() not in answer.body:
        problems.append(f"the body does not contain {_brief(expect.body_contains, clean)}")
    return problems


def _json_problems(expect: Expect, answer: Answer, clean: Clean) -> list[str]:
    try:
        parsed = answer.parsed()
    except ValueError as exc:
        return [
            f"the body is not JSON ({exc}): {_brief(answer.text if answer.text is not None else answer.body, clean)}"
        ]
    problems = [] if expect.json is UNSET else json_differences(expect.json, parsed, clean=clean)
    if expect.json_exact is not UNSET and not same_json(expect.json_exact, parsed):
        problems.append(f"the JSON is {_brief(parsed, clean)}, expected is exactly {_brief(expect.json_exact, clean)}")
    return problems


class Prober:
    """One probe; clock, sleep and the way to fetch and resolve are injected for tests."""

    def __init__(
        self,
        request: Request,
        expect: Expect,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        fetch_one: Callable[..., Answer] = fetch,
        resolve_name: Callable[..., Any] = resolve,
        clean: Clean = str,
    ) -> None:
        self.request = request
        self.expect = expect
        self.settings = settings
        self.clock = clock
        self.sleep = sleep
        self.fetch_one = fetch_one
        self.resolve_name = resolve_name
        self.clean = clean

    def run(self) -> Probe:
        """Never raises for what network or server do."""
        settings, (host, port) = self.settings, self.request.connect
        found = self.resolve_name(host, port, timeout=settings.resolve_timeout, clock=self.clock, sleep=self.sleep)
        probe = Probe(ok=False, reason=found.error)
        probe.resolution = {
            "host": host,
            "addresses": [address.text for address in found.addresses],
            "attempts": found.attempts,
            "elapsed": round(found.elapsed, 3),
        }
        if found.error:
            probe.failures.append(found.error)
            return probe
        if settings.every_address:
            reasons = [self._ask([address], found.last_lookup, probe) for address in found.addresses]
        else:
            reasons = [self._ask(list(found.addresses), found.last_lookup, probe)]
        bad = [reason for reason in reasons if reason]
        probe.ok = not bad
        probe.reason = "; ".join(dict.fromkeys(bad)) if bad else self._good(probe)
        return probe

    def _good(self, probe: Probe) -> str:
        codes = ", ".join(f"{item['status']} from {item['remote']}" for item in probe.responses)
        return f"{self.request.method} {self.request.url}: {codes}"

    def _ask(self, addresses: list[Address], dns_seconds: float, probe: Probe) -> str:
        """Why no address gave a good answer, or ""; the last answer of a failing address is kept too."""
        reason = ""
        for attempt in range(self.settings.retries + 1):
            if attempt:
                PROGRESS.now(reason)
                self.sleep(self.settings.retry_interval)
            answer, reason = self._try(addresses, dns_seconds)
            if reason:
                probe.failures.append(reason)
            if answer is not None and (not reason or attempt == self.settings.retries):
                probe.responses.append({**answer.as_dict(), "attempts": attempt + 1, "reason": reason})
            if not reason:
                return ""
        tries = f" ({self.settings.retries + 1} tries)" if self.settings.retries else ""
        return f"{self.request.method} {self.request.url}: {reason}{tries}"

    def _try(self, addresses: list[Address], dns_seconds: float) -> tuple[Answer | None, str]:
        """The first address that can be connected to answers for all, as with curl."""
        reason = ""
        for address in addresses:
            try:
                answer = self.fetch_one(
                    self.request,
                    address,
                    timeout=self.settings.timeout,
                    max_body=self.settings.max_body,
                    ca_file=self.settings.ca_file,
                    dns_seconds=dns_seconds,
                )
            except ProbeFailure as exc:
                reason = _cut(self.clean(exc.reason), _LONGEST)
                if exc.phase != "connect":
                    return None, reason
            else:
                problems = mismatches(self.expect, answer, self.clean)
                return answer, f"{answer.remote}: {'; '.join(problems)}" if problems else ""
        return None, reason
