# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages of the data channel as bytes (N3)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _ssm_frames as frames
from ansible_collections.papyrus.ops.plugins.module_utils._ssm_frames import Frame, FrameError
from hypothesis import given
from hypothesis import strategies as st

GOLDEN = bytes.fromhex(
    "00000074696e7075745f73747265616d5f64617461202020202020202020202020202020000000010000015e0baa7884"
    "00000000000000020000000000000000a508b5f073f31b16dd01e56bff48483e239f59ed55e737c77147cf55ad0c1b03"
    "0b6d7ee748a7426952f9b852d5a935e500000001000000077061796c6f6164"
)


def test_N3_the_golden_frame_decodes_and_encodes_byte_for_byte() -> None:
    assert len(GOLDEN) == 127
    frame = frames.decode(GOLDEN)
    assert frame == Frame(
        message_type="input_stream_data",
        sequence=2,
        payload=b"payload",
        created=1503434274948,
        message_id=uuid.UUID("dd01e56b-ff48-483e-a508-b5f073f31b16"),
        payload_type=1,
        flags=0,
        schema_version=1,
    )
    assert frames.encode(frame) == GOLDEN


@given(
    st.sampled_from([frames.INPUT, frames.OUTPUT, frames.ACKNOWLEDGE]),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(max_size=2048),
    st.integers(0, 2**64 - 1),
    st.uuids(),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
)
def test_N3_every_frame_comes_back_as_it_was(
    kind: str, sequence: int, payload: bytes, created: int, message_id: uuid.UUID, payload_type: int, flags: int
) -> None:
    frame = Frame(kind, sequence, payload, created, message_id, payload_type, flags)
    assert frames.decode(frames.encode(frame)) == frame


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:100], "at least 120 bytes"),
        (lambda data: b"", "this one has 0"),
        (lambda data: b"\0\0\0\x75" + data[4:], "length is 117"),
        (lambda data: data[:-1], "announces 7 bytes of payload and has 6"),
        (lambda data: data + b"x", "announces 7 bytes of payload and has 8"),
        (lambda data: data[:-1] + b"D", "SHA-256"),
        (lambda data: data[:4] + b" " * 32 + data[36:], "empty"),
        (lambda data: data[:4] + b"\xff" * 32 + data[36:], "not ASCII"),
    ],
)
def test_N3_malformed_frames_are_refused_with_what_is_wrong(change: Callable[[bytes], bytes], says: str) -> None:
    with pytest.raises(FrameError, match=says):
        frames.decode(change(GOLDEN))


@given(st.binary(max_size=300))
def test_N3_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        frames.decode(data)
    except FrameError as exc:
        assert str(exc)


def test_N3_an_acknowledgement_names_the_message_as_the_service_wants() -> None:
    of = frames.decode(GOLDEN)
    answer = frames.acknowledgement(of, 5, uuid.UUID(int=7))
    assert (answer.message_type, answer.sequence, answer.flags) == ("acknowledge", 0, 3)
    assert json.loads(answer.payload) == {
        "AcknowledgedMessageType": "input_stream_data",
        "AcknowledgedMessageId": "dd01e56b-ff48-483e-a508-b5f073f31b16",
        "AcknowledgedMessageSequenceNumber": 2,
        "IsSequentialMessage": True,
    }
    assert frames.acknowledged(answer) == 2


def test_N3_the_services_own_messages_need_no_digest() -> None:
    data = bytearray(frames.encode(Frame(frames.PAUSE_PUBLICATION, 0, b"x", 1, uuid.UUID(int=1))))
    data[80:112] = bytes(32)
    assert frames.decode(bytes(data)).message_type == "pause_publication"


def test_N3_the_opening_message_is_what_the_service_reads() -> None:
    assert json.loads(frames.opening("t", "c", "r", "1.2.3.4")) == {
        "MessageSchemaVersion": "1.0",
        "RequestId": "r",
        "TokenValue": "t",
        "ClientId": "c",
        "ClientVersion": "1.2.3.4",
    }
