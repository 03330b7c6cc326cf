"""Security groups as EC2 keeps them: a rule has one source, an id of its own, and exists once."""

from __future__ import annotations

import fnmatch
import ipaddress
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from sandbox.emulator import service
from sandbox.network import referenced_groups
from sandbox.seams.refusal import Params, Refused, Response

Rule = dict[str, Any]
SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}
NUMBERED_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}


def install(ec2: Any) -> None:
    """Replace the emulator's security group operations."""
    ec2._sg_xml = _described(ec2, ec2._sg_xml)
    actions = ec2._ACTION_MAP
    create, delete, by_rule = (
        actions[name] for name in ("CreateSecurityGroup", "DeleteSecurityGroup", "DescribeSecurityGroupRules")
    )
    actions.update(
        CreateSecurityGroup=lambda p: _create(ec2, p, create),
        DeleteSecurityGroup=lambda p: _delete(ec2, p, delete),
        DescribeSecurityGroups=lambda p: _describe(ec2, p),
        DescribeSecurityGroupRules=lambda p: _describe_rules(ec2, p, by_rule),
    )
    for direction, key in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
        actions[f"AuthorizeSecurityGroup{direction}"] = _bound(ec2, _authorize, direction, key)
        actions[f"RevokeSecurityGroup{direction}"] = _bound(ec2, _revoke, direction, key)
        actions[f"UpdateSecurityGroupRuleDescriptions{direction}"] = _bound(ec2, _redescribe, direction, key)


def _bound(ec2: Any, work: Callable[..., Response], direction: str, key: str) -> Callable[[Params], Response]:
    return lambda p: work(ec2, p, direction, key)


def _create(ec2: Any, p: Params, create: Callable[[Params], Response]) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html"""
    name, vpc = ec2._p(p, "GroupName"), ec2._p(p, "VpcId")
    if vpc and vpc not in ec2._vpcs:
        raise Refused("InvalidVpcID.NotFound", f"The vpc ID '{vpc}' does not exist")
    if name.startswith("sg-"):
        raise Refused("InvalidParameterValue", "Group names may not be in the format sg-*")
    vpc = vpc or ec2._DEFAULT_VPC_ID
    if any(group["GroupName"] == name and group["VpcId"] == vpc for group in ec2._security_groups.values()):
        raise Refused("InvalidGroup.Duplicate", f"The security group '{name}' already exists for VPC '{vpc}'")
    return create(p)


def _delete(ec2: Any, p: Params, delete: Callable[[Params], Response]) -> Response:
    """A group that an interface has or another group's rule names stays.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    group = ec2._p(p, "GroupId")
    used = any(
        group == held["GroupId"] for interface in ec2._network_interfaces.values() for held in interface["Groups"]
    )
    named = any(group in referenced_groups(record) for other, record in ec2._security_groups.items() if other != group)
    if group in ec2._security_groups and (used or named):
        raise Refused("DependencyViolation", f"resource {group} has a dependent object")
    answer = delete(p)
    if answer[0] == 200:
        ec2._tags.pop(group, None)
    return answer


def _group(ec2: Any, group: str) -> dict[str, Any]:
    record: dict[str, Any] | None = ec2._security_groups.get(group)
    if record is None:
        if ec2._is_malformed_security_group_id(group):
            raise Refused("InvalidGroupId.Malformed", f'Invalid id: "{group}"')
        raise Refused("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
    return record


def _atoms(ec2: Any, p: Params) -> list[Rule]:
    """The request's permissions, one rule a source, as EC2 stores them."""
    atoms: list[Rule] = []
    for permission in ec2._parse_ip_permissions(p, "IpPermissions"):
        protocol = str(permission["IpProtocol"]).lower()
        protocol = NUMBERED_PROTOCOLS.get(protocol, protocol)
        ports: dict[str, int] = {}
        if protocol != "-1":
            if "FromPort" not in permission or "ToPort" not in permission:
                raise Refused(
                    "InvalidParameterValue",
                    f"Invalid value '{protocol}' for IP protocol: a range of ports is required for it",
                )
            ports = {"FromPort": permission["FromPort"], "ToPort": permission["ToPort"]}
            if protocol in ("tcp", "udp") and not 0 <= ports["FromPort"] <= ports["ToPort"] <= 65535:
                raise Refused(
                    "InvalidParameterValue",
                    f"Invalid TCP/UDP port range ({ports['FromPort']}:{ports['ToPort']})",
                )
        sources = [(kind, dict(entry)) for kind in SOURCES for entry in permission.get(kind, [])]
        if not sources:
            raise Refused("InvalidParameterValue", "The request must contain a source: a CIDR block or a group")
        for kind, entry in sources:
            atoms.append({"IpProtocol": protocol, **ports, **{name: [] for name in SOURCES}, kind: [entry]})
    if not atoms:
        raise Refused("MissingParameter", "The request must contain the parameter ipPermissions")
    return atoms


def _check_source(ec2: Any, owner: Mapping[str, Any], atom: Rule) -> None:
    for kind, version in (("IpRanges", 4), ("Ipv6Ranges", 6)):
        for entry in atom[kind]:
            text = str(entry[SOURCES[kind]])
            try:
                block = ipaddress.ip_network(text, strict=False)
            except ValueError:
                block = None
            if block is None or block.version != version or "/" not in text:
                raise Refused("InvalidParameterValue", f"CIDR block {text} is malformed")
            entry[SOURCES[kind]] = str(block)
    for pair in atom["UserIdGroupPairs"]:
        if not pair.get("GroupId"):
            named = [
                group["GroupId"]
                for group in ec2._security_groups.values()
                if group["GroupName"] == pair.get("GroupName") and group["VpcId"] == owner["VpcId"]
            ]
            if not named:
                raise Refused("InvalidGroup.NotFound", f"The security group '{pair.get('GroupName')}' does not exist")
            pair["GroupId"] = named[0]
        pair.pop("GroupName", None)
        pair.setdefault("UserId", ec2.get_account_id())
        if _group(ec2, pair["GroupId"])["VpcId"] != owner["VpcId"]:
            raise Refused(
                "InvalidGroup.NotFound", "You have specified two resources that belong to different networks."
            )


def _identity(atom: Rule) -> tuple[Any, ...]:
    """What makes two rules the same one: everything but the description."""
    source = next(
        ((kind, str(entry[name])) for kind, name in SOURCES.items() for entry in atom.get(kind, [])), ("", "")
    )
    protocol = str(atom["IpProtocol"])
    ports = (None, None) if protocol == "-1" else (atom.get("FromPort"), atom.get("ToPort"))
    return (protocol, *ports, *source)


def _authorize(ec2: Any, p: Params, direction: str, key: str) -> Response:
    """All rules or none. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html"""
    group = ec2._p(p, "GroupId")
    record = _group(ec2, group)
    atoms = _atoms(ec2, p)
    known = {_identity(rule) for rule in record[key]}
    for atom in atoms:
        _check_source(ec2, record, atom)
        identity = _identity(atom)
        if identity in known:
            protocol, first, last, _, peer = identity
            span = "" if first is None else f", from port: {first}, to port: {last}"
            what = "ALL" if protocol == "-1" else protocol.upper()
            raise Refused(
                "InvalidPermission.Duplicate",
                f'the specified rule "peer: {peer}, {what}{span}, ALLOW" already exists',
            )
        known.add(identity)
    tags = ec2._sg_rule_tag_specifications(p)
    items = ""
    for atom in atoms:
        atom["SecurityGroupRuleId"] = f"sgr-{secrets.token_hex(9)[:17]}"
        record[key].append(atom)
        if tags:
            ec2._tags[atom["SecurityGroupRuleId"]] = list(tags)
        items += ec2._sg_rule_xml(group, atom, is_egress=direction == "Egress")
    inner = f"<return>true</return><securityGroupRuleSet>{items}</securityGroupRuleSet>"
    return _xml(ec2, f"AuthorizeSecurityGroup{direction}", inner)


def _revoke(ec2: Any, p: Params, direction: str, key: str) -> Response:
    """A rule that is not there is an error in a VPC other than the default one.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupIngress.html
    """
    group = ec2._p(p, "GroupId")
    record = _group(ec2, group)
    egress = direction == "Egress"
    wanted = ec2._parse_member_list(p, "SecurityGroupRuleId")
    if wanted:
        have = {ec2._sg_rule_id(group, egress, rule) for rule in record[key]}
        for rule_id in wanted:
            if rule_id not in have:
                raise Refused(
                    "InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{rule_id}' does not exist"
                )
        gone = [rule for rule in record[key] if ec2._sg_rule_id(group, egress, rule) in wanted]
    else:
        gone = []
        for atom in _atoms(ec2, p):
            for kind in ("IpRanges", "Ipv6Ranges"):
                for entry in atom[kind]:
                    entry[SOURCES[kind]] = str(ipaddress.ip_network(entry[SOURCES[kind]], strict=False))
            match = [rule for rule in record[key] if _identity(rule) == _identity(atom)]
            if not match:
                raise Refused("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
            gone += match
    for rule in gone:
        ec2._tags.pop(ec2._sg_rule_id(group, egress, rule), None)
    record[key] = [rule for rule in record[key] if not any(rule is other for other in gone)]
    items = "".join(ec2._revoked_sg_rule_xml(group, rule, is_egress=egress) for rule in gone)
    inner = f"<return>true</return><revokedSecurityGroupRuleSet>{items}</revokedSecurityGroupRuleSet>"
    return _xml(ec2, f"RevokeSecurityGroup{direction}", inner)


def _redescribe(ec2: Any, p: Params, direction: str, key: str) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_UpdateSecurityGroupRuleDescriptionsIngress.html"""
    record = _group(ec2, ec2._p(p, "GroupId"))
    for atom in _atoms(ec2, p):
        match = [rule for rule in record[key] if _identity(rule) == _identity(atom)]
        if not match:
            raise Refused("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        for kind in SOURCES:
            for new, old in zip(atom[kind], match[0][kind], strict=False):
                old.pop("Description", None)
                if new.get("Description"):
                    old["Description"] = new["Description"]
    return _xml(ec2, f"UpdateSecurityGroupRuleDescriptions{direction}", "<return>true</return>")


def merged(rules: Iterable[Rule]) -> list[Rule]:
    """Stored rules as DescribeSecurityGroups shows them: one permission a protocol and port range."""
    found: dict[tuple[Any, ...], Rule] = {}
    for rule in rules:
        protocol = str(rule.get("IpProtocol", "-1"))
        ports: Rule = {} if protocol == "-1" else {name: rule[name] for name in ("FromPort", "ToPort") if name in rule}
        permission = found.setdefault(
            (protocol, *ports.values()), {"IpProtocol": protocol, **ports, **{kind: [] for kind in SOURCES}}
        )
        for kind in SOURCES:
            permission[kind] += rule.get(kind, [])
    return list(found.values())


def _described(ec2: Any, to_xml: Callable[[dict[str, Any]], str]) -> Callable[[dict[str, Any]], str]:
    def described(record: dict[str, Any]) -> str:
        shown = {key: merged(record[key]) for key in ("IpPermissions", "IpPermissionsEgress")}
        arn = f"<securityGroupArn>{ec2._security_group_arn(record['GroupId'])}</securityGroupArn>"
        text = {"Description": escape(record["Description"]), "GroupName": escape(record["GroupName"])}
        return to_xml({**record, **text, **shown}).replace("</groupId>", f"</groupId>{arn}", 1)

    return described


def _describe(ec2: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html"""
    wanted = ec2._parse_member_list(p, "GroupId")
    for group in wanted:
        _group(ec2, group)
    names = ec2._parse_member_list(p, "GroupName")
    filters = ec2._parse_filters(p)
    items = ""
    for group, record in ec2._security_groups.items():
        if (wanted and group not in wanted) or (names and record["GroupName"] not in names):
            continue
        if ec2._resource_matches_tag_filters(group, filters) and _matches(record, filters):
            items += ec2._sg_xml(record)
    return _xml(ec2, "DescribeSecurityGroups", f"<securityGroupInfo>{items}</securityGroupInfo>")


def _matches(record: Mapping[str, Any], filters: Mapping[str, list[str]]) -> bool:
    values: dict[str, list[str]] = {
        "group-id": [record["GroupId"]],
        "group-name": [record["GroupName"]],
        "description": [record["Description"]],
        "vpc-id": [record["VpcId"]],
        "owner-id": [record["OwnerId"]],
    }
    for prefix, key in (("ip-permission", "IpPermissions"), ("egress.ip-permission", "IpPermissionsEgress")):
        rules = record[key]
        values |= {
            f"{prefix}.group-id": [pair["GroupId"] for rule in rules for pair in rule.get("UserIdGroupPairs", [])],
            f"{prefix}.cidr": [entry["CidrIp"] for rule in rules for entry in rule.get("IpRanges", [])],
            f"{prefix}.ipv6-cidr": [entry["CidrIpv6"] for rule in rules for entry in rule.get("Ipv6Ranges", [])],
            f"{prefix}.from-port": [str(rule["FromPort"]) for rule in rules if "FromPort" in rule],
            f"{prefix}.to-port": [str(rule["ToPort"]) for rule in rules if "ToPort" in rule],
            f"{prefix}.protocol": [str(rule["IpProtocol"]) for rule in rules],
        }
    return passes(values, filters)


def passes(values: Mapping[str, list[str]], filters: Mapping[str, list[str]]) -> bool:
    """Whether a resource with these values, by filter name, is meant. Tags are looked at by the emulator.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    for name, patterns in filters.items():
        if name.startswith("tag:") or name in ("tag-key", "tag-value"):
            continue
        if name not in values:
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")
        if not any(fnmatch.fnmatchcase(value, pattern) for value in values[name] for pattern in patterns):
            return False
    return True


def _describe_rules(ec2: Any, p: Params, describe: Callable[[Params], Response]) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupRules.html"""
    have = {
        ec2._sg_rule_id(group, key == "IpPermissionsEgress", rule)
        for group, record in ec2._security_groups.items()
        for key in ("IpPermissions", "IpPermissionsEgress")
        for rule in record[key]
    }
    for rule_id in ec2._parse_member_list(p, "SecurityGroupRuleId"):
        if rule_id not in have:
            raise Refused(
                "InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{rule_id}' does not exist"
            )
    return describe(p)


def _xml(ec2: Any, operation: str, inner: str) -> Response:
    answer: Response = ec2._xml(200, f"{operation}Response", inner)
    return answer


def records() -> Mapping[str, Mapping[str, Any]]:
    """The security groups of the current request scope, by id."""
    found: Mapping[str, Mapping[str, Any]] = service("ec2")._security_groups
    return found
