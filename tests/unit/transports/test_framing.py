"""Frames and messages: every cut of the bytes gives the same frames; nothing foreign gets through."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.domain.errors import Invalid, TooLarge
from nano.domain.machine import MachineSpec
from nano.transports import messages, move_messages
from nano.transports.framing import HEADER_BYTES, FrameDecoder, FrameKind, decode_message, encode_message, frame
from nano.transports.messages import CreateDomain, Heartbeat, LogBatch, LoggedFact, Message, Ok, Refused

frames = st.lists(st.tuples(st.sampled_from(FrameKind), st.binary(max_size=300)), max_size=8)


@given(frames, st.lists(st.integers(1, 400), min_size=1, max_size=30))
def test_any_cutting_gives_the_same_frames(sent: list[tuple[FrameKind, bytes]], cuts: list[int]) -> None:
    data = b"".join(frame(kind, payload) for kind, payload in sent)
    decoder, got, at = FrameDecoder(), [], 0
    for cut in [*cuts, len(data)]:
        got += list(decoder.feed(data[at : at + cut]))
        at += cut
    got += list(decoder.feed(data[at:]))
    assert got == sent
    assert decoder.held == 0


@given(st.binary(max_size=2000))
def test_noise_gives_frames_or_a_refusal(data: bytes) -> None:
    decoder = FrameDecoder(1000)
    try:
        for kind, payload in decoder.feed(data):
            assert kind in FrameKind
            assert len(payload) <= 1000
    except (Invalid, TooLarge):
        return
    assert decoder.held <= 1000 + HEADER_BYTES


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_noise_is_no_message(data: bytes) -> None:
    with suppress(Invalid):  # anything else fails the test
        assert isinstance(decode_message(data), Message)


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda v: st.lists(v) | st.dictionaries(st.text(), v))
)
def test_json_that_is_no_message_is_refused(value: object) -> None:
    with pytest.raises(Invalid):
        decode_message(json.dumps(value).encode())


def test_a_frame_larger_than_allowed_is_refused_by_its_header() -> None:
    decoder = FrameDecoder(10)
    assert list(decoder.feed(frame(FrameKind.DATA, b"x" * 10))) == [(FrameKind.DATA, b"x" * 10)]
    with pytest.raises(TooLarge) as caught:
        list(decoder.feed(frame(FrameKind.DATA, b"x" * 11)[:HEADER_BYTES]))
    assert caught.value.code == "message_too_large"


def test_messages_come_back_as_they_were() -> None:
    spec = MachineSpec(name="web", cores=1, memory=1 << 27, disks=(1 << 26,), mac="52:54:00:00:00:01")
    fact = LoggedFact(
        3, "2026-11-21T00:00:00Z", "admin", "c1", "domain/g1", 2, msgspec.Raw(b'{"type":"domain.started"}')
    )
    for message in (
        CreateDomain("c1", "g1", spec),
        LogBatch(head=9, facts=[fact]),
        Refused(kind="Invalid", code="x", message="é\n", context={"a": [1, None]}),
        Heartbeat(1, 0.5, 1, 1, 1, 1, 0, 0, 0, 0, 9.0, "kvm", "", "QEMU 7.2"),
    ):
        assert decode_message(encode_message(message)) == message


def test_every_message_has_its_own_tag() -> None:
    said = {**vars(messages), **vars(move_messages)}
    kinds = [kind for kind in said.values() if isinstance(kind, type) and issubclass(kind, Message)]
    tags = [kind.__struct_config__.tag for kind in kinds if kind is not Message]
    assert len(tags) == len(set(tags)) > 10


def test_too_large_a_message_is_refused_before_it_is_sent() -> None:
    with pytest.raises(TooLarge) as caught:
        encode_message(Ok(detail="x" * 100), bytes_max=50)
    assert caught.value.context["size_max"] == 50
