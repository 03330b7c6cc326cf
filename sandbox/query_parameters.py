"""Parameters out of the flattened names of the Query and EC2 protocols, by the service's model.

https://smithy.io/2.0/aws/protocols/aws-query-protocol.html, https://smithy.io/2.0/aws/protocols/aws-ec2-query-protocol.html
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

# Deeper names than this are nobody's.
DEEPEST = 32
INTEGER = re.compile(r"[-+]?\d{1,19}")
# What every request of these protocols may have besides its operation's parameters.
COMMON = frozenset(
    {
        "Action",
        "Version",
        "AWSAccessKeyId",
        "SecurityToken",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
        "Expires",
        "X-Amz-Algorithm",
        "X-Amz-Credential",
        "X-Amz-Date",
        "X-Amz-Expires",
        "X-Amz-Security-Token",
        "X-Amz-Signature",
        "X-Amz-SignedHeaders",
    }
)
# A name's parts as nested dictionaries; the value that a name itself has is under "".
Tree = dict[str, Any]


class Misshapen(ValueError):
    """The names do not fit the parameter's type; the message is AWS's."""


def parameters(
    shape: StructureShape | None, pairs: Mapping[str, str], ec2: bool
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(parameters as boto3 names and types them, names that the operation does not know). Raises Misshapen."""
    names = {name: value for name, value in pairs.items() if name not in COMMON}
    tree = _tree(names)
    if shape is None:
        return {}, tuple(sorted(names))
    unknown: list[str] = []
    found = _structure(shape, tree, "", ec2, unknown)
    return found, tuple(unknown)


def _tree(pairs: Mapping[str, str]) -> Tree:
    root: Tree = {}
    for name, value in pairs.items():
        parts = name.split(".")
        if len(parts) > DEEPEST:
            raise Misshapen("Unexpected complex element termination")
        node = root
        for part in parts:
            node = node.setdefault(part, {})
        node[""] = value
    return root


def _structure(shape: StructureShape, tree: Tree, path: str, ec2: bool, unknown: list[str]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    known = {""}
    for name, member in shape.members.items():
        wire = _wire_name(name, member, ec2)
        known.add(wire)
        node = tree.get(wire)
        if node is not None and (value := _value(member, node, f"{path}{wire}", ec2, unknown)) is not None:
            result[name] = value
    unknown += [f"{path}{name}" for name in tree if name not in known]
    return result


def _wire_name(name: str, member: Shape, ec2: bool) -> str:
    serialization = member.serialization
    if not ec2:
        return str(serialization.get("name", name))
    if "queryName" in serialization:
        return str(serialization["queryName"])
    given = str(serialization.get("name", name))
    return given[:1].upper() + given[1:]


def _value(shape: Shape, node: Tree, path: str, ec2: bool, unknown: list[str]) -> Any:
    if isinstance(shape, StructureShape):
        if set(node) == {""}:
            if node[""]:
                raise Misshapen("Unexpected complex element termination")
            return {}
        return _structure(shape, node, f"{path}.", ec2, unknown)
    if isinstance(shape, ListShape):
        return _list(shape, node, path, ec2, unknown)
    if isinstance(shape, MapShape):
        return _map(shape, node, path, ec2, unknown)
    if set(node) != {""}:
        raise Misshapen("Start of structure or map found where not expected.")
    return scalar(shape, node[""])


def _list(shape: ListShape, node: Tree, path: str, ec2: bool, unknown: list[str]) -> list[Any]:
    if set(node) == {""}:
        if node[""]:
            raise Misshapen("Unexpected list element termination")
        return []
    inner = path
    if not (ec2 or shape.serialization.get("flattened")):
        # The Query protocol takes the model's name of an item and the general one.
        name = next(
            (n for n in (str(shape.member.serialization.get("name", "member")), "member") if n in node), "member"
        )
        node, inner = node.get(name, {}), f"{path}.{name}"
    numbers = _numbers(node)
    if not numbers:
        raise Misshapen("Unexpected list element termination")
    return [_value(shape.member, node[key], f"{inner}.{key}", ec2, unknown) for key in numbers]


def _map(shape: MapShape, node: Tree, path: str, ec2: bool, unknown: list[str]) -> dict[str, Any]:
    if set(node) == {""}:
        return {}
    inner = path
    if not shape.serialization.get("flattened"):
        node, inner = node.get("entry", {}), f"{path}.entry"
    key_name = str(shape.key.serialization.get("name", "key"))
    value_name = str(shape.value.serialization.get("name", "value"))
    result: dict[str, Any] = {}
    for number in _numbers(node):
        entry = node[number]
        key = entry.get(key_name, {}).get("", "")
        result[key] = _value(
            shape.value, entry.get(value_name, {"": ""}), f"{inner}.{number}.{value_name}", ec2, unknown
        )
    return result


def _numbers(node: Tree) -> list[str]:
    """The keys that are numbers, in their order. Raises Misshapen for others."""
    keys = [key for key in node if key]
    if any(not key.isascii() or not key.isdigit() or len(key) > 9 for key in keys):
        raise Misshapen("Unexpected list element termination")
    return sorted(keys, key=int)


def scalar(shape: Shape, text: str) -> Any:
    """The value that a text stands for; the text itself when it is no value of that type."""
    kind = shape.type_name
    if kind in ("integer", "long"):
        return int(text) if INTEGER.fullmatch(text) else text
    if kind in ("float", "double"):
        return _number(text)
    if kind == "boolean":
        return {"true": True, "false": False, "1": True, "0": False}.get(text.lower(), text)
    return text


def _number(text: str) -> Any:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
