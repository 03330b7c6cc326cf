"""A client of ECS Exec's data channel for the sandbox's tests: a frame at a time, so that tests decide what is said."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.support import until

# HeaderLength, MessageType, SchemaVersion, CreatedDate, SequenceNumber, Flags, MessageId, digest, type, PayloadLength
HEADER = ">I32sIQqQ16s32sII"
LENGTH = struct.calcsize(HEADER)
# A frame of the official implementations: input_stream_data, number 2, payload type 1, `payload`.
GOLDEN = bytes.fromhex(
    "00000074696e7075745f73747265616d5f64617461202020202020202020202020202020000000010000015e0baa788400000000"
    "000000020000000000000000a508b5f073f31b16dd01e56bff48483e239f59ed55e737c77147cf55ad0c1b030b6d7ee748a74269"
    "52f9b852d5a935e500000001000000077061796c6f6164"
)


@dataclass
class Frame:
    kind: str
    number: int
    flags: int
    payload_type: int
    payload: bytes
    identifier: bytes

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.payload)
        return found


def read_frame(data: bytes) -> Frame:
    """Everything in it is checked."""
    size, kind, version, created, number, flags, identifier, digest, payload_type, length = struct.unpack(
        HEADER, data[:LENGTH]
    )
    payload = data[LENGTH:]
    assert (size, version, length) == (116, 1, len(payload))
    assert abs(created / 1000 - time.time()) < 60
    assert digest == hashlib.sha256(payload).digest()
    assert len(kind) == 32
    return Frame(kind.decode().rstrip(" "), number, flags, payload_type, payload, identifier)


def make_frame(kind: str, number: int, payload: bytes, payload_type: int, flags: int = 0, **wrong: Any) -> bytes:
    """`wrong` replaces a field by one that does not belong there."""
    digest = wrong.get("digest", hashlib.sha256(payload).digest())
    head = struct.pack(
        HEADER,
        wrong.get("size", 116),
        kind.encode().ljust(32),
        1,
        int(time.time() * 1000),
        number,
        flags,
        uuid.uuid4().bytes,
        digest,
        payload_type,
        wrong.get("length", len(payload)),
    )
    return head + payload


def uuid_of(identifier: bytes) -> str:
    """The low eight bytes come first."""
    return str(uuid.UUID(bytes=identifier[8:] + identifier[:8]))


@dataclass
class Client:
    """One open channel. `frames` is everything that came, in its order."""

    socket: ClientConnection
    frames: list[Frame] = field(default_factory=list)
    acknowledges: bool = True
    next_input: int = 0
    closing: Frame | None = None
    _output: dict[int, bytes] = field(default_factory=dict)

    def receive(self, seconds: float = 10) -> Frame | None:
        """The next frame, acknowledged if it is of the output; None when the channel is closed."""
        try:
            data = self.socket.recv(timeout=seconds)
        except ConnectionClosed:
            return None
        assert isinstance(data, bytes)
        frame = read_frame(data)
        self.frames.append(frame)
        if frame.kind == "output_stream_data":
            if frame.payload_type == 1:
                self._output.setdefault(frame.number, frame.payload)
            if self.acknowledges:
                self.acknowledge(frame)
        return frame

    def acknowledge(self, frame: Frame) -> None:
        content = {
            "AcknowledgedMessageType": frame.kind,
            "AcknowledgedMessageId": uuid_of(frame.identifier),
            "AcknowledgedMessageSequenceNumber": frame.number,
            "IsSequentialMessage": True,
        }
        with contextlib.suppress(ConnectionClosed):
            self.socket.send(make_frame("acknowledge", 0, json.dumps(content).encode(), 0, 3))

    def send(self, payload: bytes, payload_type: int = 1, number: int | None = None, **wrong: Any) -> int:
        """A frame of the input stream; its number."""
        if number is None:
            number, self.next_input = self.next_input, self.next_input + 1
        self.socket.send(make_frame("input_stream_data", number, payload, payload_type, **wrong))
        return number

    @property
    def output(self) -> bytes:
        """Of what has come, in the order of its numbers."""
        return b"".join(self._output[number] for number in sorted(self._output))

    def until_output(self, wanted: bytes, seconds: float = 10) -> bytes:
        deadline = time.monotonic() + seconds
        while wanted not in self.output:
            left = deadline - time.monotonic()
            assert left > 0, self.output
            assert self.receive(left) is not None, self.output
        return self.output

    def until_closed(self, seconds: float = 15) -> Frame | None:
        """The channel_closed at the end, if there is one."""
        deadline = time.monotonic() + seconds
        while (frame := self.receive(deadline - time.monotonic())) is not None:
            if frame.kind == "channel_closed":
                return frame
        return None

    def acknowledged(self) -> list[int]:
        """Numbers of input frames, as often as their acknowledgements have come."""
        return [f.document["AcknowledgedMessageSequenceNumber"] for f in self.frames if f.kind == "acknowledge"]

    def until_acknowledged(self, number: int, times: int = 1, seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while self.acknowledged().count(number) < times:
            assert self.receive(deadline - time.monotonic()) is not None


def first_message(token: str, **more: Any) -> str:
    content = {
        "MessageSchemaVersion": "1.0",
        "RequestId": str(uuid.uuid4()),
        "TokenValue": token,
        "ClientId": str(uuid.uuid4()),
        "ClientVersion": "1.2.0.0",
    }
    return json.dumps({**content, **more})


@contextlib.contextmanager
def opened(session: dict[str, Any]) -> Iterator[Client]:
    """The channel of ExecuteCommand's `session`, with its token sent."""
    with connect(session["streamUrl"], open_timeout=10, close_timeout=5, max_size=None) as socket:
        socket.send(first_message(session["tokenValue"]))
        yield Client(socket)


def started(stand: Stand, family: str, program: str = SLEEPER, **more: Any) -> str:
    """ARN of a task whose agent is connected."""
    image = stand.image(program, family)
    arn = stand.run(stand.define(family, {"image": image, **more}), enableExecuteCommand=True)
    stand.until_task(arn, "RUNNING")
    until(lambda: agent_status(stand, arn) == "RUNNING", "the agent")
    return arn


def agent_status(stand: Stand, arn: str) -> str:
    return str(stand.task(arn)["containers"][0]["managedAgents"][0]["lastStatus"])


def session(stand: Stand, arn: str, command: str = "true") -> dict[str, Any]:
    """What ExecuteCommand answers with."""
    answer = stand.ecs.execute_command(cluster=stand.cluster, task=arn, command=command, interactive=True)
    found: dict[str, Any] = answer["session"]
    return found


def run(stand: Stand, arn: str, command: str) -> Client:
    """The client of a command that has ended."""
    with opened(session(stand, arn, command)) as client:
        client.closing = client.until_closed()
    return client
