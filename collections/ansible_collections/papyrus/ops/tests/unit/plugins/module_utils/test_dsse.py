# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The envelope (J2): one valid form, found to be changed whatever is changed, verified by others as well."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import random
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import (
    MAX_ENVELOPE,
    PAYLOAD_TYPE,
    BadKeyFile,
    BadSignature,
    DsseError,
    Envelope,
    TrustedKey,
    WrongKey,
    check_keyless,
    check_signature,
    load_public_keys,
    low_s,
    pae,
    parse_envelope,
    public_key,
)
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

ORDERS = {
    "ecdsa-sha2-nistp256": 115792089210356248762697446949407573529996955224135760342422259061068512044369,
    "ecdsa-sha2-nistp384": int(
        "39402006196394479212279040100143613805079739270465446667946905279627659399113263569398956308152294913554433653942643"
    ),
}
PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1","subject":[]}'

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEYS: dict[str, Private] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "ecdsa-sha2-nistp256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-sha2-nistp384": ec.generate_private_key(ec.SECP384R1()),
    "rsassa-pss-sha256": rsa.generate_private_key(65537, 2048),
}


def pem_of(key: Private) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


TRUSTED = {scheme: public_key(pem_of(key), scheme) for scheme, key in KEYS.items()}


def signature_of(scheme: str, message: bytes) -> bytes:
    key = KEYS[scheme]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())
    digest = hashes.SHA256() if scheme.endswith("256") else hashes.SHA384()
    return low_s(key.sign(message, ec.ECDSA(digest)), scheme)


def sealed(scheme: str = "ed25519", payload: bytes = PAYLOAD) -> bytes:
    signature = signature_of(scheme, pae(PAYLOAD_TYPE, payload))
    return Envelope(payload, PAYLOAD_TYPE, TRUSTED[scheme].keyid, signature).to_bytes()


def verified(data: bytes, *keys: TrustedKey) -> TrustedKey:
    return check_signature(parse_envelope(data), keys or list(TRUSTED.values()))


@pytest.mark.parametrize("scheme", KEYS)
def test_j2_an_envelope_is_by_its_key(scheme: str) -> None:
    data = sealed(scheme)
    assert verified(data) == TRUSTED[scheme]
    assert TRUSTED[scheme].scheme == scheme
    envelope = parse_envelope(data)
    assert (envelope.payload, envelope.payload_type, envelope.bundle) == (PAYLOAD, PAYLOAD_TYPE, None)
    with pytest.raises(WrongKey, match="given: "):
        verified(data, *(key for other, key in TRUSTED.items() if other != scheme))
    with pytest.raises(WrongKey, match="no public key was given"):
        check_signature(envelope, [])


def test_j2_the_key_id_is_the_digest_of_the_public_key_as_openssl_writes_it() -> None:
    der = (
        KEYS["ed25519"]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    assert TRUSTED["ed25519"].keyid == hashlib.sha256(der).hexdigest()


def dsse_verify(data: bytes, pem: bytes) -> bytes:
    """The payload that was signed; made from DSSE's protocol.md alone, with json, base64 and cryptography."""
    document = json.loads(data)
    payload = base64.b64decode(document["payload"])
    kind = document["payloadType"].encode()
    message = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    key = serialization.load_pem_public_key(pem)
    for signature in document["signatures"]:
        raw = base64.b64decode(signature["sig"])
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(raw, message)
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(raw, message, padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO), hashes.SHA256())
            elif isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(raw, message, ec.ECDSA(hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()))
            return payload
        except InvalidSignature:
            continue
    raise ValueError("no signature is by this key")


@pytest.mark.parametrize("scheme", KEYS)
def test_j2_an_envelope_verifies_without_this_project(scheme: str) -> None:
    data = sealed(scheme)
    assert dsse_verify(data, pem_of(KEYS[scheme])) == PAYLOAD
    with pytest.raises(ValueError, match="no signature"):
        dsse_verify(sealed(scheme).replace(b'"payload":"', b'"payload":"AAAA'), pem_of(KEYS[scheme]))


@pytest.mark.parametrize("scheme", KEYS)
def test_j2_an_envelope_verifies_with_securesystemslib(scheme: str) -> None:
    dsse = pytest.importorskip("securesystemslib.dsse")
    signer = pytest.importorskip("securesystemslib.signer")
    exceptions = pytest.importorskip("securesystemslib.exceptions")
    key = signer.SSlibKey.from_crypto(KEYS[scheme].public_key(), TRUSTED[scheme].keyid)
    envelope = dsse.Envelope.from_dict(json.loads(sealed(scheme)))
    assert list(envelope.verify([key], 1)) == [TRUSTED[scheme].keyid]
    envelope.payload += b" "
    with pytest.raises(exceptions.VerificationError):
        envelope.verify([key], 1)


def changed_bytes(rng: random.Random, data: bytes) -> bytes:
    """`data` with one random change of the kinds that people and machines make; perhaps the same again."""
    place, width = rng.randrange(len(data)), rng.randrange(1, 9)
    byte = rng.choice([rng.randrange(256), ord(rng.choice(string.printable))])
    kind = rng.randrange(12)
    if kind == 0:
        return data[:place] + bytes([byte]) + data[place + 1 :]
    if kind == 1:
        return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
    if kind == 2:
        return data[:place] + data[place + width :]
    if kind == 3:
        return data[:place] + bytes([byte]) * width + data[place:]
    if kind == 4:
        return data[:place]
    if kind == 5:
        return data + rng.choice([b"\n", b" ", b"\0", b"{}", data, b"\xef\xbb\xbf"])
    if kind == 6:
        return rng.choice([b"\xef\xbb\xbf", b" ", b"\n", b"[", b"\xff\xfe"]) + data
    if kind == 7:  # two pieces change places
        other = rng.randrange(len(data))
        low, high = sorted((place, other))
        return (
            data[:low]
            + data[high : high + width]
            + data[low + width : high]
            + data[low : low + width]
            + data[high + width :]
        )
    if kind == 8:  # a character of a text, written otherwise
        character = chr(data[place])
        return data[:place] + f"\\u{ord(character):04x}".encode() + data[place + 1 :]
    if kind == 9:
        return data[:place] + data[place : place + width] + data[place:]
    if kind == 10:
        return data[:place] + data[place : place + 1].swapcase() + data[place + 1 :]
    return data.replace(
        *rng.choice([(b",", b", "), (b":", b": "), (b"+", b"-"), (b"/", b"_"), (b"=", b""), (b'"', b"'")])
    )


@pytest.mark.parametrize("scheme", KEYS)
def test_j2_every_change_of_an_envelope_is_refused_for_what_it_is(scheme: str) -> None:
    """WrongKey when the key id alone was changed into another one, else no envelope or a bad signature."""
    data, rng, seen = sealed(scheme), random.Random(5), {WrongKey: 0, BadSignature: 0, DsseError: 0}
    keyid = TRUSTED[scheme].keyid
    only_keyid = re.compile(re.escape(data).replace(keyid.encode(), rb'([^"]*)'))
    for number in range(3000):
        changed = changed_bytes(rng, data)
        if changed == data:
            continue
        with pytest.raises((WrongKey, DsseError)) as caught:
            verified(changed)
        seen[caught.type] += 1
        if caught.type is WrongKey:
            assert json.loads(changed)["signatures"][0]["keyid"] != keyid, (number, changed)
        elif only_keyid.fullmatch(changed):
            assert not _canonical(changed), (number, changed)
    assert all(seen.values()), seen


def _canonical(data: bytes) -> bool:
    try:
        return bytes(rfc8785.dumps(json.loads(data))) == data
    except ValueError:
        return False


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(sealed()), **changes}


def _signature(**changes: Any) -> list[dict[str, Any]]:
    return [{**document()["signatures"][0], **changes}]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (document(extra=1), "unknown 'extra'"),
        (document(payloadtype=PAYLOAD_TYPE), "unknown 'payloadtype'"),
        ({"payload": "e30="}, "no payloadType, signatures"),
        (document(payloadType="application/vnd.in-toto+JSON"), "payloadType is"),
        (document(payloadType=None), "payloadType is None"),
        (document(payload=None), "payload is no base64"),
        (document(payload="e30"), "payload is no base64"),
        (document(payload="e3-_"), "payload is no base64"),
        (document(payload="e30=\n"), "payload is no base64"),
        (document(payload="\u00e9"), "payload is no base64"),
        (document(payload="e31="), "not in canonical form"),
        (document(signatures={}), "exactly one signature"),
        (document(signatures=[]), "exactly one signature"),
        (document(signatures=document()["signatures"] * 2), "exactly one signature"),
        (document(signatures=[[]]), "the signature is no JSON object"),
        (document(signatures=_signature(cert="x")), "unknown 'cert'"),
        (document(signatures=_signature(keyid=1)), "keyid is no text"),
        (document(signatures=_signature(sig=[])), "sig is no base64"),
        (document(signatures=_signature(bundle=None)), "bundle is no JSON object"),
        (document(signatures=_signature(bundle="{}")), "bundle is no JSON object"),
        (document(signatures=[{"sig": "e30="}]), "no keyid"),
        ([document()], "the envelope is no JSON object"),
        (None, "the envelope is no JSON object"),
    ],
)
def test_j2_an_envelope_has_its_fields_and_no_others(value: Any, match: str) -> None:
    with pytest.raises(DsseError, match=match) as caught:
        parse_envelope(bytes(rfc8785.dumps(value)))
    assert caught.type is DsseError


@pytest.mark.parametrize(
    "write",
    [
        lambda text: text + "\n",
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps(json.loads(text), indent=1),
        lambda text: text.replace('"payload":', '"payload":"e30=","payload":'),
        lambda text: text.replace('{"payload"', '{"signatures":[],"payload"'),
        lambda text: text.replace("payloadType", "payload\\u0054ype"),
        lambda text: text.replace("/", "\\/"),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")),
    ],
)
def test_j2_the_same_envelope_written_otherwise_is_refused(write: Callable[[str], str]) -> None:
    changed = write(sealed().decode())
    assert json.loads(changed) == json.loads(sealed())
    with pytest.raises(DsseError, match="not in canonical form"):
        parse_envelope(changed.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"nothing",
        b"NaN",
        b"[" * 100_000,
        b'{"payload":' * 50_000,
        b"[" * 40 + b"]" * 40,
        b"9" * 10_000,
        b'"\\ud800"',
        sealed().decode().encode("utf-16"),
        sealed().replace(b'"keyid":"', b'"bundle":{"n":1e400},"keyid":"'),
        sealed().replace(b'"keyid":"', b'"bundle":{"n":99999999999999999999},"keyid":"'),
        sealed().replace(b'"keyid":"', b'"bundle":{"n":' + b"[" * 200 + b"]" * 200 + b'},"keyid":"'),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_j2_bytes_of_any_kind_are_refused_without_harm(data: bytes) -> None:
    with pytest.raises(DsseError):
        parse_envelope(data)


def test_j2_an_envelope_has_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DsseError, match="are allowed"):
        parse_envelope(b" " * (MAX_ENVELOPE + 1))
    with pytest.raises(DsseError, match="are allowed"):
        Envelope(bytes(MAX_ENVELOPE), PAYLOAD_TYPE, "k", b"s").to_bytes()


def test_j2_a_signature_by_the_right_key_over_something_else_is_bad() -> None:
    for signature in (
        signature_of("ed25519", PAYLOAD),
        signature_of("ed25519", pae("text/plain", PAYLOAD)),
        signature_of("ecdsa-sha2-nistp256", pae(PAYLOAD_TYPE, PAYLOAD)),
        b"",
        bytes(64),
        b"\xff" * 64,
    ):
        data = Envelope(PAYLOAD, PAYLOAD_TYPE, TRUSTED["ed25519"].keyid, signature).to_bytes()
        with pytest.raises(BadSignature, match="not by key"):
            verified(data)


@pytest.mark.parametrize("scheme", ["ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"])
def test_j2_the_other_valid_form_of_an_ecdsa_signature_is_refused(scheme: str) -> None:
    """(r, n-s) verifies wherever (r, s) does (https://www.secg.org/sec1-v2.pdf, 4.1); and BER has several forms."""
    key, trusted, order = KEYS[scheme], TRUSTED[scheme], ORDERS[scheme]
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    # (n-1)*G = -G: this is the group's order.
    one, last = (ec.derive_private_key(d, key.curve).public_key().public_numbers().x for d in (1, order - 1))
    assert one == last
    envelope = parse_envelope(sealed(scheme))
    r, s = decode_dss_signature(envelope.signature)
    assert s <= order // 2
    high = encode_dss_signature(r, order - s)
    digest = hashes.SHA256() if scheme.endswith("256") else hashes.SHA384()
    key.public_key().verify(high, envelope.signed_bytes, ec.ECDSA(digest))
    assert low_s(high, scheme) == envelope.signature
    for other in (
        high,
        envelope.signature + b"\0",
        b"\x30\x81" + envelope.signature[1:],
        encode_dss_signature(r, 0),
        encode_dss_signature(0, s),
    ):
        with pytest.raises(BadSignature):
            check_signature(Envelope(PAYLOAD, PAYLOAD_TYPE, trusted.keyid, other), [trusted])


def test_j2_low_s_never_makes_a_signature_invalid() -> None:
    for scheme, digest in (("ecdsa-sha2-nistp256", hashes.SHA256()), ("ecdsa-sha2-nistp384", hashes.SHA384())):
        key = KEYS[scheme]
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        changed = 0
        for number in range(64):
            raw = key.sign(b"%d" % number, ec.ECDSA(digest))
            low = low_s(raw, scheme)
            key.public_key().verify(low, b"%d" % number, ec.ECDSA(digest))
            changed += low != raw
        assert 8 < changed < 56


def test_j2_the_other_form_of_an_ed25519_signature_is_refused() -> None:
    """s + L is the same s: RFC 8032, 5.1.7 forbids it."""
    envelope = parse_envelope(sealed())
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(envelope.signature[32:], "little") + order
    other = envelope.signature[:32] + s.to_bytes(32, "little")
    with pytest.raises(BadSignature):
        check_signature(Envelope(PAYLOAD, PAYLOAD_TYPE, envelope.keyid, other), list(TRUSTED.values()))


def test_j2_an_rsa_signature_has_one_length_and_one_salt() -> None:
    key, trusted = KEYS["rsassa-pss-sha256"], TRUSTED["rsassa-pss-sha256"]
    assert isinstance(key, rsa.RSAPrivateKey)
    message = pae(PAYLOAD_TYPE, PAYLOAD)
    right = signature_of("rsassa-pss-sha256", message)
    modulus = key.public_key().public_numbers().n
    for other in (
        key.sign(message, padding.PSS(padding.MGF1(hashes.SHA256()), 20), hashes.SHA256()),
        key.sign(message, padding.PKCS1v15(), hashes.SHA256()),
        b"\0" + right,
        (int.from_bytes(right, "big") + modulus).to_bytes(257, "big"),
    ):
        with pytest.raises(BadSignature):
            check_signature(Envelope(PAYLOAD, PAYLOAD_TYPE, trusted.keyid, other), [trusted])


def test_j2_a_keyless_envelope_needs_an_identity_and_a_signed_one_a_key() -> None:
    keyless = Envelope(PAYLOAD, PAYLOAD_TYPE, TRUSTED["ed25519"].keyid, b"s", {"mediaType": "x"})
    assert parse_envelope(keyless.to_bytes()) == keyless
    with pytest.raises(WrongKey, match="keyless"):
        check_signature(keyless, list(TRUSTED.values()))
    with pytest.raises(WrongKey, match="not keyless"):
        check_keyless(parse_envelope(sealed()), "me", "https://issuer.invalid")


# -- public key files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", KEYS)
def test_j2_public_keys_are_read_from_files(scheme: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pub.pem"
    file.write_bytes(b"Subject: whoever\r\n\r\n" + pem_of(KEYS[scheme]).replace(b"\n", b"\r\n"))
    assert load_public_keys([str(file)]) == [TRUSTED[scheme]]
    assert load_public_keys([]) == []


def private(key: Any, kind: Any = serialization.PrivateFormat.PKCS8, encryption: Any = None) -> bytes:
    made: bytes = key.private_bytes(serialization.Encoding.PEM, kind, encryption or serialization.NoEncryption())
    return made


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (private(KEYS["ed25519"]), "this is a private key"),
        (private(KEYS["ed25519"], encryption=serialization.BestAvailableEncryption(b"x")), "this is a private key"),
        (private(KEYS["ecdsa-sha2-nistp256"], serialization.PrivateFormat.TraditionalOpenSSL), "this is a private key"),
        (private(KEYS["ed25519"], serialization.PrivateFormat.OpenSSH), "this is a private key"),
        (pem_of(KEYS["ed25519"]) + private(KEYS["ed25519"]), "this is a private key"),
        (pem_of(KEYS["ed25519"]) * 2, "not one PEM block PUBLIC KEY"),
        (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "openssl x509"),
        (b"-----BEGIN RSA PUBLIC KEY-----\nAA==\n-----END RSA PUBLIC KEY-----\n", "found: RSA PUBLIC KEY"),
        (b"-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (b"ssh-ed25519 AAAA me", "found: none"),
        (b"", "found: none"),
        (bytes(100_000), "larger than"),
        (pem_of(rsa.generate_private_key(65537, 1024)), "1024 bits"),
        (pem_of(ec.generate_private_key(ec.SECP256K1())), "secp256k1 is not one of"),
        (pem_of(ec.generate_private_key(ec.SECP521R1())), "secp521r1 is not one of"),
    ],
    ids=itertools.count(),
)
def test_j2_a_file_that_is_no_public_key_is_named(content: bytes, match: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(BadKeyFile, match=match) as caught:
        load_public_keys([str(file)])
    assert str(caught.value).startswith(f"{file}: ")
    secret = [line for line in content.splitlines()[1:-1] if len(line) > 20 and b"-----" not in line]
    assert not any(line.decode("latin-1") in str(caught.value) for line in secret)


def test_j2_an_ed448_key_is_not_supported(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey

    file = tmp_path / "key.pem"
    file.write_bytes(
        Ed448PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(BadKeyFile, match="of this kind is not supported"):
        load_public_keys([str(file)])


def test_j2_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, match in (
        (pipe, "not a file"),
        (tmp_path, "not a file|cannot be read"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(BadKeyFile, match=match):
            load_public_keys([str(path)])
