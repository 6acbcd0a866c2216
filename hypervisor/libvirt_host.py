"""``Host`` over libvirt: any URI, QEMU in production, ``test:///default`` for fast tests.

Each action is the same three steps: the domain must be ours (its mark), what is already so succeeds, then one libvirt
call. Failures come translated from ``libvirt_api``. It decides nothing: what to do is the Cell's, how a domain looks is
``domain_xml``'s.
"""

import contextlib
import ipaddress
import logging
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal

import libvirt
import msgspec

from nano.domain.ability import ANTI_SPOOFING, CLIPBOARD, NETWORK_LIMITS, Ability
from nano.domain.errors import DeadlineExceeded, HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.changes import Changes
from nano.hypervisor.compaction import VolumeCompactor
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.domain_events import running_state
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.filter_choice import filters_of
from nano.hypervisor.guard import NftGuard
from nano.hypervisor.host import (
    DOMAIN_MISSING,
    DOMAIN_WRONG_STATE,
    AgentReport,
    Capabilities,
    DomainEvent,
    DomainView,
    HostSample,
    Progress,
)
from nano.hypervisor.host_figures import HostFigures, guest_sample, memory_total
from nano.hypervisor.libvirt_api import Connection
from nano.hypervisor.libvirt_changes import LibvirtChanges
from nano.hypervisor.libvirt_insider import LibvirtInsider
from nano.hypervisor.libvirt_live_moves import LibvirtLiveMoves
from nano.hypervisor.libvirt_monitor import LibvirtMonitor
from nano.hypervisor.libvirt_snapshots import LibvirtSnapshots
from nano.hypervisor.moves import VolumeMoves
from nano.hypervisor.nftables import NftFilters
from nano.hypervisor.own_domains import INACTIVE, OwnDomains, is_active, is_inactive, tolerating
from nano.hypervisor.packet_filter import GuardedFilters, PacketFilters, Unable
from nano.hypervisor.ports import TcpPorts
from nano.hypervisor.qemu_img import QemuImg
from nano.hypervisor.serial_port import open_serial
from nano.hypervisor.storage import FolderStorage, storage_id
from nano.hypervisor.volumes import Volumes, require_guest_id

log = logging.getLogger("nano.hypervisor")

AGENT_LIMIT_S: Final = 2
PROBE_LIMIT_S: Final = 60.0
CONNECT_LIMIT_S: Final = 60.0  # the first look at a QEMU makes libvirt probe it for seconds
ADDRESSES_MAX: Final = 32
HOST_NAME_MAX: Final = 253
_NOT_IN_HOST_NAME: Final = re.compile(r"[^0-9A-Za-z._-]")


Look = Callable[[], tuple[Ability, ...]]  # blocks for some tenths of a second


class LibvirtHost:
    """Made by ``open``; ``close`` when done."""

    capabilities: Capabilities

    def __init__(
        self,
        connection: LibvirtConnection,
        calls: BlockingCalls,
        volumes: Volumes,
        place: Place,
        look: Look,
    ) -> None:
        self._connection = connection
        self._calls = calls
        self._volumes = volumes
        self._look = look
        self._figures = HostFigures(volumes.folder)
        self._own = OwnDomains(connection)
        self.insider = LibvirtInsider(connection, self._own)
        self.compactor = VolumeCompactor(self._own, calls, volumes, self.insider)
        self.filters: PacketFilters = GuardedFilters(Unable("it was not probed"), None)
        self._guard: NftGuard | None = None
        self.monitor = LibvirtMonitor(connection, self._own)
        self.ports = TcpPorts()
        self.moves = VolumeMoves(volumes, calls, volumes.qemu_img)
        self.storage = FolderStorage(volumes.folder, calls)
        self._settle(place)

    def _settle(self, place: Place) -> None:
        """Every part that defines domains does it for this place."""
        self._place = place
        parts = LibvirtChanges(self._connection, self._own, self._volumes, place, self.filters)
        self.changes = Changes(parts, self._why_not)
        self.snapshots = LibvirtSnapshots(self._connection, self._own, self._volumes, place)
        self.live_moves = LibvirtLiveMoves(self._connection, self._own, self._calls, self._volumes, place)

    @classmethod
    async def open(
        cls,
        uri: str,
        *,
        volumes: Path,
        virt_type: Literal["kvm", "qemu", "test"],
        virt_note: str = "",
        bridge: str = "",
        cell: str = "",
        zone: str = "",
        qemu_img: QemuImg | None = None,
        look: Look = tuple,
    ) -> "LibvirtHost":
        """Connect to ``uri`` and keep volumes in the folder ``volumes`` (absolute; made when absent, 0711).

        ``virt_type`` and ``virt_note`` come from ``virt_probe``. ``cell`` and ``zone`` go into each domain's mark;
        domains marked as another cell's are not ours. ``look`` tells what the host can do (``host_probe``). Raises HostError.
        """
        calls = BlockingCalls("libvirt")
        connection = LibvirtConnection(uri, calls, cell)
        if not volumes.is_absolute():
            raise HostError(f"The volume folder {volumes} is not an absolute path.", code="volume_failed")
        folder = volumes
        place = Place(virt_type=virt_type, volumes=folder, bridge=bridge, cell=cell, zone=zone)
        host = cls(connection, calls, Volumes(folder, calls, qemu_img), place, look)
        try:
            storage = await calls.run(lambda: _make_folder(folder), what="Making the volume folder")
            versions = await connection.run(Connection.versions, what="Reading versions", deadline_s=CONNECT_LIMIT_S)
        except BaseException:
            await host.close()
            raise
        host.capabilities = Capabilities(
            virt_type="kvm" if virt_type == "kvm" else "qemu",
            virt_note=virt_note,
            cores=len(os.sched_getaffinity(0)),
            memory=memory_total(),
            hypervisor=versions,
            bridge=bridge,
            storage=storage,
        )
        await host.probe()
        return host

    def _tap(self, mac: str) -> str:
        return self._place.tap(mac)

    def _why_not(self, ability: str) -> str:
        return self.capabilities.why_not(ability)

    async def probe(self) -> None:
        """A limit that the kernel can't set is left out of what is defined from then on: it would keep it from starting."""
        found = await self._calls.run(self._look, what="Probing the host", deadline_s=PROBE_LIMIT_S)
        tables = self._volumes.folder.parent / "filters"
        found, policies = await filters_of(self._connection, self._calls, tables, found)
        self.capabilities = msgspec.structs.replace(self.capabilities, abilities=found)
        guarded = bool(self._place.bridge) and any(one.name == ANTI_SPOOFING and one.can for one in found)
        place = msgspec.structs.replace(
            self._place,
            bandwidth=not self.capabilities.why_not(NETWORK_LIMITS),
            clipboard=any(one.name == CLIPBOARD and one.can for one in found),
            filter="nftables" if isinstance(policies, NftFilters) else "nwfilter",
            guarded=guarded,
        )
        if guarded and self._guard is None:
            self._guard = NftGuard(self._calls, place.cell, self._tap)
        self.filters = GuardedFilters(policies, self._guard if guarded else None)
        self._settle(place)

    async def domains(self) -> list[DomainView]:
        found = []
        for state in await self._connection.run(Connection.states, what="Listing domains"):
            mark = await self._connection.mark(state.uuid)
            if mark is not None:
                found.append(DomainView(state.uuid, running_state(state.state, state.reason), mark.digest))
        return found

    async def make_volumes(self, guest_id: str, spec: MachineSpec, image: Path | None, progress: Progress) -> None:
        await self._volumes.make(guest_id, spec, image, progress)

    async def copy_disk(self, guest_id: str, number: int, target: Path, progress: Progress) -> None:
        await self._volumes.copy(guest_id, number, target, progress)

    async def make_seed(self, guest_id: str, texts: Mapping[str, str]) -> None:
        await self._volumes.make_seed(guest_id, texts)

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        """Also redefines: the new definition is used from the next start on."""
        require_guest_id(guest_id)
        await self._own.refuse_foreign(guest_id)
        if spec.security is not None:
            await self.filters.put(guest_id, spec)
        xml = domain_xml(guest_id, spec, self._place)
        await self._connection.run(lambda c: c.define(xml, autostart=spec.autostart), what="Defining the domain")
        self._connection.forget(guest_id)

    async def start(self, guest_id: str) -> None:
        now = await self._own.get(guest_id)
        if now.state == libvirt.VIR_DOMAIN_PAUSED:
            await self._own.act(guest_id, Connection.resume, is_active)
        elif now.state in INACTIVE:
            await self._own.act(guest_id, Connection.create, is_active)

    async def shutdown(self, guest_id: str) -> None:
        if (await self._own.get(guest_id)).state not in INACTIVE:
            await self._own.act(guest_id, Connection.shutdown, is_inactive)

    async def destroy(self, guest_id: str) -> None:
        now = await self._own.find(guest_id)
        if now is not None and now.state not in INACTIVE:
            await self._own.act(guest_id, Connection.destroy, is_inactive)

    async def reboot(self, guest_id: str) -> None:
        await self._own.need_active(guest_id, "rebooted")
        await self._own.act(guest_id, Connection.reboot)

    async def reset(self, guest_id: str) -> None:
        await self._own.need_active(guest_id, "reset")
        await self._own.act(guest_id, Connection.reset)

    async def undefine(self, guest_id: str) -> None:
        """Refused while it runs: it would go on without a definition. Succeeds when there is no such domain."""
        now = await self._own.find(guest_id)
        if now is not None and now.state not in INACTIVE:
            raise HostError("A running domain can't be undefined.", code=DOMAIN_WRONG_STATE, hint="Stop it first.")
        if now is not None:
            with tolerating(DOMAIN_MISSING):
                await self._own.act(guest_id, Connection.undefine)
        await self.filters.drop(guest_id)

    async def remove_volumes(self, guest_id: str) -> list[str]:
        return await self._volumes.remove(guest_id)

    async def volumes(self) -> list[str]:
        return await self._volumes.owners()

    async def volume_files(self) -> list[str]:
        return await self._volumes.names()

    async def sample(self) -> HostSample:
        records = await self._connection.run(Connection.stats, what="Reading statistics")
        guests = []
        for guest_id, stats in records:
            if await self._connection.mark(guest_id) is not None:
                guests.append(guest_sample(guest_id, stats))
        taken = tuple(guests)
        return await self._calls.run(lambda: self._figures.sample(taken), what="Reading host figures")

    async def agent(self, guest_id: str) -> AgentReport | None:
        await self._own.get(guest_id)
        try:
            said = await self._connection.run(
                lambda c: c.guest_info(guest_id, AGENT_LIMIT_S),
                what="Asking the guest agent",
                deadline_s=2.0 * AGENT_LIMIT_S,
            )
        except (HostError, DeadlineExceeded) as error:
            log.debug("no agent guest=%s error=%s", guest_id, error)
            return None
        return agent_report(said)

    async def console(self, guest_id: str) -> socket.socket:
        await self._own.need_active(guest_id, "looked at")
        return await self._connection.run(lambda c: c.open_graphics(guest_id), what="Opening the display")

    async def serial(self, guest_id: str) -> socket.socket:
        await self._own.need_active(guest_id, "looked at")
        return await self._connection.run(lambda c: open_serial(c, guest_id), what="Opening the serial port")

    def events(self) -> AsyncIterator[DomainEvent]:
        """Listens from now on, also across the first connect; ends at the loss of a connection."""
        return self._connection.listen()

    async def close(self) -> None:
        await self.ports.close()
        with contextlib.suppress(HostError, DeadlineExceeded):
            await self._connection.close()
        self._calls.close()


def agent_report(said: Mapping[str, Any]) -> AgentReport:
    """What a guest said of itself, cut to what may be shown: a host name of its letters, real addresses, few."""
    name = _NOT_IN_HOST_NAME.sub("?", str(said.get("hostname", ""))[:HOST_NAME_MAX])
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = []
    for key, value in said.items():
        if re.fullmatch(r"if\.\d+\.addr\.\d+\.addr", key):
            with contextlib.suppress(ValueError):
                address = ipaddress.ip_address(str(value))
                if not address.is_loopback and not address.is_link_local and address not in addresses:
                    addresses.append(address)
    addresses.sort(key=lambda address: address.version)
    return AgentReport(name, tuple(str(address) for address in addresses[:ADDRESSES_MAX]))


def _make_folder(folder: Path) -> str:
    """Which storage it is. Others may pass through (QEMU's own user) but not look around."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)
    return storage_id(folder)
