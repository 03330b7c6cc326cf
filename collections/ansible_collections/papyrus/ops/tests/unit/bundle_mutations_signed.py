# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to the manifest and to the attestation of a sealed bundle, beside those of `bundle_mutations`."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._dsse import PAYLOAD_TYPE, Envelope
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import FIRST_PREV, canonical
from ansible_collections.papyrus.ops.tests.unit.bundle_mutations import (
    ATTESTATION,
    MANIFEST,
    MUTATIONS,
    SUMS,
    NotThisOne,
    Right,
    Said,
    Scene,
    mangled,
    mutation,
    one_of,
    right,
)
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import manifest_lines, write

__all__ = ["MUTATIONS"]

# The manifest


@mutation
def manifest_mangled(scene: Scene) -> Right:
    data = scene.read(MANIFEST)
    changed = mangled(data, scene.rng)
    if data.startswith(changed):
        return cut_at(scene, len(changed))
    scene.write(MANIFEST, changed)
    if changed.startswith(data):
        added = changed[len(data) :]
        said: list[Said] = [("invalid", MANIFEST)] if b"\n" in added else []
        return right(*said, *([] if added.endswith(b"\n") else [("torn", MANIFEST)]))
    return right(("invalid" if changed.endswith(b"\n") else "torn", MANIFEST))


@mutation
def manifest_cut(scene: Scene) -> Right:
    return cut_at(scene, scene.rng.randrange(len(scene.read(MANIFEST))))


@mutation
def manifest_tail_removed(scene: Scene) -> Right:
    lines = manifest_lines(scene.folder)
    return cut_at(scene, len(b"".join(lines[: scene.rng.randrange(len(lines))])))


def cut_at(scene: Scene, size: int) -> Right:
    lines = manifest_lines(scene.folder)
    data = b"".join(lines)[:size]
    scene.write(MANIFEST, data)
    left = data.count(b"\n")
    said: list[Said] = [("torn", MANIFEST)] if not data.endswith(b"\n") and data else []
    if left + len(said) < len(lines):
        said.append(("truncated", MANIFEST))
    return right(*said)


@mutation
def manifest_lines_removed(scene: Scene) -> Right:
    lines = manifest_lines(scene.folder)
    at = scene.rng.randrange(len(lines) - 1)
    end = scene.rng.randrange(at + 1, len(lines)) if scene.rng.random() < 0.5 else at + 1
    scene.write(MANIFEST, b"".join(lines[:at] + lines[end:]))
    return right(("gap", MANIFEST))


@mutation
def manifest_lines_reordered(scene: Scene) -> Right:
    lines = manifest_lines(scene.folder)
    one, two = scene.rng.sample(range(len(lines)), 2)
    swapped = list(lines)
    swapped[one], swapped[two] = swapped[two], swapped[one]
    moved = list(lines)
    moved.insert(two, moved.pop(one))
    shuffled = scene.rng.sample(lines, len(lines))
    scene.write(MANIFEST, b"".join(scene.rng.choice((swapped, moved, shuffled, lines[::-1]))))
    return right(("reordered", MANIFEST))


@mutation
def manifest_line_twice(scene: Scene) -> Right:
    lines = manifest_lines(scene.folder)
    line = scene.rng.choice(lines)
    lines.insert(scene.rng.randrange(len(lines) + 1), line)
    scene.write(MANIFEST, b"".join(lines))
    return right(("invalid", MANIFEST))


@mutation
def manifest_line_put_in(scene: Scene) -> Right:
    lines = manifest_lines(scene.folder)
    at = scene.rng.randrange(len(lines) + 1)
    forged = {
        **json.loads(lines[at - 1]), "seq": at, "name": "forged.log", "path": "20260131T120000Z_forged.log", "bytes": 6,
        "sha256": hashlib.sha256(b"forged").hexdigest(), "prev": _hash(lines[at - 1]) if at else FIRST_PREV,
    }  # fmt: skip
    write(scene.folder / "20260131T120000Z_forged.log", b"forged")
    lines.insert(at, canonical(forged) + b"\n")
    scene.write(MANIFEST, b"".join(lines))
    return right(("invalid", MANIFEST), ("unlisted", "20260131T120000Z_forged.log"))


@mutation
def manifest_line_changed(scene: Scene) -> Right:
    """A field with another value that it could have, or the same in another spelling."""
    lines = manifest_lines(scene.folder)
    at = scene.rng.randrange(len(lines))
    lines[at] = _changed_line(lines[at], scene.rng)
    scene.write(MANIFEST, b"".join(lines))
    return right(("invalid", MANIFEST))


def _changed_line(line: bytes, rng: random.Random) -> bytes:
    value = json.loads(line)
    field, content = rng.choice(
        [
            ("seq", value["seq"] + rng.choice((1, 2, 40, 10**15))),
            ("seq", 0 if value["seq"] else 1),
            ("prev", rng.randbytes(32).hex()),
            ("prev", FIRST_PREV if value["seq"] else rng.randbytes(32).hex()),
            ("at", "2031-01-31T12:00:00.000000Z"),
            ("status", "skip"),
            ("step", "Z9"),
            ("bytes", value["bytes"] + 1),
            ("sha256", rng.randbytes(32).hex()),
            ("media_type", "text/x-other"),
            ("meta", {"reason": "another"}),
            ("name", "other.log"),
            ("path", "20260131T120000Z_other.log"),
            ("path", "../" + value["path"]),
            ("path", "/etc/passwd"),
        ]
    )
    spelt = rng.randrange(8)
    if spelt == 0:
        return json.dumps(value).encode() + b"\n"
    if spelt == 1:
        return line.replace(b'"seq":', b'"seq":0,"seq":')
    if spelt == 2:
        return line.replace(b'"at"', b'"\\u0061t"')
    if spelt == 3:
        return line[:-1] + rng.choice((b" \n", b"\r\n", b"\n\n", b"\t\n"))
    if spelt == 4:
        return line.replace(b'"bytes":', b'"bytes":1e999,"x":')
    return canonical({**value, field: content}) + b"\n"


@mutation
def manifest_of_another_run(scene: Scene) -> Right:
    scene.write(MANIFEST, (scene.other / MANIFEST).read_bytes())
    return right(("invalid", MANIFEST))


@mutation
def chain_written_anew(scene: Scene) -> Right:
    """A valid chain that hides something, as whoever has no key can make it."""
    said = _rewrite(scene)
    return Right((frozenset({("invalid", MANIFEST)}), *(frozenset({each}) for each in said)))


@mutation
def chain_and_sums_written_anew(scene: Scene) -> Right:
    _rewrite(scene)
    _sums_anew(scene)
    return right(("invalid", MANIFEST), ("invalid", SUMS))


@mutation
def everything_written_anew_and_signed_by_a_stranger(scene: Scene) -> Right:
    _rewrite(scene)
    _sums_anew(scene)
    kept = json.loads(base64.b64decode(json.loads(scene.read(ATTESTATION))["payload"]))
    for subject in kept["subject"]:
        if subject["name"] in (MANIFEST, SUMS):
            subject["digest"] = {"sha256": hashlib.sha256(scene.read(subject["name"])).hexdigest()}
    envelope = scene.stranger.signer.envelope(canonical(kept))
    if scene.rng.random() < 0.5:
        scene.write(ATTESTATION, envelope)
        return right(("wrong-key", ATTESTATION))
    value = json.loads(envelope)
    value["signatures"][0]["keyid"] = _keyid(scene)
    scene.write(ATTESTATION, canonical(value))
    return right(("bad-signature", ATTESTATION))


def _rewrite(scene: Scene) -> list[Said]:
    """Changes or drops one item and chains all lines anew; says what becomes of the item's file."""
    values = [json.loads(line) for line in manifest_lines(scene.folder)]
    at = scene.rng.randrange(1, len(values) - 1)
    path = values[at]["path"]
    if values[at]["name"] in ("continued.json", "binding.json"):
        raise NotThisOne(path)
    said: Said
    if scene.rng.random() < 0.5:
        data = scene.read(path) + b"more"
        write(scene.folder / path, data)
        values[at] |= {"status": "ok", "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        said = ("invalid", path)
    else:
        (scene.folder / path).unlink()
        del values[at]
        said = ("missing", path)
    previous, lines = FIRST_PREV, []
    for seq, value in enumerate(values):
        line = canonical({**value, "seq": seq, "prev": previous})
        previous = hashlib.sha256(line).hexdigest()
        lines.append(line + b"\n")
    scene.write(MANIFEST, b"".join(lines))
    return [said]


def _sums_anew(scene: Scene) -> None:
    names = sorted(entry.name for entry in scene.folder.iterdir() if entry.name not in (SUMS, ATTESTATION))
    lines = [f"{hashlib.sha256(scene.read(name)).hexdigest()}  {name}\n" for name in names]
    scene.write(SUMS, "".join(lines).encode())


# The attestation


@mutation
def attestation_mangled(scene: Scene) -> Right:
    scene.write(ATTESTATION, mangled(scene.read(ATTESTATION), scene.rng))
    return one_of(("invalid", ATTESTATION), ("bad-signature", ATTESTATION), ("wrong-key", ATTESTATION))


@mutation
def attestation_removed(scene: Scene) -> Right:
    (scene.folder / ATTESTATION).unlink()
    return right(("unsealed", ATTESTATION))


@mutation
def attestation_of_another_run(scene: Scene) -> Right:
    scene.write(ATTESTATION, (scene.other / ATTESTATION).read_bytes())
    return right(("invalid", ATTESTATION))


@mutation
def envelope_in_another_form(scene: Scene) -> Right:
    value = json.loads(scene.read(ATTESTATION))
    payload, signature = value["payload"], value["signatures"][0]
    alike = [
        json.dumps(value, indent=1).encode(),
        scene.read(ATTESTATION) + b"\n",
        b" " + scene.read(ATTESTATION),
        b"\xef\xbb\xbf" + scene.read(ATTESTATION),
        json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode(),
        canonical({**value, "more": 1}),
        canonical({**value, "payload": payload.rstrip("=") if payload.endswith("=") else payload + "===="}),
        canonical({**value, "payload": f"{payload[:76]}\n{payload[76:]}"}),
        canonical({**value, "payload": f"{payload[:-4]}{_stray_bits(payload[-4:])}"}),
        canonical({**value, "payloadType": "application/json"}),
        canonical({**value, "signatures": []}),
        canonical({**value, "signatures": [signature, signature]}),
        canonical({**value, "signatures": [{**signature, "sig": signature["sig"].rstrip("=")}]}),
        canonical({**value, "signatures": [{**signature, "sig": _stray_bits(signature["sig"])}]}),
        canonical({**value, "signatures": [{**signature, "cert": "x"}]}),
        canonical({**value, "signatures": [{"sig": signature["sig"]}]}),
    ]
    scene.write(ATTESTATION, scene.rng.choice(alike))
    return right(("invalid", ATTESTATION))


def _stray_bits(text: str) -> str:
    """Base64 with bits set that its padding leaves unused: decodes to the same bytes."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    kept = text.rstrip("=")
    padding = len(text) - len(kept)
    if not padding:
        raise NotThisOne("no padding")
    return kept[:-1] + letters[letters.index(kept[-1]) | 1] + "=" * padding


@mutation
def envelope_with_another_key_id(scene: Scene) -> Right:
    value = json.loads(scene.read(ATTESTATION))
    keyid = scene.rng.choice(["", scene.stranger.trusted.keyid, value["signatures"][0]["keyid"].upper(), "deploy-key"])
    value["signatures"][0]["keyid"] = keyid
    scene.write(ATTESTATION, canonical(value))
    return right(("wrong-key", ATTESTATION))


@mutation
def envelope_with_another_signature(scene: Scene) -> Right:
    value = json.loads(scene.read(ATTESTATION))
    raw = base64.b64decode(value["signatures"][0]["sig"])
    other = json.loads((scene.other / ATTESTATION).read_bytes())["signatures"][0]["sig"]
    flipped = bytes([raw[0] ^ 1]) + raw[1:]
    plus_order = raw[:32] + ((int.from_bytes(raw[32:], "little") + _ORDER) % 2**256).to_bytes(32, "little")
    made = [scene.rng.randbytes(64), flipped, raw[:-1], raw + b"\0", b"", plus_order, base64.b64decode(other)]
    value["signatures"][0]["sig"] = base64.b64encode(scene.rng.choice(made)).decode()
    scene.write(ATTESTATION, canonical(value))
    return right(("bad-signature", ATTESTATION))


_ORDER = 2**252 + 27742317777372353535851937790883648493
"""L of RFC 8032, 5.1: a verifier that does not look takes s + L for s."""


@mutation
def envelope_with_another_statement(scene: Scene) -> Right:
    value = json.loads(scene.read(ATTESTATION))
    kept: dict[str, Any] = json.loads(base64.b64decode(value["payload"]))
    result = "PASSED" if kept["predicate"]["result"] != "PASSED" else "FAILED"
    payload = scene.rng.choice(
        [
            canonical({**kept, "predicate": {**kept["predicate"], "result": result}}),
            canonical({**kept, "subject": kept["subject"][:-1]}),
            json.dumps(kept).encode(),
            base64.b64decode(value["payload"]) + b"\n",
            b"",
            b"{}",
        ]
    )
    scene.write(ATTESTATION, Envelope(payload, PAYLOAD_TYPE, _keyid(scene), _signature(scene)).to_bytes())
    return right(("bad-signature", ATTESTATION))


def _keyid(scene: Scene) -> str:
    return str(json.loads(scene.read(ATTESTATION))["signatures"][0]["keyid"])


def _signature(scene: Scene) -> bytes:
    return base64.b64decode(json.loads(scene.read(ATTESTATION))["signatures"][0]["sig"])


def _hash(line: bytes) -> str:
    return hashlib.sha256(line.rstrip(b"\n")).hexdigest()
