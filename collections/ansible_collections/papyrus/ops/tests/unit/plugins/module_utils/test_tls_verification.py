# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""H2: every client of ours turns away from a server that it cannot be sure of, before it has said anything."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure, client_factory, module_clients
from ansible_collections.papyrus.ops.plugins.module_utils._db_login import Login, Transport, login
from ansible_collections.papyrus.ops.plugins.module_utils._probe_request import build
from ansible_collections.papyrus.ops.plugins.module_utils._probe_run import Expect, Prober, Settings
from ansible_collections.papyrus.ops.plugins.module_utils._registry import Endpoint, Registry
from ansible_collections.papyrus.ops.plugins.module_utils._ssm_socket import Socket
from ansible_collections.papyrus.ops.plugins.module_utils._timestamps import request_timestamp
from ansible_collections.papyrus.ops.tests.unit.tls_server import HOST, Certificates, serving

SECRET = "what-only-the-right-server-may-hear"


def probe(port: int, ca_file: str | None) -> str:
    request = build(f"https://{HOST}:{port}/", secret_headers={"X-Run": SECRET})
    return Prober(request, Expect(), settings=Settings(timeout=5, resolve_timeout=1, ca_file=ca_file)).run().reason


def database(port: int, ca_file: str | None) -> str:
    return login(Login(HOST, port, "papyrus", "papyrus_app", SECRET), Transport(ca_file, "127.0.0.1")).reason


def registry(port: int, ca_file: str | None) -> str:
    asked = Registry(Endpoint("https", f"{HOST}:{port}", "AWS", SECRET), attempts=1, timeout=(5, 5))
    return said(lambda: asked.head("papyrus", "tag"))


def data_channel(port: int, ca_file: str | None) -> str:
    environment = {"AWS_CA_BUNDLE": ca_file} if ca_file else {}
    return said(lambda: Socket(f"wss://{HOST}:{port}/v1?{SECRET}", SECRET, timeout=5, environment=environment))


def timestamp(port: int, ca_file: str | None) -> str:
    return said(lambda: request_timestamp(f"https://{HOST}:{port}/", b"line", timeout=5))


def aws(service: str, call: Callable[[Any], Any]) -> Callable[[int, str | None], str]:
    def ask(port: int, ca_file: str | None) -> str:
        clients = client_factory({"region_name": "us-west-2"}, retries={"total_max_attempts": 1})
        return said(lambda: call(clients(service)))

    return ask


def said(ask: Callable[[], Any]) -> str:
    with pytest.raises(Exception) as raised:  # whatever it is: its words are what counts
        ask()
    return f"{raised.value} {raised.value.__cause__}"


CLIENTS: dict[str, Callable[[int, str | None], str]] = {
    "probe": probe,
    "database": database,
    "registry": registry,
    "data channel": data_channel,
    "time stamp": timestamp,
    "AWS": aws("ecs", lambda ecs: ecs.list_clusters()),
    "ledger in S3": aws("s3", lambda s3: s3.put_object(Bucket="b", Key="k", Body=SECRET.encode())),
}


@dataclass(frozen=True)
class Wrong:
    """A server that is none of ours: for which host, valid for how long, and whether the client knows its CA."""

    host: str = HOST
    valid: dt.timedelta = dt.timedelta(hours=1)
    known: bool = True


WRONG = {
    "of an unknown CA": Wrong(known=False),
    "of another host": Wrong(host="other.example"),
    "expired": Wrong(valid=-dt.timedelta(hours=1)),
}


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def ask(
    client: str, certificates: Certificates, wrong: Wrong, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[str, Any]:
    """What the client says of the server, and what the server was told."""
    trusted = certificates
    if not wrong.known:
        (tmp_path / "other").mkdir()
        trusted = Certificates(tmp_path / "other")
    ca_file = str(trusted.ca_file)
    with serving(certificates.server(wrong.host, wrong.valid), postgresql=client == "database") as seen:
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE"):
            monkeypatch.setenv(name, ca_file)
        monkeypatch.delenv("SSL_CERT_DIR", raising=False)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://{HOST}:{seen.port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        reason = CLIENTS[client](seen.port, ca_file)
        deadline = time.monotonic() + 2  # what was told may still be on its way
        while not seen.told and seen.handshakes and time.monotonic() < deadline:
            time.sleep(0.01)
    return reason, seen


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("client", CLIENTS)
def test_H2_nobody_talks_to_a_server_whose_certificate_is_wrong(
    client: str, wrong: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reason, seen = ask(client, certificates, WRONG[wrong], monkeypatch, tmp_path)
    assert seen.connections > 0, reason
    assert seen.told == b""
    assert "certificate" in reason.lower() or "SSL validation failed" in reason, reason
    assert SECRET not in reason


@pytest.mark.parametrize("client", CLIENTS)
def test_H2_the_right_server_is_talked_to(
    client: str, certificates: Certificates, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Else the test above would say nothing."""
    reason, seen = ask(client, certificates, Wrong(), monkeypatch, tmp_path)
    assert seen.told, reason
    assert "certificate" not in reason.lower() or client == "database", reason


def test_H2_a_client_that_verifies_nothing_would_be_heard(certificates: Certificates) -> None:
    """The server of these tests turns nobody away, so it is the client who does."""
    careless = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with serving(certificates.server("other.example", -dt.timedelta(hours=1))) as seen:
        plain = socket.create_connection(("127.0.0.1", seen.port), 5)
        with plain, careless.wrap_socket(plain, server_hostname=HOST) as secure:
            secure.sendall(SECRET.encode())
            assert secure.recv(100).startswith(b"HTTP/1.1 400")
        assert seen.told == SECRET.encode()


@pytest.mark.parametrize("params", [{}, {"validate_certs": True}, {"validate_certs": False}])
def test_H2_a_module_that_is_told_not_to_verify_refuses(params: dict[str, bool]) -> None:
    asked: list[str] = []

    class Module:
        def __init__(self) -> None:
            self.params = params

        def client(self, service: str, **kwargs: Any) -> Any:
            asked.append(service)
            return MagicMock()

    if params.get("validate_certs", True):
        module_clients(Module())("ecs")
        assert asked == ["ecs"]
    else:
        with pytest.raises(AwsFailure, match="validate_certs: false is refused"):
            module_clients(Module())
        assert asked == []
