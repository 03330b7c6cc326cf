# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RFC 3161 time stamps (J2): what an authority grants is checked, what anybody else answers is not a time stamp."""

from __future__ import annotations

import datetime as dt
import shutil
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

pytest.importorskip("asn1crypto")
pytest.importorskip("rfc3161_client")

from ansible_collections.papyrus.ops.plugins.module_utils import _timestamps
from ansible_collections.papyrus.ops.plugins.module_utils._timestamps import (
    MAX_TOKEN,
    TimestampError,
    check_timestamp,
    request_timestamp,
)
from ansible_collections.papyrus.ops.tests.unit.timestamp_authority import REPLY, Authority, Respond, drip, send, served
from cryptography.x509.oid import ExtendedKeyUsageOID

DATA = b'{"seq":0}'


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def stamped(authority: Authority, data: bytes = DATA) -> bytes:
    with served(authority) as url:
        return request_timestamp(url, data)


def refused(respond: Respond, match: str, timeout: float = 20) -> None:
    with served(respond=respond) as url, pytest.raises(TimestampError, match=match) as caught:
        request_timestamp(url, DATA, timeout=timeout)
    assert url in str(caught.value)


def test_j2_a_time_stamp_says_when_the_data_existed(authority: Authority) -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    at = check_timestamp(stamped(authority), DATA, authority.root_pem)
    assert before <= at <= dt.datetime.now(dt.UTC)
    assert at.utcoffset() == dt.timedelta()


def test_j2_a_time_stamp_is_for_its_data_only(authority: Authority) -> None:
    with pytest.raises(TimestampError, match="for other data"):
        check_timestamp(stamped(authority), DATA + b" ", authority.root_pem)


def test_j2_a_time_stamp_of_another_root_does_not_hold(authority: Authority) -> None:
    token, other = stamped(authority), Authority()
    with pytest.raises(TimestampError, match="does not hold"):
        check_timestamp(token, DATA, other.root_pem)
    assert check_timestamp(token, DATA, other.root_pem + authority.root_pem)


@pytest.mark.parametrize("roots", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_j2_roots_that_are_no_certificates_are_said_to_be_none(authority: Authority, roots: bytes) -> None:
    with pytest.raises(TimestampError, match="root certificates"):
        check_timestamp(stamped(authority), DATA, roots)


@pytest.mark.parametrize(
    ("authority", "match"),
    [
        (Authority(usage=ExtendedKeyUsageOID.CODE_SIGNING), "unsuitable certificate purpose$"),
        (Authority(critical=False), "unsuitable certificate purpose$"),
        (Authority(valid=dt.timedelta(minutes=30)), "certificate has expired$"),
        (Authority(shift=dt.timedelta(days=2)), "certificate has expired$"),
        (Authority(shift=-dt.timedelta(days=1)), "certificate is not yet valid"),
    ],
    ids=["other-usage", "usage-not-critical", "expired", "beyond-its-life", "before-its-life"],
)
def test_j2_a_certificate_that_is_not_for_time_stamping_then_is_not_trusted(authority: Authority, match: str) -> None:
    with pytest.raises(TimestampError, match=match) as caught:
        check_timestamp(stamped(authority), DATA, authority.root_pem)
    assert str(caught.value).startswith("The time stamp does not hold:")


def test_j2_a_certificate_that_has_expired_since_still_proves_its_time() -> None:
    past = Authority(valid=dt.timedelta(minutes=30), shift=-dt.timedelta(minutes=45))
    assert check_timestamp(stamped(past), DATA, past.root_pem) < dt.datetime.now(dt.UTC) - dt.timedelta(minutes=40)


def test_j2_every_changed_byte_of_a_time_stamp_that_counts_is_found(authority: Authority) -> None:
    """A change is refused, or is outside of what the authority signed and leaves the time as it was."""
    token = stamped(authority)
    at = check_timestamp(token, DATA, authority.root_pem)
    accepted = []
    for place in range(len(token)):
        changed = bytearray(token)
        changed[place] ^= 1
        try:
            assert check_timestamp(bytes(changed), DATA, authority.root_pem) == at
            accepted.append(place)
        except TimestampError:
            continue
    assert len(accepted) < len(token) // 20, accepted
    for cut in range(0, len(token), 7):
        with pytest.raises(TimestampError):
            check_timestamp(token[:cut], DATA, authority.root_pem)
    with pytest.raises(TimestampError):
        check_timestamp(token + b"\x00", DATA, authority.root_pem)


def test_j2_an_answer_to_another_request_is_refused() -> None:
    with pytest.raises(TimestampError, match="another request"):
        stamped(Authority(nonce=lambda nonce: nonce + 1))


def test_j2_an_answer_for_another_digest_is_refused_at_once() -> None:
    with pytest.raises(TimestampError, match="for other data"):
        stamped(Authority(imprint=lambda digest: bytes(32)))


def test_j2_a_rejection_says_why() -> None:
    with pytest.raises(TimestampError, match=r"did not grant it: rejection \('not today'\)"):
        stamped(Authority(granted=False))


@pytest.mark.parametrize("reply", [b"", b"\x30\x80", b"<html>", b"\x30\x03\x02\x01\x00", bytes(1000)])
def test_j2_garbage_is_no_answer(reply: bytes) -> None:
    with pytest.raises(TimestampError, match="no RFC 3161 answer"):
        stamped(Authority(reply=lambda dummy: reply))


def test_j2_a_grant_without_a_token_is_no_answer() -> None:
    with pytest.raises(TimestampError, match="no time stamp token|no RFC 3161 answer"):
        stamped(Authority(reply=lambda dummy: bytes.fromhex("30053003020100")))


def test_j2_errors_of_the_web_are_named() -> None:
    refused(lambda handler, dummy: send(handler, b"down", status=500), "HTTP 500")
    refused(lambda handler, dummy: send(handler, b"<p>log in</p>", kind="text/html"), "Content-Type 'text/html'")
    refused(lambda handler, dummy: handler.connection.close(), "cannot be asked|did not answer")
    refused(lambda handler, dummy: handler.wfile.write(b"SSH-2.0-x\r\n"), "cannot be asked")


@pytest.mark.parametrize("to", ["file:///etc/passwd", "http://127.0.0.1:1/tsa", "ftp://127.0.0.1/x"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_j2_a_redirect_is_not_followed(to: str, status: int) -> None:
    refused(lambda handler, dummy: send(handler, b"", status=status, headers=(("Location", to),)), "not followed")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "127.0.0.1:80", "http://", "http://a b/", ""]
)
def test_j2_only_http_urls_are_asked(url: str) -> None:
    with pytest.raises(TimestampError, match="URL is refused"):
        request_timestamp(url, DATA)


def test_j2_credentials_in_the_url_are_refused_and_not_shown() -> None:
    with pytest.raises(TimestampError, match="user name") as caught:
        request_timestamp("http://me:hunter22@127.0.0.1/", DATA)
    assert "hunter22" not in str(caught.value)


def test_j2_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    asked: list[bytes] = []

    def proxy(handler: BaseHTTPRequestHandler, query: bytes) -> None:
        asked.append(query)
        send(handler, b"", status=502)

    with served(respond=proxy) as url:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        assert check_timestamp(stamped(authority), DATA, authority.root_pem)
    assert asked == []


def test_j2_a_read_that_times_out_first_is_late_as_well() -> None:
    def late() -> bytes:
        raise TimeoutError("timed out")

    with pytest.raises(TimestampError, match="The authority did not answer within 5 s"):
        _timestamps._within(5, late, "authority")


def test_j2_an_authority_that_never_ends_costs_no_more_than_the_time_given() -> None:
    ended = threading.Event()
    begun = time.monotonic()
    try:
        refused(lambda handler, dummy: drip(handler, ended), "did not answer within 0.5 s", timeout=0.5)
        refused(lambda handler, dummy: ended.wait(60) and None, "did not answer within 0.5 s", timeout=0.5)
    finally:
        ended.set()
    assert time.monotonic() - begun < 20  # a slow machine has time enough, a client without a limit has not


def test_j2_a_huge_answer_is_not_read_to_its_end() -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler, dummy: bytes) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: " + REPLY.encode() + b"\r\n\r\n")
        while sent < 400 * MAX_TOKEN:
            sent += handler.wfile.write(bytes(65536))

    refused(endless, "more than 262144 bytes")
    assert sent < 200 * MAX_TOKEN


def test_j2_nobody_listens_is_said() -> None:
    with served() as url:
        pass
    with pytest.raises(TimestampError, match="cannot be asked: ConnectionRefusedError"):
        request_timestamp(url, DATA)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_j2_openssl_agrees(authority: Authority, tmp_path: Path) -> None:
    """Also that the tests' authority is a right one."""
    (tmp_path / "reply.tsr").write_bytes(stamped(authority))
    (tmp_path / "root.pem").write_bytes(authority.root_pem)
    (tmp_path / "data").write_bytes(DATA)
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-in", "reply.tsr", "-data", "data", "-CAfile", "root.pem"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Verification: OK" in done.stdout + done.stderr, done.stderr
