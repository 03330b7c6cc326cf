"""cloudtrail_export when AWS throttles, fails, hangs up, forgets page tokens and credentials: all is there (K1)."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.audit_support import new_account
from tests.sandbox.export_stand import History, check, finish, last_call, lookups, run, start
from tests.sandbox.iam_support import allow, trust, user
from tests.sandbox.support import Sandbox

SPEED = 100.0


def fault(**more: Any) -> dict[str, Any]:
    return {"service": "cloudtrail", "operation": "LookupEvents", **more}


def all_faults(seed: int) -> list[dict[str, Any]]:
    """30 % throttled; of the rest 5xx in JSON, cut answers, lost answers, and tokens that are good no more."""
    kinds: list[dict[str, Any]] = [
        {"probability": 0.3, "code": "ThrottlingException", "message": "Rate exceeded"},
        {"probability": 0.06, "status": 500, "code": "InternalFailure"},
        {"probability": 0.06, "status": 503, "code": "ServiceUnavailable"},
        {"probability": 0.06, "cut_after": 5_000},
        {"probability": 0.03, "cut_after": 1},
        {"probability": 0.06, "cut_after": 0},
        {"probability": 0.06, "code": "InvalidNextTokenException", "match": {"NextToken": "*"}},
    ]
    return [fault(**kind, seed=seed + number) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize("events", [2_500, pytest.param(200_000, marks=pytest.mark.soak)])
def test_K1_all_is_there_though_every_second_request_fails(no_faults: Sandbox, tmp_path: Path, events: int) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(no_faults), end - 8 * 3600, end)
    history.add(events - events // 4)
    # A second may have as many events as a token lives pages, not more: what is lost in it begins with it again.
    history.add(events // 4, [history.start, history.end, *range(end - 9_000, end - 9_000 + events // 800)])
    no_faults.faults(*all_faults(seed=events))
    after = last_call(no_faults)
    with no_faults.switched(lookup_events_rate=0, page_token_pages=60):
        ran = run(history.arguments(tmp_path, rate=200, lanes=4), timeout=1_500, speed=SPEED)
    check(ran, history.truth)
    calls = lookups(no_faults, history.account.number, after)
    report, codes = ran.report, [call["error_code"] for call in calls if call["error_code"]]
    # Each request is counted. One may fail before the sandbox has it: a connection that was idle ends at that moment.
    assert 0 <= report["requests"] - len(calls) <= 1 + len(calls) / 1000
    if events < 10_000:
        assert report["throttles"] == codes.count("ThrottlingException") > 0
        server = {code: codes.count(code) for code in ("InternalFailure", "ServiceUnavailable")}
        closed = sum(call["cut"] for call in calls) + report["requests"] - len(calls)
        retries = dict(report["retries"])
        # An answer shorter than its cut arrived whole.
        assert closed - 5 <= retries.pop("ConnectionClosedError") <= closed
        assert retries == server and all(server.values())
        # By chance there may be none of these; the next tests have them for certain.
        assert report["counts"]["lost_tokens"] == codes.count("InvalidNextTokenException")
    print(f"{events} events: {report['requests']} requests for {report['counts']['pages']} pages, {report['retries']}")


@pytest.mark.soak
@pytest.mark.parametrize("rate", [1, 2])
def test_K1_at_the_rate_of_aws_nothing_is_throttled_and_no_slot_is_lost(
    sandbox: Sandbox, tmp_path: Path, rate: int
) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 3600, end)
    history.add(3_000)
    after = last_call(sandbox)
    with sandbox.switched(lookup_events_rate=2):
        ran = run(history.arguments(tmp_path, rate=rate))
    check(ran, history.truth)
    calls = lookups(sandbox, history.account.number, after)
    assert ran.report["throttles"] == 0 and {call["status"] for call in calls} == {200}
    assert ran.report["rate"]["reached"] >= 0.98 * rate
    print(f"{len(calls)} calls in {ran.report['elapsed_seconds']} s, {ran.report['rate']}")


def test_K1_a_page_token_that_never_lives_long_costs_pages_not_events(sandbox: Sandbox, tmp_path: Path) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 3600, end)
    # Thirty a second, fifty a page: where a token is lost, its second was often read in part.
    history.add(1_000, range(history.start, history.end, 110))
    with sandbox.switched(lookup_events_rate=0, page_token_pages=2):
        ran = run(history.arguments(tmp_path), speed=SPEED)
    check(ran, history.truth)
    assert ran.report["counts"]["lost_tokens"] >= 5


def test_K1_more_in_one_second_than_tokens_reach_is_a_failure_that_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 3600, end)
    history.add(400, [end - 1800])
    with sandbox.switched(lookup_events_rate=0):
        with sandbox.switched(lookup_events_rate=0, page_token_pages=2):
            ran = run(history.arguments(tmp_path), failed=True, speed=SPEED)
        assert "InvalidNextTokenException" in ran.result["msg"] and not ran.result["complete"]
        assert not list(tmp_path.glob("*/completeness.json"))
        with sandbox.switched(lookup_events_rate=0):
            again = run(history.arguments(tmp_path), speed=SPEED)
    check(again, history.truth)
    assert again.export["resumed"] and again.export["folder"] == ran.export["folder"]


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "AccessDeniedException"])
def test_K1_without_rights_or_credentials_it_stops_at_once_and_the_same_call_goes_on(
    no_faults: Sandbox, tmp_path: Path, code: str
) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(no_faults), end - 5 * 3600, end)
    history.add(600)
    with no_faults.switched(lookup_events_rate=0):
        no_faults.faults(fault(match={"NextToken": "*"}, code=code, status=400, message="no more"))
        ran = run(history.arguments(tmp_path, rate=100), failed=True)
        assert code in ran.result["msg"] and "the same call goes on" in ran.result["msg"]
        had, asked = ran.result["written"], ran.result["requests"]
        assert had > 0 and not ran.result["complete"]
        no_faults.faults()
        after = last_call(no_faults)
        again = run(history.arguments(tmp_path, rate=100))
    check(again, history.truth)
    calls = lookups(no_faults, history.account.number, after)
    assert again.report["requests"] == asked + len(calls) and again.report["resumed"] == 1
    assert len(calls) <= again.report["counts"]["pages"] - had // 50


def test_K1_a_disk_that_is_full_costs_nothing_that_was_written(sandbox: Sandbox, tmp_path: Path) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 5 * 3600, end)
    history.add(2_000)
    had = 0
    with sandbox.switched(lookup_events_rate=0):
        for largest in (20_000, 35_000):
            ran = finish(start(history.arguments(tmp_path, rate=100), largest=largest), failed=True)
            assert "the disk does not take it" in ran.result["msg"] and "the same call goes on" in ran.result["msg"]
            assert ran.result["written"] >= had
            had = ran.result["written"]
        assert 0 < had < 2_000
        again = run(history.arguments(tmp_path, rate=100))
    check(again, history.truth)
    assert again.report["resumed"] == 2


def test_K1_a_session_that_ends_in_the_middle_costs_nothing_that_was_read(sandbox: Sandbox, tmp_path: Path) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 3 * 3600, end)
    history.account.number = sandbox.client("sts").get_caller_identity()["Account"]
    history.add(1_500)
    rights = allow("cloudtrail:LookupEvents", "sts:GetCallerIdentity")
    iam = sandbox.client("iam")
    role = iam.create_role(RoleName="exporter", AssumeRolePolicyDocument=json.dumps(trust({"AWS": "*"})))["Role"]["Arn"]
    iam.put_role_policy(RoleName="exporter", PolicyName="export", PolicyDocument=json.dumps(rights))
    with user(sandbox, allow("sts:AssumeRole")) as caller:
        switches = {"iam": True, "lookup_events_rate": 0}
        with sandbox.switched(**switches, session_seconds=6):
            key = caller.client("sts").assume_role(RoleArn=role, RoleSessionName="export")["Credentials"]
            ran = run(with_session(history.arguments(tmp_path, rate=4), key), failed=True)
        assert "ExpiredToken" in ran.result["msg"] and "the same call goes on" in ran.result["msg"]
        had = ran.result["written"]
        with sandbox.switched(**switches):
            key = caller.client("sts").assume_role(RoleArn=role, RoleSessionName="export")["Credentials"]
            again = run(with_session(history.arguments(tmp_path, rate=50), key))
    iam.delete_role_policy(RoleName="exporter", PolicyName="export")
    iam.delete_role(RoleName="exporter")
    assert 0 < had < 1_500
    check(again, history.truth)
    assert again.export["resumed"]


def with_session(arguments: dict[str, Any], key: dict[str, Any]) -> dict[str, Any]:
    names = {"access_key": "AccessKeyId", "secret_key": "SecretAccessKey", "session_token": "SessionToken"}
    return {**arguments, **{name: key[of] for name, of in names.items()}}
