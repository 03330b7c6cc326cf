# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what looks like a secret: by the label before it, or by its own form (EVIDENCE.md, Redaction).

A word is looked for by `bytes.find`, a pattern is only tried where the word stands. Every repetition has a bound, so
that time grows with the text and no faster, and that nothing is longer than REACH.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ._redaction_blocks import CONTEXT, Span

REACH = 80 * 1024
_MAX_KEY = 64 * 1024
_MAX_LOGIN = 1500

TOKEN = rb"\[redacted:[a-z0-9-]+:[0-9a-f]{8}\]"
_TOKEN = re.compile(TOKEN)
_LEFT_OUT = re.compile(
    rb"(?:null|none|true|false|generated|changed|unchanged|missing)$|\(sensitive|\(known after|\*\*\*"
    rb"|VALUE_SPECIFIED_IN_NO_LOG",
    re.IGNORECASE,
)
_LONGEST_TOKEN = len("[redacted:") + 32 + len(":01234567]")

# What stands in the place of a value and says that there is none, or that it was left out.
_NOTHING = (
    rb"(?:null|none|true|false|undef|generated|changed|unchanged|missing)\b|\(sensitive|\(known after|\*\*\*"
    rb"|VALUE_SPECIFIED_IN_NO_LOG|" + TOKEN
)
_QUOTE = rb"(?:\\{0,31}[\"']|&quot;|&\#(?:0?3[49]|x2[27]);|&apos;|%2[27])"
# Between label and value: `=`, `:`, `=>`, a tag's end, or a member `value` of the object that has the label as `name`.
_SEP = (
    rb"(?:" + _QUOTE + rb"?\s{0,16}+(?:=>|[:=]|%3[ad]|&\#(?:61|x3d);)\s{0,16}+|>"
    rb"|[\w-]{0,40}" + _QUOTE + rb"?\s{0,4}[,\s]\s{0,80}" + _QUOTE + rb"?value" + _QUOTE + rb"?\s{0,8}[:=]\s{0,8})"
)
_VALUE = (  # a quoted value up to its own quote, else up to white space or a delimiter
    rb"(?:(?P<q>\\{1,31}+)\"(?P<v1>(?!" + _NOTHING + rb")(?:[^\"\\\r\n]|(?!(?P=q)\")\\++\"?){1,8192}+)"
    rb"|\"(?P<v2>(?!" + _NOTHING + rb")(?:[^\"\\\r\n]|\\[^\r\n]){1,8192}+)"
    rb"|\\{0,31}'(?P<v3>(?!" + _NOTHING + rb")(?:[^'\r\n]|''){1,8192}+)"
    rb"|(?:" + _QUOTE + rb")?(?P<v4>(?!" + _NOTHING + rb")(?:" + TOKEN + rb"|[^\s\"'\\,;&<>}\]\)]){1,8192}+))"
)
_REST = rb"(?:\\{0,31}[\"'])?(?P<v1>(?!" + _NOTHING + rb")[^\s\"'\\][^\"'\\\r\n]{0,16384}+)"
"""The rest of a header's line, or of the quoted string in which it stands."""


class Shape(NamedTuple):
    """`pattern` begins where one of `words` (in lower case) stands; a group v1 to v4 is the secret."""

    kind: str
    words: tuple[bytes, ...]
    pattern: re.Pattern[bytes]


def _shape(kind: str, words: str, pattern: bytes, flags: int = re.IGNORECASE) -> Shape:
    return Shape(kind, tuple(word.encode() for word in words.split("|")), re.compile(pattern, flags))


SHAPES = (
    _shape("authorization", "authorization", rb"authorization" + _SEP + _REST),
    _shape("cookie", "cookie", rb"(?:(?<=set-)|(?<![a-z-]))cookie" + _SEP + _REST),
    _shape("password", "password|passwd|passphrase", rb"(?:password|passwd|passphrase)" + _SEP + _VALUE),
    # An option of a command, and SQL.
    _shape(
        "password",
        "--",
        rb"--(?:[a-z0-9]{1,20}-){0,4}password\s{1,4}(?P<v1>(?!" + _NOTHING + rb"|-)[^\s\"'\\]{1,8192}+)",
    ),
    _shape("password", "password", rb"password\s{1,8}(?:E|U&)?'(?P<v1>(?!" + _NOTHING + rb")(?:[^'\r\n]|''){1,8192}+)"),
    _shape(
        "aws-secret-key",
        "secret",
        rb"secret_?-?(?:access_?-?)?key" + _SEP + _QUOTE + rb"?(?P<v1>[a-z0-9/+]{40})(?![a-z0-9/+])",
    ),
    _shape(
        "aws-session-token",
        "session|security",
        rb"(?:session|security)_?-?token" + _SEP + _QUOTE + rb"?(?P<v1>[a-z0-9/+=%_-]{16,16384}+)",
    ),
    # Beginning of tokens which STS gives out; they are long, so that words do not match.
    _shape(
        "aws-session-token",
        "fwogzxivyxdz|iqojb3jpz2lu|fqogzxivyxdz",
        rb"(?P<v1>(?:FwoGZXIvYXdz|IQoJb3JpZ2lu|FQoGZXIvYXdz)[A-Za-z0-9/+=%]{40,16384}+)",
        0,
    ),
    _shape("signature", "signature", rb"signature(?:=|%3d)(?P<v1>[a-z0-9%/+_=-]{16,8192}+)"),
    _shape("token", "token", rb"tokenvalue" + _SEP + _VALUE),
    _shape("token", "authorizationtoken", rb"authorizationtoken" + _SEP + _VALUE),
    _shape(
        "token",
        "token",
        rb"(?<=(?:access|bearer)[_-])token" + _SEP + _QUOTE + rb"?(?P<v1>[a-z0-9/+=%._~-]{16,16384}+)"
        rb"|(?<=refresh[_-])token" + _SEP + _QUOTE + rb"?(?P<v2>[a-z0-9/+=%._~-]{16,16384}+)",
    ),
    _shape("token", "bearer", rb"bearer(?:\s|%20|\+){1,4}(?P<v1>(?!" + TOKEN + rb")[a-z0-9/+=._~-]{16,16384}+)"),
    # RFC 7519: header and claims begin with `{"`.
    _shape(
        "token",
        "eyj",
        rb"(?P<v1>eyJ[A-Za-z0-9_-]{6,4096}+\.eyJ[A-Za-z0-9_-]{2,16384}+\.[A-Za-z0-9_-]{0,4096}+)",
        0,
    ),
    # Docker's configuration: base64 of user and password.
    _shape(
        "password",
        "auth",
        rb"(?<=[\"'])auth" + _QUOTE + rb"\s{0,8}:\s{0,8}" + _QUOTE + rb"(?P<v1>[a-z0-9+/=]{8,16384}+)",
    ),
)

# RFC 3986 userinfo of a connection URI. With a `/` or `@` in it that should have been encoded, up to the last that can
# be its end; a port is no password.
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*")
_LOGIN = re.compile(
    rb"://(?!\[)[^\s/:@\"'<>]{0,256}+:(?!\d{1,5}(?:[/?\#\s\"'<>]|$))(?!" + TOKEN + rb")"
    rb"(?:(?P<v1>[^\s/\"'<>]{1,1024})|(?P<v2>[^\s\"'<>@]{1,1024}+))@(?!sha(?:256|512):)"
)
_BEGIN = re.compile(rb"-----BEGIN(?:(?: |\+|%20)[A-Z0-9]{1,20}){0,3}(?: |\+|%20)PRIVATE(?: |\+|%20)KEY-----")
_END = re.compile(rb"-----END(?:(?: |\+|%20)[A-Z0-9]{1,20}){0,3}(?: |\+|%20)PRIVATE(?: |\+|%20)KEY-----")
_KEY_LINES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n\\"
_KEY_BODY = re.compile(rb"[A-Za-z0-9+/=\s\\,:-]{0,%d}+" % _MAX_KEY)


def says_nothing(value: str) -> bool:
    """Whether the value of a secret was left out already."""
    raw = value.encode("utf-8", "replace")
    return _LEFT_OUT.match(raw) is not None or _TOKEN.search(raw) is not None


def spans(data: bytes, context: int = 0) -> list[Span]:
    """Where secrets are in `data` behind its first `context` bytes; they may overlap."""
    lower = data.lower()
    found = [*_private_keys(data, context), *_logins(data, context)]
    for shape in SHAPES:
        for word in shape.words:
            found += _labelled(shape, word, data, lower, context)
    return found


def _labelled(shape: Shape, word: bytes, data: bytes, lower: bytes, at: int) -> Iterator[Span]:
    while (at := lower.find(word, at)) >= 0:
        match = shape.pattern.match(data, at)
        at += len(word)
        if match is not None:
            at = max(at, match.end())
            span = _secret(shape.kind, match)
            if span is not None:
                yield span


def _secret(kind: str, match: re.Match[bytes]) -> Span | None:
    for name in ("v1", "v2", "v3", "v4"):
        if name in match.re.groupindex and match.group(name):
            if _inside_token(match.string, match.start(name)):
                return None
            number = name == "v4" and _NUMBER.fullmatch(match.group(name)) and match.group().count(b'"') == 1
            return Span(match.start(), *match.span(name), kind, match.group(name), b'"' if number else b"")
    return None


def _inside_token(data: bytes, position: int) -> bool:
    """Whether `position` lies in something redacted: `[redacted:password:…]` looks like a password itself."""
    start = data.rfind(b"[redacted:", max(0, position - _LONGEST_TOKEN), position)
    token = _TOKEN.match(data, start) if start >= 0 else None
    return token is not None and token.end() > position


def _logins(data: bytes, at: int) -> Iterator[Span]:
    while (at := data.find(b"://", at)) >= 0:
        sign = data.find(b"@", at, at + _MAX_LOGIN)
        match = _LOGIN.match(data, at) if sign >= 0 else None
        at = match.end() if match is not None else at + 3
        span = None if match is None else _secret("password", match)
        if span is not None:
            yield span


def _private_keys(data: bytes, context: int) -> Iterator[Span]:
    """Whole keys, the rest of one whose end is missing, and what stands before an end without a beginning.

    Each end is looked for once.
    """
    at = last = context
    end = _END.search(data, at)
    while (begin := _begin(data, at)) is not None:
        while end is not None and end.start() < begin.start():
            yield from _key_before(data, last, end)
            last = end.end()
            end = _END.search(data, last)
        if end is not None and end.end() - begin.start() <= _MAX_KEY:
            stop = end.end()
        else:
            body = _KEY_BODY.match(data, begin.end())
            stop = begin.end() if body is None else body.end()
        yield Span(begin.start(), begin.start(), stop, "private-key", data[begin.start() : stop])
        at = last = stop
        if end is not None and end.start() < stop:
            end = _END.search(data, stop)
    while end is not None:
        yield from _key_before(data, last, end)
        last = end.end()
        end = _END.search(data, last)


def _begin(data: bytes, at: int) -> re.Match[bytes] | None:
    while (at := data.find(b"-----BEGIN", at)) >= 0:
        begin = _BEGIN.match(data, at)
        if begin is not None:
            return begin
        at += 5
    return None


def _key_before(data: bytes, at: int, end: re.Match[bytes]) -> Iterator[Span]:
    """The lines before an end whose beginning was cut off, as in the last lines of a log."""
    body = data[max(at, end.start() - _MAX_KEY) : end.start()]
    start = end.start() - len(body) + len(body.rstrip(_KEY_LINES))
    if start < end.start():
        yield Span(start, start, end.end(), "private-key", data[start : end.end()])


if CONTEXT < _LONGEST_TOKEN:
    raise ValueError("a token before a block would not be seen")
