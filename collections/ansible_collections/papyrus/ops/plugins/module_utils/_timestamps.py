# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""RFC 3161 time stamps: somebody else's word that bytes existed at a time. Asked for over HTTP, checked offline."""

from __future__ import annotations

import datetime as dt
import hashlib
import http.client
import queue
import re
import ssl
import threading
import time
from typing import Any

from ._probe_request import BadRequest, parse_url

try:
    import rfc3161_client
    from cryptography import x509

    RFC3161_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    RFC3161_IMPORT_ERROR = exc

TIMESTAMP_ITEM = "run_timestamp.tsr"
"""The item with the time stamp over the first line of a manifest."""

MAX_TOKEN = 256 * 1024
"""Bytes of an answer; a token with its certificates has 2 to 10 KiB."""

_DIGESTS = {
    "2.16.840.1.101.3.4.2.1": hashlib.sha256,
    "2.16.840.1.101.3.4.2.2": hashlib.sha384,
    "2.16.840.1.101.3.4.2.3": hashlib.sha512,
}
_OPENSSL_REASON = re.compile(r'Verify error: ([^"]+)"')
_STATUSES = ("granted", "grantedWithMods", "rejection", "waiting", "revocationWarning", "revocationNotification")


class TimestampError(Exception):
    """There is no time stamp, or it does not hold; the message says what was asked, where, and what came."""


def request_timestamp(url: str, data: bytes, *, timeout: float = 20) -> bytes:
    """The authority's answer (DER TimeStampResp) for SHA-256 of `data`; granted, for this digest and this request.

    Its signature is checked by those who know whom to trust (`check_timestamp`). `timeout` in seconds for all of it.
    The connection is direct: no redirect is followed and no proxy of the environment used.
    """
    _need_library()
    try:
        secure, host, port, target = parse_url(url)
    except BadRequest as exc:
        raise TimestampError(f"The time stamping authority's URL is refused: {exc}") from exc
    builder = rfc3161_client.TimestampRequestBuilder().data(data)
    request = builder.hash_algorithm(rfc3161_client.HashAlgorithm.SHA256).cert_request(cert_request=True).build()
    where = f"time stamping authority {url}"
    token = _within(timeout, lambda: _post(secure, host, port, target, request.as_bytes(), timeout), where)
    info = _granted(token, where).tst_info
    if info.nonce != request.nonce:
        raise TimestampError(f"The {where} answered another request (nonce {info.nonce}).")
    _check_imprint(info, data, where)
    return token


def check_timestamp(token: bytes, data: bytes, roots_pem: bytes) -> dt.datetime:
    """When `data` existed at the latest (UTC), as an authority below one of the root certificates says it.

    TimestampError for other data, an authority that is not below these roots, whose certificate is not for time
    stamping (critical extended key usage, RFC 3161, 2.3) or was not valid at that time, or a broken signature.
    """
    _need_library()
    try:
        roots = x509.load_pem_x509_certificates(roots_pem)
    except ValueError as exc:
        raise TimestampError(f"The root certificates of the time stamping authority are no PEM: {exc}") from exc
    response = _granted(token, "time stamp")
    _check_imprint(response.tst_info, data, "time stamp")
    builder = rfc3161_client.VerifierBuilder()
    for root in dict.fromkeys(roots):
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(response, data)
    except (rfc3161_client.VerificationError, ValueError) as exc:
        # rfc3161-client shows OpenSSL's whole error stack.
        reason = _OPENSSL_REASON.search(str(exc))
        raise TimestampError(f"The time stamp does not hold: {reason[1] if reason else exc}") from exc
    made: dt.datetime = response.tst_info.gen_time
    return made if made.tzinfo else made.replace(tzinfo=dt.UTC)


def _granted(token: bytes, where: str) -> Any:
    """The parsed answer, when it is one and carries a token."""
    if len(token) > MAX_TOKEN:
        raise TimestampError(f"The {where} has more than {MAX_TOKEN} bytes: no time stamp.")
    try:
        response = rfc3161_client.decode_timestamp_response(token)
        status = int(response.status)
        said = "; ".join(response.status_string)
    except (ValueError, TypeError) as exc:
        raise TimestampError(f"The {where} is no RFC 3161 answer: {exc}") from exc
    if status != 0:
        name = _STATUSES[status] if status < len(_STATUSES) else str(status)
        raise TimestampError(f"The {where} did not grant it: {name}{f' ({ascii(said)[:300]})' if said else ''}.")
    try:
        has_token = response.tst_info is not None
    except (ValueError, TypeError) as exc:
        raise TimestampError(f"The {where} has no time stamp token: {exc}") from exc
    if not has_token:
        raise TimestampError(f"The {where} has no time stamp token.")
    return response


def _check_imprint(info: Any, data: bytes, where: str) -> None:
    imprint = info.message_imprint
    algorithm = imprint.hash_algorithm.dotted_string
    if algorithm not in _DIGESTS:
        raise TimestampError(f"The {where} uses a digest that is not accepted ({algorithm}).")
    if imprint.message != _DIGESTS[algorithm](data).digest():
        raise TimestampError(f"The {where} is for other data: its imprint is {imprint.message.hex()}.")


def _post(secure: bool, host: str, port: int, target: str, body: bytes, timeout: float) -> bytes:
    """RFC 3161, section 3.4: the request as a POST, the answer as application/timestamp-reply."""
    connection: http.client.HTTPConnection
    if secure:
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    end = time.monotonic() + timeout
    try:
        headers = {"Content-Type": "application/timestamp-query", "Accept": "application/timestamp-reply"}
        connection.request("POST", target, body, headers)
        response = connection.getresponse()
        if response.status != 200:
            moved = response.getheader("Location")
            to = f" to {ascii(moved)[:200]} (redirects are not followed: give the final URL)" if moved else ""
            raise TimestampError(f"HTTP {response.status}{to}")
        kind = (response.getheader("Content-Type") or "").split(";")[0].strip().lower()
        if kind != "application/timestamp-reply":
            raise TimestampError(f"Content-Type {ascii(kind)[:100]}, not application/timestamp-reply")
        parts: list[bytes] = []
        while sum(map(len, parts)) <= MAX_TOKEN and time.monotonic() < end:
            part = response.read1(MAX_TOKEN + 1)
            if not part:
                break
            parts.append(part)
        return b"".join(parts)
    finally:
        connection.close()


def _within(timeout: float, call: Any, where: str) -> bytes:
    """What `call` returns; TimestampError when that takes longer, wherever it hangs (name, handshake, drips)."""
    results: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put(call())
        except Exception as exc:
            results.put(exc)

    threading.Thread(target=work, daemon=True, name="timestamp").start()
    try:
        result = results.get(timeout=timeout)
    except queue.Empty:
        raise TimestampError(f"The {where} did not answer within {timeout:g} s.") from None
    if isinstance(result, TimestampError):
        raise TimestampError(f"The {where} answered {result}.")
    if isinstance(result, TimeoutError):  # of one read, at the same moment
        raise TimestampError(f"The {where} did not answer within {timeout:g} s.") from result
    if isinstance(result, (OSError, http.client.HTTPException)):
        raise TimestampError(f"The {where} cannot be asked: {type(result).__name__}: {str(result)[:300]}") from result
    if isinstance(result, Exception):
        raise result
    return result


def _need_library() -> None:
    if RFC3161_IMPORT_ERROR is not None:
        raise TimestampError(
            f"Time stamps need the Python package rfc3161-client: {RFC3161_IMPORT_ERROR}"
        ) from RFC3161_IMPORT_ERROR
