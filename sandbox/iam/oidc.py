"""OpenID Connect tokens: parsed and verified with the keys of their issuer, which are fetched over loopback only."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

FETCH_SECONDS = 5
LARGEST_DOCUMENT = 1024 * 1024
# https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html#manage-oidc-provider-prerequisites
RSA: dict[str, hashes.HashAlgorithm] = {"RS256": hashes.SHA256(), "RS384": hashes.SHA384(), "RS512": hashes.SHA512()}
EC: dict[str, tuple[hashes.HashAlgorithm, ec.EllipticCurve, str]] = {
    "ES256": (hashes.SHA256(), ec.SECP256R1(), "P-256"),
    "ES384": (hashes.SHA384(), ec.SECP384R1(), "P-384"),
    "ES512": (hashes.SHA512(), ec.SECP521R1(), "P-521"),
}


class NotAToken(ValueError):
    """It is no JSON Web Token."""


class Unreachable(Exception):
    """The issuer's keys cannot be had."""


class IssuerError(ValueError):
    """What was put is no map of issuers; the message says why."""


@dataclass(frozen=True)
class Token:
    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def issuer(self) -> str:
        return str(self.claims.get("iss", ""))

    @property
    def audiences(self) -> list[str]:
        """With `azp` that one is the audience, as IAM takes it."""
        if self.claims.get("azp"):
            return [str(self.claims["azp"])]
        given = self.claims.get("aud")
        return [str(item) for item in (given if isinstance(given, list) else [given]) if item]

    def expired(self) -> bool:
        return float(self.claims["exp"]) <= time.time()


class Issuers:
    """Where the keys of issuers that are not on loopback come from: PUT /_sandbox/oidc.

    Each is {"<issuer URL>": <JWKS document, or URL of one on loopback>}. Like faults they do not outlive the sandbox.
    """

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def listed(self) -> dict[str, Any]:
        return dict(self._known)

    def replace(self, document: Any) -> None:
        """Raises IssuerError and changes nothing when wrong."""
        if not isinstance(document, dict):
            raise IssuerError("issuers are an object of URLs and their keys")
        for issuer, keys in document.items():
            if not str(issuer).startswith("https://"):
                raise IssuerError(f"{issuer}: an issuer begins with https://")
            if isinstance(keys, str) and not on_loopback(keys):
                raise IssuerError(f"{keys}: keys are fetched from 127.0.0.0/8 only")
            if not isinstance(keys, str) and not isinstance((keys or {}).get("keys"), list):
                raise IssuerError(f"{issuer}: neither a URL nor a JWKS document")
        self._known = dict(document)

    def keys(self, issuer: str, ca_file: Path) -> list[Mapping[str, Any]]:
        """The issuer's public keys. Raises Unreachable."""
        known = self._known.get(issuer, self._known.get(issuer.rstrip("/")))
        if isinstance(known, dict):
            return list(known["keys"])
        if known is None:
            configuration = _fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration", ca_file)
            known = str(configuration.get("jwks_uri", ""))
        found = _fetch(known, ca_file).get("keys")
        if not isinstance(found, list):
            raise Unreachable(f"{known} has no keys")
        return found


ISSUERS = Issuers()


def on_loopback(url: str) -> bool:
    parts = urlsplit(url)
    with contextlib.suppress(ValueError):
        return parts.scheme in ("http", "https") and ipaddress.ip_address(parts.hostname or "").is_loopback
    return False


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect could lead out of loopback."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _fetch(url: str, ca_file: Path) -> Mapping[str, Any]:
    """A JSON document from 127.0.0.0/8; https is verified with the sandbox's CA. Raises Unreachable."""
    if not on_loopback(url):
        raise Unreachable(f"{url or 'the issuer'} is not on loopback")
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({}), _NoRedirect()]
    if url.startswith("https://") and ca_file.exists():
        handlers.append(urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca_file))))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(url, timeout=FETCH_SECONDS) as answer:
            document = json.loads(answer.read(LARGEST_DOCUMENT))
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise Unreachable(f"{url}: {error}") from error
    if not isinstance(document, dict):
        raise Unreachable(f"{url} is no JSON object")
    return document


def parse(text: str) -> Token:
    """A JWT in its compact form, with the claims that IAM asks for. Raises NotAToken."""
    try:
        head, body, signature = text.split(".")
        header, claims = json.loads(_decoded(head)), json.loads(_decoded(body))
        token = Token(header, claims, f"{head}.{body}".encode(), _decoded(signature))
        complete = all(claims.get(name) for name in ("iss", "sub", "aud", "exp", "iat")) and header.get("alg")
        float(claims["exp"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotAToken(str(error)) from error
    if not complete:
        raise NotAToken("a claim is missing")
    return token


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verified(token: Token, keys: list[Mapping[str, Any]]) -> bool:
    """Whether one of the keys (that of the token's `kid`, when it names one) made the signature."""
    wanted = token.header.get("kid")
    return any(
        _made_by(token, key)
        for key in keys
        if isinstance(key, Mapping) and (wanted is None or key.get("kid") == wanted)
    )


def _made_by(token: Token, key: Mapping[str, Any]) -> bool:
    algorithm = str(token.header.get("alg"))
    with contextlib.suppress(InvalidSignature, ValueError, KeyError, TypeError):
        if algorithm in RSA and key.get("kty") == "RSA":
            numbers = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"]))
            numbers.public_key().verify(token.signature, token.signed, padding.PKCS1v15(), RSA[algorithm])
            return True
        if algorithm in EC and key.get("kty") == "EC":
            digest, curve, name = EC[algorithm]
            if key.get("crv") != name:
                return False
            half = len(token.signature) // 2
            pair = (int.from_bytes(token.signature[:half]), int.from_bytes(token.signature[half:]))
            point = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve)
            point.public_key().verify(encode_dss_signature(*pair), token.signed, ec.ECDSA(digest))
            return True
    return False


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text))
