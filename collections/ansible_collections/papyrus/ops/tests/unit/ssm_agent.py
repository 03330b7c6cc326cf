# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The other end of a data channel for tests: a WebSocket server with a real terminal behind it, and faults to order.

Packs and unpacks messages by itself, so that it does not share the mistakes of what it tests.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import pty
import shlex
import ssl
import struct
import subprocess
import termios
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

HEADER = struct.Struct(">I32sIQqQ16s32sII")
TOKEN = "AAEAAe+the-session-token-nobody-may-see/xyz0123456789=="


def pack(message_type: str, sequence: int, payload: bytes, payload_type: int = 0, flags: int = 0) -> bytes:
    raw = uuid.uuid4().bytes
    digest = hashlib.sha256(payload).digest()
    created = int(time.time() * 1000)
    kind = message_type.encode().ljust(32)
    return (
        HEADER.pack(116, kind, 1, created, sequence, flags, raw[8:] + raw[:8], digest, payload_type, len(payload))
        + payload
    )


def unpack(data: bytes) -> tuple[str, int, int, bytes]:
    """Message type, sequence number, payload type, payload."""
    parts = HEADER.unpack_from(data)
    return parts[1].decode().strip(), parts[4], parts[8], data[120:]


@dataclass
class Faults:
    """`output` is asked for each output message with its number and says how often it is sent the first time (0: only
    when it is resent); `hold` sends a message only after the next one; `input` says whether an input message is lost
    the first time; `cut_after` bytes of output the connection breaks."""

    output: Callable[[int], int] = lambda number: 1
    hold: Callable[[int], bool] = lambda number: False
    input: Callable[[int], bool] = lambda number: False
    cut_after: int | None = None
    silent: bool = False
    close_reason: str = ""


@dataclass
class Agent:
    """Answers of ECS and KMS for it are in `answers`; `sessions` has what came in, by session."""

    faults: Faults = field(default_factory=Faults)
    handshake: bool = False
    kms: bool = False
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": os.environ["PATH"], "TERM": "xterm-256color"})
    commands: list[str] = field(default_factory=list)
    opened: list[dict[str, Any]] = field(default_factory=list)
    typed: list[bytes] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    responses: list[dict[str, Any]] = field(default_factory=list)
    key: bytes = b"\x01" * 32 + b"\x02" * 32
    url: str = ""

    def execute(self, sent: Any) -> dict[str, Any]:
        """ExecuteCommand's answer."""
        self.commands.append(sent["command"])
        number = len(self.commands) - 1
        return {"session": {"sessionId": f"session-{number}", "streamUrl": f"{self.url}/{number}", "tokenValue": TOKEN}}

    def data_key(self, sent: Any) -> dict[str, Any]:
        return {"Plaintext": self.key, "CiphertextBlob": json.dumps(sent["EncryptionContext"]).encode(), "KeyId": "k"}

    def handle(self, connection: ServerConnection) -> None:
        first = json.loads(connection.recv())
        self.opened.append(first)
        if first["TokenValue"] != TOKEN:
            connection.close(1008, "wrong token")
            return
        assert connection.request is not None
        number = int(connection.request.path.rsplit("/", 1)[1])
        with contextlib.suppress(ConnectionClosed):
            _Terminal(self, connection, self.commands[number]).run()


class _Terminal:
    def __init__(self, agent: Agent, connection: ServerConnection, command: str) -> None:
        self.agent = agent
        self.connection = connection
        self.command = command
        self.lock = threading.Lock()
        self.next_output = 0
        self.unacknowledged: dict[int, bytes] = {}
        self.held: bytes | None = None
        self.expected = 0
        self.ahead: dict[int, tuple[int, bytes]] = {}
        self.lost: set[int] = set()
        self.written = 0
        self.encrypted = False
        self.challenge = b""
        self.shaken = threading.Event()
        self.master = -1
        self.process: subprocess.Popen[bytes] | None = None

    def run(self) -> None:
        if self.agent.faults.silent:
            self._listen(lambda: False)
            return
        if self.agent.handshake or self.agent.kms:
            actions: list[dict[str, Any]] = [
                {"ActionType": "SessionType", "ActionParameters": {"SessionType": "InteractiveCommands"}}
            ]
            if self.agent.kms:
                parameters = {"KMSKeyId": "key-1", "Challenge": "cmFuZG9t"}
                actions.append({"ActionType": "KMSEncryption", "ActionParameters": parameters})
            request = {"AgentVersion": "3.3.40.0", "RequestedClientActions": actions}
            self.send(5, json.dumps(request).encode())
            self._listen(self.shaken.is_set)
        self._start()
        reader = threading.Thread(target=self._read, daemon=True)
        reader.start()
        try:
            self._listen(lambda: not reader.is_alive() and not self.unacknowledged)
        finally:
            self._stop()
        closed = json.dumps({"MessageType": "channel_closed", "Output": self.agent.faults.close_reason})
        self.connection.send(pack("channel_closed", 0, closed.encode()))
        self.connection.close()

    def _start(self) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            shlex.split(self.command),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=self.agent.environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)

    def _stop(self) -> None:
        os.close(self.master)
        assert self.process is not None
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ConnectionClosed):
            while data := os.read(self.master, 1024):
                while len(self.unacknowledged) > 200:
                    time.sleep(0.001)
                self.written += len(data)
                self.send(1, data)
                if self.agent.faults.cut_after is not None and self.written >= self.agent.faults.cut_after:
                    self.connection.socket.shutdown(2)
                    return

    def send(self, payload_type: int, payload: bytes) -> None:
        with self.lock:
            if self.encrypted and payload_type == 1:
                nonce = os.urandom(12)
                payload = nonce + AESGCM(self.agent.key[:32]).encrypt(nonce, payload, None)
            number, self.next_output = self.next_output, self.next_output + 1
            message = pack("output_stream_data", number, payload, payload_type, 1 if number == 0 else 0)
            self.unacknowledged[number] = message
            if self.agent.faults.hold(number) and self.held is None:
                self.held = message
                return
            for _number in range(self.agent.faults.output(number)):
                self.connection.send(message)
            if self.held is not None:
                self.connection.send(self.held)
                self.held = None

    def _listen(self, done: Callable[[], bool]) -> None:
        resend = time.monotonic() + 0.05
        while not done():
            with contextlib.suppress(TimeoutError):
                self._take(self.connection.recv(timeout=0.005))
            if time.monotonic() > resend:
                resend = time.monotonic() + 0.05
                with self.lock:
                    for message in list(self.unacknowledged.values())[:50]:
                        self.connection.send(message)

    def _take(self, data: Any) -> None:
        kind, sequence, payload_type, payload = unpack(data)
        if kind == "acknowledge":
            number = json.loads(payload)["AcknowledgedMessageSequenceNumber"]
            self.agent.acknowledged.append(number)
            self.unacknowledged.pop(number, None)
            return
        assert kind == "input_stream_data", kind
        if self.agent.faults.input(sequence) and sequence not in self.lost:
            self.lost.add(sequence)
            return
        content = {"AcknowledgedMessageType": kind, "AcknowledgedMessageSequenceNumber": sequence}
        with self.lock:
            self.connection.send(pack("acknowledge", 0, json.dumps(content).encode(), 0, 3))
        if sequence >= self.expected:
            self.ahead[sequence] = payload_type, payload
        while self.expected in self.ahead:
            self._input(*self.ahead.pop(self.expected))
            self.expected += 1

    def _input(self, payload_type: int, payload: bytes) -> None:
        if payload_type == 6:
            self._shake(json.loads(payload))
        elif payload_type == 9:
            answer = json.loads(payload)["Challenge"]
            assert self._decrypt(base64.b64decode(answer)) == self.challenge
            self._complete()
        elif payload_type == 10:
            assert self.process is not None
            os.killpg(self.process.pid, 1)
        elif payload_type == 1:
            payload = self._decrypt(payload) if self.encrypted else payload
            self.agent.typed.append(payload)
            os.write(self.master, payload)

    def _shake(self, response: dict[str, Any]) -> None:
        self.agent.responses.append(response)
        if response["Errors"]:
            self.connection.close()
            return
        if not self.agent.kms:
            self._complete()
            return
        self.challenge = os.urandom(64)
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(self.agent.key[:32]).encrypt(nonce, self.challenge, None)
        self.send(8, json.dumps({"Challenge": base64.b64encode(sealed).decode()}).encode())

    def _complete(self) -> None:
        self.encrypted = self.agent.kms
        self.send(7, b'{"HandshakeTimeToComplete":1,"CustomerMessage":""}')
        self.shaken.set()

    def _decrypt(self, data: bytes) -> bytes:
        return AESGCM(self.agent.key[32:]).decrypt(data[:12], data[12:], None)


@contextlib.contextmanager
def running(agent: Agent, tls: ssl.SSLContext | None = None) -> Iterator[Agent]:
    """The agent behind a WebSocket server on 127.0.0.1."""
    server: Server = serve(agent.handle, "127.0.0.1", 0, ssl=tls, compression=None)
    agent.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{server.socket.getsockname()[1]}/v1/data-channel"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield agent
    finally:
        server.shutdown()
        thread.join(5)
