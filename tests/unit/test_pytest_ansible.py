"""L3: modules of the collection through pytest-ansible: found by name, packed, sent to localhost and run there."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.plugins.loader import init_plugin_loader
from ansible.utils.collection_loader import AnsibleCollectionConfig

CHECKOUT = Path(__file__).resolve().parents[2]
Run = Callable[..., dict[str, Any]]

pytestmark = [
    # pytest-ansible means to give its host manager up some day, and names nothing to use instead.
    pytest.mark.filterwarnings("ignore:Host management is deprecated:DeprecationWarning"),
    # It sets up the loader of collections for each task, here after the one that knows the checkout's.
    pytest.mark.filterwarnings("ignore:AnsibleCollectionFinder has already been configured:UserWarning"),
    # Ansible forks its workers beside a thread that reads their results.
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


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


@pytest.fixture(scope="module")
def collections() -> Iterator[None]:
    """Ansible's loader of collections, with the checkout's; afterwards all is as other tests of the process had it."""

    def loaded() -> dict[str, Any]:
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "ansible_collections"}

    before, finders, hooks = loaded(), list(sys.meta_path), list(sys.path_hooks)
    for name in before:
        del sys.modules[name]
    init_plugin_loader([str(CHECKOUT / "collections")])
    yield
    for name in loaded():
        del sys.modules[name]
    sys.modules.update(before)
    sys.meta_path[:], sys.path_hooks[:] = finders, hooks
    sys.path_importer_cache.clear()
    AnsibleCollectionConfig._collection_finder = None


@contextlib.contextmanager
def unchanged() -> Iterator[None]:
    """Ansible in this process handles its signals, and lets no later child have its stdin: both as they were again."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    handlers = {number: signal.getsignal(number) for number in numbers}
    inheritable = {fd: os.get_inheritable(fd) for fd in (0, 1, 2)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for fd, value in inheritable.items():
            os.set_inheritable(fd, value)


@pytest.fixture
def process() -> Iterator[None]:
    with unchanged():
        yield


@pytest.fixture
def run(ansible_adhoc: Any, collections: None, process: None, tmp_path: Path) -> Run:
    """Runs one module on localhost, with the interpreter of the tests: `run("http_probe", url=…)` gives its result."""
    inventory = tmp_path / "hosts.json"
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_remote_tmp": str(tmp_path / "remote"),
    }
    inventory.write_text(json.dumps({"all": {"hosts": {"localhost": variables}}}))

    def call(module: str, **options: Any) -> dict[str, Any]:
        localhost = ansible_adhoc(inventory=str(inventory), host_pattern="localhost")["localhost"]
        return dict(getattr(localhost, f"papyrus.ops.{module}")(**options)["localhost"])

    return call


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
