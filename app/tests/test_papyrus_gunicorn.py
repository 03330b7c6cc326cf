"""The app as it runs in the image: gunicorn with its settings file (A4, A5), and the health check of the container."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from papyrus import healthcheck

APP = Path(__file__).resolve().parents[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """gunicorn in a process group of its own; `lines` are its stdout."""

    def __init__(self, factory: str = "papyrus:create_app()", **environment: str) -> None:
        self.port = free_port()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "PG"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(APP / "gunicorn.conf.py"), factory],
            cwd=APP,
            env={**inherited, "PYTHONPATH": str(APP), "PORT": str(self.port), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str, count: int = 1, timeout: float = 15) -> None:
        with self._news:
            if not self._news.wait_for(lambda: sum(text in line for line in self.lines) >= count, timeout):
                raise AssertionError(f"{text!r} not seen {count} times in {self.lines}")

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = self.process.wait(15)
        self._reader.join(5)
        return code

    def remove(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(5)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*args: str, **environment: str) -> Server:
        servers.append(Server(*args, **environment))
        return servers[-1]

    yield start
    for server in servers:
        server.remove()


def test_a4_a5_starts_without_a_database_logs_json_and_stops_gracefully(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = {"DB_HOST": "127.0.0.1", "DB_PORT": str(silent.getsockname()[1]), "DB_PASSWORD": "s3cret"}
        server = serve(DB_NAME="x", DB_USER="x", **settings)
        server.wait_for("Booting worker", count=2)
        assert server.get("/healthz")[::2] == (200, b'{"ok":true}')
        assert server.get("/dbcheck", **{"X-Request-Id": "first"})[0] == 503
        # A request under way when SIGTERM comes is answered.
        answers: list[int] = []
        under_way = threading.Thread(target=lambda: answers.append(server.get("/dbcheck")[0]))
        under_way.start()
        silent.settimeout(5)
        connections = [silent.accept()[0] for _ in range(2)]
        assert server.end() == 0
        under_way.join(10)
        assert answers == [503]
        for connection in connections:
            connection.close()
    records = [json.loads(line) for line in server.lines]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(record) for record in records))
    assert {"gunicorn.error", "papyrus.request", "papyrus.dbcheck"} <= {record["logger"] for record in records}
    first = [record for record in records if record.get("request_id") == "first"]
    assert [record["message"] for record in first] == ["database not usable", "request"]
    assert first[0]["reason"] == "timeout"
    assert (first[1]["path"], first[1]["status"]) == ("/dbcheck", 503)
    assert "s3cret" not in "".join(server.lines)


def test_a5_an_exception_is_one_line_with_the_request_id(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "broken_app.py").write_text(
        "from papyrus import create_app\n"
        "def make():\n"
        "    app = create_app()\n"
        "    app.add_url_rule('/broken', 'broken', lambda: 1 / 0)\n"
        "    return app\n"
    )
    server = serve("broken_app:make()", PYTHONPATH=f"{APP}:{tmp_path}")
    server.wait_for("Booting worker", count=2)
    status, headers, body = server.get("/broken")
    assert (status, json.loads(body)["request_id"]) == (500, headers["x-request-id"])
    assert b"ZeroDivision" not in body
    server.end()
    (record,) = [json.loads(line) for line in server.lines if "ZeroDivisionError" in line]
    assert record["request_id"] == headers["x-request-id"]
    assert record["exception"].startswith("Traceback")


def test_a4_an_app_that_cannot_be_imported_ends_the_process(serve: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "no_app.py").write_text("raise ImportError('planted')\n")
    server = serve("no_app:make()", PYTHONPATH=f"{APP}:{tmp_path}")
    # gunicorn means 3 (worker failed to boot); when both workers fail in the same instant it stumbles and ends with 1.
    assert server.process.wait(15) in (3, 1)
    server.wait_for("planted")


def test_a4_the_health_check_follows_healthz(serve: Callable[..., Server]) -> None:
    server = serve()
    server.wait_for("Booting worker", count=2)
    assert healthcheck.check("127.0.0.1", server.port) == ""
    server.end()
    assert "ConnectionRefusedError" in healthcheck.check("127.0.0.1", server.port)


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 200\r\n\r\n", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\n200", "status 503"),
        (b"HTTP/1.1 2000\r\n\r\n", "status 2000"),
        (b"", "no answer of HTTP: b''"),
        (b"RTSP/1.0 200 OK\r\n", "no answer of HTTP: b'RTSP/1.0 200 OK\\r\\n'"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "no answer of HTTP: b'SSH-2.0-OpenSSH_9.9\\r\\n'"),
        (None, "TimeoutError: timed out"),
    ],
)
def test_a4_only_a_whole_status_line_with_200_is_healthy(answer: bytes | None, fault: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _address = listener.accept()
            with connection:
                asked = connection.recv(1000)
                if answer is None:
                    connection.recv(1)  # silent until the other end gives up
                elif asked.startswith(b"GET /healthz HTTP/1.1\r\nHost: "):
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert healthcheck.check("127.0.0.1", listener.getsockname()[1], timeout=0.5) == fault
        thread.join()


def test_a4_the_dockerfile_says_what_the_image_builder_says() -> None:
    text = (APP / "Dockerfile").read_text()
    for line in ("ARG BASE\n", "USER 10001\n", "EXPOSE 5000\n", "--require-hashes --only-binary :all:"):
        assert line in text
    (command,) = [line for line in text.splitlines() if line.startswith("CMD ")]
    assert json.loads(command.removeprefix("CMD ")) == [
        *("python", "-m", "gunicorn", "-c", "/app/gunicorn.conf.py", "papyrus:create_app()")
    ]
