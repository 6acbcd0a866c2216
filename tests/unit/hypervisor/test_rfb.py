"""The first words of RFB: what a viewer answers, what it is told in each version, and what those who speak something else get."""

from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from nano.domain.errors import HostError
from nano.hypervisor.rfb import HELD_MAX, Doorkeeper, NotRfb, Reading, Refused, open_display, response_to
from nano.hypervisor.simulated import DISPLAY
from nano.hypervisor.simulated_ports import MemoryChannel, memory_channels

pytestmark = pytest.mark.anyio

CHALLENGE = bytes(range(16))


def backwards(data: bytes) -> bytes:
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data)


@pytest.fixture
async def ends() -> AsyncIterator[tuple[MemoryChannel, MemoryChannel]]:
    one, other = memory_channels()
    yield one, other
    await one.aclose()
    await other.aclose()


def test_the_answer_is_des_with_the_bits_of_the_secret_in_reverse() -> None:
    """Against the example of FIPS 46-3 that every implementation knows (key 133457799BBCDFF1)."""
    secret = backwards(bytes.fromhex("133457799BBCDFF1")).decode("latin-1")
    block = bytes.fromhex("0123456789ABCDEF")
    assert response_to(block * 2, secret).hex().upper() == "85E813540F0AB405" * 2


@pytest.mark.parametrize(("one", "other", "same"), [("abcdefgh", "abcdefghij", True), ("abc", "abcd", False)])
def test_eight_letters_count(one: str, other: str, *, same: bool) -> None:
    assert (response_to(CHALLENGE, one) == response_to(CHALLENGE, other)) is same


def is_right(secret: str) -> Callable[[Callable[[str], bool]], str]:
    return lambda is_it: "" if is_it(secret) else "wrong"


async def heard(ends: tuple[MemoryChannel, MemoryChannel], said: bytes, secret: str = "right") -> tuple[bytes, str]:
    """What a viewer that says all of this at once is told, and what the doorkeeper makes of it."""
    ours, theirs = ends
    told, outcome = b"", "in"
    await theirs.send(said)
    await theirs._out.aclose()  # it says no more

    async def listen() -> None:
        nonlocal told
        async for piece in theirs._come:
            told += piece

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        keeper = Doorkeeper(Reading(ours), CHALLENGE)
        try:
            await keeper.greet()
            await keeper.ask(is_right(secret))
            await keeper.let_in()
        except (NotRfb, Refused) as error:
            outcome = type(error).__name__
        await ours.aclose()
    return told, outcome


@pytest.mark.parametrize(
    ("version", "offer"),
    [
        (b"RFB 003.003\n", b"\0\0\0\2"),
        (b"RFB 003.005\n", b"\0\0\0\2"),
        (b"RFB 003.007\n", b"\1\2"),
        (b"RFB 003.008\n", b"\1\2"),
        (b"RFB 003.889\n", b"\1\2"),
    ],
)
async def test_every_version_is_let_in(ends: tuple[MemoryChannel, MemoryChannel], version: bytes, offer: bytes) -> None:
    chosen = b"" if len(offer) == 4 else b"\2"
    told, outcome = await heard(ends, version + chosen + response_to(CHALLENGE, "right") + b"\0")
    assert (outcome, told) == ("in", b"RFB 003.008\n" + offer + CHALLENGE + bytes(4))


async def test_a_wrong_secret_is_told_where_the_version_has_words(ends: tuple[MemoryChannel, MemoryChannel]) -> None:
    answer = response_to(CHALLENGE, "guess")
    told, outcome = await heard(ends, b"RFB 003.008\n\2" + answer)
    assert (outcome, told[-13:]) == ("Refused", b"\0\0\0\1\0\0\0\5wrong")


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        b"RFB 004.000\n",
        b"RFB 003.0",
        b"\0" * 12,
        b"RFB 003.008\n",
        b"RFB 003.008\n\1",
        b"RFB 003.008\n\2half",
        b"RFB 003.008\n\2" + response_to(CHALLENGE, "right"),
        b"\x16\x03\x01" + bytes(HELD_MAX + 100),
    ],
)
async def test_who_speaks_something_else_gets_nothing(ends: tuple[MemoryChannel, MemoryChannel], said: bytes) -> None:
    told, outcome = await heard(ends, said)
    assert outcome == "NotRfb"
    assert len(told) < 64


@pytest.mark.parametrize(
    "said",
    [b"", b"SSH-2.0-x\r\n..", b"RFB 003.008\n\1\2", b"RFB 003.008\n\0", b"RFB 003.008\n\1\1\0\0\0\1", DISPLAY[:14]],
)
async def test_a_display_that_lets_nobody_in_is_an_error(
    ends: tuple[MemoryChannel, MemoryChannel], said: bytes
) -> None:
    ours, theirs = ends
    await theirs.send(said)
    await theirs._out.aclose()
    with pytest.raises(HostError) as failed:
        await open_display(Reading(ours))
    assert failed.value.code == "display_failed"


async def test_what_follows_the_handshake_is_the_display_s(ends: tuple[MemoryChannel, MemoryChannel]) -> None:
    ours, theirs = ends
    await theirs.send(DISPLAY)
    display = Reading(ours)
    await open_display(display)
    assert (await display.receive())[-9:] == b"simulated"
    assert [await theirs.receive() for _ in range(3)] == [b"RFB 003.008\n", b"\1", b"\1"], "shared with others"
