"""Creating and starting a linked clone through the API until QEMU runs, against libvirt alone

Core and Cell run as programs, requests are signed, both journals are synced; the image is in the cell's cache, as with every
clone but the first. Straight is the same without a control plane: the volume with its backing file by libvirt's storage
call, the definition, the start. Both on one private libvirtd, in turns. "Runs" is libvirt's event that QEMU was started, seen by
the measuring process. No guest has an operating system: what comes after its start is QEMU's alone.
"""

import shutil
import statistics
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import libvirt

from nano.domain.machine import MEBI, MachineSpec
from nano.hypervisor import local_libvirtd
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.tools.nanoctl.connection import Connection
from nano.tools.nanoctl.place import connect
from nano.tools.testbed.zone import Zone
from tests.bench.image_clone import ended

ROUNDS = 12
WARM_UP = 2
PORT = 17760
POOL = "<pool type='dir'><name>straight</name><target><path>{path}</path></target></pool>"
VOLUME = """<volume><name>{name}</name><capacity>{size}</capacity><target><format type='qcow2'/></target>
<backingStore><path>{image}</path><format type='qcow2'/></backingStore></volume>"""
SIZE = 64 * MEBI


class Starts:
    """When each domain was started, by libvirt's events."""

    def __init__(self, uri: str) -> None:
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=self._turn, daemon=True).start()
        self._at: dict[str, float] = {}
        self._one_more = threading.Condition()
        self._connection = libvirt.open(uri)
        self._connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._told, None)

    def _turn(self) -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    def _told(self, _connection: Any, domain: Any, event: int, _detail: int, _nothing: Any) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STARTED:
            with self._one_more:
                self._at[domain.UUIDString()] = time.perf_counter()
                self._one_more.notify_all()

    def of(self, guest_id: str) -> float:
        with self._one_more:
            assert self._one_more.wait_for(lambda: guest_id in self._at, 60), "it was not started"
            return self._at[guest_id]


def run() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="nano-bench-"))
    zone = None
    try:
        uri = local_libvirtd.start(folder / "host", hide_kvm=True)
        starts = Starts(uri)
        zone = Zone(folder, uri, PORT)
        zone.up()
        return _measure(zone, folder, uri, starts)
    finally:
        if zone is not None:
            zone.stop()
        local_libvirtd.stop(folder / "host")
        shutil.rmtree(folder, ignore_errors=True)


def _measure(zone: Zone, folder: Path, uri: str, starts: Starts) -> dict[str, Any]:
    image = folder / "base.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(SIZE)], check=True)
    zone.ctl("image", "register", "base", str(image), "--wait")
    client, connection = connect(state=folder), libvirt.open(uri)
    (folder / "straight").mkdir()
    pool = connection.storagePoolDefineXML(POOL.format(path=folder / "straight"))
    pool.create()
    ours, straight = [], []
    for index in range(ROUNDS + WARM_UP):
        ours.append(_through_api(client, starts, f"g{index}"))
        straight.append(_straight(connection, pool, folder, starts, index))
    median = {"ours": statistics.median(ours[WARM_UP:]), "straight": statistics.median(straight[WARM_UP:])}
    ratio = median["ours"] / median["straight"]
    return {
        "through the API": {"value": round(median["ours"] * 1000, 1), "unit": "ms"},
        "straight with libvirt": {"value": round(median["straight"] * 1000, 1), "unit": "ms"},
        "ratio": {"value": round(ratio, 2), "reach": "≤ 1.2", "ok": ratio <= 1.2},
    }


def _through_api(client: Connection, starts: Starts, name: str) -> float:
    body = {"name": name, "memory": SIZE, "disks": [SIZE], "image": "base", "linked": True, "start": True}
    began = time.perf_counter()
    answer = client.call("POST", "/api/v2/guests", body=body).value
    guest_id = answer["resource"].removeprefix("guest/")
    took = starts.of(guest_id) - began
    ended(client, answer["task"]["id"])
    gone = client.call("DELETE", f"/api/v2/guests/{guest_id}", body={"force": True}).value
    ended(client, gone["task"]["id"])
    return took


def _straight(connection: Any, pool: Any, folder: Path, starts: Starts, index: int) -> float:
    guest_id = str(uuid.uuid4())
    spec = MachineSpec(name=f"s{index}", cores=1, memory=SIZE, disks=(SIZE,), mac=f"52:54:00:00:00:{index:02x}")
    xml = domain_xml(guest_id, spec, Place(virt_type="qemu", volumes=folder / "straight", bridge=""))
    volume = VOLUME.format(name=f"{guest_id}_0.qcow2", size=SIZE, image=folder / "base.qcow2")
    began = time.perf_counter()
    pool.createXML(volume, 0)
    domain = connection.defineXML(xml)
    domain.create()
    took = starts.of(guest_id) - began
    domain.destroy()
    domain.undefine()
    pool.storageVolLookupByName(f"{guest_id}_0.qcow2").delete()
    return took
