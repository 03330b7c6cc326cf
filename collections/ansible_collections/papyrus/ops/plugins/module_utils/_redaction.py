# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes secrets out of bytes before they reach the disk: values that the run has read, and shapes of secrets."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from . import _redaction_shapes
from ._locks import locked_file
from ._redaction_blocks import Blocks, merged, moved, replaced
from ._redaction_known import MIN_LENGTH, Known

KEY_FILE = "redaction.key"
KNOWN_FILE = "redaction.known"

_CHUNK = 1024 * 1024
_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SENSITIVE_KEY = re.compile(
    r"(?:.*(?:password|passwd|passphrase)|secretaccesskey|.*secret_?access_?key|.*sessiontoken|.*session_token"
    r"|tokenvalue|authorizationtoken|authorization|proxy-authorization|cookie|set-cookie|x-amz-security-token)",
    re.IGNORECASE,
)

_LISTS = (list, tuple, set, frozenset)
_BETWEEN = "\n\x1f\n"
"""Between texts that are looked at at once: no value, label or escape reaches across it unseen."""


class Redactor:
    """Replaces secrets by `[redacted:<kind>:<8 hex>]`; the hex is HMAC-SHA-256 under a key that lives for one run.

    Equal secrets look equal inside one bundle, and nothing can be tested offline once the key is gone. Without a
    private folder only shapes and the values given by `add` are known, with a key that lives as long as this object.
    """

    def __init__(self, private: str | Path | None = None) -> None:
        self._private = Path(private) if private else None
        self._values: dict[bytes, str] = {}
        self._known: Known | None = None
        self._size = -1
        self.short_values = 0
        self._key = (self._private / KEY_FILE).read_bytes() if self._private else secrets.token_bytes(32)

    @staticmethod
    def prepare(private: str | Path) -> None:
        """Makes key and list of known values in a fresh run-private folder, both 0600."""
        for name, content in ((KEY_FILE, secrets.token_bytes(32)), (KNOWN_FILE, b"")):
            fd = os.open(Path(private) / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(content)

    @staticmethod
    def register(private: str | Path, kind: str, value: str | bytes) -> bool:
        """Makes a secret that the run has just read known to every writer of this run; call it before using the value.

        False when the value is too short to be searched for (counted, and said in the verdict).
        """
        if not _KIND.fullmatch(kind):
            raise ValueError(f"the kind {kind!r} of a secret must be lower-case letters, digits and hyphens")
        raw = _raw(value)
        searched = len(raw.decode("utf-8", "replace")) >= MIN_LENGTH
        record = {"kind": kind, "value": base64.b64encode(raw).decode() if searched else None}
        line = json.dumps(record).encode() + b"\n"
        with locked_file(Path(private) / KNOWN_FILE) as fd:
            size = os.fstat(fd).st_size
            if line in os.pread(fd, size, 0).splitlines(keepends=True):
                return searched
            os.pwrite(fd, line, size)
        return searched

    def add(self, kind: str, value: str | bytes) -> bool:
        """Like `register`, for this object alone."""
        raw = _raw(value)
        if len(raw.decode("utf-8", "replace")) < MIN_LENGTH:
            self.short_values += 1
            return False
        self._values.setdefault(raw, kind)
        self._known = None
        return True

    def token(self, kind: str, value: bytes) -> bytes:
        digest = hmac.new(self._key, value, hashlib.sha256).hexdigest()[:8]
        return f"[redacted:{kind}:{digest}]".encode()

    def redact(self, data: bytes) -> bytes:
        """The same bytes without secrets. Known values first, so that a value has one token whatever surrounds it."""
        return b"".join(self.stream(_slices(data)))

    def redact_stream(self, source: BinaryIO, sink: Callable[[bytes], Any]) -> None:
        """What `redact` makes of all bytes of `source`, given to `sink` piece by piece (at most some megabytes each).

        Memory does not depend on how much there is; a secret is found wherever it stands. Values which become known
        meanwhile are not looked for.
        """
        for piece in self.stream(iter(lambda: source.read(_CHUNK), b"")):
            sink(piece)

    def stream(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """`redact` of the chunks joined, piece by piece. The pieces do not depend on how it is cut into chunks."""
        finder = self._finder()
        known = Blocks(finder.spans, self.token, finder.reach)
        shapes = Blocks(_redaction_shapes.spans, self.token, _redaction_shapes.REACH)
        for chunk in chunks:
            for piece in known.feed(chunk):
                yield from shapes.feed(piece)
        for piece in known.end():
            yield from shapes.feed(piece)
        yield from shapes.end()

    def redact_pieces(self, pieces: Sequence[bytes]) -> list[bytes]:
        """As many pieces, which joined have no secret, also none that was cut between them.

        What takes the place of such a one is in the piece in which it began.
        """
        data, cuts = b"".join(pieces), [0]
        for piece in pieces:
            cuts.append(cuts[-1] + len(piece))
        for find in (self._finder().spans, _redaction_shapes.spans):
            spans = merged(find(data, 0))
            cuts = moved(cuts, spans, self.token)
            data = replaced(data, 0, len(data), spans, self.token)
        return [data[begin:end] for begin, end in pairwise(cuts)]

    def redact_text(self, text: str) -> str:
        return self.redact(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def redact_object(self, value: Any) -> Any:
        """JSON-like data without secrets; also what only its key betrays (`{"password": 1234}`).

        So do objects of a name and a value, as in task definitions and lists of headers. A list of texts is looked at
        as lines: the label of a secret may stand in the one before, or a private key go over many.
        """
        return self._clean(value, "", self._changed(sorted(set(_texts(value)))))

    def _clean(self, value: Any, key: str, changed: Mapping[str, str]) -> Any:
        if isinstance(value, Mapping):
            named = _named(value)
            return {
                changed.get(str(k), str(k)): self._clean(v, named if k in ("value", "Value") else str(k), changed)
                for k, v in value.items()
            }
        if isinstance(value, _LISTS):
            if _are_lines(value) and "\n".join(value) in changed:
                return self._clean_lines(list(value))
            return [self._clean(item, key, changed) for item in value]
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            return value
        text = changed.get(str(value), str(value))
        if _SENSITIVE_KEY.fullmatch(key) and text and not _redaction_shapes.says_nothing(text):
            return self.token("password" if "pass" in key.lower() else "secret", _raw(text)).decode()
        return text if isinstance(value, str) or text != str(value) else value

    def _clean_lines(self, lines: Sequence[str]) -> list[str]:
        """As many lines; a secret that goes over several of them is taken out of all."""
        pieces = self.redact_pieces([_raw(f"{line}\n") for line in lines])
        return [piece.decode("utf-8", "surrogateescape").removesuffix("\n") for piece in pieces]

    def _changed(self, texts: Sequence[str]) -> dict[str, str]:
        """Those of `texts` that have a secret, with what becomes of them. Many texts are looked at at once."""
        joined = _raw(_BETWEEN.join(texts))
        if self.redact(joined) == joined:
            return {}
        if len(texts) <= 4:
            return {text: clean for text in texts if (clean := self.redact_text(text)) != text}
        middle = len(texts) // 2
        return {**self._changed(texts[:middle]), **self._changed(texts[middle:])}

    def _finder(self) -> Known:
        self._reload()
        if self._known is None:
            self._known = Known(self._values)
        return self._known

    def _reload(self) -> None:
        if self._private is None:
            return
        path = self._private / KNOWN_FILE
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            if self._size < 0:
                raise
            return  # the run is closed: what was known until then
        if size == self._size:
            return
        self._size = size
        with locked_file(path) as fd:
            lines = os.pread(fd, os.fstat(fd).st_size, 0).splitlines()
        self.short_values = 0
        for line in lines:
            record = json.loads(line)
            if record["value"] is None:
                self.short_values += 1
            else:
                self._values.setdefault(base64.b64decode(record["value"]), str(record["kind"]))
        self._known = None


def _are_lines(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(item, str) for item in value)


def _texts(value: Any) -> Iterator[str]:
    """Every text and number of JSON-like data, keys as well."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, _LISTS):
        if _are_lines(value):
            yield "\n".join(value)
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield str(value)


def _raw(value: str | bytes) -> bytes:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _named(value: Mapping[Any, Any]) -> str:
    """Of `{"name": "PGPASSWORD", "value": …}` the name, else nothing."""
    for key in ("name", "Name", "key", "Key"):
        if isinstance(value.get(key), str):
            return str(value[key])
    return "value"


def _slices(data: bytes) -> Iterator[bytes]:
    return (data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK))
