# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An addendum: what CloudTrail's records say of a sealed run, and the link to that run's bundle (K1, N4)."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._addendum import AddendumRefused, First, first_of, judge
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict
from ansible_collections.papyrus.ops.plugins.module_utils._verify_request import Request, examine
from ansible_collections.papyrus.ops.plugins.module_utils._verify_text import summary, text
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import NOON, Key, make_key, write

ACCOUNT, USER = "123456789012", "arn:aws:iam::123456789012:user/x"
RUN, NEXT_RUN = "20260131T120000Z-abc234", "20260131T130000Z-def567"
IDS = ["request-1", "request-2"]
SG = "sg-0a1b2c3d4e5f60718"
AFTER = NOON + dt.timedelta(hours=1)


def run_json(run_id: str) -> dict[str, Any]:
    return {
        "run_id": run_id, "service": "svc", "account_id": ACCOUNT, "region": "us-west-2", "caller_arn": USER,
        "playbook": "alb_smoke", "started_at": "2026-01-31T12:00:00.000000Z", "endpoint": None,
        "names": {"security_group": f"papyrus-smoke-{run_id[-6:]}"}, "git": {"commit": "c0" * 20, "dirty": False},
    }  # fmt: skip


def sealed(root: Path, key: Key, run_id: str = RUN, *items: tuple[str, Any], at: dt.datetime = NOON) -> Path:
    bundle = Bundle.create(root / run_id, run_json(run_id), now=lambda: at)
    bundle.append("dbcheck.log", b"200", status="ok", step="D1", meta={"request_ids": IDS})
    for name, content in items:
        bundle.append(name, content_bytes(content), status="ok", step="K1")
    said = {"run_id": run_id, **verdict(bundle.lines())}
    bundle.append("verdict.json", content_bytes(said), status="ok", step="all")
    seal(bundle, key.signer, by="run", now=lambda: at)
    return bundle.folder


@pytest.fixture(name="key", scope="module")
def _key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("key"))


def addendum_of(folder: Path, key: Key, root: Path) -> Path:
    """A sealed bundle with an addendum.json that names `folder`."""
    first = first_of(str(folder), [str(key.public)])
    return sealed(root, key, NEXT_RUN, ("addendum.json", {"of": first.as_dict()}), at=AFTER)


def asked(key: Key, *folders: Path) -> dict[str, Any]:
    return examine(Request(bundles=[str(folder) for folder in folders], keys=[str(key.public)]))


# The link


def test_N4_an_addendum_and_its_bundle_are_ok_in_any_order(tmp_path: Path, key: Key) -> None:
    first = sealed(tmp_path, key)
    added = addendum_of(first, key, tmp_path)
    for order in ((first, added), (added, first)):
        answer = asked(key, *order)
        assert answer["result"] == "ok", text(answer)
        [link] = [bundle["addendum"] for bundle in answer["bundles"] if bundle["addendum"]]
        assert (link["run_id"], link["shown"], link["findings"]) == (RUN, True, [])
        assert f"addendum   to run {RUN}, the very bundle that is shown here" in text(answer)
        assert "give both" not in text(answer)


def test_N4_an_addendum_alone_is_ok_and_says_what_was_not_checked(tmp_path: Path, key: Key) -> None:
    answer = asked(key, addendum_of(sealed(tmp_path, key), key, tmp_path))
    assert answer["result"] == "ok"
    assert "Not checked: " in text(answer) and "the bundle to which an addendum was added (give both)" in text(answer)


def test_N4_a_bundle_written_anew_with_the_same_key_is_found_by_its_addendum(tmp_path: Path, key: Key) -> None:
    first = sealed(tmp_path, key)
    added = addendum_of(first, key, tmp_path)
    shutil.rmtree(first)
    sealed(tmp_path, key, RUN, ("healthz.json", {"never": "happened"}))
    assert asked(key, first)["result"] == "ok", "by itself it is a good bundle"
    answer = asked(key, first, added)
    assert (answer["result"], answer["exit_code"]) == ("tampered", 2)
    assert {bundle["run_id"]: bundle["result"] for bundle in answer["bundles"]} == {RUN: "ok", NEXT_RUN: "tampered"}
    words = "is not the bundle that it adds to: it has another manifest and attestation"
    assert words in text(answer) and "other-bundle" in text(answer) and words in summary(answer)


def test_N4_a_bundle_that_was_only_sealed_again_is_another_one(tmp_path: Path, key: Key) -> None:
    first = sealed(tmp_path, key)
    added = addendum_of(first, key, tmp_path)
    for name in ("attestation.dsse.json", "SHA256SUMS", "junit.xml", "report.html"):
        (first / name).unlink()
    seal(Bundle(first), key.signer, by="somebody else", now=lambda: AFTER)
    answer = asked(key, first, added)
    assert answer["result"] == "tampered" and "it has another attestation" in text(answer)


def test_N4_a_changed_first_bundle_is_found_with_its_addendum(tmp_path: Path, key: Key) -> None:
    first = sealed(tmp_path, key)
    added = addendum_of(first, key, tmp_path)
    with (first / "manifest.jsonl").open("ab") as file:
        file.write(b"{}\n")
    answer = asked(key, first, added)
    assert {bundle["run_id"]: bundle["result"] for bundle in answer["bundles"]} == {
        RUN: "tampered",
        NEXT_RUN: "tampered",
    }


def test_N4_a_forged_copy_beside_the_first_bundle_is_named_by_its_folder(tmp_path: Path, key: Key) -> None:
    first = sealed(tmp_path, key)
    added = addendum_of(first, key, tmp_path)
    copy = sealed(tmp_path / "elsewhere", key, RUN, ("healthz.json", {"never": "happened"}))
    answer = asked(key, first, copy, added)
    assert answer["result"] == "tampered"
    [link] = [bundle["addendum"] for bundle in answer["bundles"] if bundle["addendum"]]
    assert len(link["findings"]) == 1 and link["findings"][0]["reason"].startswith(f"{copy} is not the bundle")


def test_N4_bundles_of_other_runs_beside_an_addendum_are_not_taken_for_its_own(tmp_path: Path, key: Key) -> None:
    added = addendum_of(sealed(tmp_path, key), key, tmp_path)
    other = sealed(tmp_path / "other", key, "20260131T120000Z-xyz234")
    answer = asked(key, added, other)
    assert answer["result"] == "ok" and "give both" in text(answer)


@pytest.mark.parametrize("of", [None, [], {"run_id": RUN}, {"run_id": "x", "run_sha256": "0" * 64}])
def test_N4_an_addendum_that_names_nothing_is_incomplete(tmp_path: Path, key: Key, of: Any) -> None:
    answer = asked(key, sealed(tmp_path, key, NEXT_RUN, ("addendum.json", {"of": of})))
    assert answer["result"] == "incomplete" and "no-link" in text(answer)


def test_N4_hostile_words_of_an_addendum_do_not_reach_a_terminal(tmp_path: Path, key: Key) -> None:
    hostile = {"run_id": "\x1b[2J", "manifest_sha256": "\x1b[2J", "run_sha256": 1, "attestation_sha256": None}
    answer = asked(key, sealed(tmp_path, key, NEXT_RUN, ("addendum.json", {"of": hostile})))
    assert "\x1b" not in text(answer) and "2J" not in json.dumps(answer["bundles"][0]["addendum"])


# What is added


def record(request_id: str, name: str = "DescribeTasks", **more: Any) -> dict[str, Any]:
    return {
        "eventID": f"event-{request_id}-{name}", "eventName": name, "eventSource": "ec2.amazonaws.com",
        "eventTime": "2026-01-31T12:00:10Z", "requestID": request_id, "userIdentity": {"arn": USER},
        "readOnly": name.startswith("Describe"), "recipientAccountId": ACCOUNT, "awsRegion": "us-west-2", **more,
    }  # fmt: skip


def made(name: str = "CreateSecurityGroup", **more: Any) -> dict[str, Any]:
    parameters = {"groupName": "papyrus-smoke-abc234"} if name == "CreateSecurityGroup" else {"groupId": SG}
    return record("made", name, requestParameters=parameters, responseElements={"groupId": SG}, **more)


def exported(folder: Path, *records: Any) -> list[str]:
    path = folder / "cloudtrail_events_20260131T130000Z.run.jsonl.gz"
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in records]
    path.write_bytes(b"".join(gzip.compress(line + b"\n") for line in lines))
    return [str(path)]


def answer_of(folder: Path, key: Key, *records: Any, now: dt.datetime = AFTER) -> dict[str, Any]:
    identity = {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/auditor", "UserId": "A"}
    first = first_of(str(folder), [str(key.public)])
    return judge(first, exported(folder.parent, *records), FakeAws({"sts.get_caller_identity": identity}), now=now)


def row(answer: dict[str, Any]) -> tuple[str, str]:
    [own] = [row for row in answer["rows"] if row["id"] == "K1"]
    return own["status"], own["reason"]


def test_K1_records_that_bear_the_run_out_are_ok(tmp_path: Path, key: Key) -> None:
    records = [record(one) for one in IDS] + [made(), made("DeleteSecurityGroup")]
    answer = answer_of(sealed(tmp_path, key), key, *records, b'{"malformed": true, "entry": {}}', b"no JSON")
    assert row(answer) == (
        "ok",
        "2 of 2 requests of the bundle are in CloudTrail; 1 creations, 1 of them with their deletion",
    )
    assert [one["id"] for one in answer["rows"]] == ["N4", "K1"] and answer["rows"][0]["status"] == "ok"
    assert (answer["records"], answer["of"]["run_id"], answer["of"]["verdict"]) == (6, RUN, "PASSED")


@pytest.mark.parametrize(
    ("records", "status", "words"),
    [
        ([], "ng", "CloudTrail has none of the run's 2 request ids"),
        ([record(IDS[0])], "skip", "CloudTrail has no request request-2 of dbcheck.log"),
        ([record(one, userIdentity={"arn": USER + "y"}) for one in IDS], "ng", "made the requests"),
        ([*map(record, IDS), made()], "ng", "CloudTrail has no DeleteSecurityGroup"),
        ([record(one, eventTime="2026-01-30T12:00:10Z") for one in IDS], "ng", "has none of the run's 2"),
    ],
)
def test_K1_records_that_contradict_the_run_are_ng_and_gaps_are_a_skip(
    tmp_path: Path, key: Key, records: list[dict[str, Any]], status: str, words: str
) -> None:
    found, reason = row(answer_of(sealed(tmp_path, key), key, *records))
    assert found == status and words in reason, reason


def test_K1_a_young_run_is_not_accused_of_what_may_still_come(tmp_path: Path, key: Key) -> None:
    status, reason = row(answer_of(sealed(tmp_path, key), key, record(IDS[0]), now=NOON + dt.timedelta(minutes=5)))
    assert status == "skip" and "it may take 15 minutes after the run" in reason


def test_K1_what_to_export_has_the_runs_own_words_and_its_time(tmp_path: Path, key: Key) -> None:
    outputs = {"alb_sg_id": SG, "vpc_id": "vpc-of-everybody"}
    first: First = first_of(str(sealed(tmp_path, key, RUN, ("terraform_outputs.json", outputs))), [str(key.public)])
    assert first.text == [RUN, "papyrus-smoke-abc234", SG, *IDS]
    started = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
    assert first.start == started - dt.timedelta(minutes=5)
    assert first.settled_at == first.end + dt.timedelta(minutes=15) == NOON + dt.timedelta(minutes=20)


def test_N4_nothing_is_added_to_a_bundle_that_is_not_as_it_was_sealed(tmp_path: Path, key: Key) -> None:
    folder = sealed(tmp_path, key)
    changed = next(folder.glob("*_dbcheck.log"))
    write(changed, b"500")
    with pytest.raises(AddendumRefused, match=r"is not as it was sealed \(tampered\): invalid .*dbcheck.log"):
        first_of(str(folder), [str(key.public)])
    other = make_key(tmp_path / "other")
    with pytest.raises(AddendumRefused, match="wrong-key"):
        first_of(str(sealed(tmp_path / "b", key)), [str(other.public)])
    with pytest.raises(AddendumRefused, match="nothing can be added to .*nowhere"):
        first_of(str(tmp_path / "nowhere"), [str(key.public)])


def test_N4_a_key_that_came_with_the_bundle_is_not_trusted(tmp_path: Path, key: Key) -> None:
    folder = sealed(tmp_path, key)
    shutil.copy(key.public, folder / "key.pem")
    with pytest.raises(AddendumRefused, match="lies in the bundle itself, and proves nothing about it"):
        first_of(str(folder), [str(folder / "key.pem")])
