"""``ChangeParts`` of the simulated machine. It compares XML as the real driver does, so both find the same differences."""

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

import anyio
import msgspec

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.domain_xml import Place, domain_xml, media_name, seed_name, volume_name
from nano.hypervisor.host import Progress
from nano.hypervisor.shape import Difference, Shape, shape_of

if TYPE_CHECKING:
    from nano.hypervisor.simulated import SimulatedHost

PLACE: Final = Place("qemu", PurePosixPath("/simulated"), "simulated0")


class SimulatedChanges:
    def __init__(self, host: "SimulatedHost") -> None:
        self._host = host

    def wanted(self, guest_id: str, spec: MachineSpec) -> Shape:
        shape = shape_of(domain_xml(guest_id, spec, PLACE))
        return shape._replace(security=self._host.filters.wanted(guest_id, spec))

    async def defined(self, guest_id: str) -> Shape:
        await self._host.enter("defined", guest_id)
        shape = self.wanted(guest_id, self._host.ours(guest_id).spec)
        return shape._replace(security=self._host.in_force.get(guest_id, ""))

    async def autostart(self, guest_id: str) -> bool:
        return self._host.ours(guest_id).spec.autostart

    async def running(self, guest_id: str) -> Shape | None:
        await self._host.enter("running", guest_id)
        live = self._host.ours(guest_id).live
        return self.wanted(guest_id, live) if live is not None else None

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        self._host.ours(guest_id)
        await self._host.filters.guard({guest_id: spec})
        await self._host.define(guest_id, spec)

    async def drop_filter(self, guest_id: str) -> None:
        await self._host.filters.release(guest_id)

    async def guard(self, guest_id: str, spec: MachineSpec) -> None:
        await self._host.filters.guard({guest_id: spec})

    async def follow(self, guest_id: str, difference: Difference) -> None:
        await self._host.enter("follow", guest_id)
        domain = self._host.running(guest_id)
        assert domain.live is not None
        if difference.act == "memory" and not self._host.listens(domain):
            raise HostError("The guest has no balloon driver that answers.", code="hypervisor_unsupported")
        domain.live = msgspec.structs.replace(domain.live, **_followed(difference, domain.spec))

    async def volume_sizes(self, guest_id: str) -> dict[int, int]:
        await self._host.enter("volume_sizes", guest_id)
        sizes = self._host.sizes
        return {n: sizes[name] for n in range(100) if (name := volume_name(guest_id, n)) in sizes}

    async def make_volumes(
        self, guest_id: str, spec: MachineSpec, numbers: Collection[int], image: Path | None, progress: Progress
    ) -> None:
        await self._host.make_volumes(guest_id, spec, image, progress, numbers)

    async def resize_volume(self, guest_id: str, number: int, size: int) -> None:
        await self._host.enter("resize_volume", guest_id)
        name = volume_name(guest_id, number)
        self._host.take(name, min(self._host.files[name], size))
        self._host.sizes[name] = size

    async def drop_files(self, guest_id: str, names: Collection[str]) -> list[str]:
        await self._host.enter("drop_volumes", guest_id)
        return [name for name in sorted(names) if self._host.drop(name)]

    async def drop_volumes(self, guest_id: str, numbers: Collection[int]) -> list[str]:
        return await self.drop_files(guest_id, [volume_name(guest_id, number) for number in numbers])

    async def media(self, guest_id: str) -> set[str]:
        await self._host.enter("media", guest_id)
        return {name.removesuffix(".iso").rpartition("_")[2] for name in self._media_files(guest_id)}

    async def put_media(self, guest_id: str, media: str, file: Path) -> None:
        await self._host.enter("put_media", guest_id)
        name = media_name(guest_id, media)
        self._host.take(name, (await anyio.Path(file).stat()).st_size)
        self._host.sizes[name] = self._host.files[name]

    async def drop_media(self, guest_id: str, keep: str) -> list[str]:
        await self._host.enter("drop_media", guest_id)
        kept = media_name(guest_id, keep)
        return [name for name in self._media_files(guest_id) if name != kept and self._host.drop(name)]

    def _media_files(self, guest_id: str) -> list[str]:
        isos = (name for name in self._host.files if name.startswith(guest_id) and name.endswith(".iso"))
        return sorted(name for name in isos if name != seed_name(guest_id))


def _followed(difference: Difference, spec: MachineSpec) -> dict[str, object]:
    """The fields of the running machine that follow its definition."""
    if difference.act == "title":
        return {"name": spec.name}
    if difference.field == "disks":
        return {"disks": spec.disks, "volumes": spec.volume_numbers}
    field = {"cores": "cores", "memory": "memory"}.get(difference.act, difference.field)
    return {field: getattr(spec, field)}
