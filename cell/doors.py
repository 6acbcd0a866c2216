"""Doors: what takes in the files of guests that move to this cell, one door for each while its order to receive is good.

A door admits only the cell that Core named and knows only the files of its one guest. Invariants: a file's bytes are taken in
order, once, and hashed as they come; it is kept when all of it is there and its digest is the sender's; nothing is written any
more when ``close`` returns. After a restart doors are gone: the sender is told so by the silence, and Core starts anew.
"""

import hashlib
import logging
from collections.abc import AsyncIterator
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel
import msgspec

from nano.domain.errors import Conflict, Failure, Invalid, NanoError, Unknown
from nano.domain.machine import GIBI, MachineSpec
from nano.hypervisor.host import Host
from nano.hypervisor.moves import SEED, SEED_MAX, numbers_of
from nano.transports.link import Link, Pipe
from nano.transports.messages import Message, Ok
from nano.transports.move_messages import AskBerth, BerthIs, GoOn, KeepFile, OpenChannel, PutPiece
from nano.transports.peer_link import Peers

log = logging.getLogger("nano.cell")

DOORS_MAX: Final = 16
PIECE_BYTES: Final = 1 << 20
ZEROS_MAX: Final = 256 << 20


class Doors:
    """``run`` keeps them open; ``open`` and ``close`` are the orders'."""

    def __init__(self, host: Host, peers: Peers) -> None:
        self._host = host
        self._peers = peers
        self._doors: dict[str, _Door] = {}
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            await anyio.sleep_forever()

    async def open(
        self, guest_id: str, spec: MachineSpec, peer: str, patience_s: float, *, live: bool, in_place: bool
    ) -> str:
        """The address of a fresh door for this guest, whose files are here already with ``in_place``. Raises Failure (no
        free port), Conflict(too_many_moves)."""
        await self.close(guest_id)
        if self._tasks is None or len(self._doors) >= DOORS_MAX:
            raise Conflict(
                f"{len(self._doors)} guests are moving to this cell already.",
                code="too_many_moves",
                hint="Wait until one of them has arrived.",
            )
        door = self._doors[guest_id] = _Door(Intake(self._host, guest_id, spec, live=live, in_place=in_place))
        await self._tasks.start(self._keep_open, guest_id, door, peer, patience_s)
        if door.failed is not None:
            raise door.failed
        return door.address

    async def close(self, guest_id: str) -> None:
        """Returns when nothing comes in any more."""
        door = self._doors.get(guest_id)
        if door is not None:
            door.scope.cancel()
            await door.closed.wait()

    async def _keep_open(
        self, guest_id: str, door: "_Door", peer: str, patience_s: float, *, task_status: anyio.abc.TaskStatus[None]
    ) -> None:
        try:
            with door.scope, anyio.move_on_after(patience_s):
                async with self._peers.receiving(peer, door.intake) as address:
                    door.address = address
                    log.info("door opened guest=%s address=%s", guest_id, address)
                    task_status.started()
                    await anyio.sleep_forever()
        except NanoError as error:
            door.failed = error
        finally:
            if self._doors.get(guest_id) is door:
                del self._doors[guest_id]
            door.closed.set()
        if not door.address:
            door.failed = door.failed or Failure("The door was closed before it was open.", code="door_closed")
            task_status.started()


class _Door:
    def __init__(self, intake: "Intake") -> None:
        self.intake = intake
        self.scope = anyio.CancelScope()
        self.closed = anyio.Event()
        self.address = ""
        self.failed: NanoError | None = None


class _Arriving:
    def __init__(self) -> None:
        self.length = 0
        self.digest = hashlib.sha256()
        self.kept = False
        self.lock = anyio.Lock()  # a link that was lost may still have a piece under way


class Intake:
    """A ``Handler``: what the sending cell may ask for of this guest's files. Of one that comes running the hypervisors carry the
    disks themselves, by the channels."""

    def __init__(self, host: Host, guest_id: str, spec: MachineSpec, *, live: bool, in_place: bool) -> None:
        self._host = host
        self._guest_id = guest_id
        self._spec = spec
        self._live = live
        self._token = ""
        self._in_place = in_place
        to_come = () if in_place else (number for number in numbers_of(spec) if number == SEED or not live)
        self._files = {number: _Arriving() for number in to_come}

    async def on_request(self, link: Link, message: Message) -> Message:  # noqa: ARG002
        if isinstance(message, PutPiece):
            return await self._put(message)
        if isinstance(message, KeepFile):
            return await self._keep(message)
        if self._live and isinstance(message, AskBerth):
            if self._spec.security is not None:  # in force before the guest is here
                await self._host.filters.put(self._guest_id, self._spec)
            berth = await self._host.live_moves.expect(self._guest_id, self._spec, in_place=self._in_place)
            self._token = berth.token
            return BerthIs(msgspec.structs.asdict(berth))
        if self._live and isinstance(message, GoOn):
            await self._host.start(self._guest_id)
            return Ok()
        raise Unknown(f"This door knows nothing of {type(message).__name__}.", code="unknown_order")

    def on_follow(self, link: Link, message: Message) -> AsyncIterator[Message]:  # noqa: ARG002
        raise Unknown("This door has nothing to follow.", code="unknown_order")

    async def on_pipe(self, link: Link, message: Message) -> tuple[Message, Pipe | None]:  # noqa: ARG002
        if not self._token or not isinstance(message, OpenChannel):
            raise Unknown(f"This door has no pipe for {type(message).__name__}.", code="unknown_order")
        return Ok(), await self._host.live_moves.channel(self._token, message.name)

    def _file(self, number: int) -> _Arriving:
        file = self._files.get(number)
        if file is None:
            raise Invalid(f"The guest has no volume {number}.", code="unknown_volume")
        return file

    async def _put(self, piece: PutPiece) -> Ok:
        file = self._file(piece.number)
        async with file.lock:
            end = piece.offset + len(piece.data) + piece.zeros
            if end <= file.length or file.kept:  # its answer was lost
                return Ok(file.length)
            if piece.offset != file.length or min(piece.offset, piece.zeros) < 0 or piece.zeros > ZEROS_MAX:
                raise Invalid(
                    f"{file.length} bytes are here, and the piece is for {piece.offset}.", code="wrong_offset"
                )
            if end > self._length_max(piece.number):
                raise Failure("More comes than the disk can take.", code="image_damaged")
            if piece.data:
                await self._host.moves.put(self._guest_id, piece.number, piece.offset, piece.data)
            await _feed(file, piece.data, piece.zeros)
            file.length = end
            return Ok(end)

    async def _keep(self, asked: KeepFile) -> Ok:
        file = self._file(asked.number)
        async with file.lock:
            if (asked.length, asked.sha256) != (file.length, file.digest.hexdigest()):
                raise Failure(
                    "A disk has arrived that is not what was sent.", code="image_damaged", hint="Move the guest again."
                )
            if not file.kept:
                await self._host.moves.keep(self._guest_id, self._spec, asked.number, asked.length)
                file.kept = True
            return Ok(file.length)

    def _length_max(self, number: int) -> int:
        """A qcow2 file is a little longer than its disk when every cluster is used."""
        if number == SEED:
            return SEED_MAX
        size = self._spec.disks[self._spec.volume_numbers.index(number)]
        return size + size // 4 + GIBI


async def _feed(file: _Arriving, data: bytes, zeros: int) -> None:
    file.digest.update(data)
    nothing = bytes(PIECE_BYTES)
    while zeros > 0:
        file.digest.update(nothing[:zeros])
        zeros -= len(nothing)
        await anyio.lowlevel.checkpoint()
