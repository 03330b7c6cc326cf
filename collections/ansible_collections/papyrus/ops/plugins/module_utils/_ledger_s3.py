# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger below an S3 prefix: Object Lock keeps each entry, a conditional put never writes over one."""

from __future__ import annotations

import datetime as dt
import errno
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ._aws import AwsFailure, Clients, aws_call, unanswered
from ._ledger_base import MAX_ENTRY, Entry, Ledger, LedgerError, What, entry_name, parse_entry, split_name
from ._names import file_stamp, parse_run_id, rfc3339, utc_now

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
_ACCOUNT = re.compile(r"[0-9]{12}")
_TRIES = 4
_AGAIN = ("ConditionalRequestConflict", "OperationAborted")
_FORM = "s3://<bucket>/<prefix>, with ?owner=<account id> behind it when the bucket is not the run's account's"
_TURN_ON = (
    "Turn it on: aws s3api put-object-lock-configuration --bucket {bucket} --object-lock-configuration "
    """'{{"ObjectLockEnabled":"Enabled","Rule":{{"DefaultRetention":{{"Mode":"COMPLIANCE","Days":400}}}}}}'"""
)

Version = tuple[str, dt.datetime, bool]
"""Version id, when S3 stored it, whether it is a delete marker."""


@dataclass(frozen=True)
class Place:
    """`owner` is the account that must own the bucket, "" when nobody knows."""

    bucket: str
    prefix: str
    owner: str = ""

    @classmethod
    def parse(cls, where: str, owner: str = "") -> Place:
        """ValueError for anything that is no address of a ledger. An owner in the address counts more than `owner`,
        which counts only when it is an account id: a run whose inventory is wrong gets its bundle as well.
        """
        address, question, query = where.removeprefix("s3://").partition("?")
        bucket, dummy, prefix = address.partition("/")
        prefix = prefix.rstrip("/")
        options = dict(parse_qsl(query, keep_blank_values=True))
        known = _ACCOUNT.fullmatch(options.get("owner", owner))
        if set(options) - {"owner"} or (question and not (options and known)) or not _BUCKET.fullmatch(bucket):
            raise ValueError(f"the ledger {where!r} is no address like {_FORM}")
        if not _PREFIX.fullmatch(prefix) or not {".", ".."}.isdisjoint(prefix.split("/")):
            raise ValueError(f"the ledger {where!r} needs a prefix of letters, digits and !_.*'()-/ : {_FORM}")
        return cls(bucket, prefix, known[0] if known else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}" + (f"?owner={self.owner}" if self.owner else "")


class S3Ledger(Ledger):
    """Needs s3:PutObject, s3:GetObject, s3:ListBucket and s3:GetBucketObjectLockConfiguration, an auditor
    s3:ListBucketVersions and s3:GetObjectVersion instead of the first. Nobody who runs releases may have
    s3:DeleteObject, s3:DeleteObjectVersion, s3:BypassGovernanceRetention or s3:PutBucketObjectLockConfiguration.
    """

    def __init__(
        self,
        place: Place,
        clients: Callable[[], Clients],
        *,
        now: Callable[[], dt.datetime] = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.place = place
        self.where = str(place)
        self._make_clients = clients
        self._clients: Clients | None = None
        self._now = now
        self._sleep = sleep

    def check(self, *, read_only: bool = False) -> str:
        try:
            answer = self._call("get_object_lock_configuration", "s3:GetBucketObjectLockConfiguration")
        except AwsFailure as failure:
            if failure.code == "ObjectLockConfigurationNotFoundError":
                raise self._unlocked("has no Object Lock") from failure
            raise _unusable(failure) from failure
        found = answer.get("ObjectLockConfiguration") or {}
        kept = (found.get("Rule") or {}).get("DefaultRetention") or {}
        if found.get("ObjectLockEnabled") != "Enabled":
            raise self._unlocked("has no Object Lock")
        if not kept.get("Mode"):
            raise self._unlocked("has Object Lock but no default retention, so an entry could be deleted at once")
        self._get("check")  # one that is never there: S3 says so only to those who may read and list
        period = f"{kept['Days']} days" if kept.get("Days") else f"{kept.get('Years')} years"
        return f"Object Lock, {kept['Mode']} for {period}"

    def runs(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> Iterator[Entry]:
        found: dict[What, list[Version]] = {}
        last = ""
        for name, version in self._versions(since):
            split = split_name(name)
            if split is None:
                continue
            run_id, what = split
            if found and run_id != last:
                yield self._entry(last, found)
                found = {}
            started = parse_run_id(run_id).started
            if until is not None and started > until:
                break  # names come in the order of their time
            last = run_id
            found.setdefault(what, []).append(version)
        if found:
            yield self._entry(last, found)

    def _versions(self, since: dt.datetime | None) -> Iterator[tuple[str, Version]]:
        """Name and version of all that lies below the prefix, by name, deleted and replaced versions included."""
        marker: dict[str, str] = {}
        if since is not None:
            marker["KeyMarker"] = self._key(file_stamp(since))
        while True:
            try:
                page = self._call("list_object_versions", "s3:ListBucketVersions", Prefix=self._key(""), **marker)
            except AwsFailure as failure:
                raise _unusable(failure) from failure
            listed = [(one, False) for one in page.get("Versions") or []]
            listed += [(one, True) for one in page.get("DeleteMarkers") or []]
            for one, deleted in sorted(listed, key=lambda pair: str(pair[0]["Key"])):
                name = str(one["Key"]).removeprefix(self._key(""))
                yield name, (str(one["VersionId"]), one["LastModified"], deleted)
            if not page.get("IsTruncated"):
                return
            marker = {"KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                marker["VersionIdMarker"] = page["NextVersionIdMarker"]

    def _entry(self, run_id: str, found: Mapping[What, list[Version]]) -> Entry:
        values: dict[What, dict[str, Any] | None] = {}
        problems: list[str] = []
        for what, versions in found.items():
            name = entry_name(run_id, what)
            written = [one for one in reversed(versions) if not one[2]]  # S3 lists the newest first
            gone = [one for one in versions if one[2]]
            if len(written) > 1:
                times = ", ".join(rfc3339(one[1]) for one in written)
                problems.append(f"{name} was written {len(written)} times ({times}), the first counts")
            if gone:
                problems.append(f"{name} was deleted at {rfc3339(gone[0][1])}")
            if written:
                data = self._get(name, VersionId=written[0][0])
                values[what] = None if data is None else parse_entry(data)
                if values[what] is None:
                    problems.append(f"{name} is no entry of a ledger")
        first = next((one[1] for one in reversed(found.get("opened", [])) if not one[2]), None)
        return Entry(run_id, values.get("opened"), values.get("closed"), first, tuple(problems))

    def _put(self, name: str, data: bytes) -> None:
        """A put that got no answer, or a doubtful one, is looked up before it is called failed."""
        taken = FileExistsError(errno.EEXIST, f"{name} is in the ledger already", self.where)
        for attempt in range(_TRIES):
            try:
                self._call(
                    "put_object",
                    "s3:PutObject",
                    Key=self._key(name),
                    Body=data,
                    ContentType="application/json",
                    IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256",
                )
                return
            except AwsFailure as failure:
                if failure.code == "PreconditionFailed":
                    raise taken from failure
                if not (unanswered(failure) or failure.code in _AGAIN) or attempt == _TRIES - 1:
                    raise _unusable(failure) from failure
                if self._get(name) is not None:
                    raise taken from failure  # whether it is this very entry is seen by who asked
            self._sleep(0.5 * 2**attempt)

    def _get(self, name: str, **version: str) -> bytes | None:
        try:
            answer = self._call("get_object", "s3:GetObject", Key=self._key(name), ChecksumMode="ENABLED", **version)
            with aws_call("s3:GetObject", self.where):
                body = answer["Body"]
                data: bytes = body.read(MAX_ENTRY + 1) + body.read(1)  # at its end the checksum is compared
                return data
        except AwsFailure as failure:
            if failure.missing and failure.code != "NoSuchBucket":
                return None
            raise _unusable(failure) from failure

    def _key(self, name: str) -> str:
        return f"{self.place.prefix}/{name}"

    def _call(self, operation: str, action: str, **parameters: Any) -> Any:
        if self._clients is None:
            self._clients = self._make_clients()
        if self.place.owner:
            parameters["ExpectedBucketOwner"] = self.place.owner
        with aws_call(action, self.where, self._hint(action)):
            return getattr(self._clients("s3"), operation)(Bucket=self.place.bucket, **parameters)

    def _hint(self, action: str) -> str:
        rights = "s3:GetObject and s3:ListBucket" if action == "s3:GetObject" else action
        owner = f", and is of account {self.place.owner} (another's: ?owner=<account id>)" if self.place.owner else ""
        return f"See that the bucket is there, with Object Lock{owner}, and that the caller has {rights}."

    def _unlocked(self, what: str) -> LedgerError:
        turn_on = _TURN_ON.format(bucket=self.place.bucket)
        return LedgerError(f"The ledger {self.where} is not safe: the bucket {self.place.bucket} {what}. {turn_on}")


def _unusable(failure: AwsFailure) -> LedgerError:
    if failure.code == "ParamValidationError":
        failure.hint = "This boto3 knows no conditional put (IfNoneMatch): install a newer one."
    return LedgerError(f"The ledger cannot be used: {failure}")
