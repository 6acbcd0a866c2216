"""``Monitor`` over libvirt: screenshots by a stream, read to its end or to the bound, whichever comes first."""

import contextlib
from typing import Any, Final

import libvirt

from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.libvirt_api import Connection, translated
from nano.hypervisor.own_domains import OwnDomains
from nano.hypervisor.picture import RAW_BYTES_MAX, as_png, unreadable

CHUNK_BYTES: Final = 256 << 10


class LibvirtMonitor:
    def __init__(self, connection: LibvirtConnection, own: OwnDomains) -> None:
        self._connection = connection
        self._own = own

    async def screenshot(self, guest_id: str) -> bytes:
        await self._own.need_active(guest_id, "looked at")
        return await self._connection.run(lambda c: read_screen(c, guest_id), what="Taking a screenshot")


def read_screen(connection: Connection, uuid: str) -> bytes:
    """Blocking, in the manner of ``libvirt_api``."""
    with translated("Taking a screenshot"):
        domain = connection.domain(uuid)
        stream = domain.connect().newStream(0)
        domain.screenshot(stream, 0)
        picture = _read(stream)
    return as_png(picture)


def _read(stream: Any) -> bytes:
    data = bytearray()
    try:
        while chunk := stream.recv(CHUNK_BYTES):
            data += chunk
            if len(data) > RAW_BYTES_MAX:
                raise unreadable(f"its picture is larger than {RAW_BYTES_MAX >> 20} MiB")
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()
    return bytes(data)
