# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a seal says of a bundle: an in-toto Statement v1 with a test result; pure functions of what the bundle holds.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and …/spec/predicates/test-result.md
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._bundle_view import BundleView
from ._evidence import MANIFEST, RUN_FILE, SUMS, VERDICT
from ._verdict import APPLY_ITEM, check_rows

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
BUNDLE_SUBJECTS = (MANIFEST, SUMS)
"""Names of the subjects that are files of the bundle; every other subject is an image."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PLAN = re.compile(rb"^(?:Terraform|OpenTofu) will perform the following actions:$.*?^Plan: [^\n]*\n", re.M | re.S)
_PLAN_BY_HAND = "sed -n '/ will perform the following actions:$/,/^Plan: /p'"


@dataclass(frozen=True)
class Image:
    """The image that a run is about. `digest` is what its reference names in the registry, as `sha256:…`; `platform`
    the digest of the platform's manifest below it where that is another one, else ""."""

    name: str
    digest: str
    platform: str = ""


def statement(
    view: BundleView, sums: bytes, manifest_sha256: str, seal: Mapping[str, Any], timestamp: bytes = b""
) -> dict[str, Any]:
    """The statement over a bundle that has its verdict.

    `sums` are the bytes of SHA256SUMS, `seal` says who sealed how (the annotations of its descriptor), `timestamp` is
    an RFC 3161 answer over the manifest, empty when there is none.
    """
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            *_image_subjects(image_of(view)),
            {"name": MANIFEST, "digest": {"sha256": manifest_sha256}},
            {"name": SUMS, "digest": {"sha256": hashlib.sha256(sums).hexdigest()}},
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": str(view.verdict.get("result") or ""),
            "configuration": [
                *_configuration(view),
                {"name": "seal", "digest": {"sha256": hashlib.sha256(sums).hexdigest()}, "annotations": dict(seal)},
                *_timestamps(timestamp, manifest_sha256),
            ],
            **tests(view),
        },
    }


# Subjects


def image_of(view: BundleView) -> Image | None:
    """The image that the proofs of a run were about; None when nothing in the bundle ties it to one image.

    A binding that holds is a proof: it compared registry, definition, tasks and answers. Without one the run has
    failed, or had no such question. Then it is the image that was to be released, else the one whose binding failed,
    else the only one that all running tasks have.
    """
    bound = _bound_image(view)
    line = view.last("binding.json")
    if bound is not None and line is not None and line.get("status") in ("ok", "skip"):
        return bound
    return _pushed_image(view) or bound or _running_image(view)


def _bound_image(view: BundleView) -> Image | None:
    image = (view.json("binding.json") or {}).get("image")
    if not isinstance(image, Mapping):
        return None
    digest = _text(image.get("digest")) or _text(image.get("pinned"))
    return _image(image.get("reference"), digest, image.get("platform"))


def _pushed_image(view: BundleView) -> Image | None:
    pushed = view.json("image_push.json") or {}
    return _image(pushed.get("image"), pushed.get("digest"))


def _running_image(view: BundleView) -> Image | None:
    line = view.last("running_image.log")
    meta = (line or {}).get("meta")
    images = meta.get("images") if isinstance(meta, Mapping) else None
    if line is None or line.get("status") != "ok" or not isinstance(images, list) or len(images) != 1:
        return None
    [only] = images
    return _image(only.get("reference"), only.get("digest")) if isinstance(only, Mapping) else None


def _image(reference: Any, digest: Any, platform: Any = "") -> Image | None:
    name, digest, platform = repository_of(_text(reference)), _text(digest), _text(platform)
    if not _DIGEST.fullmatch(digest):
        return None
    other = platform if _DIGEST.fullmatch(platform) and platform != digest else ""
    return Image(name or "image", digest, other)


def repository_of(reference: str) -> str:
    """A reference without its tag and digest: `host:port/name`."""
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _image_subjects(image: Image | None) -> Iterator[dict[str, Any]]:
    if image is None:
        return
    yield {"name": image.name, "digest": {"sha256": image.digest.removeprefix("sha256:")}}
    if image.platform:
        platform = image.platform.removeprefix("sha256:")
        yield {"name": f"{image.name} (platform)", "digest": {"sha256": platform}}


# Configuration


def _configuration(view: BundleView) -> Iterator[dict[str, Any]]:
    run = view.run
    names = {
        "runId": "run_id",
        "service": "service",
        "accountId": "account_id",
        "region": "region",
        "endpoint": "endpoint",
        "callerArn": "caller_arn",
        "playbook": "playbook",
        "startedAt": "started_at",
    }
    if (line := view.last(RUN_FILE)) is not None:
        facts = {key: _text(run.get(name)) for key, name in names.items()}
        yield {"name": "run", "digest": {"sha256": str(line["sha256"])}, "annotations": facts}
    if (line := view.last(VERDICT)) is not None:
        first = view.verdict.get("first_failure")
        failed = {"firstFailure": {key: _text(first.get(key)) for key in ("step", "cause", "task", "name")}} \
            if isinstance(first, Mapping) else {}  # fmt: skip
        yield {"name": "verdict", "digest": {"sha256": str(line["sha256"])}, "annotations": failed}
    if arn := task_definition_of(view):
        yield {"name": "taskDefinition", "uri": arn}
    yield from _plan(view)
    git = run.get("git")
    commit = _text(git.get("commit")) if isinstance(git, Mapping) else ""
    if isinstance(git, Mapping) and _COMMIT.fullmatch(commit):
        dirty = git.get("dirty") if isinstance(git.get("dirty"), bool) else None
        yield {"name": "source", "digest": {"gitCommit": commit}, "annotations": {"dirty": dirty}}


def task_definition_of(view: BundleView) -> str:
    """ARN of the revision that the proofs were about, or that the release was to bring; "" when the bundle has none."""
    chains = (view.json("binding.json") or {}).get("chains")
    for chain in chains if isinstance(chains, list) else []:
        links = chain.get("links") if isinstance(chain, Mapping) else None
        for link in links if isinstance(links, list) else []:
            if isinstance(link, Mapping) and link.get("link") == "revision" and _text(link.get("expected")):
                return _text(link["expected"])
    release = view.verdict.get("release")
    return _text(release.get("task_definition")) if isinstance(release, Mapping) else ""


def _plan(view: BundleView) -> Iterator[dict[str, Any]]:
    """Of the plan as Terraform printed and then applied it: a plan file would hold secrets and could not be kept."""
    line = view.last(APPLY_ITEM)
    content = None if line is None else view.read(line)
    found = _PLAN.search(content.data) if content is not None else None
    if line is not None and found is not None:
        how = {"item": str(line["path"]), "lines": _PLAN_BY_HAND}
        yield {
            "name": "terraformPlan",
            "digest": {"sha256": hashlib.sha256(found.group()).hexdigest()},
            "annotations": how,
        }


def _timestamps(token: bytes, manifest_sha256: str) -> Iterator[dict[str, Any]]:
    if token:
        yield {
            "name": "timestamp",
            "mediaType": "application/timestamp-reply",
            "digest": {"sha256": manifest_sha256},
            "content": base64.b64encode(token).decode(),
        }


# Tests


def tests(view: BundleView) -> dict[str, list[str]]:
    """`passedTests`, `warnedTests`, `failedTests`: every check as `<step> <name> <row id>`, each name once.

    A skip that the inventory allows is a warning, any other has failed. Of a FAILED run the first failure comes first;
    what no item shows (the run was interrupted, nothing proves the teardown) is there by its step.
    """
    allowed = {
        (_text(skip.get("id")), _text(skip.get("reason"))): skip.get("allowed") is True
        for skip in _objects(view.verdict.get("skips"))
    }
    checks: list[
        tuple[str, str, tuple[str, str]]
    ] = []  # status, name, and step and name as the verdict's failures have
    for line in view.lines:
        for row in check_rows(line) if line["name"] != VERDICT else []:
            status, key = row["status"], (row["id"], row["name"])
            if status == "skip" and not allowed.get((row["id"], row["reason"]), False):
                status, key = "ng", (row["id"], "")
            if status in ("ok", "skip", "ng"):
                checks.append((status, f"{row['step']} {row['name']} {row['id']}", key))
    shown = {key for status, _name, key in checks if status == "ng"}
    for failure in _objects(view.verdict.get("failures")):
        step, item = _text(failure.get("step")), _text(failure.get("name"))
        if (step, item) not in shown:
            checks.append(("ng", f"{step or 'all'} {item or 'run'} {step or 'all'}", (step, item)))
    counts: dict[str, int] = {}
    named: list[tuple[str, str, tuple[str, str]]] = []
    for status, name, key in checks:
        counts[name] = counts.get(name, 0) + 1
        named.append((status, name if counts[name] == 1 else f"{name} #{counts[name]}", key))
    first = view.verdict.get("first_failure")
    if isinstance(first, Mapping):
        its = (_text(first.get("step")), _text(first.get("name")))
        named.sort(key=lambda check: (check[0], check[2]) != ("ng", its))  # stable: the others keep their order
    lists = {"passedTests": "ok", "warnedTests": "skip", "failedTests": "ng"}
    return {key: [name for status, name, _key in named if status == wanted] for key, wanted in lists.items()}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
