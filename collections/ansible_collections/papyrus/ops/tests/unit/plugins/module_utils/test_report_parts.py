# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's parts: chain, timeline, proofs, release, what is gone (C5, C7, D1, E3, F, J1, J2, N2)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._report_chain import LINKS, Chain, chain
from ansible_collections.papyrus.ops.plugins.module_utils._report_proofs import casts, database, health, probes
from ansible_collections.papyrus.ops.plugins.module_utils._report_source import Source
from ansible_collections.papyrus.ops.plugins.module_utils._report_story import gone, release
from ansible_collections.papyrus.ops.plugins.module_utils._report_svg import Drawing, percent
from ansible_collections.papyrus.ops.plugins.module_utils._report_timeline import Timeline, timeline
from ansible_collections.papyrus.ops.tests.unit.evidence_shapes import DIGEST, NEW, TASK, binding
from ansible_collections.papyrus.ops.tests.unit.evidence_world import (
    World,
    failed_preflight,
    failed_probe_and_destroy,
    passing_smoke,
    rolled_back_release,
)


def source(bundle: Bundle) -> Source:
    return Source(BundleView.of(bundle))


# The chain

STATIONS = {"registry": 1, "revision": 2, "container": 2, "interface": 3, "target": 4, "answer": 5}


def chain_of(tmp_path: Path, content: Mapping[str, Any]) -> Chain:
    world = World(tmp_path / "run")
    world.keep("binding.json", content, "ok" if content.get("status") == "ok" else "ng", "N2", reason="why")
    return chain(source(world.bundle))


def ways(drawing: Drawing) -> list[str]:
    """Statuses of the stations, the first one's included."""
    return [shape.css.split()[1] for shape in drawing.shapes if shape.css.startswith("station ")]


def test_N2_a_whole_chain_is_drawn_whole(tmp_path: Path) -> None:
    found = chain_of(tmp_path, binding(NEW))
    [path] = found.paths
    assert path.status == "ok" and path.task == TASK.rpartition("/")[2]
    for drawing in (path.across, path.down):
        assert ways(drawing) == ["ok"] * 6
        assert not [shape for shape in drawing.shapes if shape.css == "cross"]
        assert drawing.title.endswith(": whole") and "broken" not in drawing.text
    assert [link.title for link in found.links] == [LINKS[name] for name in STATIONS]


@pytest.mark.parametrize("broken", STATIONS)
def test_N2_a_broken_link_is_drawn_broken_at_its_place(tmp_path: Path, broken: str) -> None:
    found = chain_of(tmp_path, binding(NEW, broken))
    [path] = found.paths
    assert path.status == "ng"
    for drawing in (path.across, path.down):
        assert [i for i, way in enumerate(ways(drawing)) if way == "ng"] == [STATIONS[broken]]
        assert len([shape for shape in drawing.shapes if shape.css == "cross"]) == 1
        assert len([shape for shape in drawing.shapes if shape.css == "way ng"]) == 2, "two ends that do not meet"
        assert drawing.title.endswith(": broken") and drawing.text.count("broken: ") == 1
    assert (found.links[0].title, found.links[0].status) == (LINKS[broken], "ng"), "broken links first"


@pytest.mark.parametrize(
    ("link", "station"),
    [("released image", 1), ("released revision", 2), ("service", 2), ("task", 2), ("target", 4), ("answer", 5)],
)
def test_N2_what_is_wrong_across_tasks_breaks_every_path(tmp_path: Path, link: str, station: int) -> None:
    across = [{"link": link, "status": "ng", "expected": "a", "found": "b", "text": "another task answers"}]
    [path] = chain_of(tmp_path, {**binding(NEW), "run": across, "status": "ng"}).paths
    assert [i for i, way in enumerate(ways(path.across)) if way == "ng"] == [station]


def test_N2_links_that_were_not_asked_or_are_not_there_are_not_drawn_as_proved(tmp_path: Path) -> None:
    content = binding(NEW)
    links = content["chains"][0]["links"]
    links[5]["status"] = "skip"
    links[3]["status"] = "whatever"
    del links[4]
    content["image"] = {}
    [path] = chain_of(tmp_path, content).paths
    assert ways(path.across) == ["none", "ok", "ok", "none", "none", "skip"]
    assert path.across.title.endswith(": incomplete")


def test_N2_without_a_binding_it_says_that_nothing_is_tied(tmp_path: Path) -> None:
    found = chain(source(failed_preflight(tmp_path / "run")))
    assert "Nothing in this bundle ties the answers to an image" in found.note and found.paths == []


def test_N2_many_tasks_have_a_bounded_number_of_paths(tmp_path: Path) -> None:
    content = binding(NEW)
    found = chain_of(tmp_path, {**content, "chains": content["chains"] * 40})
    assert (len(found.paths), found.more_paths) == (5, 35)
    assert len(found.links) + found.more_links == 240


# The timeline


def bars(found: Timeline, lane: str) -> list[dict[str, str]]:
    [drawing] = [each.drawing for each in found.lanes if each.name == lane]
    return [{**dict(shape.attributes), "css": shape.css, "title": shape.title}
            for shape in drawing.shapes if shape.css.startswith("bar")]  # fmt: skip


def test_J1_phases_are_to_scale_and_overlaps_are_said(tmp_path: Path) -> None:
    found = timeline(source(passing_smoke(tmp_path / "run")))
    [apply] = bars(found, "terraform apply")
    # From second 3 to 61 of a run of 74 seconds.
    assert (apply["x"], apply["width"], apply["css"]) == ("4.054%", "78.378%", "bar ok")
    assert apply["title"] == "terraform apply: from +3.0 s, took 58.0 s"
    assert found.overlaps == ["During terraform apply: Inside the running tasks, Database, from inside."]
    assert ("terraform apply", "+3.0 s", "58.0 s") in [(row.name, row.start, row.took) for row in found.rows]
    assert found.note == ""
    assert [lane.took for lane in found.lanes if lane.name in ("Preflight", "terraform apply")] == ["≤ 3.0 s", "58.0 s"]
    assert [lane.took for lane in found.lanes if lane.name == "Database, from inside"] == ["1.7 s of ≤ 4.0 s"]
    [preflight] = bars(found, "Preflight")
    assert (preflight["x"], preflight["width"], preflight["css"]) == ("0%", "4.054%", "bar most")
    assert preflight["title"] == "preflight.json: from +0.0 ms, took at most 3.0 s"
    measured = [each for each in bars(found, "Database, from inside") if each["css"] == "bar ok"]
    assert len(measured) == 2, "transcripts that say when they began and ended"


def test_J1_a_phase_without_an_end_is_open(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.wait(10)
    world.start_apply()
    world.wait(30)
    found = timeline(source(world.close()))
    [apply] = bars(found, "terraform apply")
    assert apply["css"] == "bar open" and "has no end" in apply["title"]
    assert [row.took for row in found.rows if row.name == "terraform apply"] == ["no end"]


def test_J1_a_failed_phase_shows_it(tmp_path: Path) -> None:
    found = timeline(source(failed_probe_and_destroy(tmp_path / "run")))
    assert bars(found, "terraform destroy")[0]["css"] == "bar ng"


def test_J1_a_clock_that_goes_back_draws_nothing_outside(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.start_apply()
    world.now -= dt.timedelta(hours=1)
    world.end_apply()
    world.destroy()
    found = timeline(source(world.close()))
    assert found.note == "The runner's clock went back during the run."
    assert [row.took for row in found.rows if row.name == "terraform apply"] == ["−1 h 00 min"]
    assert float(bars(found, "terraform apply")[0]["width"][:-1]) > 99
    for lane in found.lanes:
        for shape in lane.drawing.shapes:
            for name, value in shape.attributes:
                if name in ("x", "x1", "cx", "width") and value.endswith("%"):
                    assert 0 <= float(value[:-1]) <= 100


def test_J1_many_items_share_ticks(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    lines = [
        {**world.bundle.lines()[1], "at": f"2026-01-31T12:00:{n // 100:02d}.{n % 100:02d}0000Z"} for n in range(5000)
    ]
    lines[2500]["status"] = "ng"
    found = timeline(Source(BundleView(tmp_path, {}, lines, {})))
    ticks = [shape for lane in found.lanes for shape in lane.drawing.shapes if shape.css.startswith("tick")]
    assert 200 < len(ticks) <= 301
    assert [tick.css for tick in ticks if tick.css == "tick ng"] == ["tick ng"], "the worst one gives the look"


def test_J1_nothing_is_drawn_outside_of_its_drawing() -> None:
    assert [percent(value) for value in (-3.0, 12.3456, 140.0)] == ["0%", "12.346%", "100%"]


# Proofs


def test_C7_each_resource_is_paired_with_the_proof_that_it_is_gone(tmp_path: Path) -> None:
    found = gone(source(passing_smoke(tmp_path / "run")))
    proofs = {each.address: (each.status, each.proof) for each in found.created}
    assert proofs == {
        "aws_lb.this": ("ok", "DescribeLoadBalancers: LoadBalancerNotFound"),
        "aws_lb_listener.this": ("ok", "DescribeListeners: ListenerNotFound"),
        "aws_lb_target_group.app": ("ok", "DescribeTargetGroups: TargetGroupNotFound"),
        "aws_security_group.alb": ("ok", "DescribeSecurityGroups: InvalidGroup.NotFound"),
        "aws_security_group_rule.tasks_from_alb": ("ok", "sg-298fdb25e2b27947a was read: nothing of this run is in it"),
    }
    assert all(each.request_ids for each in found.created)
    assert found.note == "" and len(found.calls) == 6


def test_C7_what_is_still_there_or_was_never_asked_for_is_not_called_gone(tmp_path: Path) -> None:
    found = gone(source(failed_probe_and_destroy(tmp_path / "run")))
    status = {each.address: each.status for each in found.created}
    assert status["aws_lb.this"] == status["aws_security_group.alb"] == "ng"
    assert status["aws_lb_target_group.app"] == "ok"
    assert status["aws_security_group_rule.tasks_from_alb"] == "none", (
        "a gone-check that failed proves no absence in it"
    )
    assert found.note.startswith("Not proved gone: left: load balancer")
    assert [outcome[:19] for _number, _seconds, outcome in found.attempts] == ["DependencyViolation"] * 2


def test_C7_an_answer_that_found_something_proves_no_absence(tmp_path: Path) -> None:
    bundle = passing_smoke(tmp_path / "run")
    [line] = [line for line in bundle.lines() if line["name"] == "alb_sg_verify_gone.json"]
    file = bundle.folder / line["path"]
    content = json.loads(file.read_text())
    for call in content["described"]:
        call["count"] = 1
    file.write_text(json.dumps(content))
    found = gone(source(bundle))
    assert {each.address: each.status for each in found.created}["aws_lb_target_group.app"] == "none"


def test_C7_without_a_gone_check_nothing_is_proved(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.start_apply()
    world.end_apply()
    found = gone(source(world.bundle))
    assert {each.status for each in found.created} == {"none"}
    assert found.note == "Nothing in this bundle shows that what was created is gone."


def test_C5_polls_are_a_strip_and_changes_a_table(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.attach(
        [("initial", "Elb.RegistrationInProgress")] * 3 + [("unhealthy", "Target.Timeout")] * 2 + [("healthy", "")]
    )
    [found] = health(source(world.bundle))
    assert found.polls == 6
    assert [(c.poll, c.state, c.reason, c.polls) for c in found.changes] == [
        ("1", "initial", "Elb.RegistrationInProgress", 3),
        ("4", "unhealthy", "Target.Timeout", 2),
        ("6", "healthy", "1 of 1 targets are healthy", 1),
    ]
    [(name, drawing)] = found.strips
    assert name == "10.78.1.86:5000"
    assert [shape.css for shape in drawing.shapes if shape.tag == "rect"] == [
        *["health initial"] * 3, *["health unhealthy"] * 2, "health healthy"
    ]  # fmt: skip
    assert drawing.text == "polls 1 to 3: initial; polls 4 to 5: unhealthy; poll 6: healthy"


def test_C5_thousands_of_polls_have_as_many_parts_as_changes(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.attach([("initial", "r")] * 3000 + [("healthy", "")])
    [found] = health(source(world.bundle))
    [(_name, drawing)] = found.strips
    assert found.polls == 3001 and len(drawing.shapes) == 3 and len(found.changes) == 2


def test_D1_probes_have_answer_times_and_transcript(tmp_path: Path) -> None:
    found = {probe.name: probe for probe in probes(source(failed_probe_and_destroy(tmp_path / "run")))}
    assert list(found) == ["healthz", "dbcheck", "no_header"]
    assert found["dbcheck"].answers[0].startswith('HTTP/1.1 503 Service Unavailable, {"error":"password authentication')
    assert found["healthz"].answers == ['HTTP/1.1 200 OK, {"ok":true}']
    assert found["dbcheck"].proof.entry.status == "ng"
    assert found["healthz"].timings == [
        ("203.0.113.7:80", "name 0.6 ms, connect 1.1 ms, first byte 36 ms, whole 38 ms")
    ]
    assert "x-papyrus-image: " + DIGEST in found["healthz"].proof.excerpt.head


def test_D1_what_was_asked_of_no_url_is_no_probe(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.keep("note.log", "HTTP/1.1 200 OK", "ok", "D1")
    assert probes(source(world.bundle)) == []


def test_E3_the_database_proof_has_both_paths_marks_and_encryption(tmp_path: Path) -> None:
    found = database(source(passing_smoke(tmp_path / "run")))
    assert found.rows == "[('SKU-CLI','health',0), ('SKU-APP','health',0)]"
    assert [(mark.path, mark.task) for mark in found.marks] == [
        (path, TASK.rpartition("/")[2]) for path in ("app", "cli")
    ]
    assert {proof.entry.step for proof in found.proofs} == {"E1", "E2", "E3"}
    seen = {who: what for who, what, _item in found.tls}
    assert seen["Preflight's login, papyrus_app in papyrus"] == "TLSv1.3, TLS_AES_256_GCM_SHA384"
    assert seen["Session of path app"] == seen["Session of path cli"] == seen["Login of a fresh task"] == "TLSv1.3"
    assert seen["PGSSLMODE in the running container"] == "PGSSLMODE is verify-full in 1 of 1 running tasks"


def test_J2_a_recording_is_text_with_times_and_without_terminal_sequences(tmp_path: Path) -> None:
    [found] = casts(source(passing_smoke(tmp_path / "run")))
    assert [(at, str(text)) for at, text in found.frames] == [
        ("0.210 s", "INSERT 0 1\n"),
        ("0.900 s", "MARK: 20260131T120000Z-abc234 cli committed\n"),
        ("1.100 s", "TLS: TLSv1.3\n"),
    ]
    assert found.sequences == 2 and found.command.startswith("python -m papyrus.mark_cli --run ")


def test_J2_a_recording_is_bounded_and_a_garbled_one_says_so(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    events = "".join(json.dumps([number, "o", "x" * 100]) + "\n" for number in range(600))
    world.keep("long_cli.cast", json.dumps({"version": 2}) + "\n" + events, "info", "J2")
    world.keep("garbled_cli.cast", "no cast\n[1,2]\n", "info", "J2")
    long, garbled = casts(source(world.bundle))
    assert sum(len(text) for _at, text in long.frames) <= 24_100
    assert len(long.frames) + long.left_out == 600 and long.left_out > 0
    assert garbled.note == "This is no asciicast." and garbled.frames == []


def test_F_the_release_tells_image_revision_rollout_and_deaths(tmp_path: Path) -> None:
    found = release(source(rolled_back_release(tmp_path / "run")))
    assert found is not None
    assert dict(found.image)["Outcome"] == "pushed" and dict(found.image)["Tags"] == "sha256-b7a581c664f46e7e"
    assert dict(found.revision)["Registered"] == "yes"
    assert [(d.place, d.before, d.after) for d in found.differences][1] == (
        "app / environment / PGSSLMODE",
        "prefer",
        "verify-full",
    )
    [after] = found.rollouts
    assert after.result == "rolled back", "the note from before it is not told"
    assert [event.text for event in after.events if event.kind == "task stopped"][
        1
    ] == "task 1f00aa21 died: exit code 3"
    assert [event.repeats for event in after.events if event.repeats] == ["seen 8 times, until +11.2 s"]


def test_F3_a_rollout_without_a_verdict_is_told_as_far_as_it_went(tmp_path: Path) -> None:
    world = World(tmp_path / "run", "release")
    world.keep(
        "rollout.jsonl",
        [{"event": "about to begin", "task_definition": NEW}],
        "info",
        "F3",
        release={"result": "failed"},
    )
    found = release(source(world.bundle))
    assert found is not None and [each.result for each in found.rollouts] == ["about to begin"]


def test_D1_every_answer_of_a_probe_has_its_body(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    two = "HTTP/1.1 200 OK\r\na: b\r\n\r\none\nHTTP/1.1 503 No\r\n\r\n" + "x" * 400
    world.keep(
        "healthz.log", two, "ng", "D1", url="http://x", remotes=["a", "b"], timings=[{"dns": 1}, {"total": 2}, {}]
    )
    [found] = probes(source(world.bundle))
    assert found.answers == ["HTTP/1.1 200 OK, one", f"HTTP/1.1 503 No, {'x' * 300}… (100 more characters)"]
    assert found.timings == [("a", "name 1.0 s"), ("b", "whole 2.0 s"), ("", "")]


def test_F_a_long_rollout_is_cut_in_its_middle(tmp_path: Path) -> None:
    world = World(tmp_path / "run", "release")
    world.keep("rollout.jsonl", [{"event": "poll", "elapsed": n, "text": f"look {n}"} for n in range(900)], "ok", "F3")
    found = release(source(world.bundle))
    assert found is not None
    [rollout] = found.rollouts
    assert len(rollout.events) == 150 and rollout.events[-1].text == "look 899"
    assert "750 entries in the middle are in 20260131T120000Z_rollout.jsonl" in rollout.caption


def test_F_a_run_that_releases_nothing_has_no_such_part(tmp_path: Path) -> None:
    assert release(source(passing_smoke(tmp_path / "run"))) is None
