# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ids, names, tags and descriptions of everything that a run creates; times as RFC 3339."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from dataclasses import dataclass

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648 section 6, lower case
_RUN_ID = re.compile(r"(\d{8}T\d{6}Z)-([a-z2-7]{6})")
_RUN_ID_IN_TEXT = re.compile(r"(?<![0-9A-Za-z])\d{8}T\d{6}Z-[a-z2-7]{6}(?![0-9A-Za-z])")
_STAMP = "%Y%m%dT%H%M%SZ"
_NAME_CHARACTERS = re.compile(r"[A-Za-z0-9-]+")
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DESCRIPTION = re.compile(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]+")
_RFC3339 = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})")

MAX_NAME = 32
"""Characters in the name of a load balancer or target group:
https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html"""

MAX_DESCRIPTION = 255
"""Characters in the description of a security group or of a rule:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html"""

MAX_LEASE = dt.timedelta(hours=24)
"""The longest life of what a run creates."""


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def rfc3339(moment: dt.datetime, *, microseconds: bool = False) -> str:
    """RFC 3339 in UTC with `Z`; a moment without time zone is a fault of the caller."""
    if moment.tzinfo is None:
        raise ValueError("a time without time zone cannot be written as RFC 3339")
    moment = moment.astimezone(dt.UTC)
    timespec = "microseconds" if microseconds else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=timespec) + "Z"


def parse_rfc3339(text: str) -> dt.datetime:
    """The moment in UTC. ValueError for anything which RFC 3339 section 5.6 does not allow (no zone included)."""
    if not _RFC3339.fullmatch(text):
        raise ValueError(f"{text!r} is not an RFC 3339 time such as 2026-01-31T12:00:00Z")
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


def file_stamp(moment: dt.datetime) -> str:
    """`yyyymmddThhmmssZ`, as in run ids and in the names of evidence files."""
    return moment.astimezone(dt.UTC).strftime(_STAMP)


@dataclass(frozen=True)
class RunId:
    """`<UTC yyyymmddThhmmssZ>-<suffix>`; the suffix ends every temporary AWS name."""

    text: str
    started: dt.datetime
    suffix: str

    def __str__(self) -> str:
        return self.text


def new_run_id(moment: dt.datetime | None = None, suffix: str | None = None) -> RunId:
    """A fresh run id: 30 random bits beside the second in which it was made."""
    moment = (moment or utc_now()).astimezone(dt.UTC).replace(microsecond=0)
    if suffix is None:
        suffix = "".join(secrets.choice(_BASE32) for _position in range(6))
    return parse_run_id(f"{file_stamp(moment)}-{suffix}")


def parse_run_id(text: str) -> RunId:
    """ValueError says what a run id looks like; nothing else may become part of a path or a name."""
    match = _RUN_ID.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a run id such as 20260131T120000Z-abc234")
    started = dt.datetime.strptime(match.group(1), _STAMP).replace(tzinfo=dt.UTC)
    return RunId(text, started, match.group(2))


def find_run_id(text: str) -> str | None:
    """The first run id inside a description, or None."""
    match = _RUN_ID_IN_TEXT.search(text)
    return match.group(0) if match else None


def resource_name(prefix: str, suffix: str) -> str:
    """`<prefix>-<suffix>` for a load balancer, target group or security group of a run.

    ValueError when AWS would refuse it: more than 32 characters, others than letters, digits and hyphens, a hyphen at
    either end, or the reserved beginning `internal-`. Never cut: two runs must not meet in one name.
    """
    name = f"{prefix}-{suffix}"
    if len(name) > MAX_NAME:
        raise ValueError(
            f"the name {name!r} has {len(name)} characters, AWS allows {MAX_NAME}: "
            f"shorten the prefix {prefix!r} by {len(name) - MAX_NAME}"
        )
    if not _NAME_CHARACTERS.fullmatch(name):
        raise ValueError(f"the name {name!r} may only have letters, digits and hyphens")
    if name.startswith("-") or name.endswith("-"):
        raise ValueError(f"the name {name!r} may not begin or end with a hyphen")
    if name.startswith("internal-"):
        raise ValueError(f"the name {name!r} may not begin with 'internal-', AWS reserves it")
    return name


def check_prefix(prefix: str) -> str:
    """The tag prefix itself, or ValueError: it becomes part of tag keys and of security group rule descriptions."""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError(f"the tag prefix {prefix!r} must be 1 to 64 letters, digits, '.', '_' or '-'")
    if prefix.lower().startswith("aws"):
        raise ValueError(f"the tag prefix {prefix!r} may not begin with 'aws', AWS reserves it")
    return prefix


def tag_keys(prefix: str) -> tuple[str, str, str]:
    """Keys of run id, expiry and service. A resource without all three is not ours."""
    check_prefix(prefix)
    return f"{prefix}:run-id", f"{prefix}:expires-at", f"{prefix}:service"


def tags(prefix: str, run_id: str, expires_at: dt.datetime | str, service: str) -> dict[str, str]:
    """The three tags on everything that a run creates."""
    if isinstance(expires_at, dt.datetime):
        expires_at = rfc3339(expires_at)
    parse_rfc3339(expires_at)
    parse_run_id(run_id)
    run_key, expiry_key, service_key = tag_keys(prefix)
    return {run_key: run_id, expiry_key: expires_at, service_key: service}


def rule_description(prefix: str, run_id: str, expires_at: str, service: str) -> str:
    """All three marks in one text: for what takes no tags (rules of shared groups) or gets them only later.

    It is the description of the run's security groups and of their rules; the stacks' own HCL writes the same.
    ValueError when EC2 would refuse it (more than 255 characters, others than it allows).
    """
    check_prefix(prefix)
    parse_run_id(run_id)
    parse_rfc3339(expires_at)
    text = f"{prefix} run {run_id} until {expires_at} of {service}"
    if len(text) > MAX_DESCRIPTION:
        raise ValueError(
            f"the description of the run's rules would have {len(text)} characters, EC2 allows {MAX_DESCRIPTION}: "
            f"shorten the service's name or the prefix by {len(text) - MAX_DESCRIPTION}"
        )
    if not service.strip() or not _DESCRIPTION.fullmatch(text):
        raise ValueError(
            f"the service's name {service!r} cannot be part of a rule's description: EC2 allows letters, digits, "
            "spaces and ._-:/()#,@[]+=&;{}!$* there"
        )
    return text


def marks_of_description(prefix: str, description: str) -> tuple[str, str, str] | None:
    """Run id, expiry and service of a text which `rule_description` has made, whole; None for any other text."""
    match = re.fullmatch(
        rf"{re.escape(prefix)} run ({_RUN_ID.pattern}) until (\S+) of (\S|\S.*\S)", description, re.DOTALL
    )
    if match is None:
        return None
    run_id, expires_at, service = match.group(1), match.group(4), match.group(5)
    try:
        return (run_id, expires_at, service) if rule_description(prefix, run_id, expires_at, service) else None
    except ValueError:
        return None


def run_id_of_description(prefix: str, description: str) -> str | None:
    """The run id in a description that begins with the prefix, else None: enough to be seen, not to be deleted.

    Another service's rule with a run id in it is not ours.
    """
    if not re.match(rf"{re.escape(prefix)}(?![A-Za-z0-9._-])", description):
        return None
    return find_run_id(description)


def check_marks(run_id: str, expires_at: str, service: str, name: str) -> dt.datetime:
    """The end of a lease whose marks can be believed, or ValueError with the reason why they cannot.

    Tags are copied: by default_tags of another stack, by hand. So the expiry has to be one that a run can have, and the
    thing's name has to end with the suffix of the run, as all temporary names do.
    """
    missing = [what for what, value in (("run id", run_id), ("expiry", expires_at), ("service", service)) if not value]
    if missing:
        raise ValueError(f"it has no mark for {', '.join(missing)}")
    run = parse_run_id(run_id)
    end = parse_rfc3339(expires_at)
    if not run.started < end <= run.started + MAX_LEASE:
        raise ValueError(f"its expiry {expires_at} is none that the run {run_id} can have: at most 24 hours after it")
    if not name.endswith(f"-{run.suffix}"):
        raise ValueError(f"its name {name!r} does not end with -{run.suffix}: the tags may have been copied")
    return end
