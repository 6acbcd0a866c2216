"""Sending the files of a guest that moves to another cell: in pieces, each once, over as many links as it takes."""

import hashlib
from collections.abc import AsyncIterator, Mapping

from nano.cell.doors import PIECE_BYTES, ZEROS_MAX
from nano.cell.handlers import Tell
from nano.domain.errors import HostError
from nano.hypervisor.host import Host
from nano.transports.link import Link
from nano.transports.move_messages import KeepFile, PutPiece

REPLY_S = 120.0  # for one piece; keeping a file is checked by qemu-img first
KEEP_S = 3600.0


class Sending:
    """The files of one guest on their way; it goes on over another link where the last one was lost."""

    def __init__(self, host: Host, guest_id: str, lengths: Mapping[int, int], tell: Tell) -> None:
        self.sent = 0
        self._host = host
        self._guest_id = guest_id
        self._left = dict(lengths)
        self._total = max(1, sum(lengths.values()))
        self._tell = tell
        self._offset = 0  # in the first file that is left
        self._digest = hashlib.sha256()

    @property
    def done(self) -> bool:
        return not self._left

    async def go_on(self, link: Link) -> None:
        """Raises what the destination refuses it with, and Unreachable."""
        while self._left:
            number, length = next(iter(self._left.items()))
            async for piece in self._pieces(number, length):
                await link.request(piece, timeout_s=REPLY_S)
                self._took(piece)
            await link.request(KeepFile(number, length, self._digest.hexdigest()), timeout_s=KEEP_S)
            del self._left[number]
            self._offset, self._digest = 0, hashlib.sha256()

    async def _pieces(self, number: int, length: int) -> AsyncIterator[PutPiece]:
        while self._offset < length:
            at, zeros = self._offset, 0
            data = b""
            while at + zeros < length and zeros <= ZEROS_MAX - PIECE_BYTES:
                count = min(PIECE_BYTES, length - at - zeros)
                data = await self._host.moves.read(self._guest_id, number, at + zeros, count)
                if len(data) != count:
                    raise HostError("A disk became shorter while it was sent.", code="volume_failed")
                if any(data):
                    break
                zeros, data = zeros + count, b""
            yield PutPiece(number, at, zeros=zeros) if zeros else PutPiece(number, at, data)

    def _took(self, piece: PutPiece) -> None:
        self._digest.update(piece.data)
        left = piece.zeros
        while left > 0:
            self._digest.update(bytes(min(left, PIECE_BYTES)))
            left -= PIECE_BYTES
        moved = len(piece.data) + piece.zeros
        self._offset += moved
        self.sent += moved
        self._tell(min(99, self.sent * 100 // self._total), "copy disks")
