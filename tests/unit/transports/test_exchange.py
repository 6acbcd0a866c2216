"""Credit: what one end of an exchange may have under way, and what the other grants."""

from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from nano.domain.errors import Invalid, Unreachable
from nano.transports.exchange import WINDOW_BYTES, Exchange
from nano.transports.framing import HEADER_BYTES, FrameKind, frame

pytestmark = pytest.mark.anyio

PIECE = b"x" * (32 << 10)


class FakeLink:
    """Notes what the exchange sends and says."""

    message_bytes_max = 1 << 20

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bool]] = []
        self.resets: list[int] = []
        self.carrier = SimpleNamespace(
            send=lambda _id, data, end: self.sent.append((data, end)), reset=self.resets.append
        )

    def exchange_opened(self, exchange: Exchange) -> None:
        exchange.take()

    def exchange_ended(self, exchange: Exchange) -> None: ...

    def drop_held(self, exchange: Exchange) -> None: ...


def make(opened: bool = True) -> tuple[Exchange, FakeLink]:
    link: Any = FakeLink()
    exchange = Exchange(link, 4, 1 << 20)
    exchange.opened = opened
    return exchange, link


async def test_a_sender_stops_when_its_window_is_used_up_and_goes_on_by_a_grant() -> None:
    exchange, link = make()
    pieces = -(-WINDOW_BYTES // (len(PIECE) + HEADER_BYTES))
    for _ in range(pieces):
        with anyio.fail_after(1):
            await exchange.send_flowing(FrameKind.DATA, PIECE)
    with anyio.move_on_after(0.02) as scope:
        await exchange.send_flowing(FrameKind.DATA, PIECE)
    assert scope.cancelled_caught
    assert len(link.sent) == pieces
    exchange.feed(frame(FrameKind.CREDIT, b"%d" % WINDOW_BYTES))
    with anyio.fail_after(1):
        await exchange.send_flowing(FrameKind.DATA, PIECE)


async def test_a_reader_grants_what_it_has_consumed_and_no_more() -> None:
    exchange, link = make()
    for _ in range(8):
        exchange.feed(frame(FrameKind.DATA, PIECE))
    assert link.sent == []
    read = 0
    for _ in range(8):
        await exchange.receive()
        read += len(PIECE) + HEADER_BYTES
        granted = sum(int(data[HEADER_BYTES:]) for data, _ in link.sent)
        assert read - WINDOW_BYTES // 4 <= granted <= read
    assert link.sent


async def test_a_sender_that_ignores_the_window_is_caught() -> None:
    exchange, _ = make()
    with pytest.raises(Invalid) as caught:
        exchange.feed(frame(FrameKind.DATA, PIECE) * 100)
    assert caught.value.code == "window_exceeded"


@pytest.mark.parametrize("grant", [b"", b"x", b"-5", b"1", b"9999999999", b"1.5"])
async def test_a_bad_grant_is_caught(grant: bytes) -> None:
    exchange, _ = make()
    with pytest.raises(Invalid):
        exchange.feed(frame(FrameKind.CREDIT, grant))


async def test_what_ended_an_exchange_is_raised_to_who_waits_after_what_had_arrived() -> None:
    exchange, _ = make()
    exchange.feed(frame(FrameKind.DATA, b"last"))
    exchange.fail(Unreachable("gone"))
    assert await exchange.receive() == (FrameKind.DATA, b"last")
    with pytest.raises(Unreachable):
        await exchange.receive()
    with pytest.raises(Unreachable):
        await exchange.send_flowing(FrameKind.DATA, b"x")


async def test_giving_up_resets_once_and_drops_what_still_comes() -> None:
    exchange, link = make()
    exchange.abort()
    exchange.abort()
    assert link.resets == [4]
    exchange.feed(b"\xff\xff not even a frame")
    with pytest.raises(anyio.EndOfStream):
        await exchange.receive()


async def test_an_answered_request_is_not_reset() -> None:
    exchange, link = make()
    exchange.send(FrameKind.REQUEST, b"{}", end=True)
    exchange.feed(frame(FrameKind.MESSAGE, b"{}"))
    exchange.remote_ended()
    assert await exchange.receive() == (FrameKind.MESSAGE, b"{}")
    exchange.abort()
    assert link.resets == []
