"""The ledger of runs in S3 (J1): nobody but the lock's own time takes an entry out, and few rights are enough."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.sandbox.iam_support import allow, document, statement, user
from tests.sandbox.s3_support import Make
from tests.sandbox.support import CHECKOUT, Sandbox, refused

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils._ledger import LedgerError, open_ledger
from ansible_collections.papyrus.ops.plugins.module_utils._ledger_s3 import Place, S3Ledger
from ansible_collections.papyrus.ops.plugins.module_utils._verify_ledger import against_ledger

RUN, SECOND = "20260131T120000Z-abc234", "20260131T130000Z-abc235"
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
OWNER = "123456789012"


@pytest.fixture(autouse=True)
def _environment(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    use(sandbox, monkeypatch)


def use(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, key: Mapping[str, Any] | None = None) -> None:
    """The SDK's variables, by default the root of the sandbox."""
    key = key or {"AccessKeyId": "test", "SecretAccessKey": "test"}
    monkeypatch.setenv("AWS_ENDPOINT_URL", sandbox.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", str(sandbox.facts["region"]))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)


def kept(s3: Any, bucket: Make, name: str, mode: str = "GOVERNANCE") -> str:
    """A bucket whose objects are kept for a day by themselves. It stays, as it would on AWS."""
    bucket(name, lock=True)
    rule = {"DefaultRetention": {"Mode": mode, "Days": 1}}
    s3.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    return name


def test_j1_an_entry_in_s3_stays_what_it_was(s3: Any, bucket: Make) -> None:
    name = kept(s3, bucket, "evidence-stays")
    ledger = open_ledger(f"s3://{name}/ledger?owner={OWNER}", now=lambda: NOON)
    assert ledger.check() == "Object Lock, GOVERNANCE for 1 days" and ledger.opened(RUN) is None
    ledger.open(RUN, "svc", "00" * 32)
    ledger.close(RUN, "FAILED", "11" * 32, "22" * 32)
    again = open_ledger(f"s3://{name}/ledger", now=lambda: NOON + dt.timedelta(seconds=1))
    with pytest.raises(FileExistsError):
        again.open(RUN, "svc", "00" * 32)
    with pytest.raises(FileExistsError):
        again.close(RUN, "PASSED", "11" * 32, "22" * 32)
    for version in s3.list_object_versions(Bucket=name)["Versions"]:
        with refused("AccessDenied", "protected by object lock", 403):
            s3.delete_object(Bucket=name, Key=version["Key"], VersionId=version["VersionId"])
    # What can be done over it hides nothing from who asks for all versions.
    s3.put_object(Bucket=name, Key=f"ledger/{RUN}.closed.json", Body=b'{"result": "PASSED"}')
    s3.delete_object(Bucket=name, Key=f"ledger/{RUN}.opened.json")
    (entry,) = again.runs()
    assert (entry.closed or {})["result"] == "FAILED" and (entry.opened or {})["service"] == "svc"
    assert len(entry.problems) == 2 and entry.stored_at is not None
    answer = against_ledger(again, [])
    assert answer["result"] == "tampered" and answer["never_shown"] == [RUN]


def test_j1_a_bucket_that_does_not_keep_is_refused(s3: Any, bucket: Make) -> None:
    plain, locked = bucket("evidence-plain"), bucket("evidence-no-default", lock=True)
    for where, says in (
        (f"s3://{plain}/ledger", "has no Object Lock"),
        (f"s3://{locked}/ledger", "no default retention"),
        ("s3://evidence-nowhere/ledger", "NoSuchBucket"),
        (f"s3://{locked}/ledger?owner=210987654321", "account 210987654321"),
    ):
        with pytest.raises(LedgerError, match=says):
            open_ledger(where).check()
    assert "Contents" not in s3.list_objects_v2(Bucket=plain)


def test_j1_of_runners_at_once_one_opens_a_run(s3: Any, bucket: Make) -> None:
    name = kept(s3, bucket, "evidence-race")

    def one(number: int) -> bool:
        ledger = open_ledger(f"s3://{name}/l", now=lambda: NOON + dt.timedelta(seconds=number))
        try:
            ledger.open(RUN, f"runner-{number}", "")
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(one, range(8))) == 1
    assert len(s3.list_object_versions(Bucket=name)["Versions"]) == 1


RUNNER = ("s3:PutObject", "s3:GetObject"), ("s3:ListBucket", "s3:GetBucketObjectLockConfiguration")
AUDITOR = ("s3:GetObjectVersion", "s3:GetObject"), (*RUNNER[1], "s3:ListBucketVersions")


def rights(name: str, of: tuple[tuple[str, ...], tuple[str, ...]]) -> dict[str, Any]:
    """Rights on the objects, and on the bucket."""
    objects = statement("Allow", *of[0], resource=f"arn:aws:s3:::{name}/ledger/*")
    return document(objects, statement("Allow", *of[1], resource=f"arn:aws:s3:::{name}"))


@pytest.mark.behaviour("s3.absences_that_are_told")
def test_j1_the_rights_that_are_documented_are_enough_and_no_more(
    sandbox: Sandbox, s3: Any, bucket: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = kept(s3, bucket, "evidence-rights")
    where = f"s3://{name}/ledger?owner={OWNER}"
    with (
        user(sandbox, rights(name, RUNNER)) as runner,
        user(sandbox, rights(name, AUDITOR)) as auditor,
        user(sandbox, allow(*RUNNER[0], RUNNER[1][1])) as blind,
        sandbox.switched(iam=True),
    ):
        use(sandbox, monkeypatch, runner.key)
        ledger = open_ledger(where, now=lambda: NOON)
        ledger.check()
        ledger.open(RUN, "svc", "00" * 32)
        ledger.close(RUN, "PASSED", "11" * 32, "22" * 32)
        version = s3.list_object_versions(Bucket=name)["Versions"][0]
        for more in ({}, {"VersionId": version["VersionId"], "BypassGovernanceRetention": True}):
            with refused("AccessDenied", status=403):
                runner.client("s3").delete_object(Bucket=name, Key=version["Key"], **more)
        with pytest.raises(LedgerError, match="has s3:ListBucketVersions"):
            list(ledger.runs())
        use(sandbox, monkeypatch, auditor.key)
        seen = against_ledger(open_ledger(where), [])
        assert seen["never_shown"] == [RUN] and seen["protection"] == "Object Lock, GOVERNANCE for 1 days"
        with pytest.raises(LedgerError, match="has s3:PutObject"):
            open_ledger(where).open(SECOND, "svc", "")
        use(sandbox, monkeypatch, blind.key)
        with pytest.raises(LedgerError, match="has s3:GetObject and s3:ListBucket"):
            open_ledger(where).check()


@pytest.mark.soak
def test_j1_more_runs_than_a_page_holds(s3: Any, bucket: Make) -> None:
    """1,050 runs opened and closed are three pages of versions."""
    name = kept(s3, bucket, "evidence-many")
    runs = [f"20260131T{n // 3600:02d}{n // 60 % 60:02d}{n % 60:02d}Z-abc234" for n in range(1050)]
    ledger = S3Ledger(Place.parse(f"s3://{name}/l"), lambda: lambda service: s3, now=lambda: NOON)
    for run in runs:
        ledger.open(run, "svc", "")
        ledger.close(run, "PASSED", "")
    assert [entry.run_id for entry in ledger.runs()] == runs
    assert ledger.unclosed() == []
    since = dt.datetime(2026, 1, 31, 0, 17, tzinfo=dt.UTC)
    assert [entry.run_id for entry in ledger.runs(since)] == runs[17 * 60 :]
