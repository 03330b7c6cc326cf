# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of the report: what the bundle does not prove, how it was continued, and the hash of every item."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from ._evidence import RUN_FILE, VERDICT
from ._printable import extra_variable
from ._report_proofs import Proof, proof
from ._report_source import Entry, Source, dict_of, dicts_of, number_of, spread, text_of
from ._report_summary import Summary
from ._report_text import Block, clock, size

ITEMS = 10_000
"""Lines of the manifest in the page's table."""

_READ = (
    "preflight.json",
    "secrets_rds_drift.json",
    "image_push.json",
    "taskdef_diff.json",
    "terraform.tfstate",
    "terraform_outputs.json",
    "binding.json",
    "alb_sg_verify_gone.json",
    "completeness.json",
    "addendum.json",
    "continued.json",
)
"""JSON items from which parts of the page are made."""


@dataclass(frozen=True)
class Limit:
    title: str
    text: str


@dataclass(frozen=True)
class Skip:
    id: str
    reason: str
    allowed: bool


@dataclass(frozen=True)
class Continued:
    """One `continued.json`: a writer ended in the middle, and the next one named what it found.

    `files` are path, SHA-256 and what became of each: adopted (whole, listed now) or unlisted.
    """

    at: str
    torn: str
    line: Block
    files: list[tuple[str, str, str]]


@dataclass(frozen=True)
class Crash:
    continued: list[Continued]
    guard: Proof | None


@dataclass(frozen=True)
class Limits:
    limits: list[Limit]
    skips: list[Skip]


@dataclass(frozen=True)
class Verification:
    files: str
    signature: str


@dataclass(frozen=True)
class Item:
    place: int
    seq: str
    at: str
    path: str
    name: str
    status: str
    step: str
    size: str
    sha256: str
    problem: str
    note: str


@dataclass(frozen=True)
class Items:
    items: list[Item]
    left_out: int
    lead: str
    head: str
    problems: int
    requests: int


def limits(source: Source, summary: Summary) -> Limits:
    return Limits(list(_limits(source, summary)), skips(source))


def _limits(source: Source, summary: Summary) -> Iterator[Limit]:
    if summary.local:
        yield Limit(
            "AWS",
            f"The run spoke to {summary.endpoint}, a stand-in for AWS: account, addresses, identifiers and answers are "
            "the stand-in's. The bundle shows how the procedure works, nothing about a service on AWS.",
        )
    else:
        yield Limit(
            "That AWS answered so",
            "Answers of AWS are as the runner wrote them down. Their request ids can be looked up in CloudTrail with "
            "credentials of your own: the online verification does that.",
        )
    if summary.trust.kind == "none":
        yield Limit("Who made it", "The bundle is not signed.")
    elif summary.trust.kind == "self-asserted":
        yield Limit("That the runner is honest", "The key that signs lies with the runner whose work is to be proved.")
    else:
        yield Limit("That the runner is honest", "The signature says who signed, not that what was observed is true.")
    if any(entry.name == "run_timestamp.tsr" for entry in source.entries):
        yield Limit(
            "Times",
            "They are the runner's clock. The bundle holds a time stamp over the first line of its manifest "
            "(run_timestamp.tsr): once it is verified, the run began no later than its authority says.",
        )
    else:
        yield Limit("Times", "They are the runner's clock; no time stamping authority has seen this run begin.")
    if source.asks:
        yield Limit(
            "The app's own word",
            "Status, body and headers of the answers are what the service says of itself. That it is this image is "
            "shown by ECS, EC2 and the load balancer, link by link, not by the app.",
        )
        yield Limit(
            "More than this moment",
            "The service was looked at between the times above. It can be changed right after, and the checks are "
            "those listed here: no load, no other route, no other table.",
        )
    if source.last("completeness.json") is not None:
        yield Limit(
            "That AWS recorded everything",
            "What the history had was read once and wholly. CloudTrail's has management events of 90 days in one "
            "region; data events are in the files of a trail.",
        )
    if summary.dirty is None:
        yield Limit("Which source it was run from", "Whether the working tree was clean is not known.")
    elif summary.dirty:
        yield Limit("Which source it was run from", "The working tree had changes that no commit holds.")
    short_values = number_of(source.verdict.get("values_too_short_to_redact"))
    if short_values:
        yield Limit(
            "That no short secret is in it",
            f"{short_values:.0f} known secret value{' was' if short_values == 1 else 's were'} shorter than six "
            "characters and not searched for.",
        )


def verification(source: Source, summary: Summary) -> Verification:
    """Commands for a shell: what the bundle says of itself is quoted in them."""
    folder = source.view.folder.name
    trusted = "papyrus_verify_key=PUBLIC_KEY.pem"
    if summary.trust.kind == "keyless":
        trusted = "papyrus_verify_identity=WHO -e papyrus_verify_issuer=ISSUER"
    image = f" {extra_variable('papyrus_verify_image', summary.image.digest)}" if summary.image else ""
    verify = f"ansible-playbook papyrus.ops.verify_evidence {extra_variable('papyrus_verify_bundle', folder)}"
    sums = f"cd {shlex.quote(folder)} && sha256sum --check --strict SHA256SUMS"
    return Verification(sums, f"{verify} -e {trusted}{image}")


def skips(source: Source) -> list[Skip]:
    found = [
        Skip(text_of(each.get("id")), text_of(each.get("reason")), each.get("allowed") is True)
        for each in dicts_of(source.verdict.get("skips"))
    ]
    return list(dict.fromkeys(found))[:100]


def continued(source: Source) -> list[Continued]:
    found = []
    for entry in source.named("continued.json")[:20]:
        source.shown.add(entry.place)
        content = dict_of(source.value(entry))
        torn = number_of(content.get("torn_bytes"))
        files = [
            (text_of(each.get("path")), text_of(each.get("sha256")), word)
            for key, word in (("adopted", "whole, listed since then"), ("unlisted", "not listed"))
            for each in dicts_of(content.get(key))[:50]
        ]
        text = f"A torn last line of {size(int(torn))}" if torn else "No torn line"
        line = Block(text_of(content.get("torn_line"))[:2_000])
        found.append(Continued(clock(entry.at, date=True), text, line, files))
    return found


def crash(source: Source, summary: Summary) -> Crash | None:
    """None for a run that went through without an interruption. Its guard's log is there when the controller ended."""
    found, log = continued(source), source.last("guard.log")
    guard = proof(source, log) if log is not None else None
    return Crash(found, guard) if found or guard or summary.trust.after_crash else None


def items(source: Source) -> Items:
    shown = [_item(source, entry) for _place, entry in spread(source.entries, ITEMS)]
    total = sum(max(entry.size, 0) for entry in source.entries)
    return Items(
        shown,
        len(source.entries) - len(shown),
        f"{len(source.entries):,} lines of the manifest in their order, {size(total)} of items.",
        source.head(),
        sum(1 for each in shown if each.problem),
        len({each for entry in source.entries for each in entry.request_ids}),
    )


def _item(source: Source, entry: Entry) -> Item:
    found = source.file_size(entry)
    problem = ""
    if found is None:
        problem = "the file is missing"
    elif found != entry.size:
        problem = f"the file has {found:,} bytes, its line says {entry.size:,}"
    return Item(
        entry.place,
        entry.seq,
        clock(entry.at).removesuffix(" UTC"),
        entry.path,
        entry.name,
        entry.status,
        entry.step,
        f"{entry.size:,}" if entry.size >= 0 else "",
        entry.sha256,
        problem,
        "listed after a crash of its writer" if entry.meta.get("recovered") else "",
    )


def missing(source: Source) -> list[str]:
    """What every bundle has and this one does not, or not readably."""
    said = []
    if not source.entries:
        said.append("The manifest has no line.")
    for name, content in ((RUN_FILE, source.run), (VERDICT, source.verdict)):
        if source.last(name) is None:
            said.append(f"There is no {name}.")
        elif not content:
            said.append(f"{name} is missing or garbled.")
    unread = [name for name in _READ if (entry := source.last(name)) is not None and source.value(entry) is None]
    if unread:
        said.append(f"Missing, garbled or too long to be shown: {', '.join(unread)}.")
    return said
