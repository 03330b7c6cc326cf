"""Signature Version 4, checked: the signature of header or query string is calculated again with the key's secret.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

HEADER = re.compile(
    r"AWS4-HMAC-SHA256\s+Credential=(?P<credential>[^,\s]+),\s*SignedHeaders=(?P<headers>[^,\s]+),"
    r"\s*Signature=(?P<signature>[0-9a-f]+)"
)
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_SKEW = timedelta(minutes=15)


@dataclass(frozen=True)
class Signed:
    """A signature and what it claims."""

    access_key_id: str
    date: str
    region: str
    service: str
    headers: tuple[str, ...]
    signature: str
    stamp: str
    token: str | None
    # Seconds that a presigned URL holds; None for a signed header.
    expires: int | None = None


@dataclass(frozen=True)
class Wire:
    """A request as it came: `path` and `query` still percent-encoded, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def read(wire: Wire) -> Signed | None:
    """The signature of a request; None when it has none that can be read."""
    found = HEADER.match(wire.headers.get("authorization", ""))
    if found is not None:
        stamp = wire.headers.get("x-amz-date", "")
        token = wire.headers.get("x-amz-security-token")
        return _signed(found["credential"], found["headers"], found["signature"], stamp, token, None)
    query = dict(parse_qsl(wire.query, keep_blank_values=True))
    if query.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
        return None
    expires = query.get("X-Amz-Expires", "")
    return _signed(
        query.get("X-Amz-Credential", ""),
        query.get("X-Amz-SignedHeaders", ""),
        query.get("X-Amz-Signature", ""),
        query.get("X-Amz-Date", ""),
        query.get("X-Amz-Security-Token"),
        int(expires) if expires.isdigit() else 900,
    )


def _signed(
    credential: str, headers: str, signature: str, stamp: str, token: str | None, expires: int | None
) -> Signed | None:
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request" or not signature or not re.fullmatch(r"\d{8}T\d{6}Z", stamp):
        return None
    key, date, region, service, _ = parts
    return Signed(key, date, region, service, tuple(headers.split(";")), signature, stamp, token, expires)


def matches(wire: Wire, signed: Signed, secret: str) -> bool:
    """Whether this secret gives this signature for this request."""
    if "host" not in signed.headers or not signed.stamp.startswith(signed.date):
        return False
    payload = _payload_hash(wire, signed)
    if payload is None:
        return False
    canonical = "\n".join(
        [
            wire.method,
            _path(wire.path, signed.service),
            _query(wire.query),
            *(f"{name}:{' '.join(wire.headers.get(name, '').split())}" for name in signed.headers),
            "",
            ";".join(signed.headers),
            payload,
        ]
    )
    scope = f"{signed.date}/{signed.region}/{signed.service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{signed.stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _key(secret, signed.date, signed.region, signed.service)
    return hmac.compare_digest(hmac.new(key, text.encode(), hashlib.sha256).hexdigest(), signed.signature)


@functools.lru_cache(maxsize=256)
def _key(secret: str, date: str, region: str, service: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _payload_hash(wire: Wire, signed: Signed) -> str | None:
    """The hash that was signed; None when the body is not what it says."""
    stated = wire.headers.get("x-amz-content-sha256")
    if signed.service == "s3":
        if signed.expires is not None and stated is None:
            return UNSIGNED
        if stated is not None and not re.fullmatch(r"[0-9a-f]{64}", stated):
            # UNSIGNED-PAYLOAD, and STREAMING-… whose chunks carry their own.
            return stated
    actual = hashlib.sha256(wire.body).hexdigest()
    return actual if stated in (None, actual) else None


def _path(path: str, service: str) -> str:
    """All services but S3 have the path encoded once more, and its dots resolved."""
    if service == "s3":
        return path or "/"
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    slash = "/" if path.endswith("/") and kept else ""
    return quote(f"/{'/'.join(kept)}{slash}", safe="/~")


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in pairs if k != "X-Amz-Signature")
    return "&".join(f"{key}={value}" for key, value in encoded)


def age(signed: Signed, now: datetime | None = None) -> timedelta:
    """How old the signature is; negative when its time is still to come."""
    at = datetime.strptime(signed.stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return (now or datetime.now(UTC)) - at


def skew(signed: Signed) -> str:
    """Why the signature's time is not right, in AWS's words; empty when it is."""
    if signed.expires is not None:
        old = age(signed)
        return "presigned" if old > timedelta(seconds=signed.expires) or old < -MAX_SKEW else ""
    now = datetime.now(UTC)
    early, late = (f"{moment:%Y%m%dT%H%M%SZ}" for moment in (now - MAX_SKEW, now + MAX_SKEW))
    if age(signed, now) > MAX_SKEW:
        return f"Signature expired: {signed.stamp} is now earlier than {early} ({now:%Y%m%dT%H%M%SZ} - 15 min.)"
    if age(signed, now) < -MAX_SKEW:
        return f"Signature not yet current: {signed.stamp} is still later than {late} ({now:%Y%m%dT%H%M%SZ} + 15 min.)"
    return ""
