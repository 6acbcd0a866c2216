"""The first words of RFB (RFC 6143), as a server that wants a secret and as a client of a display that wants none.

Why: a hypervisor hands over a display without a password, and a person's viewer must show one before it gets there. What the
viewer says before it is let in is read byte by byte into a few fields of known length; nothing else of it is taken. Answers
are compared in constant time. After ``admit`` and ``open_display`` both sides speak plain RFB, and bytes are only relayed.

The challenge is answered with DES, whose key is the secret's first 8 bytes, the bits of each in reverse (7.2.2): weak by the
protocol's age, which is why secrets are made up, tries are few, and access is off unless somebody enables it.
"""

import hmac
import re
import struct
from collections.abc import Callable
from typing import Final

import anyio
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

from nano.domain.errors import HostError
from nano.hypervisor.socket_channel import Channel

VERSION: Final = b"RFB 003.008\n"
CHALLENGE_BYTES: Final = 16
SECRET_BYTES: Final = 8
NO_SECURITY, VNC_SECURITY = 1, 2
HELD_MAX: Final = 64 << 10
SHARED: Final = b"\1"
_VERSION: Final = re.compile(rb"RFB 003\.(\d{3})\n")


class NotRfb(Exception):
    """The other side speaks something else."""


class Refused(Exception):
    """The viewer was told so, in its own words where its version has them."""


class Reading:
    """A channel of which so many bytes can be asked for. Itself a ``Channel``."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._held = b""

    async def exactly(self, count: int) -> bytes:
        """Raises NotRfb when the channel ends before, and what the channel raises."""
        while len(self._held) < count:
            try:
                self._held += await self._channel.receive()
            except anyio.EndOfStream:
                raise NotRfb("it hung up") from None
            if len(self._held) > HELD_MAX + count:
                raise NotRfb("it says too much at once")
        taken, self._held = self._held[:count], self._held[count:]
        return taken

    async def send(self, data: bytes) -> None:
        await self._channel.send(data)

    async def receive(self) -> bytes:
        if self._held:
            held, self._held = self._held, b""
            return held
        return await self._channel.receive()

    async def aclose(self) -> None:
        await self._channel.aclose()


def response_to(challenge: bytes, secret: str) -> bytes:
    """What a viewer that knows the secret answers."""
    padded = secret.encode("latin-1", "replace")[:SECRET_BYTES].ljust(SECRET_BYTES, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in padded)
    single = TripleDES(key * 3)  # three times the same key is DES
    encryptor = Cipher(single, modes.ECB()).encryptor()  # noqa: S305 - as the protocol has it
    return encryptor.update(challenge) + encryptor.finalize()


class Doorkeeper:
    """One viewer at the door. ``minor`` is the version that both speak."""

    def __init__(self, viewer: Reading, challenge: bytes) -> None:
        assert len(challenge) == CHALLENGE_BYTES
        self._viewer = viewer
        self._challenge = challenge
        self._minor = 8

    async def greet(self) -> None:
        """Raises NotRfb. Versions that nobody defined count as the one before (7.1.1)."""
        await self._viewer.send(VERSION)
        spoken = _VERSION.fullmatch(await self._viewer.exactly(len(VERSION)))
        if spoken is None:
            raise NotRfb("it names no version of RFB 3")
        minor = int(spoken[1])
        self._minor = 8 if minor >= 8 else 7 if minor == 7 else 3

    async def turn_away(self, reason: str) -> None:
        """Instead of a challenge. Raises Refused."""
        await self._viewer.send((b"\0\0\0\0" if self._minor == 3 else b"\0") + _text(reason))
        raise Refused(reason)

    async def ask(self, is_right: Callable[[Callable[[str], bool]], str]) -> None:
        """``is_right`` is given a way to try secrets on the answer, and says why it is refused, empty when it is not.
        Raises NotRfb, Refused."""
        if self._minor == 3:
            await self._viewer.send(struct.pack(">I", VNC_SECURITY))
        else:
            await self._viewer.send(bytes((1, VNC_SECURITY)))
            if await self._viewer.exactly(1) != bytes((VNC_SECURITY,)):
                raise NotRfb("it wants another kind of security")
        await self._viewer.send(self._challenge)
        answer = await self._viewer.exactly(CHALLENGE_BYTES)
        if reason := is_right(lambda secret: hmac.compare_digest(answer, response_to(self._challenge, secret))):
            await self._fail(reason)

    async def let_in(self) -> None:
        """Reads whether it wants the display for itself, which nobody gets here: others may be looking too."""
        await self._viewer.send(struct.pack(">I", 0))
        await self._viewer.exactly(len(SHARED))

    async def fail(self, reason: str) -> None:
        """After a right secret. Raises Refused."""
        await self._fail(reason)

    async def _fail(self, reason: str) -> None:
        await self._viewer.send(struct.pack(">I", 1) + (_text(reason) if self._minor == 8 else b""))
        raise Refused(reason)


async def open_display(display: Reading) -> None:
    """As a viewer of a display without a password, shared with others; what follows is its size and name. Raises HostError."""
    try:
        if not (await display.exactly(len(VERSION))).startswith(b"RFB 003.00"):
            raise NotRfb("it names no version of RFB 3")
        await display.send(VERSION)
        (kinds,) = await display.exactly(1)
        if NO_SECURITY not in await display.exactly(kinds):
            raise NotRfb("it wants a password")
        await display.send(bytes((NO_SECURITY,)))
        if await display.exactly(4) != bytes(4):
            raise NotRfb("it lets nobody in")
        await display.send(SHARED)
    except (NotRfb, OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
        raise HostError(f"The guest's display can't be had: {error}.", code="display_failed") from error


def _text(reason: str) -> bytes:
    words = reason.encode()
    return struct.pack(">I", len(words)) + words
