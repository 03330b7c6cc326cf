# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks a run up in CloudTrail with the auditor's credentials: did AWS see the calls that the bundle speaks of?"""

from __future__ import annotations

import datetime as dt
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ._aws import Clients, aws_call
from ._bundle_view import BundleView
from ._calls import unlogged
from ._names import parse_rfc3339, parse_run_id, rfc3339
from ._printable import printable
from ._rows import listing
from ._trail import DELIVERY, RETENTION, Event, Events, Trail
from ._trail_pairs import ENDED_BY, Created, Pairs

MARGIN = dt.timedelta(minutes=5)
"""Around the run: the runner's clock may differ from AWS's by that much, else AWS refuses its signatures."""
SCAN_CALLS = 120
"""Look-ups at most for what is not found under the caller's name."""

_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_ARN = re.compile(r"arn:aws[a-z-]*:(iam|sts)::([0-9]{12}):(.+)")
_WORSE = {"ok": 0, "incomplete": 1, "tampered": 2}
_APPLY, _GONE = "terraform_apply.log", "alb_sg_verify_gone.json"
# What the temporary stack creates under a name of the run (run.json, `names`).
_NAMED = {
    "load_balancer": "CreateLoadBalancer",
    "target_group": "CreateTargetGroup",
    "security_group": "CreateSecurityGroup",
}
_OUTPUTS = {
    "alb_arn": "CreateLoadBalancer",
    "target_group_arn": "CreateTargetGroup",
    "alb_sg_id": "CreateSecurityGroup",
    "listener_arn": "CreateListener",
    "listener_rule_arn": "CreateRule",
}


def online(
    view: BundleView,
    clients: Clients,
    *,
    now: dt.datetime,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    most_calls: int = 400,
    events: Events | None = None,
) -> dict[str, Any]:
    """`clients` are the auditor's, of the run's region. AwsFailure when AWS does not let the auditor look.

    With `events` they are asked instead of AWS, which then only says where and who the auditor is.

    Returns `result` (ok, incomplete, tampered), `findings` ({class, result, reason, seq, path}), `looked_up` (calls),
    `request_ids` ({asked, found, not_logged}), `principal`, `created`, `aws` (False: not looked up at AWS itself).
    """
    trail = events or Trail(clients("cloudtrail"), most=most_calls, sleep=sleep, clock=clock)
    return _Look(view, now, trail).run(clients)


class _Look:
    def __init__(self, view: BundleView, now: dt.datetime, trail: Events) -> None:
        self.view = view
        self.now = now
        self.trail = trail
        self.findings: list[dict[str, Any]] = []
        self.caller = str(view.run.get("caller_arn") or "")
        self.account = str(view.run.get("account_id") or "")
        self.region = str(view.run.get("region") or "")
        self.failed = view.verdict.get("result") == "FAILED"
        self.ids, self.not_logged = request_ids(view)
        self.found: dict[str, Event] = {}
        self.callers: Counter[str] = Counter()
        self.created: list[Created] = []

    def run(self, clients: Clients) -> dict[str, Any]:
        client = clients("cloudtrail")
        endpoint = str(client.meta.endpoint_url)
        with aws_call("sts:GetCallerIdentity", "the auditor", "Check the auditor's credentials."):
            auditor = clients("sts").get_caller_identity()
        self._compare_places(endpoint, str(client.meta.region_name), str(auditor["Account"]))
        window = self._window()
        if window is not None and not self.findings:
            self._look(*window)
        return {
            "result": max((one["result"] for one in self.findings), key=_WORSE.__getitem__, default="ok"),
            "findings": self.findings,
            "looked_up": self.trail.calls,
            "request_ids": {"asked": len(self.ids), "found": len(self.found), "not_logged": dict(self.not_logged)},
            "principal": {"claimed": self.caller, "seen": dict(self.callers)},
            "created": [one.as_dict() for one in self.created],
            "auditor": str(auditor["Arn"]),
            "endpoint": endpoint,
            "aws": _is_aws(endpoint),
        }

    def _compare_places(self, endpoint: str, region: str, account: str) -> None:
        """Where the run says that it was, and where the auditor is."""
        own = str(self.view.run.get("endpoint") or "")
        at_aws = not own or _is_aws(own)
        if at_aws != _is_aws(endpoint):
            claim = "at AWS" if at_aws else f"at {own}, which is not AWS"
            self._note("not-aws", "tampered", f"the run says that it was made {claim}; {endpoint} was asked")
        claimed = {self.account, _account(self.caller)} - {""}
        if not self.caller or not claimed:
            self._note("no-caller", "incomplete", "run.json does not say who called AWS: nobody to look for")
        elif claimed != {account}:
            said = " and ".join(sorted(claimed))
            # A run that failed as its credentials were of another account than the inventory's says the truth.
            result = "incomplete" if len(claimed) > 1 and self.failed else "tampered"
            self._note("other-account", result, f"the run says account {said}, the auditor's is {account}")
        if self.region and self.region != region:
            why = f"the run was in {self.region}, the auditor's client is in {region}: look there"
            self._note("other-region", "incomplete", why)

    def _window(self) -> tuple[dt.datetime, dt.datetime] | None:
        """First and last moment of the run; None, with a finding, when CloudTrail cannot know of that time."""
        try:
            times = [parse_rfc3339(str(line["at"])) for line in self.view.lines]
            start, end = min([parse_run_id(str(self.view.run["run_id"])).started, *times]), max(times)
        except (KeyError, ValueError) as exc:
            self._note("no-time", "incomplete", f"the bundle does not say when the run was: {exc}")
            return None
        if start < self.now - RETENTION:
            why = f"the run began at {rfc3339(start)}; the event history goes back 90 days, ask the files of a trail"
            self._note("too-old", "incomplete", why)
        if end > self.now + MARGIN:
            self._note("in-future", "incomplete", f"the bundle says that it ended at {rfc3339(end)}, which is to come")
        return start, end

    def _look(self, start: dt.datetime, end: dt.datetime) -> None:
        young = self.now - end < DELIVERY
        start, stop = start - MARGIN, min(end + MARGIN, self.now)
        pairs = Pairs(marks(self.view))
        self._take(self.trail.events(start, stop, "Username", _user(self.caller)), pairs)
        if self.ids.keys() - self.found.keys() and not self.trail.cut:
            # Other sessions of the role have other names. What a user or root did stands under that one name.
            self._take(self.trail.events(start, stop, most=SCAN_CALLS), pairs, until_found=True)
            self.trail.cut = self.trail.cut and ":assumed-role/" in self.caller
        self._judge_ids(young)
        self._judge_callers()
        self._judge_created(pairs, start, stop, young)

    def _take(self, events: Iterator[Event], pairs: Pairs, *, until_found: bool = False) -> None:
        kept = []
        for event in events:
            if event.request_id in self.ids:
                self.found.setdefault(event.request_id, event)
            if not event.read_only:
                kept.append(event)
            if until_found and len(self.found) == len(self.ids):
                break
        pairs.add(kept)

    def _judge_ids(self, young: bool) -> None:
        missing = {one: line for one, line in self.ids.items() if one not in self.found}
        if not self.ids:
            self._note("nothing-to-look-up", "incomplete", "no item names a request of AWS")
        elif not missing:
            return
        elif young or self.trail.cut:
            self._cannot_say(young, f"{len(missing)} of {len(self.ids)} request ids are not in CloudTrail")
        elif not self.found:
            why = f"CloudTrail has none of the run's {len(missing)} request ids"
            self._note("not-in-cloudtrail", "tampered", why)
        else:
            for seq, line in {line.get("seq"): line for line in missing.values()}.items():
                lost = sorted(one for one, where in missing.items() if where.get("seq") == seq)
                why = f"CloudTrail has no request {listing(lost, 3)} of {line.get('name')}"
                self._note("not-in-cloudtrail", "incomplete", why, line)

    def _judge_callers(self) -> None:
        strangers: dict[str, list[str]] = {}
        for request_id, event in self.found.items():
            self.callers[event.principal] += 1
            if not _same_principal(self.caller, event.principal):
                strangers.setdefault(event.principal, []).append(request_id)
        for who, requests in strangers.items():
            why = f"{who or 'somebody without a name'} made the requests {listing(requests, 3)}, not {self.caller}"
            self._note("other-principal", "tampered", why, self.ids[requests[0]])

    def _judge_created(self, pairs: Pairs, start: dt.datetime, stop: dt.datetime, young: bool) -> None:
        claims = list(_claims(self.view))
        for operation in sorted({claim[0] for claim in claims if not _is_created(claim, pairs.created)}):
            pairs.add(self.trail.events(start, stop, "EventName", operation))  # by somebody else?
        for operation in sorted({ENDED_BY[one.event.name] for one in pairs.pair()}):
            pairs.add(self.trail.events(start, self.now, "EventName", operation))  # later, or by a sweeper
        left = pairs.pair()
        self.created = pairs.created
        for operation, what in claims:
            if not _is_created((operation, what), self.created):
                self._accuse(
                    "not-created", young, f"the bundle says that {what} was created, CloudTrail has no {operation}"
                )
        for one in self.created:
            if not _same_principal(self.caller, one.event.principal):
                why = f"{one.event.principal} created {one.resource}, not {self.caller}"
                self._note("other-principal", "tampered", why)
        self._judge_ends(left, young)

    def _judge_ends(self, left: list[Created], young: bool) -> None:
        gone = self.view.last(_GONE)
        claimed = gone is not None and gone.get("status") == "ok"
        for one in left:
            why = (
                f"{one.resource} was created at {rfc3339(one.event.time)}, CloudTrail has no {ENDED_BY[one.event.name]}"
            )
            if self.failed and not claimed:
                self._note("left-behind", "ok", f"{why}; the run failed and does not claim that it is gone")
            else:
                self._accuse("not-deleted", young, why, gone)
        if gone is None or not claimed:
            return
        at = parse_rfc3339(str(gone["at"]))
        for one in self.created:
            if one.end is not None and one.end.time > at + MARGIN:
                why = f"{one.resource} was deleted at {rfc3339(one.end.time)}, the bundle says gone at {gone['at']}"
                self._note("deleted-later", "tampered", why, gone)

    def _accuse(self, kind: str, young: bool, why: str, line: Mapping[str, Any] | None = None) -> None:
        """Tampered, unless CloudTrail may not have the event yet or was not looked through."""
        if young or self.trail.cut:
            self._cannot_say(young, why, line)
        else:
            self._note(kind, "tampered", why, line)

    def _cannot_say(self, young: bool, why: str, line: Mapping[str, Any] | None = None) -> None:
        if young:
            self._note("too-young", "incomplete", f"{why} yet: it may take 15 minutes after the run, ask again", line)
        else:
            self._note("not-looked-through", "incomplete", f"{why}, but there were more events than were read", line)

    def _note(self, kind: str, result: str, reason: str, line: Mapping[str, Any] | None = None) -> None:
        where = {"seq": line.get("seq"), "path": line.get("path")} if line else {"seq": None, "path": ""}
        self.findings.append({"class": kind, "result": result, "reason": printable(reason), **where})


def request_ids(view: BundleView) -> tuple[dict[str, Mapping[str, Any]], Counter[str]]:
    """Request id → the line that first has it; and how many the event history cannot have, by operation."""
    ids: dict[str, Mapping[str, Any]] = {}
    not_logged: Counter[str] = Counter()
    for line in view.lines:
        meta = line.get("meta")
        listed = meta.get("request_ids") if isinstance(meta, Mapping) else None
        for one in listed if isinstance(listed, list) else []:
            operation = unlogged(str(one))
            if operation:
                not_logged[operation] += 1
            else:
                ids.setdefault(str(one), line)
    return ids, not_logged


def marks(view: BundleView) -> list[str]:
    """What stands in each call that creates something of the run: its id, and the names with its suffix."""
    return [str(view.run["run_id"]), *sorted(_names(view).values())]


def _names(view: BundleView) -> dict[str, str]:
    """Names of the temporary resources that end as the run id does: no other run's."""
    names = view.run.get("names")
    suffix = parse_run_id(str(view.run["run_id"])).suffix
    if not isinstance(names, Mapping):
        return {}
    own = {kind: names.get(kind) for kind in _NAMED}
    return {kind: name for kind, name in own.items() if isinstance(name, str) and name.endswith(f"-{suffix}")}


def _claims(view: BundleView) -> Iterator[tuple[str, str]]:
    """(CloudTrail's event, name or id) of what the bundle says was created."""
    applied = view.last(_APPLY)
    if applied is None or applied.get("status") != "ok":
        return
    for kind, name in _names(view).items():
        yield _NAMED[kind], name
    yield from outputs(view)


def outputs(view: BundleView) -> Iterator[tuple[str, str]]:
    """(CloudTrail's event, id) of what the temporary stack says that it made."""
    said = view.json("terraform_outputs.json") or {}
    for output, operation in _OUTPUTS.items():
        if isinstance(said.get(output), str) and said[output]:
            yield operation, said[output]


def _is_created(claim: tuple[str, str], created: Sequence[Created]) -> bool:
    return any(claim[0] == one.event.name and claim[1] in (one.name, one.resource) for one in created)


def _is_aws(endpoint: str) -> bool:
    try:
        host = urlsplit(endpoint).hostname or ""
    except ValueError:
        return False
    return f".{host}".endswith(_AWS)


def _account(arn: str) -> str:
    match = _ARN.fullmatch(arn)
    return match.group(2) if match else ""


def _user(arn: str) -> str:
    """LookupEvents' Username of a caller: a user's name, a session's, or root."""
    return arn.rpartition("/")[2] if "/" in arn else arn.rpartition(":")[2]


def _same_principal(claimed: str, seen: str) -> bool:
    """The same ARN; of a role any session, since each process that assumes it may have one of its own."""
    return claimed == seen or (":assumed-role/" in claimed and claimed.split("/")[:2] == seen.split("/")[:2])
