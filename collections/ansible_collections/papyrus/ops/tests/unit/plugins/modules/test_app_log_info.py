# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module app_log_info: what an app has logged about some requests (K3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _app_log, _aws
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import app_log_info
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

GROUP, SINCE = "/ecs/papyrus-task", "2026-01-31T12:00:00Z"
ONE, TWO = "1" * 32, "2" * 32
FIRST = f'{{"message": "request", "request_id": "{ONE}", "path": "/healthz"}}'
SECOND = f'{{"request": {{"ids": ["{TWO}"]}}, "path": "/dbcheck"}}'
DEFINITION = "arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:7"


def event(number: int, message: str) -> dict[str, Any]:
    return {"eventId": f"{number:056d}", "timestamp": 1769860800000 + number, "message": message}


def definition(driver: str = "awslogs", **options: str) -> dict[str, Any]:
    given = {"awslogs-group": GROUP, "awslogs-region": "us-west-2", "awslogs-stream-prefix": "app", **options}
    container = {"name": "app", "logConfiguration": {"logDriver": driver, "options": given}}
    return {"taskDefinition": {"taskDefinitionArn": DEFINITION, "containerDefinitions": [container]}}


class Log:
    """A log group into which each look brings `arriving` lines more; searched as CloudWatch Logs does by terms."""

    def __init__(self, *messages: str, arriving: int = 100, page: int = 100) -> None:
        self.messages = messages
        self.arriving = arriving
        self.page = page
        self.looks = 0
        self.aws = FakeAws({"logs.filter_log_events": self.answer, "ecs.describe_task_definition": definition()})

    def answer(self, sent: Mapping[str, Any]) -> Mapping[str, Any]:
        assert sent["logGroupName"] == GROUP and sent["startTime"] == 1769860800000 - 300_000
        begin = int(sent.get("nextToken") or 0)
        self.looks += begin == 0
        terms = [term.strip('?"') for term in sent["filterPattern"].split(" ")]
        there = [event(number, text) for number, text in enumerate(self.messages)][: self.looks * self.arriving]
        page = there[begin : begin + self.page]
        found = [each for each in page if any(term in each["message"] for term in terms)]
        more = {"nextToken": str(begin + self.page)} if len(there) > begin + self.page else {}
        return {"events": found, **more}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    wait = _app_log.wait
    monkeypatch.setattr(_app_log, "wait", lambda *given: wait(*given, clock=lambda: now[0], sleep=sleep))

    def run(aws: FakeAws, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda module: aws)
        given = {"request_ids": [ONE, TWO], "log_group": GROUP, "since": SINCE, **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            app_log_info.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def test_K3_lines_of_the_requests_are_returned_as_they_were_logged_and_no_others(run: Any) -> None:
    others = ('{"request_id": "somebody else"}', f'{{"message": "told of {ONE}"}}')
    log = Log(others[0], FIRST + "\n", others[1], SECOND)
    result = run(log.aws)
    assert (result["status"], result["reason"]) == ("ok", "2 JSON lines about all 2 requests")
    assert (result["lines"], result["missing"], result["log_group"]) == ([FIRST, SECOND], [], GROUP)
    assert result["request_ids"] == ["request-1"]


def test_K3_a_line_that_comes_late_is_waited_for_through_empty_pages(run: Any) -> None:
    log = Log(FIRST, "noise", "noise", SECOND, arriving=1, page=1)
    result = run(log.aws, interval=2)
    assert (result["status"], result["waited"], log.looks) == ("ok", 6.0, 4)
    assert result["lines"] == [FIRST, SECOND]


def test_K3_a_request_without_a_line_is_ng_after_the_wait_and_named(run: Any) -> None:
    log = Log(FIRST)
    result = run(log.aws, timeout=10, interval=4)
    assert (result["status"], result["missing"], result["lines"]) == ("ng", [TWO], [FIRST])
    assert result["reason"] == (f"the log has no line about 1 of 2 requests: {TWO} (looked for 10 s in {GROUP})")
    assert log.looks == 4


def test_K3_an_app_that_logs_no_json_is_told_apart_from_one_that_logs_nothing(run: Any) -> None:
    result = run(Log(FIRST, f"GET /dbcheck 200 {TWO}").aws, timeout=0)
    assert result["status"] == "ng"
    assert result["reason"].startswith(f"the log has {TWO}, but in no JSON object that has it as a value")


def test_K3_the_log_group_is_the_one_of_the_container_that_answered(run: Any) -> None:
    log = Log(FIRST, SECOND)
    found = run(log.aws, log_group="", task_definitions=[DEFINITION, DEFINITION], container="app")
    assert (found["status"], found["log_group"]) == ("ok", GROUP)
    assert log.aws.names.count("ecs.describe_task_definition") == 1


@pytest.mark.parametrize(
    ("answer", "options", "words"),
    [
        (definition("awsfirelens"), {}, "its log goes to the log driver awsfirelens"),
        (definition(**{"awslogs-region": "eu-west-1"}), {}, "is in eu-west-1, and us-west-2 is asked"),
        (definition(), {"task_definitions": []}, "no task is known whose log could be searched"),
        (definition(), {"request_ids": []}, "no request id is given"),
        (definition(), {"request_ids": ['a"b']}, "a log cannot be searched for the request id"),
    ],
)
def test_K3_what_cannot_be_searched_is_said(run: Any, answer: Any, options: dict[str, Any], words: str) -> None:
    aws = FakeAws({"ecs.describe_task_definition": answer})
    given = {"log_group": "", "task_definitions": [DEFINITION], "container": "app", **options}
    result = run(aws, **given)
    assert result["failed"] and words in result["msg"], result["msg"]
    assert result["step"] == "K3"


def test_K3_a_missing_right_names_the_call(run: Any) -> None:
    def refuse(sent: Mapping[str, Any]) -> Mapping[str, Any]:
        raise Refusal("AccessDeniedException")

    result = run(FakeAws({"logs.filter_log_events": refuse}))
    assert f"logs:FilterLogEvents on log group {GROUP} failed: AccessDeniedException" in result["msg"]


def test_K3_no_secret_of_the_run_is_in_the_lines(run: Any, tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "password", "the-password-nobody-may-see")
    line = f'{{"request_id": "{ONE}", "message": "could not log in with the-password-nobody-may-see"}}'
    result = run(Log(line).aws, request_ids=[ONE], private=str(tmp_path))
    assert "nobody-may-see" not in json.dumps(result)
    assert json.loads(result["lines"][0])["message"].startswith("could not log in with [redacted:password:")


def test_K3_many_ids_go_into_as_few_patterns_as_the_longest_allows() -> None:
    ids = [f"{number:032d}" for number in range(60)]
    made = list(_app_log.patterns(ids))
    assert all(len(pattern) <= 1024 for pattern in made) and len(made) == 3
    assert " ".join(made).split(" ") == [f'?"{one}"' for one in ids]


def test_K3_a_flood_of_lines_is_cut_and_said_so() -> None:
    question = _app_log.Question(GROUP, (ONE,), _app_log.dt.datetime(2026, 1, 31, 12, tzinfo=_app_log.dt.UTC))
    found = _app_log.look(_app_log.Calls(Log(*[FIRST] * 1001, arriving=2000, page=500).aws), question)
    assert (len(found.lines), found.cut) == (1000, True)
    assert "only the first 1000 are kept" in _app_log.judge([ONE], found).reason
