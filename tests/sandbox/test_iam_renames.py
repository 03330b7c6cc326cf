"""Users and groups under other names and paths, and what IAM tells of credentials and policies that are AWS's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.iam_support import User, allow, client, remove_role, remove_user, role, trust, unique, user
from tests.sandbox.support import Sandbox, refused


@pytest.fixture
def iam(sandbox: Sandbox) -> Any:
    return sandbox.client("iam")


@pytest.fixture
def renamed(sandbox: Sandbox, iam: Any) -> Iterator[tuple[User, str]]:
    """A user, and the name that it may take."""
    with user(sandbox, allow("ecs:ListClusters")) as who:
        new = unique("renamed")
        try:
            yield who, new
        finally:
            remove_user(iam, new)


@pytest.fixture
def group(iam: Any) -> Iterator[str]:
    name = unique("group")
    iam.create_group(GroupName=name)
    try:
        yield name
    finally:
        for known in iam.list_groups()["Groups"]:
            if known["GroupName"].startswith(name):
                for policy in iam.list_group_policies(GroupName=known["GroupName"])["PolicyNames"]:
                    iam.delete_group_policy(GroupName=known["GroupName"], PolicyName=policy)
                for member in iam.get_group(GroupName=known["GroupName"])["Users"]:
                    iam.remove_user_from_group(GroupName=known["GroupName"], UserName=member["UserName"])
                iam.delete_group(GroupName=known["GroupName"])


@pytest.mark.behaviour("iam.a_renamed_user_keeps_what_it_has")
def test_a_renamed_user_keeps_what_it_has(sandbox: Sandbox, iam: Any, renamed: tuple[User, str], group: str) -> None:
    who, new = renamed
    iam.add_user_to_group(GroupName=group, UserName=who.name)
    session = who.client("sts").get_session_token()["Credentials"]
    iam.update_user(UserName=who.name, NewUserName=new, NewPath="/team/")
    with refused("NoSuchEntity", f"The user with name {who.name} cannot be found.", 404):
        iam.get_user(UserName=who.name)
    found = iam.get_user(UserName=new)["User"]
    assert (found["UserId"], found["Path"]) == (who.record["UserId"], "/team/")
    assert found["Arn"].endswith(f":user/team/{new}")
    keys = iam.list_access_keys(UserName=new)["AccessKeyMetadata"]
    assert [(key["AccessKeyId"], key["UserName"]) for key in keys] == [(who.key["AccessKeyId"], new)]
    assert iam.list_user_policies(UserName=new)["PolicyNames"] == ["own"]
    assert [known["GroupName"] for known in iam.list_groups_for_user(UserName=new)["Groups"]] == [group]
    with sandbox.switched(iam=True):
        assert who.client("sts").get_caller_identity()["Arn"] == found["Arn"]
        who.client("ecs").list_clusters()
        client(sandbox, "ecs", session).list_clusters()


@pytest.mark.behaviour("iam.a_renamed_user_is_still_trusted")
def test_a_renamed_user_is_still_trusted(sandbox: Sandbox, iam: Any, renamed: tuple[User, str]) -> None:
    who, new = renamed
    with role(sandbox, trust({"AWS": who.arn})) as arn:
        iam.update_user(UserName=who.name, NewUserName=new)
        shown = iam.get_role(RoleName=arn.rpartition("/")[2])["Role"]["AssumeRolePolicyDocument"]
        assert shown["Statement"][0]["Principal"] == {"AWS": iam.get_user(UserName=new)["User"]["Arn"]}
        with sandbox.switched(iam=True):
            who.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")


@pytest.mark.behaviour("iam.a_renamed_group_keeps_its_policies")
def test_a_renamed_group_keeps_its_users_and_policies(sandbox: Sandbox, iam: Any, group: str) -> None:
    with user(sandbox) as who:
        iam.add_user_to_group(GroupName=group, UserName=who.name)
        iam.put_group_policy(GroupName=group, PolicyName="p", PolicyDocument=json.dumps(allow("ecs:ListClusters")))
        before, new = iam.get_group(GroupName=group)["Group"], f"{group}-new"
        iam.update_group(GroupName=group, NewGroupName=new, NewPath="/teams/")
        found = iam.get_group(GroupName=new)
        assert [member["UserName"] for member in found["Users"]] == [who.name]
        assert found["Group"]["GroupId"] == before["GroupId"]
        assert found["Group"]["Arn"].endswith(f":group/teams/{new}")
        assert iam.list_group_policies(GroupName=new)["PolicyNames"] == ["p"]
        with sandbox.switched(iam=True):
            who.client("ecs").list_clusters()
        with refused("NoSuchEntity", f"The group with name {group} cannot be found.", 404):
            iam.update_group(GroupName=group, NewGroupName="other")


@pytest.mark.behaviour("iam.a_new_name_is_nobodys_yet")
def test_a_new_name_is_nobodys_yet(sandbox: Sandbox, iam: Any, group: str) -> None:
    with user(sandbox) as one, user(sandbox) as other:
        with refused("EntityAlreadyExists", f"User with name {other.name.upper()} already exists.", 409):
            iam.update_user(UserName=one.name, NewUserName=other.name.upper())
        with refused("NoSuchEntity", "cannot be found", 404):
            iam.update_user(UserName="nobody", NewUserName=other.name)
        iam.update_user(UserName=one.name, NewUserName=one.name)
    iam.create_group(GroupName=f"{group}-b")
    with refused("EntityAlreadyExists", f"Group with name {group} already exists.", 409):
        iam.update_group(GroupName=f"{group}-b", NewGroupName=group)


@pytest.mark.behaviour("iam.names_that_are_taken")
def test_a_rename_needs_the_permission_on_both_names(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who, user(sandbox) as other:
        new = f"{other.name}-new"
        after = other.arn.replace(other.name, new)
        who.put(allow("iam:UpdateUser", resource=other.arn))
        with sandbox.switched(iam=True), refused("AccessDenied", f"iam:UpdateUser on resource: {after}", 403):
            who.client("iam").update_user(UserName=other.name, NewUserName=new)
        who.put(allow("iam:UpdateUser", resource=[other.arn, after]))
        with sandbox.switched(iam=True):
            who.client("iam").update_user(UserName=other.name, NewUserName=new)
        remove_user(iam, new)


def test_a_user_has_no_other_credentials(sandbox: Sandbox, iam: Any) -> None:
    with user(sandbox) as who:
        assert iam.list_ssh_public_keys(UserName=who.name)["SSHPublicKeys"] == []
        assert iam.list_signing_certificates(UserName=who.name)["Certificates"] == []
        assert iam.list_service_specific_credentials(UserName=who.name)["ServiceSpecificCredentials"] == []
    with refused("NoSuchEntity", "cannot be found", 404):
        iam.list_ssh_public_keys(UserName=who.name)


def test_aws_managed_policies_are_those_of_aws(sandbox: Sandbox, iam: Any) -> None:
    denies = "arn:aws:iam::aws:policy/AWSDenyAll"
    found = iam.get_policy(PolicyArn=denies)["Policy"]
    assert (found["PolicyName"], found["DefaultVersionId"]) == ("AWSDenyAll", "v2")
    assert found["Description"] == "Deny all access."
    version = iam.get_policy_version(PolicyArn=denies, VersionId="v2")["PolicyVersion"]
    assert version["Document"]["Statement"][0]["Effect"] == "Deny"
    listed = {policy["Arn"] for page in iam.get_paginator("list_policies").paginate() for policy in page["Policies"]}
    assert denies in listed
    name = unique("role")
    trusts = json.dumps(trust({"Service": "ecs.amazonaws.com"}))
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trusts)
    try:
        for policy in ("AmazonEC2ContainerServiceRole", "AmazonRDSEnhancedMonitoringRole"):
            iam.attach_role_policy(RoleName=name, PolicyArn=f"arn:aws:iam::aws:policy/service-role/{policy}")
        assert len(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]) == 2
    finally:
        remove_role(iam, name)
    with user(sandbox, allow("*")) as who:
        iam.attach_user_policy(UserName=who.name, PolicyArn=denies)
        why = f"ecs:ListClusters on resource: * with an explicit deny in an identity-based policy: {denies}"
        with sandbox.switched(iam=True), refused("AccessDeniedException", why, 400):
            who.client("ecs").list_clusters()
