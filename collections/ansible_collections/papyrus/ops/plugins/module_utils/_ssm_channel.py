# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client's side of a Session Manager data channel as a state machine: no socket, no thread, no clock of its own."""

from __future__ import annotations

import base64
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from . import _ssm_frames as frames
from ._ssm_crypto import Cipher, EncryptionFailure, KeyMaker
from ._ssm_frames import Frame, FrameError

INPUT_BYTES = 1024
"""Payload of one input message: StreamDataPayloadSize of the agent, which reads no more at a time."""

WINDOW = 64
"""Input messages under way without an acknowledgement."""

AHEAD = 1024
"""Output messages kept because an earlier one is missing. One beyond is not acknowledged, so that it comes again."""

FIRST_RESEND, LAST_RESEND = 0.2, 1.0
"""Seconds without an acknowledgement until input is sent again; the time doubles up to the second number."""

MALFORMED = 16
"""Messages in a row that are none, until the channel is given up. A single one may come again and then be whole."""

CLIENT_VERSION = "1.2.707.0"
"""What the agent is told. It compares it with the versions of the official client to know what a client can do: from
1.2.295 on separate payloads for errors and exit code are understood."""

SHELL_SESSIONS = frozenset({"Standard_Stream", "InteractiveCommands", "NonInteractiveCommands"})
_SUCCESS, _FAILED, _UNSUPPORTED = 1, 2, 3

_ENCRYPTED = frozenset({frames.PAYLOAD_OUTPUT, frames.PAYLOAD_STDERR, frames.PAYLOAD_EXIT_CODE})


class ChannelFailure(Exception):
    """The channel cannot be used (any longer); the text says why."""


@dataclass(frozen=True)
class Output:
    """Bytes from the session's terminal, in their order."""

    data: bytes


@dataclass(frozen=True)
class Notice:
    """A message of the agent to the user, such as why a command cannot be started."""

    text: str


@dataclass(frozen=True)
class Closed:
    """The service has closed the channel; `text` is what it gives as the reason, often nothing."""

    text: str


Event: TypeAlias = "Output | Notice | Closed"


@dataclass
class _Sent:
    data: bytes
    again_at: float
    pause: float


class Channel:
    """Bytes of messages in (`received`), events out (`events`), and the messages to send now (`due`).

    `clock` is monotonic seconds, `wall` milliseconds since 1970. `keys` makes a data key when the session is to be
    encrypted, `context` is its encryption context.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wall: Callable[[], int],
        keys: KeyMaker,
        context: Mapping[str, str],
        new_id: Callable[[], uuid.UUID] = uuid.uuid4,
    ) -> None:
        self.clock = clock
        self._wall = wall
        self._keys = keys
        self._context = dict(context)
        self._new_id = new_id
        self._cipher: Cipher | None = None
        self._expected = 0
        self._ahead: dict[int, Frame] = {}
        self._answers: list[bytes] = []
        self._next_input = 0
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._sent: dict[int, _Sent] = {}
        self._events: list[Event] = []
        self._malformed = 0
        self.paused = False
        self.closed = False
        self.agent_version = ""
        self.acknowledged = 0
        """Input messages that have arrived; it grows as long as there is progress."""

    # What goes out

    def send(self, data: bytes) -> None:
        """Queues input for the terminal, in messages of at most INPUT_BYTES."""
        for start in range(0, len(data), INPUT_BYTES):
            self._queue(frames.PAYLOAD_OUTPUT, data[start : start + INPUT_BYTES])

    def send_size(self, columns: int, rows: int) -> None:
        self._queue(frames.PAYLOAD_SIZE, frames.json_payload({"cols": columns, "rows": rows}))

    def send_terminate(self) -> None:
        """Asks the agent to end the session."""
        self._queue(frames.PAYLOAD_FLAG, frames.FLAG_TERMINATE_SESSION.to_bytes(4, "big"))

    @property
    def unsent(self) -> int:
        """Input messages that have not been sent yet."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether all input has arrived."""
        return not self._waiting and not self._sent

    @property
    def gap(self) -> bool:
        """Whether output is missing although later output has arrived."""
        return bool(self._ahead)

    def due(self) -> list[bytes]:
        """Messages to send now: acknowledgements always, input unless the other side has asked for a pause."""
        going, self._answers = self._answers, []
        if self.paused or self.closed:
            return going
        now = self.clock()
        for sent in self._sent.values():
            if now >= sent.again_at:
                sent.pause = min(sent.pause * 2, LAST_RESEND)
                sent.again_at = now + sent.pause
                going.append(sent.data)
        while self._waiting and len(self._sent) < WINDOW:
            payload_type, payload = self._waiting.popleft()
            data = self._input(payload_type, payload)
            self._sent[self._next_input] = _Sent(data, now + FIRST_RESEND, FIRST_RESEND)
            self._next_input += 1
            going.append(data)
        return going

    def wait(self) -> float | None:
        """Seconds until `due` has something to send again, None when only an arrival can bring something."""
        if self.paused or self.closed or not self._sent:
            return None
        return max(0.0, min(sent.again_at for sent in self._sent.values()) - self.clock())

    def _queue(self, payload_type: int, payload: bytes) -> None:
        self._waiting.append((payload_type, payload))

    def _input(self, payload_type: int, payload: bytes) -> bytes:
        if self._cipher is not None and payload_type == frames.PAYLOAD_OUTPUT:
            payload = self._cipher.encrypt(payload)
        return frames.encode(
            Frame(
                frames.INPUT,
                self._next_input,
                payload,
                created=self._wall(),
                message_id=self._new_id(),
                payload_type=payload_type,
            )
        )

    # What comes in

    def events(self) -> list[Event]:
        """What has happened since the last call."""
        taken, self._events = self._events, []
        return taken

    def received(self, data: bytes) -> None:
        """Takes one message. ChannelFailure when the channel cannot go on."""
        try:
            self._take(frames.decode(data))
            self._malformed = 0
        except FrameError as exc:
            # Not acknowledged, so an output message comes again.
            self._malformed += 1
            if self._malformed >= MALFORMED:
                raise ChannelFailure(f"{MALFORMED} messages in a row were malformed, the last one: {exc}") from exc

    def _take(self, frame: Frame) -> None:
        if frame.message_type == frames.OUTPUT:
            self.paused = False
            self._take_output(frame)
        elif frame.message_type == frames.ACKNOWLEDGE:
            self.paused = False
            if self._sent.pop(frames.acknowledged(frame), None) is not None:
                self.acknowledged += 1
        elif frame.message_type == frames.CHANNEL_CLOSED:
            self.closed = True
            self._events.append(Closed(str(frame.json().get("Output") or "") if frame.payload else ""))
        elif frame.message_type == frames.PAUSE_PUBLICATION:
            self.paused = True
        elif frame.message_type == frames.START_PUBLICATION:
            self.paused = False
        # Other types are of later versions of the protocol and concern nobody here.

    def _take_output(self, frame: Frame) -> None:
        if frame.sequence > self._expected and frame.sequence not in self._ahead:
            if len(self._ahead) >= AHEAD:
                return
            self._ahead[frame.sequence] = frame
        self._acknowledge(frame)
        if frame.sequence != self._expected:
            return
        self._process(frame)
        self._expected += 1
        while (following := self._ahead.pop(self._expected, None)) is not None:
            self._process(following)
            self._expected += 1

    def _acknowledge(self, frame: Frame) -> None:
        self._answers.append(frames.encode(frames.acknowledgement(frame, self._wall(), self._new_id())))

    def _process(self, frame: Frame) -> None:
        payload = frame.payload
        if self._cipher is not None and frame.payload_type in _ENCRYPTED:
            try:
                payload = self._cipher.decrypt(payload)
            except EncryptionFailure as exc:
                raise ChannelFailure(str(exc)) from exc
        if frame.payload_type in (frames.PAYLOAD_OUTPUT, frames.PAYLOAD_STDERR):
            self._events.append(Output(payload))
        elif frame.payload_type == frames.PAYLOAD_ERROR:
            self._events.append(Notice(payload.decode("utf-8", "replace").strip()))
        elif frame.payload_type == frames.PAYLOAD_HANDSHAKE_REQUEST:
            try:
                self._handshake(_object(frame))
            except (AttributeError, TypeError) as exc:
                raise ChannelFailure("the agent's handshake is not one of the protocol") from exc
        elif frame.payload_type == frames.PAYLOAD_CHALLENGE_REQUEST:
            self._challenge(_object(frame))

    # The handshake

    def _handshake(self, request: Mapping[str, Any]) -> None:
        self.agent_version = str(request.get("AgentVersion") or "")
        done: list[dict[str, Any]] = []
        failures: list[str] = []
        cipher = None
        for action in request.get("RequestedClientActions") or []:
            kind, parameters = str(action.get("ActionType")), action.get("ActionParameters") or {}
            result: Any = None
            status, error = _SUCCESS, ""
            if kind == "SessionType":
                if parameters.get("SessionType") not in SHELL_SESSIONS:
                    status, error = _FAILED, f"Unknown session type {parameters.get('SessionType')}"
            elif kind == "KMSEncryption":
                try:
                    cipher, result = self._encryption(parameters)
                except EncryptionFailure as exc:
                    status, error = _FAILED, str(exc)
            else:
                status, error = _UNSUPPORTED, f"Unsupported action {kind}"
            done.append({"ActionType": kind, "ActionStatus": status, "ActionResult": result, "Error": error})
            failures += [error] if error else []
        answer = {"ClientVersion": CLIENT_VERSION, "ProcessedClientActions": done, "Errors": failures}
        self._queue(frames.PAYLOAD_HANDSHAKE_RESPONSE, frames.json_payload(answer))
        self._cipher = cipher
        if failures:
            self._events.append(Closed("the handshake failed: " + "; ".join(failures)))

    def _encryption(self, parameters: Mapping[str, Any]) -> tuple[Cipher, dict[str, Any]]:
        """A cipher with a fresh data key, and what the agent needs in order to have the same key decrypted."""
        key_id, challenge = str(parameters.get("KMSKeyId") or ""), str(parameters.get("Challenge") or "")
        context = dict(self._context)
        if challenge:  # newer agents want their random part in the encryption context, and may insist
            context["aws:ssm:RandomChallenge"] = challenge
        key = self._keys(key_id, context)
        encrypted = base64.b64encode(key.encrypted).decode()
        return Cipher(key), {"KMSCipherTextKey": encrypted, "ChallengeAcknowledgement": bool(challenge)}

    def _challenge(self, request: Mapping[str, Any]) -> None:
        """Proves that both sides have the key: what the agent encrypted goes back encrypted with the other half."""
        if self._cipher is None:
            raise ChannelFailure("the agent wants encryption proved which it has not asked for before")
        try:
            plain = self._cipher.decrypt(base64.b64decode(str(request.get("Challenge") or ""), validate=True))
        except (EncryptionFailure, ValueError) as exc:
            raise ChannelFailure(f"the agent's encryption challenge cannot be answered: {exc}") from exc
        answer = {"Challenge": base64.b64encode(self._cipher.encrypt(plain)).decode()}
        self._queue(frames.PAYLOAD_CHALLENGE_RESPONSE, frames.json_payload(answer))


def _object(frame: Frame) -> dict[str, Any]:
    """The payload of a message that has been acknowledged already: what cannot be read now will never be."""
    try:
        return frame.json()
    except FrameError as exc:
        raise ChannelFailure(str(exc)) from exc
