"""Blocking libvirt calls about snapshots, and the note in a definition, in the manner of ``libvirt_api``."""

from typing import Any, Final
from xml.etree import ElementTree as ET

import libvirt

from nano.hypervisor.libvirt_api import Connection, translated

JOBS_TRIED: Final = (
    50  # libvirt gives up waiting for a domain's job after 30 s; a large memory takes longer to be written
)
_ABSENT: Final = (libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT,)


def wait_idle(connection: Connection, uuid: str) -> None:
    """Until nothing is being done with the domain: asking for its memory needs its job; of one that is off it is refused then."""
    with translated("Waiting for the domain's job"):
        domain = connection.domain(uuid)
        for tried in range(1, JOBS_TRIED + 1):
            try:
                domain.memoryStats()
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT and tried < JOBS_TRIED:
                    continue
                if error.get_error_code() not in (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT):
                    raise
            return


def has_memory(connection: Connection, uuid: str, snapshot_id: str) -> bool | None:
    """None when there is no such snapshot."""
    with translated("Looking for the snapshot"):
        snapshot = _find(connection.domain(uuid), snapshot_id)
        return None if snapshot is None else _state(snapshot) != "shutoff"


def create(connection: Connection, uuid: str, snapshot_id: str) -> None:
    with translated("Making the snapshot"):
        connection.domain(uuid).snapshotCreateXML(snapshot_xml(snapshot_id), 0)


def record(connection: Connection, uuid: str, xml: str) -> None:
    """Let libvirt know of a snapshot that only the volumes have."""
    with translated("Recording the snapshot"):
        connection.domain(uuid).snapshotCreateXML(xml, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)


def revert(connection: Connection, uuid: str, snapshot_id: str) -> None:
    """``FORCE``: its definition of now need not fit the memory; the one that is kept with the snapshot does."""
    with translated("Restoring the snapshot"):
        domain = connection.domain(uuid)
        domain.revertToSnapshot(domain.snapshotLookupByName(snapshot_id), libvirt.VIR_DOMAIN_SNAPSHOT_REVERT_FORCE)


def delete(connection: Connection, uuid: str, snapshot_id: str) -> bool:
    """Whether there was one. Its children become its parent's."""
    with translated("Deleting the snapshot"):
        snapshot = _find(connection.domain(uuid), snapshot_id)
        if snapshot is not None:
            snapshot.delete(0)
        return snapshot is not None


def note(connection: Connection, uuid: str) -> str:
    """The description in its definition."""
    with translated("Reading the definition"):
        root = ET.fromstring(connection.domain(uuid).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))  # noqa: S314  libvirt's own
        return root.findtext("description") or ""


def set_note(connection: Connection, uuid: str, text: str) -> None:
    with translated("Writing a note into the definition"):
        connection.domain(uuid).setMetadata(
            libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, text or None, None, None, libvirt.VIR_DOMAIN_AFFECT_CONFIG
        )


def snapshot_xml(snapshot_id: str, *, state: str = "", domain: str = "") -> str:
    root = ET.Element("domainsnapshot")
    ET.SubElement(root, "name").text = snapshot_id
    if state:
        ET.SubElement(root, "state").text = state
        ET.SubElement(root, "creationTime").text = "0"
        ET.SubElement(root, "memory", snapshot="no" if state == "shutoff" else "internal")
        root.append(ET.fromstring(domain))  # noqa: S314  our own
    return ET.tostring(root, encoding="unicode")


def with_note(xml: str, text: str) -> str:
    root = ET.fromstring(xml)  # noqa: S314  our own
    ET.SubElement(root, "description").text = text
    return ET.tostring(root, encoding="unicode")


def _find(domain: Any, snapshot_id: str) -> Any | None:
    try:
        return domain.snapshotLookupByName(snapshot_id)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _ABSENT:
            return None
        raise


def _state(snapshot: Any) -> str:
    return ET.fromstring(snapshot.getXMLDesc()).findtext("state") or ""  # noqa: S314  libvirt's own
