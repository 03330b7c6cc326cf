"""Config: what a recorder needs, what it records, and how it is read."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sandbox.audit_support import TRUST, Account, new_account
from tests.sandbox.support import CHECKOUT, PYTHON, Sandbox, open_folder, refused

GROUP = "AWS::EC2::SecurityGroup"
ROLE = "arn:aws:iam::123456789012:role/config"


@dataclass
class Recorder:
    """An account with a bucket, and a recorder when it is asked for."""

    account: Account
    bucket: str
    config: Any

    def start(self, **group: Any) -> None:
        self.put(**group)
        self.config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": self.bucket})
        self.config.start_configuration_recorder(ConfigurationRecorderName="default")

    def put(self, **group: Any) -> None:
        given = group or {"allSupported": True, "includeGlobalResourceTypes": False}
        recorder = {"name": "default", "roleARN": ROLE, "recordingGroup": given}
        self.config.put_configuration_recorder(ConfigurationRecorder=recorder)

    def ids(self, kind: str, **further: Any) -> list[str]:
        found = self.config.list_discovered_resources(resourceType=kind, **further)["resourceIdentifiers"]
        return [identifier["resourceId"] for identifier in found]

    def history(self, kind: str, identifier: str, **further: Any) -> list[dict[str, Any]]:
        answer = self.config.get_resource_config_history(resourceType=kind, resourceId=identifier, **further)
        items: list[dict[str, Any]] = answer["configurationItems"]
        return items

    def statuses(self, kind: str, identifier: str, **further: Any) -> list[str]:
        return [item["configurationItemStatus"] for item in self.history(kind, identifier, **further)]


def recorder_in(account: Account) -> Recorder:
    bucket = f"config-{account.number}"
    region = account.sandbox.facts["region"]
    account.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    return Recorder(account, bucket, account.client("config"))


@pytest.fixture
def recorder(sandbox: Sandbox) -> Iterator[Recorder]:
    made = recorder_in(new_account(sandbox))
    yield made
    if made.config.describe_configuration_recorders()["ConfigurationRecorders"]:
        made.config.stop_configuration_recorder(ConfigurationRecorderName="default")
    made.account.client("s3").delete_bucket(Bucket=made.bucket)


def make_group(account: Account, name: str) -> str:
    ec2 = account.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    return str(ec2.create_security_group(GroupName=name, Description="d", VpcId=vpc)["GroupId"])


@pytest.mark.behaviour("config.a_recorder_is_needed")
def test_without_a_recorder_nothing_can_be_read(recorder: Recorder) -> None:
    with refused("NoAvailableConfigurationRecorderException", "no configuration recorders", 400):
        recorder.ids(GROUP)
    with refused("NoAvailableConfigurationRecorderException"):
        recorder.history(GROUP, "sg-1")
    assert recorder.config.get_discovered_resource_counts()["totalDiscoveredResources"] == 0


@pytest.mark.behaviour("config.a_channel_needs_a_recorder")
def test_a_channel_without_a_recorder_is_refused(recorder: Recorder) -> None:
    with refused("NoAvailableConfigurationRecorderException", status=400):
        recorder.config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": recorder.bucket})


@pytest.mark.behaviour("config.a_recorder_starts_with_a_channel")
def test_a_recorder_without_a_channel_does_not_start(recorder: Recorder) -> None:
    recorder.put()
    with refused("NoAvailableDeliveryChannelException", status=400):
        recorder.config.start_configuration_recorder(ConfigurationRecorderName="default")


@pytest.mark.behaviour("config.a_channel_needs_its_bucket")
def test_a_channel_to_no_bucket_is_refused(recorder: Recorder) -> None:
    recorder.put()
    with refused("NoSuchBucketException", status=400):
        recorder.config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": "no-such-bucket"})


@pytest.mark.behaviour("config.one_recorder_a_region")
def test_a_second_recorder_is_refused(recorder: Recorder) -> None:
    recorder.put()
    with refused("MaxNumberOfConfigurationRecordersExceededException", status=400):
        recorder.config.put_configuration_recorder(ConfigurationRecorder={"name": "second", "roleARN": ROLE})


@pytest.mark.behaviour("config.one_channel_a_region")
def test_a_second_channel_is_refused(recorder: Recorder) -> None:
    recorder.start()
    with refused("MaxNumberOfDeliveryChannelsExceededException", status=400):
        recorder.config.put_delivery_channel(DeliveryChannel={"name": "second", "s3BucketName": recorder.bucket})


@pytest.mark.behaviour("config.a_recording_group_is_of_one_kind")
def test_all_types_and_some_is_no_recording_group(recorder: Recorder) -> None:
    with refused("InvalidRecordingGroupException", status=400):
        recorder.put(allSupported=True, resourceTypes=[GROUP])


@pytest.mark.behaviour("config.a_running_recorder_keeps_its_channel")
def test_the_channel_of_a_running_recorder_stays(recorder: Recorder) -> None:
    recorder.start()
    with refused("LastDeliveryChannelDeleteFailedException", status=400):
        recorder.config.delete_delivery_channel(DeliveryChannelName="default")
    recorder.config.stop_configuration_recorder(ConfigurationRecorderName="default")
    recorder.config.delete_delivery_channel(DeliveryChannelName="default")
    recorder.config.delete_configuration_recorder(ConfigurationRecorderName="default")
    assert recorder.config.describe_configuration_recorders()["ConfigurationRecorders"] == []


@pytest.mark.behaviour("config.only_a_recorder_that_is_there")
def test_a_recorder_that_is_not_there_cannot_be_deleted(recorder: Recorder) -> None:
    with refused("NoSuchConfigurationRecorderException", "'none'", 400):
        recorder.config.delete_configuration_recorder(ConfigurationRecorderName="none")


@pytest.mark.behaviour("config.only_a_channel_that_is_there")
def test_a_channel_that_is_not_there_cannot_be_deleted(recorder: Recorder) -> None:
    with refused("NoSuchDeliveryChannelException", "'none'", 400):
        recorder.config.delete_delivery_channel(DeliveryChannelName="none")


@pytest.mark.behaviour("config.deletions_are_recorded", "config.only_changes_make_items")
def test_a_history_tells_of_discovery_changes_and_deletion(recorder: Recorder) -> None:
    recorder.start()
    ec2 = recorder.account.client("ec2")
    group = make_group(recorder.account, "told")
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    ec2.create_tags(Resources=[group], Tags=[{"Key": "team", "Value": "ops"}])
    ec2.describe_security_groups(GroupIds=[group])
    ec2.create_tags(Resources=[group], Tags=[{"Key": "team", "Value": "ops"}])
    ec2.delete_security_group(GroupId=group)
    told = ["ResourceDeleted", "OK", "OK", "ResourceDiscovered"]
    assert recorder.statuses(GROUP, group) == told
    gone, tagged, opened, found = recorder.history(GROUP, group)
    assert "configuration" not in gone
    assert (found["resourceName"], found["accountId"]) == ("told", recorder.account.number)
    assert found["arn"].endswith(f":security-group/{group}")
    assert json.loads(found["configuration"])["ipPermissions"] == []
    assert json.loads(opened["configuration"])["ipPermissions"][0]["fromPort"] == 22
    assert (opened["tags"], tagged["tags"]) == ({}, {"team": "ops"})
    assert found["configurationItemCaptureTime"] <= opened["configurationItemCaptureTime"]


@pytest.mark.behaviour("config.items_tell_relationships")
def test_an_item_tells_what_its_resource_is_in(recorder: Recorder) -> None:
    recorder.start()
    group = make_group(recorder.account, "related")
    (item,) = recorder.history(GROUP, group)
    vpc = json.loads(item["configuration"])["vpcId"]
    wanted = {"resourceType": "AWS::EC2::VPC", "resourceId": vpc, "relationshipName": "Is contained in Vpc"}
    assert item["relationships"] == [wanted]
    recorder.account.client("ec2").delete_security_group(GroupId=group)


@pytest.mark.behaviour("config.a_recorder_must_run")
def test_what_happens_while_the_recorder_is_stopped_counts_at_its_next_start(recorder: Recorder) -> None:
    recorder.start()
    recorder.config.stop_configuration_recorder(ConfigurationRecorderName="default")
    group = make_group(recorder.account, "unseen")
    assert group not in recorder.ids(GROUP)
    recorder.config.start_configuration_recorder(ConfigurationRecorderName="default")
    assert recorder.statuses(GROUP, group) == ["ResourceDiscovered"]
    recorder.account.client("ec2").delete_security_group(GroupId=group)


@pytest.mark.behaviour("config.group_says_what_is_recorded")
def test_only_types_of_the_recording_group_are_recorded(recorder: Recorder) -> None:
    recorder.start(allSupported=False, resourceTypes=[GROUP])
    recorder.account.client("ecs").create_cluster(clusterName="unrecorded")
    group = make_group(recorder.account, "recorded")
    assert recorder.ids("AWS::ECS::Cluster") == []
    assert group in recorder.ids(GROUP)
    excluded = {"resourceTypes": [GROUP]}
    recorder.put(exclusionByResourceTypes=excluded, recordingStrategy={"useOnly": "EXCLUSION_BY_RESOURCE_TYPES"})
    assert recorder.ids("AWS::ECS::Cluster")
    recorder.put()
    recorder.account.client("iam").create_role(RoleName="global", AssumeRolePolicyDocument=TRUST)
    assert recorder.ids("AWS::IAM::Role") == []
    recorder.put(allSupported=True, includeGlobalResourceTypes=True)
    assert len(recorder.ids("AWS::IAM::Role")) == 1
    recorder.account.client("ecs").delete_cluster(cluster="unrecorded")


@pytest.mark.behaviour("config.deleted_ones_on_demand")
def test_deleted_resources_are_listed_when_asked_for(recorder: Recorder) -> None:
    recorder.start()
    group = make_group(recorder.account, "brief")
    assert group in recorder.ids(GROUP)
    recorder.account.client("ec2").delete_security_group(GroupId=group)
    assert group not in recorder.ids(GROUP)
    answer = recorder.config.list_discovered_resources(resourceType=GROUP, includeDeletedResources=True)
    listed = {one["resourceId"]: one for one in answer["resourceIdentifiers"]}
    assert group in listed
    gone = listed[group]
    assert gone["resourceName"] == "brief"
    assert abs(gone["resourceDeletionTime"].timestamp() - time.time()) < 60


@pytest.mark.behaviour("config.the_deleted_have_no_configuration")
def test_a_batch_gives_what_is_there_now(recorder: Recorder) -> None:
    recorder.start()
    here, gone = make_group(recorder.account, "here"), make_group(recorder.account, "gone")
    recorder.account.client("ec2").delete_security_group(GroupId=gone)
    keys = [{"resourceType": GROUP, "resourceId": identifier} for identifier in (here, gone, "sg-none")]
    answer = recorder.config.batch_get_resource_config(resourceKeys=keys)
    assert [item["resourceId"] for item in answer["baseConfigurationItems"]] == [here]
    assert "tags" not in answer["baseConfigurationItems"][0]
    assert answer["unprocessedResourceKeys"] == []
    recorder.account.client("ec2").delete_security_group(GroupId=here)


@pytest.mark.behaviour("config.only_what_was_discovered_has_a_history")
def test_the_history_of_what_never_was_is_refused(recorder: Recorder) -> None:
    recorder.start()
    with refused("ResourceNotDiscoveredException", "sg-none of resourceType:AWS::EC2::SecurityGroup", 400):
        recorder.history(GROUP, "sg-none")


@pytest.mark.behaviour("config.earlier_comes_before_later")
def test_a_history_that_ends_before_it_begins_is_refused(recorder: Recorder) -> None:
    recorder.start()
    group = make_group(recorder.account, "ranged")
    with refused("InvalidTimeRangeException", status=400):
        recorder.history(GROUP, group, earlierTime=2_000, laterTime=1_000)
    assert recorder.history(GROUP, group, earlierTime=1_000, laterTime=2_000) == []


@pytest.mark.behaviour("config.forward_is_oldest_first")
def test_a_history_comes_in_either_order_page_by_page(recorder: Recorder) -> None:
    recorder.start()
    ec2, group = recorder.account.client("ec2"), make_group(recorder.account, "paged")
    for number in range(4):
        ec2.create_tags(Resources=[group], Tags=[{"Key": "n", "Value": str(number)}])
    told = [item["tags"].get("n") for item in recorder.history(GROUP, group, chronologicalOrder="Forward")]
    assert told == [None, "0", "1", "2", "3"]
    paged, query = [], {"resourceType": GROUP, "resourceId": group, "limit": 2}
    page = recorder.config.get_resource_config_history(**query)
    while True:
        paged += [item["tags"].get("n") for item in page["configurationItems"]]
        if "nextToken" not in page:
            break
        # Of a newer item pages that are already begun do not tell.
        ec2.create_tags(Resources=[group], Tags=[{"Key": "n", "Value": f"later{len(paged)}"}])
        page = recorder.config.get_resource_config_history(nextToken=page["nextToken"], **query)
    assert paged == told[::-1]
    ec2.delete_security_group(GroupId=group)


@pytest.mark.behaviour("config.token_of_this_request")
def test_resources_come_page_by_page_and_a_token_is_of_its_request(recorder: Recorder) -> None:
    recorder.start(allSupported=False, resourceTypes=["AWS::ECS::Cluster"])
    ecs = recorder.account.client("ecs")
    arns = sorted(ecs.create_cluster(clusterName=f"page-{n}")["cluster"]["clusterArn"] for n in range(5))
    kind = {"resourceType": "AWS::ECS::Cluster", "limit": 2}
    first = recorder.config.list_discovered_resources(**kind)
    second = recorder.config.list_discovered_resources(**kind, nextToken=first["nextToken"])
    third = recorder.config.list_discovered_resources(**kind, nextToken=second["nextToken"])
    pages = [first, second, third]
    assert [one["resourceId"] for page in pages for one in page["resourceIdentifiers"]] == arns
    assert "nextToken" not in third
    with refused("InvalidNextTokenException", status=400):
        recorder.config.list_discovered_resources(resourceType=GROUP, limit=2, nextToken=first["nextToken"])
    named = {"resourceType": "AWS::ECS::Cluster", "resourceName": "page-3"}
    assert len(recorder.config.list_discovered_resources(**named)["resourceIdentifiers"]) == 1
    assert recorder.ids("AWS::ECS::Cluster", resourceIds=[arns[1], "none"]) == [arns[1]]
    counts = recorder.config.get_discovered_resource_counts()
    assert counts["resourceCounts"] == [{"resourceType": "AWS::ECS::Cluster", "count": 5}]
    for number in range(5):
        ecs.delete_cluster(cluster=f"page-{number}")
    assert recorder.ids("AWS::ECS::Cluster") == []


def test_secrets_are_in_no_item(recorder: Recorder) -> None:
    recorder.start()
    account = recorder.account
    arn = account.client("secretsmanager").create_secret(Name="hidden", SecretString="hunter2-of-secret")["ARN"]
    definition = {"name": "a", "image": "i", "memory": 64, "environment": [{"name": "DB_PASSWORD", "value": "hunter2"}]}
    made = account.client("ecs").register_task_definition(family="hidden", containerDefinitions=[definition])
    task = made["taskDefinition"]["taskDefinitionArn"]
    items = recorder.history("AWS::SecretsManager::Secret", arn) + recorder.history("AWS::ECS::TaskDefinition", task)
    assert len(items) == 2
    assert "hunter2" not in json.dumps(items, default=str)


def test_changes_without_a_call_are_kept_though_nobody_reads_them(recorder: Recorder) -> None:
    kind = "AWS::ElasticLoadBalancingV2::LoadBalancer"
    recorder.start(allSupported=False, resourceTypes=[kind])
    ec2, elb = recorder.account.client("ec2"), recorder.account.client("elbv2")
    subnets = [subnet["SubnetId"] for subnet in ec2.describe_subnets()["Subnets"]][:2]
    arn = elb.create_load_balancer(Name="becomes", Subnets=subnets)["LoadBalancers"][0]["LoadBalancerArn"]
    # It is active a second after, and the recorder looks every two.
    time.sleep(3.5)
    elb.delete_load_balancer(LoadBalancerArn=arn)
    items = recorder.history(kind, arn)
    assert [item["configurationItemStatus"] for item in items] == ["ResourceDeleted", "OK", "ResourceDiscovered"]
    states = [json.loads(item["configuration"])["state"]["code"] for item in items[1:]]
    assert states == ["active", "provisioning"]


def test_items_survive_a_restart_and_the_recorder_goes_on() -> None:
    with open_folder() as root:
        sandbox = Sandbox(root).up()
        try:
            recorder = recorder_in(new_account(sandbox))
            recorder.start(allSupported=False, resourceTypes=["AWS::ECS::Cluster"])
            ecs = recorder.account.client("ecs")
            arn = ecs.create_cluster(clusterName="kept")["cluster"]["clusterArn"]
            sandbox.down()
            sandbox.up()
            again = Recorder(recorder.account, recorder.bucket, recorder.account.client("config"))
            recorder.account.client("ecs").tag_resource(resourceArn=arn, tags=[{"key": "a", "value": "b"}])
            assert again.statuses("AWS::ECS::Cluster", arn) == ["OK", "ResourceDiscovered"]
        finally:
            sandbox.down()


def test_every_store_that_is_looked_into_exists() -> None:
    program = (
        "import importlib\n"
        "from sandbox.audit.inventory import KINDS\n"
        "print([k.type for k in KINDS if not hasattr(importlib.import_module("
        "f'ministack.services.{k.module}'), k.store)])"
    )
    with open_folder() as folder:
        done = subprocess.run(
            [str(PYTHON), "-c", program],
            cwd=CHECKOUT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "STATE_DIR": str(folder), "S3_DATA_DIR": str(folder)}
            | {"DOCKER_HOST": "unix:///nonexistent"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines()[-1] == "[]"
