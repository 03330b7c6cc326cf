# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A trace has shapes, codes, states and times; no value of a customer can be in it, and no call breaks for it (L3)."""

from __future__ import annotations

import json
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _answers, _aws, _trace, _trace_file
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._run_close import close_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import open_run
from aws_endpoint import AwsEndpoint
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError, ConnectionClosedError
from wire_aws import SESSION

ACCOUNT, SECRET, HOST = "123456789012", "s3cret-Pa55word", "db.corp.example.com"
TASK = f"arn:aws:ecs:us-west-2:{ACCOUNT}:task/blue/0123456789abcdef0123456789abcdef"
KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": SECRET, "region_name": "us-west-2"}


def task(last: str, **more: Any) -> dict[str, Any]:
    return {"taskArn": TASK, "lastStatus": last, "desiredStatus": "RUNNING", "tags": [{"key": HOST}], **more}


class Wire:
    """A recorded client whose answers are given, the last of them for ever."""

    def __init__(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
        config = _aws.retry_config(retries={"mode": "standard", "total_max_attempts": 3})
        client = SESSION.create_client(service, config=config, **KEYS)
        self.client = _trace.recorded(_answers.only_whole_answers(client))
        self.answers: list[tuple[int, bytes]] = []
        self.client.meta.events.register("before-send", self._answer)

    def _answer(self, request: Any, **more: Any) -> AWSResponse:
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return AWSResponse(request.url, status, HTTPHeaders.from_dict({"content-length": str(len(body))}), _Raw(body))

    def says(self, *answers: Any) -> None:
        self.answers = [(200, json.dumps(one).encode()) if isinstance(one, dict) else one for one in answers]


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_more: Any, **_named: Any) -> Iterator[bytes]:
        yield self._body


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    """The private folder of a run with a trace; this process records for it."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    Redactor.prepare(folder)
    _trace.begin(folder, str(tmp_path / "trace.jsonl"))
    yield folder
    _trace.record_into(None, "")


def raw(private: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (private / _trace.RAW_FILE).read_bytes().splitlines()]


def calls(private: Path) -> list[dict[str, Any]]:
    return [line for line in raw(private) if line["kind"] == "call"]


def exported(private: Path) -> list[dict[str, Any]]:
    path = private.parent / "trace.jsonl"
    said = _trace_file.export(private, private.parent / "bundle", str(path), "PASSED")
    assert said.startswith(f"Trace: {path} "), said
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def test_L3_a_call_is_told_by_names_types_and_words_of_aws(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("ecs", monkeypatch)
    wire.says({"tasks": [task("PENDING"), task("RUNNING", group="service:blue")], "failures": []})
    wire.client.describe_tasks(cluster="blue", tasks=[TASK], include=["TAGS"])
    [call] = calls(private)
    assert call["request"] == {"cluster": "string", "tasks": ["string"], "include": ["string=TAGS"]}
    assert call["response"] == {
        "failures": [],
        "tasks": [
            {
                "desiredStatus": "string=RUNNING",
                "lastStatus": "string=PENDING|RUNNING",
                "tags": [{"key": "string"}],
                "taskArn": "string",
                "group?": "string",
            }
        ],
    }
    assert (call["service"], call["operation"], call["status"], call["code"]) == ("ecs", "DescribeTasks", 200, "")
    assert (call["who"], call["retried"]) == ("run_open", [])


def test_L3_refusals_and_what_was_tried_again_are_told_by_their_codes(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire("ecs", monkeypatch)
    throttled = (400, json.dumps({"__type": "ThrottlingException", "message": f"{HOST} is too fast"}).encode())
    refused = (400, json.dumps({"__type": "ClusterNotFoundException", "message": f"no {HOST}"}).encode())
    wire.says(throttled, {"clusterArns": []})
    wire.client.list_clusters()
    wire.says(refused)
    with pytest.raises(ClientError):
        wire.client.list_tasks(cluster=HOST)
    wire.says((200, b'{"clus'), (200, b'{"clus'))
    monkeypatch.setattr(wire, "_answer", None)
    wire.client.meta.events.register_first(
        "before-send",
        lambda request, **more: AWSResponse(
            request.url, 200, HTTPHeaders.from_dict({"content-length": "9000"}), _Raw(b'{"clus')
        ),
    )
    with pytest.raises(ConnectionClosedError):
        wire.client.list_clusters()
    told = [(call["status"], call["code"], call["retried"], call["response"]) for call in calls(private)]
    assert told[0] == (200, "", ["ThrottlingException"], {"clusterArns": []})
    assert told[1] == (400, "ClusterNotFoundException", [], None)
    assert told[2][:2] == (0, "ConnectionClosedError") and len(told[2][2]) == 2
    assert HOST not in (private / _trace.RAW_FILE).read_text("utf-8")


def test_L3_a_run_without_a_trace_records_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _trace.begin(tmp_path, "")
    _trace.record_into(tmp_path, "guard")
    wire = Wire("ecs", monkeypatch)
    wire.says({"clusterArns": []})
    wire.client.list_clusters()
    assert list(tmp_path.iterdir()) == []
    assert _trace_file.export(tmp_path, tmp_path, str(tmp_path / "trace.jsonl"), "PASSED") == ""


def test_L3_a_trace_that_cannot_be_written_breaks_no_call_and_is_counted(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire("ecs", monkeypatch)
    wire.says({"clusterArns": [TASK]})
    monkeypatch.setattr(_trace, "shape_of", lambda *given: 1 / 0)
    assert wire.client.list_clusters()["clusterArns"] == [TASK]
    monkeypatch.undo()
    with (private / _trace.RAW_FILE).open("ab") as file:
        file.write(b'{"kind":"call","cut\n')
    assert exported(private)[-1] == {"kind": "end", "calls": 0, "lost": 4}
    (private / _trace.RAW_FILE).unlink()
    assert wire.client.list_clusters()["clusterArns"] == [TASK]


def test_L3_lines_of_many_at_once_stay_whole(private: Path) -> None:
    [sink] = _trace._sink
    writers = [
        threading.Thread(target=lambda: [_trace.append(sink, kind="lost", much="x" * 9000) for _each in range(40)])
        for _writer in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(raw(private)) == 1 + 8 * 40


def test_L3_states_are_told_as_what_was_seen_over_time(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("elbv2", monkeypatch)

    def health(state: str, reason: str) -> tuple[int, bytes]:
        return 200, (
            "<DescribeTargetHealthResponse><DescribeTargetHealthResult><TargetHealthDescriptions><member>"
            f"<Target><Id>10.1.2.3</Id></Target><TargetHealth><State>{state}</State>{reason}</TargetHealth></member>"
            "</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>"
        ).encode()

    waits = health("initial", "<Reason>Elb.InitialHealthChecking</Reason><Description>10.1.2.3</Description>")
    wire.answers = [waits, waits, health("healthy", "")]
    for _look in range(4):
        wire.client.describe_target_health(TargetGroupArn=f"arn:aws:elasticloadbalancing:us-west-2:{ACCOUNT}:tg/x/1")
    [states] = [line for line in exported(private) if line["kind"] == "states"]
    assert (states["of"], states["number"]) == ("target", 1)
    initial = {"TargetHealth.State": "initial", "TargetHealth.Reason": "Elb.InitialHealthChecking"}
    assert [(one["state"], one["times"]) for one in states["seen"]] == [
        (initial, 2), ({"TargetHealth.State": "healthy"}, 2)
    ]  # fmt: skip
    assert states["seen"][0]["first"] <= states["seen"][0]["last"] <= states["seen"][1]["first"]


def test_L3_no_value_of_the_run_is_in_its_trace(private: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative: account, ARN, names, addresses, a known secret, a run's id, the run's header."""
    values = [ACCOUNT, TASK, HOST, SECRET, "10.1.2.3", "20261127T101010Z-abc234", "X7-run-header-value", "us-west-2"]
    Redactor.register(private, "password", SECRET)
    wire = Wire("ecs", monkeypatch)
    wire.says(
        {
            "tasks": [
                task(HOST, group=SECRET, stoppedReason=values[5], stopCode=SECRET, availabilityZone="us-west-2a",
                     attachments=[{"id": TASK, "type": HOST, "status": "10.1.2.3", "details": [{"value": "10.1.2.3"}]}])
            ]
        }
    )  # fmt: skip
    environment = [{"name": HOST, "value": SECRET}, {"name": "X7-run-header-value", "value": ACCOUNT}]
    wire.client.run_task(
        cluster=HOST, taskDefinition=TASK, startedBy=values[5],
        overrides={"containerOverrides": [{"name": SECRET, "environment": environment}]},
        tags=[{"key": HOST, "value": SECRET}],
    )  # fmt: skip
    refused = {"__type": f"{HOST}.1", "message": SECRET}
    wire.says((400, json.dumps(refused).encode()))
    with pytest.raises(ClientError):
        wire.client.list_tasks(cluster=HOST)
    (private.parent / "bundle").mkdir()
    run = {"endpoint": f"https://{HOST}", "account_id": ACCOUNT, "run_id": values[5], "playbook": "alb_smoke",
           "versions": {"boto3": "1.44.0", "git": None}, "started_at": "2026-11-27T10:10:10Z"}  # fmt: skip
    (private.parent / "bundle" / "run.json").write_text(json.dumps(run), "utf-8")
    lines = exported(private)
    text = (private.parent / "trace.jsonl").read_text("utf-8")
    for value in values:
        assert value not in text, value
    assert lines[0]["where"] == "AWS_ENDPOINT_URL" and lines[0]["versions"] == {"boto3": "1.44.0"}
    assert [line["code"] for line in lines if line["kind"] == "call"] == ["", "other"]
    [states] = [line["seen"] for line in lines if line["kind"] == "states" and line["of"] == "task"]
    assert states[0]["state"]["lastStatus"] == "other"
    assert stat.S_IMODE((private.parent / "trace.jsonl").stat().st_mode) == 0o600
    assert not re.search(r"[0-9a-f]{16}", text)  # what things are told apart by goes with the private folder


def test_L3_a_trace_replaces_nothing(private: Path) -> None:
    path = private.parent / "trace.jsonl"
    path.write_text("somebody's", "utf-8")
    with pytest.raises(ValueError, match="a trace replaces nothing"):
        _trace_file.check_trace_file(path)
    said = _trace_file.export(private, private, str(path), "PASSED")
    assert said.startswith(f"NO TRACE in {path}: FileExistsError")
    assert path.read_text("utf-8") == "somebody's"
    with pytest.raises(ValueError, match="is no folder"):
        _trace_file.check_trace_file(private / "none" / "trace.jsonl")


def test_L3_what_the_run_knows_as_a_secret_is_taken_out_of_a_trace_whatever_put_it_there(private: Path) -> None:
    [sink] = _trace._sink
    line = {
        "kind": "call",
        "at": 0,
        "ms": 1,
        "service": "ecs",
        "operation": "X",
        "request": {"authorizationToken": "string"},
    }
    _trace.append(sink, **line, status=200, code=SECRET, retried=[], response={SECRET: SECRET}, states=[])
    Redactor.register(private, "password", SECRET)
    lines = exported(private)
    assert SECRET not in (private.parent / "trace.jsonl").read_text("utf-8")
    assert [one["shape"] for one in lines if one["kind"] == "shape"][0] == {"authorizationToken": "string"}


def test_L3_a_run_that_is_closed_has_written_its_trace(
    tmp_path: Path, endpoint: AwsEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    options = {
        "evidence_root": str(tmp_path / "runs"), "ledger": str(tmp_path / "ledger"), "service": HOST,
        "region": "us-west-2", "tag_prefix": "papyrus", "lease_minutes": 60, "playbook": "alb_smoke",
        "trace_file": str(tmp_path / "trace.jsonl"),
    }  # fmt: skip
    run = open_run(options, {}, controller=None, environ={"AWS_ENDPOINT_URL": endpoint.url})
    _trace.record_into(run["private"], "papyrus.ops.alb_targets")
    _aws.client_factory({"region_name": "us-west-2"})("elbv2").describe_load_balancers()
    end = close_run(run, {}, [])
    assert end["trace"] == f"Trace: {tmp_path / 'trace.jsonl'} (1 calls, 0 lost)" and end["trace"] in end["text"]
    lines = [json.loads(line) for line in (tmp_path / "trace.jsonl").read_bytes().splitlines()]
    assert (lines[0]["where"], lines[0]["playbook"]) == ("AWS_ENDPOINT_URL", "alb_smoke")
    assert [line["who"] for line in lines if line["kind"] == "call"] == ["alb_targets"]
    assert not Path(run["private"]).exists()
    with pytest.raises(ValueError, match="a trace replaces nothing"):
        open_run(options, {}, controller=None, environ={})
    _trace.record_into(None, "")


def test_L3_what_opens_no_run_can_have_a_trace_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    private, path = tmp_path / "private", tmp_path / "trace.jsonl"
    private.mkdir()
    assert _trace_file.record_alone(private, None, "doctor_info")("PASSED") == "" and list(private.iterdir()) == []
    end = _trace_file.record_alone(private, str(path), "doctor_info")
    wire = Wire("ecs", monkeypatch)
    wire.says({"clusterArns": [TASK]})
    wire.client.list_clusters()
    assert end("PASSED") == f"Trace: {path} (1 calls, 0 lost)"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert (lines[0]["where"], lines[0]["playbook"], lines[0]["result"]) == ("AWS", "doctor", "PASSED")
    assert [line["who"] for line in lines if line["kind"] == "call"] == ["doctor_info"]
    _trace.record_into(None, "")
