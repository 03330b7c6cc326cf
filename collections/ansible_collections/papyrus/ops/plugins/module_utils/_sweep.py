# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sweeps what runs have left: deletes in the order in which AWS lets go, waits for what it holds, proves it gone."""

from __future__ import annotations

import datetime as dt
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ._aws import AwsFailure, Clients
from ._calls import batches
from ._leftovers import Found, Scope, find
from ._names import rfc3339, utc_now
from ._printable import one_line
from ._rows import listing
from ._sweep_choice import Order, Resource, choose
from ._sweep_delete import ORDER, TOGETHER, Deleter

__all__ = ["Order", "Resource", "Swept", "choose", "counted", "sweep"]

_Key = tuple[str, str]

TRIES = 3
"""Of a call that nobody answered or that was throttled, each with botocore's own retries within."""

LOOK_AGAIN = 300.0
"""Seconds of waiting after which everything is looked at anew."""

_FILTER_VALUES = 200
_LATER = ("held", "again")
_THROTTLED = ("Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException", "SlowDown")


@dataclass
class Swept:
    """What a sweep found, did and left.

    `spared` have a `reason`, `failed` have `error`, `hint` and `held` (AWS only had no time to let go), `deleted` have
    `how` (deleted, taken away by AWS, or gone already by somebody else). `left` was to go and is there. `gone` is true
    only when the last look was answered whole and nothing is left.
    """

    before: Found
    after: Found
    deleted: list[Resource] = field(default_factory=list)
    spared: list[Resource] = field(default_factory=list)
    failed: list[Resource] = field(default_factory=list)
    left: list[Resource] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    gone: bool = False
    calls: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def sweep(
    clients: Clients,
    scope: Scope,
    order: Order,
    *,
    timeout: float = 2100.0,
    interval: float = 10.0,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    now: dt.datetime | None = None,
    dry: bool = False,
) -> Swept:
    """Deletes what `choose` allows, and looks again until nothing of it is there, or for `timeout` seconds.

    `dry` only looks, and has as `deleted` what would be. One failure stops nothing else, nothing that AWS says raises.
    Any number of sweeps may run at once. What is expired is told by AWS' clock, unless `now` is given.
    """
    swept = _Sweep(clients, scope, order, timeout, interval, say, clock, sleep, now)
    return swept.only_looked() if dry else swept.whole()


class _Sweep:
    def __init__(
        self,
        clients: Clients,
        scope: Scope,
        order: Order,
        timeout: float,
        interval: float,
        say: Callable[[str], None],
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        now: dt.datetime | None,
    ) -> None:
        self.clients = clients
        self.scope = scope
        self.order = order
        self.interval = interval
        self.clock = clock
        self.sleep = sleep
        self.now = now
        self.calls: Counter[str] = Counter()
        self.log: list[str] = []
        self.deleter = Deleter(clients, self._logged, self.calls)
        self.started = clock()
        self.deadline = self.started + timeout
        self.tries: Counter[_Key] = Counter()
        self.errors: dict[_Key, str] = {}
        self.known: set[str] = set()
        self.seen = Found()
        self.told: list[Resource] = []
        self.done: dict[_Key, Resource] = {}
        self.failed: dict[_Key, Resource] = {}
        self.protected: dict[_Key, Resource] = {}
        self._say = say
        self._said = ""

    def _logged(self, text: str) -> None:
        self.log.append(one_line(f"{rfc3339(utc_now(), microseconds=True)} {text}"))

    def say(self, text: str) -> None:
        """A line of progress; the same again is none."""
        if text != self._said:
            self._say(one_line(text))
            self._said = text

    def look(self) -> Found:
        self.seen = found = find(self.clients, self.scope, now=self.now)
        self.told = [each for each in found.resources if each["kind"] == "subscription" or _sibling(each)]
        self.known = {each["id"] for each in found.resources if each["kind"] == "network_interface"}
        # Interfaces outlive the load balancers by which they are found.
        names = {each["name"]: each for each in found.resources if each["kind"] == "load_balancer"}
        self.scope = replace(self.scope, balancers={**self.scope.balancers, **names})
        self.calls.update(found.calls)
        for failure in found.failures:
            self._logged(failure["text"])
        return found

    # The whole

    def only_looked(self) -> Swept:
        found = self.look()
        chosen, spared = self._choose(found)
        left = self._left(found, chosen)
        return Swept(
            before=found,
            after=found,
            deleted=[{**each, "how": "would be deleted"} for each in chosen],
            spared=spared,
            left=left,
            log=self.log,
            gone=not found.failures and not left,
            calls=dict(sorted(self.calls.items())),
            seconds=round(self.clock() - self.started, 3),
        )

    def whole(self) -> Swept:
        before = found = self.look()
        unknown = 0
        asked: set[_Key] = set()
        chosen, spared = self._choose(found)
        self.say(
            f"found {counted(found.resources)}; {counted(chosen)} to be deleted" if found.resources else "found nothing"
        )
        while True:
            todo = [each for each in chosen if _key(each) not in self.failed and _key(each) not in self.protected]
            unknown = unknown + 1 if found.failures else 0
            if (not todo and not unknown) or unknown >= TRIES:
                break
            late = self.clock() >= self.deadline
            if late and (asked or not todo):
                break
            if unknown or {_key(each) for each in todo} <= asked:
                self.say(
                    f"waits until AWS shows no more: {counted(todo)}" if todo else "asks again what nobody answered"
                )
                self._pause()
            self._pass(todo, wait=not found.failures)
            asked |= {_key(each) for each in todo}
            found = self.look()
            chosen, spared = self._choose(found)
        return self._swept(before, found, chosen, spared)

    def _choose(self, found: Found) -> tuple[list[Resource], list[Resource]]:
        return choose(found, self.order, self.now or found.asked_at or utc_now())

    def _left(self, found: Found, chosen: list[Resource]) -> list[Resource]:
        """Of the runs that were named everything that smells of them, of the others what may be deleted."""
        to_go = {_key(each) for each in chosen if _key(each) not in self.protected}
        named = self.order.run_ids
        return [each for each in found.resources if each["run_id"] in named or _key(each) in to_go]

    def _pause(self) -> None:
        self.sleep(max(0.0, min(self.interval, self.deadline - self.clock())))

    def _swept(self, before: Found, after: Found, chosen: list[Resource], spared: list[Resource]) -> Swept:
        for resource in chosen:
            if _key(resource) not in self.protected:
                error = self.errors.get(_key(resource), "AWS still shows it")
                self._fail(resource, error, "Sweep again later.", held=True)
        spared = spared + [each for each in chosen if _key(each) in self.protected]
        spared = [{**each, **self.protected.get(_key(each), {})} for each in spared]
        there = {_key(each) for each in after.resources}
        left = self._left(after, chosen)
        return Swept(
            before=before,
            after=after,
            deleted=[each for key, each in self.done.items() if key not in there],
            spared=spared,
            failed=[each for key, each in self.failed.items() if key in there or after.failures],
            left=left,
            log=self.log,
            gone=not after.failures and not left,
            calls=dict(sorted(self.calls.items())),
            seconds=round(self.clock() - self.started, 3),
        )

    # One pass

    def _pass(self, todo: Iterable[Resource], *, wait: bool) -> None:
        """Tries each in order, then waits for what is held, and for interfaces that AWS takes away itself."""
        todo = list(todo)
        held: list[Resource] = []
        interfaces = [each for each in todo if each["kind"] == "network_interface"]
        held_by_aws = {each["run_id"] for each in interfaces} if wait else set()
        for kind in ORDER:
            of_kind = [each for each in todo if each["kind"] == kind]
            several = self._together(of_kind) if kind in TOGETHER else set()
            for each in of_kind:
                if _key(each) in several or self._blocked(each):
                    continue
                # A group is asked to go when no interface is there any more: `_wait` sees that for all groups at once.
                if (kind == "security_group" and each["run_id"] in held_by_aws) or self._try(each) in _LATER:
                    held.append(each)
            self._say_deleted(of_kind)
        for listener in (each for each in todo if each["kind"] == "listener"):
            if ("load_balancer", listener["detail"]["load_balancer"]) in self.done:
                self.done.setdefault(_key(listener), {**listener, "how": "deleted"})
            else:
                self._blocked(listener)
        if wait:
            self._wait(held, interfaces)

    def _say_deleted(self, resources: list[Resource]) -> None:
        gone = [each for each in resources if _key(each) in self.done]
        if gone:
            self.say(f"{counted(gone)} deleted: {_names(gone)}")

    def _together(self, resources: list[Resource]) -> set[_Key]:
        done = self.deleter.together(resources)
        self.done = {_key(each): {**each, "how": "deleted"} for each in done} | self.done
        return {_key(each) for each in done}

    def _try(self, resource: Resource) -> str:
        key = _key(resource)
        if key in self.done and resource["kind"] in ("ecs_service", "ecs_task"):
            return "deleted"  # asked for already; ECS takes its time, and asking again changes nothing
        needed = self._needed_for(resource)
        if needed:
            self.errors[key] = f"it is kept, as by it alone {needed}"
            return "held"
        try:
            step = self.deleter.delete(resource)
        except AwsFailure as failure:
            self.tries[key] += 1
            if (failure.unanswered or failure.code in _THROTTLED) and self.tries[key] < TRIES:
                self.errors[key] = str(failure)
                return "again"
            self._fail(resource, str(failure), failure.hint)
            return "failed"
        self.errors.pop(key, None)
        if step.state == "spared":
            self.protected[key] = {**resource, "reason": step.text}
        elif step.state in ("deleted", "gone"):
            self.done.setdefault(key, {**resource, "how": "deleted" if step.state == "deleted" else "was gone already"})
        return step.state

    def _needed_for(self, resource: Resource) -> str:
        """What is there yet, or may be, and would be nobody's if this went first; "" for nothing."""
        for each in self.told:
            if _told_by(each, resource) and _key(each) not in self.done:
                error = self.errors.get(_key(each), "")
                whose = f"it is known whose {each['kind'].replace('_', ' ')} {each['name'] or each['id']} is"
                return f"{whose}: {error}" if error else whose
        if resource["kind"] == "queue":
            unknown = (each for each in self.seen.failures if each["operation"] == "ListSubscriptionsByTopic")
            return next((f"a subscription could be found again: {each['text']}" for each in unknown), "")
        return ""

    def _blocked(self, resource: Resource) -> bool:
        """Fails it when something of the same run keeps it from going, for good: failed or protected."""
        kinds = _HOLDERS.get(resource["kind"], ())
        stuck = [*self.failed.values(), *self.protected.values()]
        names = (
            f"{e['kind'].replace('_', ' ')} {e['name'] or e['id']}"
            for e in stuck
            if (e["kind"] in kinds and e["run_id"] == resource["run_id"]) or _told_by(e, resource)
        )
        blocker = next(names, "")
        if blocker:
            self._fail(resource, f"it is kept, as {blocker} could not be deleted", "Mend that and sweep again.")
        return bool(blocker)

    def _fail(self, resource: Resource, error: str, hint: str = "", *, held: bool = False) -> None:
        self.failed.setdefault(_key(resource), {**resource, "error": error, "hint": hint, "held": held})

    # Waiting

    def _wait(self, held: list[Resource], interfaces: list[Resource]) -> None:
        """Asks only for interfaces, not for everything anew; returns for a whole look when there is reason for one."""
        look_again = self.clock() + LOOK_AGAIN
        while held or interfaces:
            holders = self._interfaces(held, interfaces)
            there = {each["NetworkInterfaceId"] for each in holders or ()}
            if holders is None or there - self.known or look_again <= self.clock() < self.deadline:
                return  # not answered, or of something that was not there: the next look tells
            for interface in interfaces:
                if interface["id"] not in there:
                    self.done.setdefault(_key(interface), {**interface, "how": "taken away by AWS"})
            interfaces = [each for each in interfaces if each["id"] in there and not self._blocked(each)]
            by_group: dict[str, list[str]] = {}
            for each in holders:
                for group in each.get("Groups", []):
                    by_group.setdefault(group["GroupId"], []).append(each["NetworkInterfaceId"])
            held = [each for each in held if not self._blocked(each)]
            before = held
            held = [each for each in held if each["id"] in by_group or self._try(each) in _LATER]
            self._say_deleted([each for each in before if each not in held])
            if not held and not interfaces:
                return
            if self.clock() >= self.deadline:
                self._out_of_time(held, interfaces, by_group)
                return
            self.say(_waiting(held, interfaces, by_group))
            self._pause()

    def _interfaces(self, held: list[Resource], interfaces: list[Resource]) -> list[Mapping[str, Any]] | None:
        groups = [each["id"] for each in held if each["kind"] == "security_group"]
        found: dict[str, Mapping[str, Any]] = {}
        for name, values in (("group-id", groups), ("network-interface-id", [each["id"] for each in interfaces])):
            for batch in batches(values, _FILTER_VALUES):
                filters = [{"Name": name, "Values": list(batch)}]
                try:
                    answer = self.deleter.call(
                        "ec2", "describe_network_interfaces", "interfaces of the runs", Filters=filters
                    )
                except AwsFailure as failure:
                    self._logged(str(failure))
                    return None
                found |= {each["NetworkInterfaceId"]: each for each in answer.get("NetworkInterfaces", [])}
        return list(found.values())

    def _out_of_time(self, held: list[Resource], interfaces: list[Resource], by_group: Mapping[str, list[str]]) -> None:
        for each in held:
            if _key(each) in self.errors:
                self._fail(each, self.errors[_key(each)])
                continue
            by = (
                f"by {listing(by_group[each['id']], 3)}"
                if each["id"] in by_group
                else "by none of its network interfaces"
            )
            hint = "" if each["id"] in by_group else "Another group's rule may name it, or a load balancer use it."
            self._fail(each, f"AWS still holds it, {by}, and the time is over", hint or "Sweep again later.", held=True)
        for each in interfaces:
            self._fail(each, "AWS has not taken it away, and the time is over", "Sweep again later.", held=True)


# What goes only when these of the same run are gone.
_HOLDERS = {
    "listener": ("load_balancer",),
    "target_group": ("load_balancer",),
    "security_group": ("load_balancer", "ecs_service", "security_group_rule"),
    "network_interface": ("load_balancer", "ecs_service"),
}


def _told_by(resource: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether `other` alone tells whose `resource` is: a subscription's queue, the sibling of what has no tags yet."""
    if _sibling(resource) == other["id"]:
        return True
    return (resource["kind"], other["kind"]) == ("subscription", "queue") and resource["name"] == other["name"]


def _sibling(resource: Mapping[str, Any]) -> str:
    return str((resource.get("detail") or {}).get("sibling") or "")


def _key(resource: Mapping[str, Any]) -> _Key:
    return str(resource["kind"]), str(resource["id"])


def counted(resources: Iterable[Mapping[str, Any]]) -> str:
    """`2 load balancers, 1 queue`."""
    counts = Counter(str(each["kind"]).replace("_", " ") for each in resources)
    return ", ".join(f"{number} {kind}{'s' if number > 1 else ''}" for kind, number in counts.items()) or "nothing"


def _names(resources: Iterable[Mapping[str, Any]]) -> str:
    return listing((each["name"] or each["id"] for each in resources), 3)


def _waiting(held: list[Resource], interfaces: list[Resource], by_group: Mapping[str, list[str]]) -> str:
    ids = sorted({ident for values in by_group.values() for ident in values} | {each["id"] for each in interfaces})
    if ids:
        them = f"{len(ids)} network interface{'s' if len(ids) > 1 else ''} ({listing(ids, 3)})"
        return f"waits until AWS takes {them} away; held by them: {_names(held) or 'nothing'}"
    return f"waits until AWS lets go of {_names(held)}"
