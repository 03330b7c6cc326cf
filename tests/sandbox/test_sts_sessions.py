"""STS in IAM mode: who may assume a role, for how long, with which tags; sessions and their end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.sandbox.iam_support import (
    User,
    allow,
    client,
    document,
    managed_policy,
    remove_role,
    role,
    statement,
    trust,
    user,
)
from tests.sandbox.support import Sandbox, open_folder, refused

ACCOUNT = {"AWS": "arn:aws:iam::123456789012:root"}
LIST = allow("ecs:ListClusters")


@pytest.fixture
def mode(sandbox: Sandbox) -> Iterator[Sandbox]:
    with sandbox.switched(iam=True):
        yield sandbox


@pytest.fixture
def caller(mode: Sandbox) -> Iterator[User]:
    """A user who may assume any role, as far as its own policy goes."""
    with user(mode, allow("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity")) as made:
        yield made


def assume(who: User, arn: str, **more: object) -> dict[str, object]:
    return who.client("sts").assume_role(RoleArn=arn, RoleSessionName="test", **more)


@pytest.mark.behaviour("sts.trust_policy_decides")
def test_a_role_is_assumed_by_whom_it_trusts(mode: Sandbox, caller: User) -> None:
    with user(mode, allow("sts:AssumeRole")) as other, role(mode, trust({"AWS": caller.arn}), LIST) as arn:
        assert assume(caller, arn)["AssumedRoleUser"]["Arn"].endswith("/test")
        with refused("AccessDenied", f"is not authorized to perform: sts:AssumeRole on resource: {arn}", 403):
            assume(other, arn)


@pytest.mark.behaviour("sts.trust_policy_decides")
def test_trust_in_the_account_leaves_it_to_the_callers_policies(mode: Sandbox, caller: User) -> None:
    with user(mode) as powerless, role(mode, trust(ACCOUNT)) as arn:
        assert assume(caller, arn)["Credentials"]["AccessKeyId"].startswith("ASIA")
        with refused("AccessDenied", "sts:AssumeRole", 403):
            assume(powerless, arn)


@pytest.mark.behaviour("sts.trust_policy_decides")
def test_trust_in_the_user_itself_needs_no_policy_of_theirs(mode: Sandbox, caller: User) -> None:
    with user(mode) as powerless:
        with role(mode, trust({"AWS": powerless.arn})) as arn:
            assert assume(powerless, arn)["Credentials"]
        missing = f"arn:aws:iam::123456789012:role/{powerless.name}-none"
        with refused("AccessDenied", "sts:AssumeRole", 403):
            assume(powerless, missing)


@pytest.mark.behaviour("sts.trust_policy_decides")
def test_the_external_id_must_be_right(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT, StringEquals={"sts:ExternalId": "4711"})) as arn:
        assert assume(caller, arn, ExternalId="4711")["Credentials"]
        for wrong in ({}, {"ExternalId": "4712"}):
            with refused("AccessDenied", "sts:AssumeRole", 403):
                assume(caller, arn, **wrong)


@pytest.mark.behaviour("sts.trust_policy_decides")
def test_nobody_here_has_shown_an_mfa_device(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT, Bool={"aws:MultiFactorAuthPresent": "true"})) as arn, refused("AccessDenied"):
        assume(caller, arn)


@pytest.mark.behaviour("sts.root_assumes_no_role")
def test_root_assumes_no_role(mode: Sandbox) -> None:
    with (
        role(mode, trust(ACCOUNT)) as arn,
        refused("AccessDenied", "Roles may not be assumed by root accounts.", 403),
    ):
        mode.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")


@pytest.mark.behaviour("sts.tags_and_source_need_permissions")
def test_session_tags_need_a_permission_of_their_own(mode: Sandbox, caller: User) -> None:
    tags = [{"Key": "team", "Value": "ops"}]
    with role(mode, trust(ACCOUNT)) as arn, refused("AccessDenied", "sts:TagSession"):
        assume(caller, arn, Tags=tags)
    tagged = allow("ecs:ListClusters", condition={"StringEquals": {"aws:PrincipalTag/team": "ops"}})
    with role(mode, trust(ACCOUNT, ["sts:AssumeRole", "sts:TagSession"]), tagged) as arn:
        session = assume(caller, arn, Tags=tags)["Credentials"]
        assert client(mode, "ecs", session).list_clusters()["clusterArns"] is not None
        with refused("AccessDeniedException", "ecs:ListClusters"):
            client(mode, "ecs", assume(caller, arn)["Credentials"]).list_clusters()


@pytest.mark.behaviour("sts.tags_and_source_need_permissions")
def test_a_source_identity_needs_a_permission_and_stays(mode: Sandbox, caller: User) -> None:
    both = ["sts:AssumeRole", "sts:SetSourceIdentity"]
    with role(mode, trust(ACCOUNT)) as arn, refused("AccessDenied", "sts:SetSourceIdentity", 403):
        assume(caller, arn, SourceIdentity="ana")
    named = allow("ecs:*", "sts:*", condition={"StringEquals": {"aws:SourceIdentity": "ana"}})
    with role(mode, trust(ACCOUNT, both), named) as arn:
        session = assume(caller, arn, SourceIdentity="ana")
        assert session["SourceIdentity"] == "ana"
        chained = client(mode, "sts", session["Credentials"]).assume_role(RoleArn=arn, RoleSessionName="chained")
        client(mode, "ecs", chained["Credentials"]).list_clusters()


@pytest.mark.behaviour("sts.tags_of_the_session")
def test_transitive_tags_go_along_a_chain(mode: Sandbox, caller: User) -> None:
    both = ["sts:AssumeRole", "sts:TagSession"]
    tagged = allow("ecs:ListClusters", condition={"StringEquals": {"aws:PrincipalTag/team": "ops"}})
    with (
        role(mode, trust(ACCOUNT, both), tagged) as second,
        role(mode, trust(ACCOUNT, both), allow("sts:AssumeRole")) as first,
    ):
        tags = [{"Key": "team", "Value": "ops"}]
        for keys, allowed in ((["team"], True), ([], False)):
            session = assume(caller, first, Tags=tags, TransitiveTagKeys=keys)["Credentials"]
            chained = client(mode, "sts", session).assume_role(RoleArn=second, RoleSessionName="chained")
            ecs = client(mode, "ecs", chained["Credentials"])
            if allowed:
                ecs.list_clusters()
            else:
                with refused("AccessDeniedException"):
                    ecs.list_clusters()


@pytest.mark.behaviour("sts.longer_than_the_role_allows")
def test_no_session_outlives_its_roles_maximum(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), MaxSessionDuration=7200) as arn:
        assert assume(caller, arn, DurationSeconds=7200)["Credentials"]
        with refused("ValidationError", "exceeds the MaxSessionDuration", 400):
            assume(caller, arn, DurationSeconds=7201)


@pytest.mark.behaviour("sts.longer_than_a_chain_allows")
def test_a_chained_session_lives_an_hour_at_most(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), allow("sts:AssumeRole"), MaxSessionDuration=7200) as arn:
        session = client(mode, "sts", assume(caller, arn)["Credentials"])
        assert session.assume_role(RoleArn=arn, RoleSessionName="again", DurationSeconds=3600)["Credentials"]
        with refused("ValidationError", "role chaining", 400):
            session.assume_role(RoleArn=arn, RoleSessionName="again", DurationSeconds=3601)


@pytest.mark.behaviour("sts.limits_of_the_session")
def test_a_session_policy_narrows_the_role(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), allow("ecs:*", "sns:ListTopics")) as arn:
        session = assume(caller, arn, Policy=json.dumps(allow("ecs:List*", "logs:*")))["Credentials"]
        client(mode, "ecs", session).list_clusters()
        with refused("AuthorizationError", "because no session policy allows the SNS:ListTopics action", 403):
            client(mode, "sns", session).list_topics()
        with refused("AccessDeniedException", "because no identity-based policy allows"):
            client(mode, "logs", session).describe_log_groups()


@pytest.mark.behaviour("sts.session_policies_exist")
def test_session_policies_must_exist(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), allow("ecs:*")) as arn, managed_policy(mode, allow("ecs:List*")) as policy:
        session = assume(caller, arn, PolicyArns=[{"arn": policy}])["Credentials"]
        client(mode, "ecs", session).list_clusters()
        with refused("AccessDeniedException", "because no session policy allows"):
            client(mode, "ecs", session).describe_clusters()
        with refused("ValidationError", "does not match an existing IAM Managed Policy ARN", 400):
            assume(caller, arn, PolicyArns=[{"arn": f"{policy}-none"}])


@pytest.mark.behaviour("sts.session_policy_is_one")
def test_a_session_policy_is_a_policy(mode: Sandbox, caller: User) -> None:
    with role(mode, trust({"AWS": caller.arn}), LIST) as arn:
        with refused("MalformedPolicyDocument", "The policy is not in the valid JSON format.", 400):
            assume(caller, arn, Policy="no json")
        with refused("MalformedPolicyDocument", "Syntax errors in policy.", 400):
            assume(caller, arn, Policy='{"Version": "2012-10-17"}')
        assert assume(caller, arn, Policy=json.dumps(LIST))["Credentials"]


@pytest.mark.behaviour("sts.a_session_ends_with_its_role")
def test_a_session_has_nothing_once_its_role_is_gone(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), LIST) as arn:
        ecs = client(mode, "ecs", assume(caller, arn)["Credentials"])
        ecs.list_clusters()
        name = arn.rpartition("/")[2]
        remove_role(mode.client("iam"), name)
        with role(mode, trust(ACCOUNT), LIST, RoleName=name), refused("AccessDeniedException", "ecs:ListClusters"):
            ecs.list_clusters()


@pytest.mark.behaviour("sts.session_has_expired")
def test_temporary_credentials_expire(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), allow("ecs:*", "ec2:*", "sns:*", "s3:*")) as arn:
        with mode.switched(iam=True, session_seconds=1.0):
            session = assume(caller, arn)["Credentials"]
            client(mode, "ecs", session).list_clusters()
        mode.http("PUT", "/_sandbox/switches", b'{"iam": true}')
        time.sleep(1.0)
        for service, operation, code, status in (
            ("ecs", "list_clusters", "ExpiredTokenException", 400),
            ("sns", "list_topics", "ExpiredToken", 403),
            ("s3", "list_buckets", "ExpiredToken", 400),
            ("ec2", "describe_vpcs", "RequestExpired", 400),
        ):
            with refused(code, status=status):
                getattr(client(mode, service, session), operation)()


@pytest.mark.behaviour("sts.session_token_is_wrong")
def test_a_temporary_key_needs_its_own_token(mode: Sandbox, caller: User) -> None:
    with role(mode, trust(ACCOUNT), allow("ecs:*", "sns:*", "s3:*")) as arn:
        session = assume(caller, arn)["Credentials"]
        for token in (None, "another"):
            wrong = {**session, "SessionToken": token}
            with refused("UnrecognizedClientException", "security token", 400):
                client(mode, "ecs", wrong).list_clusters()
            with refused("InvalidClientTokenId", "security token", 403):
                client(mode, "sns", wrong).list_topics()
            with refused("InvalidToken", status=400):
                client(mode, "s3", wrong).list_buckets()


@pytest.mark.behaviour("sts.only_for_long_term_keys")
def test_session_tokens_are_for_long_term_keys(mode: Sandbox, caller: User) -> None:
    caller.put(allow("ecs:*", "sts:*", "iam:*"))
    session = caller.client("sts").get_session_token()["Credentials"]
    client(mode, "ecs", session).list_clusters()
    identity = client(mode, "sts", session).get_caller_identity()
    assert identity["Arn"] == caller.arn
    with refused("AccessDenied", "Cannot call GetSessionToken with session credentials", 403):
        client(mode, "sts", session).get_session_token()


@pytest.mark.behaviour("sts.no_iam_with_a_session_token")
def test_a_session_token_without_mfa_calls_no_iam(mode: Sandbox, caller: User) -> None:
    caller.put(allow("iam:*"))
    assert caller.client("iam").list_users()["Users"]
    session = caller.client("sts").get_session_token()["Credentials"]
    with refused("InvalidClientTokenId", "security token", 403):
        client(mode, "iam", session).list_users()


@pytest.mark.behaviour("sts.limits_of_the_session")
def test_a_federated_user_has_what_its_policy_allows_of_its_makers(mode: Sandbox, caller: User) -> None:
    caller.put(allow("ecs:*", "sts:GetFederationToken"))
    sts = caller.client("sts")
    token = sts.get_federation_token(Name="bob", Policy=json.dumps(allow("ecs:ListClusters", "logs:*")))
    assert token["FederatedUser"]["Arn"] == "arn:aws:sts::123456789012:federated-user/bob"
    client(mode, "ecs", token["Credentials"]).list_clusters()
    with refused("AccessDeniedException", "because no session policy allows"):
        client(mode, "ecs", token["Credentials"]).describe_clusters()


def test_everybody_is_told_who_they_are(mode: Sandbox, caller: User) -> None:
    assert mode.client("sts").get_caller_identity()["Arn"] == "arn:aws:iam::123456789012:root"
    caller.put(document(statement("Deny", "*"), statement("Allow", "sts:AssumeRole")))
    mine = caller.client("sts").get_caller_identity()
    assert (mine["Arn"], mine["UserId"], mine["Account"]) == (caller.arn, caller.record["UserId"], "123456789012")
    caller.put(allow("sts:AssumeRole"))
    with role(mode, trust(ACCOUNT)) as arn:
        made = assume(caller, arn)
        seen = client(mode, "sts", made["Credentials"]).get_caller_identity()
        assert seen["Arn"] == made["AssumedRoleUser"]["Arn"]
        assert seen["UserId"] == made["AssumedRoleUser"]["AssumedRoleId"]


@pytest.mark.behaviour("sts.sessions_to_keep")
def test_sessions_outlive_a_restart() -> None:
    with open_folder() as root:
        running = Sandbox(root).up()
        try:
            with user(running, allow("sts:AssumeRole")) as who, role(running, trust(ACCOUNT), LIST) as arn:
                session = assume(who, arn)["Credentials"]
                running.down()
                running.up()
                with running.switched(iam=True):
                    client(running, "ecs", session).list_clusters()
        finally:
            running.down()


@pytest.mark.behaviour("sts.absent_roles_are_assumed_by_nobody")
@pytest.mark.parametrize("account", ["123456789012", "123456789"])
def test_a_role_that_does_not_exist_is_not_assumed(sandbox: Sandbox, account: str) -> None:
    absent = f"arn:aws:iam::{account}:role/absent"
    with refused("AccessDenied", f"is not authorized to perform: sts:AssumeRole on resource: {absent}", 403):
        sandbox.client("sts").assume_role(RoleArn=absent, RoleSessionName="nobody")
