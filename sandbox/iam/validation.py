"""What IAM takes as a policy document, and what it says of others (MalformedPolicyDocument).

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.iam import conditions

SYNTAX = "Syntax errors in policy."
ACTION = re.compile(r"\*|[a-zA-Z0-9-]+:[a-zA-Z0-9*?]+")
PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "*")
ELEMENTS = {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
TRUST_ACTIONS = ("sts:assumerole", "sts:tagsession", "sts:setsourceidentity", "sts:setcontext", "sts:*", "*")


def objection(document: str, trust: bool = False) -> str | None:
    """Why IAM does not take the document as an identity policy, or as a trust policy; None when it does."""
    try:
        parsed = json.loads(document)
    except ValueError:
        return "This policy contains invalid Json" if trust else SYNTAX
    if not isinstance(parsed, dict) or not set(parsed) <= {"Version", "Id", "Statement"}:
        return SYNTAX
    if parsed.get("Version", "2008-10-17") not in ("2008-10-17", "2012-10-17"):
        return SYNTAX
    statements = parsed.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    if not isinstance(statements, list) or not statements:
        return SYNTAX
    if not trust and parsed.get("Version") != "2012-10-17":
        return "Policy document must be version 2012-10-17 or greater."
    sids = [one["Sid"] for one in statements if isinstance(one, dict) and one.get("Sid")]
    if len(sids) != len(set(sids)):
        return "Statement IDs (SID) in a single policy must be unique."
    return next((text for one in statements if (text := _of_statement(one, trust))), None)


def _of_statement(statement: Any, trust: bool) -> str | None:
    if not isinstance(statement, dict) or not set(statement) <= ELEMENTS:
        return SYNTAX
    if statement.get("Effect") not in ("Allow", "Deny"):
        return SYNTAX
    if "Action" in statement and "NotAction" in statement or "Resource" in statement and "NotResource" in statement:
        return SYNTAX
    found = _of_principal(statement) if trust else _of_resources(statement)
    return found or _of_actions(statement, trust) or _of_conditions(statement)


def _of_principal(statement: Mapping[str, Any]) -> str | None:
    if "Resource" in statement or "NotResource" in statement:
        return "Has prohibited field Resource"
    if "NotPrincipal" in statement:
        allows = statement["Effect"] == "Allow"
        return (
            "Allow with NotPrincipal is not allowed."
            if allows
            else ("AssumeRole policy must not contain NotPrincipal field.")
        )
    return None if statement.get("Principal") else "Missing required field Principal"


def _of_resources(statement: Mapping[str, Any]) -> str | None:
    if "Principal" in statement or "NotPrincipal" in statement:
        return "Policy document should not specify a principal."
    resources = texts(statement.get("Resource", statement.get("NotResource")))
    if not resources:
        return "Policy statement must contain resources."
    for resource in resources:
        if resource == "*":
            continue
        parts = resource.split(":", 5)
        if parts[0] != "arn" or len(parts) < 3:
            return f'Resource {resource} must be in ARN format or "*".'
        if parts[1] not in PARTITIONS:
            return f'Partition "{parts[1]}" is not valid for resource "{resource}".'
        if len(parts) < 6 and not resource.endswith("*"):
            return "The policy failed legacy parsing"
    return None


def _of_actions(statement: Mapping[str, Any], trust: bool) -> str | None:
    actions = texts(statement.get("Action", statement.get("NotAction")))
    if not actions:
        return "Missing required field Action" if trust else "Policy statement must contain actions."
    for action in actions:
        if not ACTION.fullmatch(action):
            return "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."
        if trust and not action.lower().startswith(TRUST_ACTIONS):
            return "AssumeRole policy may only specify STS AssumeRole actions."
    return None


def _of_conditions(statement: Mapping[str, Any]) -> str | None:
    block = statement.get("Condition") or {}
    if not isinstance(block, dict):
        return SYNTAX
    for operator, keys in block.items():
        if not isinstance(keys, dict):
            return SYNTAX
        for key, values in keys.items():
            try:
                conditions.parse(operator, key, values)
            except conditions.UnknownOperator:
                return f"Invalid Condition type : {operator}"
            if ":" not in key:
                return f"Condition key {key} must be prefaced by a vendor"
    return None


def texts(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value]) if item]


def principals(document: str) -> Iterator[tuple[str, str]]:
    """(kind, value) of every principal of a trust policy that can be read."""
    statements = json.loads(document).get("Statement")
    for statement in statements if isinstance(statements, list) else [statements]:
        given = statement.get("Principal")
        if isinstance(given, dict):
            for kind, values in given.items():
                yield from ((kind, text) for text in texts(values))
