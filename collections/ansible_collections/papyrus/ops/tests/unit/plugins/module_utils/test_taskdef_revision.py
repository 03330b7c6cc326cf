# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which revision becomes the release's: the source, one that was registered before, or a new one (F2)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import boto3
import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._ecs_tasks import TaskProblem
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef import DefinitionRefused, Wanted
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef_api import LOOK_BACK
from ansible_collections.papyrus.ops.plugins.module_utils._taskdef_revision import Made, make, source_of
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws
from ansible_collections.papyrus.ops.tests.unit.ecs_shapes import CLUSTER, SERVICE
from ansible_collections.papyrus.ops.tests.unit.taskdef_shapes import IMAGE, TAGS, Ecs, arn, definition
from botocore.exceptions import ConnectionClosedError

APP = Wanted("app", IMAGE)
SAME = Wanted("app", "", {"PGSSLMODE": "require"})


def made(ecs: Ecs, wanted: Wanted = APP, source: int = 1, check: bool = False) -> Made:
    return make(Calls(ecs.aws), arn(source), wanted, check=check)


def with_image() -> dict[str, Any]:
    given = definition()
    given["containerDefinitions"][0]["image"] = IMAGE
    return given


def test_F2_the_new_revision_has_everything_of_the_old_one_and_its_tags() -> None:
    ecs = Ecs()
    result = made(ecs)
    assert (result.target.arn if result.target else "", result.registered) == (arn(2), True)
    assert ecs.registered == [{**with_image(), "tags": TAGS[:1]}]
    assert [(item.member, item.name) for item in result.differences] == [("image", "")]


def test_F2_nothing_is_registered_when_nothing_changes() -> None:
    ecs = Ecs()
    result = made(ecs, SAME)
    assert (result.target, result.registered, ecs.registered) == (result.source, False, [])
    assert ecs.aws.names == ["ecs.describe_task_definition"]


def test_F2_a_release_that_failed_is_tried_again_with_the_revision_that_it_made() -> None:
    ecs = Ecs()
    made(ecs)
    for _again in range(3):
        result = made(ecs)
        assert (result.target.arn if result.target else "", result.registered) == (arn(2), False)
        assert "was registered before" in result.reason
    assert len(ecs.registered) == 1


def test_F2_the_newest_revision_that_is_the_same_is_used_whatever_lies_between() -> None:
    ecs = Ecs()
    ecs.keep(with_image(), TAGS)
    ecs.keep({**definition(), "cpu": "512"}, TAGS)
    ecs.keep(with_image(), TAGS)
    ecs.keep({**definition(), "cpu": "1024"}, TAGS)
    assert (result := made(ecs)).target
    assert result.target.revision == 4


def test_F2_neither_an_older_nor_an_inactive_nor_a_differently_tagged_revision_is_used() -> None:
    ecs = Ecs(with_image(), definition(), runs=2)
    ecs.keep(with_image(), TAGS, status="INACTIVE")
    ecs.keep(with_image(), [{"key": "Project", "value": "other"}])
    result = made(ecs, source=2)
    assert (result.target.revision if result.target else 0, result.registered) == (5, True)


def test_F2_newer_revisions_that_are_not_what_is_wanted_are_named() -> None:
    ecs = Ecs()
    ecs.keep({**definition(), "cpu": "512"}, TAGS)
    result = made(ecs)
    assert result.warnings == [
        "papyrus-task:2 of the family is newer than papyrus-task:1 and not what is wanted; "
        "the new revision is made from papyrus-task:1, so what was changed there is not in it"
    ]


def test_F2_how_many_revisions_are_looked_at_is_bounded() -> None:
    ecs = Ecs()
    for number in range(2 * LOOK_BACK):
        ecs.keep({**definition(), "cpu": str(1024 + number)}, TAGS)
    made(ecs)
    assert ecs.aws.names.count("ecs.describe_task_definition") == 1 + LOOK_BACK


@pytest.mark.parametrize("status", ["INACTIVE", "DELETE_IN_PROGRESS"])
def test_F2_from_a_source_that_no_service_may_use_a_new_one_is_made_even_when_nothing_changes(status: str) -> None:
    ecs = Ecs()
    ecs.revisions[1]["taskDefinition"]["status"] = status
    first, second = made(ecs, SAME), made(ecs, SAME)
    assert (first.registered, first.reason, first.differences) == (True, f"papyrus-task:1 is {status}", [])
    assert (second.registered, second.target.revision if second.target else 0) == (False, 2)


def test_F2_a_registration_without_an_answer_is_looked_for_and_not_made_twice() -> None:
    ecs, slept = Ecs(), []
    register = ecs.aws.answers["ecs.register_task_definition"]

    def lost(sent: Any) -> Any:
        register(sent)
        raise ConnectionClosedError(endpoint_url="https://ecs.us-west-2.amazonaws.com/")

    ecs.aws.answers["ecs.register_task_definition"] = lost
    result = make(Calls(ecs.aws), arn(1), APP, check=False, sleep=slept.append)
    assert (result.target.arn if result.target else "", len(ecs.registered), slept) == (arn(2), 1, [2.0])
    assert "gave no answer, but it was done: papyrus-task:2" in result.warnings[0]


def test_F2_a_registration_that_did_not_happen_is_repeated_and_then_fails() -> None:
    ecs, slept = Ecs(), []

    def cut(sent: Any) -> Any:
        if len(ecs.registered) < 3:
            raise ConnectionClosedError(endpoint_url="https://ecs.us-west-2.amazonaws.com/")
        return ecs.register(sent)

    ecs.aws.answers["ecs.register_task_definition"] = cut
    result = make(Calls(ecs.aws), arn(1), APP, check=False, sleep=slept.append)
    assert (result.target.arn if result.target else "", len(ecs.revisions), slept) == (arn(2), 2, [2.0, 4.0])
    other = Ecs()
    other.aws.answers["ecs.register_task_definition"] = lambda sent: cut({}) if other.revisions else {}
    ecs.aws.requests.clear()
    with pytest.raises(AwsFailure, match="ConnectionClosedError"):
        make(Calls(other.aws), arn(1), APP, check=False, sleep=slept.append)
    assert (len(other.registered), len(other.revisions)) == (3, 1)


def test_F2_check_mode_registers_nothing() -> None:
    ecs = Ecs()
    result = made(ecs, check=True)
    assert (result.target, result.registered, len(result.differences)) == (None, True, 1)
    assert ecs.registered == []


def test_F2_a_revision_that_lost_something_on_the_way_is_not_used() -> None:
    ecs = Ecs()

    def alter(stored: dict[str, Any]) -> None:
        del stored["runtimePlatform"]
        stored["containerDefinitions"][0]["environment"].pop()
        stored["containerDefinitions"][1]["cpu"] = 0

    ecs.alter = alter
    words = (
        "registered papyrus-task:2, but not as asked: environment LOG_LEVEL of container app, runtimePlatform is not in"
    )
    with pytest.raises(DefinitionRefused, match=words):
        made(ecs)


def test_F2_what_ecs_adds_by_itself_is_no_loss() -> None:
    ecs = Ecs()
    ecs.alter = lambda stored: stored.update(novelty="by ECS")
    assert made(ecs).warnings == []


def test_F2_the_source_is_what_the_service_is_told_to_run() -> None:
    ecs = Ecs(definition(), definition(), runs=2)
    assert source_of(Calls(ecs.aws), CLUSTER, SERVICE) == arn(2)


def test_F2_a_service_without_a_definition_of_its_own_is_answered_by_its_controller() -> None:
    ecs = Ecs()
    ecs.service = {"serviceName": SERVICE, "deploymentController": {"type": "EXTERNAL"}}
    with pytest.raises(DefinitionRefused, match=r"deployment controller EXTERNAL\): name the revision"):
        source_of(Calls(ecs.aws), CLUSTER, SERVICE)


def test_F2_a_service_that_does_not_exist_is_named() -> None:
    aws = FakeAws({"ecs.describe_services": {"services": [], "failures": [{"reason": "MISSING"}]}})
    with pytest.raises(TaskProblem, match=f"there is no service {SERVICE} in cluster {CLUSTER}"):
        source_of(Calls(aws), CLUSTER, SERVICE)


def test_F2_a_source_that_does_not_exist_is_said_with_what_to_check() -> None:
    with pytest.raises(AwsFailure, match="DescribeTaskDefinition on task definition .*papyrus-task:9 failed.* Check"):
        made(Ecs(), source=9)


class Wire:
    """ECS on loopback, whose answers have members that no botocore knows; `bodies` are the requests as sent."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.keeps = True
        self.writes: dict[str, Any] = {}
        stored = {**definition(), "taskDefinitionArn": arn(1), "revision": 1, "status": "ACTIVE", "novelRole": "r"}
        stored["containerDefinitions"][1].update(novelty={"deep": [1]}, cpu=None)
        stored["runtimePlatform"]["novelFamily"] = "x"
        self.revisions = [stored]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append((operation, sent))
                data = json.dumps(outer.answer(operation, sent)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                """Tests read `bodies`."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, operation: str, sent: dict[str, Any]) -> dict[str, Any]:
        if operation == "ListTaskDefinitions":
            return {"taskDefinitionArns": []}
        if operation == "RegisterTaskDefinition":
            stored = json.loads(json.dumps({**sent, "taskDefinitionArn": arn(2), "revision": 2, "status": "ACTIVE"}))
            if not self.keeps:
                del stored["containerDefinitions"][1]["novelty"]
            stored.update(self.writes)
            self.revisions.append(stored)
        return {"taskDefinition": self.revisions[-1]}

    def client(self, service: str) -> Any:
        url = f"http://127.0.0.1:{self.server.server_port}"
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, region_name="us-west-2", endpoint_url=url, **keys)


@pytest.fixture(name="wire")
def _wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.server.shutdown()
    wire.server.server_close()


UNKNOWN = ["runtimePlatform.novelFamily", "containerDefinitions[1].novelty", "novelRole"]


def calls_of(wire: Wire) -> Calls:
    client = wire.client("ecs")
    return Calls(lambda service: client)


def test_F2_members_that_the_installed_botocore_does_not_know_are_kept_on_the_wire(wire: Wire) -> None:
    result = make(calls_of(wire), arn(1), APP, check=False)
    sent = wire.bodies[-1]
    assert sent[0] == "RegisterTaskDefinition"
    assert sent[1]["novelRole"] == "r"
    assert sent[1]["containerDefinitions"][1]["novelty"] == {"deep": [1]}
    assert sent[1]["runtimePlatform"]["novelFamily"] == "x"
    assert sent[1]["containerDefinitions"][0]["image"] == IMAGE
    assert not {"revision", "status", "taskDefinitionArn"} & sent[1].keys()
    assert sorted(result.unknown) == sorted(UNKNOWN)
    assert result.target is not None
    assert result.warnings == []


def test_F2_a_second_registration_through_the_same_client_does_not_repeat_the_first_ones_body(wire: Wire) -> None:
    calls = calls_of(wire)
    make(calls, arn(1), APP, check=False)
    for stored in wire.revisions:
        del stored["novelRole"], stored["containerDefinitions"][1]["novelty"], stored["runtimePlatform"]["novelFamily"]
    make(calls, arn(2), Wanted("app", "", {"NEW": "1"}), check=False)
    assert {"name": "NEW", "value": "1"} in wire.bodies[-1][1]["containerDefinitions"][0]["environment"]


def test_F2_an_unknown_member_of_a_container_that_ecs_drops_is_an_error(wire: Wire) -> None:
    wire.keeps = False
    with pytest.raises(DefinitionRefused, match="not as asked: novelty of container proxy is not in it"):
        make(calls_of(wire), arn(1), APP, check=False)


def test_F2_an_unknown_member_of_the_task_that_ecs_writes_itself_is_only_said(wire: Wire) -> None:
    wire.writes = {"novelRole": "written by ECS"}
    result = make(calls_of(wire), arn(1), APP, check=False)
    assert result.registered
    assert result.warnings == ["ECS has another novelRole in papyrus-task:2; boto3 here does not know this member"]
