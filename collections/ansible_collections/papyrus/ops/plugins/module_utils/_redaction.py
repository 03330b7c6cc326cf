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
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any

from ._locks import locked_file

MIN_LENGTH = 6
"""Known values with fewer characters are not searched for: they would match by chance."""

KEY_FILE = "redaction.key"
KNOWN_FILE = "redaction.known"

_KIND = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_SENSITIVE_KEY = re.compile(
    r"(?:.*(?:password|passwd|passphrase)|secretaccesskey|.*secret_?access_?key|.*sessiontoken|.*session_token"
    r"|tokenvalue|authorizationtoken|authorization|proxy-authorization|cookie|set-cookie|x-amz-security-token)",
    re.IGNORECASE,
)

_SEP = rb"(?:\\*[\"'])?\s*(?:=>|[:=])\s*"
_TOKEN = rb"\[redacted:[a-z0-9-]+:[0-9a-f]{8}\]"
_NOTHING = rb"null\b|none\b|true\b|false\b|\(sensitive|" + _TOKEN
_VALUE = (  # a quoted value up to its own quote, else up to white space or a delimiter
    rb"(?:\\*\"(?P<v1>(?!" + _NOTHING + rb")(?:[^\"\\\r\n]|\\+[^\"\\\r\n])+)"
    rb"|\\*'(?P<v2>(?!" + _NOTHING + rb")[^'\r\n]+)"
    rb"|(?P<v3>(?!" + _NOTHING + rb")[^\s\"'\\,;&<>}\]\)]+))"
)


def _shape(kind: str, pattern: bytes, flags: int = re.IGNORECASE) -> tuple[str, re.Pattern[bytes]]:
    return kind, re.compile(pattern, flags)


# Each pattern names the secret part v1, v2 or v3; only that part is replaced. None begins with a repetition: searching
# would take the square of the text's length.
SHAPES: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    _shape(
        "private-key",
        rb"(?P<v1>-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?"
        rb"(?:-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----|\Z))",
        re.DOTALL,
    ),
    # The whole rest of the header line, or of the quoted string in which it stands.
    _shape(
        "authorization",
        rb"authorization" + _SEP + rb"(?:\\*[\"'])?(?P<v1>(?!" + _NOTHING + rb")[^\s\"'\\][^\"'\\\r\n]*)",
    ),
    _shape(
        "cookie",
        rb"(?<![a-z-])(?:set-)?cookie\\*[\"']?\s*:\s*(?:\\*[\"'])?(?P<v1>(?!" + _TOKEN + rb")[^\s\"'\\][^\"'\\\r\n]*)",
    ),
    # RFC 3986 userinfo of a connection URI.
    _shape("password", rb"://[^\s/:@\"'<>]*:(?P<v1>(?!" + _TOKEN + rb")[^\s/\"'<>]+?)@"),
    _shape("password", rb"(?:password|passwd|passphrase)" + _SEP + _VALUE),
    _shape(
        "aws-secret-key",
        rb"secret_?-?(?:access_?-?)?key" + _SEP + rb"(?:\\*[\"'])?(?P<v1>[a-z0-9/+]{40})(?![a-z0-9/+])",
    ),
    _shape(
        "aws-session-token",
        rb"(?:session_?-?token|security_?-?token)" + _SEP + rb"(?:\\*[\"'])?(?P<v1>[a-z0-9/+=%_-]{16,})",
    ),
    # Beginning of tokens which STS gives out; they are long, so that words do not match.
    _shape(
        "aws-session-token",
        rb"(?<![A-Za-z0-9/+])(?P<v1>(?:FwoGZXIvYXdz|IQoJb3JpZ2lu|FQoGZXIvYXdz)[A-Za-z0-9/+=]{40,})",
        0,
    ),
    _shape("signature", rb"(?:x-amz-signature|[?&]signature)(?:=|%3d)(?P<v1>[a-z0-9%/+_=-]{16,})"),
    _shape(
        "token",
        rb"(?:tokenvalue|authorizationtoken)" + _SEP + rb"(?:\\*[\"'])?(?P<v1>(?!" + _TOKEN + rb")[^\s\"'\\,}]+)",
    ),
)


def _percent(char: str) -> str:
    """All of a character's UTF-8 bytes percent-encoded (RFC 3986 section 2.1), either case of the digits."""
    return "".join(f"%{byte:02x}" for byte in char.encode("utf-8"))


def _utf16_escapes(char: str) -> bytes:
    units = char.encode("utf-16-be")
    parts = (rb"\\{1,8}u" + units[i : i + 2].hex().encode() for i in range(0, len(units), 2))
    return b"".join(parts)


_SHORT_ESCAPES = {'"': b'"', "\\": rb"\\", "/": b"/", "\n": b"n", "\r": b"r", "\t": b"t", "\b": b"b", "\f": b"f"}


def _char_pattern(char: str) -> bytes:
    """One character in every form which text formats give it: itself, percent, JSON (also JSON in JSON), HTML, form."""
    raw = char.encode("utf-8")
    forms = [re.escape(raw), b"(?i:" + _percent(char).encode() + b")", b"(?i:" + _utf16_escapes(char) + b")"]
    if char in _SHORT_ESCAPES:
        forms.append(rb"\\{1,15}" + re.escape(_SHORT_ESCAPES[char]) if char != "\\" else rb"\\{2,16}")
    entity = escape(char, quote=True)
    if entity != char:
        forms.append(re.escape(entity.encode()))
    if char == "'":
        forms += [rb"&#39;", rb"&apos;", rb"'\\''", rb"'\"'\"'"]
    if char == '"':
        forms += [rb"&#34;"]
    if char == " ":
        forms.append(rb"\+")
    forms.sort(key=len, reverse=True)  # the longer form first: a lone backslash must not win over its escape
    return b"(?:" + b"|".join(forms) + b")"


def _base64_patterns(value: bytes) -> Iterable[bytes]:
    """The characters which depend on `value` alone, for each of its three positions inside a longer base64 text."""
    for lead in range(3):
        padded = b"\0" * lead + value
        text = base64.b64encode(padded).rstrip(b"=")
        first = (0, 2, 3)[lead]
        last = len(padded) * 8 // 6  # whole characters; the next one would depend on what follows
        core = text[first:last]
        if len(core) < MIN_LENGTH:
            continue
        chars = (rb"[+\-]" if c == 0x2B else rb"[/_]" if c == 0x2F else re.escape(bytes([c])) for c in core)
        yield rb"(?:(?:\\r)?(?:\\n)|\r?\n)?".join(chars) + rb"={0,2}"


_TOKEN_PATTERN = re.compile(_TOKEN)
_LONGEST_TOKEN = len("[redacted:") + 32 + len(":01234567]")


def _inside_token(data: bytes, position: int) -> bool:
    """Whether `position` lies in something redacted: `[redacted:password:…]` looks like a password itself."""
    start = data.rfind(b"[redacted:", max(0, position - _LONGEST_TOKEN), position)
    token = _TOKEN_PATTERN.match(data, start) if start >= 0 else None
    return token is not None and token.end() > position


def _constant(token: bytes) -> Callable[[re.Match[bytes]], bytes]:
    return lambda _match: token  # not a template: a token is never expanded


class Redactor:
    """Replaces secrets by `[redacted:<kind>:<8 hex>]`; the hex is HMAC-SHA-256 under a key that lives for one run.

    Equal secrets look equal inside one bundle, and nothing can be tested offline once the key is gone. Without a
    private folder only shapes and the values given by `add` are known, with a key that lives as long as this object.
    """

    def __init__(self, private: str | Path | None = None) -> None:
        self._private = Path(private) if private else None
        self._known: dict[bytes, str] = {}
        self._pattern: re.Pattern[bytes] | None = None
        self._base64: dict[bytes, tuple[bytes, str]] = {}
        self._parts: list[tuple[re.Pattern[bytes], bytes, str]] = []
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
        raw = value.encode("utf-8") if isinstance(value, str) else value
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
        raw = value.encode("utf-8") if isinstance(value, str) else value
        if len(raw.decode("utf-8", "replace")) < MIN_LENGTH:
            self.short_values += 1
            return False
        if raw not in self._known:
            self._known[raw] = kind
            self._compile()
        return True

    def token(self, kind: str, value: bytes) -> bytes:
        digest = hmac.new(self._key, value, hashlib.sha256).hexdigest()[:8]
        return f"[redacted:{kind}:{digest}]".encode()

    def redact(self, data: bytes) -> bytes:
        """The same bytes without secrets. Known values first, so that a value has one token whatever surrounds it."""
        self._reload()
        for pattern, value, kind in self._parts:
            data = pattern.sub(_constant(self.token(kind, value)), data)
        for kind, pattern in SHAPES:
            data = pattern.sub(self._replace(kind), data)
        return data

    def redact_text(self, text: str) -> str:
        return self.redact(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def redact_object(self, value: Any, key: str = "") -> Any:
        """JSON-like data without secrets; also what only its key betrays (`{"password": 1234}`)."""
        if isinstance(value, Mapping):
            return {self.redact_text(str(k)): self.redact_object(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact_object(item, key) for item in value]
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            text = self.redact_text(str(value))
            if _SENSITIVE_KEY.fullmatch(key) and text and not re.search(_TOKEN, text.encode("utf-8", "replace")):
                return self.token("password" if "pass" in key.lower() else "secret", text.encode()).decode()
            return text if isinstance(value, str) or text != str(value) else value
        return value

    def _replace(self, kind: str) -> Callable[[re.Match[bytes]], bytes]:
        def replace(match: re.Match[bytes]) -> bytes:
            for name in ("v1", "v2", "v3"):
                if name in match.re.groupindex and match.group(name):
                    if _inside_token(match.string, match.start(name)):
                        return match.group(0)
                    start, end = match.start(name) - match.start(), match.end(name) - match.start()
                    whole = match.group(0)
                    return whole[:start] + self.token(kind, match.group(name)) + whole[end:]
            return match.group(0)

        return replace

    def _reload(self) -> None:
        if self._private is None:
            return
        path = self._private / KNOWN_FILE
        size = path.stat().st_size
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
                self._known.setdefault(base64.b64decode(record["value"]), str(record["kind"]))
        self._compile()

    def _compile(self) -> None:
        parts: list[tuple[re.Pattern[bytes], bytes, str]] = []
        for value, kind in sorted(self._known.items(), key=lambda item: len(item[0]), reverse=True):
            try:
                direct = b"".join(_char_pattern(char) for char in value.decode("utf-8"))
            except UnicodeDecodeError:
                direct = re.escape(value)
            forms = [direct, *_base64_patterns(value)]
            parts.append((re.compile(b"|".join(forms)), value, kind))
        self._parts = parts
