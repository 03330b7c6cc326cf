"""The binary messages of a Session Manager data channel.

https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/contracts/agentmessage.go says what is where.
"""

from __future__ import annotations

import hashlib
import json
import struct
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

INPUT, OUTPUT, ACKNOWLEDGE = "input_stream_data", "output_stream_data", "acknowledge"
CLOSED, START, PAUSE = "channel_closed", "start_publication", "pause_publication"
# Of streams alone: what the payload is.
DATA, SIZE, HANDSHAKE_REQUEST, HANDSHAKE_RESPONSE, HANDSHAKE_COMPLETE = 1, 3, 5, 6, 7
CHALLENGE_REQUEST, CHALLENGE_RESPONSE, FLAG = 8, 9, 10
SYN, FIN = 1, 2
_HEAD = struct.Struct("!I32sIQqQ16s32sI")
_LENGTH = struct.Struct("!I")


class MalformedMessage(ValueError):
    """Bytes that are no message, or one whose payload is not what its digest says."""


@dataclass(frozen=True)
class Message:
    """`number` counts one direction's stream messages from 0; all others have 0."""

    kind: str
    payload: bytes = b""
    number: int = 0
    flags: int = SYN | FIN
    payload_type: int = 0
    identifier: uuid.UUID = field(default_factory=uuid.uuid4)
    created: int = field(default_factory=lambda: int(time.time() * 1000))

    def pack(self) -> bytes:
        most, least = self.identifier.bytes[:8], self.identifier.bytes[8:]
        head = _HEAD.pack(
            _HEAD.size,
            self.kind.encode("ascii").ljust(32),
            1,
            self.created,
            self.number,
            self.flags,
            least + most,
            hashlib.sha256(self.payload).digest(),
            self.payload_type,
        )
        return head + _LENGTH.pack(len(self.payload)) + self.payload

    @classmethod
    def unpack(cls, data: bytes) -> Message:
        """Raises MalformedMessage."""
        try:
            size, kind, version, created, number, flags, identifier, digest, payload_type = _HEAD.unpack_from(data)
            (length,) = _LENGTH.unpack_from(data, size)
            name = kind.decode("ascii").strip(" \0")
        except (struct.error, UnicodeDecodeError) as error:
            raise MalformedMessage(f"no message: {error}") from error
        payload = data[size + _LENGTH.size :]
        if size != _HEAD.size or version != 1 or not name or not created:
            raise MalformedMessage(f"no message: header of {size} bytes, version {version}, type {name!r}")
        if len(payload) != length:
            raise MalformedMessage(f"{name} {number}: {len(payload)} bytes of payload instead of {length}")
        if hashlib.sha256(payload).digest() != digest:
            raise MalformedMessage(f"{name} {number}: the payload is not what its digest says")
        return cls(
            name, payload, number, flags, payload_type, uuid.UUID(bytes=identifier[8:] + identifier[:8]), created
        )

    def document(self) -> dict[str, Any]:
        """The payload as a JSON object. Raises MalformedMessage."""
        try:
            found = json.loads(self.payload)
        except ValueError as error:
            raise MalformedMessage(f"{self.kind} {self.number}: {error}") from error
        if not isinstance(found, dict):
            raise MalformedMessage(f"{self.kind} {self.number}: no object")
        return found


def acknowledgement(message: Message) -> Message:
    return Message(
        ACKNOWLEDGE,
        _json(
            {
                "AcknowledgedMessageType": message.kind,
                "AcknowledgedMessageId": str(message.identifier),
                "AcknowledgedMessageSequenceNumber": message.number,
                "IsSequentialMessage": True,
            }
        ),
    )


def closing(session: str, target: str, output: str) -> Message:
    """The last message of a session; `output` is what clients print of it, an error of the agent for example."""
    message = Message(CLOSED)
    document = {
        "MessageId": str(message.identifier),
        "CreatedDate": str(message.created),
        "DestinationId": target,
        "SessionId": session,
        "MessageType": CLOSED,
        "SchemaVersion": 1,
        "Output": output,
    }
    return Message(CLOSED, _json(document), identifier=message.identifier, created=message.created)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
