"""What every kind of link must do: exchanges, errors, limits, back-pressure, endings."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import Conflict, DeadlineExceeded, DiskFull, Invalid, NanoError, TooLarge, Unreachable
from nano.transports.exchange import WINDOW_BYTES
from nano.transports.link import Pipe
from nano.transports.messages import (
    FollowLog,
    LogBatch,
    Message,
    Ok,
    OpenConsole,
    Ping,
    ProgressIs,
    Refused,
    RemoveDomain,
)
from nano.transports.testing import LINK_KINDS, FunctionHandler, Nodes, linked, make_nodes, pipe_pair

pytestmark = pytest.mark.anyio


@pytest.fixture(params=LINK_KINDS)
def nodes(request: pytest.FixtureRequest, tmp_path: Path) -> Nodes:
    return make_nodes(request.param, tmp_path)


async def until(condition: Callable[[], bool], *, seconds: float = 5.0) -> None:
    """Bounded wait for what has no event of its own: counters inside the other end."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.005)


async def test_request_goes_both_ways(nodes: Nodes) -> None:
    async def core(message: Message) -> Message:
        return ProgressIs(percent=7, step="of core")

    nodes.core_handler = FunctionHandler(core)
    async with linked(nodes) as (cell_end, core_end):
        assert await cell_end.request(Ping(1.5), timeout_s=5) == ProgressIs(percent=7, step="of core")
        assert await core_end.request(Ping(2.5), timeout_s=5) == Ping(2.5)
        assert cell_end.remote.fingerprint == nodes.core.fingerprint
        assert core_end.remote.fingerprint == nodes.cell.fingerprint
        assert (core_end.remote.name, core_end.remote.kind, core_end.remote.domain) == (
            nodes.hello.name,
            "cell",
            "nano",
        )


async def test_an_error_is_raised_again_as_it_was(nodes: Nodes) -> None:
    async def full(message: Message) -> Message:
        raise DiskFull("No room.", code="pool_full", hint="Add a disk.", pool="default", free=12)

    nodes.core_handler = FunctionHandler(full)
    async with linked(nodes) as (cell_end, _):
        with pytest.raises(DiskFull) as caught:
            await cell_end.request(RemoveDomain("c1", "g1"), timeout_s=5)
        assert (caught.value.code, caught.value.message, caught.value.hint) == ("pool_full", "No room.", "Add a disk.")
        assert caught.value.context == {"pool": "default", "free": 12}


async def test_a_defect_travels_as_internal_without_its_text(nodes: Nodes, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(message: Message) -> Message:
        raise KeyError("secret")

    nodes.core_handler = FunctionHandler(broken)
    async with linked(nodes) as (cell_end, _):
        with pytest.raises(NanoError) as caught:
            await cell_end.request(Ping(1), timeout_s=5)
        assert caught.value.code == "internal"
        assert "secret" not in str(caught.value)
        assert "KeyError" in caplog.text
        with pytest.raises(NanoError, match="unexpectedly"):
            await cell_end.request(Ping(1), timeout_s=5)


async def test_a_refused_answer_is_raised(nodes: Nodes) -> None:
    async def refuse(message: Message) -> Message:
        return Refused(kind="Conflict", code="guest_running", message="It runs.")

    nodes.core_handler = FunctionHandler(refuse)
    async with linked(nodes) as (cell_end, _):
        with pytest.raises(Conflict, match="It runs"):
            await cell_end.request(Ping(1), timeout_s=5)


async def test_a_timeout_cancels_the_handler_at_the_other_end(nodes: Nodes) -> None:
    cancelled = anyio.Event()

    async def slow(message: Message) -> Message:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return Ok()

    nodes.core_handler = FunctionHandler(slow)
    async with linked(nodes) as (cell_end, _):
        with pytest.raises(DeadlineExceeded):
            await cell_end.request(Ping(1), timeout_s=0.05)
        with anyio.fail_after(5):
            await cancelled.wait()


async def test_cancelling_a_request_cancels_the_handler(nodes: Nodes) -> None:
    started, cancelled = anyio.Event(), anyio.Event()

    async def slow(message: Message) -> Message:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return Ok()

    nodes.core_handler = FunctionHandler(slow)
    async with linked(nodes) as (cell_end, _), anyio.create_task_group() as tasks:
        tasks.start_soon(partial(cell_end.request, Ping(1), timeout_s=60))
        with anyio.fail_after(5):
            await started.wait()
            tasks.cancel_scope.cancel()
    assert cancelled.is_set()


async def test_200_requests_at_once(nodes: Nodes) -> None:
    answers: list[float] = []
    async with linked(nodes) as (cell_end, _):

        async def ask(number: int) -> None:
            answer = await cell_end.request(Ping(float(number)), timeout_s=30)
            assert isinstance(answer, Ping)
            answers.append(answer.sent_at_s)

        async with anyio.create_task_group() as tasks:
            for number in range(200):
                tasks.start_soon(ask, number)
        assert sorted(answers) == [float(number) for number in range(200)]
        await until(lambda: len(cell_end._exchanges) == 1)  # the control exchange; nothing leaks


async def test_more_requests_than_allowed_wait_their_turn(nodes: Nodes) -> None:
    nodes.settings = msgspec.structs.replace(nodes.settings, requests_max=3)
    at_once = most = 0

    async def count(message: Message) -> Message:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await anyio.sleep(0.002)
        at_once -= 1
        return message

    nodes.core_handler = FunctionHandler(count)
    async with linked(nodes) as (cell_end, _):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(partial(cell_end.request, Ping(number), timeout_s=30))
        assert 1 < most <= 3


async def test_large_messages_arrive_whole(nodes: Nodes) -> None:
    big = Refused(kind="Invalid", code="x", message="é" * (1 << 20))

    async def answer(message: Message) -> Message:
        return ProgressIs(1, "y" * (2 << 20))

    nodes.core_handler = FunctionHandler(answer)
    async with linked(nodes) as (cell_end, _):
        answer_is = await cell_end.request(big, timeout_s=30)
        assert isinstance(answer_is, ProgressIs)
        assert len(answer_is.step) == 2 << 20


async def test_an_oversize_message_is_refused_at_both_ends(nodes: Nodes) -> None:
    async with linked(nodes) as (cell_end, core_end):
        with pytest.raises(TooLarge) as caught:
            await cell_end.request(ProgressIs(0, "x" * (9 << 20)), timeout_s=5)
        assert caught.value.code == "message_too_large"
        # A sender that does not bound itself is stopped by the receiver, and the link lives on.
        core_end._settings = msgspec.structs.replace(nodes.settings, message_bytes_max=1000)
        with pytest.raises(TooLarge):
            await cell_end.request(ProgressIs(0, "x" * 2000), timeout_s=5)
        assert await cell_end.request(Ping(1), timeout_s=5) == Ping(1)


async def test_an_answer_too_large_to_send_is_an_error_for_the_asker(nodes: Nodes) -> None:
    async def verbose(message: Message) -> Message:
        return ProgressIs(0, "x" * (9 << 20))

    nodes.core_handler = FunctionHandler(verbose)
    async with linked(nodes) as (cell_end, _):
        with pytest.raises(TooLarge):
            await cell_end.request(Ping(1), timeout_s=5)


async def test_follow_delivers_in_order_and_ends(nodes: Nodes) -> None:
    async def count(message: Message) -> AsyncIterator[Message]:
        assert isinstance(message, FollowLog)
        for position in range(message.after, 5000):
            yield Ok(position=position)

    nodes.core_handler = FunctionHandler(follow=count)
    async with linked(nodes) as (cell_end, _), cell_end.follow(FollowLog(after=10)) as items:
        seen = [item.position async for item in items if isinstance(item, Ok)]
        assert seen == list(range(10, 5000))


async def test_a_follow_raises_what_the_other_end_raised_after_its_items(nodes: Nodes) -> None:
    async def fail(message: Message) -> AsyncIterator[Message]:
        yield Ok(1)
        raise Invalid("No such position.", code="position_unknown")

    nodes.core_handler = FunctionHandler(follow=fail)
    async with linked(nodes) as (cell_end, _), cell_end.follow(FollowLog(0)) as items:
        assert await anext(items) == Ok(1)
        with pytest.raises(Invalid, match="No such position"):
            await anext(items)


async def test_a_slow_reader_holds_the_sender_back(nodes: Nodes) -> None:
    sent = 0
    piece = LogBatch(head=0, facts=[])
    item = ProgressIs(0, "x" * 10_000)

    async def flood(message: Message) -> AsyncIterator[Message]:
        nonlocal sent
        while sent < 2000:
            yield item
            sent += 1
        yield piece

    nodes.core_handler = FunctionHandler(follow=flood)
    async with linked(nodes) as (cell_end, _), cell_end.follow(FollowLog(0)) as items:
        await until(lambda: sent * 10_000 >= WINDOW_BYTES - 20_000)
        assert await cell_end.request(Ping(1), timeout_s=5) == Ping(1)  # others go on meanwhile
        assert sent * 10_000 <= WINDOW_BYTES + 20_000
        received = 0
        async for got in items:
            received += got == item
        assert received == sent == 2000


async def test_leaving_a_follow_closes_the_generator_at_the_other_end(nodes: Nodes) -> None:
    closed = anyio.Event()

    async def endless(message: Message) -> AsyncIterator[Message]:
        try:
            while True:
                yield Ok()
                await anyio.lowlevel.checkpoint()
        finally:
            closed.set()

    nodes.core_handler = FunctionHandler(follow=endless)
    async with linked(nodes) as (cell_end, core_end):
        async with cell_end.follow(FollowLog(0)) as items:
            await anext(items)
        with anyio.fail_after(5):
            await closed.wait()
        await until(lambda: len(core_end._exchanges) == 1 and len(cell_end._exchanges) == 1)


async def test_a_pipe_carries_bytes_both_ways_and_closes(nodes: Nodes) -> None:
    near, far = pipe_pair()

    async def console(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(detail="open"), near

    nodes.cell_handler = FunctionHandler(pipe=console)
    async with linked(nodes) as (_, core_end):
        answer, pipe = await core_end.pipe(OpenConsole("g1"), timeout_s=5)
        assert answer == Ok(detail="open")
        await pipe.send(b"to the guest")
        assert await far.receive() == b"to the guest"
        await far.send(b"from the guest")
        assert await pipe.receive() == b"from the guest"
        await far.send(b"last words")
        await far.aclose()
        assert await pipe.receive() == b"last words"
        with pytest.raises(anyio.EndOfStream):
            await pipe.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await pipe.send(b"too late")


async def test_closing_a_pipe_closes_the_other_end(nodes: Nodes) -> None:
    near, far = pipe_pair()

    async def console(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(), near

    nodes.core_handler = FunctionHandler(pipe=console)
    async with linked(nodes) as (cell_end, core_end):
        _, pipe = await cell_end.pipe(OpenConsole("g1"), timeout_s=5)
        await pipe.send(b"x" * 1000)
        await pipe.aclose()
        assert await far.receive() == b"x" * 1000
        with anyio.fail_after(5), pytest.raises(anyio.EndOfStream):
            await far.receive()
        await far.aclose()
        await until(lambda: len(core_end._exchanges) == 1 and len(cell_end._exchanges) == 1)


async def test_a_pipe_moves_megabytes_and_never_holds_more_than_its_window(nodes: Nodes) -> None:
    size = 4 << 20
    near, far = pipe_pair(depth=1)

    async def console(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(), near

    nodes.core_handler = FunctionHandler(pipe=console)
    async with linked(nodes) as (cell_end, _):
        _, pipe = await cell_end.pipe(OpenConsole("g1"), timeout_s=5)
        written = 0

        async def write() -> None:
            nonlocal written
            for _ in range(size // 65536):
                await pipe.send(b"z" * 65536)
                written += 65536

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            await until(lambda: written >= WINDOW_BYTES // 2)
            assert written <= 2 * WINDOW_BYTES
            received = 0
            with anyio.fail_after(60):
                while received < size:
                    received += len(await far.receive())
        await pipe.aclose()
        await far.aclose()


async def test_a_refused_pipe_says_why(nodes: Nodes) -> None:
    async def refuse(message: Message) -> tuple[Message, Pipe | None]:
        raise Conflict("The guest is stopped.", code="guest_stopped")

    async def nothing(message: Message) -> tuple[Message, Pipe | None]:
        return Ok(detail="no console"), None

    nodes.core_handler, nodes.cell_handler = FunctionHandler(pipe=refuse), FunctionHandler(pipe=nothing)
    async with linked(nodes) as (cell_end, core_end):
        with pytest.raises(Conflict, match="stopped"):
            await cell_end.pipe(OpenConsole("g1"), timeout_s=5)
        answer, pipe = await core_end.pipe(OpenConsole("g1"), timeout_s=5)
        assert answer == Ok(detail="no console")
        with pytest.raises(anyio.EndOfStream):
            await pipe.receive()


async def test_closing_the_link_ends_everything_at_both_ends(nodes: Nodes) -> None:
    cancelled = anyio.Event()

    async def forever(message: Message) -> AsyncIterator[Message]:
        yield Ok()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    nodes.core_handler = FunctionHandler(follow=forever)
    async with linked(nodes) as (cell_end, core_end), cell_end.follow(FollowLog(0)) as items:
        await anext(items)
        await cell_end.aclose("done")
        with pytest.raises(Unreachable):
            await anext(items)
        with pytest.raises(Unreachable):
            await cell_end.request(Ping(1), timeout_s=5)
        with anyio.fail_after(5):
            await core_end.closed.wait()
            await cancelled.wait()
