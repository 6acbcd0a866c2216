"""A block device for a QEMU, by NBD on a Unix socket: one ``VolatileDisk``, one client at a time.

The protocol is that of the NBD project (doc/proto.md): fixed newstyle handshake, simple replies, the commands READ,
WRITE, FLUSH and DISC. Requests are carried out one after another, so a flush covers every write that was
answered before it. A client that goes without a word, as a killed QEMU does, ends its session.
"""

import contextlib
import struct
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
from anyio.streams.buffered import BufferedByteReceiveStream

from nano.tools.testbed.volatile_disk import VolatileDisk

NBD_MAGIC: Final = 0x4E42444D41474943
OPTION_MAGIC: Final = 0x49484156454F5054
REPLY_MAGIC: Final = 0x3E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698

FIXED_NEWSTYLE: Final = 1
HAS_FLAGS, SEND_FLUSH = 1, 4
OPT_GO, OPT_INFO = 7, 6
REP_ACK, REP_INFO, REP_UNSUPPORTED = 1, 3, (1 << 31) + 1
INFO_EXPORT: Final = 0
READ, WRITE, DISC, FLUSH = 0, 1, 2, 3
INVALID: Final = 22

REQUEST: Final = struct.Struct(">IHHQQI")
REQUEST_BYTES_MAX: Final = 32 << 20
FLAGS: Final = HAS_FLAGS | SEND_FLUSH


class BadClient(Exception):
    """What came is not NBD."""


async def serve(
    disk: VolatileDisk, path: Path, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Answer at the socket until cancelled."""
    async with await anyio.create_unix_listener(path) as listener:
        task_status.started()
        while True:
            async with await listener.accept() as stream:
                with contextlib.suppress(anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError):
                    reader = BufferedByteReceiveStream(stream)
                    if await _agree(disk, reader, stream):
                        await _carry_out(disk, reader, stream)


async def _agree(disk: VolatileDisk, reader: BufferedByteReceiveStream, stream: anyio.abc.ByteStream) -> bool:
    """The handshake; whether requests follow."""
    await stream.send(struct.pack(">QQH", NBD_MAGIC, OPTION_MAGIC, FIXED_NEWSTYLE))
    await reader.receive_exactly(4)  # the client's flags
    while True:
        magic, option, length = struct.unpack(">QII", await reader.receive_exactly(16))
        if magic != OPTION_MAGIC or length > REQUEST_BYTES_MAX:
            raise BadClient("an option does not begin as one")
        if length:
            await reader.receive_exactly(length)  # the export's name: there is only one
        if option not in (OPT_GO, OPT_INFO):
            await stream.send(struct.pack(">QIII", REPLY_MAGIC, option, REP_UNSUPPORTED, 0))
            continue
        export = struct.pack(">HQH", INFO_EXPORT, len(disk.image), FLAGS)
        await stream.send(struct.pack(">QIII", REPLY_MAGIC, option, REP_INFO, len(export)) + export)
        await stream.send(struct.pack(">QIII", REPLY_MAGIC, option, REP_ACK, 0))
        if option == OPT_GO:
            return True


async def _carry_out(disk: VolatileDisk, reader: BufferedByteReceiveStream, stream: anyio.abc.ByteStream) -> None:
    while True:
        magic, _, kind, cookie, offset, size = REQUEST.unpack(await reader.receive_exactly(REQUEST.size))
        if magic != REQUEST_MAGIC or size > REQUEST_BYTES_MAX:
            raise BadClient("a request does not begin as one")
        error, answer = 0, b""
        if kind == DISC:
            return
        if kind == READ:
            answer = disk.read(offset, size)
        elif kind == WRITE:
            disk.write(offset, await reader.receive_exactly(size))
        elif kind == FLUSH:
            disk.flush()
        else:
            error = INVALID
        await stream.send(struct.pack(">IIQ", SIMPLE_REPLY_MAGIC, error, cookie) + answer)
