# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's first screen: may this image be released, what proves it, and what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from ._ecs_tasks import short
from ._leftovers import KINDS, by_hand
from ._report_source import Source, dict_of, dicts_of, list_of, text_of
from ._report_text import clock, cut, duration, moment
from ._report_trail import claims as trail_claims
from ._statement import Image, image_of, task_definition_of
from ._verdict import GONE_ITEM, release_line

RESULTS = {"PASSED": "pass", "WARNED": "warn", "FAILED": "fail"}
"""A verdict's result and the tone in which it is shown; "none" for a bundle without one."""

_AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")

_TREES = {
    True: "with changes that no commit holds",
    False: "clean working tree",
    None: "whether the tree was clean is not known",
}

STEPS = {
    "B": "Preflight",
    "C1": "Temporary load balancer",
    "C4": "Running task as target",
    "C5": "Health of the target",
    "C6": "Teardown",
    "C7": "Proof that everything is gone",
    "D1": "Answers through the load balancer",
    "D2": "Terraform's state and outputs",
    "E1": "Database write from inside the task",
    "E2": "Database write through the load balancer",
    "E3": "Read-back from the database",
    "F1": "Image",
    "F2": "Task definition",
    "F3": "Rollout and running tasks",
    "G1": "Schema",
    "I1": "Monitoring",
    "J1": "Evidence",
    "J2": "Recording",
    "K1": "CloudTrail",
    "K2": "Trail of the last hours",
    "K3": "The app's log",
    "N1": "Lease and teardown",
    "N2": "Identity chain",
    "N4": "Sealed bundle",
    "all": "The run",
}


def step_title(step: str) -> str:
    return STEPS.get(step) or STEPS.get(step[:1], "")


@dataclass(frozen=True)
class Failure:
    step: str
    title: str
    cause: str
    task: str
    item: str


@dataclass(frozen=True)
class Claim:
    """One thing that the bundle shows; `status` ok, ng, skip or none (nothing in the bundle shows it)."""

    status: str
    title: str
    text: str
    anchor: str


@dataclass(frozen=True)
class Trust:
    """How far the signature reaches: `kind` none, self-asserted, kms, keyless or unknown."""

    kind: str
    title: str
    text: str
    keyid: str = ""
    identity: str = ""
    sealed: str = ""
    after_crash: bool = False
    note: str = ""


@dataclass(frozen=True)
class Left:
    """What the run may have left in AWS: `known` False when nothing shows it."""

    known: bool
    text: str
    resources: list[tuple[str, str]] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Summary:
    result: str
    tone: str
    question: str
    answer: str
    run_id: str
    service: str
    image: Image | None
    task_definition: str
    playbook: str
    counts: str
    started: str
    ended: str
    took: str
    caller: str
    account: str
    region: str
    endpoint: str
    local: bool
    commit: str
    dirty: bool | None
    tree: str
    versions: list[str]
    first: Failure | None
    others: list[Failure]
    destroy: Failure | None
    release: str
    release_proven: bool
    left: Left
    warnings: list[str]
    chips: list[tuple[str, str]]
    claims: list[Claim]
    trust: Trust


def summary(source: Source, seal: Mapping[str, Any]) -> Summary:
    run, verdict = source.run, source.verdict
    result = text_of(verdict.get("result"))
    endpoint = text_of(run.get("endpoint"))
    image = image_of(source.view)
    git = dict_of(run.get("git"))
    dirty = git["dirty"] if isinstance(git.get("dirty"), bool) else None
    times = [at for at in (moment(run.get("started_at")), *(entry.at for entry in source.entries)) if at is not None]
    first, destroy = failure_of(verdict.get("first_failure")), failure_of(verdict.get("failed_destroy"))
    every = [failure for item in list_of(verdict.get("failures")) if (failure := failure_of(item)) is not None]
    local, said_trust = is_local(endpoint), trust(seal)
    left = left_behind(source)
    question, answer = _answer(source, result, first, local, image, left)
    return Summary(
        result=result if result in RESULTS else "NO VERDICT",
        tone=RESULTS.get(result, "none"),
        question=question,
        answer=answer,
        run_id=text_of(run.get("run_id")) or source.view.folder.name,
        service=text_of(run.get("service")),
        image=image,
        task_definition=task_definition_of(source.view),
        playbook=text_of(run.get("playbook")),
        counts=_counts(verdict),
        started=clock(times[0], date=True) if times else "",
        ended=clock(times[-1], date=True) if len(times) > 1 else "",
        took=duration((times[-1] - times[0]).total_seconds()) if len(times) > 1 else "",
        caller=text_of(run.get("caller_arn")),
        account=text_of(run.get("account_id")),
        region=text_of(run.get("region")),
        endpoint=endpoint,
        local=local,
        commit=text_of(git.get("commit")),
        dirty=dirty,
        tree=_TREES[dirty],
        versions=[
            f"{name.replace('_', '-')} {text_of(value)}"
            for name, value in sorted(dict_of(run.get("versions")).items())
            if value
        ],
        first=first,
        others=[failure for failure in every if failure not in (first, destroy)],
        destroy=destroy if destroy != first else None,
        release=_release(verdict),
        release_proven=dict_of(verdict.get("release")).get("proven") is True,
        left=left,
        warnings=warnings_of(verdict),
        chips=_chips(source, local, said_trust),
        claims=claims(source),
        trust=said_trust,
    )


def _chips(source: Source, local: bool, trust: Trust) -> list[tuple[str, str]]:
    """What limits the verdict, beside it."""
    where = ("skip", "Not AWS: a local stand-in") if local else ("plain", "AWS")
    signed = {
        "none": ("skip", "Not signed"),
        "self-asserted": ("plain", "Signed, self-asserted"),
        "kms": ("plain", "Signed by KMS"),
        "keyless": ("plain", "Signed keyless"),
    }
    found = [where, signed.get(trust.kind, ("skip", "Signed, unknown class"))]
    if source.last("continued.json") is not None:
        found.append(("skip", "Continued after a crash"))
    if trust.after_crash:
        found.append(("skip", "Sealed after a crash"))
    if source.last("guard.log") is not None:
        found.append(("skip", "Completed by its guard"))
    return found


def is_local(endpoint: str) -> bool:
    """Whether the calls went to something else than AWS: an endpoint of a domain that is not AWS'."""
    if not endpoint:
        return False
    try:
        host = urlsplit(endpoint).hostname or ""
    except ValueError:
        return True
    return not host.endswith(_AWS_DOMAINS)


def failure_of(value: Any) -> Failure | None:
    if not isinstance(value, Mapping):
        return None
    step = text_of(value.get("step"))
    return Failure(step, step_title(step), text_of(value.get("cause")), text_of(value.get("task")),
                   text_of(value.get("name")))  # fmt: skip


def _answer(
    source: Source, result: str, first: Failure | None, local: bool, image: Image | None, left: Left
) -> tuple[str, str]:
    """The question that the reader has, and what this bundle answers."""
    question = "Did the run succeed?" if image is None else "May this image be released?"
    counts = dict_of(source.verdict.get("counts"))
    checks = f"all {text_of(counts.get('ok'))} checks passed" if counts.get("ok") else "every check passed"
    gone = {"ok": " and everything that was created is gone", "not needed": "; the run created nothing temporary"}
    checks += gone.get(text_of(source.verdict.get("gone")), "")
    warned = len(warnings_of(source.verdict))
    warnings = f", with {warned} warning{'' if warned == 1 else 's'}" if result == "WARNED" else ""
    if result in ("PASSED", "WARNED"):
        if local:
            return question, f"Rehearsed, not proven on AWS{warnings}: {checks}, but AWS was a local stand-in."
        return question, f"Yes{warnings}: {checks}."
    if result == "FAILED":
        where = f" at {first.step} ({first.title})" if first and first.step and first.title else ""
        serving = text_of(dict_of(source.verdict.get("release")).get("serving"))
        serves = f" {short(serving)} serves." if serving else ""
        return question, f"No. The run failed{where}.{serves}{_left_words(left)}"
    return (
        question,
        "Not known. The bundle has no verdict: the run has not ended, or nobody was left to say how it did.",
    )


def _left_words(left: Left) -> str:
    if left.resources:
        return f" {len(left.resources)} resources are left behind."
    return "" if left.known else " What is left behind is not known."


def _counts(verdict: Mapping[str, Any]) -> str:
    counts = dict_of(verdict.get("counts"))
    words = {"ok": "OK", "ng": "NG", "skip": "skipped"}
    return ", ".join(f"{text_of(counts[key])} {word}" for key, word in words.items() if key in counts) or "not known"


def warnings_of(verdict: Mapping[str, Any]) -> list[str]:
    """Each once: a release asks its preflight twice."""
    return list(dict.fromkeys(text_of(warning) for warning in list_of(verdict.get("warnings"))))


def _release(verdict: Mapping[str, Any]) -> str:
    release = verdict.get("release")
    if not isinstance(release, Mapping):
        return ""
    texts = {key: value if key == "proven" else text_of(value) for key, value in release.items()}
    return release_line(texts).removeprefix("Release: ")


def left_behind(source: Source) -> Left:
    gone = text_of(source.verdict.get("gone"))
    entry = source.last(GONE_ITEM)
    found = dict_of(source.value(entry))
    resources = [
        (text_of(each.get("kind")).replace("_", " "), text_of(each.get("id")))
        for each in dicts_of(found.get("resources"))
    ]
    commands = _by_hand(dicts_of(found.get("resources")), text_of(source.run.get("region")))
    if entry is None:
        if gone == "not needed":
            return Left(True, "Nothing: the run ended before it created anything.")
        return Left(False, "Not known: no item shows what is left.")
    if entry.status == "ok" and not resources:
        return Left(True, f"Nothing: {entry.reason or 'the gone-check is ok'}.")
    return Left(bool(resources), entry.reason or "What is left is not known.", resources, commands)


def _by_hand(resources: list[Mapping[str, Any]], region: str) -> list[str]:
    """Made anew from kinds and ids, quoted: a command of the bundle's own is for nobody's shell."""
    try:
        return by_hand([each for each in resources if each.get("kind") in KINDS], region)
    except (KeyError, TypeError, ValueError):
        return []


# What proves it


def claims(source: Source) -> list[Claim]:
    playbook = text_of(source.run.get("playbook"))
    smoke = playbook in ("alb_smoke", "release")
    found = [
        _by_item(source, "preflight.json", "Everything was in order before it began", "preflight", smoke),
        _rollout(source),
        _schema(source),
        _by_item(source, "binding.json", "What answers is this image", "identity", smoke),
        _probes(source, smoke),
        _database(source, smoke),
        _by_item(source, "app_json.log", "The app has logged it", "rest", False),
        _by_item(
            source, "alarm_drill.jsonl", "Each alarm rings, is heard, and ends", "rest", playbook == "alarm_drill"
        ),
        *(Claim(status, title, text, "trail") for status, title, text in trail_claims(source)),
        _by_item(source, GONE_ITEM, "Everything created is gone", "gone", smoke),
    ]
    return [replace(claim, text=cut(claim.text, 260)) for claim in found if claim is not None]


def _by_item(source: Source, name: str, title: str, anchor: str, expected: bool) -> Claim | None:
    entry = source.last(name)
    if entry is None:
        nothing = "Nothing was created." if name == GONE_ITEM and source.last("terraform_apply.log") is None else ""
        return Claim("none", title, nothing or f"Not reached: the bundle has no {name}.", anchor) if expected else None
    text = entry.reason
    if entry.rows:
        good = sum(1 for row in entry.rows if row.get("status") == "ok")
        text = f"{good} of {len(entry.rows)} questions answered OK"
        for status, word in (("ng", "NG"), ("skip", "skipped")):
            rows = ", ".join(text_of(row.get("id")) for row in entry.rows if row.get("status") == status)
            text += f"; {word}: {rows}" if rows else ""
    return Claim(entry.status, title, text or entry.name, anchor)


def _rollout(source: Source) -> Claim | None:
    text = _release(source.verdict)
    if not text:
        return None
    release = dict_of(source.verdict.get("release"))
    deployed = release.get("result") == "deployed"
    proven = deployed and release.get("proven") is True
    return Claim("ok" if proven else "skip" if deployed else "ng", "The revision was rolled out", text, "rollout")


def _schema(source: Source) -> Claim | None:
    steps = [entry for entry in source.entries if entry.step == "G1"]
    if not steps:
        return None
    status = "ng" if any(entry.status == "ng" for entry in steps) else steps[-1].status
    return Claim(
        status, "The schema is in order", "; ".join(entry.reason for entry in steps if entry.reason), "database"
    )


def _probes(source: Source, expected: bool) -> Claim | None:
    probes = [entry for entry in source.entries if entry.step == "D1" and "url" in entry.meta]
    title = "The service answers as it should"
    if not probes:
        return Claim("none", title, "Not reached: the bundle has no answer.", "probes") if expected else None
    newest = {entry.name: entry for entry in probes}
    bad = [entry.name.removesuffix(".log") for entry in newest.values() if entry.status == "ng"]
    good = [entry.name.removesuffix(".log") for entry in newest.values() if entry.status == "ok"]
    text = "; ".join(([f"NG: {', '.join(bad)}"] if bad else []) + ([f"as expected: {', '.join(good)}"] if good else []))
    return Claim("ng" if bad else "ok" if good else "skip", title, text, "probes")


def _database(source: Source, expected: bool) -> Claim | None:
    items = {entry.name: entry for entry in source.entries if entry.step in ("E1", "E2", "E3")}
    title = "It writes to its database, encrypted"
    if not items:
        return Claim("none", title, "Not reached: the bundle has no proof.", "database") if expected else None
    bad = [entry for entry in items.values() if entry.status == "ng"]
    if bad:
        return Claim("ng", title, "; ".join(_words(entry) for entry in bad), "database")
    said = {
        "papyrus_psql_insert_cli.log": "written from inside the task",
        "papyrus_psql_insert_app.log": "written through the load balancer",
        "papyrus_sku_check.log": "read back",
        "plaintext_refused.log": "plaintext refused",
        "fresh_login.log": "fresh login with today's secret",
    }
    proved = [text for name, text in said.items() if name in items and items[name].status == "ok"]
    proved += [name for name, entry in items.items() if name not in said and entry.status == "ok"]
    skipped = [name for name, entry in items.items() if entry.status == "skip"]
    text = ", ".join(proved) + (f"; skipped: {', '.join(skipped)}" if skipped else "")
    return Claim("skip" if skipped else "ok" if proved else "none", title, text, "database")


def _words(entry: Any) -> str:
    reasons = [text_of(row.get("reason")) for row in entry.rows if row.get("status") == "ng"]
    return "; ".join(reason for reason in reasons if reason) or entry.reason or f"{entry.name} is NG"


# Signature


def trust(seal: Mapping[str, Any]) -> Trust:
    kind = text_of(seal.get("trust"))
    identity, keyid = text_of(seal.get("identity")), text_of(seal.get("keyid"))
    texts = {
        "": (
            "Not signed",
            "Nobody has put a name to this bundle. Its hash chain shows a change only to those who know the chain's "
            "last hash from elsewhere; whoever can write these files can write them anew.",
        ),
        "self-asserted": (
            "Signed by the runner's own key (self-asserted)",
            "Nobody without that key can change the bundle unseen. The key lies with the runner, so the runner itself "
            "could have made everything up: believe it as far as you believe the runner.",
        ),
        "kms": (
            "Signed by an AWS KMS key (kms)",
            "Only a principal whom the key's policy admits can sign so; CloudTrail of the key's account has each use. "
            "What the runner observed is still the runner's word.",
        ),
        "keyless": (
            "Signed keyless through Sigstore (keyless)",
            "The certificate names the workflow that signed, and the signature is in a public log. "
            "What the runner observed is still the runner's word.",
        ),
    }
    title, text = texts.get(kind, (f"Signed, trust class {kind}", "This page does not know that class."))
    by = {"run": "at the end of the run", "guard": "by the guard of the run", "evidence_seal": "later, by hand"}
    when = clock(moment(seal.get("sealedAt")), date=True)
    how = by.get(text_of(seal.get("by")), "")
    return Trust(
        kind if kind in texts and kind else "none" if not kind else "unknown",
        title,
        text,
        keyid,
        identity,
        " ".join(part for part in ("Sealed", how, when and f"({when})") if part) if kind else "",
        seal.get("afterCrash") is True,
        text_of(seal.get("note")),
    )
