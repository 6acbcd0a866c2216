"""Discovery on loopback, on ports the kernel gives out."""

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from random import Random

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain.errors import Failure, Invalid
from nano.transports.discovery import DomainTriple, FoundCore, Responder, discover, respond

pytestmark = pytest.mark.anyio

CORE = FoundCore(
    domain="nano",
    name="Core_1",
    link="127.0.0.1:5600",
    api="http://127.0.0.1:5850",
    authority="ab" * 32,
    version="0",
    epoch=3,
)


@pytest.fixture
def triple() -> DomainTriple:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return DomainTriple(port=probe.getsockname()[1])


@asynccontextmanager
async def responding(triple: DomainTriple, answer: FoundCore = CORE) -> AsyncIterator[Responder]:
    async with anyio.create_task_group() as tasks:
        yield await tasks.start(partial(respond, triple, answer))
        tasks.cancel_scope.cancel()


async def found_by(triple: DomainTriple, timeout_s: float = 0.3, **more: object) -> list[FoundCore]:
    found = discover(triple, timeout_s=timeout_s, random=Random(1), **more)  # type: ignore[arg-type]
    return [msgspec.structs.replace(core, id=0) async for core in found]


async def test_a_core_is_found_at_once(triple: DomainTriple) -> None:
    async with responding(triple) as responder:
        with anyio.fail_after(0.15):  # before the second question
            async with aclosing(discover(triple, timeout_s=5, random=Random(1))) as found:
                core = await anext(found)
        assert msgspec.structs.replace(core, id=0) == CORE
        assert (responder.answered, responder.ignored) == (1, 0)


async def test_a_core_that_starts_later_is_found(triple: DomainTriple) -> None:
    found: list[FoundCore] = []
    asked = anyio.Event()

    async def ask() -> None:
        asked.set()
        async with aclosing(discover(triple, timeout_s=10, random=Random(1))) as answers:
            found.append(await anext(answers))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await asked.wait()
        await anyio.sleep(0.05)  # the first question has gone unheard
        assert not found
        async with responding(triple), anyio.create_task_group() as waiting:
            with anyio.fail_after(5):
                while not found:  # noqa: ASYNC110
                    await anyio.sleep(0.01)
            waiting.cancel_scope.cancel()


async def test_another_domain_on_the_same_port_is_not_met(triple: DomainTriple) -> None:
    other = msgspec.structs.replace(triple, name="other")
    theirs = msgspec.structs.replace(CORE, domain="other", name="Core_2")
    async with responding(triple) as ours, responding(other, theirs) as other_responder:
        assert [core.name for core in await found_by(triple)] == ["Core_1"]
        assert [core.name for core in await found_by(other)] == ["Core_2"]
        assert ours.answered == other_responder.answered == 2  # at once and after 0.2 s
        assert ours.ignored == other_responder.ignored == 2  # each heard the other's questions


async def test_another_group_or_port_is_not_heard(triple: DomainTriple) -> None:
    async with responding(triple) as responder:
        assert await found_by(msgspec.structs.replace(triple, group="224.0.0.227")) == []
        assert (responder.answered, responder.ignored) == (0, 0)


async def test_several_cores_of_one_domain_all_answer_once(triple: DomainTriple) -> None:
    second = msgspec.structs.replace(CORE, name="Core_2")
    async with responding(triple), responding(triple, second):
        assert sorted(core.name for core in await found_by(triple, 0.5)) == ["Core_1", "Core_2"]


async def test_a_listed_address_is_asked_without_multicast(triple: DomainTriple) -> None:
    async with responding(triple):
        silent = msgspec.structs.replace(triple, group="224.0.0.99")
        assert await found_by(silent, addresses=["127.0.0.1"]) == [CORE]
        assert await found_by(silent, addresses=[f"127.0.0.1:{triple.port}"]) == [CORE]


async def test_noise_is_counted_and_harmless(triple: DomainTriple) -> None:
    noise = Random(7)
    pieces = [noise.randbytes(noise.randrange(1200)) for _ in range(200)]
    pieces += [b"", b"{}", b"[]", b'{"nano":"find"}', b'{"nano":"find","id":"x","domain":"nano"}', b"[" * 8000]
    pieces += [b'{"nano":"find","id":1,"domain":"nano","pad":"' + b"x" * 9000 + b'"}', msgspec.json.encode(CORE)]
    async with responding(triple) as responder:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for piece in pieces:
                sock.sendto(piece, ("127.0.0.1", triple.port))
                await anyio.lowlevel.checkpoint()  # so that the socket's buffer does not overflow
            with anyio.fail_after(5):
                while responder.ignored < len(pieces):  # noqa: ASYNC110
                    await anyio.sleep(0.005)
        assert responder.answered == 0
        assert await found_by(triple) == [CORE]


async def test_answers_of_others_are_not_taken(triple: DomainTriple) -> None:
    lying = msgspec.structs.replace(CORE, domain="other")
    async with responding(triple, lying) as responder:
        assert await found_by(triple) == []
        assert responder.answered > 0


async def test_a_flood_of_questions_is_answered_only_so_often(triple: DomainTriple) -> None:
    async with responding(triple) as responder:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for number in range(1000):
                sock.sendto(b'{"nano":"find","id":%d,"domain":"nano"}' % number, ("127.0.0.1", triple.port))
                if number % 100 == 0:
                    await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            while responder.answered < 200:  # noqa: ASYNC110
                await anyio.sleep(0.005)
        assert responder.ignored > 0


@pytest.mark.parametrize(
    "bad",
    [
        {"group": "239.1.1.1"},
        {"group": "nonsense"},
        {"interface": "224.0.0.1"},
        {"port": 70000},
    ],
)
def test_a_bad_triple_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(Invalid) as caught:
        msgspec.structs.replace(DomainTriple(), **bad).check()
    assert caught.value.code == "discovery_address_bad"


async def test_an_address_of_another_host_is_a_clear_failure(triple: DomainTriple) -> None:
    elsewhere = msgspec.structs.replace(triple, interface="192.0.2.77")
    with pytest.raises(ExceptionGroup) as group:
        async with responding(elsewhere):
            pass
    assert isinstance(group.value.exceptions[0], Failure)
    assert group.value.exceptions[0].code == "discovery_failed"
    with pytest.raises(Failure, match=r"192\.0\.2\.77"):
        await found_by(elsewhere)
