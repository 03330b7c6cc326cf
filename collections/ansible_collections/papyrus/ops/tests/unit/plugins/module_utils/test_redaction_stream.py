# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Redaction of what does not fit into memory, and of recordings in pieces: the same as of the whole."""

from __future__ import annotations

import base64
import io
import json
import random
import tracemalloc
import urllib.parse
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _redaction_blocks
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._redaction_blocks import Blocks, Span
from ansible_collections.papyrus.ops.tests.unit.examples import examples
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

SECRET = "p\"ä/s+w=\\ö rd&'9"
KEY = f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(bytes(range(256)) * 4).decode()}-----END PRIVATE KEY-----\n"
FORMS = {
    "itself": SECRET,
    "percent": urllib.parse.quote(SECRET, safe=""),
    "json": json.dumps(json.dumps(SECRET)),
    "base64": base64.b64encode(b"u" + SECRET.encode()).decode(),
    "a terminal's lines": "\r\n".join(SECRET[at : at + 4] for at in range(0, len(SECRET), 4)),
    "private key": KEY,
    "password": '"db_password": "unknown-hunter22"',
    "authorization": "\nAuthorization: Bearer unknown-hunter22, and the rest of the line\n",
    "session token": "AWS_SESSION_TOKEN=IQoJb3JpZ2lu" + "hunter22" * 100,
}
SECRET_PARTS = (SECRET.encode()[3:], b"hunter22", KEY.encode()[200:240], urllib.parse.quote(SECRET)[8:].encode())


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.add("db-password", SECRET)
    return made


def streamed(redactor: Redactor, data: bytes, sizes: list[int]) -> bytes:
    """The redacted stream of a source that gives what it likes."""
    rest, size = data, iter(sizes * (len(data) // max(1, sum(sizes)) + 1))
    chunks = []
    while rest:
        take = next(size, 65536)
        chunks.append(rest[:take])
        rest = rest[take:]
    return b"".join(redactor.stream(iter(chunks)))


def filler(length: int, seed: int) -> bytes:
    dice = random.Random(seed)
    words = [f"{dice.getrandbits(40):x}", "INFO", "request", '{"ok": true}', "\n", "\\n", "100%", "arn:aws:ecs:x"]
    return " ".join(dice.choice(words) for dummy in range(length // 5)).encode()[:length]


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    sizes=st.lists(st.integers(1, 300_000), min_size=1, max_size=6),
    planted=st.lists(st.tuples(st.sampled_from(sorted(FORMS)), st.integers(0, 120_000)), max_size=5),
    seed=st.integers(0, 99),
)
def test_J1_a_stream_is_redacted_as_the_whole(sizes: list[int], planted: list[tuple[str, int]], seed: int) -> None:
    redactor = Redactor()
    redactor.add("db-password", SECRET)
    data = b"".join(filler(before, seed) + f"\n{FORMS[form]}\n".encode() for form, before in planted)
    with mock.patch.object(_redaction_blocks, "BLOCK", 1):  # as small as the reach allows
        whole = redactor.redact(data)
        assert streamed(redactor, data, sizes) == whole
        pieces: list[bytes] = []
        redactor.redact_stream(io.BytesIO(data), pieces.append)
    assert b"".join(pieces) == whole == redactor.redact(data)
    assert whole.count(b"[redacted:") >= len(planted)
    assert not any(part in whole for part in SECRET_PARTS)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """As small as the reach allows: 32 KiB for known values, 160 KiB for shapes."""
    monkeypatch.setattr(_redaction_blocks, "BLOCK", 1)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("border", [32 * 1024, 160 * 1024])
def test_J1_a_secret_across_the_border_of_two_blocks(redactor: Redactor, form: str, border: int) -> None:
    text, after = FORMS[form].encode(), filler(100_000, 1)
    before = filler(border, 2)
    for cut in (1, 2, len(text) // 2, len(text) - 1):
        said = streamed(redactor, before[: border - cut] + text + b"\n" + after, [100_000])
        assert b"[redacted:" in said, cut
        assert not any(part in said for part in SECRET_PARTS), cut
        assert said.startswith(before[: border - cut - 1]) and said.endswith(after), cut


@pytest.mark.usefixtures("small_blocks")
def test_J1_memory_does_not_grow_with_the_stream(redactor: Redactor) -> None:
    def peak(blocks: int) -> int:
        class Source(io.RawIOBase):
            left = blocks

            def read(self, size: int = -1) -> bytes:
                self.left -= 1
                return b"" if self.left < 0 else SECRET.encode() + b" and the like\n" * 8000

        tracemalloc.start()
        redactor.redact_stream(Source(), lambda piece: None)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(24) < 1.2 * peak(6)


def blocks(find: Any, data: bytes, chunk: int) -> bytes:
    made = Blocks(find, lambda kind, value: b"[" + value + b"]", 16)
    parts = [piece for at in range(0, len(data), chunk) for piece in made.feed(data[at : at + chunk])]
    return b"".join([*parts, *made.end()])


def test_J1_what_stands_before_a_block_is_shown_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern that looks back sees the same at the beginning of a block as elsewhere."""
    monkeypatch.setattr(_redaction_blocks, "BLOCK", 32)

    def after_a(data: bytes, context: int) -> list[Span]:
        places = [at for at in range(context, len(data)) if data[at : at + 1] == b"b" and data[at - 1 : at] == b"a"]
        return [Span(at, at, at + 1, "k", b"") for at in places]

    data = b"x" + b"ab" * 100 + b"bb" * 10  # a block begins with a b
    assert blocks(after_a, data, 7) == b"x" + b"a[]" * 100 + b"bb" * 10


@settings(max_examples=examples(100), deadline=None)
@given(
    texts=st.lists(st.text("ab \n", max_size=40), min_size=1, max_size=8),
    cuts=st.lists(st.integers(0, 400), max_size=12),
    forms=st.lists(st.sampled_from([name for name in FORMS if name != "private key"]), max_size=3),
)
def test_J1_pieces_joined_are_the_redacted_whole_and_no_token_is_cut(
    texts: list[str], cuts: list[int], forms: list[str]
) -> None:
    redactor = Redactor()
    redactor.add("db-password", SECRET)
    data = "\n".join([*texts, *(f"{FORMS[form]}\n" for form in forms)]).encode()
    ends = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[begin:end] for begin, end in pairwise(ends)]
    said = redactor.redact_pieces(pieces)
    assert len(said) == len(pieces)
    assert b"".join(said) == redactor.redact(data)
    assert sum(piece.count(b"[redacted:") for piece in said) == redactor.redact(data).count(b"[redacted:")
