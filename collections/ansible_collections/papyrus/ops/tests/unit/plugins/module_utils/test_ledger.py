# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger in a folder and in S3: written once, whatever happens to an answer; no lock, no run (J1, N1)."""

from __future__ import annotations

import datetime as dt
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _locks
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import (
    FolderLedger,
    Ledger,
    LedgerError,
    ledger_place,
    open_ledger,
)
from ansible_collections.papyrus.ops.plugins.module_utils._ledger_s3 import Place, S3Ledger
from aws_fake import FakeAws, Refusal
from botocore.exceptions import EndpointConnectionError

RUN, LATER = "20260131T120000Z-abc234", "20260201T120000Z-abc234"
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
LOCKED = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", "Days": 400}}}


class FakeS3(FakeAws):
    """A bucket with versions. `trouble` is asked before each put ("before") and after it is kept ("after")."""

    def __init__(self, page: int = 1000) -> None:
        super().__init__()
        self.versions: list[dict[str, Any]] = []
        self.locking: Any = LOCKED
        self.page = page
        self.trouble: Callable[[str], None] = lambda when: None
        self.answers.update(
            {
                "s3.get_object_lock_configuration": self._lock,
                "s3.put_object": self._put,
                "s3.get_object": self._get,
                "s3.list_object_versions": self._list,
            }
        )

    def add(self, key: str, data: bytes | None, at: dt.datetime = NOON) -> None:
        """A version before the others (S3 lists the newest first), or with None a delete marker."""
        number = f"v{len(self.versions)}"
        self.versions.insert(0, {"Key": key, "VersionId": number, "LastModified": at, "data": data})

    def _lock(self, _sent: Any) -> Any:
        if isinstance(self.locking, str):
            raise Refusal(self.locking)
        return {"ObjectLockConfiguration": self.locking}

    def _put(self, sent: Any) -> Any:
        self.trouble("before")
        current = [one for one in self.versions if one["Key"] == sent["Key"]][:1]
        if sent.get("IfNoneMatch") == "*" and current and current[0]["data"] is not None:
            raise Refusal("PreconditionFailed")
        self.add(sent["Key"], sent["Body"])
        self.trouble("after")
        return {}

    def _get(self, sent: Any) -> Any:
        found = [one for one in self.versions if one["Key"] == sent["Key"]]
        found = [one for one in found if sent.get("VersionId") in (None, one["VersionId"])]
        if not found or found[0]["data"] is None:
            raise Refusal("NoSuchKey")
        return {"Body": io.BytesIO(found[0]["data"])}

    def _list(self, sent: Any) -> Any:
        order = sorted(self.versions, key=lambda one: one["Key"])
        listed = [one for one in order if one["Key"].startswith(sent["Prefix"])]
        marker = (sent.get("KeyMarker", ""), sent.get("VersionIdMarker"))
        if marker[1]:
            begin = 1 + next(i for i, one in enumerate(listed) if (one["Key"], one["VersionId"]) == marker)
        else:
            begin = sum(one["Key"] <= marker[0] for one in listed)
        page = [{name: one[name] for name in ("Key", "VersionId", "LastModified", "data")} for one in listed[begin:]]
        more = len(page) > self.page
        page = page[: self.page]
        answer: dict[str, Any] = {"IsTruncated": more, "Versions": [], "DeleteMarkers": []}
        for one in page:
            answer["DeleteMarkers" if one.pop("data") is None else "Versions"].append(one)
        if more:
            answer |= {"NextKeyMarker": page[-1]["Key"], "NextVersionIdMarker": page[-1]["VersionId"]}
        return answer


def s3_ledger(aws: FakeS3, where: str = "s3://evidence/papyrus/ledger?owner=123456789012") -> S3Ledger:
    return S3Ledger(Place.parse(where), lambda: aws, now=lambda: NOON, sleep=lambda seconds: None)


@pytest.fixture(params=["folder", "s3"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    if request.param == "folder":
        return FolderLedger(tmp_path / "deep" / "ledger", now=lambda: NOON)
    return s3_ledger(FakeS3(page=2))


def test_J1_an_entry_is_written_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ledger.opened(RUN) is None and list(ledger.runs()) == []
    ledger.open(RUN, "svc", "00" * 32)
    ledger.open(LATER, "svc", "22" * 32)
    monkeypatch.setattr(ledger, "_now", lambda: NOON + dt.timedelta(seconds=1))
    with pytest.raises(FileExistsError):
        ledger.open(RUN, "svc", "00" * 32)
    ledger.close(RUN, "FAILED", "33" * 32, "44" * 32)
    with pytest.raises(FileExistsError):
        ledger.close(RUN, "PASSED", "33" * 32, "44" * 32)
    assert (ledger.closed(RUN) or {})["result"] == "FAILED" and ledger.unclosed() == [LATER]
    entries = list(ledger.runs())
    assert [entry.run_id for entry in entries] == [RUN, LATER] and not any(entry.problems for entry in entries)
    assert entries[0].opened == ledger.opened(RUN) and entries[0].closed == ledger.closed(RUN)
    with pytest.raises(ValueError):
        ledger.open("../escape", "svc", "")


def test_J1_a_repeated_write_of_the_same_entry_is_that_entry(ledger: Ledger) -> None:
    """The first was kept and its answer lost: S3 behind a retry of boto3, a file server over NFS."""
    first = ledger.open(RUN, "svc", "00" * 32)
    assert ledger.open(RUN, "svc", "00" * 32) == first


def test_J1_runs_can_be_asked_for_by_their_time(ledger: Ledger) -> None:
    for run in (RUN, LATER):
        ledger.open(run, "svc", "")
        ledger.close(run, "PASSED", "")
    late = NOON + dt.timedelta(days=1)
    assert [entry.run_id for entry in ledger.runs(since=late)] == [LATER]
    assert [entry.run_id for entry in ledger.runs(until=NOON)] == [RUN]
    assert [entry.run_id for entry in ledger.runs(NOON, late)] == [RUN, LATER]
    assert list(ledger.runs(late + dt.timedelta(seconds=1))) == []


# The folder


def write_many(folder: Path, number: int) -> None:
    ledger = FolderLedger(folder, now=lambda: NOON + dt.timedelta(microseconds=number))
    for position in range(20):
        try:
            ledger.open(f"20260131T1200{position:02d}Z-abc234", f"writer-{number}", "00" * 32)
        except FileExistsError:
            continue


def test_J1_of_writers_at_once_one_opens_each_run(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path / "shared", number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert [writer.exitcode for writer in writers] == [0] * 4
    entries = list(FolderLedger(tmp_path / "shared").runs())
    assert len(entries) == 20 and all(entry.opened and not entry.problems for entry in entries)
    assert not list((tmp_path / "shared").glob(".tmp-*"))


def test_J1_a_writer_killed_between_leaves_no_half_entry(tmp_path: Path) -> None:
    """SIGKILL once the bytes are written and before they have their name: the run is not announced, and can be."""
    folder = tmp_path / "ledger"
    child = os.fork()
    if child == 0:
        os.link = lambda *given, **named: os.kill(os.getpid(), signal.SIGKILL)
        FolderLedger(folder).open(RUN, "svc", "00" * 32)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    ledger = FolderLedger(folder)
    assert list(folder.glob(f"{_locks.TEMPORARY_PREFIX}*")) and ledger.opened(RUN) is None and not list(ledger.runs())
    ledger.open(RUN, "svc", "00" * 32)
    assert [entry.run_id for entry in ledger.runs()] == [RUN]


@pytest.mark.parametrize("what", ["[]", "{", '{"a": 1}' + " " * 70_000, "[" * 60_000, "\udcff"])
def test_J1_what_is_no_entry_is_named(tmp_path: Path, what: str) -> None:
    (tmp_path / f"{RUN}.opened.json").write_bytes(what.encode("utf-8", "surrogateescape"))
    (tmp_path / "notes.opened.json").write_text("{}")
    entry = next(FolderLedger(tmp_path).runs())
    assert entry.opened is None and entry.problems == (f"{RUN}.opened.json is no entry of a ledger",)
    assert len(list(FolderLedger(tmp_path).runs())) == 1


def test_J1_an_entry_that_is_no_plain_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(json.dumps({"run_id": RUN}))
    (tmp_path / f"{RUN}.opened.json").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / f"{LATER}.opened.json")
    assert [entry.opened for entry in FolderLedger(tmp_path).runs()] == [None, None]


def test_N1_a_folder_that_cannot_be_written_is_refused_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="is no folder"):
        open_ledger(str(tmp_path / "file" / "ledger")).check()
    assert open_ledger(str(tmp_path / "new" / "ledger")).check() == "" and not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda *given: False)  # tests may run as root
    with pytest.raises(LedgerError, match="may not write"):
        open_ledger(str(tmp_path / "ledger")).check()


# S3


@pytest.mark.parametrize(
    "where",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3://Bucket/prefix",
        "s3://bucket/a/../b",
        "s3://bucket//a",
        "s3://bucket/a b",
        "s3://bucket/a?owner=1234",
        "s3://bucket/a?region=x",
        "s3://bucket/a?",
        "s3://bucket/a?owner",
        "s3://bucket/a#b",
    ],
)
def test_J1_what_is_no_address_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match="s3://<bucket>/<prefix>"):
        open_ledger(where)


def test_J1_an_address_keeps_the_owner_of_the_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ledger_place("s3://bucket/a/b/", "123456789012") == "s3://bucket/a/b?owner=123456789012"
    assert ledger_place("s3://bucket/a?owner=210987654321", "123456789012") == "s3://bucket/a?owner=210987654321"
    assert ledger_place("s3://bucket/a") == ledger_place("s3://bucket/a", "not an account") == "s3://bucket/a"
    monkeypatch.chdir(tmp_path)
    assert ledger_place("ledger", "123456789012") == str(tmp_path / "ledger")


def test_N1_a_bucket_with_a_lock_is_taken_and_its_lock_said() -> None:
    aws = FakeS3()
    assert s3_ledger(aws).check() == "Object Lock, COMPLIANCE for 400 days"
    assert [name for name in aws.names if "put" in name] == []
    assert all(sent["ExpectedBucketOwner"] == "123456789012" for _name, sent in aws.requests)


@pytest.mark.parametrize(
    ("lock", "says"),
    [
        ("ObjectLockConfigurationNotFoundError", "has no Object Lock. Turn it on: aws s3api"),
        ({}, "has no Object Lock"),
        ({"ObjectLockEnabled": "Enabled"}, "no default retention"),
        ({"Rule": LOCKED["Rule"]}, "has no Object Lock"),
        ("NoSuchBucket", "See that the bucket is there"),
        ("AccessDenied", "is of account 123456789012 .* has s3:GetBucketObjectLockConfiguration"),
    ],
)
def test_N1_a_bucket_that_would_not_keep_entries_is_refused(lock: Any, says: str) -> None:
    aws = FakeS3()
    aws.locking = lock
    with pytest.raises(LedgerError, match=says):
        s3_ledger(aws).check()


def test_N1_who_may_not_read_the_ledger_may_not_begin() -> None:
    aws = FakeS3()

    def denied(_sent: Any) -> Any:
        raise Refusal("AccessDenied")

    aws.answers["s3.get_object"] = denied
    with pytest.raises(LedgerError, match="has s3:GetObject and s3:ListBucket"):
        s3_ledger(aws).check()


def test_J1_each_put_is_conditional_with_a_checksum() -> None:
    aws = FakeS3()
    s3_ledger(aws).open(RUN, "svc", "00" * 32)
    (sent,) = aws.sent("s3.put_object")
    assert sent["IfNoneMatch"] == "*" and sent["ChecksumAlgorithm"] == "SHA256"
    assert sent["Key"] == f"papyrus/ledger/{RUN}.opened.json" and sent["ExpectedBucketOwner"] == "123456789012"


def no_answer(when: str, times: int = 1) -> Callable[[str], None]:
    left = [times]

    def trouble(now: str) -> None:
        if now == when and left[0]:
            left[0] -= 1
            raise EndpointConnectionError(endpoint_url="https://s3")

    return trouble


@pytest.mark.parametrize("when", ["before", "after"])
def test_J1_a_put_without_an_answer_is_looked_up(when: str) -> None:
    aws = FakeS3()
    aws.trouble = no_answer(when)
    entry = s3_ledger(aws).open(RUN, "svc", "00" * 32)
    assert len(aws.versions) == 1 and json.loads(aws.versions[0]["data"]) == entry
    assert len(aws.sent("s3.get_object")) == (1 if when == "before" else 2)  # and once more to compare the bytes


def test_J1_a_put_without_an_answer_never_takes_another_entry_for_its_own() -> None:
    aws = FakeS3()
    s3_ledger(aws).open(RUN, "svc", "00" * 32)
    aws.trouble = no_answer("before")
    with pytest.raises(FileExistsError):
        s3_ledger(aws).open(RUN, "svc", "11" * 32)
    assert len(aws.versions) == 1


def test_J1_a_put_that_never_gets_an_answer_fails() -> None:
    aws = FakeS3()
    aws.trouble = no_answer("before", times=100)
    with pytest.raises(LedgerError, match="EndpointConnectionError"):
        s3_ledger(aws).open(RUN, "svc", "00" * 32)
    assert 2 <= len(aws.sent("s3.put_object")) <= 5


def test_J1_a_denied_put_fails_at_once() -> None:
    aws = FakeS3()

    def denied(when: str) -> None:
        raise Refusal("AccessDenied")

    aws.trouble = denied
    with pytest.raises(LedgerError, match="has s3:PutObject"):
        s3_ledger(aws).open(RUN, "svc", "00" * 32)
    assert len(aws.sent("s3.put_object")) == 1


def test_J1_conflicting_puts_are_tried_again() -> None:
    aws = FakeS3()
    left = [1]

    def conflict(when: str) -> None:
        if left[0]:
            left[0] -= 1
            raise Refusal("ConditionalRequestConflict")

    aws.trouble = conflict
    s3_ledger(aws).open(RUN, "svc", "00" * 32)
    assert len(aws.versions) == 1


def test_J1_an_entry_that_was_replaced_or_deleted_is_named_and_the_first_counts() -> None:
    aws = FakeS3(page=1)
    ledger = s3_ledger(aws)
    ledger.open(RUN, "svc", "00" * 32)
    ledger.close(RUN, "FAILED", "00" * 32)
    closed = f"papyrus/ledger/{RUN}.closed.json"
    aws.add(closed, json.dumps({"run_id": RUN, "result": "PASSED"}).encode())
    aws.add(f"papyrus/ledger/{RUN}.opened.json", None, NOON + dt.timedelta(hours=1))
    aws.add("papyrus/ledger/readme.txt", b"")
    aws.add("papyrus/ledger-of-others/x", b"")
    (entry,) = ledger.runs()
    assert (entry.closed or {})["result"] == "FAILED" and (entry.opened or {})["run_sha256"] == "00" * 32
    assert entry.stored_at == NOON
    twice, gone = sorted(entry.problems)
    assert f"{RUN}.closed.json was written 2 times" in twice
    assert f"{RUN}.opened.json was deleted at 2026-01-31T13:00:00Z" in gone


def test_J1_an_auditor_who_may_not_list_is_told_the_right() -> None:
    aws = FakeS3()

    def denied(_sent: Any) -> Any:
        raise Refusal("AccessDenied")

    aws.answers["s3.list_object_versions"] = denied
    with pytest.raises(LedgerError, match="has s3:ListBucketVersions"):
        list(s3_ledger(aws).runs())
