"""How a service's scheduler judges, replaces, limits and tells; its services share a fixture, so they wait together."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.container_health import HealthCheck, Verdict
from sandbox.seams import ecs_rollout as rollout
from tests.sandbox.ecs_stand import SLEEPER, Stand, answer, server
from tests.sandbox.support import Network, Sandbox, refused, until

CLUSTER = "rollout"
EAGER = {"HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2, "UnhealthyThresholdCount": 2}
SLOW = {"HealthCheckIntervalSeconds": 60, "HealthCheckTimeoutSeconds": 2, "UnhealthyThresholdCount": 10}


class Rollout(Stand):
    """A load balancer beside, and a queue that hears of the cluster's services."""

    groups: dict[str, str]
    queue: str
    heard: list[dict[str, Any]]

    def balance(self) -> None:
        elb, ec2 = self.sandbox.client("elbv2"), self.sandbox.client("ec2")
        cidr = self.sandbox.facts["vpc_cidr"]
        ec2.authorize_security_group_ingress(
            GroupId=self.network.group, IpProtocol="tcp", FromPort=5000, ToPort=5000, CidrIp=cidr
        )
        group = ec2.create_security_group(GroupName="rollout-lb", Description="lb", VpcId=self.network.vpc)["GroupId"]
        ec2.authorize_security_group_ingress(
            GroupId=self.network.group,
            IpPermissions=[
                {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [{"GroupId": group}]}
            ],
        )
        made = elb.create_load_balancer(
            Name="rollout", Scheme="internal", Subnets=self.network.subnets, SecurityGroups=[group]
        )
        self.groups = {}
        checks = {
            "sick": ("/", "418", EAGER),
            "graced": ("/", "418", EAGER),
            "slow": ("/", "418", SLOW),
            "good": ("/", "200", EAGER),
        }
        for port, (name, (path, code, timing)) in enumerate(checks.items(), 80):
            target_group = elb.create_target_group(
                Name=f"rollout-{name}",
                Protocol="HTTP",
                Port=5000,
                VpcId=self.network.vpc,
                TargetType="ip",
                HealthCheckPath=path,
                Matcher={"HttpCode": code},
                HealthyThresholdCount=2,
                **timing,
            )["TargetGroups"][0]["TargetGroupArn"]
            self.groups[name] = target_group
            elb.create_listener(
                LoadBalancerArn=made["LoadBalancers"][0]["LoadBalancerArn"],
                Protocol="HTTP",
                Port=port,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}],
            )
            elb.modify_target_group_attributes(
                TargetGroupArn=target_group,
                Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "2"}],
            )

    def behind(self, name: str, **more: Any) -> None:
        balancer = {"targetGroupArn": self.groups[name], "containerName": "app", "containerPort": 5000}
        self.create(name, "serving", 1, loadBalancers=[balancer], **more)

    def listen(self) -> None:
        sqs, events = self.sandbox.client("sqs"), self.sandbox.client("events")
        self.queue, self.heard = sqs.create_queue(QueueName="rollout")["QueueUrl"], []
        arn = sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        let_send = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [{**let_send, "Resource": arn}]})
        sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"Policy": policy})
        pattern = {"source": ["aws.ecs"], "detail-type": ["ECS Service Action", "ECS Deployment State Change"]}
        events.put_rule(Name="rollout", EventPattern=json.dumps(pattern))
        events.put_targets(Rule="rollout", Targets=[{"Id": "q", "Arn": arn}])

    def told(self, service: str) -> list[dict[str, Any]]:
        """Events of EventBridge about one service so far."""
        sqs = self.sandbox.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", []):
            for message in messages:
                self.heard.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self.heard if event["resources"][0].endswith(f"/{CLUSTER}/{service}")]


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Rollout]:
    made = Rollout(sandbox, network, CLUSTER, CLUSTER)
    sandbox.client("ecs").create_cluster(clusterName=CLUSTER)
    sandbox.client("ecr").create_repository(repositoryName=CLUSTER)
    made.listen()
    made.balance()
    serving = made.image(server("serving"), "serving")
    made.define("serving", {"image": serving})
    failing = {"command": ["CMD-SHELL", "exit 1"], "interval": 5, "retries": 1}
    waiting = {"command": ["CMD-SHELL", "exit 1"], "interval": 300}
    made.define("failing", {"image": serving, "healthCheck": failing})
    made.define("waiting", {"image": serving, "healthCheck": waiting})
    for name in ("sick", "slow", "good"):
        made.behind(name)
    made.behind("graced", healthCheckGracePeriodSeconds=3600)
    for name in ("failing", "waiting"):
        made.create(name, name, 1)
    made.create("plain", "serving", 2, deploymentConfiguration={"maximumPercent": 150})
    yield made
    for name in ("sick", "slow", "good", "graced", "failing", "waiting", "plain"):
        made.ecs.delete_service(cluster=CLUSTER, service=name, force=True)
    sandbox.client("events").remove_targets(Rule="rollout", Ids=["q"])
    sandbox.client("events").delete_rule(Name="rollout")


def reasons(stand: Rollout, name: str) -> list[str]:
    return [str(task["stoppedReason"]) for task in stand.tasks(name, "STOPPED")]


# A rollout


@pytest.mark.behaviour("ecs.minimum_healthy_percent", "ecs.maximum_percent")
def test_a_rollout_stays_between_its_percents(stand: Rollout) -> None:
    stand.steady("plain", 2)
    old = {task["taskArn"] for task in stand.tasks("plain")}
    stand.ecs.update_service(cluster=CLUSTER, service="plain", forceNewDeployment=True)
    end, seen = time.monotonic() + 2, []
    while time.monotonic() < end or not any(total == 3 for _, total in seen):
        service = stand.service("plain")
        seen.append((service["runningCount"], service["runningCount"] + service["pendingCount"]))
        assert time.monotonic() < end + 10, seen
    assert min(running for running, _ in seen) >= 2, "minimumHealthyPercent 100"
    assert max(total for _, total in seen) <= 3, "maximumPercent 150"
    assert old <= {task["taskArn"] for task in stand.tasks("plain")}


@pytest.mark.behaviour("ecs.container_health_counts", "ecs.target_health_counts")
@pytest.mark.parametrize("name", ["waiting", "slow"])
def test_a_deployment_is_not_complete_before_its_tasks_are_healthy(stand: Rollout, name: str) -> None:
    started = until(lambda: [t["startedAt"].timestamp() for t in stand.tasks(name) if "startedAt" in t], "a start")[0]
    # Longer than a task without any check has to run.
    time.sleep(max(0.0, started + rollout.STEADY_SECONDS + 1 - time.time()))
    assert [d["rolloutState"] for d in stand.service(name)["deployments"]] == ["IN_PROGRESS"]
    assert not any("steady state" in event for event in stand.events(name))


@pytest.mark.behaviour("ecs.unhealthy_container", "ecs.ended_tasks_are_replaced")
def test_a_task_whose_container_is_unhealthy_is_replaced(stand: Rollout) -> None:
    until(lambda: "Task failed container health checks" in reasons(stand, "failing"), "the task is stopped", 15)
    until(lambda: stand.tasks("failing"), "another task")
    assert any("failed container health checks" in event for event in stand.events("failing"))


@pytest.mark.behaviour("ecs.unhealthy_target", "ecs.unhealthy_event")
def test_a_task_whose_target_is_unhealthy_is_replaced(stand: Rollout) -> None:
    group = stand.groups["sick"]
    until(lambda: f"Task failed ELB health checks in (target-group {group})" in reasons(stand, "sick"), "stopped", 15)
    told = [event for event in stand.events("sick") if f"(port 5000) is unhealthy in (target-group {group})" in event]
    assert told and all("due to (reason Health checks failed" in event for event in told)


@pytest.mark.behaviour("ecs.grace_period_runs")
def test_a_task_in_its_grace_period_is_left_alone(stand: Rollout) -> None:
    elb, group = stand.sandbox.client("elbv2"), stand.groups["graced"]

    def unhealthy() -> bool:
        health = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [target["TargetHealth"]["State"] for target in health] == ["unhealthy"]

    until(unhealthy, "an unhealthy target", 15)
    time.sleep(0.6)
    assert reasons(stand, "graced") == []
    assert len(stand.tasks("graced")) == 1


# What it tells


@pytest.mark.behaviour(
    "ecs.steady_state_event", "ecs.tasks_event", "ecs.service_action_events", "ecs.deployment_state_change_events"
)
def test_a_service_tells_what_it_does(stand: Rollout) -> None:
    stand.steady("good", seconds=20)
    task = stand.tasks("good")[0]["taskArn"].rpartition("/")[2]
    texts = [event.removeprefix("(service good) ") for event in reversed(stand.events("good"))]
    deployment = stand.service("good")["deployments"][0]["id"]
    assert texts[0] == f"has started 1 tasks: (task {task})."
    assert texts[-2:] == [f"(deployment {deployment}) deployment completed.", "has reached a steady state."]

    def names() -> list[tuple[str, str]]:
        return [(event["detail-type"], event["detail"]["eventName"]) for event in stand.told("good")]

    until(lambda: len(names()) >= 3, "events")
    assert set(names()) == {
        ("ECS Deployment State Change", "SERVICE_DEPLOYMENT_IN_PROGRESS"),
        ("ECS Deployment State Change", "SERVICE_DEPLOYMENT_COMPLETED"),
        ("ECS Service Action", "SERVICE_STEADY_STATE"),
    }
    completed = next(e for e in stand.told("good") if e["detail"]["eventName"] == "SERVICE_DEPLOYMENT_COMPLETED")
    assert completed["detail"]["deploymentId"] == deployment
    assert completed["detail"]["eventType"] == "INFO"


@pytest.mark.behaviour("ecs.targets_drain_first", "ecs.targets_event", "ecs.draining_event")
def test_a_target_drains_before_its_task_stops(stand: Rollout) -> None:
    stand.steady("good", seconds=20)
    task = stand.tasks("good")[0]
    stopped = stand.stop(task["taskArn"])["stoppingAt"]
    assert stand.until_task(task["taskArn"], "DEACTIVATING", 1)
    assert answer(task)["name"] == "serving", "it serves what it has begun"
    ended = stand.until_task(task["taskArn"], "STOPPED")
    assert (ended["stoppedAt"] - stopped).total_seconds() >= 1.5
    texts, group = stand.events("good"), stand.groups["good"]
    assert f"(service good) registered 1 targets in (target-group {group})" in texts
    assert f"(service good) deregistered 1 targets in (target-group {group})" in texts
    stand.ecs.update_service(cluster=CLUSTER, service="good", desiredCount=0)
    until(
        lambda: any("has begun draining connections on 1 tasks." in event for event in stand.events("good")), "drains"
    )


# What it needs


@pytest.mark.behaviour("ecs.target_group_needs_a_load_balancer", "ecs.awsvpc_needs_ip_targets")
def test_a_target_group_must_be_a_load_balancers_and_of_addresses(stand: Rollout) -> None:
    elb = stand.sandbox.client("elbv2")
    given = {"Protocol": "HTTP", "Port": 5000, "VpcId": stand.network.vpc}
    alone = elb.create_target_group(Name="rollout-alone", TargetType="ip", **given)["TargetGroups"][0]["TargetGroupArn"]
    balancer = {"containerName": "app", "containerPort": 5000}
    with refused("InvalidParameterException", f"{alone} does not have an associated load balancer."):
        stand.create("alone", "serving", 0, loadBalancers=[{**balancer, "targetGroupArn": alone}])
    hosts = elb.create_target_group(Name="rollout-hosts", **given)["TargetGroups"][0]["TargetGroupArn"]
    listener = elb.describe_listeners(
        LoadBalancerArn=elb.describe_load_balancers(Names=["rollout"])["LoadBalancers"][0]["LoadBalancerArn"]
    )["Listeners"][0]["ListenerArn"]
    rule = elb.create_rule(
        ListenerArn=listener,
        Priority=1,
        Conditions=[{"Field": "path-pattern", "Values": ["/hosts"]}],
        Actions=[{"Type": "forward", "TargetGroupArn": hosts}],
    )["Rules"][0]["RuleArn"]
    with refused("InvalidParameterException", "incompatible with the awsvpc network mode"):
        stand.create("hosts", "serving", 0, loadBalancers=[{**balancer, "targetGroupArn": hosts}])
    elb.delete_rule(RuleArn=rule)
    for group in (alone, hosts):
        elb.delete_target_group(TargetGroupArn=group)


@pytest.mark.behaviour("ecs.role_of_the_service")
def test_a_service_whose_role_is_gone_says_so_and_starts_nothing(stand: Rollout) -> None:
    role = stand.role("rollout-execution")
    stand.create("roleless", stand.define("roleless", {"image": "x"}, executionRoleArn=role), 0)
    stand.sandbox.client("iam").delete_role(RoleName="rollout-execution")
    stand.ecs.update_service(cluster=CLUSTER, service="roleless", desiredCount=1)
    text = f"(service roleless) failed to launch a task with (error ECS was unable to assume the role '{role}'"
    until(lambda: any(event.startswith(text) for event in stand.events("roleless")), "the event", 5)
    assert stand.tasks("roleless") == stand.tasks("roleless", "STOPPED") == []
    stand.ecs.delete_service(cluster=CLUSTER, service="roleless", force=True)


@pytest.mark.behaviour("ecs.pinned_by_the_deployment")
def test_a_deployment_keeps_the_digest_that_its_tag_had(stand: Rollout) -> None:
    first = stand.image(server("first"), "moves")
    stand.create("pinned", stand.define("pinned", {"image": stand.tagged("moves")}), 1)
    task = until(lambda: [t for t in stand.tasks("pinned") if t["lastStatus"] == "RUNNING"], "a task")[0]
    stand.image(server("second"), "moves")
    stand.stop(task["taskArn"])

    def another() -> list[dict[str, Any]]:
        return [t for t in stand.tasks("pinned") if t["lastStatus"] == "RUNNING" and t["taskArn"] != task["taskArn"]]

    replaced = until(another, "another task")[0]
    assert replaced["containers"][0]["imageDigest"] == first.partition("@")[2]
    stand.ecs.delete_service(cluster=CLUSTER, service="pinned", force=True)


@pytest.mark.behaviour("ecs.tags_of_a_services_task")
def test_tasks_of_a_service_take_its_tags_and_ecss_own(stand: Rollout) -> None:
    tags = [{"key": "run", "value": "7"}]
    stand.create("tagged", "serving", 1, tags=tags, propagateTags="SERVICE", enableECSManagedTags=True)
    arn = until(lambda: stand.tasks("tagged"), "a task")[0]["taskArn"]
    found = {tag["key"]: tag["value"] for tag in stand.task(arn, include=["TAGS"])["tags"]}
    assert found == {"run": "7", "aws:ecs:clusterName": CLUSTER, "aws:ecs:serviceName": "tagged"}
    stand.ecs.delete_service(cluster=CLUSTER, service="tagged", force=True)


# Stopped deployments


@pytest.mark.behaviour(
    "ecs.stop_by_rollback", "ecs.ended_deployment", "ecs.deployments_in_states", "ecs.unknown_arns_are_missing"
)
@pytest.mark.behaviour("ecs.deployments_stop_by_rollback")
def test_a_deployment_that_is_stopped_goes_back(stand: Rollout) -> None:
    ecs = stand.ecs
    good = stand.define("stopped", {"image": stand.image(SLEEPER)})
    stand.create("stopped", good, 0)
    first = until(lambda: stand.service("stopped").get("currentServiceDeployment"), "a deployment")
    stand.steady("stopped", 0)
    with refused("ConflictException", "SUCCESSFUL"):
        ecs.stop_service_deployment(serviceDeploymentArn=first)
    waiting = {"command": ["CMD-SHELL", "exit 1"], "interval": 300}
    other = stand.define("stopped", {"image": stand.image(SLEEPER), "healthCheck": waiting})
    ecs.update_service(cluster=CLUSTER, service="stopped", taskDefinition=other, desiredCount=1)
    second = stand.service("stopped")["currentServiceDeployment"]
    with refused("InvalidParameterException", "ABORT"):
        ecs.stop_service_deployment(serviceDeploymentArn=second, stopType="ABORT")
    assert ecs.stop_service_deployment(serviceDeploymentArn=second)["serviceDeploymentArn"] == second
    states = ("ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
    assert stand.deployment("stopped")["status"] in states
    ecs.update_service(cluster=CLUSTER, service="stopped", desiredCount=0)
    until(lambda: stand.deployment("stopped")["status"] == "ROLLBACK_SUCCESSFUL", "the way back", 5)
    assert stand.service("stopped")["taskDefinition"] == good
    listed = ecs.list_service_deployments(cluster=CLUSTER, service="stopped", status=["SUCCESSFUL"])
    assert [found["serviceDeploymentArn"] for found in listed["serviceDeployments"]] == [first]
    failures = ecs.describe_service_deployments(serviceDeploymentArns=[f"{first}x"])["failures"]
    assert failures == [{"arn": f"{first}x", "reason": "MISSING"}]
    with refused("ServiceDeploymentNotFoundException"):
        ecs.stop_service_deployment(serviceDeploymentArn=f"{first}x")
    ecs.delete_service(cluster=CLUSTER, service="stopped", force=True)


# Alarms


def alarm(stand: Rollout, name: str, state: str) -> None:
    cloudwatch = stand.sandbox.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="Test",
        MetricName=name,
        Statistic="Maximum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="by the test")


@pytest.mark.behaviour("ecs.alarm_ends_a_rollout", "ecs.bake_seconds", "ecs.deployments_created")
def test_an_alarm_rolls_a_deployment_back_until_its_bake_time_is_over(stand: Rollout) -> None:
    ecs, name = stand.ecs, "alarmed"
    good = stand.define(name, {"image": stand.image(SLEEPER)})
    alarm(stand, "deploy", "OK")
    alarms = {"alarmNames": ["deploy"], "enable": True, "rollback": True}
    stand.create(name, good, 0, deploymentConfiguration={"alarms": alarms})
    until(lambda: stand.service(name).get("currentServiceDeployment"), "a deployment")
    assert stand.deployment(name)["alarms"] == {
        "status": "MONITORING",
        "alarmNames": ["deploy"],
        "triggeredAlarmNames": [],
    }
    until(lambda: stand.service(name)["deployments"][0].get("runningCount") == 0, "counts")
    assert stand.deployment(name)["status"] == "IN_PROGRESS", "it bakes"
    stand.steady(name, 0)
    assert stand.deployment(name)["alarms"]["status"] == "MONITORING_COMPLETE"
    ecs.update_service(cluster=CLUSTER, service=name, forceNewDeployment=True)
    until(lambda: stand.deployment(name)["status"] == "IN_PROGRESS", "the second deployment")
    second = stand.deployment(name)
    alarm(stand, "deploy", "ALARM")
    until(lambda: stand.deployment(name)["status"] == "ROLLBACK_SUCCESSFUL", "the way back", 10)
    ended = stand.deployment(name)
    assert (ended["alarms"]["status"], ended["alarms"]["triggeredAlarmNames"]) == ("TRIGGERED", ["deploy"])
    assert ended["rollback"]["reason"] == ended["statusReason"]
    assert ended["deploymentCircuitBreaker"]["status"] == "DISABLED"
    after = ecs.list_service_deployments(cluster=CLUSTER, service=name, createdAt={"after": second["createdAt"]})
    assert [d["serviceDeploymentArn"] for d in after["serviceDeployments"]] == [second["serviceDeploymentArn"]]
    ecs.delete_service(cluster=CLUSTER, service=name, force=True)


@pytest.mark.behaviour("ecs.alarms_that_already_ring_switch_it_off")
def test_an_alarm_that_rings_before_a_deployment_is_not_watched_by_it(stand: Rollout) -> None:
    alarm(stand, "rings", "ALARM")
    alarms = {"alarmNames": ["rings"], "enable": True, "rollback": True}
    stand.define("fixing", {"image": stand.image(SLEEPER)})
    stand.create("fixing", "fixing", 0, deploymentConfiguration={"alarms": alarms})
    stand.steady("fixing", 0)
    assert stand.deployment("fixing")["alarms"]["status"] == "DISABLED"
    assert stand.deployment("fixing")["status"] == "SUCCESSFUL"
    stand.ecs.delete_service(cluster=CLUSTER, service="fixing", force=True)


# Numbers


@pytest.mark.behaviour("ecs.breaker_threshold", "ecs.healthy_task_resets_failures")
@pytest.mark.parametrize(
    ("desired", "given", "threshold"),
    [
        (1, None, 3),
        (20, None, 10),
        (1000, None, 200),
        (20, {"type": "COUNT", "value": 7}, 7),
        (10, {"type": "UNBOUNDED_PERCENT", "value": 10}, 1),
    ],
)
def test_the_breaker_counts_as_documented(desired: int, given: dict[str, Any] | None, threshold: int) -> None:
    breaker = {"enable": True, "rollback": False, **({"thresholdConfiguration": given} if given else {})}
    service = {"desiredCount": desired, "deploymentConfiguration": {"deploymentCircuitBreaker": breaker}}
    assert rollout.breaker_threshold(service) == threshold
    assert rollout.healthy_task_resets_failures(service)
    breaker["resetOnHealthyTask"] = False
    assert not rollout.healthy_task_resets_failures(service)


@pytest.mark.behaviour("ecs.scale_in_order")
def test_scale_in_begins_in_the_zone_with_the_most_tasks() -> None:
    tasks = [{"createdAt": str(n), "availabilityZone": zone, "n": n} for n, zone in enumerate("aaab")]
    assert [task["n"] for task in rollout.scale_in_order(tasks)] == [2, 1, 3, 0]


@pytest.mark.behaviour("ecs.unhealthy_after_retries", "ecs.start_period_forgives")
def test_failures_count_in_a_row_and_after_the_start_period() -> None:
    check = HealthCheck.parse({"command": ["CMD", "x"], "interval": 5, "retries": 2, "startPeriod": 10})
    assert check is not None
    verdict = Verdict(check)
    assert [verdict.take(False, age) for age in (5, 9.9, 15, 20)] == ["UNKNOWN", "UNKNOWN", "UNKNOWN", "UNHEALTHY"]
    assert [verdict.take(passed, 30) for passed in (True, False, True, False)] == ["HEALTHY"] * 4
