# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One identity chain per running task: registry, definition, container, interface, target, answer; compared (N2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ._ecs_tasks import short
from ._poller import Done, GoOn, Hopeless, Judgement
from ._printable import printable
from ._rows import Status, listing
from ._targets import TargetState

Task = Mapping[str, Any]
"""A task as `_ecs_tasks.shape_task` makes it."""


@dataclass(frozen=True)
class Image:
    """The image that the task definition names, as the registry describes it.

    `reference` stands in the definition, `pinned` is the digest in it ("" for a tag). `digest` is what the registry has
    under the reference, `index` the index above `platform` ("" when there is none), `config` the image's id. `missing`
    says why the registry does not have it, `unasked` why it was not asked.
    """

    reference: str
    pinned: str = ""
    digest: str = ""
    index: str = ""
    platform: str = ""
    config: str = ""
    missing: str = ""
    unasked: str = ""

    @property
    def names(self) -> frozenset[str]:
        """Every digest by which ECS or a container may call this image: one content, as each contains the next."""
        return frozenset({self.pinned, self.digest, self.index, self.platform, self.config} - {""})


@dataclass(frozen=True)
class Released:
    """What a release says it has brought about; "" where it says nothing."""

    digest: str = ""
    index_digest: str = ""
    task_definition: str = ""


@dataclass(frozen=True)
class Look:
    """One look at ECS, EC2 and the load balancer. `interfaces` as EC2 describes them, `attachments` by task."""

    at: str
    task_definition: str
    tasks: tuple[Task, ...]
    targets: tuple[TargetState, ...]
    interfaces: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    attachments: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    deployments: int = 1


@dataclass(frozen=True)
class Answer:
    """Who says to have answered; None for a header that was absent. `status` 0: no answer came, `error` says why."""

    task: str | None
    image: str | None
    status: int
    remote: str
    url: str
    error: str = ""

    @property
    def identified(self) -> bool:
        return bool(self.status and self.task and self.image)


@dataclass
class Tally:
    """Answers with how often they came; grows with the number of different ones only."""

    counts: dict[Answer, int] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        self.counts[answer] = self.counts.get(answer, 0) + 1

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def by(self, task_arn: str) -> list[Answer]:
        return [answer for answer in self.counts if answer.status and answer.task == task_arn]

    def strangers(self, tasks: Iterable[Task]) -> list[str]:
        """Names in the answers that are no running task's, in order of appearance."""
        known = {str(task["task_arn"]) for task in tasks}
        return list(dict.fromkeys(a.task for a in self.counts if a.status and a.task and a.task not in known))

    def as_list(self) -> list[dict[str, Any]]:
        return [{**vars(answer), "count": count} for answer, count in self.counts.items()]


@dataclass(frozen=True)
class Facts:
    """Everything that is compared. `registered` are the tasks that were put behind the load balancer, `first` and
    `last` the looks before and after the requests, `strangers` what ECS says of answering tasks that do not run."""

    image: Image
    registered: tuple[Task, ...]
    first: Look
    last: Look
    answers: Tally
    port: int
    headers: tuple[str, str] | None
    released: Released = Released()
    strangers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Link:
    """Two values that have to be the same. `text` says so, or what is wrong, with both."""

    link: str
    status: Status
    expected: str
    found: str
    text: str

    def as_dict(self) -> dict[str, str]:
        return dict(vars(self))


@dataclass(frozen=True)
class Binding:
    """`chains` by task, `run` what concerns all of them."""

    status: Status
    reason: str
    chains: Mapping[str, tuple[Link, ...]]
    run: tuple[Link, ...]

    def as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "reason": self.reason,
            "run": [link.as_dict() for link in self.run],
            "chains": [
                {"task_arn": arn, "status": worst(links), "links": [link.as_dict() for link in links]}
                for arn, links in self.chains.items()
            ],
        }


def worst(links: Iterable[Link]) -> Status:
    found = {link.status for link in links}
    return "ng" if "ng" in found else "skip" if "skip" in found else "ok"


def brief(digest: str) -> str:
    """Enough of a digest for a sentence; anything else shortened and fit for a terminal."""
    algorithm, dummy, value = digest.partition(":")
    if algorithm == "sha256" and len(value) == 64 and value.isalnum():
        return f"sha256:{value[:12]}"
    text = printable(digest)
    return text if len(text) <= 120 else f"{text[:119]}…"


def target_of(task: Task, port: int) -> tuple[str, int]:
    return str(task["ip"]), port


def unknown_targets(look: Look, port: int) -> list[TargetState]:
    """Registered targets behind which no running task of the service is."""
    known = {target_of(task, port) for task in look.tasks}
    return [target for target in look.targets if (target.id, target.port) not in known]


def judge_answers(look: Look, tally: Tally, port: int, *, least: int, most: int) -> Judgement:
    """Whether to ask on: until every registered target has answered, between `least` and `most` answers.

    A target of nobody known counts as answering once a task that is not known has answered.
    """
    targets = {(target.id, target.port) for target in look.targets}
    silent = [t for t in look.tasks if target_of(t, port) in targets and not tally.by(str(t["task_arn"]))]
    unknown = max(0, len(unknown_targets(look, port)) - len(tally.strangers(look.tasks)))
    waiting = [short(str(task["task_arn"])) for task in silent] + ["a target of another task"] * unknown
    if not waiting and tally.total >= least:
        return Done(f"every target has answered ({tally.total} answers)")
    if tally.total >= most:
        return Hopeless(f"no answer of {listing(waiting)} in {tally.total} requests")
    return GoOn(f"no answer yet of {listing(waiting)}" if waiting else "asking on")


def compare(facts: Facts) -> Binding:
    """Every chain, link by link, and what goes across them."""
    chains = {str(task["task_arn"]): chain(facts, task) for task in facts.last.tasks}
    run = run_links(facts)
    links = [*run, *(link for links in chains.values() for link in links)]
    status = worst(links)
    if status == "ok":
        count, targets = len(chains), len(facts.last.targets)
        reason = f"{count} of {count} running tasks tied to {brief(facts.image.platform or facts.image.digest)}"
        reason += f"; {targets} targets gave {facts.answers.total} answers"
    else:
        reason = listing(dict.fromkeys(f"{link.link}: {link.text}" for link in links if link.status == status), 4)
    return Binding(status, reason, chains, run)


def _link(link: str, expected: str, found: str, good: bool, text: str, wrong: str) -> Link:
    return Link(link, "ok" if good else "ng", expected, found, text if good else wrong)


# What concerns all tasks


def run_links(facts: Facts) -> tuple[Link, ...]:
    return (
        *_released(facts),
        *_steady(facts),
        *_foreign_targets(facts),
        *_answers(facts),
    )


def _released(facts: Facts) -> list[Link]:
    links, image, released = [], facts.image, facts.released
    if released.task_definition:
        serves = facts.last.task_definition
        links.append(
            _link(
                "released revision",
                released.task_definition,
                serves,
                released.task_definition == serves,
                f"the service serves {short(serves)}, which was released",
                f"{short(released.task_definition)} was released, the service serves {short(serves)}",
            )
        )
    if released.digest:
        serves = image.pinned or image.digest or image.reference
        links.append(
            _link(
                "released image",
                released.digest,
                serves,
                released.digest in {image.pinned, image.digest, image.index, image.platform} - {""},
                f"{brief(released.digest)}, which was released, is in the task definition",
                f"{brief(released.digest)} was released, the task definition names {brief(serves)}",
            )
        )
    if released.index_digest:
        links.append(
            _link(
                "released index",
                released.index_digest,
                image.index,
                released.index_digest == image.index,
                f"index {brief(released.index_digest)} holds {brief(image.platform)}",
                f"index {brief(released.index_digest)} was released, the registry does not have "
                f"{brief(image.platform or image.pinned)} in it",
            )
        )
    return links


def _steady(facts: Facts) -> list[Link]:
    """Nothing may have moved between registration, the first and the last look."""
    first, last, links = facts.first, facts.last, []
    if last.deployments != 1 or first.task_definition != last.task_definition:
        text = f"{last.deployments} deployments are in flight"
        if first.task_definition != last.task_definition:
            text = (
                f"the service went from {short(first.task_definition)} to {short(last.task_definition)} in the meantime"
            )
        links.append(Link("service", "ng", first.task_definition, last.task_definition, text))
    known = {str(task["task_arn"]): task for task in (*facts.registered, *first.tasks)}
    now = {str(task["task_arn"]): task for task in last.tasks}
    for arn in known.keys() - now.keys():
        why = last.left_out.get(arn) or facts.strangers.get(arn) or "ECS does not list it any more"
        new = [short(other) for other in now.keys() - known.keys()]
        instead = f"; instead {listing(new)} runs" if new else ""
        text = f"task {short(arn)} was replaced in the meantime: it {why}{instead}"
        links.append(Link("task", "ng", arn, ", ".join(sorted(now)), text))
    if known.keys() <= now.keys():
        for arn in now.keys() - known.keys():
            text = f"task {short(arn)} was started after the targets were registered"
            links.append(Link("task", "ng", ", ".join(sorted(known)), arn, text))
    for task in (*facts.registered, *first.tasks):
        arn = str(task["task_arn"])
        for key in ("ip", "eni", "image_digest", "task_definition") if arn in now else ():
            before, after = str(task[key]), str(now[arn][key])
            if before != after:
                text = f"task {short(arn)} had {key} {before}, now it is {after}"
                links.append(Link("task", "ng", before, after, text))
    before_keys, after_keys = ({(t.id, t.port) for t in look.targets} for look in (first, last))
    if before_keys != after_keys:
        was, now_are = (listing(f"{ip}:{port}" for ip, port in sorted(keys)) for keys in (before_keys, after_keys))
        links.append(Link("target", "ng", was, now_are, f"the targets were {was}, in the meantime {now_are or 'none'}"))
    if not now:
        text = "no task of the service runs: " + (listing(last.left_out.values(), 2) or "ECS lists none")
        links.append(Link("task", "ng", "a running task", "", text))
    return links


def _foreign_targets(facts: Facts) -> list[Link]:
    past = {target_of(task, facts.port): short(str(task["task_arn"])) for task in facts.registered}
    ours = listing(f"{task['ip']}:{facts.port}" for task in facts.last.tasks)
    links = []
    for target in unknown_targets(facts.last, facts.port):
        key, name = (target.id, target.port), f"{target.id}:{target.port}"
        whose = f"was task {past[key]}'s, which does not run any more" if key in past else "is none of the service's"
        text = f"target {name} is registered behind the load balancer and {whose}; its tasks are {ours or 'none'}"
        links.append(Link("target", "ng", ours, name, text))
    return links


def _answers(facts: Facts) -> list[Link]:
    if facts.headers is None:
        text = "papyrus_identity_headers is empty: answers do not say which task and image they come from"
        return [Link("answer", "skip", "", "", text)]
    links = []
    for answer, count in facts.answers.counts.items():
        if answer.status and not answer.identified:
            lacks = [name for name, value in zip(facts.headers, (answer.task, answer.image), strict=True) if not value]
            text = f"{count} answers ({answer.status} from {answer.remote}) lack {listing(lacks)}"
            links.append(Link("answer", "ng", ", ".join(facts.headers), "", text))
    running = listing(short(str(task["task_arn"])) for task in facts.last.tasks)
    for name in facts.answers.strangers(facts.last.tasks):
        says = facts.last.left_out.get(name) or facts.strangers.get(name) or "is not known to ECS"
        text = f"{brief(short(name))} answers, which {says}; the service's running tasks are {running or 'none'}"
        links.append(Link("answer", "ng", running, name, text))
    images: dict[str, Answer] = {}
    for answer in facts.answers.counts:
        if answer.status and answer.image:
            images.setdefault("" if answer.image in facts.image.names else answer.image, answer)
    if len(images) > 1:
        said = [f"{brief(a.image or '')} (task {brief(short(a.task or 'unknown'))})" for a in images.values()]
        text = f"{len(images)} images answer behind one load balancer: {' and '.join(said)}"
        links.append(Link("answer", "ng", said[0], said[1], text))
    return links


# One task's own chain


def chain(facts: Facts, task: Task) -> tuple[Link, ...]:
    """From the registry to the answer; the registry's link is the same for every task."""
    links = (_registry, _revision, _container, _interface, _target, *([_answer] if facts.headers is not None else []))
    return tuple(link(facts, task) for link in links)


def _registry(facts: Facts, task: Task) -> Link:
    image = facts.image
    named = image.pinned or image.reference
    if image.unasked:
        return Link("registry", "skip", "", named, image.unasked)
    if image.missing:
        return Link("registry", "ng", "", named, f"the task definition names {brief(named)}, but {image.missing}")
    way = f"index {brief(image.index)} → {brief(image.platform)}" if image.index else brief(image.platform)
    by = "" if image.pinned else f" under {image.reference} (a tag, which can be moved)"
    return _link(
        "registry",
        image.digest,
        named,
        image.pinned in ("", image.digest),
        f"the registry has {way}{by}",
        f"the task definition names {brief(image.pinned)}, the registry answers with {brief(image.digest)}",
    )


def _revision(facts: Facts, task: Task) -> Link:
    serves, runs, name = facts.last.task_definition, str(task["task_definition"]), short(str(task["task_arn"]))
    return _link(
        "revision",
        serves,
        runs,
        serves == runs,
        f"task {name} runs {short(serves)}, which the service serves",
        f"task {name} runs {short(runs)}, the service serves {short(serves)}",
    )


def _container(facts: Facts, task: Task) -> Link:
    image, runs, name = facts.image, str(task["image_digest"]), short(str(task["task_arn"]))
    named = image.platform or image.digest or image.pinned
    if not image.names:
        return Link("container", "skip", image.reference, runs, f"nothing says which digest {image.reference} has")
    return _link(
        "container",
        named,
        runs,
        runs in image.names,
        f"task {name} runs {brief(runs)}",
        f"task {name} runs {brief(runs) or 'an image without a digest'}, the task definition names {brief(named)}",
    )


def _interface(facts: Facts, task: Task) -> Link:
    eni, ip, arn = str(task["eni"]), str(task["ip"]), str(task["task_arn"])
    known, expected = facts.last.interfaces.get(eni), f"{eni} {ip}"
    if known is None:
        return Link("interface", "ng", expected, "", f"EC2 does not know {eni}, which ECS names for task {short(arn)}")
    address, status = str(known.get("PrivateIpAddress", "")), str(known.get("Status", ""))
    found = f"{eni} {address} {status}"
    if address != ip:
        wrong = f"EC2 says that {eni} has {address}, ECS says {ip} of task {short(arn)}"
        return Link("interface", "ng", expected, found, wrong)
    if status != "in-use":
        return Link("interface", "ng", expected, found, f"{eni} of task {short(arn)} is {status} in EC2, not in-use")
    # Fargate describes the interface by the ARN of its attachment to the task.
    described = str(known.get("Description", ""))
    attached, own = described.rpartition(":attachment/")[2], facts.last.attachments.get(arn, "")
    if ":attachment/" in described and own and attached != own:
        wrong = f"EC2 says that {eni} is attached as {attached}, ECS says {own} of task {short(arn)}"
        return Link("interface", "ng", own, attached, wrong)
    return Link("interface", "ok", expected, found, f"EC2 says {eni} has {ip}")


def _target(facts: Facts, task: Task) -> Link:
    ip, port = target_of(task, facts.port)
    name, arn = f"{ip}:{port}", short(str(task["task_arn"]))
    target = next((target for target in facts.last.targets if (target.id, target.port) == (ip, port)), None)
    if target is None:
        registered = listing(f"{other.id}:{other.port}" for other in facts.last.targets) or "none"
        wrong = f"task {arn} at {name} is not registered behind the load balancer; registered is {registered}"
        return Link("target", "ng", name, registered, wrong)
    good = target.state == "healthy"
    return _link("target", name, str(target), good, f"{name} is registered and healthy", f"target {target}, task {arn}")


def _answer(facts: Facts, task: Task) -> Link:
    arn, runs = str(task["task_arn"]), str(task["image_digest"])
    answers = facts.answers.by(arn)
    if not answers:
        errors = listing(dict.fromkeys(answer.error for answer in facts.answers.counts if answer.error), 2)
        text = f"task {short(arn)} at {task['ip']}:{facts.port} has not answered in {facts.answers.total} requests"
        return Link("answer", "ng", arn, "", f"{text} ({errors})" if errors else text)
    names = facts.image.names if runs in facts.image.names else {runs}
    wrong = next((answer for answer in answers if answer.image not in names), None)
    if wrong is not None:
        said = brief(wrong.image or "nothing")
        text = f"task {short(arn)} answers as {said}, its container runs {brief(runs)}"
        return Link("answer", "ng", runs, wrong.image or "", text)
    count = sum(facts.answers.counts[answer] for answer in answers)
    return Link("answer", "ok", runs, str(answers[0].image), f"task {short(arn)} gave {count} answers")
