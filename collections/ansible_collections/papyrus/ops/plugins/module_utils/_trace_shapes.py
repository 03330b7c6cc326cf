# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a trace may say of parameters and answers: names and types of AWS' own models, and words that AWS has coined.

Nothing is taken out: it is never put in. A name comes from botocore's model, never from the data; a value only where
the model enumerates it, or where this file names the member as one whose words are AWS' alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any

FILTERS = frozenset({
    "addresses.private-ip-address", "association.public-ip", "association.route-table-association-id",
    "association.subnet-id", "attachment.status", "availability-zone", "cidr-block", "default-for-az", "description",
    "group-id", "group-name", "interface-type", "ip-permission.cidr", "ip-permission.group-id",
    "network-interface-id", "private-ip-address", "requester-id", "security-group-rule-id", "state", "status",
    "subnet-id", "tag-key", "vpc-endpoint-state", "vpc-id",
})  # fmt: skip
"""Names of EC2's filters that are told; any other is `string`, as `tag:<key>` has a key of the customer in it."""

# Strings that AWS alone writes and does not enumerate in its models, by service, structure and member.
_STATES = frozenset({
    ("ecs", "Task", "lastStatus"), ("ecs", "Task", "desiredStatus"), ("ecs", "Container", "lastStatus"),
    ("ecs", "ManagedAgent", "lastStatus"), ("ecs", "Attachment", "status"), ("ecs", "Attachment", "type"),
    ("ecs", "Service", "status"), ("ecs", "Deployment", "status"), ("ecs", "Cluster", "status"),
    ("ecs", "Failure", "reason"), ("elbv2", "LoadBalancerState", "Code"), ("elbv2", "TargetHealth", "State"),
    ("elbv2", "TargetHealth", "Reason"), ("ec2", "NetworkInterface", "Status"),
    ("ec2", "NetworkInterfaceAttachment", "Status"), ("rds", "DBInstance", "DBInstanceStatus"),
    ("rds", "DBParameterGroupStatus", "ParameterApplyStatus"),
})  # fmt: skip
_WORD = re.compile(r"[A-Za-z]+(?:[_-][A-Za-z]+){0,4}|[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+")
_CODE = re.compile(r"[A-Z][A-Za-z]*(?:\.[A-Z][A-Za-z]*){0,4}|[1-5][0-9]{2}")
_PLACE = re.compile(r"(?:[a-z]+-)+[0-9]+[a-z]?|EU", re.IGNORECASE)
_LONGEST = 64

OTHER, EMPTY = "other", "empty"


def word(value: object) -> str:
    """A state as AWS words it: `in-use`, `DRAINING`, `Target.Timeout`; "empty", or for anything else "other"."""
    text = str(value) or EMPTY
    return text if len(text) <= _LONGEST and _WORD.fullmatch(text) else OTHER


def code(value: object) -> str:
    """An error code of AWS or the name of an exception, "" for none; anything else is "other"."""
    text = str(value or "")
    return text if not text or (len(text) <= _LONGEST and _CODE.fullmatch(text)) else OTHER


def shape_of(value: Any, model: Any, service: str = "") -> Any:
    """Names and types of `value`, which is of the shape `model` (botocore's); None without one.

    A structure is an object, a list has the shape of its items (none when it is empty), a map is {"{}": shape}. A text
    is "string", "string=WORD" where the word is AWS' own. Members that the model does not know are not told.
    """
    return None if model is None else _shape(value, model, service, False)


def _shape(value: Any, model: Any, service: str, coined: bool) -> Any:
    kind = str(model.type_name)
    if kind == "structure":
        if not isinstance(value, Mapping):
            return kind
        if getattr(model, "is_document_type", False):
            return "document"
        return {
            name: _shape(value[name], member, service, (service, str(model.name), name) in _STATES)
            for name, member in model.members.items()
            if name in value and value[name] is not None and not _is_filter(service, model, name)
        } | _filter(value, model, service)
    if kind == "list" and isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return _together(_shape(item, model.member, service, coined) for item in value)
    if kind == "map" and isinstance(value, Mapping):
        found = _together(_shape(item, model.value, service, coined) for item in value.values())
        return {"{}": found[0]} if found else {"{}": "nothing"}
    if kind == "string":
        return _string(value, model, coined)
    return kind


def _string(value: Any, model: Any, coined: bool) -> str:
    listed = isinstance(value, str) and value in (getattr(model, "enum", None) or ())
    if listed and not _PLACE.fullmatch(value) and re.fullmatch(r"[\w.:/ -]{1,64}", value):
        return f"string={value}"
    return f"string={word(value)}" if coined else "string"


def _is_filter(service: str, model: Any, name: str) -> bool:
    return service == "ec2" and str(model.name) == "Filter" and name == "Name"


def _filter(value: Mapping[str, Any], model: Any, service: str) -> dict[str, str]:
    """The name of a filter, where it is one of EC2's own."""
    if not _is_filter(service, model, "Name") or "Name" not in value:
        return {}
    return {"Name": f"string={value['Name']}" if value["Name"] in FILTERS else "string"}


def _together(shapes: Iterator[Any]) -> list[Any]:
    found = list(shapes)
    return [reduce(merged, found)] if found else []


def merged(one: Any, other: Any) -> Any:
    """One shape for both: what is in one of them only is optional (`name?`), words are listed (`string=A|B`)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return _merged_members(one, other)
    if isinstance(one, list) and isinstance(other, list):
        return [reduce(merged, [*one, *other])] if one or other else []
    if one == other:
        return one
    if isinstance(one, str) and isinstance(other, str) and {_kind(one), _kind(other)} == {"string"}:
        return f"string={'|'.join(sorted(_words(one) | _words(other)))}"
    if "nothing" in (one, other):
        return other if one == "nothing" else one
    return "mixed"


def _merged_members(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    left, right = ({name.rstrip("?"): name for name in each} for each in (one, other))
    result = {}
    for name in [*left, *(name for name in right if name not in left)]:
        if name in left and name in right:
            optional = left[name] != name or right[name] != name
            value = merged(one[left[name]], other[right[name]])
        else:
            optional, value = True, one[left[name]] if name in left else other[right[name]]
        result[f"{name}?" if optional else name] = value
    return result


def _kind(text: str) -> str:
    return text.partition("=")[0]


def _words(text: str) -> set[str]:
    """Of `string=A|B` A and B; of a mere `string` "*"."""
    said = text.partition("=")[2]
    return set(said.split("|")) if said else {"*"}


# States of things over time

Look = tuple[str, str, str, tuple[str, ...]]


def _tasks(path: str) -> tuple[Look, ...]:
    return (
        ("task", path, "taskArn", ("lastStatus", "desiredStatus", "healthStatus", "stopCode")),
        ("task interface", f"{path}.attachments", "id", ("status",)),
        ("exec agent", f"{path}.containers", "containerArn", ("managedAgents.lastStatus",)),
    )


_BALANCERS: tuple[Look, ...] = (("load balancer", "LoadBalancers", "LoadBalancerArn", ("State.Code",)),)
_DEPLOYMENTS: tuple[Look, ...] = (
    ("service", "services", "serviceArn", ("status",)),
    ("deployment", "services.deployments", "id", ("status", "rolloutState")),
)
# By service and operation: kind of thing, where its objects are, what tells them apart, which members are its state.
_LOOKS: dict[tuple[str, str], tuple[Look, ...]] = {
    ("elbv2", "CreateLoadBalancer"): _BALANCERS,
    ("elbv2", "DescribeLoadBalancers"): _BALANCERS,
    ("elbv2", "DescribeTargetHealth"): (
        ("target", "TargetHealthDescriptions", "Target.Id", ("TargetHealth.State", "TargetHealth.Reason")),
    ),
    ("ecs", "DescribeTasks"): _tasks("tasks"),
    ("ecs", "RunTask"): _tasks("tasks"),
    ("ecs", "StopTask"): _tasks("task"),
    ("ecs", "DescribeServices"): _DEPLOYMENTS,
    ("ecs", "DescribeServiceDeployments"): (
        ("service deployment", "serviceDeployments", "serviceDeploymentArn", ("status",)),
    ),
    ("ec2", "DescribeNetworkInterfaces"): (
        ("network interface", "NetworkInterfaces", "NetworkInterfaceId", ("Status", "Attachment.Status")),
    ),
    ("rds", "DescribeDBInstances"): (("database", "DBInstances", "DBInstanceIdentifier", ("DBInstanceStatus",)),),
}


def states_of(service: str, operation: str, answer: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Kind, id and state of each thing that an answer tells the state of. The id is the customer's: never told as such.

    A state is {member: word}; members that the answer does not have are left out.
    """
    for kind, path, identity, members in _LOOKS.get((service, operation), ()):
        for item in _items(answer, path.split(".")):
            found = {name: word(value) for name in members if (value := _member(item, name.split("."))) is not None}
            told = _member(item, identity.split("."))
            if found and told is not None:
                yield kind, str(told), found


def _items(value: Any, path: list[str]) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _items(item, path)
    elif isinstance(value, Mapping):
        if not path:
            yield value
        elif path[0] in value:
            yield from _items(value[path[0]], path[1:])


def _member(value: Any, path: list[str]) -> Any:
    """A member of a member; of a list its first item. None where there is none."""
    for name in path:
        value = value[0] if isinstance(value, list) and value else value
        if not isinstance(value, Mapping) or value.get(name) is None:
            return None
        value = value[name]
    return value
