# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client's side of the data channel without a network (N3)."""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _ssm_channel as channels
from ansible_collections.papyrus.ops.plugins.module_utils import _ssm_frames as frames
from ansible_collections.papyrus.ops.plugins.module_utils._ssm_channel import Channel, ChannelFailure, Closed, Output
from ansible_collections.papyrus.ops.plugins.module_utils._ssm_crypto import DataKey, EncryptionFailure
from ansible_collections.papyrus.ops.plugins.module_utils._ssm_frames import Frame
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = DataKey(b"\x01" * 32 + b"\x02" * 32, b"encrypted")


@dataclass
class Bench:
    """A channel with a clock that stands still."""

    now: float = 100.0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    refusal: str = ""

    def __post_init__(self) -> None:
        self.channel = Channel(
            clock=lambda: self.now, wall=lambda: 1, keys=self.key, context={"aws:ssm:SessionId": "s-1"}
        )

    def key(self, key_id: str, context: dict[str, str]) -> DataKey:
        self.asked.append((key_id, context))
        if self.refusal:
            raise EncryptionFailure(self.refusal)
        return KEY

    def output(self, sequence: int, data: bytes, payload_type: int = 1) -> list[Frame]:
        """Gives it an output message; returns what it sends."""
        self.channel.received(message(frames.OUTPUT, sequence, data, payload_type))
        return self.sent()

    def acknowledge(self, sequence: int) -> None:
        content = {"AcknowledgedMessageSequenceNumber": sequence}
        self.channel.received(message(frames.ACKNOWLEDGE, 0, json.dumps(content).encode()))

    def sent(self) -> list[Frame]:
        return [frames.decode(data) for data in self.channel.due()]

    def text(self) -> bytes:
        return b"".join(event.data for event in self.channel.events() if isinstance(event, Output))


def message(kind: str, sequence: int, payload: bytes, payload_type: int = 0) -> bytes:
    return frames.encode(Frame(kind, sequence, payload, 1, uuid.uuid4(), payload_type))


def numbers(sent: list[Frame]) -> list[int]:
    return [frames.acknowledged(frame) for frame in sent if frame.message_type == frames.ACKNOWLEDGE]


@pytest.fixture(name="bench")
def _bench() -> Bench:
    return Bench()


def test_N3_every_output_message_is_acknowledged_and_given_out_in_order(bench: Bench) -> None:
    assert numbers(bench.output(0, b"a")) == [0]
    assert numbers(bench.output(1, b"b")) == [1]
    assert bench.text() == b"ab"


def test_N3_a_duplicate_is_acknowledged_again_and_dropped(bench: Bench) -> None:
    bench.output(0, b"a")
    assert numbers(bench.output(0, b"a")) == [0]
    assert bench.text() == b"a"


def test_N3_a_message_ahead_of_its_turn_is_kept_and_acknowledged(bench: Bench) -> None:
    assert numbers(bench.output(2, b"c")) == [2]
    assert numbers(bench.output(1, b"b")) == [1]
    assert bench.channel.gap
    assert bench.text() == b""
    assert numbers(bench.output(2, b"c")) == [2], "a duplicate of one that is kept"
    assert numbers(bench.output(0, b"a")) == [0]
    assert bench.text() == b"abc"
    assert not bench.channel.gap


def test_N3_what_is_kept_ahead_has_a_bound_and_what_is_beyond_comes_again(bench: Bench) -> None:
    for number in range(1, channels.AHEAD + 1):
        assert numbers(bench.output(number, b"x")) == [number]
    assert bench.output(channels.AHEAD + 1, b"y") == [], "not acknowledged: it will be sent again"
    bench.output(0, b"x")
    assert numbers(bench.output(channels.AHEAD + 1, b"y")) == [channels.AHEAD + 1]
    assert bench.text() == b"x" * (channels.AHEAD + 1) + b"y"


def test_N3_input_is_sent_again_until_it_is_acknowledged_from_200_ms_up_to_a_second(bench: Bench) -> None:
    bench.channel.send(b"hello")
    (first,) = bench.sent()
    assert (first.message_type, first.sequence, first.payload, first.payload_type) == (frames.INPUT, 0, b"hello", 1)
    times = []
    for step in range(500):
        bench.now = 100 + step * 0.01
        if bench.sent():
            times.append(round(bench.now - 100, 2))
    assert times[:5] == pytest.approx([0.2, 0.6, 1.4, 2.4, 3.4], abs=0.011)
    bench.acknowledge(0)
    bench.now += 10
    assert bench.sent() == []
    assert bench.channel.idle
    assert bench.channel.wait() is None


def test_N3_input_has_at_most_1024_bytes_a_message_and_a_window(bench: Bench) -> None:
    bench.channel.send(bytes(1024 * 100 + 1))
    going = bench.sent()
    assert [len(frame.payload) for frame in going] == [1024] * channels.WINDOW
    assert [frame.sequence for frame in going] == list(range(channels.WINDOW))
    bench.acknowledge(5)
    assert [frame.sequence for frame in bench.sent()] == [channels.WINDOW]
    assert bench.channel.unsent == 101 - channels.WINDOW - 1


def test_N3_a_pause_stops_input_but_not_acknowledgements(bench: Bench) -> None:
    bench.output(0, b"a")
    bench.channel.received(message(frames.PAUSE_PUBLICATION, 0, b""))
    bench.channel.send(b"later")
    assert bench.sent() == []
    assert bench.channel.wait() is None
    bench.channel.received(message(frames.START_PUBLICATION, 0, b""))
    assert [frame.payload for frame in bench.sent()] == [b"later"]
    bench.channel.received(message(frames.PAUSE_PUBLICATION, 0, b""))
    assert numbers(bench.output(1, b"b")) == [1], "output shows that the other side is there again"
    assert not bench.channel.paused


def test_N3_channel_closed_is_said_with_its_reason(bench: Bench) -> None:
    bench.channel.received(message(frames.CHANNEL_CLOSED, 0, b'{"Output": "timed out"}'))
    assert bench.channel.events() == [Closed("timed out")]
    bench.channel.send(b"x")
    assert bench.sent() == []


def test_N3_a_malformed_message_is_not_acknowledged_and_many_in_a_row_end_the_channel(bench: Bench) -> None:
    broken = bytearray(message(frames.OUTPUT, 0, b"abc", 1))
    broken[-1] ^= 1
    for _number in range(channels.MALFORMED - 1):
        bench.channel.received(bytes(broken))
    assert bench.sent() == []
    assert numbers(bench.output(0, b"abc")) == [0]
    for _number in range(channels.MALFORMED - 1):
        bench.channel.received(bytes(broken))
    with pytest.raises(ChannelFailure, match="SHA-256"):
        bench.channel.received(bytes(broken))


def test_N3_unknown_messages_and_payloads_are_borne(bench: Bench) -> None:
    bench.channel.received(message("something_new", 0, b"x"))
    assert numbers(bench.output(0, b"x", 99)) == [0]
    assert bench.channel.events() == []


def handshake(*actions: tuple[str, dict[str, Any]]) -> bytes:
    requested = [{"ActionType": kind, "ActionParameters": parameters} for kind, parameters in actions]
    return json.dumps({"AgentVersion": "3.3.40.0", "RequestedClientActions": requested}).encode()


def response(sent: list[Frame]) -> dict[str, Any]:
    (frame,) = [item for item in sent if item.message_type == frames.INPUT]
    assert frame.payload_type == frames.PAYLOAD_HANDSHAKE_RESPONSE
    return frame.json()


def test_N3_the_handshake_of_a_shell_session_is_answered_with_success(bench: Bench) -> None:
    answer = response(bench.output(0, handshake(("SessionType", {"SessionType": "InteractiveCommands"})), 5))
    assert answer["Errors"] == []
    assert answer["ProcessedClientActions"] == [
        {"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": None, "Error": ""}
    ]
    assert bench.channel.agent_version == "3.3.40.0"
    assert bench.channel.events() == []


@pytest.mark.parametrize(("action", "status"), [(("SessionType", {"SessionType": "Port"}), 2), (("Dance", {}), 3)])
def test_N3_what_cannot_be_done_is_refused_and_ends_it(
    bench: Bench, action: tuple[str, dict[str, Any]], status: int
) -> None:
    answer = response(bench.output(0, handshake(action), 5))
    assert answer["ProcessedClientActions"][0]["ActionStatus"] == status
    assert answer["Errors"]
    (event,) = bench.channel.events()
    assert isinstance(event, Closed)
    assert "handshake failed" in event.text


@pytest.mark.parametrize("payload", [b'{"RequestedClientActions": [1]}', b'{"RequestedClientActions": 1}', b"[]", b"x"])
def test_N3_a_handshake_that_is_none_ends_the_channel_with_a_sentence(bench: Bench, payload: bytes) -> None:
    with pytest.raises(ChannelFailure, match="handshake|JSON"):
        bench.output(0, payload, 5)


def test_N3_encryption_with_kms_is_set_up_and_used_both_ways(bench: Bench) -> None:
    action = ("KMSEncryption", {"KMSKeyId": "key-1", "Challenge": "cmFuZG9t"})
    answer = response(bench.output(0, handshake(("SessionType", {"SessionType": "Standard_Stream"}), action), 5))
    assert bench.asked == [("key-1", {"aws:ssm:SessionId": "s-1", "aws:ssm:RandomChallenge": "cmFuZG9t"})]
    assert answer["ProcessedClientActions"][1]["ActionResult"] == {
        "KMSCipherTextKey": base64.b64encode(b"encrypted").decode(),
        "ChallengeAcknowledgement": True,
    }
    agent, client = AESGCM(KEY.plaintext[:32]), AESGCM(KEY.plaintext[32:])
    challenge = base64.b64encode(b"n" * 12 + agent.encrypt(b"n" * 12, b"prove it", None)).decode()
    bench.acknowledge(0)
    sent = [frame for frame in bench.output(1, json.dumps({"Challenge": challenge}).encode(), 8) if frame.payload_type]
    back = base64.b64decode(sent[0].json()["Challenge"])
    assert sent[0].payload_type == frames.PAYLOAD_CHALLENGE_RESPONSE
    assert client.decrypt(back[:12], back[12:], None) == b"prove it"
    bench.output(2, b"m" * 12 + agent.encrypt(b"m" * 12, b"hidden output", None))
    assert bench.text() == b"hidden output"
    bench.channel.send(b"typed")
    typed = bench.sent()[-1].payload
    assert b"typed" not in typed
    assert client.decrypt(typed[:12], typed[12:], None) == b"typed"
    with pytest.raises(ChannelFailure, match="not encrypted with the session's key"):
        bench.output(3, b"m" * 12 + b"forged output of enough bytes")


def test_N3_without_a_data_key_the_session_ends_with_what_kms_said(bench: Bench) -> None:
    bench.refusal = "kms:GenerateDataKey on key key-1 failed: AccessDeniedException"
    answer = response(bench.output(0, handshake(("KMSEncryption", {"KMSKeyId": "key-1"})), 5))
    assert answer["ProcessedClientActions"][0]["ActionStatus"] == 2
    assert "AccessDeniedException" in answer["Errors"][0]
    (event,) = bench.channel.events()
    assert isinstance(event, Closed)
    assert "AccessDeniedException" in event.text


def test_N3_the_data_key_is_not_shown() -> None:
    assert "\\x01" not in repr(KEY)
