# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A new revision of a task definition made from one that is there: nothing is registered that changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ._calls import Calls, once
from ._ecs_tasks import describe_service
from ._taskdef import DefinitionRefused, Difference, Revised, Wanted, differences, revised
from ._taskdef_api import Definitions, Described


@dataclass(frozen=True)
class Made:
    """`target` None: would be registered (check mode). `registered` is true then, too."""

    source: Described
    target: Described | None
    revised: Revised
    differences: Sequence[Difference]
    registered: bool
    reason: str
    unknown: Sequence[str]
    warnings: list[str] = field(default_factory=list)


def source_of(calls: Calls, cluster: str, service: str) -> str:
    """ARN of the revision that the service is told to run. TaskProblem, DefinitionRefused."""
    found = describe_service(calls, cluster, service)
    arn = str(found.get("taskDefinition") or "")
    if not arn:
        # External controllers keep the definition in task sets:
        # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html
        controller = (found.get("deploymentController") or {}).get("type", "ECS")
        raise DefinitionRefused(
            f"service {service} in cluster {cluster} has no task definition of its own (deployment controller "
            f"{controller}): name the revision to start from with task_definition"
        )
    return arn


def make(
    calls: Calls, source: str, wanted: Wanted, *, check: bool, sleep: Callable[[float], None] = time.sleep
) -> Made:
    """The revision that is wanted: the source itself, a newer one that means the same, or a new one."""
    api = Definitions(calls)
    given = api.describe(source)
    made = revised(given.definition, wanted)
    changes = differences(given.definition, made.definition)
    unknown = api.unknown(made.definition)
    warnings = list(made.warnings)
    if not changes and given.usable:
        return Made(given, given, made, changes, False, f"{given.name} is what is wanted", unknown, warnings)
    asked = {**made.definition, "tags": list(given.tags)}
    others = []
    for newer in api.newer(given):
        if not differences(newer.whole, asked):
            reason = f"{newer.name} is what is wanted and was registered before"
            return Made(given, newer, made, changes, False, reason, unknown, warnings)
        others.append(newer.name)
    if others:
        warnings.append(
            f"{', '.join(others)} of the family is newer than {given.name} and not what is wanted; "
            f"the new revision is made from {given.name}, so what was changed there is not in it"
        )
    reason = f"{len(changes)} differences from {given.name}" if changes else f"{given.name} is {given.status}"
    if check:
        return Made(given, None, made, changes, True, reason, unknown, warnings)

    def lost() -> Described | None:
        found = next((newer for newer in api.newer(given) if not differences(newer.whole, asked)), None)
        if found is not None:
            warnings.append(f"RegisterTaskDefinition gave no answer, but it was done: {found.name} is there")
        return found

    target = once(lambda: api.register(made.definition, given.tags), lost, sleep)
    warnings += _read_back(asked, target, unknown)
    return Made(given, target, made, changes, True, reason, unknown, warnings)


def _read_back(asked: dict[str, object], target: Described, unknown: Sequence[str]) -> list[str]:
    """What ECS has is what was asked for, except for what it adds. DefinitionRefused when something was lost.

    Members of the task itself that botocore does not know may be ones that ECS writes, not ones that it takes: of these
    it is only said when they differ.
    """
    answered = {**target.whole, "tags": asked["tags"]}  # the answer has tags only where the caller may see them
    lost = [item for item in differences(answered, asked) if item.after is not None]
    own = {path for path in unknown if "." not in path}
    serious = sorted({_place(item) for item in lost if item.container or item.member not in own})
    if serious:
        raise DefinitionRefused(
            f"ECS registered {target.name}, but not as asked: {', '.join(serious)} is not in it. The service was not "
            "touched. Compare the two revisions in the console, and update boto3 when it names new settings"
        )
    return [f"ECS has another {item.member} in {target.name}; boto3 here does not know this member" for item in lost]


def _place(item: Difference) -> str:
    place = f"{item.member} {item.name}".strip()
    return f"{place} of container {item.container}" if item.container else place
