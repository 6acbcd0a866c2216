"""Bodies: never more in memory than the limit, never waited for without end."""

from collections.abc import Iterator

import anyio
import pytest

from nano.domain.errors import NanoError
from nano.http import bodies
from nano.http.answers import Answer, Message

pytestmark = pytest.mark.anyio


class Sender:
    """Plays an ASGI server: hands out pieces, counts what was asked for."""

    def __init__(self, pieces: list[bytes], *, ends: bool = True, gone: bool = False) -> None:
        self._pieces: Iterator[tuple[int, bytes]] = iter(enumerate(pieces))
        self._last = len(pieces) - 1
        self._ends, self._gone = ends, gone
        self.given = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        try:
            index, piece = next(self._pieces)
        except StopIteration:
            if self._gone:
                return {"type": "http.disconnect"}
            await anyio.sleep_forever()
        self.given += len(piece)
        return {"type": "http.request", "body": piece, "more_body": not (self._ends and index == self._last)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def test_pieces_are_joined() -> None:
    sender = Sender([b"ab", b"", b"cd"])
    assert await bodies.BodyReader().read({b"content-length": b"4"}, sender.receive) == b"abcd"


async def test_no_body_is_not_waited_for() -> None:
    assert await bodies.BodyReader().read({}, Sender([], ends=False).receive) == b""
    assert await bodies.BodyReader().read({b"content-length": b"0"}, Sender([], ends=False).receive) == b""


@pytest.mark.parametrize("told", [b"104857600", b"1" + b"0" * 30])
async def test_a_long_content_length_is_refused_unread(told: bytes) -> None:
    sender = Sender([b"x" * 1000] * 10)
    with pytest.raises(NanoError) as refused:
        await bodies.BodyReader().read({b"content-length": told}, sender.receive)
    assert (refused.value.status, refused.value.code, sender.given) == (413, "body_too_large", 0)


async def test_a_body_longer_than_the_limit_is_cut_off_when_that_is_known() -> None:
    sender = Sender([b"x" * 100] * 1000)
    with pytest.raises(NanoError) as refused:
        await bodies.BodyReader(1000).read({b"transfer-encoding": b"chunked"}, sender.receive)
    assert refused.value.status == 413
    assert sender.given == 1100


async def test_a_lie_in_content_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_PAUSE_S", 0.02)
    with pytest.raises(NanoError) as refused:
        await bodies.BodyReader().read({b"content-length": b"10"}, Sender([b"x"], ends=False).receive)
    assert (refused.value.status, refused.value.code) == (400, "body_incomplete")
    with pytest.raises(NanoError) as refused:
        await bodies.BodyReader().read({b"content-length": b"ten"}, Sender([]).receive)
    assert (refused.value.status, refused.value.code) == (400, "invalid_content_length")


async def test_a_client_that_goes_is_not_answered() -> None:
    with pytest.raises(bodies.ClientGone):
        await bodies.BodyReader().read({b"content-length": b"10"}, Sender([b"x"], ends=False, gone=True).receive)


async def test_large_bodies_are_counted() -> None:
    reader = bodies.BodyReader(large_at_once_max=1)
    large = {b"content-length": b"100000"}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reader.read, large, Sender([b"x"], ends=False).receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(NanoError) as refused:
            await reader.read(large, Sender([b"x" * 100_000]).receive)
        assert (refused.value.status, refused.value.code) == (503, "too_many_bodies")
        assert await reader.read({b"content-length": b"2"}, Sender([b"{}"]).receive) == b"{}"
        tasks.cancel_scope.cancel()
    assert len(await reader.read(large, Sender([b"x" * 100_000]).receive)) == 100_000


async def test_a_refused_body_is_answered_first_then_discarded() -> None:
    sender = Sender([b"x" * 1000] * 50)
    await bodies.refuse_body(Answer(413, [], b"{}"), {}, sender.receive, sender.send)
    assert [message.get("more_body") for message in sender.sent] == [None, True, False]
    assert (b"connection", b"close") in sender.sent[0]["headers"]
    assert sender.given == 50_000


async def test_discarding_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "DISCARD_BYTES_MAX", 2500)
    sender = Sender([b"x" * 1000] * 50)
    await bodies.refuse_body(Answer(413, [], b"{}"), {}, sender.receive, sender.send)
    assert sender.given == 3000
    waiting = Sender([b"x"])
    await bodies.refuse_body(Answer(413, [], b"{}"), {b"expect": b"100-continue"}, waiting.receive, waiting.send)
    assert waiting.given == 0
