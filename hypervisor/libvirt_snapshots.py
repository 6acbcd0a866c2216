"""``Snapshots`` over libvirt: internal snapshots of qcow2 volumes; the note is the description in the domain's definition."""

from collections.abc import Callable
from typing import Final, TypeVar

from nano.domain.machine import MachineSpec
from nano.hypervisor import snapshot_calls as calls
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.libvirt_api import Connection
from nano.hypervisor.own_domains import OwnDomains
from nano.hypervisor.snapshots import Stage, is_snapshot_id, require_snapshot_id, settled, stage_of, taken
from nano.hypervisor.volumes import Volumes

SNAPSHOT_LIMIT_S: Final = 1500.0  # a large memory is written to disk, or read

T = TypeVar("T")


class LibvirtSnapshots:
    def __init__(self, connection: LibvirtConnection, own: OwnDomains, volumes: Volumes, place: Place) -> None:
        self._connection = connection
        self._own = own
        self._volumes = volumes
        self._place = place

    async def held(self, guest_id: str, snapshot_id: str) -> bool | None:
        return await self._idle(guest_id, lambda c: calls.has_memory(c, guest_id, require_snapshot_id(snapshot_id)))

    async def make(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> bool:
        require_snapshot_id(snapshot_id)
        folder = str(self._volumes.folder)

        def make(connection: Connection) -> bool:
            if calls.has_memory(connection, guest_id, snapshot_id) is not None:
                return bool(calls.has_memory(connection, guest_id, snapshot_id))
            if not memory and calls.is_active(connection, guest_id):
                calls.create_in_disks(connection, guest_id, snapshot_id, folder)
                calls.record(connection, guest_id, self._lost(guest_id, snapshot_id, spec, memory=False))
                return False
            calls.set_note(connection, guest_id, taken(snapshot_id))
            try:
                calls.create(connection, guest_id, snapshot_id)
            finally:
                calls.set_note(connection, guest_id, "")
            return bool(calls.has_memory(connection, guest_id, snapshot_id))

        return await self._idle(guest_id, make)

    async def freeze(self, guest_id: str) -> bool:
        return await self._idle(guest_id, lambda c: calls.freeze(c, guest_id))

    async def thaw(self, guest_id: str) -> None:
        await self._idle(guest_id, lambda c: calls.thaw(c, guest_id))

    async def restore(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> None:
        def restore(connection: Connection) -> None:
            if calls.has_memory(connection, guest_id, snapshot_id) is None:
                calls.record(connection, guest_id, self._lost(guest_id, snapshot_id, spec, memory=memory))
            calls.set_note(connection, guest_id, "")
            calls.revert(connection, guest_id, snapshot_id)

        require_snapshot_id(snapshot_id)
        await self._idle(guest_id, restore)
        self._connection.forget(guest_id)

    def _lost(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> str:
        domain = calls.with_note(domain_xml(guest_id, spec, self._place), taken(snapshot_id))
        return calls.snapshot_xml(snapshot_id, state="running" if memory else "shutoff", domain=domain)

    async def settle(self, guest_id: str, spec: MachineSpec, order_id: str) -> None:
        await self._own.get(guest_id)
        xml = calls.with_note(domain_xml(guest_id, spec, self._place), settled(order_id))
        await self._connection.run(lambda c: c.define(xml, autostart=spec.autostart), what="Defining the domain")
        self._connection.forget(guest_id)

    async def stage(self, guest_id: str, snapshot_id: str, order_id: str) -> Stage:
        return stage_of(await self._idle(guest_id, lambda c: calls.note(c, guest_id)), snapshot_id, order_id)

    async def drop(self, guest_id: str, snapshot_id: str, spec: MachineSpec) -> bool:
        require_snapshot_id(snapshot_id)
        if await self._idle(guest_id, lambda c: calls.delete(c, guest_id, snapshot_id)):
            return True
        if all(snapshot_id not in held for held in (await self._volumes.snapshots(guest_id)).values()):
            return False

        def drop(connection: Connection) -> bool:
            calls.record(connection, guest_id, self._lost(guest_id, snapshot_id, spec, memory=False))
            return calls.delete(connection, guest_id, snapshot_id)

        return await self._idle(guest_id, drop)

    async def in_volumes(self, guest_id: str) -> dict[int, frozenset[str]]:
        held = await self._volumes.snapshots(guest_id)
        return {number: frozenset(name for name in names if is_snapshot_id(name)) for number, names in held.items()}

    async def _idle(self, guest_id: str, call: Callable[[Connection], T]) -> T:
        """The call, when nothing is being done with the domain any more."""
        await self._own.get(guest_id)

        def work(connection: Connection) -> T:
            calls.wait_idle(connection, guest_id)
            return call(connection)

        return await self._connection.run(work, what="Working on a snapshot", deadline_s=SNAPSHOT_LIMIT_S)
