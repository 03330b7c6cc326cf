# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages of the Session Manager data channel as bytes: encoding and decoding, nothing else.

Layout (big-endian) after https://github.com/aws/session-manager-plugin, src/message: a header of 116 bytes, the
length of the payload, the payload.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_HEADER = struct.Struct(">I32sIQqQ16s32sII")
HEADER_LENGTH = 116
"""Bytes before the payload's length, which is what the first field says."""

SCHEMA_VERSION = 1

INPUT = "input_stream_data"
OUTPUT = "output_stream_data"
ACKNOWLEDGE = "acknowledge"
CHANNEL_CLOSED = "channel_closed"
START_PUBLICATION = "start_publication"
PAUSE_PUBLICATION = "pause_publication"

PAYLOAD_OUTPUT = 1
PAYLOAD_ERROR = 2
PAYLOAD_SIZE = 3
PAYLOAD_HANDSHAKE_REQUEST = 5
PAYLOAD_HANDSHAKE_RESPONSE = 6
PAYLOAD_HANDSHAKE_COMPLETE = 7
PAYLOAD_CHALLENGE_REQUEST = 8
PAYLOAD_CHALLENGE_RESPONSE = 9
PAYLOAD_FLAG = 10
PAYLOAD_STDERR = 11
PAYLOAD_EXIT_CODE = 12

FLAG_TERMINATE_SESSION = 2

ACKNOWLEDGE_FLAGS = 3  # SYN and FIN: a message of its own


class FrameError(ValueError):
    """Bytes that are no message of the data channel; the text says what is wrong with them."""


@dataclass(frozen=True)
class Frame:
    """One message. `created` in milliseconds since 1970; `payload_type` is 0 where the message has none."""

    message_type: str
    sequence: int
    payload: bytes
    created: int
    message_id: uuid.UUID
    payload_type: int = 0
    flags: int = 0
    schema_version: int = SCHEMA_VERSION

    def json(self) -> dict[str, Any]:
        """The payload as a JSON object; FrameError when it is none."""
        try:
            value = json.loads(self.payload)
        except ValueError as exc:
            raise FrameError(f"the payload of {self.message_type} {self.sequence} is not JSON") from exc
        if not isinstance(value, dict):
            raise FrameError(f"the payload of {self.message_type} {self.sequence} is not a JSON object")
        return value


def encode(frame: Frame) -> bytes:
    """The message's bytes, with length and SHA-256 of its payload. ValueError for what the format cannot carry."""
    name = frame.message_type.encode("ascii")
    if not 0 < len(name) <= 32:
        raise ValueError(f"the message type {frame.message_type!r} must have 1 to 32 characters")
    header = _HEADER.pack(
        HEADER_LENGTH,
        name.ljust(32),
        frame.schema_version,
        frame.created,
        frame.sequence,
        frame.flags,
        _swapped(frame.message_id.bytes),
        hashlib.sha256(frame.payload).digest(),
        frame.payload_type,
        len(frame.payload),
    )
    return header + frame.payload


def decode(data: bytes) -> Frame:
    """The message, checked: lengths, type and the payload's SHA-256. FrameError names what does not fit."""
    if len(data) < _HEADER.size:
        raise FrameError(f"a message has at least {_HEADER.size} bytes, this one has {len(data)}")
    length, raw_type, schema, created, sequence, flags, message_id, digest, payload_type, size = _HEADER.unpack_from(
        data
    )
    if length != HEADER_LENGTH:
        raise FrameError(f"the header's length is {length}, it must be {HEADER_LENGTH}")
    try:
        message_type = raw_type.strip(b" \0").decode("ascii")
    except UnicodeDecodeError as exc:
        raise FrameError(f"the message type {raw_type!r} is not ASCII") from exc
    if not message_type.isprintable() or not message_type:
        raise FrameError(f"the message type {raw_type!r} is empty or not printable")
    payload = data[_HEADER.size :]
    if len(payload) != size:
        raise FrameError(f"{message_type} {sequence} announces {size} bytes of payload and has {len(payload)}")
    # The service's own start and pause messages carry no digest, and an empty payload needs none.
    unchecked = not payload or message_type in (START_PUBLICATION, PAUSE_PUBLICATION)
    if not unchecked and hashlib.sha256(payload).digest() != digest:
        raise FrameError(f"the payload of {message_type} {sequence} does not have the SHA-256 that its header says")
    return Frame(
        message_type=message_type,
        sequence=sequence,
        payload=payload,
        created=created,
        message_id=uuid.UUID(bytes=_swapped(message_id)),
        payload_type=payload_type,
        flags=flags,
        schema_version=schema,
    )


def acknowledgement(of: Frame, created: int, message_id: uuid.UUID) -> Frame:
    """The answer which says that a message has arrived."""
    content = {
        "AcknowledgedMessageType": of.message_type,
        "AcknowledgedMessageId": str(of.message_id),
        "AcknowledgedMessageSequenceNumber": of.sequence,
        "IsSequentialMessage": True,
    }
    return Frame(ACKNOWLEDGE, 0, json_payload(content), created=created, message_id=message_id, flags=ACKNOWLEDGE_FLAGS)


def acknowledged(frame: Frame) -> int:
    """The sequence number that an acknowledgement is about. FrameError when it names none."""
    number = frame.json().get("AcknowledgedMessageSequenceNumber")
    if not isinstance(number, int) or isinstance(number, bool):
        raise FrameError("an acknowledgement does not say which message it is about")
    return number


def opening(token: str, client_id: str, request_id: str, version: str) -> str:
    """The first message of a connection, text. It has the session's token in it: never to be shown or kept."""
    content = {
        "MessageSchemaVersion": "1.0",
        "RequestId": request_id,
        "TokenValue": token,
        "ClientId": client_id,
        "ClientVersion": version,
    }
    return json_payload(content).decode()


def json_payload(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def _swapped(raw: bytes) -> bytes:
    """On the wire a message id has its low eight bytes first."""
    return raw[8:] + raw[:8]
