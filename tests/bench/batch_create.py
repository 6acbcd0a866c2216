"""A batch of 90 guests with blank disks of 16 MiB: one request until libvirt has them all, its state asked for 50 times a second

Core and Cell run as programs, both journals are synced; whoever asks is this process, with signed requests, and sees every
answer or fails. "Defined" is what a libvirt connection of the measuring process counts. Straight is the same work without a
control plane: for each guest the volume by libvirt's storage call, then the definition, one after the other on one
connection of the same libvirtd, in turns. The rounds' guests are deleted by a batch too.
"""

import shutil
import statistics
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
from nano.tools.nanoctl.place import connect
from nano.tools.testbed.zone import Zone, until

ROUNDS = 5
GUESTS = 90
ASKED_EACH_S = 0.02
PORT = 17640
SHARE = {"cores": 1, "memory": 64 * MEBI, "disks": (16 * MEBI,)}
POOL = "<pool type='dir'><name>straight</name><target><path>{path}</path></target></pool>"
VOLUME = """<volume><name>{name}</name><capacity>{size}</capacity>
<target><format type='qcow2'/></target></volume>"""


def run() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="nano-bench-"))
    zone = None
    try:
        uri = local_libvirtd.start(folder / "host", hide_kvm=True)
        zone = Zone(folder, uri, PORT)
        zone.up()
        return _measure(folder, uri)
    finally:
        if zone is not None:
            zone.stop()
        local_libvirtd.stop(folder / "host")
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, uri: str) -> dict[str, Any]:
    connection = libvirt.open(uri)
    (folder / "straight").mkdir()
    pool = connection.storagePoolDefineXML(POOL.format(path=folder / "straight"))
    pool.create()
    kinds: list[list[float]] = [[] for _ in range(5)]
    straight, defined, whole, deleted, asked = kinds
    for index in range(ROUNDS + 1):  # the first of each is thrown away
        straight.append(_straight(connection, pool, folder))
        one = _batch(folder, connection, index)
        for figures, value in zip((defined, whole, deleted, asked), one, strict=True):
            figures.append(value)
    ours, alone = statistics.median(defined[1:]), statistics.median(straight[1:])
    return {
        "until all 90 are defined": {"value": round(ours, 2), "unit": "s", "reach": "< 2.0 s", "ok": ours < 2.0},
        "until the task has ended, volumes made and recorded": {
            "value": round(statistics.median(whole[1:]), 2),
            "unit": "s",
        },
        "straight with libvirt": {"value": round(alone, 2), "unit": "s"},
        "ratio": round(ours / alone, 2),
        "state asked for meanwhile, and answered": {"value": round(statistics.median(asked[1:])), "unit": "a second"},
        "batch delete of the 90": {"value": round(statistics.median(deleted[1:]), 2), "unit": "s"},
    }


def _batch(folder: Path, connection: Any, index: int) -> tuple[float, float, float, float]:
    """Seconds until defined, until ended, until deleted again; answers a second meanwhile."""
    client, asker = connect(state=folder), connect(state=folder)
    stop = threading.Event()
    answers: list[int] = []
    body = {"prefix": f"r{index}", "count": GUESTS, **SHARE}
    began = time.perf_counter()
    task = client.call("POST", "/api/v2/batches/create", body=body).value["task"]["id"]
    thread = threading.Thread(target=_ask, args=(asker, task, answers, stop))
    thread.start()
    defined = (
        until(lambda: connection.numOfDefinedDomains() >= GUESTS, "all are defined") and time.perf_counter() - began
    )
    until(lambda: answers and answers[-1] == GUESTS, "all are done")
    ended = time.perf_counter() - began
    stop.set()
    thread.join()
    assert answers == sorted(answers), "what was done once stays done"
    row = client.call("GET", f"/api/v2/tasks/{task}").value
    assert [item["state"] for item in row["items"]] == ["done"] * GUESTS, row["error"]
    guests = [item["guest"] for item in row["items"]]
    assert len(set(guests)) == GUESTS == connection.numOfDefinedDomains()
    began = time.perf_counter()
    task = client.call("POST", "/api/v2/batches/delete", body={"guests": guests}).value["task"]["id"]
    until(lambda: client.call("GET", f"/api/v2/tasks/{task}").value["state"] == "done", "all are deleted")
    return defined, ended, time.perf_counter() - began, len(answers) / ended


def _ask(asker: Any, task: str, answers: list[int], stop: threading.Event) -> None:
    """How many are done, so many times a second; a refused or lost answer ends it."""
    following = time.perf_counter()
    while not stop.is_set():
        items = asker.call("GET", f"/api/v2/tasks/{task}").value["items"]
        answers.append(sum(item["state"] == "done" for item in items))
        following += ASKED_EACH_S
        stop.wait(max(0.0, following - time.perf_counter()))


def _straight(connection: Any, pool: Any, folder: Path) -> float:
    place = Place(virt_type="qemu", volumes=folder / "straight", bridge="")
    made = []
    for number in range(GUESTS):
        spec = MachineSpec(name=f"s{number}", mac=f"52:54:00:00:01:{number:02x}", **SHARE)  # type: ignore[arg-type]
        guest_id = str(uuid.uuid4())
        made.append((guest_id, domain_xml(guest_id, spec, place)))
    began = time.perf_counter()
    for guest_id, xml in made:
        pool.createXML(VOLUME.format(name=f"{guest_id}_0.qcow2", size=16 * MEBI), 0)
        connection.defineXML(xml)
    took = time.perf_counter() - began
    for guest_id, _ in made:
        connection.lookupByUUIDString(guest_id).undefine()
        pool.storageVolLookupByName(f"{guest_id}_0.qcow2").delete()
    return took
