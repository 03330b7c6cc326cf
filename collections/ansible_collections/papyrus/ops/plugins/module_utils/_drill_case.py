# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One alarm on its way OK → ALARM → OK, each with its message; no call of AWS, no clock of its own."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ._drill_messages import Page
from ._rows import json_safe

Phase = Literal["steady", "ringing", "quiet", "done", "failed"]
Tell = Callable[..., None]
"""`(event, text, **data)`: something happened, a line for the terminal and for the evidence."""


@dataclass(frozen=True)
class Limits:
    """Seconds: until the alarm is OK at first, until it rings, until it is OK again, and from each to its message."""

    steady: float = 600.0
    alarm: float = 900.0
    ok: float = 1800.0
    message: float = 120.0


class Condition(Protocol):
    """What makes an alarm ring. `problem` is why it cannot be made, `said` what it has done so far."""

    @property
    def problem(self) -> str: ...

    @property
    def said(self) -> str: ...

    def tick(self, wanted: bool) -> None:
        """Called all the time: make it, or, when it is not wanted, the contrary."""

    def end(self) -> None:
        """Nothing goes on behind this."""


@dataclass
class Case:
    """`alarm` is what is watched: the permanent alarm itself, or the copy of it. Times are seconds of one clock."""

    kind: str
    permanent: str
    alarm: str
    condition: Condition
    limits: Limits = field(default_factory=Limits)
    tell: Tell = lambda event, text, **data: None
    phase: Phase = "steady"
    reason: str = ""
    state: str = ""
    transitions: list[dict[str, Any]] = field(default_factory=list)
    pages: list[tuple[Page, float]] = field(default_factory=list)
    _since: float | None = None
    _ringing: float = 0.0
    _steady_at: dt.datetime | None = None
    _seen: dict[str, float] = field(default_factory=dict)

    @property
    def copied(self) -> bool:
        return self.alarm != self.permanent

    @property
    def over(self) -> bool:
        return self.phase in ("done", "failed")

    @property
    def wants(self) -> bool:
        """Whether its condition is to be made now."""
        return self.phase == "ringing"

    def missing_message(self, now: float) -> float:
        """Seconds since a state was seen whose message has not come; 0 when none is missing."""
        wanted = {"ringing": "ALARM", "quiet": "OK"}.get(self.phase, "")
        seen = self._seen.get(wanted)
        return 0.0 if seen is None or wanted in self._heard() else max(now - seen, 0.001)

    # What it gets to know

    def see(self, alarm: Mapping[str, Any] | None, now: float) -> None:
        """The alarm as DescribeAlarms has it; None when it has none of that name."""
        state = "" if alarm is None else str(alarm["StateValue"])
        if state == self.state:
            return
        shown = json_safe(alarm or {})
        step = {
            "from": self.state or None,
            "to": state or None,
            "at": shown.get("StateTransitionedTimestamp") or shown.get("StateUpdatedTimestamp"),
            "reason": shown.get("StateReason", ""),
            "elapsed": round(now, 3),
        }
        self.transitions.append(step)
        before, self.state = self.state, state
        text = f"{self.alarm}: {f'{before} → ' if before else ''}{state or 'not there'}"
        self.tell("state", f"{text} ({step['reason']})" if before and state else text, **self._who(), transition=step)
        moment = (alarm or {}).get("StateTransitionedTimestamp")
        if self.phase == "steady":
            self._steady_at = moment if isinstance(moment, dt.datetime) else None
        elif state == "ALARM" or "ALARM" in self._seen:
            self._seen.setdefault(state, now)

    def hear(self, page: Page, now: float) -> None:
        """A message of this alarm."""
        self.pages.append((page, now))
        self.tell("message", f"{self.alarm}: message {page.new} received", **self._who(), message=page.as_dict())

    def _heard(self) -> dict[str, float]:
        """When the messages came that the drill waits for: of ALARM after the OK of the beginning, of the OK after it.

        Messages may come late and in any order, so the times in them count.
        """
        heard: dict[str, float] = {}
        after = self._steady_at
        for wanted in ("ALARM", "OK"):
            found = [each for each in self.pages if each[0].new == wanted and _later(each[0].moment, after)]
            if not found or self.phase == "steady":
                break
            page, heard[wanted] = min(found, key=lambda each: each[1])
            after = page.moment
        return heard

    # What follows from it

    def advance(self, now: float) -> None:
        if self._since is None:
            self._since = now
        waited = now - self._since
        if not self.over and self.condition.problem:
            self.fail(f"its condition could not be made: {self.condition.problem}")
        elif self.phase == "steady":
            self._from_steady(now, waited)
        elif self.phase == "ringing" and self._both("ALARM", now, waited, self.limits.alarm):
            self._go("quiet", now, f"{self.kind}: the condition ends, {self.alarm} has to be OK again")
        elif self.phase == "quiet" and self._both("OK", now, waited, self.limits.ok):
            self.reason = self._summary()
            self._go("done", now, f"{self.kind}: {self.reason}")

    def _from_steady(self, now: float, waited: float) -> None:
        if self.state == "OK":
            self._ringing = now
            self._go("ringing", now, f"{self.kind}: {self.alarm} is OK; its condition is made now")
        elif self.state == "ALARM" and not self.copied:
            self.fail(
                f"{self.alarm} rang before its condition was made: something else is wrong, or another drill runs"
            )
        elif waited >= self.limits.steady:
            self.fail(f"{self.alarm} was not OK within {waited:.0f} s: {self._now()}")

    def _both(self, state: str, now: float, waited: float, limit: float) -> bool:
        """Whether state and message are there; the case has failed when one of them is late."""
        seen, heard = self._seen.get(state), self._heard().get(state)
        if seen is not None and heard is not None:
            return True
        if seen is None and waited >= limit:
            self.fail(f"{self.alarm} was not {state} within {waited:.0f} s: {self._now()}; {self.condition.said}")
        elif seen is not None and now - seen >= self.limits.message:
            self.fail(
                f"{self.alarm} went to {state}, but no message of that reached the queue within {now - seen:.0f} s"
            )
        return False

    def fail(self, reason: str) -> None:
        """The first failure stays."""
        if self.over:
            return
        self.phase, self.reason = "failed", reason
        self.tell("failed", f"{self.kind}: FAILED: {reason}", **self._who())

    def _go(self, phase: Phase, now: float, text: str) -> None:
        self.phase, self._since = phase, now
        self.tell("phase", text, **self._who(), phase=phase)

    def _who(self) -> dict[str, str]:
        return {"kind": self.kind, "alarm": self.alarm}

    def _now(self) -> str:
        if not self.state:
            return "AWS has no alarm of that name"
        return f"it is {self.state} ({self.transitions[-1]['reason'] or 'no reason'})"

    def _summary(self) -> str:
        times = [each[state] - self._ringing for state in ("ALARM", "OK") for each in (self._seen, self._heard())]
        return "OK → ALARM after {:.0f} s, message after {:.0f} s; → OK after {:.0f} s, message after {:.0f} s".format(
            *times
        )

    def now_waiting(self) -> str:
        """A word for the line of progress."""
        missing = {"ringing": "ALARM", "quiet": "OK"}.get(self.phase, "OK")
        if self.over:
            return "done" if self.phase == "done" else "FAILED"
        what = f"message {missing}" if missing in self._seen and self.phase != "steady" else missing
        return f"waits for {what}"

    def result(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "alarm": self.alarm,
            "permanent": self.permanent,
            "copied": self.copied,
            "status": "ok" if self.phase == "done" else "ng",
            "reason": self.reason or "the drill ended before it",
            "condition": self.condition.said,
            "transitions": self.transitions,
            "messages": [{**page.as_dict(), "elapsed": round(now, 3)} for page, now in self.pages],
        }


def _later(moment: dt.datetime | None, than: dt.datetime | None) -> bool:
    """A time that cannot be read accuses nobody."""
    return moment is None or than is None or moment > than
