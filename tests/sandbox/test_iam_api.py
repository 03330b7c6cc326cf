"""IAM's own API: quotas, conflicts, versions, pages, providers, simulation."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.iam_support import (
    allow,
    document,
    managed_policy,
    remove_role,
    role,
    statement,
    trust,
    unique,
    user,
)
from tests.sandbox.support import Sandbox, refused

TASKS = trust({"Service": "ecs-tasks.amazonaws.com"})
TEXT = json.dumps(allow("ecs:ListClusters"))


@pytest.fixture
def iam(sandbox: Sandbox) -> Any:
    return sandbox.client("iam")


@pytest.fixture
def name(iam: Any) -> Iterator[str]:
    """A name; a role that has it is removed."""
    made = unique("Entity")
    yield made
    remove_role(iam, made)


@contextlib.contextmanager
def group(iam: Any) -> Iterator[str]:
    made = unique("group")
    iam.create_group(GroupName=made)
    try:
        yield made
    finally:
        for member in iam.get_group(GroupName=made)["Users"]:
            iam.remove_user_from_group(GroupName=made, UserName=member["UserName"])
        for policy in iam.list_group_policies(GroupName=made)["PolicyNames"]:
            iam.delete_group_policy(GroupName=made, PolicyName=policy)
        for attached in iam.list_attached_group_policies(GroupName=made)["AttachedPolicies"]:
            iam.detach_group_policy(GroupName=made, PolicyArn=attached["PolicyArn"])
        iam.delete_group(GroupName=made)


@pytest.mark.behaviour("iam.two_access_keys_a_user")
def test_a_user_has_two_access_keys(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who:
        second = iam.create_access_key(UserName=who.name)["AccessKey"]
        with refused("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", 409):
            iam.create_access_key(UserName=who.name)
        iam.update_access_key(UserName=who.name, AccessKeyId=second["AccessKeyId"], Status="Inactive")
        with refused("LimitExceeded"):
            iam.create_access_key(UserName=who.name)
        iam.delete_access_key(UserName=who.name, AccessKeyId=second["AccessKeyId"])
        iam.create_access_key(UserName=who.name)


@pytest.mark.behaviour("iam.an_access_key_is_its_users")
def test_an_access_key_is_deleted_with_its_own_user(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as one, user(sandbox) as other, refused("NoSuchEntity", "cannot be found", 404):
        iam.delete_access_key(UserName=one.name, AccessKeyId=other.key["AccessKeyId"])


@pytest.mark.behaviour("iam.attached_policy_must_exist")
def test_only_policies_that_exist_are_attached(sandbox: Sandbox, iam: Any, name: str) -> None:
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TASKS))
    for arn in ("arn:aws:iam::123456789012:policy/none", "arn:aws:iam::aws:policy/AdminstratorAccess"):
        with refused("NoSuchEntity", f"Policy {arn} does not exist or is not attachable.", 404):
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)
    for _ in range(2):
        iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    assert len(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]) == 1


@pytest.mark.behaviour("iam.ten_managed_policies_an_entity")
def test_a_role_has_ten_managed_policies(sandbox: Sandbox, iam: Any, name: str) -> None:
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TASKS))
    with contextlib.ExitStack() as stack:
        arns = [stack.enter_context(managed_policy(sandbox, allow("ecs:*"))) for _ in range(11)]
        stack.callback(remove_role, iam, name)
        for arn in arns[:10]:
            iam.attach_role_policy(RoleName=name, PolicyArn=arn)
        iam.attach_role_policy(RoleName=name, PolicyArn=arns[0])
        with refused("LimitExceeded", "Cannot exceed quota for PoliciesPerRole: 10", 409):
            iam.attach_role_policy(RoleName=name, PolicyArn=arns[10])


@pytest.mark.behaviour("iam.five_versions_a_policy", "iam.versions_go_before_their_policy")
def test_a_policy_has_five_versions_which_go_first(sandbox: Sandbox, iam: Any) -> None:
    with managed_policy(sandbox, allow("ecs:*")) as arn:
        for _ in range(4):
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT)
        with refused("LimitExceeded", "A managed policy can have up to 5 versions.", 409):
            iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT)
        with refused("DeleteConflict", "This policy has more than one version.", 409):
            iam.delete_policy(PolicyArn=arn)
        with refused("DeleteConflict", "default version", 409):
            iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
        iam.delete_policy_version(PolicyArn=arn, VersionId="v2")
        made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT, SetAsDefault=True)["PolicyVersion"]
        assert (made["VersionId"], made["IsDefaultVersion"]) == ("v6", True)


@pytest.mark.behaviour("iam.the_default_version_counts")
def test_the_default_version_counts(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who, managed_policy(sandbox, allow("sns:*")) as arn:
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=TEXT)
        iam.attach_user_policy(UserName=who.name, PolicyArn=arn)
        try:
            with sandbox.switched(iam=True):
                with refused("AccessDeniedException"):
                    who.client("ecs").list_clusters()
                iam.set_default_policy_version(PolicyArn=arn, VersionId="v2")
                assert iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v2"
                who.client("ecs").list_clusters()
                with refused("AuthorizationError"):
                    who.client("sns").list_topics()
            with refused("NoSuchEntity", "v9", 404):
                iam.set_default_policy_version(PolicyArn=arn, VersionId="v9")
            with refused("DeleteConflict", "attached", 409):
                iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
                iam.delete_policy(PolicyArn=arn)
        finally:
            iam.detach_user_policy(UserName=who.name, PolicyArn=arn)


@pytest.mark.behaviour("iam.a_boundary_holds_its_policy", "iam.a_boundary_is_a_policy_that_exists")
def test_a_boundary_is_a_policy_that_stays(sandbox: Sandbox, iam: Any) -> None:
    with managed_policy(sandbox, allow("ecs:*")) as arn:
        with user(sandbox, PermissionsBoundary=arn), refused("DeleteConflict", "attached to entities", 409):
            iam.delete_policy(PolicyArn=arn)
        with (
            refused("NoSuchEntity", f"Scope ARN: {arn}-none does not exist", 404),
            user(sandbox, PermissionsBoundary=f"{arn}-none"),
        ):
            pass


@pytest.mark.behaviour("iam.a_users_policies_go_first", "iam.a_user_leaves_its_groups_first")
def test_a_user_with_belongings_stays(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox, allow("ecs:*")) as who, group(iam) as team:
        with refused("DeleteConflict", status=409):
            iam.delete_user(UserName=who.name)
        iam.delete_access_key(UserName=who.name, AccessKeyId=who.key["AccessKeyId"])
        with refused("DeleteConflict", "must delete policies first", 409):
            iam.delete_user(UserName=who.name)
        iam.delete_user_policy(UserName=who.name, PolicyName="own")
        iam.add_user_to_group(UserName=who.name, GroupName=team)
        with refused("DeleteConflict", "must remove users from group first", 409):
            iam.delete_user(UserName=who.name)
        iam.remove_user_from_group(UserName=who.name, GroupName=team)
        iam.delete_user(UserName=who.name)


@pytest.mark.behaviour("iam.a_group_is_emptied_first")
def test_a_group_with_belongings_stays(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who, group(iam) as team:
        iam.add_user_to_group(UserName=who.name, GroupName=team)
        with refused("DeleteConflict", "remove users from group", 409):
            iam.delete_group(GroupName=team)
        iam.remove_user_from_group(UserName=who.name, GroupName=team)
        iam.put_group_policy(GroupName=team, PolicyName="p", PolicyDocument=TEXT)
        with refused("DeleteConflict", "delete policies", 409):
            iam.delete_group(GroupName=team)


@pytest.mark.behaviour("iam.names_differ_in_more_than_case")
def test_names_differ_in_more_than_case(sandbox: Sandbox, iam: Any, name: str) -> None:
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TASKS))
    for same in (name, name.upper()):
        with refused("EntityAlreadyExists", same, 409):
            iam.create_role(RoleName=same, AssumeRolePolicyDocument=json.dumps(TASKS))
    policy = iam.create_policy(PolicyName=name, Path="/here/", PolicyDocument=TEXT)["Policy"]["Arn"]
    try:
        with refused("EntityAlreadyExists", "Duplicate names are not allowed", 409):
            iam.create_policy(PolicyName=name, Path="/there/", PolicyDocument=TEXT)
    finally:
        iam.delete_policy(PolicyArn=policy)


@pytest.mark.behaviour("iam.ten_groups_a_user")
def test_a_user_is_in_ten_groups(sandbox: Sandbox, iam: Any) -> None:
    with contextlib.ExitStack() as stack:
        groups = [stack.enter_context(group(iam)) for _ in range(11)]
        who = stack.enter_context(user(sandbox))
        for one in groups[:10]:
            iam.add_user_to_group(UserName=who.name, GroupName=one)
        iam.add_user_to_group(UserName=who.name, GroupName=groups[0])
        with refused("LimitExceeded", "Cannot exceed quota for GroupsPerUser: 10", 409):
            iam.add_user_to_group(UserName=who.name, GroupName=groups[10])


@pytest.mark.behaviour("iam.inline_policies_have_a_size")
def test_inline_policies_have_a_size_together(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who:
        half = json.dumps(allow("ecs:ListClusters", resource=[f"arn:aws:ecs:*:*:{'x' * 900}"]), indent=4)
        iam.put_user_policy(UserName=who.name, PolicyName="one", PolicyDocument=half)
        iam.put_user_policy(UserName=who.name, PolicyName="one", PolicyDocument=half)
        iam.put_user_policy(UserName=who.name, PolicyName="two", PolicyDocument=TEXT)
        with refused("LimitExceeded", "Maximum policy size of 2048 bytes exceeded for user", 409):
            iam.put_user_policy(UserName=who.name, PolicyName="three", PolicyDocument=half)


@pytest.mark.behaviour("iam.managed_policies_have_a_size")
def test_a_managed_policy_has_a_size(iam: Any) -> None:
    large = json.dumps(allow(*[f"ecs:Action{number:04}" for number in range(500)]))
    with refused("LimitExceeded", "Cannot exceed quota for PolicySize: 6144", 409):
        iam.create_policy(PolicyName=unique("large"), PolicyDocument=large)


@pytest.mark.behaviour("iam.identity_policies_are_well_formed")
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{", "Syntax errors in policy."),
        ({"Version": "2012-10-17", "Statement": []}, "Syntax errors in policy."),
        ({"Version": "2012-10-17", "Statement": [{"Effect": "allow", "Action": "*", "Resource": "*"}]}, "Syntax"),
        ({"Statement": [statement("Allow", "ecs:*")]}, "must be version 2012-10-17 or greater"),
        (document(statement("Allow", "ListClusters")), "must be prefaced by a vendor"),
        (allow("ecs:*", resource="cluster/x"), 'Resource cluster/x must be in ARN format or "*".'),
        (allow("ecs:*", resource="arn:axs:ecs:*:*:*"), 'Partition "axs" is not valid'),
        (trust({"AWS": "*"}), "should not specify a principal"),
        (document({"Effect": "Allow", "Action": "ecs:*"}), "must contain resources"),
        (document({"Effect": "Allow", "Resource": "*"}), "must contain actions"),
        (document({"Sid": "a", **statement("Allow", "*")}, {"Sid": "a", **statement("Allow", "*")}), "must be unique"),
        (allow("ecs:*", condition={"StringEqual": {"aws:PrincipalArn": "x"}}), "Invalid Condition type : StringEqual"),
    ],
)
def test_identity_policies_are_well_formed(iam: Any, policy: Any, message: str) -> None:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    with refused("MalformedPolicyDocument", message, 400):
        iam.create_policy(PolicyName=unique("bad"), PolicyDocument=text)


@pytest.mark.behaviour("iam.trust_policies_are_well_formed")
@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("{", "contains invalid Json"),
        (document({**TASKS["Statement"][0], "Resource": "*"}), "Has prohibited field Resource"),
        (document({"Effect": "Allow", "Action": "sts:AssumeRole"}), "Missing required field Principal"),
        (trust({"Service": "ecs.amazonaws.com"}, "ecs:*"), "may only specify STS AssumeRole actions"),
    ],
)
def test_trust_policies_are_well_formed(iam: Any, name: str, policy: Any, message: str) -> None:
    text = policy if isinstance(policy, str) else json.dumps(policy)
    with refused("MalformedPolicyDocument", message, 400):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=text)


@pytest.mark.behaviour("iam.principals_of_a_trust_policy_exist")
def test_principals_of_a_trust_policy_exist(sandbox: Sandbox, iam: Any, name: str) -> None:
    missing = f"arn:aws:iam::123456789012:user/{name}"
    with refused("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{missing}"', 400):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust({"AWS": missing})))
    with user(sandbox) as who:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust({"AWS": who.arn})))
        with refused("MalformedPolicyDocument", "Invalid principal"):
            iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust({"AWS": missing})))


@pytest.mark.behaviour("iam.trust_nobody_else")
def test_a_new_user_of_an_old_name_is_not_trusted(sandbox: Sandbox, iam: Any, name: str) -> None:
    with user(sandbox) as who:
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust({"AWS": who.arn})))
    trusted = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]
    assert trusted == {"AWS": who.record["UserId"]}


@pytest.mark.behaviour("iam.one_linked_role_a_service", "iam.service_linked_roles_are_the_services")
def test_a_service_has_one_linked_role_which_is_its_own(sandbox: Sandbox, iam: Any) -> None:
    made = iam.create_service_linked_role(AWSServiceName="elasticloadbalancing.amazonaws.com")["Role"]
    try:
        assert made["RoleName"] == "AWSServiceRoleForElasticLoadBalancing"
        assert made["Path"] == "/aws-service-role/elasticloadbalancing.amazonaws.com/"
        with refused("InvalidInput", "has been taken in this account", 400):
            iam.create_service_linked_role(AWSServiceName="elasticloadbalancing.amazonaws.com")
        with refused("UnmodifiableEntity", "only modifiable by AWS", 400):
            iam.delete_role(RoleName=made["RoleName"])
    finally:
        iam.delete_service_linked_role(RoleName=made["RoleName"])


@pytest.mark.behaviour("iam.fifty_tags_an_entity")
def test_a_role_has_fifty_tags(iam: Any, name: str) -> None:
    tags = [{"Key": f"k{number}", "Value": "v"} for number in range(50)]
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TASKS), Tags=tags)
    iam.tag_role(RoleName=name, Tags=[{"Key": "K1", "Value": "w"}])
    with refused("LimitExceeded", "TagsPerResource: 50", 409):
        iam.tag_role(RoleName=name, Tags=[{"Key": "k50", "Value": "v"}])


@pytest.mark.behaviour("iam.lists_come_in_pages")
def test_lists_come_in_pages(sandbox: Sandbox, iam: Any) -> None:
    with contextlib.ExitStack() as stack:
        path = f"/{unique('pages')}/"
        made = sorted(stack.enter_context(role(sandbox, TASKS, Path=path)).rpartition("/")[2] for _ in range(5))
        first = iam.list_roles(PathPrefix=path, MaxItems=2)
        assert (len(first["Roles"]), first["IsTruncated"]) == (2, True)
        pages = list(iam.get_paginator("list_roles").paginate(PathPrefix=path, PaginationConfig={"PageSize": 2}))
        assert [len(page["Roles"]) for page in pages] == [2, 2, 1]
        assert sorted(one["RoleName"] for page in pages for one in page["Roles"]) == made
        assert "Marker" not in pages[-1]
        with refused("ValidationError", "Invalid Marker", 400):
            iam.list_roles(Marker="nonsense")


@pytest.mark.behaviour("iam.a_call_without_a_name_is_about_the_caller")
def test_get_user_without_a_name_is_the_caller(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who:
        assert who.client("iam").get_user()["User"]["UserName"] == who.name
        assert iam.get_user()["User"]["Arn"].endswith(":root")
        assert iam.get_user(UserName=who.name)["User"]["UserId"] == who.record["UserId"]


@pytest.mark.behaviour("iam.a_key_knows_its_last_use")
def test_an_access_key_knows_its_last_use(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox, allow("ecs:*")) as who, sandbox.switched(iam=True):
        unused = iam.get_access_key_last_used(AccessKeyId=who.key["AccessKeyId"])["AccessKeyLastUsed"]
        assert (unused.get("LastUsedDate"), unused["ServiceName"]) == (None, "N/A")
        who.client("ecs").list_clusters()
        used = iam.get_access_key_last_used(AccessKeyId=who.key["AccessKeyId"])
        assert used["UserName"] == who.name
        assert used["AccessKeyLastUsed"]["ServiceName"] == "ecs"
        assert used["AccessKeyLastUsed"]["Region"] == sandbox.facts["region"]
        assert used["AccessKeyLastUsed"]["LastUsedDate"]


@pytest.mark.behaviour("iam.a_missing_provider_is_deleted_already", "iam.an_issuer_speaks_https")
def test_openid_connect_providers(iam: Any) -> None:
    url = f"https://{unique('issuer')}.example.com/path"
    arn = iam.create_open_id_connect_provider(Url=url, ClientIDList=["sts.amazonaws.com"])["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::123456789012:oidc-provider/{url.removeprefix('https://')}"
    with refused("EntityAlreadyExists", status=409):
        iam.create_open_id_connect_provider(Url=url, ClientIDList=["sts.amazonaws.com"])
    with refused("ValidationError", "Invalid Open ID Connect Provider URL", 400):
        iam.create_open_id_connect_provider(Url="http://issuer.example.com", ClientIDList=["x"])
    iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="another")
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == [
        "sts.amazonaws.com",
        "another",
    ]
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="another")
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["a" * 40])
    iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    assert iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"] == [{"Key": "a", "Value": "b"}]
    seen = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (seen["ClientIDList"], seen["ThumbprintList"]) == (["sts.amazonaws.com"], ["a" * 40])
    for _ in range(2):
        iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    with refused("NoSuchEntity", status=404):
        iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)


def decisions(iam: Any, arn: str, *actions: str, **more: Any) -> dict[str, str]:
    found = iam.simulate_principal_policy(PolicySourceArn=arn, ActionNames=list(actions), **more)
    return {one["EvalActionName"]: one["EvalDecision"] for one in found["EvaluationResults"]}


@pytest.mark.behaviour("iam.missing_context_values")
def test_a_simulation_says_what_a_call_would_be_told(sandbox: Sandbox, iam: Any) -> None:
    tagged = {"StringEquals": {"aws:ResourceTag/team": "ops"}}
    policy = document(
        statement("Allow", "ecs:*"),
        statement("Deny", "ecs:DeleteCluster"),
        statement("Allow", "sns:Publish", condition=tagged),
    )
    with user(sandbox, policy) as who:
        assert decisions(iam, who.arn, "ecs:ListClusters", "ecs:DeleteCluster", "logs:CreateLogGroup") == {
            "ecs:ListClusters": "allowed",
            "ecs:DeleteCluster": "explicitDeny",
            "logs:CreateLogGroup": "implicitDeny",
        }
        arn = "arn:aws:sns:us-west-2:123456789012:topic"
        result = iam.simulate_principal_policy(
            PolicySourceArn=who.arn, ActionNames=["sns:Publish"], ResourceArns=[arn]
        )["EvaluationResults"][0]
        assert (result["EvalDecision"], result["MissingContextValues"]) == ("implicitDeny", ["aws:ResourceTag/team"])
        entry = {"ContextKeyName": "aws:ResourceTag/team", "ContextKeyValues": ["ops"], "ContextKeyType": "string"}
        given = decisions(iam, who.arn, "sns:Publish", ResourceArns=[arn], ContextEntries=[entry])
        assert given == {"sns:Publish": "allowed"}
        with refused("NoSuchEntity", status=404):
            decisions(iam, f"{who.arn}-none", "sns:Publish")
        custom = iam.simulate_custom_policy(PolicyInputList=[TEXT], ActionNames=["ecs:ListClusters", "ecs:RunTask"])
        assert [one["EvalDecision"] for one in custom["EvaluationResults"]] == ["allowed", "implicitDeny"]


@pytest.mark.behaviour("iam.no_description_is_not_shown")
def test_a_role_without_description_is_shown_without(iam: Any, name: str) -> None:
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TASKS))["Role"]
    assert "Description" not in made
    iam.update_role(RoleName=name, Description="of tests")
    assert iam.get_role(RoleName=name)["Role"]["Description"] == "of tests"


@pytest.mark.behaviour("iam.a_boundary_is_of_type_policy")
def test_a_boundary_is_shown_as_a_policy(iam: Any, name: str) -> None:
    arn = "arn:aws:iam::aws:policy/AWSDenyAll"
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(TASKS), PermissionsBoundary=arn)
    made = iam.create_user(UserName=name, PermissionsBoundary=arn)["User"]
    shown = [made, iam.get_user(UserName=name)["User"], iam.get_role(RoleName=name)["Role"]]
    iam.delete_user(UserName=name)
    boundary = {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}
    assert [one["PermissionsBoundary"] for one in shown] == [boundary] * 3
