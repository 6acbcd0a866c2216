"""``ChangeParts`` over libvirt and qemu-img: each act of a change on a domain of our own."""

from collections.abc import Collection
from pathlib import Path

from nano.domain.machine import MachineSpec
from nano.hypervisor import live_calls
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.domain_xml import Place, domain_xml, volume_name
from nano.hypervisor.host import Progress
from nano.hypervisor.libvirt_api import Connection
from nano.hypervisor.own_domains import INACTIVE, OwnDomains
from nano.hypervisor.packet_filter import PacketFilters
from nano.hypervisor.shape import Difference, Shape, shape_of
from nano.hypervisor.volumes import Volumes

FOLLOW_LIMIT_S = 60.0  # a guest may take its time to let go of a device


class LibvirtChanges:
    def __init__(
        self, connection: LibvirtConnection, own: OwnDomains, volumes: Volumes, place: Place, filters: PacketFilters
    ) -> None:
        self._connection = connection
        self._own = own
        self._volumes = volumes
        self._place = place
        self._filters = filters

    def wanted(self, guest_id: str, spec: MachineSpec) -> Shape:
        shape = shape_of(domain_xml(guest_id, spec, self._place))
        return shape._replace(security=self._filters.wanted(guest_id, spec))

    async def defined(self, guest_id: str) -> Shape:
        await self._own.get(guest_id)
        shape = await self._connection.run(
            lambda c: live_calls.defined_shape(c, guest_id), what="Reading the definition"
        )
        return shape._replace(security=await self._filters.found(guest_id))

    async def autostart(self, guest_id: str) -> bool:
        await self._own.get(guest_id)
        return await self._connection.run(lambda c: c.autostart(guest_id), what="Reading the definition")

    async def running(self, guest_id: str) -> Shape | None:
        await self._own.get(guest_id)
        return await self._connection.run(
            lambda c: live_calls.running_shape(c, guest_id), what="Reading the running domain"
        )

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        await self._own.get(guest_id)
        await self._filters.guard({guest_id: spec})
        if spec.security is not None:
            await self._filters.put(guest_id, spec)
        xml = domain_xml(guest_id, spec, self._place)
        await self._connection.run(lambda c: c.define(xml, autostart=spec.autostart), what="Defining the domain")
        self._connection.forget(guest_id)

    async def drop_filter(self, guest_id: str) -> None:
        await self._filters.release(guest_id)

    async def guard(self, guest_id: str, spec: MachineSpec) -> None:
        await self._filters.guard({guest_id: spec})

    async def follow(self, guest_id: str, difference: Difference) -> None:
        def call(connection: Connection, uuid: str) -> None:
            live_calls.follow(connection, uuid, difference)

        await self._own.act(guest_id, call, deadline_s=FOLLOW_LIMIT_S)
        self._connection.forget(guest_id)

    async def volume_sizes(self, guest_id: str) -> dict[int, int]:
        return await self._volumes.sizes(guest_id)

    async def make_volumes(
        self, guest_id: str, spec: MachineSpec, numbers: Collection[int], image: Path | None, progress: Progress
    ) -> None:
        await self._volumes.make(guest_id, spec, image, progress, numbers)

    async def resize_volume(self, guest_id: str, number: int, size: int) -> None:
        if (await self._own.get(guest_id)).state in INACTIVE:
            await self._volumes.resize(guest_id, number, size)
            return
        path = str(self._volumes.folder / volume_name(guest_id, number))
        await self._own.act(guest_id, lambda c, uuid: live_calls.resize_disk(c, uuid, path, size))

    async def drop_files(self, guest_id: str, names: Collection[str]) -> list[str]:
        return await self._volumes.drop_files(guest_id, names)

    async def drop_volumes(self, guest_id: str, numbers: Collection[int]) -> list[str]:
        return await self._volumes.drop(guest_id, numbers)

    async def media(self, guest_id: str) -> set[str]:
        return await self._volumes.media(guest_id)

    async def put_media(self, guest_id: str, media: str, file: Path) -> None:
        await self._volumes.put_media(guest_id, media, file)

    async def drop_media(self, guest_id: str, keep: str) -> list[str]:
        return await self._volumes.drop_media(guest_id, keep)
