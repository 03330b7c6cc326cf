# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules config_export and logs_export as Ansible runs them (K2, K3)."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _export_job
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import config_export, logs_export
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws
from ansible_collections.papyrus.ops.tests.unit.told import Told
from ansible_collections.papyrus.ops.tests.unit.wire_aws import Refused, Wire

WEST, EAST = "us-west-2", "us-east-1"
START = 1_769_860_800.0  # 2026-01-31T12:00:00Z
ASKED = {"start": "2026-01-31T12:00:00Z", "end": "2026-01-31T13:00:00Z", "rate": 0.0, "quota": 0.0}
SECRET = "the-password-nobody-may-see"
GROUP, SERVICE, TASK = "/ecs/papyrus", "AWS::ECS::Service", "AWS::ECS::TaskDefinition"

Answer = Callable[[str, dict[str, Any]], dict[str, Any]]


def logs(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """A group with five lines in an hour, two of them no JSON; a page has two."""
    if operation == "DescribeLogGroups":
        return {"logGroups": [{"logGroupName": GROUP}]}
    lines = [f'{{"request_id": "r-{n}", "password": "{SECRET}"}}' if n % 2 else f"r-{n} {SECRET}" for n in range(5)]
    place = int(asked.get("nextToken", 0))
    events = [
        {"eventId": f"e-{n}", "timestamp": round(START * 1000) + n, "message": lines[n]}
        for n in range(5)
        if asked["startTime"] <= round(START * 1000) + n <= asked["endTime"]
    ]
    more = {"nextToken": str(place + 2)} if place + 2 < len(events) else {}
    return {"events": events[place : place + 2], **more}


def config(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Two services, one of which has an item in the hour; task definitions are refused."""
    if operation == "DescribeConfigurationRecorderStatus":
        return {"ConfigurationRecordersStatus": [{"name": "default", "recording": True}]}
    if operation == "ListDiscoveredResources":
        if asked["resourceType"] == TASK:
            raise Refused("ValidationException", "not here")
        return {"resourceIdentifiers": [{"resourceType": SERVICE, "resourceId": name} for name in ("a", "b")]}
    item = {"configurationItemCaptureTime": START + 1, "configurationStateId": "1", "configuration": SECRET}
    return {"configurationItems": [item | {"resourceId": "a"}] if asked["resourceId"] == "a" else []}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.setenv("AWS_REGION", WEST)
    monkeypatch.setattr("time.time", lambda: START + 86_400)

    def run(module: ModuleType, answers: Mapping[str, Answer], check: bool = False, **options: Any) -> dict[str, Any]:
        service = "config" if module is config_export else "logs"
        wires = {region: Wire(service, answer) for region, answer in answers.items()}
        sts = FakeAws({"sts.get_caller_identity": {"Account": "123456789012"}})
        made: list[dict[str, Any]] = []

        def clients(wanted: Any, *, region: str, **config: Any) -> Callable[[str], Any]:
            made.append(config)
            return lambda service: sts(service) if service == "sts" else wires[region].client

        monkeypatch.setattr(_aws, "module_clients", clients)
        more = {"resource_types": [SERVICE, TASK]} if module is config_export else {"log_group": GROUP}
        asked = {name: value for name, value in {**ASKED, **more, **options}.items() if value is not None}
        arguments = {"path": str(tmp_path / "out"), **asked, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        emitted["sent"] = {region: wire.sent for region, wire in wires.items()}
        once = {"mode": "standard", "total_max_attempts": 1}
        assert all(one["retries"] == once for one in made[:-1]), "the SDK's own retries are neither paced nor counted"
        return emitted

    return run


def lines(result: dict[str, Any], number: int = 0) -> list[Any]:
    (file,) = result["exports"][number]["files"]
    with gzip.open(file["path"]) as opened:
        return [json.loads(line) for line in opened]


def test_K3_the_result_has_the_file_and_the_report_and_what_was_expected(run: Any, tmp_path: Path) -> None:
    result = run(logs_export, {WEST: logs}, expect=["r-0", "r-3"])
    (one,) = result["exports"]
    assert (result["changed"], result["complete"], result["settled"], result["written"]) == (True, True, True, 5)
    assert (result["expected"], result["missing"]) == (["r-0", "r-3"], [])
    assert Path(one["folder"]).parent == tmp_path / "out"
    assert Path(one["files"][0]["name"]).name.startswith("log_events_2026")
    assert json.loads(Path(one["completeness"]).read_text()) == one["report"]
    assert one["report"]["counts"]["malformed"] == 3
    assert one["report"]["asked"] == {"start": ASKED["start"], "end": ASKED["end"], "log_group": GROUP}
    assert result["requests"] == len(result["sent"][WEST]) == 4


def test_K3_what_was_expected_and_is_not_there_fails_with_the_export_kept(run: Any) -> None:
    result = run(logs_export, {WEST: logs}, expect=["r-9", "r-1", "r-8"])
    assert (result["failed"], result["step"]) == (True, "K3")
    assert result["msg"] == f"no line of {GROUP} within this time has r-9, r-8"
    assert (result["expected"], result["missing"], len(lines(result))) == (["r-1"], ["r-9", "r-8"], 5)


def test_K3_of_an_export_that_stopped_it_is_said_why_and_not_what_is_missing(run: Any) -> None:
    def broken(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("nextToken") == "2":
            raise Refused("AccessDeniedException", "not authorized")
        return logs(operation, asked)

    result = run(logs_export, {WEST: broken}, expect=["r-1"])
    assert result["failed"] and "AccessDeniedException: not authorized" in result["msg"]
    assert "the same call goes on from there" in result["msg"]
    assert (result["expected"], result["missing"]) == ([], ["r-1"])
    again = run(logs_export, {WEST: logs}, expect=["r-1"])
    assert again["exports"][0]["resumed"] and again["expected"] == ["r-1"] and len(lines(again)) == 5
    assert [asked.get("nextToken") for _name, asked in again["sent"][WEST]] == ["2", "4"]


def test_K2_the_result_has_every_type_and_what_was_refused(run: Any) -> None:
    result = run(config_export, {WEST: config})
    (one,) = result["exports"]
    assert (result["changed"], result["complete"], result["written"]) == (True, True, 1)
    assert [line["resourceId"] for line in lines(result)] == ["a"]
    assert one["files"][0]["name"].startswith("config_items_2026")
    report = one["report"]
    assert report["counts"] | {"units": 2} == report["counts"]
    assert (report["counts"]["resources"], report["counts"]["without_items"]) == (2, 1)
    assert [(told["type"], told.get("note")) for told in report["types"]] == [
        (SERVICE, None),
        (TASK, "AWS refuses to list this type: not here"),
    ]
    assert report["asked"] == {"start": ASKED["start"], "end": ASKED["end"], "resource_types": [SERVICE, TASK]}
    assert result["requests"] == len(result["sent"][WEST])


def test_K2_deleted_resources_are_asked_as_the_option_says(run: Any) -> None:
    def gone(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        found = config(operation, asked)
        for one in found.get("resourceIdentifiers", []):
            one["resourceDeletionTime"] = START - 90_000
        return found

    assert run(config_export, {WEST: gone})["written"] == 0
    result = run(config_export, {WEST: gone}, all_deleted=True)
    assert result["written"] == 1 and result["exports"][0]["report"]["asked"]["all_deleted"] is True


def test_K2_without_a_recorder_it_is_said_what_to_do(run: Any) -> None:
    def none(operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        return {"ConfigurationRecordersStatus": []}

    result = run(config_export, {WEST: none, EAST: config}, regions=[WEST, EAST])
    assert (result["failed"], result["step"]) == (True, "K2")
    assert result["msg"].startswith("us-west-2: stopped: ") and "PutConfigurationRecorder" in result["msg"]
    assert [one["complete"] for one in result["exports"]] == [False, True]


def test_K2_that_every_type_is_refused_is_a_failure(run: Any) -> None:
    result = run(config_export, {WEST: config}, resource_types=[TASK])
    assert result["failed"] and result["msg"] == f"us-west-2: AWS lists none of the types: {TASK}: not here"


@pytest.mark.parametrize(("module", "answer"), [(logs_export, logs), (config_export, config)])
def test_K2_K3_check_mode_asks_for_nothing_and_makes_nothing(
    run: Any, tmp_path: Path, module: ModuleType, answer: Answer
) -> None:
    result = run(module, {WEST: answer}, check=True)
    assert (result["changed"], result["plan"], result["sent"]) == (True, {WEST: ""}, {WEST: []})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("module", "answer"), [(logs_export, logs), (config_export, config)])
def test_K2_K3_what_the_run_knows_is_not_in_the_file(
    run: Any, tmp_path: Path, module: ModuleType, answer: Answer
) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    Redactor.prepare(private)
    Redactor.register(private, "rds-secret", SECRET)
    result = run(module, {WEST: answer}, private=str(private))
    text = gzip.decompress(Path(result["exports"][0]["files"][0]["path"]).read_bytes()).decode()
    assert SECRET not in text and text.count("[redacted:") == result["written"] == len(lines(result))


@pytest.mark.parametrize(("module", "answer"), [(logs_export, logs), (config_export, config)])
def test_K2_K3_regions_have_folders_of_their_own_and_progress_names_them(
    run: Any, told: Told, tmp_path: Path, module: ModuleType, answer: Answer
) -> None:
    result = run(module, {WEST: answer, EAST: answer}, regions=[WEST, EAST])
    assert [Path(one["folder"]).parent for one in result["exports"]] == [tmp_path / "out" / r for r in (WEST, EAST)]
    assert result["complete"] and len(lines(result, 1)) == len(lines(result, 0))
    assert all(f"{region}: about " in told.text for region in (WEST, EAST))


@pytest.mark.parametrize(
    ("module", "options", "said"),
    [
        (logs_export, {"rate": 5.5}, "at most 5 requests a second, not 5.5"),
        (config_export, {"rate": 10.5}, "at most 10 requests a second, not 10.5"),
        (config_export, {"rate": 0.0}, "not 0"),
        (logs_export, {"rate": 1.0, "lanes": 9}, "lanes must be 1 to 8"),
        (logs_export, {"rate": 1.0, "end": "2026-03-01T00:00:00Z"}, "is not yet over"),
        (config_export, {"rate": 1.0, "regions": [WEST, WEST]}, "listed twice"),
    ],
)
def test_K2_K3_what_makes_no_sense_is_refused_before_anything_is_asked(
    run: Any, tmp_path: Path, module: ModuleType, options: dict[str, Any], said: str
) -> None:
    result = run(module, {WEST: logs}, quota=None, **options)
    assert result["failed"] and result["msg"].startswith("nothing was exported: ") and said in result["msg"]
    assert result["sent"] == {WEST: []} and not (tmp_path / "out").exists()


@pytest.mark.parametrize("given", [{}, {"settle": True, "resume": False, "lanes": 5, "delivery": 7.5}])
def test_K2_K3_options_of_every_export_reach_it(
    run: Any, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    wanted = {"settle": False, "resume": True, "lanes": 2, "delivery": 300.0, **given}
    seen: list[dict[str, Any]] = []

    def export(source: Any, request: Any, root: Path, **options: Any) -> None:
        seen.append({**{name: options.get(name) for name in wanted}, "delivery": source.delivery})
        raise ExportRefused("seen")

    monkeypatch.setattr(_export_job, "export", export)
    assert run(logs_export, {WEST: logs}, **given)["msg"] == "us-west-2: seen"
    assert seen == [wanted]
