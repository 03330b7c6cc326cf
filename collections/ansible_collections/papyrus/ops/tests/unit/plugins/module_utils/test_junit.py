# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""junit.xml: every check a test case, causes instead of dumps, hostile text, bundles that are not whole (J1, N4)."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import junitparser
import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_items import capture, item, phase_item
from ansible_collections.papyrus.ops.plugins.module_utils._junit import junit_xml
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
RUN = {
    "run_id": "20260131T120000Z-abc234",
    "service": "papyrus-task-service",
    "playbook": "alb_smoke",
    "account_id": "123456789012",
    "region": "us-west-2",
    "inventory_host": "papyrus-prd",
    "started_at": "2026-01-31T12:00:00.000000Z",
}
IMAGE = "sha256:" + "ab" * 32
PREFLIGHT = {
    "name": "preflight.json",
    "step": "B",
    "rows": [
        {"id": "B10", "status": "ok", "reason": "account 123456789012"},
        {"id": "B3", "status": "skip", "reason": "ECS Exec is not used"},
    ],
}
HEALTHZ = {"name": "healthz.log", "step": "D1", "status": "ok", "content": "HTTP/1.1 200 OK", "reason": "200"}
BINDING = {"name": "binding.json", "step": "N2", "status": "ok", "content": {"image": {"digest": IMAGE}}}
GONE = {"name": "alb_sg_verify_gone.json", "step": "C7", "status": "ok", "content": {}}


def open_bundle(folder: Path, run: Mapping[str, Any] | None = None, start: dt.datetime = NOON) -> Bundle:
    """A bundle whose clock goes a second further with each item."""
    moments = (start + dt.timedelta(seconds=number) for number in range(10_000))
    return Bundle.create(folder, RUN if run is None else run, now=lambda: next(moments))


def close(
    bundle: Bundle, failure: Mapping[str, Any] | None = None, allowed: Iterable[str] = (), dirty: bool = False
) -> BundleView:
    """Adds the verdict as the run's end does."""
    judged = verdict(bundle.lines(), failure, allowed, dirty)
    status = "ng" if judged["result"] == "FAILED" else "ok"
    bundle.append("verdict.json", content_bytes(judged), status=status, step="all", meta={"result": judged["result"]})
    return BundleView.of(bundle)


def made(folder: Path, *specs: Mapping[str, Any], **end: Any) -> BundleView:
    bundle = open_bundle(folder)
    capture(bundle, [item(spec) for spec in specs])
    return close(bundle, **end)


def cases(view: BundleView) -> dict[str, Any]:
    """Test cases as junitparser reads them, by suite and name."""
    parsed = junitparser.JUnitXml.fromstring(junit_xml(view))
    found = {(suite.name, case.name): case for suite in parsed for case in suite}
    assert len(found) == parsed.tests == sum(suite.tests for suite in parsed)
    return found


def the_failure(view: BundleView) -> tuple[tuple[str, str], Any]:
    """The one failing case and its failure."""
    failing = {key: case for key, case in cases(view).items() if any(not_ok(result) for result in case.result)}
    assert len(failing) == 1, failing
    ((key, case),) = failing.items()
    return key, case.result[0]


def not_ok(result: Any) -> bool:
    return not isinstance(result, junitparser.Skipped)


# What readers of such files expect: Jenkins' junit-10.xsd and Ant's schema, as far as both agree. Children in any
# order; attributes with their form; those with `!` are required.
COUNT, SECONDS = r"\d+", r"\d+\.\d{3}"
SCHEMA: dict[str, tuple[set[str], dict[str, str]]] = {
    "testsuites": (
        {"testsuite"},
        {"name": ".+", "tests!": COUNT, "failures!": COUNT, "errors!": COUNT, "skipped!": COUNT, "time!": SECONDS},
    ),
    "testsuite": (
        {"properties", "testcase", "system-out", "system-err"},
        {
            "name!": ".+", "tests!": COUNT, "failures!": COUNT, "errors!": COUNT, "skipped!": COUNT, "time!": SECONDS,
            "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "hostname!": ".+",
        },
    ),
    "properties": ({"property"}, {}),
    "property": (set(), {"name!": ".+", "value!": ".+"}),
    "testcase": ({"skipped", "failure", "error"}, {"name!": ".+", "classname!": r"[\w.-]+", "time!": SECONDS}),
    "skipped": (set(), {"message!": ".+"}),
    "failure": (set(), {"message!": ".+", "type!": ".+"}),
    "error": (set(), {"message!": ".+", "type!": ".+"}),
    "system-out": (set(), {}),
}  # fmt: skip
LEGAL = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def check_structure(data: bytes) -> ElementTree.Element:
    """Every element against SCHEMA, every count against what it counts."""
    root = ElementTree.fromstring(data)
    assert root.tag == "testsuites"
    for element in root.iter():
        children, attributes = SCHEMA[element.tag]
        assert {child.tag for child in element} <= children
        required = {name.rstrip("!") for name in attributes if name.endswith("!")}
        forms = {name.rstrip("!"): form for name, form in attributes.items()}
        assert required <= set(element.attrib) <= set(forms)
        for name, value in element.attrib.items():
            assert re.fullmatch(forms[name], value), (element.tag, name, value)
            assert LEGAL.fullmatch(value) and "\n" not in value
        assert LEGAL.fullmatch(element.text or "")
        if element.tag in ("testsuites", "testsuite"):
            assert int(element.attrib["tests"]) == len(element.findall(".//testcase"))
            for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
                assert int(element.attrib[count]) == len(element.findall(f".//{tag}"))
        if element.tag == "testcase":
            assert len(element) <= 1
    names = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(set(names)) == len(names)
    return root


def test_J1_every_check_is_a_test_case(tmp_path: Path) -> None:
    view = made(tmp_path / "run", PREFLIGHT, HEALTHZ, BINDING, allowed=["B3"])
    found = cases(view)
    assert set(found) == {
        ("run", "the run itself"),
        ("B_preflight", "B10 preflight.json"),
        ("B_preflight", "B3 preflight.json"),
        ("D_probes", "D1 healthz.log"),
        ("N_identity_and_sweep", "N2 binding.json"),
    }
    assert {key for key, case in found.items() if case.result} == {("B_preflight", "B3 preflight.json")}
    skipped = found["B_preflight", "B3 preflight.json"].result[0]
    assert isinstance(skipped, junitparser.Skipped) and skipped.message == "ECS Exec is not used"
    root = check_structure(junit_xml(view))
    assert root.attrib["name"] == "papyrus-task-service 20260131T120000Z-abc234"
    assert (root.attrib["failures"], root.attrib["errors"], root.attrib["skipped"]) == ("0", "0", "1")
    assert {suite.attrib["hostname"] for suite in root} == {"papyrus-prd"}
    assert root[1].attrib["timestamp"] == "2026-01-31T12:00:01"
    for suite in root:
        assert {each.attrib["name"]: each.attrib["value"] for each in suite.iter("property")} == {
            "run_id": "20260131T120000Z-abc234",
            "verdict": "WARNED",
            "image": IMAGE,
            "service": "papyrus-task-service",
            "account_id": "123456789012",
            "region": "us-west-2",
        }
    assert "B3 skipped: ECS Exec is not used" in (root.findtext("testsuite/system-out") or "")


def test_J1_names_are_the_same_in_the_next_run(tmp_path: Path) -> None:
    first = made(tmp_path / "1", PREFLIGHT, HEALTHZ, HEALTHZ, GONE)
    later = open_bundle(tmp_path / "2", {**RUN, "run_id": "20270228T010203Z-zzz777"}, NOON + dt.timedelta(days=393))
    capture(later, [item(spec) for spec in (PREFLIGHT, {**HEALTHZ, "status": "ng", "reason": "503"}, HEALTHZ, GONE)])
    names = [
        [(case.attrib["classname"], case.attrib["name"]) for case in check_structure(junit_xml(view)).iter("testcase")]
        for view in (first, close(later))
    ]
    assert names[0] == names[1]
    assert ("alb_smoke.papyrus-task-service.D_probes", "D1 healthz.log (2)") in names[0]
    assert not any(mark in str(names) for mark in ("2026", "2027", "abc234", "zzz777"))


def test_J1_a_failed_check_shows_its_cause_and_where_the_proof_lies(tmp_path: Path) -> None:
    transcript = "HTTP/1.1 503 Service Unavailable\r\n\r\n" + "x" * 5000
    ng = {**HEALTHZ, "status": "ng", "content": transcript, "reason": "GET /healthz: 503 from 10.0.0.7:80"}
    view = made(tmp_path / "run", ng, failure={"step": "D1", "task": "Ask every path", "cause": "assertion failed"})
    key, failure = the_failure(view)
    assert key == ("D_probes", "D1 healthz.log")
    assert failure.message == "GET /healthz: 503 from 10.0.0.7:80"
    assert failure.text.split("\n") == [
        "GET /healthz: 503 from 10.0.0.7:80",
        "step D1, item 20260131T120001Z_healthz.log, seq 1 of the manifest",
        "task: Ask every path",
    ]


def test_J1_an_item_that_is_ng_though_its_rows_are_not(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "run")
    rows = [{"id": "B1", "status": "ok", "reason": ""}]
    bundle.append("routes.log", b"", status="ng", step="B", meta={"rows": rows, "reason": "import failed"})
    key, failure = the_failure(close(bundle))
    assert key == ("B_preflight", "B routes.log") and failure.message == "import failed"


@pytest.mark.parametrize(
    ("specs", "failure", "allowed", "key", "message"),
    [
        pytest.param(
            [HEALTHZ],
            {"step": "C1", "task": "Apply", "cause": ["the controller was killed", "(SIGKILL)"]},
            [],
            ("run", "the run itself"),
            "the controller was killed; (SIGKILL)",
            id="interrupted",
        ),
        pytest.param(
            [HEALTHZ, {"name": "terraform_apply.log", "step": "C1", "status": "ok", "content": "done"}],
            None,
            [],
            ("C_temporary_alb", "C7 alb_sg_verify_gone.json"),
            "nothing shows that the temporary resources are gone",
            id="gone-missing",
        ),
        pytest.param(
            [PREFLIGHT],
            None,
            [],
            ("B_preflight", "B3 preflight.json"),
            "skipped, which the inventory does not allow: ECS Exec is not used",
            id="skip-not-allowed",
        ),
        pytest.param([], None, [], ("run", "the run itself"), "the run holds no check", id="no-check"),
    ],
)
def test_J1_what_the_verdict_alone_says_fails_as_well(
    tmp_path: Path, specs: Any, failure: Any, allowed: Any, key: tuple[str, str], message: str
) -> None:
    view = made(tmp_path / "run", *specs, failure=failure, allowed=allowed)
    assert view.verdict["result"] == "FAILED"
    found, result = the_failure(view)
    assert (found, result.message) == (key, message)
    assert isinstance(result, junitparser.Failure)
    check_structure(junit_xml(view))


def test_J1_an_item_without_a_reason_has_the_cause_of_what_it_ended(tmp_path: Path) -> None:
    ng = {"name": "healthz.log", "step": "D1", "status": "ng", "content": ""}
    _key, failure = the_failure(made(tmp_path / "run", ng, failure={"step": "D1", "task": "Ask", "cause": "no route"}))
    assert failure.message == "no route"


def test_J1_the_image_is_a_digest_or_not_named(tmp_path: Path) -> None:
    view = made(tmp_path / "run", {**BINDING, "content": {"image": {"digest": "papyrus:latest"}}})
    assert b'"image"' not in junit_xml(view)


def test_J1_each_failure_of_the_verdict_is_shown_once(tmp_path: Path) -> None:
    ng = {"name": "healthz.log", "step": "D1", "status": "ng", "content": "", "reason": "first"}
    view = made(
        tmp_path / "run",
        ng,
        {**ng, "reason": "second"},
        PREFLIGHT,
        {**GONE, "status": "ng", "reason": "the ALB is there"},
        failure={"step": "B3", "task": "Exec", "cause": "the agent\nis gone"},
    )
    failing = {key: case.result[0].message for key, case in cases(view).items() if case.result}
    assert failing == {
        ("run", "the run itself"): "the agent is gone",
        ("B_preflight", "B3 preflight.json"): "skipped, which the inventory does not allow: ECS Exec is not used",
        ("C_temporary_alb", "C7 alb_sg_verify_gone.json"): "the ALB is there",
        ("D_probes", "D1 healthz.log"): "first",
        ("D_probes", "D1 healthz.log (2)"): "second",
    }
    assert len(failing) == len(view.verdict["failures"])


def test_J1_times_are_those_of_probes_attempts_and_phases(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "run")
    apply = {"name": "terraform_apply.log", "step": "C1", "status": "ok", "content": ""}
    timings = [{"total": 0.25}, {"total": 0.5}, {"total": -1}, {"total": "1"}]
    rows = [{"id": each, "status": "ok", "reason": ""} for each in ("D1", "D3")]
    probe = {**HEALTHZ, "rows": rows, "meta": {"timings": timings}}
    destroy = {**apply, "name": "terraform_destroy.log", "step": "C6", "meta": {"attempts": [{"seconds": 2.5}]}}
    capture(bundle, [phase_item({"name": "terraform apply", "event": "start"})])
    capture(bundle, [item(PREFLIGHT), item(apply), phase_item({"name": "terraform apply", "event": "end"})])
    capture(bundle, [item(each) for each in (probe, destroy, GONE)])
    root = check_structure(junit_xml(close(bundle, allowed=["B3"])))
    taken = {case.attrib["name"]: case.attrib["time"] for case in root.iter("testcase")}
    assert taken["C1 terraform_apply.log"] == "3.000"
    assert (taken["D1 healthz.log"], taken["D3 healthz.log"]) == ("0.750", "0.000"), "an item's time counts once"
    assert (taken["C6 terraform_destroy.log"], taken["C7 alb_sg_verify_gone.json"]) == ("2.500", "0.000")
    assert root.attrib["time"] == "8.000", "from the start of the run to its verdict"
    assert {suite.attrib["name"]: suite.attrib["time"] for suite in root}["C_temporary_alb"] == "5.500"


HOSTILE = (
    "\x00\x1b[2J ]]> <failure message='x'/> &amp; \ud800 \udfff \ufffe \uffff \u202e \"' \u2028 " + "é\U0001f600" * 4000
)


def test_J1_hostile_text_stays_text(tmp_path: Path) -> None:
    """Names, reasons, causes and run.json as an attacker of the service would have them; built without the writer."""
    row = {"id": HOSTILE, "status": "ng", "reason": HOSTILE}
    line = {
        "seq": HOSTILE, "at": HOSTILE, "name": HOSTILE, "path": HOSTILE, "status": "ng", "step": HOSTILE,
        "meta": {"rows": [row, {"id": "D1", "status": "skip", "reason": HOSTILE}], "timings": [{"total": 1e308}, 7]},
    }  # fmt: skip
    ended = {"step": HOSTILE, "task": HOSTILE, "cause": HOSTILE}
    judged = {"result": "FAILED", "failures": [ended, {}], "skips": [7], "warnings": [HOSTILE, 7]}
    run = dict.fromkeys(RUN, HOSTILE)
    data = junit_xml(BundleView(tmp_path, run, [line], judged))
    root = check_structure(data)
    assert len(root.findall(".//failure")) == 3 and b"\x1b" not in data
    assert {element.get("time", "0.000") for element in root.iter()} == {"0.000"}
    assert len(data) < 100_000, "long text is cut"
    assert junitparser.JUnitXml.fromstring(data).failures == 3


@pytest.mark.parametrize(
    ("run", "judged", "lines", "said"),
    [
        ({}, {"result": "PASSED"}, [], "run.json is missing"),
        (RUN, {}, [], "the bundle has no verdict"),
        (RUN, {"result": "EXCELLENT"}, [], "the bundle has no verdict"),
        (RUN, {"result": ["PASSED"], "failures": "none", "skips": 1, "warnings": {}}, [], "the bundle has no verdict"),
        (RUN, {"result": "PASSED"}, [{"name": "x.log"}], "line 1 of the manifest is no check"),
        (RUN, {"result": "PASSED"}, [{"name": "x", "step": "B", "status": "good"}], "unknown status good"),
        (RUN, {"result": "PASSED"}, [{"name": "x", "step": "B", "status": "ok", "meta": [1]}], "is no check"),
        (RUN, {"result": "PASSED"}, [{"name": "running_image.log", "status": "ok", "meta": [1]}], "is no check"),
        (RUN, {"result": "PASSED"}, [{"name": "x", "step": "B", "status": "ng"}], "the verdict says PASSED, though"),
        (RUN, {"result": "WARNED", "failures": [{"cause": "x"}]}, [], "the verdict says WARNED, though 1"),
    ],
)
def test_N4_a_bundle_that_is_not_whole_is_an_error_and_not_a_pass(
    tmp_path: Path, run: Any, judged: Any, lines: Any, said: str
) -> None:
    root = check_structure(junit_xml(BundleView(tmp_path, run, lines, judged)))
    errors = [error.attrib["message"] for error in root.iter("error")]
    assert len(errors) == 1 and said in errors[0]


def test_N4_a_failed_verdict_fails_even_without_a_reason(tmp_path: Path) -> None:
    root = check_structure(junit_xml(BundleView(tmp_path, RUN, [], {"result": "FAILED"})))
    assert [failure.attrib["message"] for failure in root.iter("failure")] == [
        "the verdict is FAILED and names no failure"
    ]


def test_N4_files_of_the_bundle_that_are_no_json(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "run")
    bundle.append("binding.json", b"[1]", status="ok", step="N2")
    bundle.append("verdict.json", b'{"result":', status="ok", step="all")
    (bundle.folder / "run.json").write_bytes(b"\xff")
    root = check_structure(junit_xml(BundleView.of(bundle)))
    (error,) = root.iter("error")
    assert "no verdict" in error.attrib["message"] and "run.json is missing" in (error.text or "")


def test_J1_what_a_crash_left_is_said(tmp_path: Path) -> None:
    bundle = open_bundle(tmp_path / "run")
    capture(bundle, [item(HEALTHZ)])
    (bundle.folder / "20260131T120000Z_lost.log").write_bytes(b"")
    with bundle.manifest.open("ab") as file:
        file.write(b"{")
    bundle.recover()
    root = check_structure(junit_xml(close(bundle)))
    said = root.findtext("testsuite/system-out") or ""
    assert "continued after a writer had been killed: a line was torn, 1 files without a line were listed, 0" in said
    assert {case.attrib["name"] for case in root.iter("testcase")} == {"the run itself", "D1 healthz.log"}


def test_J1_two_thousand_failing_checks_are_quick_and_whole(tmp_path: Path) -> None:
    lines = [
        {"name": "x.log", "step": "D1", "status": "ng", "path": f"{n}_x.log", "seq": n, "meta": {"reason": f"no {n}"}}
        for n in range(2000)
    ]
    judged = verdict(lines)
    data = junit_xml(BundleView(tmp_path, RUN, lines, json.loads(json.dumps(judged))))
    root = check_structure(data)
    assert [failure.attrib["message"] for failure in root.iter("failure")] == [f"no {n}" for n in range(2000)]
