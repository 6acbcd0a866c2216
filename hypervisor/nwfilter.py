"""``PacketFilters`` by libvirt: one network filter object for each guest, to which its interfaces refer.

Defining a filter anew changes every running interface that refers to it; when that fails, libvirt puts the old one back
and says why. So the last good set stays without our doing. The interfaces' references are part of the domain's XML.
"""

from typing import Any, Final

import libvirt

from nano.domain.machine import MachineSpec
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.filter_xml import filter_text, filter_xml, told
from nano.hypervisor.libvirt_api import Connection, translated
from nano.hypervisor.packet_filter import filter_name, guest_of

PUT_LIMIT_S: Final = 90.0  # two programs for each rule and interface, which a busy host takes its time for


class NwFilters:
    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:
        return filter_text(guest_id, spec)

    async def found(self, guest_id: str) -> str:
        xml = await self._connection.run(lambda c: _xml(c, guest_id), what="Reading the packet filter")
        return told(xml) if xml else ""

    async def put(self, guest_id: str, spec: MachineSpec) -> None:
        assert spec.security is not None
        xml = filter_xml(guest_id, spec.security, unguarded=spec.unguarded)
        await self._connection.run(
            lambda c: _define(c, xml), what="Putting the packet filter in place", deadline_s=PUT_LIMIT_S
        )

    async def drop(self, guest_id: str) -> bool:
        return await self._connection.run(lambda c: _undefine(c, guest_id), what="Removing the packet filter")

    async def guests(self) -> list[str]:
        found = await self._connection.run(_guests, what="Listing packet filters")
        return [guest_id for guest_id in found if not await self._connection.is_foreign(guest_id)]


def why_no_driver(connection: Connection) -> str:
    """Empty when this libvirt filters packets."""
    try:
        connection.raw.numOfNWFilters()
    except libvirt.libvirtError as error:
        return str(error.get_error_message() or error)
    return ""


def _xml(connection: Connection, guest_id: str) -> str:
    with translated("Reading the packet filter"):
        found = _find(connection, guest_id)
        return str(found.XMLDesc(0)) if found is not None else ""


def _define(connection: Connection, xml: str) -> None:
    with translated("Putting the packet filter in place"):
        connection.raw.nwfilterDefineXML(xml)


def _undefine(connection: Connection, guest_id: str) -> bool:
    with translated("Removing the packet filter"):
        found = _find(connection, guest_id)
        if found is not None:
            found.undefine()
        return found is not None


def _guests(connection: Connection) -> list[str]:
    with translated("Listing packet filters"):
        names = [one.name() for one in connection.raw.listAllNWFilters()]
    return sorted(guest_id for name in names if (guest_id := guest_of(name)) is not None)


def _find(connection: Connection, guest_id: str) -> Any:
    try:
        return connection.raw.nwfilterLookupByName(filter_name(guest_id))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NWFILTER:
            return None
        raise
