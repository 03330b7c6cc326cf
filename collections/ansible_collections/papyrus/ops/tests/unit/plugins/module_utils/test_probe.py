# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe against real servers on loopback: answers as received, timings, TLS, proxy, limits, expectations (D1)."""

from __future__ import annotations

import base64
import contextlib
import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _probe, _probe_request, _probe_run
from ansible_collections.papyrus.ops.plugins.module_utils._probe_request import Address, BadRequest, build
from ansible_collections.papyrus.ops.plugins.module_utils._probe_run import Expect, Prober, Settings
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor

Handler = Callable[[socket.socket, bytes], None]
SECRET = "a-header-value-that-stays-secret"
GOOD = (
    b"HTTP/1.1 200 OK\r\nX-Zulu: 1\r\ncontent-TYPE: application/json\r\nX-Alpha: 2\r\nContent-Length: 11\r\n\r\n"
    b'{"ok":true}'
)


class Server:
    """Reads one request's head from each connection, keeps it, lets the handler answer."""

    def __init__(self, handler: Handler, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.requests: list[bytes] = []
        self.names: list[str | None] = []
        self._handler = handler
        self._context = context
        self._socket = socket.create_server((host, 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                sock, dummy = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(sock,), daemon=True).start()

    def _answer(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._context:
                sock = self._context.wrap_socket(sock, server_side=True)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                data = sock.recv(1)
                if not data:
                    break
                head += data
            self.requests.append(head)
            self._handler(sock, head)
        sock.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the accept under way too
        self._socket.close()


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(answer: bytes | Handler, **more: Any) -> Server:
        handler = answer if callable(answer) else lambda sock, head: sock.sendall(answer)
        servers.append(Server(handler, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def probe(url: str, expect: Expect | None = None, *, settings: Settings | None = None, **request: Any) -> Any:
    return Prober(build(url, **request), expect or Expect(), settings or Settings(timeout=3)).run()


def url(server: Server, path: str = "/healthz") -> str:
    return f"http://127.0.0.1:{server.port}{path}"


def test_D1_the_answer_is_kept_byte_for_byte_in_order_and_case(serve: Any) -> None:
    found = probe(url(serve(GOOD)))
    assert found.ok
    (answer,) = found.responses
    assert answer["transcript"] == GOOD.decode()
    assert [header["name"] for header in answer["headers"]] == ["X-Zulu", "content-TYPE", "X-Alpha", "Content-Length"]
    assert answer["json"] == {"ok": True}
    assert answer["remote"].startswith("127.0.0.1:")
    timings = answer["timings"]
    assert 0 <= timings["connect"] <= timings["first_byte"] <= timings["total"] < 3
    assert set(timings) == {"dns", "connect", "first_byte", "total"}


def test_D1_the_request_asks_once_and_closes(serve: Any) -> None:
    server = serve(GOOD)
    probe(url(server, "/dbcheck?run=x"), headers={"X-One": "1"}, secret_headers={"X-Run": SECRET})
    assert server.requests == [
        f"GET /dbcheck?run=x HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUser-Agent: papyrus.ops\r\nAccept: */*\r\n"
        f"X-One: 1\r\nX-Run: {SECRET}\r\nConnection: close\r\n\r\n".encode()
    ]


def test_D1_secret_headers_are_sent_but_never_shown() -> None:
    request = build("http://h/", headers={"X-One": "1"}, secret_headers={"X-Run": SECRET})
    assert SECRET in request.head("x").decode()
    assert request.shown()["headers"] == {"X-One": "1", "X-Run": "[redacted]"}


def test_D1_a_redirect_is_an_answer(serve: Any) -> None:
    server = serve(b"HTTP/1.1 301 Moved\r\nLocation: https://elsewhere/\r\nContent-Length: 0\r\n\r\n")
    found = probe(url(server))
    assert not found.ok
    assert "status is 301, expected is 200 (a redirect to https://elsewhere/, which is not followed)" in found.reason
    assert len(server.requests) == 1


def test_D1_a_chunked_body_is_joined_and_the_head_kept(serve: Any) -> None:
    raw = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"ok\r\n7\r\n":true}\r\n0\r\n\r\n'
    (answer,) = probe(url(serve(raw))).responses
    assert answer["body"] == '{"ok":true}'
    assert "Transfer-Encoding: chunked" in answer["transcript"]


def test_D1_a_binary_body_is_kept_safely(serve: Any) -> None:
    body = bytes(range(256))
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 256\r\n\r\n" + body
    (answer,) = probe(url(serve(raw))).responses
    assert answer["body"] is None
    assert base64.b64decode(answer["body_base64"]) == body
    assert "[binary body: 256 bytes, sha256 40aff2e9" in answer["transcript"]


def test_D1_a_long_body_is_cut_and_that_is_said(serve: Any) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 100_000
    found = probe(url(serve(raw)), settings=Settings(timeout=3, max_body=1000))
    (answer,) = found.responses
    assert (answer["truncated"], answer["body_bytes"]) == (True, 1000)
    assert "[cut after 1000 bytes]" in answer["transcript"]
    assert not probe(url(serve(raw)), Expect(json={"ok": True}), settings=Settings(timeout=3, max_body=1000)).ok


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "does not speak HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
            "broke off in the body after 5 bytes, 45 bytes missing",
        ),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "malformed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", "malformed"),
    ],
)
def test_D1_an_answer_that_is_none_says_why(serve: Any, raw: bytes, words: str) -> None:
    found = probe(url(serve(raw)))
    assert not found.ok
    assert words in found.reason
    assert found.responses == []


def test_D1_nobody_listening_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert f"127.0.0.1:{port}: connection refused" in probe(f"http://127.0.0.1:{port}/").reason


def test_D1_a_dripping_server_cannot_stretch_the_time_limit(serve: Any) -> None:
    def drip(sock: socket.socket, head: bytes) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 100:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)

    before = time.monotonic()
    found = probe(url(serve(drip)), settings=Settings(timeout=0.5))
    assert not found.ok
    assert time.monotonic() - before < 2


def test_D1_retries_happen_only_where_asked_and_are_all_told(serve: Any) -> None:
    answers = [b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", GOOD]
    server = serve(lambda sock, head: sock.sendall(answers[min(len(server.requests) - 1, 1)]))
    assert not probe(url(server)).ok
    assert len(server.requests) == 1
    server.requests.clear()
    found = probe(url(server), settings=Settings(timeout=3, retries=2, retry_interval=0.01))
    assert found.ok
    assert len(server.requests) == 2
    assert found.responses[0]["attempts"] == 2
    assert "status is 503" in found.failures[0]


def test_D1_head_has_no_body_whatever_the_length_says(serve: Any) -> None:
    found = probe(url(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")), method="HEAD")
    assert found.ok
    assert found.responses[0]["body"] == ""


# Addresses


def addresses(*servers: Server) -> Callable[..., _probe_request.Resolution]:
    found = tuple(Address(socket.AF_INET, ("127.0.0.1", server.port)) for server in servers)
    return lambda host, port, **more: _probe_request.Resolution(found, 1, 0.0, 0.01)


def test_D1_every_address_is_asked_and_one_bad_one_fails(serve: Any) -> None:
    good, bad = serve(GOOD), serve(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
    prober = Prober(
        build("http://alb.example/"), Expect(), Settings(every_address=True), resolve_name=addresses(good, bad)
    )
    found = prober.run()
    assert not found.ok
    assert [answer["status"] for answer in found.responses] == [200, 502]
    assert f"127.0.0.1:{bad.port}: status is 502" in found.reason
    assert found.responses[0]["timings"]["dns"] == 0.01


def test_D1_otherwise_the_first_address_that_connects_answers(serve: Any) -> None:
    closed, good, other = serve(GOOD), serve(GOOD), serve(GOOD)
    closed.close()
    names = addresses(closed, good, other)
    found = Prober(build("http://alb.example/"), Expect(), Settings(), resolve_name=names).run()
    assert found.ok
    assert (len(good.requests), len(other.requests)) == (1, 0)


def test_D1_a_name_is_asked_for_until_it_resolves() -> None:
    now = [0.0]
    asked: list[float] = []

    def ask(host: str, port: int, timeout: float) -> list[Address]:
        asked.append(now[0])
        if len(asked) < 4:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [Address(socket.AF_INET, ("127.0.0.1", port))]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    found = _probe_request.resolve("alb.example", 80, timeout=60, clock=lambda: now[0], sleep=sleep, ask=ask)
    assert (found.attempts, found.elapsed, found.error) == (4, 6.0, "")
    asked.clear()
    gone = _probe_request.resolve("alb.example", 80, timeout=3, clock=lambda: now[0], sleep=sleep, ask=ask)
    assert "alb.example does not resolve (3 tries in 3.0 s): Name or service not known" in gone.error


def test_D1_the_local_resolver_is_asked_once_and_without_doubles() -> None:
    found = _probe_request.lookup("127.0.0.1", 80, 5)
    assert found == [Address(socket.AF_INET, ("127.0.0.1", 80))]


# connect_to and proxy


@pytest.mark.parametrize(
    ("rule", "target"),
    [
        ("::127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("alb.example:80:127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("ALB.example::127.0.0.1:", ("127.0.0.1", 80)),
        (":80::8080", ("alb.example", 8080)),
        ("::[::1]:8080", ("::1", 8080)),
        ("other.example::127.0.0.1:8080", ("alb.example", 80)),
        (":443:127.0.0.1:8080", ("alb.example", 80)),
    ],
)
def test_D1_connect_to_works_as_curls(rule: str, target: tuple[str, int]) -> None:
    request = build("http://alb.example/x", connect_to=[rule])
    assert request.connect == target
    assert b"Host: alb.example\r\n" in request.head("x")


@pytest.mark.parametrize("rule", ["", "a:b:c:d", "127.0.0.1:80", "::::", "::h:99999", "::1:80::1:80"])
def test_D1_a_malformed_connect_to_is_refused(rule: str) -> None:
    with pytest.raises(BadRequest):
        build("http://h/", connect_to=[rule])


def test_D1_a_plain_request_goes_to_the_proxy_in_absolute_form(serve: Any) -> None:
    proxy = serve(GOOD)
    assert probe("http://alb.example/x?y=1", proxy=f"http://127.0.0.1:{proxy.port}").ok
    assert proxy.requests[0].startswith(b"GET http://alb.example/x?y=1 HTTP/1.1\r\nHost: alb.example\r\n")


def test_D1_with_connect_to_the_proxy_is_tunnelled_through(serve: Any) -> None:
    def tunnel(sock: socket.socket, head: bytes) -> None:
        sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        inner = b""
        while not inner.endswith(b"\r\n\r\n"):
            inner += sock.recv(1)
        proxy.requests.append(inner)
        sock.sendall(GOOD)

    proxy = serve(tunnel)
    found = probe("http://alb.example/x", proxy=f"127.0.0.1:{proxy.port}", connect_to=["::inner.example:8080"])
    assert found.ok
    assert proxy.requests[0].startswith(b"CONNECT inner.example:8080 HTTP/1.1\r\nHost: inner.example:8080\r\n")
    assert proxy.requests[1].startswith(b"GET /x HTTP/1.1\r\nHost: alb.example\r\n")


def test_D1_a_proxy_that_refuses_is_named(serve: Any) -> None:
    proxy = serve(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
    found = probe("https://alb.example/", proxy=f"127.0.0.1:{proxy.port}")
    assert "refuses CONNECT alb.example:443" in found.reason
    assert "407" in found.reason


# TLS


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, str]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    ca_file = folder / "ca.pem"
    ca_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, str(ca_file)


def test_D1_tls_is_verified_for_the_urls_host_wherever_it_connects(serve: Any, tmp_path: Path) -> None:
    context, ca_file = certificate(tmp_path, "alb.example")
    names: list[str] = []
    context.sni_callback = lambda sock, name, ctx: names.append(name)
    server = serve(GOOD, context=context)
    to = [f"::127.0.0.1:{server.port}"]
    trusting = Settings(timeout=3, ca_file=ca_file)
    found = probe("https://alb.example/healthz", settings=trusting, connect_to=to)
    assert found.ok, found.reason
    assert "tls" in found.responses[0]["timings"]
    assert names == ["alb.example"]
    assert b"Host: alb.example\r\n" in server.requests[0]
    other = probe("https://other.example/", settings=trusting, connect_to=to)
    assert "certificate verification failed: Hostname mismatch" in other.reason
    unknown = probe("https://alb.example/", connect_to=to)
    assert "certificate verification failed: self-signed" in unknown.reason


# What must not be sent


@pytest.mark.parametrize(
    "headers",
    [
        {"X-A": "1\r\nX-B: 2"},
        {"X-A": "1\n"},
        {"X-A": "\x00"},
        {"X A": "1"},
        {"X-A:": "1"},
        {"": "1"},
        {"X-A": "\u2028"},
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"X-A": "1", "x-a": "2"},
    ],
)
def test_D1_headers_cannot_smuggle_anything_in(headers: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        build("http://h/", headers=headers)
    with pytest.raises(BadRequest):
        build("http://h/", secret_headers=headers)


@pytest.mark.parametrize(
    "bad",
    [
        "http://h/a b",
        "http://h/\r\nX: y",
        "ftp://h/",
        "http:///x",
        "h/x",
        "http://user:pw@h/",
        "http://h:99999/",
        "http://h/ä",
    ],
)
def test_D1_urls_that_are_not_plain_are_refused(bad: str) -> None:
    with pytest.raises(BadRequest):
        build(bad)


def test_D1_a_proxy_with_credentials_is_refused_without_showing_them() -> None:
    with pytest.raises(BadRequest) as caught:
        build("http://h/", proxy="http://user:hush@p:1")
    assert "hush" not in str(caught.value)


# Expectations


def answer(status: int = 200, body: bytes = b'{"ok":true,"rows":1,"items":[1,2]}', **headers: str) -> _probe.Answer:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return _probe.Answer(status, b"", pairs, body, False, "127.0.0.1:80")


@pytest.mark.parametrize(
    ("expect", "problem"),
    [
        (Expect(), ""),
        (Expect(status=(200, 204)), ""),
        (Expect(status=()), ""),
        (Expect(status=(503,)), "status is 200, expected is 503"),
        (Expect(json={"ok": True}), ""),
        (Expect(json={"ok": 1}), "$.ok is True, expected is 1"),
        (Expect(json={"rows": 1.0}), ""),
        (Expect(json={"rows": "1"}), "$.rows is 1, expected is '1'"),
        (Expect(json={"more": None}), "$.more is missing"),
        (Expect(json={"items": [1]}), "$.items is [1, 2], expected is [1]"),
        (Expect(json={"items": [1, 3]}), "$.items[1] is 2, expected is 3"),
        (Expect(json_exact={"ok": True}), "expected is exactly {'ok': True}"),
        (Expect(json_exact={"ok": True, "rows": 1, "items": [1, 2]}), ""),
        (Expect(headers={"x-task": "^arn:"}), ""),
        (Expect(headers={"X-Task": "^none$"}), "header X-Task is 'arn:1', expected is /^none$/"),
        (Expect(headers={"X-Gone": "."}), "header X-Gone is missing"),
        (Expect(body_contains='"rows":1'), ""),
        (Expect(body_contains="no"), "the body does not contain 'no'"),
    ],
)
def test_D1_expectations_name_what_differs(expect: Expect, problem: str) -> None:
    problems = "; ".join(_probe_run.mismatches(expect, answer(X_Task="arn:1")))
    assert problem in problems
    assert bool(problem) == bool(problems)


def test_D1_a_body_that_is_not_json_is_shown_in_brief() -> None:
    problems = _probe_run.mismatches(Expect(json={}), answer(body=b"<html>" * 100))
    assert problems[0].startswith("the body is not JSON")
    assert len(problems[0]) < 250


def test_D1_an_expectation_that_is_no_regular_expression_is_refused() -> None:
    with pytest.raises(BadRequest):
        Expect(headers={"X": "("})


def answer_with(body: bytes, header: str = "X-A: b") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: %d\r\n\r\n%b" % (header.encode(), len(body), body)


def test_D1_a_body_is_cut_between_words_so_that_no_part_of_a_secret_stays(serve: Any) -> None:
    raw = answer_with(b'{"a": "b", "token": "hunter22-and-more"}')
    (answer,) = probe(url(serve(raw)), settings=Settings(max_body=32)).responses
    assert answer["truncated"] and answer["body"] == '{"a": "b", "token": "'
    (answer,) = probe(url(serve(answer_with(b"x" * 40))), settings=Settings(max_body=32)).responses
    assert answer["body"] == "x" * 32


def test_D1_reasons_are_cleaned_before_they_are_cut_short(serve: Any) -> None:
    redactor, secret = Redactor(), "s3cret" * 20
    redactor.add("db-password", secret)

    def reason(raw: bytes, expect: Expect) -> str:
        request = build(url(serve(raw)))
        return str(Prober(request, expect, Settings(timeout=3), clean=redactor.redact_text).run().reason)

    expect = Expect(json={"a": 1}, headers={"X-A": "^b$"})
    said = reason(answer_with(b'{"a": "%b"}' % secret.encode(), f"X-A: {secret}"), expect)
    assert said.count("[redacted:db-password:") == 2 and "s3cret" not in said
    said = reason(answer_with(b"no json " + secret.encode()), expect)
    assert "[redacted:db-password:" in said and "s3cret" not in said
    said = reason(b"garbage " + secret.encode() + b"\r\n\r\n", expect)
    assert "does not speak HTTP: 'garbage [redacted:db-password:" in said and "s3cret" not in said
