"""CBOR (RFC 8949) as far as AWS's rpc-v2-cbor protocol uses it; there is no library for it in the sandbox.

https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html
"""

from __future__ import annotations

import struct
from datetime import datetime
from typing import Any

FALSE, TRUE, NULL, UNDEFINED = 0xF4, 0xF5, 0xF6, 0xF7
BREAK = 0xFF
EPOCH_TAG = 1
DEEPEST = 64


class CborError(ValueError):
    """These bytes are no CBOR document, or one with parts that the protocol does not have."""


def loads(data: bytes) -> Any:
    """The value in these bytes; times (tag 1) are seconds since 1970. Raises CborError."""
    try:
        value, end = _read(data, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        raise CborError(f"no CBOR: {error}") from error
    if end != len(data):
        raise CborError(f"{len(data) - end} bytes after the value")
    return value


def dumps(value: Any) -> bytes:
    """A value as CBOR; datetimes are tagged as times."""
    if isinstance(value, bool):
        return bytes([TRUE if value else FALSE])
    if value is None:
        return bytes([NULL])
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, list | tuple):
        return _head(4, len(value)) + b"".join(dumps(item) for item in value)
    if isinstance(value, dict):
        return _head(5, len(value)) + b"".join(dumps(key) + dumps(item) for key, item in value.items())
    if isinstance(value, datetime):
        return _head(6, EPOCH_TAG) + dumps(value.timestamp())
    raise TypeError(f"{type(value).__name__} has no form in CBOR")


def _head(kind: int, argument: int) -> bytes:
    for code, width, form in ((24, 1, ">B"), (25, 2, ">H"), (26, 4, ">I"), (27, 8, ">Q")):
        if argument < 24:
            return bytes([kind << 5 | argument])
        if argument < 1 << (8 * width):
            return bytes([kind << 5 | code]) + struct.pack(form, argument)
    raise TypeError(f"{argument} is too large for CBOR")


def _read(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """The value that begins at this byte, and where the next one does."""
    if depth > DEEPEST:
        raise CborError(f"deeper than {DEEPEST}")
    kind, short = data[at] >> 5, data[at] & 0x1F
    if kind == 7:
        return _read_simple(data, at, short)
    if short == 31:
        return _read_open(data, at + 1, kind, depth)
    if short > 27:
        raise CborError(f"byte {data[at]:#04x}")
    argument, at = short, at + 1
    if short >= 24:
        width = 1 << (short - 24)
        argument, at = int.from_bytes(_part(data, at, width)), at + width
    if kind == 0:
        return argument, at
    if kind == 1:
        return -1 - argument, at
    if kind in (2, 3):
        part = _part(data, at, argument)
        return (part if kind == 2 else part.decode()), at + argument
    if kind == 4:
        items = []
        for _ in range(argument):
            item, at = _read(data, at, depth + 1)
            items.append(item)
        return items, at
    if kind == 5:
        pairs: dict[Any, Any] = {}
        for _ in range(argument):
            key, at = _read(data, at, depth + 1)
            pairs[key], at = _read(data, at, depth + 1)
        return pairs, at
    # Of tags only the time means something here: seconds, which is what its content is.
    return _read(data, at, depth + 1)


def _read_simple(data: bytes, at: int, short: int) -> tuple[Any, int]:
    if data[at] in (FALSE, TRUE):
        return data[at] == TRUE, at + 1
    if data[at] in (NULL, UNDEFINED):
        return None, at + 1
    for code, width, form in ((25, 2, ">e"), (26, 4, ">f"), (27, 8, ">d")):
        if short == code:
            return struct.unpack(form, _part(data, at + 1, width))[0], at + 1 + width
    raise CborError(f"byte {data[at]:#04x}")


def _read_open(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    """A text, list or map of unsaid length: it goes on until the break."""
    values = []
    while data[at] != BREAK:
        value, at = _read(data, at, depth + 1)
        values.append(value)
    if kind == 2:
        return b"".join(values), at + 1
    if kind == 3:
        return "".join(values), at + 1
    if kind == 4:
        return values, at + 1
    if kind == 5 and len(values) % 2 == 0:
        return dict(zip(values[::2], values[1::2], strict=True)), at + 1
    raise CborError(f"kind {kind} without a length")


def _part(data: bytes, at: int, width: int) -> bytes:
    part = data[at : at + width]
    if len(part) != width:
        raise CborError("cut short")
    return part
