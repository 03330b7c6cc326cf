# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sweep as a module: predicts, deletes, leaves alone what lives here, fails with what is left (N1, N4, C7)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import process
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import FolderLedger
from ansible_collections.papyrus.ops.plugins.module_utils._names import file_stamp, rfc3339, utc_now
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Limits, Settings
from ansible_collections.papyrus.ops.plugins.modules import run_leftovers, run_leftovers_info, run_unclosed_info
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.sweep_world import World, marks, text
from ansible_collections.papyrus.ops.tests.unit.told import Told

RUN, YOUNG = "20260131T120000Z-abc234", "20260131T132500Z-yyy222"
LATER = "2026-01-31T14:25:00Z"
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """An account at half past one, and a machine on which nothing of a run is alive."""
    made = World()
    made.aws.date = "Sat, 31 Jan 2026 13:30:00 GMT"
    for module in (run_leftovers, run_leftovers_info):
        monkeypatch.setattr(module, "module_clients", lambda dummy: made.aws)
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return made


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a module's main() and returns the JSON that it printed."""

    def run(module: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def alive(run_id: str, root: Path) -> None:
    """A private folder of a run whose controller is this very process."""
    private = root / f"papyrus-{run_id[-6:]}-x"
    private.mkdir(0o700)
    own = process(os.getpid())
    Settings(
        run_id=run_id, suffix=run_id[-6:], folder="", private=str(private), ledger="", service="svc",
        region="us-west-2", tag_prefix="papyrus", expires_at="2026-01-31T13:00:00Z", controller=own, stack=None,
        limits=Limits(),
    ).save()  # fmt: skip


def test_N1_the_module_deletes_once_and_predicts_before(world: World, call: Call, told: Told) -> None:
    world.run(RUN)
    there = world.names()
    predicted = call(run_leftovers, check=True, service="svc")
    assert predicted["changed"] and world.names() == there and not predicted["gone"]
    assert {(each["age"], each["swept"]) for each in predicted["leftovers"]} == {(5400, True)}  # by AWS' clock
    done = call(run_leftovers, service="svc")
    assert done["changed"] and done["gone"] and world.names() == {"sg-tasks"}
    assert {each["id"] for each in predicted["deleted"]} == {each["id"] for each in done["deleted"]}
    assert predicted["diff"]["before"].splitlines() and done["diff"]["after"] == ""
    assert "found 1 load balancer" in told.text and "1 security group deleted" in told.text
    assert done["calls"]["DeleteLoadBalancer"] == 1 and done["by_hand"] == [] and done["not_deleted"] == []
    assert [each["name"] for each in done["evidence"]][-1] == "alb_sg_verify_gone.json"
    again = call(run_leftovers, service="svc")
    assert not again["changed"] and again["gone"]


def test_N1_the_module_never_touches_a_run_that_lives_on_this_machine(world: World, call: Call, tmp_path: Path) -> None:
    world.run(RUN)
    there = world.names()
    alive(RUN, tmp_path)
    result = call(run_leftovers, service="svc")
    assert result["gone"] and not result["changed"] and world.names() == there
    assert f"process {os.getpid()}" in result["untouched"][0]
    named = call(run_leftovers, service="svc", run_ids=[RUN])
    assert named["failed"] and "its run is alive on this machine" in named["msg"] and world.names() == there


def test_C7_the_module_fails_with_what_is_still_there_and_how_it_is_deleted(world: World, call: Call) -> None:
    world.run(RUN)
    world.refuse["elbv2.delete_target_group"] = [Refusal("AccessDenied", "not you")]
    result = call(run_leftovers, service="svc", step="B9", tolerate_held=True)
    assert result["failed"] and result["step"] == "B9" and "AccessDenied: not you" in result["msg"]
    assert [each["kind"] for each in result["not_deleted"]] == ["target_group"]
    assert result["by_hand"][0].startswith("aws elbv2 delete-target-group --region us-west-2")
    assert result["evidence"][0]["status"] == "ng"


def test_B9_what_aws_only_holds_is_no_failure_where_that_is_tolerated(world: World, call: Call) -> None:
    world.run(RUN)
    world.interface_seconds = 999
    result = call(run_leftovers, service="svc", timeout=0, step="B9", tolerate_held=True)
    assert not result.get("failed") and not result["gone"] and result["changed"]
    assert {each["kind"] for each in result["not_deleted"]} == {"security_group", "network_interface"}
    assert result["evidence"][0]["status"] == "info"
    assert call(run_leftovers, service="svc", timeout=0)["failed"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"service": " "},
        {"service": "svc", "run_ids": ["abc234"]},
        {"service": "svc", "tag_prefix": "aws"},
        {"service": "svc", "interval": 0},
        {},
    ],
)
def test_N1_what_could_mean_everything_is_refused_before_anything_is_asked(
    world: World, call: Call, arguments: Any
) -> None:
    assert call(run_leftovers, **arguments)["failed"]
    assert world.aws.names == []


def test_N1_the_list_says_age_and_what_a_sweep_would_do(world: World, call: Call) -> None:
    world.run(RUN)
    world.run(YOUNG, marks(YOUNG, LATER), described=text(YOUNG, LATER))
    found = call(run_leftovers_info, all=True, service="svc")
    said = {(each["run_id"], each["age"], each["swept"], each["reason"]) for each in found["resources"]}
    assert said == {
        (RUN, 5400, True, "the lease of its run ended at 2026-01-31T13:00:00Z"),
        (YOUNG, 300, False, f"the lease of its run lasts until {LATER}"),
    }
    assert found["calls"] == {
        "DescribeLoadBalancers": 1, "DescribeTags": 2, "DescribeTargetGroups": 1, "DescribeSecurityGroups": 1,
        "DescribeNetworkInterfaces": 2,
    }  # fmt: skip
    one = call(run_leftovers_info, run_id=YOUNG, service="svc")
    assert {each["swept"] for each in one["resources"]} == {True} and one["resources"][0]["kind"] == "listener"
    nobody = call(run_leftovers_info, run_id=YOUNG)
    assert {each["swept"] for each in nobody["resources"]} == {False}


@pytest.mark.parametrize("check", [False, True])
def test_C7_a_question_without_an_answer_is_a_failure_of_the_list_and_of_the_prediction(
    world: World, call: Call, check: bool
) -> None:
    world.run(RUN)
    world.balancers.clear()
    world.refuse["elbv2.describe_load_balancers"] = [Refusal("AccessDenied", "not you")] * 9
    listed = call(run_leftovers_info, check=check, all=True, service="svc")
    assert listed["failed"] and "AccessDenied: not you" in listed["msg"] and not listed["gone"]
    assert {each["kind"] for each in listed["resources"]} >= {"target_group", "security_group"}  # what the others saw
    world.target_groups.clear(), world.groups.clear(), world.interfaces.clear()
    nothing = call(run_leftovers_info, check=check, run_id=RUN)
    assert nothing["failed"] and nothing["resources"] == [] and not nothing["gone"]
    predicted = call(run_leftovers, check=True, service="svc")
    assert predicted["failed"] and "not known" in predicted["msg"] and not predicted["gone"]


def test_N1_the_list_spares_a_run_that_lives_on_this_machine(world: World, call: Call, tmp_path: Path) -> None:
    world.run(RUN)
    alive(RUN, tmp_path)
    for arguments in ({"all": True}, {"run_id": RUN}):
        found = call(run_leftovers_info, service="svc", **arguments)
        assert {each["swept"] for each in found["resources"]} == {False}
        assert all("its run is alive on this machine" in each["reason"] for each in found["resources"])


def test_N4_a_run_that_nobody_closed_is_named_with_the_command(world: World, call: Call, tmp_path: Path) -> None:
    now, runs, ledger = utc_now(), tmp_path / "runs", FolderLedger(tmp_path / "ledger")

    def opened(minutes_ago: int, suffix: str, *, lease: int = 60, here: bool = True, service: str = "svc") -> str:
        start = now.timestamp() - minutes_ago * 60
        moment = now.fromtimestamp(start, now.tzinfo)
        run_id = f"{file_stamp(moment)}-{suffix}"
        ledger.open(run_id, service, "0" * 64)
        if here:
            (runs / run_id).mkdir(parents=True)
            expires = now.fromtimestamp(start + lease * 60, now.tzinfo).replace(microsecond=0)
            (runs / run_id / "run.json").write_text(json.dumps({"expires_at": rfc3339(expires)}))
        return run_id

    lost, elsewhere = opened(180, "aaa222"), opened(25 * 60, "bbb222", here=False)
    opened(30, "ccc222"), opened(180, "ddd222", here=False), opened(180, "eee222", service="other")
    ledger.close(opened(180, "fff222"), "FAILED", "0" * 64)
    living = opened(180, "ggg222")
    alive(living, tmp_path)
    asked = {"ledger": str(tmp_path / "ledger"), "evidence_root": str(runs), "service": "svc"}
    found = call(run_unclosed_info, **asked)
    assert [each["run_id"] for each in found["unclosed"]] == [elsewhere, lost]
    assert found["unclosed"][0]["command"] == "" and "not on this machine" in found["text"]
    assert "papyrus.ops.evidence_seal" in found["unclosed"][1]["command"] and lost in found["unclosed"][1]["command"]
    kept = (runs / lost / "run.json").read_text()
    for unreadable in ("", "[]", "{}", '{"expires_at": 7}', '{"expires_at": "soon"}'):  # the longest lease counts then
        (runs / lost / "run.json").write_text(unreadable)
        assert [each["run_id"] for each in call(run_unclosed_info, **asked)["unclosed"]] == [elsewhere]
    (runs / lost / "run.json").write_text(kept)
    assert call(run_unclosed_info, **asked, days=0.5)["unclosed"] == found["unclosed"][1:]
    assert call(run_unclosed_info, **{**asked, "ledger": "s3://"})["failed"]
