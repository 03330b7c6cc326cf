"""The evaluator alone, held to what AWS documents: the order of decision, condition operators, patterns, variables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from sandbox.iam.evaluator import Caller, Decision, ResourcePolicy, decide
from sandbox.iam.patterns import matches, same_arn
from tests.sandbox.iam_support import Policy, allow, document, statement

ACCOUNT, OTHER = "111122223333", "444455556666"
USER = f"arn:aws:iam::{ACCOUNT}:user/ana"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/app"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/app/run"
BUCKET = "arn:aws:s3:::logs/2026/a.txt"


def texts(*policies: Policy) -> list[str]:
    return [json.dumps(policy) for policy in policies]


def asked(
    *policies: Policy,
    action: str = "s3:GetObject",
    resource: str = BUCKET,
    keys: Mapping[str, list[str]] | None = None,
    bucket: Policy | None = None,
    owner: str = ACCOUNT,
    required: bool = False,
    **caller: Any,
) -> Decision:
    """What is decided for a user (or caller(...)) of the account with these identity policies."""
    who = Caller(**{"account": ACCOUNT, "arn": USER, "policies": texts(*policies), **caller})
    given = {name.lower(): values for name, values in (keys or {}).items()}
    policy = ResourcePolicy(json.dumps(bucket), owner, required) if bucket else None
    return decide(who, action, resource, lambda key: given.get(key.lower()), policy)


def shared(*principals: str, effect: str = "Allow") -> Policy:
    """A bucket policy that names principals."""
    return document({**statement(effect, "s3:GetObject"), "Principal": {"AWS": list(principals)}})


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-denyallow.html
def test_by_default_everything_is_denied() -> None:
    assert asked() == Decision("implicitDeny")
    assert asked(allow("s3:PutObject")) == Decision("implicitDeny")


def test_an_allow_allows() -> None:
    assert asked(allow("s3:GetObject")).allowed
    assert asked(allow("sqs:*"), allow("s3:*")).allowed


@pytest.mark.behaviour("iam.explicit_denials")
def test_a_deny_wins_wherever_it_is() -> None:
    deny = document(statement("Deny", "s3:*"))
    assert asked(allow("*"), deny).kind == "explicitDeny"
    assert asked(deny, allow("*")).by == "identity-based policy"
    assert asked(allow("*"), bucket=shared("*", effect="Deny")).by == "resource-based policy"
    assert asked(allow("*"), boundary=texts(allow("*"), deny)).by == "permissions boundary"
    assert asked(allow("*"), session_policies=texts(allow("*"), deny)).by == "session policy"


@pytest.mark.behaviour("iam.limits_of_the_boundary")
def test_a_boundary_limits_and_grants_nothing() -> None:
    assert asked(allow("s3:*"), boundary=texts(allow("s3:Get*"))).allowed
    outside = asked(allow("s3:*"), boundary=texts(allow("sqs:*")))
    assert (outside.kind, outside.by) == ("implicitDeny", "permissions boundary")
    assert asked(boundary=texts(allow("*"))).by == "identity-based policy"


@pytest.mark.behaviour("sts.limits_of_the_session")
def test_a_session_policy_limits_and_grants_nothing() -> None:
    assert asked(allow("s3:*"), session_policies=texts(allow("s3:Get*"))).allowed
    outside = asked(allow("s3:*"), session_policies=texts(allow("sqs:*")))
    assert (outside.kind, outside.by) == ("implicitDeny", "session policy")
    assert not asked(session_policies=texts(allow("*"))).allowed


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics-single-account.html
def test_in_one_account_the_resource_may_allow_alone() -> None:
    assert asked(bucket=shared(USER)).by == "resource-based policy"
    assert asked(bucket=shared(USER)).allowed
    assert asked(bucket=shared("*")).allowed
    assert not asked(bucket=shared(f"{USER}s")).allowed
    # Naming the account leaves it to the account's own policies.
    for account in (ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root"):
        assert not asked(bucket=shared(account)).allowed
        assert asked(allow("s3:*"), bucket=shared(account)).allowed


def test_named_itself_a_principal_is_beyond_boundary_and_session_policies() -> None:
    nothing = texts(allow("sqs:*"))
    assert asked(bucket=shared(USER), boundary=nothing).allowed
    role = {"arn": SESSION, "role_arn": ROLE}
    assert asked(bucket=shared(SESSION), boundary=nothing, session_policies=nothing, **role).allowed
    assert asked(bucket=shared(ROLE), **role).allowed
    assert asked(bucket=shared(ROLE), boundary=nothing, **role).by == "permissions boundary"
    assert asked(bucket=shared(ROLE), session_policies=nothing, **role).by == "session policy"


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic-cross-account.html
def test_across_accounts_both_must_allow() -> None:
    assert asked(allow("s3:*"), bucket=shared(USER), owner=OTHER).allowed
    assert asked(allow("s3:*"), bucket=shared(ACCOUNT), owner=OTHER).allowed
    assert asked(allow("s3:*"), bucket=shared(f"{USER}s"), owner=OTHER).by == "resource-based policy"
    assert asked(bucket=shared(USER), owner=OTHER).by == "identity-based policy"


# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
def test_a_key_policy_must_allow_as_well() -> None:
    default = document({**statement("Allow", "kms:*"), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}})
    key = {"action": "kms:Decrypt", "resource": f"arn:aws:kms:us-west-2:{ACCOUNT}:key/1", "required": True}
    assert asked(allow("kms:*"), bucket=default, **key).allowed
    assert not asked(bucket=default, **key).allowed
    narrow = document({**statement("Allow", "kms:Encrypt"), "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}})
    assert asked(allow("kms:*"), bucket=narrow, **key).by == "resource-based policy"


def test_root_needs_no_policy_but_a_resources_deny_counts() -> None:
    root = {"arn": f"arn:aws:iam::{ACCOUNT}:root", "policies": None}
    assert asked(**root).allowed
    assert asked(bucket=shared("*", effect="Deny"), **root).kind == "explicitDeny"


def test_not_principal_denies_all_others() -> None:
    policy = document({**statement("Deny", "s3:*"), "NotPrincipal": {"AWS": [USER]}})
    assert asked(allow("s3:*"), bucket=policy).allowed
    assert asked(allow("s3:*"), bucket=policy, arn=f"{USER}s").kind == "explicitDeny"


@pytest.mark.parametrize(
    ("one", "allowed"),
    [
        ({"Action": "s3:getobject", "Resource": "*"}, True),
        ({"Action": "s3:Get*", "Resource": "*"}, True),
        ({"Action": "s3:GetObjec?", "Resource": "*"}, True),
        ({"Action": "*:*", "Resource": "*"}, True),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*"}, True),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*/a.txt"}, True),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::Logs/*"}, False),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs"}, False),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::log?/2026/?.txt"}, True),
        ({"NotAction": "s3:GetObject", "Resource": "*"}, False),
        ({"NotAction": ["iam:*", "sqs:*"], "Resource": "*"}, True),
        ({"Action": "s3:*", "NotResource": "arn:aws:s3:::logs/*"}, False),
        ({"Action": "s3:*", "NotResource": "arn:aws:s3:::other/*"}, True),
        ({"Action": ["sqs:*", "s3:*"], "Resource": ["arn:aws:s3:::a", "arn:aws:s3:::logs/*"]}, True),
    ],
)
def test_actions_and_resources(one: dict[str, Any], allowed: bool) -> None:
    assert asked(document({"Effect": "Allow", **one})).allowed is allowed


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
@pytest.mark.parametrize(
    ("resource", "keys", "allowed"),
    [
        ("arn:aws:s3:::logs/${aws:username}/*", {"aws:username": ["2026"]}, True),
        ("arn:aws:s3:::logs/${aws:username}/*", {"aws:username": ["2027"]}, False),
        ("arn:aws:s3:::logs/${aws:username}/*", {}, False),
        ("arn:aws:s3:::logs/${aws:username}/*", {"aws:username": ["*"]}, False),
        ("arn:aws:s3:::logs/${aws:PrincipalTag/year}/*", {"aws:principaltag/year": ["2026"]}, True),
        ("arn:aws:s3:::logs/${aws:PrincipalTag/year, '2026'}/*", {}, True),
        ("arn:aws:s3:::logs/${*}", {}, False),
    ],
)
def test_policy_variables(resource: str, keys: dict[str, list[str]], allowed: bool) -> None:
    assert asked(allow("s3:GetObject", resource=resource), keys=keys).allowed is allowed
    old = {**allow("s3:GetObject", resource=resource), "Version": "2008-10-17"}
    assert not asked(old, keys=keys).allowed, "variables are plain text in the old version of the language"


# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
@pytest.mark.parametrize(
    ("condition", "value", "holds"),
    [
        ({"StringEquals": {"k": "a"}}, ["a"], True),
        ({"StringEquals": {"k": "a"}}, ["A"], False),
        ({"StringEquals": {"k": ["a", "b"]}}, ["b"], True),
        ({"StringEquals": {"k": "a"}}, None, False),
        ({"StringNotEquals": {"k": "a"}}, ["b"], True),
        ({"StringNotEquals": {"k": ["a", "b"]}}, ["b"], False),
        ({"StringNotEquals": {"k": "a"}}, None, True),
        ({"StringEqualsIgnoreCase": {"k": "a"}}, ["A"], True),
        ({"StringNotEqualsIgnoreCase": {"k": "a"}}, ["A"], False),
        ({"StringLike": {"k": "a*c"}}, ["abc"], True),
        ({"StringLike": {"k": "a?c"}}, ["abbc"], False),
        ({"StringNotLike": {"k": "a*"}}, ["abc"], False),
        ({"StringNotLike": {"k": "a*"}}, None, True),
        ({"NumericLessThanEquals": {"k": "10"}}, ["10"], True),
        ({"NumericLessThan": {"k": "10"}}, ["10"], False),
        ({"NumericGreaterThan": {"k": 10}}, ["11"], True),
        ({"NumericEquals": {"k": "10"}}, ["ten"], False),
        ({"NumericNotEquals": {"k": "10"}}, ["11"], True),
        ({"DateGreaterThan": {"k": "2026-01-01T00:00:00Z"}}, ["2026-06-01T00:00:00Z"], True),
        ({"DateLessThan": {"k": "2026-01-01T00:00:00Z"}}, ["2026-06-01T00:00:00Z"], False),
        ({"DateEquals": {"k": "1767225600"}}, ["2026-01-01T00:00:00Z"], True),
        ({"DateLessThanEquals": {"k": "2026-01-01"}}, ["2025-12-31T23:00:00Z"], True),
        ({"Bool": {"k": "true"}}, ["true"], True),
        ({"Bool": {"k": True}}, ["false"], False),
        ({"Bool": {"k": "false"}}, None, False),
        ({"BoolIfExists": {"k": "false"}}, None, True),
        ({"IpAddress": {"k": "203.0.113.0/24"}}, ["203.0.113.7"], True),
        ({"IpAddress": {"k": "203.0.113.0/24"}}, ["203.0.114.7"], False),
        ({"NotIpAddress": {"k": ["203.0.113.0/24", "127.0.0.0/8"]}}, ["127.0.0.1"], False),
        ({"IpAddress": {"k": "2001:db8::/32"}}, ["2001:db8::1"], True),
        ({"ArnEquals": {"k": "arn:aws:sns:*:111122223333:*"}}, ["arn:aws:sns:us-west-2:111122223333:a"], True),
        ({"ArnLike": {"k": "arn:aws:sns:us-*:111122223333:a?"}}, ["arn:aws:sns:us-west-2:111122223333:ab"], True),
        ({"ArnLike": {"k": "arn:aws:*:a"}}, ["arn:aws:sns:us-west-2:111122223333:a"], False),
        ({"ArnNotLike": {"k": "arn:aws:sns:*:*:*"}}, ["arn:aws:sns:us-west-2:111122223333:a"], False),
        ({"ArnNotEquals": {"k": "arn:aws:sns:*:*:*"}}, None, True),
        ({"Null": {"k": "true"}}, None, True),
        ({"Null": {"k": "true"}}, ["a"], False),
        ({"Null": {"k": "false"}}, ["a"], True),
        ({"Null": {"k": "false"}}, None, False),
        ({"StringEqualsIfExists": {"k": "a"}}, None, True),
        ({"StringEqualsIfExists": {"k": "a"}}, ["b"], False),
        ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, ["a", "b"], True),
        ({"ForAllValues:StringEquals": {"k": ["a", "b"]}}, ["a", "c"], False),
        ({"ForAllValues:StringEquals": {"k": "a"}}, None, True),
        ({"ForAnyValue:StringEquals": {"k": ["a", "b"]}}, ["c", "b"], True),
        ({"ForAnyValue:StringEquals": {"k": "a"}}, ["b", "c"], False),
        ({"ForAnyValue:StringEquals": {"k": "a"}}, None, False),
        ({"ForAllValues:StringNotEquals": {"k": "a"}}, ["b", "c"], True),
        ({"ForAllValues:StringNotEquals": {"k": "a"}}, ["a", "c"], False),
        ({"ForAnyValue:StringNotEquals": {"k": "a"}}, ["a", "c"], True),
        ({"ForAnyValue:StringLike": {"k": "a*"}}, ["bb", "ab"], True),
        ({"StringEquals": {"k": "a"}}, ["a", "b"], False),
        ({"StringEquals": {"k": "a"}, "Bool": {"other": "true"}}, ["a"], False),
        ({"BinaryEquals": {"k": "QmluYXJ5"}}, ["QmluYXJ5"], True),
    ],
)
def test_condition_operators(condition: dict[str, Any], value: list[str] | None, holds: bool) -> None:
    keys = {} if value is None else {"k": value}
    assert asked(allow("s3:*", condition=condition), keys=keys).allowed is holds


def test_condition_keys_are_compared_without_case() -> None:
    policy = allow("s3:*", condition={"StringEquals": {"AWS:requestTAG/Team": "ops"}})
    assert asked(policy, keys={"aws:RequestTag/team": ["ops"]}).allowed


def test_variables_in_conditions() -> None:
    policy = allow("s3:*", condition={"StringEquals": {"aws:ResourceTag/owner": "${aws:username}"}})
    assert asked(policy, keys={"aws:ResourceTag/owner": ["ana"], "aws:username": ["ana"]}).allowed
    assert not asked(policy, keys={"aws:ResourceTag/owner": ["ana"], "aws:username": ["bob"]}).allowed
    assert not asked(policy, keys={"aws:ResourceTag/owner": ["ana"]}).allowed


def test_wildcards_stay_in_their_part_of_an_arn() -> None:
    pattern = "arn:aws:ecs:us-*-2:*:cluster/x"
    assert matches(pattern, "arn:aws:ecs:us-west-2:111122223333:cluster/x", arn=True)
    assert not matches("arn:aws:e*s:us-west-2:1:x", "arn:aws:ec2:eu:s:us-west-2:1:x", arn=True)
    assert matches("arn:aws:s3:::logs/*.txt", "arn:aws:s3:::logs/a:b/c.txt", arn=True)
    assert same_arn("arn:aws:iam::*:role/*", ROLE)
    assert not same_arn("arn:aws:iam::role/*", ROLE)
