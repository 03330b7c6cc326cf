"""IAM mode beyond the APIs: the registry's tokens, roles that ECS assumes, credentials inside a task, CloudTrail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.ecs_stand import SLEEPER, Stand, answer, server
from tests.sandbox.iam_support import User, allow, client, document, role, statement, trust, unique, user
from tests.sandbox.support import Network, Sandbox, digest, refused, until

ECS = {"Service": "ecs-tasks.amazonaws.com"}
PULL = ("ecr:GetAuthorizationToken", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Stand:
    return Stand.make(sandbox, network, unique("iam"))


@pytest.fixture
def mode(sandbox: Sandbox) -> Iterator[Sandbox]:
    with sandbox.switched(iam=True):
        yield sandbox


def token(who: User) -> dict[str, str]:
    data = who.client("ecr").get_authorization_token()["authorizationData"][0]
    return {"Authorization": f"Basic {data['authorizationToken']}"}


@pytest.mark.behaviour("ecr.registry_refusal")
def test_a_registry_token_has_its_owners_permissions(mode: Sandbox, stand: Stand) -> None:
    repository = stand.repository
    arn = f"arn:aws:ecr:us-west-2:123456789012:repository/{repository}"
    blob = b"a layer"
    with user(mode) as who:
        with refused("AccessDeniedException", "ecr:GetAuthorizationToken on resource: *", 400):
            token(who)
        own = statement("Allow", "ecr:GetAuthorizationToken")
        who.put(document(own))
        headers = token(who)
        status, _, body = mode.http("GET", "/v2/", None, headers)
        assert status == 200, body
        status, _, body = mode.http("POST", f"/v2/{repository}/blobs/uploads/", b"", headers)
        assert status == 403
        message = json.loads(body)["errors"][0]["message"]
        assert message.startswith(
            f"User: {who.arn} is not authorized to perform: ecr:InitiateLayerUpload on resource: {arn}"
        )
        pushing = statement("Allow", "ecr:InitiateLayerUpload", "ecr:CompleteLayerUpload", resource=arn)
        who.put(document(own, pushing))
        status, found, body = mode.http("POST", f"/v2/{repository}/blobs/uploads/", b"", headers)
        assert status == 202, body
        status, _, body = mode.http("PUT", f"{found['location']}?digest={digest(blob)}", blob, headers)
        assert status == 201, body
        assert mode.http("GET", f"/v2/{repository}/manifests/latest", None, headers)[0] == 403
        assert mode.http("GET", f"/v2/{repository}/blobs/{digest(blob)}", None, headers)[0] == 403
        who.put(document(own, statement("Allow", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", resource=arn)))
        assert mode.http("GET", f"/v2/{repository}/manifests/latest", None, headers)[0] == 404
        assert mode.http("GET", f"/v2/{repository}/blobs/{digest(blob)}", None, headers)[2] == blob
        assert mode.http("POST", f"/v2/{repository}/blobs/uploads/", b"", headers)[0] == 403


def stopped_because(stand: Stand, definition: str) -> str:
    arn = stand.run(definition)
    return str(stand.until_task(arn, "STOPPED")["stoppedReason"])


@pytest.mark.behaviour("iam.permissions_of_the_execution_role")
def test_the_execution_role_must_be_allowed_what_the_task_needs(mode: Sandbox, stand: Stand) -> None:
    image = stand.image(SLEEPER)
    secret = mode.client("secretsmanager").create_secret(Name=unique("secret"), SecretString="s")["ARN"]
    iam = mode.client("iam")
    with role(mode, trust(ECS)) as execution:
        name = execution.rpartition("/")[2]
        logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/x", "awslogs-region": "us-west-2"}}
        logs["options"]["awslogs-stream-prefix"] = "p"
        container = {"image": image, "secrets": [{"name": "S", "valueFrom": secret}], "logConfiguration": logs}
        definition = stand.define(unique("family"), container, executionRoleArn=execution)
        given: list[str] = []
        for expected, action in (
            (f"secretsmanager:GetSecretValue on resource: {secret}", "secretsmanager:GetSecretValue"),
            ("ecr:GetAuthorizationToken on resource: *", "ecr:GetAuthorizationToken"),
            ("CannotPullContainerError", "ecr:BatchGetImage"),
            ("CannotPullContainerError", "ecr:GetDownloadUrlForLayer"),
            (
                "logs:CreateLogStream on resource: arn:aws:logs:us-west-2:123456789012:log-group:/x:",
                "logs:CreateLogStream",
            ),
        ):
            reason = stopped_because(stand, definition)
            assert expected in reason, (reason, given)
            given.append(action)
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(allow(*given)))
        arn = stand.run(definition)
        stand.until_task(arn, "RUNNING")
        stand.stop(arn)
        stand.until_task(arn, "STOPPED")
    mode.client("secretsmanager").delete_secret(SecretId=secret, ForceDeleteWithoutRecovery=True)


@pytest.mark.behaviour("iam.service_may_assume")
def test_ecs_assumes_a_role_under_its_conditions(sandbox: Sandbox, stand: Stand) -> None:
    image = stand.image(SLEEPER)

    def conditions(account: str, source: str) -> dict[str, Any]:
        return {"StringEquals": {"aws:SourceAccount": account}, "ArnLike": {"aws:SourceArn": source}}

    for account, source, allowed in (
        ("123456789012", "arn:aws:ecs:us-west-2:123456789012:*", True),
        ("111122223333", "arn:aws:ecs:us-west-2:123456789012:*", False),
        ("123456789012", "arn:aws:ecs:eu-west-1:123456789012:*", False),
    ):
        with role(sandbox, trust(ECS, **conditions(account, source))) as arn:
            definition = stand.define(unique("family"), {"image": image}, executionRoleArn=arn)
            if not allowed:
                with refused("ClientException", "ECS was unable to assume the role", 400):
                    stand.run(definition)
                continue
            task = stand.run(definition)
            stand.until_task(task, "RUNNING")
            stand.stop(task)


def test_a_task_may_do_what_its_role_may(mode: Sandbox, stand: Stand) -> None:
    image = stand.image(server("task"))
    with (
        role(mode, trust(ECS), allow("ecs:ListClusters")) as arn,
        role(mode, trust(ECS), allow(*PULL)) as execution,
    ):
        definition = stand.define(unique("family"), {"image": image}, taskRoleArn=arn, executionRoleArn=execution)
        task = stand.run(definition)
        environment = answer(stand.until_task(task, "RUNNING"))["env"]
        status, _, body = mode.http("GET", environment["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"])
        assert status == 200, body
        given = json.loads(body)
        key = {**given, "SessionToken": given["Token"]}
        who = client(mode, "sts", key).get_caller_identity()["Arn"]
        assert f":assumed-role/{arn.rpartition('/')[2]}/" in who
        client(mode, "ecs", key).list_clusters()
        with refused("AuthorizationError", f"User: {who} is not authorized to perform: SNS:ListTopics", 403):
            client(mode, "sns", key).list_topics()
        stand.stop(task)
        stand.until_task(task, "STOPPED")


def test_cloudtrail_says_who_it_was(mode: Sandbox) -> None:
    trail = mode.client("cloudtrail")

    def event(key: str) -> dict[str, Any] | None:
        given = [{"AttributeKey": "AccessKeyId", "AttributeValue": key}]
        found = trail.lookup_events(LookupAttributes=given)["Events"]
        return json.loads(found[0]["CloudTrailEvent"]) if found else None

    account = trust({"AWS": "arn:aws:iam::123456789012:root"})
    with user(mode, allow("sts:AssumeRole")) as who, role(mode, account, allow("ecs:*")) as arn:
        session = who.client("sts").assume_role(RoleArn=arn, RoleSessionName="run")["Credentials"]
        client(mode, "ecs", session).list_clusters()
        client(mode, "ecs", session).create_cluster(clusterName=unique("c"))
        with refused("AccessDeniedException"):
            who.client("ecs").create_cluster(clusterName=unique("c"))
        made: dict[str, Any] = until(lambda: event(session["AccessKeyId"]), "the event of the session")
        identity = made["userIdentity"]
        assert (identity["type"], identity["arn"].rpartition("/")[2]) == ("AssumedRole", "run")
        assert identity["sessionContext"]["sessionIssuer"]["arn"] == arn
        denied: dict[str, Any] = until(lambda: event(who.key["AccessKeyId"]), "the event of the user")
        assert (denied["userIdentity"]["type"], denied["userIdentity"]["userName"]) == ("IAMUser", who.name)
        assert denied["errorCode"] == "AccessDenied"
        assert "is not authorized to perform: ecs:CreateCluster" in denied["errorMessage"]
