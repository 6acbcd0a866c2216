"""Ports of the host that people connect to: one at most for each guest, on one address, and none that nobody has opened.

``TcpPorts`` are the real ones; the simulated machine has its own. Invariant: when ``shut`` returns nothing listens for that
guest any more, and whoever was being served is not.
"""

import errno
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio
import anyio.abc
from anyio.abc import SocketAttribute, SocketStream

from nano.domain.errors import HostError
from nano.hypervisor.socket_channel import Channel, SocketChannel

PORT_TAKEN: Final = "port_taken"  # code of a HostError: another port may do
ADDRESS_MISSING: Final = "address_missing"  # the host has no such address

Serve = Callable[[Channel, str], Awaitable[None]]
"""What is done with somebody who has connected, from this address. The channel is closed when it returns."""


class Listening(Protocol):
    async def serve(self, serve: Serve) -> None:
        """Until it is closed. Who connected before waits until now."""
        ...

    async def aclose(self) -> None:
        """Also ends ``serve``, with everybody it serves. May be repeated."""
        ...


class Ports(Protocol):
    async def open(self, guest_id: str, address: str, port: int) -> Listening:
        """From now on people can connect; they are served as soon as ``serve`` is called. Raises HostError (port_taken,
        address_missing)."""
        ...

    async def shut(self, guest_id: str) -> None:
        """Succeeds when nothing is open for it."""
        ...


class TcpPorts:
    def __init__(self) -> None:
        self._open: dict[str, TcpListening] = {}

    async def open(self, guest_id: str, address: str, port: int) -> Listening:
        await self.shut(guest_id)
        try:
            listener = await anyio.create_tcp_listener(local_host=address, local_port=port)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise HostError(
                    f"This host has no address {address}.",
                    code=ADDRESS_MISSING,
                    hint="Set [vnc] address in cell.toml to one that it has.",
                ) from error
            raise HostError(
                f"Port {port} of {address} can't be had: {error.strerror}.", code=PORT_TAKEN, hint="Free it."
            ) from error
        listening = self._open[guest_id] = TcpListening(listener)
        return listening

    async def shut(self, guest_id: str) -> None:
        listening = self._open.pop(guest_id, None)
        if listening is not None:
            await listening.aclose()

    async def close(self) -> None:
        for guest_id in list(self._open):
            await self.shut(guest_id)


class TcpListening:
    def __init__(self, listener: anyio.abc.Listener[SocketStream]) -> None:
        self._listener = listener
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()
        self._served = False

    async def serve(self, serve: Serve) -> None:
        async def one(stream: SocketStream) -> None:
            async with stream:
                where = stream.extra_attributes[SocketAttribute.remote_address]()
                await serve(SocketChannel(stream), str(where[0]))

        self._served = True
        try:
            with self._scope:
                await self._listener.serve(one)
        finally:
            self._ended.set()

    async def aclose(self) -> None:
        self._scope.cancel()
        if self._served:
            await self._ended.wait()
        await self._listener.aclose()
