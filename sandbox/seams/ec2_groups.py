"""Security groups as EC2 keeps them: a rule has one source, an id of its own, and exists once."""

from __future__ import annotations

import copy
import ipaddress
import secrets
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from sandbox.behaviours import behaviour
from sandbox.emulator import service
from sandbox.seams.ec2_lists import page, passes
from sandbox.seams.refusal import Handler, Params, Refused, Response

Rule = dict[str, Any]
SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}
# Traffic of other protocols is on all ports, whatever range is given.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html (IpProtocol)
WITH_PORTS = ("tcp", "udp", "icmp", "icmpv6")
NUMBERED_PROTOCOLS = {"6": "tcp", "17": "udp", "1": "icmp", "58": "icmpv6", "all": "-1"}


MOST_RULES = 60


def install(ec2: Any) -> None:
    """Replace the emulator's security group operations."""
    ec2._sg_xml = _described(ec2, ec2._sg_xml)
    actions = ec2._ACTION_MAP
    create, modify = actions["CreateSecurityGroup"], actions["ModifySecurityGroupRules"]
    actions.update(
        CreateSecurityGroup=lambda p: _create(ec2, p, create),
        ModifySecurityGroupRules=lambda p: _modify_rules(ec2, p, modify),
        DescribeSecurityGroupRules=lambda p: _describe_rules(ec2, p),
    )
    for direction, key in (("Ingress", "IpPermissions"), ("Egress", "IpPermissionsEgress")):
        unknown_group = actions[f"AuthorizeSecurityGroup{direction}"]
        for name, work in {
            "AuthorizeSecurityGroup": _authorize,
            "RevokeSecurityGroup": _revoke,
            "UpdateSecurityGroupRuleDescriptions": _redescribe,
        }.items():
            actions[f"{name}{direction}"] = _bound(ec2, work, direction, key, unknown_group)


def _bound(ec2: Any, work: Callable[..., Response], direction: str, key: str, original: Handler) -> Handler:
    """A handler of ours; what names a group that does not exist is the emulator's to answer."""
    known = ec2._security_groups
    return lambda p: work(ec2, p, direction, key) if ec2._p(p, "GroupId") in known else original(p)


def _create(ec2: Any, p: Params, create: Handler) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html"""
    if ec2._p(p, "GroupName").startswith("sg-"):
        raise Refused("InvalidParameterValue", "Group names may not be in the format sg-*")
    return create(p)


def _atoms(ec2: Any, p: Params) -> list[Rule]:
    """The request's permissions, one rule a source, as EC2 stores them."""
    atoms: list[Rule] = []
    for permission in ec2._parse_ip_permissions(p, "IpPermissions"):
        protocol = str(permission["IpProtocol"]).lower()
        protocol = NUMBERED_PROTOCOLS.get(protocol, protocol)
        ports: dict[str, int] = {}
        if protocol == "icmpv6":
            # Types and codes; all of them unless some are named.
            permission = {"FromPort": -1, "ToPort": -1, **permission}
        if protocol in WITH_PORTS:
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


def _normalize(ec2: Any, owner: Mapping[str, Any], atom: Rule) -> None:
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
            pair["GroupId"] = named[0] if named else pair.get("GroupName", "")
        pair.pop("GroupName", None)
        pair.setdefault("UserId", ec2.get_account_id())


def _identity(atom: Rule) -> tuple[Any, ...]:
    """What makes two rules the same one: everything but the description."""
    source = next(
        ((kind, str(entry[name])) for kind, name in SOURCES.items() for entry in atom.get(kind, [])), ("", "")
    )
    protocol = str(atom["IpProtocol"])
    ports = (None, None) if protocol == "-1" else (atom.get("FromPort"), atom.get("ToPort"))
    return (protocol, *ports, *source)


@behaviour("ec2", code="InvalidPermission.Duplicate")
def _duplicate_permission(rules: list[Rule], fresh: list[Rule]) -> None:
    """A rule exists once in a group, whatever its description; a call with one that is there adds none.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AuthorizeSecurityGroupIngress.html
    """
    known = {_identity(rule) for rule in rules}
    for rule in fresh:
        identity = _identity(rule)
        if identity in known:
            protocol, first, last, _, peer = identity
            span = "" if first is None else f", from port: {first}, to port: {last}"
            what = "ALL" if protocol == "-1" else protocol.upper()
            text = f'the specified rule "peer: {peer}, {what}{span}, ALLOW" already exists'
            raise Refused("InvalidPermission.Duplicate", text)
        known.add(identity)


@behaviour("ec2", code="RulesPerSecurityGroupLimitExceeded")
def _too_many_rules(rules: list[Rule], fresh: list[Rule]) -> None:
    """A security group has at most 60 rules in each direction.
    https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
    """
    if len(rules) + len(fresh) > MOST_RULES:
        raise Refused("RulesPerSecurityGroupLimitExceeded", "The maximum number of rules per security group is reached")


def _authorize(ec2: Any, p: Params, direction: str, key: str) -> Response:
    group = ec2._p(p, "GroupId")
    record = ec2._security_groups[group]
    atoms = _atoms(ec2, p)
    for atom in atoms:
        _normalize(ec2, record, atom)
    _duplicate_permission(record[key], atoms)
    _too_many_rules(record[key], atoms)
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


@behaviour("ec2", code="InvalidPermission.NotFound")
def _permission_not_found(rules: list[Rule], wanted: list[Rule]) -> None:
    """A rule that is not in the group can be neither revoked nor described anew.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_RevokeSecurityGroupIngress.html
    """
    if not {_identity(rule) for rule in wanted} <= {_identity(rule) for rule in rules}:
        raise Refused("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")


def _revoke(ec2: Any, p: Params, direction: str, key: str) -> Response:
    group = ec2._p(p, "GroupId")
    record = ec2._security_groups[group]
    egress = direction == "Egress"
    wanted = ec2._parse_member_list(p, "SecurityGroupRuleId")
    if wanted:
        gone = [rule for rule in record[key] if ec2._sg_rule_id(group, egress, rule) in wanted]
    else:
        atoms = _atoms(ec2, p)
        for atom in atoms:
            _normalize(ec2, record, atom)
        _permission_not_found(record[key], atoms)
        meant = {_identity(atom) for atom in atoms}
        gone = [rule for rule in record[key] if _identity(rule) in meant]
    for rule in gone:
        ec2._tags.pop(ec2._sg_rule_id(group, egress, rule), None)
    record[key] = [rule for rule in record[key] if not any(rule is other for other in gone)]
    items = "".join(ec2._revoked_sg_rule_xml(group, rule, is_egress=egress) for rule in gone)
    inner = f"<return>true</return><revokedSecurityGroupRuleSet>{items}</revokedSecurityGroupRuleSet>"
    return _xml(ec2, f"RevokeSecurityGroup{direction}", inner)


def _redescribe(ec2: Any, p: Params, direction: str, key: str) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_UpdateSecurityGroupRuleDescriptionsIngress.html"""
    record = ec2._security_groups[ec2._p(p, "GroupId")]
    atoms = _atoms(ec2, p)
    for atom in atoms:
        _normalize(ec2, record, atom)
    _permission_not_found(record[key], atoms)
    for atom in atoms:
        for rule in (rule for rule in record[key] if _identity(rule) == _identity(atom)):
            for kind in SOURCES:
                for new, old in zip(atom[kind], rule[kind], strict=False):
                    old.pop("Description", None)
                    if new.get("Description"):
                        old["Description"] = new["Description"]
    return _xml(ec2, f"UpdateSecurityGroupRuleDescriptions{direction}", "<return>true</return>")


def _modify_rules(ec2: Any, p: Params, modify: Handler) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySecurityGroupRules.html"""
    record = ec2._security_groups.get(ec2._p(p, "GroupId"))
    if record is None:
        return modify(p)
    keys = ("IpPermissions", "IpPermissionsEgress")
    before = {key: copy.deepcopy(record[key]) for key in keys}
    answer = modify(p)
    try:
        for key in keys:
            _duplicate_permission([], record[key])
    except Refused:
        record.update(before)
        raise
    return answer


@behaviour("ec2", otherwise=lambda rules: list(rules))
def merged(rules: Iterable[Rule]) -> list[Rule]:
    """DescribeSecurityGroups shows the sources of one protocol and port range together, as one permission.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpPermission.html
    """
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


def values(record: Mapping[str, Any]) -> dict[str, list[str]]:
    """Filter name → what a group has of it.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html
    """
    found: dict[str, list[str]] = {
        "group-id": [record["GroupId"]],
        "group-name": [record["GroupName"]],
        "description": [record["Description"]],
        "vpc-id": [record["VpcId"]],
        "owner-id": [record["OwnerId"]],
    }
    for prefix, key in (("ip-permission", "IpPermissions"), ("egress.ip-permission", "IpPermissionsEgress")):
        rules = record[key]
        found |= {
            f"{prefix}.group-id": [pair["GroupId"] for rule in rules for pair in rule.get("UserIdGroupPairs", [])],
            f"{prefix}.user-id": [pair["UserId"] for rule in rules for pair in rule.get("UserIdGroupPairs", [])],
            f"{prefix}.prefix-list-id": [e["PrefixListId"] for rule in rules for e in rule.get("PrefixListIds", [])],
            f"{prefix}.cidr": [entry["CidrIp"] for rule in rules for entry in rule.get("IpRanges", [])],
            f"{prefix}.ipv6-cidr": [entry["CidrIpv6"] for rule in rules for entry in rule.get("Ipv6Ranges", [])],
            f"{prefix}.from-port": [str(rule["FromPort"]) for rule in rules if "FromPort" in rule],
            f"{prefix}.to-port": [str(rule["ToPort"]) for rule in rules if "ToPort" in rule],
            f"{prefix}.protocol": [str(rule["IpProtocol"]) for rule in rules],
        }
    return found


def _describe_rules(ec2: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupRules.html"""
    wanted, filters = ec2._parse_member_list(p, "SecurityGroupRuleId"), ec2._parse_filters(p)
    found: list[str] = []
    for group, record in ec2._security_groups.items():
        for egress, key in ((False, "IpPermissions"), (True, "IpPermissionsEgress")):
            for rule in record[key]:
                identifier = ec2._sg_rule_id(group, egress, rule)
                own = {"group-id": [group], "security-group-rule-id": [identifier]}
                if (not wanted or identifier in wanted) and passes(ec2, identifier, own, filters):
                    found.append(ec2._sg_rule_xml(group, rule, is_egress=egress))
    shown, more = page(ec2, p, found)
    return _xml(
        ec2, "DescribeSecurityGroupRules", f"<securityGroupRuleSet>{''.join(shown)}</securityGroupRuleSet>{more}"
    )


def _xml(ec2: Any, operation: str, inner: str) -> Response:
    answer: Response = ec2._xml(200, f"{operation}Response", inner)
    return answer


def records() -> Mapping[str, Mapping[str, Any]]:
    """The security groups of the current request scope, by id."""
    found: Mapping[str, Mapping[str, Any]] = service("ec2")._security_groups
    return found
