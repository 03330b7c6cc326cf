"""A task from its request to an hour after its end: idempotency, roles, dependencies, metadata, tags, events."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.ecs_stand import SLEEPER, TRUST, Stand, answer, server
from tests.sandbox.support import CHECKOUT, Network, Sandbox, refused, until

LOGS = "/ecs/life"


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    made = Stand.make(sandbox, network, "life")
    sandbox.client("logs").create_log_group(logGroupName=LOGS)
    made.define("sleeper", {"image": made.image(SLEEPER)})
    yield made
    for arn in made.ecs.list_tasks(cluster="life")["taskArns"]:
        made.stop(arn)


def logged(stand: Stand) -> dict[str, Any]:
    options = {"awslogs-group": LOGS, "awslogs-region": stand.sandbox.facts["region"], "awslogs-stream-prefix": "p"}
    return {"logDriver": "awslogs", "options": options}


def lines(stand: Stand, arn: str, container: str = "app") -> list[str]:
    logs, stream = stand.sandbox.client("logs"), f"p/{container}/{arn.rpartition('/')[2]}"
    try:
        events = logs.get_log_events(logGroupName=LOGS, logStreamName=stream, startFromHead=True)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in events]


# Requests


@pytest.mark.behaviour("ecs.same_run_again")
def test_a_client_token_starts_its_tasks_once(stand: Stand) -> None:
    given = {"cluster": "life", "networkConfiguration": stand.network.configuration, "launchType": "FARGATE"}
    first = stand.ecs.run_task(taskDefinition="sleeper", clientToken="once", count=2, **given)["tasks"]
    again = stand.ecs.run_task(taskDefinition="sleeper", clientToken="once", count=2, **given)["tasks"]
    assert {task["taskArn"] for task in again} == {task["taskArn"] for task in first}
    with refused("ConflictException", "already in use with a different RunTask request"):
        stand.ecs.run_task(taskDefinition="sleeper", clientToken="once", count=1, **given)
    for task in first:
        stand.stop(task["taskArn"])


@pytest.mark.behaviour("ecs.group_of_a_single_task")
def test_a_tasks_id_and_group_are_as_ecs_makes_them(stand: Stand) -> None:
    arn = stand.run("sleeper")
    assert re.fullmatch(r"[0-9a-f]{32}", arn.rpartition("/")[2])
    assert stand.task(arn)["group"] == "family:sleeper"
    stand.stop(arn)


@pytest.mark.behaviour("ecs.tags_of_a_single_task", "ecs.tags_are_shown_when_asked")
def test_a_task_takes_its_definitions_tags_when_asked(stand: Stand) -> None:
    definition = stand.define("tagging", {"image": stand.image(SLEEPER)}, tags=[{"key": "of", "value": "definition"}])
    arn = stand.run(
        definition, propagateTags="TASK_DEFINITION", tags=[{"key": "own", "value": "1"}], enableECSManagedTags=True
    )
    tags = {tag["key"]: tag["value"] for tag in stand.task(arn, include=["TAGS"])["tags"]}
    assert tags == {"of": "definition", "own": "1", "aws:ecs:clusterName": "life"}
    assert "tags" not in stand.task(arn)
    stand.stop(arn)


@pytest.mark.behaviour("ecs.of_another_cluster")
def test_a_task_is_missing_in_another_cluster_and_by_half_an_id(stand: Stand) -> None:
    arn = stand.run("sleeper")
    stand.ecs.create_cluster(clusterName="elsewhere")
    identifier = arn.rpartition("/")[2]
    for cluster, asked in (("elsewhere", identifier), ("life", identifier[10:])):
        answer = stand.ecs.describe_tasks(cluster=cluster, tasks=[asked])
        assert (answer["tasks"], [f["reason"] for f in answer["failures"]]) == ([], ["MISSING"])
    with refused("InvalidParameterException", "The referenced task was not found."):
        stand.ecs.stop_task(cluster="elsewhere", task=identifier)
    stand.stop(arn)


@pytest.mark.behaviour("ecs.stopped_task_is_forgotten")
def test_a_stopped_task_is_kept_and_then_missing(stand: Stand) -> None:
    arn = stand.run("sleeper")
    stand.stop(arn)
    stand.until_task(arn, "STOPPED")
    time.sleep(2.2)
    assert stand.task(arn)["lastStatus"] == "STOPPED"
    with stand.sandbox.switched(stopped_task_seconds=1):
        until(lambda: stand.ecs.describe_tasks(cluster="life", tasks=[arn])["failures"], "the task is missing", 6)


# Start


@pytest.mark.behaviour("ecs.waits_for")
def test_containers_start_in_the_order_of_their_dependencies(stand: Stand) -> None:
    stamp = "import time\nprint(time.time(), flush=True)\n"
    init = {
        "name": "init",
        "image": stand.image(stamp + "time.sleep(1)", "init"),
        "essential": False,
        "portMappings": [],
    }
    app = {
        "image": stand.image(stamp + "time.sleep(600)", "app"),
        "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}],
    }
    definition = stand.define("ordered", *({**c, "logConfiguration": logged(stand)} for c in (app, init)))
    arn = stand.run(definition)
    task = stand.until_task(arn, "RUNNING")
    states = {c["name"]: (c["lastStatus"], c.get("exitCode")) for c in task["containers"]}
    assert states == {"init": ("STOPPED", 0), "app": ("RUNNING", None)}
    until(lambda: lines(stand, arn), "the app's line")
    assert float(lines(stand, arn)[0]) - float(lines(stand, arn, "init")[0]) >= 1
    stand.stop(arn)


@pytest.mark.behaviour("ecs.waits_for", "ecs.stop_code_and_reason")
def test_a_dependency_that_fails_keeps_the_task_from_starting(stand: Stand) -> None:
    image = stand.image("raise SystemExit(4)", "fails")
    init = {"name": "init", "image": image, "essential": False, "portMappings": []}
    app = {"image": stand.image(SLEEPER), "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]}
    task = stand.until_task(stand.run(stand.define("hopeless", init, app)), "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    containers = {c["name"]: c for c in task["containers"]}
    assert containers["init"]["exitCode"] == 4
    assert "has not met condition SUCCESS" in containers["app"]["reason"]
    assert "exitCode" not in containers["app"]


@pytest.mark.behaviour("ecs.dependencies_make_sense")
@pytest.mark.parametrize(
    ("needs", "says"),
    [
        ({"a": ("c", "START")}, "does not exist"),
        ({"a": ("b", "HEALTHY")}, "has no health check"),
        ({"a": ("b", "START"), "b": ("a", "START")}, "form a circle"),
    ],
)
def test_dependencies_that_cannot_be_met_are_refused(stand: Stand, needs: dict[str, Any], says: str) -> None:
    containers = [
        {
            "name": name,
            "image": "x",
            "dependsOn": [{"containerName": needs[name][0], "condition": needs[name][1]}] if name in needs else [],
        }
        for name in "ab"
    ]
    with refused("ClientException", says):
        stand.define("senseless", *containers)


@pytest.mark.behaviour("ecs.parameter_must_exist")
def test_a_missing_parameter_keeps_the_task_from_starting(stand: Stand) -> None:
    secrets = [{"name": "X", "valueFrom": "/life/no-such-parameter"}]
    definition = stand.define("no-parameter", {"image": stand.image(SLEEPER), "secrets": secrets})
    task = stand.until_task(stand.run(definition), "STOPPED", 5)
    assert task["stopCode"] == "TaskFailedToStart"
    assert "invalid parameters: /life/no-such-parameter" in task["stoppedReason"]


# Roles


@pytest.mark.behaviour("ecs.role_of_the_task")
def test_a_role_that_is_missing_or_does_not_trust_ecs_runs_nothing(stand: Stand) -> None:
    other = json.loads(json.dumps(TRUST).replace("ecs-tasks", "lambda"))
    for role in (stand.role("life-for-lambda", other), "arn:aws:iam::123456789012:role/life-no-such-role"):
        for name in ("executionRoleArn", "taskRoleArn"):
            definition = stand.define("distrusted", {"image": stand.image(SLEEPER)}, **{name: role})
            with refused("ClientException", f"ECS was unable to assume the role '{role}'"):
                stand.run(definition)


@pytest.mark.behaviour("ecs.session_of_task", "ecs.has_credentials")
def test_a_task_is_its_roles_session_by_its_own_id(stand: Stand) -> None:
    program = (
        "import boto3, os, time\n"
        "if 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI' in os.environ:\n"
        "    print(boto3.client('sts', region_name='us-west-2').get_caller_identity()['Arn'], flush=True)\n"
        "else:\n"
        "    print('no credentials:', boto3.Session().get_credentials(), flush=True)\n"
        "time.sleep(600)\n"
    )
    packages = next((CHECKOUT / ".venv" / "lib").glob("python3*/site-packages"))
    container = {
        "image": stand.image(program, "boto"),
        "logConfiguration": logged(stand),
        # botocore would ask the instance for credentials, which is a link-local address.
        "environment": [
            {"name": "PYTHONPATH", "value": str(packages)},
            {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},
        ],
    }
    role = stand.role("life-task-role")
    arn, without = (
        stand.run(stand.define("roled", container, taskRoleArn=role)),
        stand.run(stand.define("unroled", container)),
    )
    until(lambda: lines(stand, arn) and lines(stand, without), "both have said who they are", 15)
    expected = f"arn:aws:sts::123456789012:assumed-role/life-task-role/{arn.rpartition('/')[2]}"
    assert lines(stand, arn) == [expected]
    assert lines(stand, without) == ["no credentials: None"]
    for task in (arn, without):
        stand.stop(task)


# What it can ask


@pytest.mark.behaviour("ecs.task_metadata", "ecs.container_stats")
def test_the_metadata_endpoint_tells_what_is_so_at_that_moment(stand: Stand) -> None:
    image = stand.image(server("told"), "told")
    check = {"command": ["CMD-SHELL", "exit 0"], "interval": 300}
    task = stand.until_task(stand.run(stand.define("told", {"image": image, "healthCheck": check})), "RUNNING")
    uri = answer(task)["env"]["ECS_CONTAINER_METADATA_URI_V4"]

    def ask(path: str) -> dict[str, Any]:
        with urllib.request.urlopen(uri + path, timeout=5) as response:
            document: dict[str, Any] = json.load(response)
        return document

    whole = ask("/task")
    assert (whole["TaskARN"], whole["KnownStatus"], whole["DesiredStatus"]) == (task["taskArn"], "RUNNING", "RUNNING")
    assert (whole["Family"], whole["Revision"], whole["LaunchType"]) == ("told", "1", "FARGATE")
    assert whole["Limits"] == {"CPU": 0.25, "Memory": 512}
    own = ask("")
    assert whole["Containers"] == [own]
    assert (own["Name"], own["KnownStatus"], own["Health"]) == ("app", "RUNNING", {"status": "UNKNOWN"})
    stats = ask("/stats")
    assert stats["memory_stats"]["usage"] > 1_000_000
    assert stats["memory_stats"]["limit"] == 512 * 1024 * 1024
    assert stats["pids_stats"]["current"] == 1
    assert list(ask("/task/stats")) == [own["DockerId"]]
    stand.stop(task["taskArn"])
    stand.until_task(task["taskArn"], "STOPPED")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask("/task")


# What others hear


@pytest.mark.behaviour("ecs.task_state_change_events")
def test_each_change_of_a_tasks_state_is_an_event(stand: Stand) -> None:
    sqs, events = stand.sandbox.client("sqs"), stand.sandbox.client("events")
    queue = sqs.create_queue(QueueName="life-events")["QueueUrl"]
    target = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    let_send = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [{**let_send, "Resource": target}]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Task State Change"], "detail": {"group": ["family:heard"]}}
    events.put_rule(Name="life-events", EventPattern=json.dumps(pattern))
    events.put_targets(Rule="life-events", Targets=[{"Id": "q", "Arn": target}])
    arn = stand.run(stand.define("heard", {"image": stand.image("import time; time.sleep(0.3)", "heard")}))
    heard: list[dict[str, Any]] = []

    def over() -> bool:
        for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", []):
            heard.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return any(event["detail"]["lastStatus"] == "STOPPED" for event in heard)

    until(over, "the last event", 10)
    details = sorted((event["detail"] for event in heard), key=lambda detail: int(detail["version"]))
    states = [(d["version"], d["lastStatus"], d["desiredStatus"]) for d in details]
    assert states == [
        (1, "PROVISIONING", "RUNNING"),
        (2, "PENDING", "RUNNING"),
        (3, "RUNNING", "RUNNING"),
        (4, "RUNNING", "STOPPED"),
        (5, "DEPROVISIONING", "STOPPED"),
        (6, "STOPPED", "STOPPED"),
    ]
    last = details[-1]
    assert (last["stopCode"], last["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", last["stoppedAt"])
    assert (heard[0]["resources"], heard[0]["source"]) == ([arn], "aws.ecs")
    events.remove_targets(Rule="life-events", Ids=["q"])
    events.delete_rule(Name="life-events")
