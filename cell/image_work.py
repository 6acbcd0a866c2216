"""Making an image of a guest: its system disk is copied to one whole file, which is sent to Core and then removed.

The guest is off and stays so: its task holds it, and QEMU's lock on the disk would refuse the copy otherwise. Nothing of the
domain changes, so an interrupted order only has its file to take back.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import anyio

from nano.cell.handlers import Handler, Tell
from nano.domain.errors import HostError, Unknown
from nano.domain.host_domain import CloseOrder, FailOrder, HostDomain
from nano.domain.order import Order
from nano.domain.site import Site
from nano.hypervisor.host import Host
from nano.transports.messages import GuestOrder, SendDisk

SendFile = Callable[[Path, str, Callable[[int], None]], Awaitable[str]]
"""Send the file to this address of Core's, telling percents; its SHA-256. Raises Unreachable, Failure."""


async def no_way(path: Path, url: str, progress: Callable[[int], None]) -> str:  # noqa: ARG001
    raise HostError("This cell has no way to send images to Core.")


class ImageWork:
    """``folder`` is for files on their way; there is nothing else in it."""

    def __init__(self, site: Site, host: Host, folder: Path, send: SendFile) -> None:
        self._site = site
        self._host = host
        self._folder = folder
        self._send = send

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {SendDisk: Handler("send_disk", self.send, undo=self.tidy)}

    async def send(self, order: SendDisk, tell: Tell) -> CloseOrder:
        domain = self._site.get(f"domain/{order.guest_id}")
        if not isinstance(domain, HostDomain):
            raise Unknown(f"This cell has no domain {order.guest_id}.", code="unknown_domain")
        path = self._path(order.guest_id)
        await anyio.Path(self._folder).mkdir(parents=True, exist_ok=True)
        try:
            await self._host.copy_disk(
                order.guest_id,
                domain.spec.volume_numbers[0],
                path,
                lambda percent: tell(percent // 2, "copy disk"),
            )
            sha256 = await self._send(path, order.url, lambda percent: tell(50 + percent // 2, "send disk"))
        finally:
            path.unlink(missing_ok=True)
        return CloseOrder(id=order.command_id, detail=sha256)

    async def tidy(self, order: Order, failed: FailOrder) -> FailOrder:
        self._path(order.guest_id).unlink(missing_ok=True)
        return failed

    def _path(self, guest_id: str) -> Path:
        return self._folder / f"{guest_id}.qcow2"
