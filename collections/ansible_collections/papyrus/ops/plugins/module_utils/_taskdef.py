# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Task definitions as data: what a release changes in one, and whether two of them mean the same. Pure functions."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._ecs_tasks import container_definition

READ_ONLY = frozenset(
    {
        "compatibilities",
        "deleteRequestedAt",
        "deregisteredAt",
        "registeredAt",
        "registeredBy",
        "requiresAttributes",
        "revision",
        "status",
        "taskDefinitionArn",
    }
)
"""Members that ECS adds to what was registered:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TaskDefinition.html"""

SSLMODE = "PGSSLMODE"
SSLMODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
"""libpq's modes, the weakest first: https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION"""

# Lists whose order means nothing to ECS, and by what their items are told apart. ECS gives them back in any order.
_UNORDERED: dict[str, tuple[str, ...]] = {
    "containerDefinitions": ("name",),
    "dependsOn": ("containerName",),
    "environment": ("name",),
    "extraHosts": ("hostname",),
    "mountPoints": ("containerPath",),
    "placementConstraints": ("type", "expression"),
    "portMappings": ("containerPort", "containerPortRange", "protocol"),
    "properties": ("name",),
    "resourceRequirements": ("type",),
    "secretOptions": ("name",),
    "secrets": ("name",),
    "systemControls": ("namespace",),
    "tags": ("key",),
    "ulimits": ("name",),
    "volumes": ("name",),
    "volumesFrom": ("sourceContainer",),
}
_HEALTH_CHECK = {"interval": 30, "timeout": 5, "retries": 3, "startPeriod": 0}


class DefinitionRefused(Exception):
    """What is wanted cannot be a task definition; the text says why and what to do."""


@dataclass(frozen=True)
class Wanted:
    """What a release forces. `image` "" and `health_check` None leave what is there; a variable of None is removed.

    `platform` (os/architecture) is that of the image; "" is not compared.
    """

    container: str | None = None
    image: str = ""
    environment: Mapping[str, str | None] = field(default_factory=dict)
    health_check: Mapping[str, Any] | None = None
    platform: str = ""


@dataclass(frozen=True)
class Revised:
    """The definition as it shall be. `kept`: what was stricter than wanted and stays, by variable."""

    definition: dict[str, Any]
    container: str
    kept: dict[str, dict[str, str]]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """`container` "" is the task itself, `name` the variable where member is `environment`. None: not there."""

    container: str
    member: str
    name: str
    before: Any
    after: Any


def registerable(definition: Mapping[str, Any], read_only: Iterable[str] = ()) -> dict[str, Any]:
    """A copy without what ECS adds by itself: what RegisterTaskDefinition takes, known members and unknown ones.

    No member of a task may be empty text; in an answer it is another way to say that it is not set.
    """
    dropped = READ_ONLY | set(read_only)
    return {name: copy.deepcopy(item) for name, item in definition.items() if name not in dropped and item != ""}


def revised(definition: Mapping[str, Any], wanted: Wanted) -> Revised:
    """The definition with what is forced on one container; everything else as it was.

    TaskProblem when there is no such container, DefinitionRefused when a variable would come from two places.
    """
    made = copy.deepcopy(dict(definition))
    container = container_definition(made, wanted.container)
    kept: dict[str, dict[str, str]] = {}
    if wanted.image:
        _refuse_platform(made, wanted)
        container["image"] = wanted.image
    if wanted.environment:
        container["environment"] = _environment(container, wanted.environment, kept)
    if wanted.health_check is not None:
        container["healthCheck"] = {key: value for key, value in wanted.health_check.items() if value is not None}
    for each in made["containerDefinitions"]:
        _refuse_both(each, wanted.environment if each is container else {})
    return Revised(made, str(container.get("name")), kept, tuple(_warnings(container, wanted)))


def _environment(
    container: Mapping[str, Any], forced: Mapping[str, str | None], kept: dict[str, dict[str, str]]
) -> list[dict[str, str]]:
    """The list with each forced variable once, in its old place where it had one."""
    given: list[dict[str, str]] = list(container.get("environment") or [])
    values = _strict(given, forced, kept)
    made, seen = [], set()
    for item in given:
        variable = item.get("name", "")
        if variable not in values:
            made.append(item)
        elif variable not in seen and values[variable] is not None:
            made.append({**item, "value": str(values[variable])})
        seen.add(variable)
    made += [{"name": n, "value": value} for n, value in values.items() if n not in seen and value is not None]
    return made


def _strict(
    given: Sequence[Mapping[str, str]], forced: Mapping[str, str | None], kept: dict[str, dict[str, str]]
) -> dict[str, str | None]:
    """The forced values, except that the protection of the database's connection is never made weaker."""
    values = dict(forced)
    asked = values.get(SSLMODE)
    if asked is None:
        return values
    if asked not in SSLMODES:
        raise DefinitionRefused(f"{SSLMODE} {asked!r} is none of libpq's modes: {', '.join(SSLMODES)}")
    # Where a name stands twice, the container gets the last value.
    there = [item.get("value", "") for item in given if item.get("name") == SSLMODE][-1:]
    if there and there[0] in SSLMODES and SSLMODES.index(there[0]) > SSLMODES.index(asked):
        values[SSLMODE] = there[0]
        kept[SSLMODE] = {"asked": asked, "kept": there[0]}
    return values


def _refuse_platform(definition: Mapping[str, Any], wanted: Wanted) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html"""
    given = definition.get("runtimePlatform") or {}
    if not wanted.platform or not (given or "FARGATE" in (definition.get("requiresCompatibilities") or [])):
        return  # on instances that the definition does not choose, anything may fit
    system = "windows" if str(given.get("operatingSystemFamily", "LINUX")).startswith("WINDOWS") else "linux"
    architecture = {"X86_64": "amd64", "ARM64": "arm64"}.get(str(given.get("cpuArchitecture") or "X86_64"))
    if architecture is None or f"{wanted.platform}/".startswith(f"{system}/{architecture}/"):
        return
    raise DefinitionRefused(
        f"the image is for {wanted.platform}, but tasks of this definition run on {system}/{architecture} "
        f"(runtimePlatform {json.dumps(given)}): no task could start. Release an image for {system}/{architecture}"
    )


def _refuse_both(container: Mapping[str, Any], forced: Mapping[str, str | None]) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html (name): shared with no variable."""
    name = container.get("name")
    secrets = {item.get("name", ""): item.get("valueFrom", "") for item in container.get("secrets") or []}
    for variable in sorted(forced.keys() & secrets.keys()):
        raise DefinitionRefused(
            f"variable {variable} of container {name} is a secret (from {secrets[variable]}) and is given as a plain "
            "variable, too. Secrets are never touched here: take the variable out of what is forced, or take the "
            "secret out of the task definition first"
        )
    both = sorted(secrets.keys() & {item.get("name", "") for item in container.get("environment") or []})
    if both:
        raise DefinitionRefused(
            f"container {name} has {', '.join(both)} both in environment and in secrets, which ECS refuses. "
            "Remove the plain variable by giving it no value (null), or the secret in the task definition"
        )


def _warnings(container: Mapping[str, Any], wanted: Wanted) -> Iterable[str]:
    removed = sorted(name for name, value in wanted.environment.items() if value is None)
    if removed and container.get("environmentFiles"):
        yield (
            f"{', '.join(removed)} is removed from environment, but container {container.get('name')} reads "
            "environmentFiles, too: look there whether it is still set"
        )


def checked_environment(given: Mapping[str, Any]) -> dict[str, str | None]:
    """Variables as ECS takes them. DefinitionRefused for what YAML made something else of, and for impossible names."""
    checked: dict[str, str | None] = {}
    for name, value in given.items():
        if not isinstance(name, str) or not name or any(c in name for c in "=\0\n"):
            raise DefinitionRefused(f"{name!r} is no name of an environment variable")
        if isinstance(value, bool) or not isinstance(value, str | int | None):
            kind = "true or false" if isinstance(value, bool) else type(value).__name__
            raise DefinitionRefused(f"the value of {name} is {kind}, not text: put it in quotes")
        if isinstance(value, str) and "\0" in value:
            raise DefinitionRefused(f"the value of {name} has a zero byte, which no environment can carry")
        checked[name] = None if value is None else str(value)
    return checked


def canonical(definition: Mapping[str, Any]) -> dict[str, Any]:
    """One spelling for one meaning: defaults that ECS fills in, and the order of lists that have none, do not count."""
    plain = registerable(definition)
    own_address = plain.get("networkMode") in ("awsvpc", "host")
    for container in plain.get("containerDefinitions") or []:
        _defaults(container, own_address)
    for name, unit in (("cpu", "vcpu"), ("memory", "gb")):
        if name in plain:
            plain[name] = _units(str(plain[name]), unit)
    found: dict[str, Any] = _compact(plain) or {}
    return found


def _defaults(container: dict[str, Any], own_address: bool) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html and its parts."""
    container.setdefault("essential", True)
    if container.get("cpu") == 0:
        del container["cpu"]
    if container.get("healthCheck"):
        container["healthCheck"] = {**_HEALTH_CHECK, **container["healthCheck"]}
    for mapping in container.get("portMappings") or []:
        mapping.setdefault("protocol", "tcp")
        if own_address and "containerPort" in mapping:
            mapping["hostPort"] = mapping.get("hostPort") or mapping["containerPort"]
        elif mapping.get("hostPort") == 0:
            del mapping["hostPort"]


def _units(text: str, unit: str) -> str:
    """`1 vCPU` and `2 GB` are 1024 and 2048; what is neither is left as it is."""
    number = text.lower().removesuffix(unit).strip()
    if number == text.lower():
        return text
    try:
        value = float(number) * 1024
    except ValueError:
        return text
    return str(round(value)) if math.isfinite(value) else text


def _compact(value: Any, name: str = "") -> Any:
    """Without empty members; lists without order sorted. None: nothing is left."""
    if isinstance(value, Mapping):
        parts = {str(key): _compact(item, str(key)) for key, item in value.items()}
        return {key: item for key, item in parts.items() if item is not None} or None
    if isinstance(value, list | tuple):
        items = [item for item in (_compact(part) for part in value) if item is not None]
        if name in _UNORDERED and all(isinstance(item, Mapping) for item in items):
            items.sort(key=lambda item: [str(item.get(key, "")) for key in _UNORDERED[name]])
        elif name in ("requiresCompatibilities",):
            items.sort(key=str)
        return items or None
    return value


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """What the second definition means otherwise than the first: members of the task, of each container, variables."""
    old, new = canonical(before), canonical(after)
    found = list(_members("", old, new, leave="containerDefinitions"))
    old_containers, new_containers = _by_name(old), _by_name(new)
    for name in sorted(old_containers.keys() | new_containers.keys()):
        first, second = old_containers.get(name), new_containers.get(name)
        if first is None or second is None:
            found.append(Difference(name, "container", "", first, second))
            continue
        found += _members(name, first, second, leave="environment")
        found += _variables(name, first, second)
    return found


def _by_name(definition: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(item.get("name")): item for item in definition.get("containerDefinitions") or []}


def _members(container: str, old: Mapping[str, Any], new: Mapping[str, Any], leave: str) -> Iterable[Difference]:
    for member in sorted((old.keys() | new.keys()) - {leave}):
        if _spelled(old.get(member)) != _spelled(new.get(member)):
            yield Difference(container, member, "", old.get(member), new.get(member))


def _variables(container: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[Difference]:
    first, second = values_of(old), values_of(new)
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            yield Difference(container, "environment", name, _single(first.get(name)), _single(second.get(name)))


def values_of(container: Mapping[str, Any]) -> dict[str, list[str]]:
    """Values of each variable: more than one where the list has a name twice."""
    values: dict[str, list[str]] = {}
    for item in container.get("environment") or []:
        values.setdefault(str(item.get("name", "")), []).append(str(item.get("value", "")))
    return values


def _single(values: list[str] | None) -> Any:
    return values[0] if values and len(values) == 1 else values


def _spelled(value: Any) -> str:
    """JSON tells true from 1, which Python's comparison does not."""
    return json.dumps(value, sort_keys=True, default=str)
