"""Parameters and answers as CloudTrail writes them: by the service's model, in lowerCamelCase, without secrets."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from sandbox.recording import SECRET_NAMES

HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"
# RDS writes its passwords so. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/logging-using-cloudtrail.html
HIDDEN_BY_RDS = "****"
# AWS shows session tokens; nothing that opens something is written down here.
ALSO_SECRET = SECRET_NAMES | {"sessiontoken", "authorizationtoken", "ciphertextblob", "privatekeyplaintext"}
# Never in a record, not even as a name.
LEFT_OUT = frozenset({"secretaccesskey", "responsemetadata"})
SECRET_WORDS = ("password", "secret", "token")
DEEPEST = 24

# EC2's lists of plain values and of filters have names of their own: member → (name, name within an item).
EC2_SETS = {
    "Filters": ("filterSet", ""),
    "GroupIds": ("securityGroupIdSet", "groupId"),
    "GroupNames": ("securityGroupSet", "groupName"),
    "InstanceIds": ("instancesSet", "instanceId"),
    "InternetGatewayIds": ("internetGatewayIdSet", "internetGatewayId"),
    "NetworkInterfaceIds": ("networkInterfaceIdSet", "networkInterfaceId"),
    "Resources": ("resourcesSet", "resourceId"),
    "RouteTableIds": ("routeTableIdSet", "routeTableId"),
    "SubnetIds": ("subnetSet", "subnetId"),
    "TagSpecifications": ("tagSpecificationSet", ""),
    "VpcIds": ("vpcSet", "vpcId"),
}
EC2_WITHIN = {("Filter", "Values"): ("valueSet", "value"), ("TagSpecification", "Tags"): ("tags", "")}


@functools.cache
def camel(name: str) -> str:
    """CloudTrail's form of a member's name: the first letter small, an abbreviation as a whole."""
    return name.lower() if name.isupper() else name[:1].lower() + name[1:]


def written(shape: Shape | None, value: Any, service: str) -> Any:
    """A value of this shape as a record holds it."""
    if service == "ec2":
        return _ec2(shape, value, "")
    return _value(shape, value, "", HIDDEN_BY_RDS if service == "rds" else HIDDEN, 0)


def _is_secret(shape: Shape | None, name: str) -> bool:
    return name.lower() in ALSO_SECRET or (shape is not None and bool(shape.metadata.get("sensitive")))


def _value(shape: Shape | None, value: Any, name: str, hidden: str, depth: int) -> Any:
    if value is None or depth > DEEPEST:
        return None
    if _is_secret(shape, name):
        return hidden
    if isinstance(value, Mapping):
        if isinstance(shape, StructureShape):
            return {
                camel(key): _value(shape.members.get(key), item, key, hidden, depth + 1)
                for key, item in _disclosed(value, hidden)
                if key.lower() not in LEFT_OUT
            }
        within = shape.value if isinstance(shape, MapShape) else None
        return {str(key): _value(within, item, str(key), hidden, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        within = shape.member if isinstance(shape, ListShape) else None
        return [_value(within, item, "", hidden, depth + 1) for item in value]
    return _plain(shape, value)


def _disclosed(value: Mapping[str, Any], hidden: str) -> list[tuple[str, Any]]:
    """Pairs of a structure; one that names a secret ({"name": "DB_PASSWORD", "value": …}) without it."""
    named = next((str(v) for k, v in value.items() if k.lower() in ("name", "key", "parametername")), "").lower()
    if any(word in named for word in SECRET_WORDS):
        return [(k, hidden if k.lower() in ("value", "parametervalue") else v) for k, v in value.items()]
    return list(value.items())


def _plain(shape: Shape | None, value: Any) -> Any:
    if shape is not None and shape.type_name == "timestamp":
        return stamp(value)
    if isinstance(value, bytes | bytearray):
        return f"({len(value)} bytes)"
    return value if isinstance(value, str | int | float | bool) else str(value)


def stamp(value: Any) -> Any:
    """A time within parameters or answers: "Nov 24, 2026, 6:27:42 PM"."""
    if isinstance(value, int | float):
        value = datetime.fromtimestamp(value, UTC)
    if not isinstance(value, datetime):
        return str(value)
    at = value.astimezone(UTC) if value.tzinfo else value
    return f"{at:%b} {at.day}, {at.year}, {at.hour % 12 or 12}:{at:%M:%S %p}"


def _ec2(shape: Shape | None, value: Any, name: str) -> Any:
    """EC2's records follow its XML: a list is {"items": […]}, an empty one {}."""
    if value is None:
        return None
    if _is_secret(shape, name):
        return HIDDEN
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        result = {}
        for key, item in value.items():
            member = shape.members.get(key)
            known = EC2_WITHIN.get((shape.name, key)) or EC2_SETS.get(key)
            if known and isinstance(member, ListShape) and isinstance(item, list):
                named, within = known
                listed = [{within: x} if within else _ec2(member.member, x, "") for x in item]
                result[named] = {"items": listed} if listed else {}
            elif key.lower() not in LEFT_OUT:
                wire = str(member.serialization.get("name", key)) if member is not None else key
                result["_return" if wire == "return" else camel(wire)] = _ec2(member, item, key)
        return result
    if isinstance(shape, ListShape) and isinstance(value, list):
        listed = [_ec2(shape.member, item, "") for item in value]
        return {"items": listed} if listed else {}
    return _plain(shape, value)
