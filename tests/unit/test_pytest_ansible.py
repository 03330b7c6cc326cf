"""L3: modules of the collection through pytest-ansible: found by name, packed, sent to localhost and run there."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.adhoc import CHECKOUT, MARKS, Run, collections, process, run, unchanged

__all__ = ["collections", "process", "run"]

pytestmark = MARKS


class Answers(http.server.BaseHTTPRequestHandler):
    """`/healthz`, which says whether a token came; anything else is not there."""

    protocol_version = "HTTP/1.1"
    server: Service

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = json.dumps({"status": "ok", "token": self.headers.get("X-Token") == "hunter2-hunter2"}).encode()
        self.send_response(200 if self.path == "/healthz" else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """The test's output is not the place for an access log."""


class Service(http.server.ThreadingHTTPServer):
    """A service on the loopback; `asked` are the paths of its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_L3_D1_a_probe_reaches_the_service_and_never_shows_its_secret_header(run: Run, service: Service) -> None:
    given = {"url": f"{service.url}/healthz", "secret_headers": {"X-Token": "hunter2-hunter2"}}
    result = run("http_probe", **given, expect={"status": 200, "json": {"status": "ok", "token": True}})
    assert result.get("failed", False) is False and result["ok"] is True, result
    assert result["responses"][0]["status"] == 200
    assert result["responses"][0]["transcript"].startswith("HTTP/1.1 200 OK\r\n")
    assert service.asked == ["/healthz"]
    assert "hunter2" not in json.dumps(result)


def test_L3_D1_an_answer_that_is_not_expected_fails_the_task_and_is_kept(run: Run, service: Service) -> None:
    result = run("http_probe", url=f"{service.url}/missing", expect={"status": 200}, retries=0)
    assert result["failed"] is True
    assert "404" in result["msg"] and "200" in result["msg"]
    assert result["responses"][0]["status"] == 404


def test_L3_B1_the_routes_of_the_app_are_read_where_the_module_runs(run: Run) -> None:
    given = {"source": str(CHECKOUT / "app"), "factory": "papyrus:create_app", "python": sys.executable}
    result = run("flask_routes_info", **given, required=["/healthz", "/dbcheck"])
    assert result.get("failed", False) is False and result["missing"] == [], result
    assert {route["rule"] for route in result["routes"]} >= {"/healthz", "/dbcheck"}
    assert result["log"].endswith("OK\n")


def test_L3_B1_a_route_that_is_not_registered_fails_the_task_by_its_name(run: Run) -> None:
    given = {"source": str(CHECKOUT / "app"), "factory": "papyrus:create_app", "python": sys.executable}
    result = run("flask_routes_info", **given, required=["/healthz", "/readyz"])
    assert result["failed"] is True and result["missing"] == ["/readyz"]
    assert "/readyz" in result["msg"]


def test_L3_an_option_of_the_wrong_type_is_refused_before_anything_is_sent(run: Run, service: Service) -> None:
    result = run("http_probe", url=f"{service.url}/healthz", timeout="soon")
    assert result["failed"] is True and "timeout" in result["msg"]
    assert service.asked == []


def test_L3_the_process_of_the_tests_gives_its_stdin_to_later_children(run: Run) -> None:
    def child_has_stdin() -> bool:
        return subprocess.run([sys.executable, "-c", "import os; os.fstat(0)"], check=False).returncode == 0

    with unchanged():
        run("http_probe", url="http://127.0.0.1:1/", fail=False)
        assert not child_has_stdin()  # that is what Ansible does
    assert child_has_stdin()
