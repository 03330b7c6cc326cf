"""report.html in a browser: nothing leaves it, everybody can use it, it prints (J1). Needs Chromium on the machine."""

from __future__ import annotations

import http.server
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

COLLECTIONS = Path(__file__).resolve().parents[2] / "collections"
sys.path.insert(0, str(COLLECTIONS))

from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._report import report_html
from ansible_collections.papyrus.ops.tests.unit.evidence_hostile import poison
from ansible_collections.papyrus.ops.tests.unit.evidence_world import RUNS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (requirements/dev.txt)")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

NAMES = ("chromium", "chromium-browser", "google-chrome")
SEAL = {
    "trust": "kms",
    "keyid": "9f86d081",
    "identity": "arn:aws:kms:us-west-2:1:key/k",
    "by": "run",
    "afterCrash": True,
}
WIDE, PHONE = 1280, 360


def chromium() -> str | None:
    """PAPYRUS_CHROMIUM, else the first one that the PATH has."""
    chosen = os.environ.get("PAPYRUS_CHROMIUM")
    return chosen or next((path for name in NAMES if (path := shutil.which(name))), None)


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Any]:
    """A page with scripts and one without: each new one is a window with processes of its own."""
    path = chromium()
    if path is None:
        pytest.skip(f"no browser: PAPYRUS_CHROMIUM is not set, and the PATH has none of {', '.join(NAMES)}")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield {script: browser.new_page(java_script_enabled=script) for script in (True, False)}
        browser.close()


@pytest.fixture(scope="module", name="pages")
def _pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file for each kind of run, and one full of hostile text."""
    folder, files = tmp_path_factory.mktemp("reports"), {}
    for name, make in RUNS.items():
        bundle = make(folder / name)
        files[name] = folder / f"{name}.html"
        files[name].write_bytes(report_html(BundleView.of(bundle), SEAL))
        if name == "failed_probe_and_destroy":
            files["hostile"] = folder / "hostile.html"
            files["hostile"].write_bytes(report_html(poison(bundle), {"note": "x" * 3000, "trust": "y" * 300}))
    return files


class Shown:
    """A file in the page. `requests` and `messages` are what it did besides showing itself."""

    def __init__(
        self, browser: Any, file: Path, width: int = WIDE, color_scheme: str = "light", script: bool = True
    ) -> None:
        self.page = browser[script]
        self.page.set_viewport_size({"width": width, "height": 800})
        self.page.emulate_media(media="screen", color_scheme=color_scheme)
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.listeners = {
            "request": lambda request: self.requests.append(request.url),
            "console": lambda message: self.messages.append(message.text),
            "pageerror": lambda error: self.messages.append(str(error)),
        }
        for event, listener in self.listeners.items():
            self.page.on(event, listener)
        self.page.goto(file.as_uri())

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *_error: object) -> None:
        for event, listener in self.listeners.items():
            self.page.remove_listener(event, listener)
        self.page.goto("about:blank")

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")

    def overflow(self) -> int:
        """Pixels by which the page is wider than the screen."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


@pytest.mark.parametrize("name", [*RUNS, "hostile"])
def test_J1_the_page_asks_for_nothing_and_complains_of_nothing(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Shown(browser, pages[name]) as shown:
        shown.unfold()
        shown.page.wait_for_load_state("networkidle")
        assert shown.requests == [pages[name].as_uri()]
        assert shown.messages == []


@pytest.fixture(name="listener")
def _listener() -> Iterator[tuple[str, list[str]]]:
    """Address of a server, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def test_J1_the_policy_stops_what_an_escape_would_let_in(
    browser: Any, pages: dict[str, Path], tmp_path: Path, listener: tuple[str, list[str]]
) -> None:
    url, asked = listener
    evil = f"""<script>document.title = 'ran'</script><img src={url}/image onerror="document.title='ran'">
        <p style='background:url({url}/style)' id=styled>x</p><link rel=stylesheet href={url}/sheet><base href={url}/>
        <form action={url}/form><button id=send>x</button></form><iframe src={url}/frame></iframe>
        <style>body {{ background: url({url}/sheet) }}</style><object data={url}/object></object></main>"""
    file = tmp_path / "evil.html"
    clean = pages["passing_smoke"].read_text()
    file.write_text(clean.replace("</main>", evil))
    with Shown(browser, file) as shown:
        shown.page.wait_for_load_state("networkidle")
        assert shown.page.title().startswith("PASSED")
        assert shown.page.evaluate("getComputedStyle(document.getElementById('styled')).backgroundImage") == "none"
        shown.page.evaluate("document.getElementById('send').click()")
        shown.page.wait_for_timeout(200)
        for word in ("inline script", "event handler", "inline style", "base URI", "the image", "Framing", "form data"):
            assert any(word in message for message in shown.messages), (word, shown.messages)
    assert asked == []
    policy = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
    file.write_text(policy.sub("", file.read_text()))
    with Shown(browser, file) as shown:
        assert shown.page.title() == "ran", "without the policy it would have run"
    assert {"/image", "/frame"} <= set(asked)


LOOKS = [(width, scheme) for width in (WIDE, PHONE) for scheme in ("light", "dark")]


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [
        (name, *look)
        for name in ("passing_release", "failed_probe_and_destroy", "crashed_and_continued")
        for look in LOOKS[1:3]
    ]
    + [pytest.param("passing_release", *look, marks=pytest.mark.soak) for look in (LOOKS[0], LOOKS[3])],
)
def test_J1_axe_finds_no_violation(browser: Any, pages: dict[str, Path], name: str, width: int, scheme: str) -> None:
    with Shown(browser, pages[name], width, color_scheme=scheme) as shown:
        shown.unfold()
        options = {"resultTypes": ["violations"], "rules": {"target-size": {"enabled": True}}}
        found = axe.Axe().run(shown.page, options=options).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"], each["nodes"][0]["failureSummary"]) for each in found] == []


@pytest.mark.parametrize("name", [*RUNS, "hostile"])
def test_J1_no_screen_scrolls_sideways(browser: Any, pages: dict[str, Path], name: str) -> None:
    with Shown(browser, pages[name]) as shown:
        shown.unfold()
        for width in (WIDE, 1000, 768, PHONE, 320):
            shown.page.set_viewport_size({"width": width, "height": 800})
            assert shown.overflow() <= 0, width


def test_J1_light_and_dark_follow_the_reader(browser: Any, pages: dict[str, Path]) -> None:
    colours = []
    for scheme in ("light", "dark"):
        with Shown(browser, pages["passing_smoke"], color_scheme=scheme) as shown:
            colours.append(shown.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(16, 20, 26)"]


def test_J1_everything_is_there_without_javascript(browser: Any, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["failed_probe_and_destroy"], script=False) as shown:
        folded = shown.page.locator("#probes details").nth(1)
        assert not folded.locator("pre").is_visible()
        folded.locator("summary").click()
        assert folded.locator("pre").is_visible()
        assert "HTTP/1.1 503 Service Unavailable" in folded.locator("pre").inner_text()


def test_J1_print_unfolds_everything_in_light(browser: Any, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["passing_release"], color_scheme="dark") as shown:
        assert len(shown.page.pdf(format="A4")) > 50_000
        shown.page.emulate_media(media="print")
        assert shown.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        closed = shown.page.locator("details:not([open]) pre")
        seen = closed.evaluate_all("found => found.map(each => each.checkVisibility() && each.offsetHeight > 10)")
        assert len(seen) > 15 and all(seen)
        assert not shown.page.locator("nav").is_visible()


def focus(shown: Shown) -> str:
    return str(shown.page.evaluate("document.activeElement.tagName + ' ' + document.activeElement.className"))


def test_J1_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Any, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["passing_release"]) as shown:
        page = shown.page
        page.keyboard.press("Tab")
        assert focus(shown) == "A skip-link"
        assert page.locator(".skip-link").bounding_box()["x"] >= 0
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "summary"
        wanted = (
            page.locator("details > summary").count() + page.locator("main a").count() + page.locator(".scroll").count()
        )
        reached = 0
        for _key in range(wanted + 30):
            page.keyboard.press("Tab")
            if not page.evaluate("document.activeElement.closest('main') !== null"):
                break
            reached += 1
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline == "solid", focus(shown)
            if focus(shown).startswith("SUMMARY") and reached < 40:
                page.keyboard.press("Enter")
                assert page.evaluate("document.activeElement.parentElement.open") is True
                page.keyboard.press("Enter")
        hidden = page.locator("details:not([open]) .scroll, details:not([open]) a").count()
        assert reached == wanted - hidden


def test_J1_the_first_screen_has_answer_image_time_caller_and_signature(browser: Any, pages: dict[str, Path]) -> None:
    with Shown(browser, pages["passing_smoke"]) as shown:
        for text in (
            "PASSED",
            "Yes: all",
            "sha256:b7a581c664f46e7e",
            "2026-01-31 12:00:00 UTC",
            "papyrus-runner",
            "Signed by KMS",
        ):
            box = shown.page.get_by_text(text).first.bounding_box()
            assert box is not None and box["y"] + box["height"] <= 800, (text, box)
