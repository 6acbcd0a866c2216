"""Blocking libvirt calls about snapshots, and the note in a definition, in the manner of ``libvirt_api``.

libvirt 9 makes no snapshot of a running domain's disks alone inside them ("require external disk snapshots"); QEMU does,
of all disks in one transaction, so it is asked by its monitor, and libvirt is told of it afterwards.
"""

import json
import logging
from typing import Any, Final
from xml.etree import ElementTree as ET

import libvirt
import libvirt_qemu

from nano.domain.errors import HostError
from nano.hypervisor.libvirt_api import Connection, translated

log = logging.getLogger("nano.hypervisor")

AGENT_LIMIT_S: Final = 20  # an agent that has not answered by then is not there; writing out may take it a while
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


def is_active(connection: Connection, uuid: str) -> bool:
    with translated("Looking at the domain"):
        return bool(connection.domain(uuid).isActive())


def create_in_disks(connection: Connection, uuid: str, snapshot_id: str, folder: str) -> None:
    """Of a running domain, all of its volumes in this folder at the same moment."""
    with translated("Making the snapshot"):
        domain = connection.domain(uuid)
        blocks = _monitor(domain, "query-block")["return"]
        inside = [block["inserted"] for block in blocks if "inserted" in block]
        volumes = [one for one in inside if one["drv"] == "qcow2" and one["file"].startswith(f"{folder}/{uuid}_")]
        if not volumes:
            raise HostError("The running domain has no volume of its own.", code="volumes_missing")
        actions = [
            {"type": "blockdev-snapshot-internal-sync", "data": {"device": one["node-name"], "name": snapshot_id}}
            for one in volumes
        ]
        answer = _monitor(domain, "transaction", actions=actions)
        if "error" in answer:
            raise HostError(f"QEMU made no snapshot: {answer['error']['desc']}", code="hypervisor_error")


def freeze(connection: Connection, uuid: str) -> bool:
    """Whether the agent has frozen the file systems. Without one, or one that answers in time, all is left as it is."""
    with translated("Freezing file systems"):
        domain = connection.domain(uuid)
        if domain.state()[0] != libvirt.VIR_DOMAIN_RUNNING:
            return False
        try:
            domain.agentSetResponseTimeout(AGENT_LIMIT_S)
            frozen = bool(domain.fsFreeze() > 0)
        except libvirt.libvirtError as error:
            log.info("file systems not frozen guest=%s reason=%s", uuid, error)
            _thaw(domain)  # it may have come late
            return False
        return frozen


def thaw(connection: Connection, uuid: str) -> None:
    """A domain that is off has nothing frozen."""
    with translated("Thawing file systems"):
        domain = connection.domain(uuid)
        if domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING:
            domain.agentSetResponseTimeout(AGENT_LIMIT_S)
            domain.fsThaw()


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


def _thaw(domain: Any) -> None:
    try:
        domain.fsThaw()
    except libvirt.libvirtError as error:
        log.info("nothing thawed guest=%s reason=%s", domain.UUIDString(), error)


def _monitor(domain: Any, command: str, **arguments: Any) -> Any:
    request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
    return json.loads(libvirt_qemu.qemuMonitorCommand(domain, request, 0))
