# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""report.html as a file: well-formed, deaf to the network, and harmless whatever a bundle holds (J1, N4)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _report, _report_source
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._report import model, report_html
from ansible_collections.papyrus.ops.plugins.module_utils._report_source import BUDGET, RECORDS
from ansible_collections.papyrus.ops.tests.unit.evidence_hostile import HOSTILE, poison
from ansible_collections.papyrus.ops.tests.unit.evidence_world import RUNS, World, passing_release, passing_smoke
from ansible_collections.papyrus.ops.tests.unit.examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

TAGS = frozenset(
    ["html", "head", "meta", "title", "style", "body", "a", "header", "div", "p", "code", "h1", "h2", "h3", "span",
     "ul", "li", "nav", "main", "section", "strong", "small", "dl", "dt", "dd", "table", "caption", "thead", "tbody",
     "tr", "th", "td", "details", "summary", "pre", "figure", "figcaption", "footer", "br", "svg", "path", "desc",
     "line", "circle", "rect", "text"]
)  # fmt: skip
VOID = frozenset({"meta", "br"})
ATTRIBUTES = frozenset(
    ["lang", "dir", "charset", "http-equiv", "content", "name", "class", "href", "id", "aria-label", "aria-labelledby",
     "aria-hidden", "role", "tabindex", "scope", "open", "viewbox", "width", "height", "d", "x", "y", "x1", "x2", "y1",
     "y2", "cx", "cy", "r", "rx", "text-anchor"]
)  # fmt: skip


class Page(HTMLParser):
    """Reads a page and refuses what ours never has: other tags or attributes, wrong nesting, links to elsewhere."""

    def __init__(self, html: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.headings: list[int] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html.decode())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        found = {name: value or "" for name, value in attrs}
        assert found.keys() <= ATTRIBUTES, (tag, found)
        assert len(found) == len(attrs), (tag, attrs)
        href = found.get("href", "#")
        assert href.startswith("#"), href
        self.refers += [href[1:]] if len(href) > 1 else []
        self.refers += found.get("aria-labelledby", "").split()
        self.ids += [found["id"]] if "id" in found else []
        self.headings += [int(tag[1])] if re.fullmatch(r"h\d", tag) else []
        self.tags.append((tag, found))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "path", tag  # the sign of the verdict
        self.tags.append((tag, {}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data}")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(bundle: Bundle | BundleView, seal: Mapping[str, Any] | None = None) -> Page:
    view = bundle if isinstance(bundle, BundleView) else BundleView.of(bundle)
    html = report_html(view, seal or {})
    check(html)
    return Page(html)


def check(html: bytes) -> None:
    """What holds of every page, as bytes."""
    assert html.startswith(b'<!doctype html>\n<html lang="en"')
    text = html.decode("utf-8")
    assert not re.search(r"[^\n\t -~\x80-\U0010ffff]|[\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\x80-\x9f]", text)
    style = text[text.index("<style>") + 7 : text.index("</style>")]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy.group(1).replace("&#39;", "'") == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")
    assert '<meta name="referrer" content="no-referrer">' in text
    for forbidden in ("url(", "@import", "expression(", "image-set("):
        assert forbidden not in style
    for forbidden in ("<script", "<iframe", "<object", "<embed", "<base", "<form", 'href="h'):
        assert forbidden not in text.replace(style, "")


@pytest.mark.parametrize("name", RUNS)
def test_J1_each_kind_of_run_is_a_whole_page(tmp_path: Path, name: str) -> None:
    bundle = RUNS[name](tmp_path / name)
    made = model(BundleView.of(bundle), {})
    assert (made["broken"], made["missing"]) == ([], [])
    found = page(bundle)
    assert sorted(found.ids) == sorted(set(found.ids))
    assert set(found.refers) <= set(found.ids), set(found.refers) - set(found.ids)
    assert found.headings[0] == 1 and found.headings.count(1) == 1
    steps = zip(found.headings, found.headings[1:], strict=False)
    assert all(second <= first + 1 for first, second in steps), found.headings
    assert [tag for tag, _attributes in found.tags if tag in ("header", "main", "nav", "footer")] == [
        "header", "nav", "main", "footer"
    ]  # fmt: skip
    assert all(attributes.get("scope") for tag, attributes in found.tags if tag == "th")
    drawings = [attributes for tag, attributes in found.tags if tag == "svg"]
    assert all("aria-labelledby" in each or each.get("aria-hidden") == "true" for each in drawings)


def test_J1_the_title_begins_with_the_verdict(tmp_path: Path) -> None:
    html = report_html(BundleView.of(passing_smoke(tmp_path / "run")), {})
    assert b"<title>PASSED: papyrus-task-service, run 20260131T120000Z-abc234" in html


def test_J1_the_same_bundle_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (
        passing_smoke(tmp_path / where / "run") for where in ("a", "b") if (tmp_path / where).mkdir() is None
    )
    seal = {"trust": "kms", "keyid": "k", "sealedAt": "2026-01-31T12:00:00Z"}
    one = report_html(BundleView.of(first), seal)
    assert one == report_html(BundleView.of(first), seal) == report_html(BundleView.of(second), seal)


# Hostile bundles


@pytest.mark.parametrize("name", RUNS)
def test_J1_hostile_text_is_shown_and_does_nothing(tmp_path: Path, name: str) -> None:
    view = poison(RUNS[name](tmp_path / name))
    seal = {
        "trust": HOSTILE,
        "keyid": HOSTILE,
        "identity": HOSTILE,
        "by": HOSTILE,
        "sealedAt": HOSTILE,
        "note": HOSTILE,
    }
    assert model(view, seal)["broken"] == []
    found = page(view, seal)
    shown = "</script></pre></style><zzz><img src=x onerror=alert(1)>]]>\"'--><a href='http://x'>\\u202egnp\\u2066\\x1b[31m\\x07"
    assert found.text.count(shown + "{{1234*4321}}") > 60
    assert f"papyrus-task-service{shown}" in found.text
    assert str(1234 * 4321) not in found.text


def test_J1_names_and_paths_of_lines_are_shown_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.log"
    secret.write_text("outside of the bundle")
    bundle = World(tmp_path / "run").bundle
    lines = [
        {**bundle.lines()[0], "name": f"{HOSTILE}.log", "path": path, "step": HOSTILE, "status": HOSTILE, "at": HOSTILE}
        for path in ("../secret.log", str(secret), "run.json/../../secret.log", HOSTILE)
    ]
    found = page(BundleView(bundle.folder, {"run_id": HOSTILE}, lines, {"result": HOSTILE}))
    assert "outside of the bundle" not in found.text
    assert found.text.count("the file is missing") == 4
    assert sorted(found.ids) == sorted(set(found.ids)), "four lines that all say that they are line 0"
    assert "NO VERDICT" in found.text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30) | st.just(HOSTILE),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.just("rows"), inner, max_size=4)
    ),
    max_leaves=8,
)
KEYS = (
    ["rows", "links", "chains", "run", "image", "targets", "events", "described", "resources", "parameters", "release"]
    + ["differences", "instances", "attributes", "answers", "timings", "remotes", "url", "phase", "event", "attempts"]
    + ["row", "reason", "request_ids", "torn_line", "unlisted", "failures", "first_failure", "result", "gone", "counts"]
    + ["skips", "warnings", "git", "endpoint", "started_at", "versions", "at", "elapsed", "state", "id", "status"]
    + ["link", "count", "kind", "data", "facts", "login", "operation", "Filters", "torn_bytes", "images", "base"]
)
SMALL = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
OBJECTS = st.dictionaries(st.sampled_from(KEYS), VALUES | SMALL | st.lists(SMALL, max_size=3), max_size=8)
NAMES = (
    [
        "run.json",
        "preflight.json",
        "binding.json",
        "verdict.json",
        "target_health.jsonl",
        "rollout.jsonl",
        "healthz.log",
    ]
    + ["terraform.tfstate", "terraform_outputs.json", "alb_sg_verify_gone.json", "phase.json", "continued.json"]
    + ["guard.log", "papyrus_sku_check.log", "papyrus_psql_insert_cli.cast", "image_push.json", "taskdef_diff.json"]
    + ["unknown.bin", "secrets_rds_drift.json", "terraform_destroy.log", "running_image.log", "schema_apply_exec.log"]
)
STEPS = st.sampled_from(["B", "B1", "C1", "C5", "C6", "C7", "D1", "E1", "E3", "F1", "F3", "G1", "N2", "all"])


@st.composite
def bundles(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, bytes], dict[str, Any], dict[str, Any]]:
    lines, files = [], {}
    for number in range(draw(st.integers(0, 6))):
        name = draw(st.sampled_from(NAMES))
        content = draw(st.binary(max_size=60) | OBJECTS.map(as_json) | st.lists(OBJECTS, max_size=3).map(as_lines))
        if draw(st.integers(0, 5)):
            files[f"{number}_{name}"] = content
        line: dict[str, Any] = {
            "seq": number,
            "name": name,
            "path": f"{number}_{name}",
            "status": draw(st.sampled_from(["ok", "ng", "skip"])),
            "step": draw(STEPS),
            "meta": draw(OBJECTS),
            "bytes": len(content),
            "at": "2026-01-31T12:00:00.000000Z",
        }
        garbled = draw(
            st.dictionaries(
                st.sampled_from(["seq", "path", "status", "step", "meta", "bytes", "at"]), VALUES, max_size=2
            )
        )
        line.update(garbled)
        for key in draw(st.sets(st.sampled_from(["seq", "path", "status", "meta", "at", "sha256"]), max_size=1)):
            line.pop(key, None)
        lines.append(line)
    return lines, files, draw(OBJECTS), draw(OBJECTS)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_lines(values: list[Any]) -> bytes:
    return b"".join(as_json(value) + b"\n" for value in values)


@settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    given_bundle=bundles(),
    seal=st.dictionaries(st.sampled_from(["trust", "keyid", "by", "note", "afterCrash"]), VALUES),
)
def test_J1_nothing_that_a_bundle_holds_breaks_the_page(
    tmp_path_factory: pytest.TempPathFactory, given_bundle: Any, seal: dict[str, Any]
) -> None:
    lines, files, run, verdict = given_bundle
    folder = tmp_path_factory.mktemp("bundle")
    for name, content in files.items():
        (folder / name).write_bytes(content)
    view = BundleView(folder, run, lines, verdict)
    assert model(view, seal)["broken"] == []
    page(view, seal)


# Incomplete bundles


def test_J1_a_bundle_of_run_json_alone_says_what_is_missing(tmp_path: Path) -> None:
    bundle = Bundle.create(tmp_path / "run", {"run_id": "r", "service": "s"})
    text = page(bundle).text
    assert "NO VERDICT" in text and "There is no verdict.json." in text
    assert "the run has not ended, or nobody was left to say how it did" in text


def test_J1_no_line_at_all(tmp_path: Path) -> None:
    text = page(BundleView(tmp_path, {}, [], {})).text
    assert "The manifest has no line." in text and "There is no run.json." in text


def test_J1_missing_and_garbled_items_are_named(tmp_path: Path) -> None:
    bundle = passing_smoke(tmp_path / "run")
    by_name = {line["name"]: bundle.folder / line["path"] for line in bundle.lines()}
    by_name["binding.json"].write_text("{torn")
    by_name["preflight.json"].unlink()
    by_name["healthz.log"].unlink()
    by_name["alb_sg_verify_gone.json"].write_text("[]" * 9)
    found = page(bundle)
    assert (
        "Missing, garbled or too long to be shown: preflight.json, binding.json, alb_sg_verify_gone.json." in found.text
    )
    assert "No chain could be made" in found.text
    assert found.text.count("the file is missing") == 2
    assert "the file has 5 bytes, its line says" in found.text
    assert "4 items are not as the manifest says." in found.text
    assert "B10" in found.text, "the manifest's own rows are shown where the item is missing"


def test_J1_a_part_that_cannot_be_made_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any) -> None:
        raise RuntimeError(f"no {HOSTILE}")

    monkeypatch.setattr(_report._report_chain, "chain", broken)
    found = page(passing_smoke(tmp_path / "run"))
    assert "Parts of this page could not be made chain: RuntimeError: no </script>" in found.text
    assert "identity" not in found.ids and "timeline" in found.ids


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-1e999", "1e300", "-5", "9" * 400])
def test_J1_numbers_that_are_none_break_nothing(tmp_path: Path, number: str) -> None:
    bundle = passing_release(tmp_path / "run")
    keys = "elapsed|last_elapsed|repeats|count|seconds|poll|timestamp"
    for line in bundle.lines():
        file = bundle.folder / line["path"]
        changed = re.sub(rf'("(?:{keys})": ?)[\d.]+', rf"\g<1>{number}", file.read_text())
        file.write_text(re.sub(r"^\[[\d.]+,", f"[{number},", changed, flags=re.MULTILINE))
    lines = [{**line, "seq": int(number) if number[-1].isdigit() and "e" not in number else float(number)}
             for line in bundle.lines()]  # fmt: skip
    view = BundleView.of(bundle)
    changed_view = BundleView(view.folder, view.run, lines, view.verdict)
    assert model(changed_view, {})["broken"] == []
    page(changed_view)


# Bounds


def test_J1_ten_thousand_items_in_seconds(tmp_path: Path) -> None:
    bundle = World(tmp_path / "run").bundle
    path, (first, *rest) = bundle.lines()[0]["path"], bundle.lines()
    names = (
        "healthz.log",
        "phase.json",
        "preflight.json",
        "guard.log",
        "unknown.txt",
        "a.cast",
        "papyrus_sku_check.log",
    )
    for name in names:
        (bundle.folder / name).write_bytes(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3000)
    lines = [
        {**first, "seq": number, "name": names[number % 7], "path": names[number % 7], "step": "D1", "bytes": 3019,
         "at": f"2026-01-31T12:{number // 600 % 60:02d}:{number // 10 % 60:02d}.{number % 10}00000Z",
         "meta": {"phase": f"p{number}", "event": "start", "url": "http://x", "request_ids": [str(number)]}}
        for number in range(10_000)
    ]  # fmt: skip
    began = time.monotonic()
    html = report_html(BundleView(bundle.folder, {}, [first, *rest, *lines], {}), {})
    assert time.monotonic() - began < 20
    assert len(html) < 7_000_000
    text = html.decode()
    assert text.count('<tr id="i') == 10_000, "every line that has room, of the beginning and of the end"
    assert path in text and ">9999</td>" in text
    assert "2 lines in the middle are in manifest.jsonl." in text


@pytest.mark.parametrize(("records", "seconds"), [(2_000, 6), pytest.param(RECORDS, 30, marks=pytest.mark.soak)])
def test_J1_many_long_items_are_read_in_part_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int, seconds: int
) -> None:
    monkeypatch.setattr(_report_source, "RECORDS", records)
    world = World(tmp_path / "run")
    [line] = [line for line in world.bundle.lines() if line["name"] == "lease.json"]
    (world.bundle.folder / "long").write_bytes(b'{"at":"2026-01-31T12:00:00.000000Z"}\n' * 100_000)
    lines = [
        {**line, "name": name, "path": "long", "step": "F3"} for name in ("rollout.jsonl", "target_health.jsonl") * 300
    ]
    began = time.process_time()
    report_html(BundleView(world.bundle.folder, {}, lines, {}), {})
    assert time.process_time() - began < seconds


def test_J1_a_long_item_is_cut_in_its_middle(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.keep("guard.log", "B" + "ä" * 300_000 + "END", "info", "C6")
    text = page(world.bundle).text
    assert "584,004 more bytes in 20260131T120000Z_guard.log" in text
    assert text.count("ä") == (12_000 - 2) // 2 + (4_000 - 4) // 2
    assert "Bää" in text and "ääEND" in text and "\ufffd" not in text, "no half of a character at either cut"


def test_J1_many_transcripts_end_with_the_budget(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    for number in range(150):
        world.keep(f"log{number}.log", "y" * 20_000, "info", "C6")
    for _again in range(80):
        world.keep("healthz.log", "HTTP/1.1 200 OK\n" + "z" * 20_000, "ok", "D1", url="http://x")
    for number in range(40):
        world.keep(f"proof{number}.log", "y" * 20_000, "ok", "E1")
    html = report_html(BundleView.of(world.bundle), {})
    assert BUDGET * 0.9 < html.count(b"y") + html.count(b"z") < BUDGET + 10_000
    text = Page(html).text
    assert "Not shown: this page has as many transcripts as it may hold." in text
    assert "more items are in the folder" in text


@pytest.mark.parametrize(("name", "content"), [("events.jsonl.gz", b"\x1f\x8b\x08"), ("some.log", b"text\0more")])
def test_J1_what_is_no_text_is_not_shown_as_text(tmp_path: Path, name: str, content: bytes) -> None:
    world = World(tmp_path / "run")
    world.bundle.append(name, content, status="ok", step="K1")
    assert "Not text." in page(world.bundle).text


def test_J1_one_long_word_has_a_limit_and_says_so(tmp_path: Path) -> None:
    world = World(tmp_path / "run")
    world.keep("healthz.log", "", "ng", "D1", reason="w" * 9_000, url="http://x")
    text = page(world.bundle).text
    assert "(7,000 more characters)" in text and "w" * 2_001 not in text
