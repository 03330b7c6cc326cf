# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module cloudtrail_export as Ansible runs it (K1)."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jq
import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import cloudtrail_export
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.told import Told

WEST, EAST = "us-west-2", "us-east-1"
SECRET = "the-password-nobody-may-see"
START = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
ASKED = {"start": "2026-01-31T12:00:00Z", "end": "2026-01-31T13:00:00Z", "rate": 0.0, "quota": 0.0}


class World(FakeAws):
    """A region's history of `count` events, a page of two at a time."""

    def __init__(self, count: int = 5) -> None:
        super().__init__(
            {"sts.get_caller_identity": {"Account": "123456789012"}, "cloudtrail.lookup_events": self.page}
        )
        self.count = count
        self.fails: Refusal | None = None
        self.first: Callable[[], object] | None = None

    def page(self, asked: Any) -> Any:
        if self.fails is not None:
            raise self.fails
        first, self.first = self.first, None
        if first is not None:
            first()
        place = int(asked.get("NextToken") or self.count)
        inside = [n for n in range(place) if asked["StartTime"] <= START + dt.timedelta(minutes=n) <= asked["EndTime"]]
        events = [self.event(number) for number in inside[-2:][::-1]]
        return {"Events": events, **({"NextToken": str(inside[-2])} if len(inside) > 2 else {})}

    def event(self, number: int) -> dict[str, Any]:
        record = {
            "eventID": f"id-{number}",
            "eventSource": ["ecs", "s3"][number % 2] + ".amazonaws.com",
            "text": SECRET,
        }
        at = START + dt.timedelta(minutes=number)
        return {"EventId": f"id-{number}", "EventTime": at, "CloudTrailEvent": json.dumps(record)}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.setenv("AWS_REGION", WEST)
    monkeypatch.setattr("time.time", (START + dt.timedelta(days=1)).timestamp)

    def run(worlds: dict[str, World], check: bool = False, **options: Any) -> dict[str, Any]:
        made: list[dict[str, Any]] = []

        def clients(module: Any, *, region: str, **config: Any) -> World:
            made.append({"region": region, **config})
            return worlds[region]

        monkeypatch.setattr(_aws, "module_clients", clients)
        asked = {name: value for name, value in {**ASKED, **options}.items() if value is not None}
        arguments = {"path": str(tmp_path / "trail"), **asked, "_ansible_check_mode": check}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            cloudtrail_export.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert all(one.get("retries") for one in made[:-1]), "the SDK's own retries would be neither paced nor counted"
        return emitted

    return run


def ids(path: str) -> set[str]:
    with gzip.open(path) as file:
        return {json.loads(line)["eventID"] for line in file}


def test_K1_the_result_has_the_folder_the_files_and_the_program_for_jq(run: Any, tmp_path: Path) -> None:
    world = World()
    result = run({WEST: world}, filter={"sources": ["ecs"]})
    (one,) = result["exports"]
    assert (result["changed"], result["complete"], result["settled"], result["written"]) == (True, True, True, 5)
    assert Path(one["folder"]).parent == tmp_path / "trail"
    full, part = (file["path"] for file in one["files"])
    assert Path(part).name == Path(full).name.replace(".jsonl.gz", ".papyrus.jsonl.gz")
    assert (ids(full), ids(part)) == ({f"id-{n}" for n in range(5)}, {"id-0", "id-2", "id-4"})
    with gzip.open(full, "rt") as file:
        assert {line["eventID"] for line in jq.compile(one["filter_jq"]).input_text(file.read()).all()} == ids(part)
    assert json.loads(Path(one["completeness"]).read_text()) == one["report"]
    assert result["requests"] == [name for name, _sent in world.requests].count("cloudtrail.lookup_events")
    assert one["report"]["asked"] == {"start": ASKED["start"], "end": ASKED["end"]}


def test_K1_regions_are_exported_side_by_side_each_into_a_folder_of_its_own(run: Any, tmp_path: Path) -> None:
    worlds = {WEST: World(5), EAST: World(3)}
    met = threading.Barrier(2, timeout=20)
    for world in worlds.values():
        world.first = met.wait  # each waits for the other: one after the other would never begin
    result = run(worlds, regions=[WEST, EAST])
    assert [(one["region"], one["written"]) for one in result["exports"]] == [(WEST, 5), (EAST, 3)]
    assert [Path(one["folder"]).parent for one in result["exports"]] == [tmp_path / "trail" / r for r in (WEST, EAST)]
    assert result["written"] == 8


def test_K1_one_region_that_fails_does_not_keep_the_other_from_its_end(run: Any) -> None:
    worlds = {WEST: World(5), EAST: World(3)}
    worlds[EAST].fails = Refusal("AccessDeniedException", "not authorized")
    result = run(worlds, regions=[WEST, EAST])
    assert (result["failed"], result["step"], result["complete"]) == (True, "K1", False)
    assert [(one["region"], one["complete"]) for one in result["exports"]] == [(WEST, True), (EAST, False)]
    assert result["msg"].startswith("us-east-1: stopped: cloudtrail:LookupEvents on CloudTrail's event history")
    assert "the same call goes on from there" in result["msg"]
    worlds[EAST].fails = None
    before = len(worlds[WEST].requests)
    result = run(worlds, regions=[WEST, EAST])
    assert [one["resumed"] for one in result["exports"]] == [False, True]
    assert len(worlds[WEST].requests) > before


def test_K1_expired_credentials_stop_it_and_the_next_call_resumes(run: Any) -> None:
    world = World()
    world.fails = Refusal("ExpiredTokenException", "the security token is expired")
    result = run({WEST: world})
    assert "ExpiredTokenException" in result["msg"]
    assert (result["exports"][0]["resumed"], result["exports"][0]["completeness"]) == (False, "")
    world.fails = None
    again = run({WEST: world})
    assert (again["exports"][0]["resumed"], again["exports"][0]["folder"]) == (True, result["exports"][0]["folder"])


def test_K1_check_mode_asks_nothing_of_the_trail_and_makes_nothing(run: Any, tmp_path: Path) -> None:
    world = World()
    result = run({WEST: world}, check=True)
    assert (result["changed"], result["plan"]) == (True, {WEST: ""})
    assert [name for name, _sent in world.requests] == ["sts.get_caller_identity"]
    assert not (tmp_path / "trail").exists()
    world.fails = Refusal("ExpiredTokenException")
    stopped = run({WEST: world})
    assert run({WEST: world}, check=True)["plan"] == {WEST: stopped["exports"][0]["folder"]}
    assert run({WEST: world}, check=True, resume=False)["plan"] == {WEST: ""}


def test_K1_what_the_run_knows_is_not_in_the_files_and_not_in_the_result(run: Any, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    Redactor.prepare(private)
    Redactor.register(private, "rds-secret", SECRET)
    result = run({WEST: World()}, private=str(private), filter={"sources": ["ecs"]})
    for file in result["exports"][0]["files"]:
        text = gzip.decompress(Path(file["path"]).read_bytes()).decode()
        assert SECRET not in text
        assert text.count("[redacted:rds-secret:") == file["lines"]


def test_K1_an_attribute_is_asked_of_aws_and_is_an_export_of_its_own(run: Any) -> None:
    world = World()
    result = run({WEST: world}, attribute={"key": "Username", "value": "papyrus"})
    sent = [sent for name, sent in world.requests if name == "cloudtrail.lookup_events"]
    assert all(one["LookupAttributes"] == [{"AttributeKey": "Username", "AttributeValue": "papyrus"}] for one in sent)
    assert result["exports"][0]["report"]["asked"]["attribute"] == {"key": "Username", "value": "papyrus"}


def test_K1_lines_of_progress_name_their_region_when_there_are_several(run: Any, told: Told) -> None:
    run({WEST: World(), EAST: World()}, regions=[WEST, EAST])
    assert f"{WEST}: about " in told.text
    assert f"{EAST}: about " in told.text
    told.clear()
    run({WEST: World()})
    assert "about " in told.text and f"{WEST}:" not in told.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": None, "end": None, "days": 91}, "more than 90 days ago"),
        ({"start": None, "end": None, "hours": 0}, "hours must be 1 to"),
        ({"start": None, "end": None, "days": -3}, "days must be 1 to"),
        ({"start": None, "end": None, "days": 10**12}, "days must be 1 to 3650"),
        ({"start": None, "end": None, "hours": 1, "lag": float("nan")}, "lag must be 0 to 86400 seconds"),
        ({"settle": True, "delivery": float("inf")}, "delivery must be 0 to 86400 seconds"),
        ({"settle": True, "delivery": -1.0}, "delivery must be 0 to 86400 seconds"),
        ({"start": "2026-01-31 12:00", "end": None}, "is not an RFC 3339 time"),
        ({"start": "2026-01-31T13:00:00Z", "end": "2026-01-31T12:00:00Z"}, "must be before the end"),
        ({"start": "2026-01-31T13:00:00Z", "end": "2026-02-09T12:00:00Z"}, "is not yet over"),
        ({"start": "2025-01-31T13:00:00Z"}, "more than 90 days ago"),
        ({"rate": -1.0}, "rate and quota are requests a second"),
        ({"rate": float("inf")}, "rate and quota are requests a second"),
        ({"rate": float("nan")}, "rate and quota are requests a second"),
        ({"lanes": 0}, "lanes must be 1 to 8"),
        ({"lanes": 99}, "lanes must be 1 to 8"),
        ({"filter": {}}, "parameters are required|would select everything"),
        ({"filter": {"users": [""]}}, "would select everything"),
        ({"filter": {"name": "../up", "users": ["a"]}}, "the filter's name '../up'"),
        ({"regions": [WEST, WEST]}, "listed twice"),
        ({"regions": ["../up"]}, "'../up' is no region"),
        ({"regions": [""]}, "'' is no region"),
    ],
)
def test_K1_nonsense_is_refused_before_anything_is_made(
    run: Any, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    world = World()
    result = run({WEST: world, "../up": world}, **options)
    assert result["failed"] is True
    assert any(part in result["msg"] for part in said.split("|")), result["msg"]
    assert not (tmp_path / "trail").exists()
    assert "cloudtrail.lookup_events" not in [name for name, _sent in world.requests]


@pytest.mark.parametrize(
    ("rate", "quota", "refused"),
    [
        (2.0, None, ""),
        (2.01, None, "at most 2 requests a second, not 2.01"),
        (0.0, None, "at most 2 requests a second, not 0"),
        (1.0, -1.0, "rate and quota are requests a second, not 1 and -1"),
        (20.0, 20.0, ""),
        (20.5, 20.0, "at most 20 requests a second, not 20.5"),
        (0.0, 20.0, "at most 20 requests a second, not 0"),
        (500.0, 0.0, ""),
        (0.0, 0.0, ""),
    ],
)
def test_K1_no_more_is_asked_than_the_quota(
    run: Any, tmp_path: Path, rate: float, quota: float | None, refused: str
) -> None:
    result = run({WEST: World()}, rate=rate, quota=quota)
    assert ("failed" in result) is bool(refused)
    assert refused in result.get("msg", "")
    assert (tmp_path / "trail").exists() is not bool(refused)
