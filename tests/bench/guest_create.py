"""Creating a guest with a blank disk: through the API until libvirt has it defined, against libvirt alone

Core and Cell run as programs, the request is signed, both journals are synced. Straight is what the issue names: the same
volume made by libvirt's storage call, then the same definition. Both on one private libvirtd, in turns. "Defined" is what a
libvirt connection of the measuring process sees.
"""

import itertools
import shutil
import statistics
import subprocess
import sys
import tempfile
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

ROUNDS = 40
WARM_UP = 5
PORT = 17600
POOL = "<pool type='dir'><name>straight</name><target><path>{path}</path></target></pool>"
VOLUME = """<volume><name>{name}</name><capacity>{size}</capacity>
<target><format type='qcow2'/></target></volume>"""


def run() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="nano-bench-"))
    try:
        uri = local_libvirtd.start(folder / "host", hide_kvm=True)
        return _measure(folder, uri)
    finally:
        for node in ("core", "cell"):
            _program(f"nano-{node}", "halt", folder)
        local_libvirtd.stop(folder / "host")
        shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, uri: str) -> dict[str, Any]:
    _configure(folder, uri)
    _program("nano-core", "start", folder)
    _program("nano-cell", "start", folder)
    client = connect(state=folder)
    cell = _until(lambda: client.call("GET", "/api/v2/cells").value["items"])[0]["name"]
    client.call("POST", f"/api/v2/cells/{cell}/add", body={"pool": "default"})
    _until(lambda: client.call("GET", f"/api/v2/cells/{cell}").value["cores"])
    libvirt.registerErrorHandler(lambda _context, _error: None, None)  # not defined yet: asked for again and again
    connection = libvirt.open(uri)
    (folder / "straight").mkdir()
    pool = connection.storagePoolDefineXML(POOL.format(path=folder / "straight"))
    pool.create()
    ours, whole, straight = [], [], []
    for index in range(ROUNDS + WARM_UP):
        defined, ended = _through_api(client, connection, f"g{index}")
        ours.append(defined)
        whole.append(ended)
        straight.append(_straight(connection, pool, folder, index))
    median = {"ours": statistics.median(ours[WARM_UP:]), "straight": statistics.median(straight[WARM_UP:])}
    ratio = median["ours"] / median["straight"]
    return {
        "through the API": {"value": round(median["ours"] * 1000, 2), "unit": "ms"},
        "through the API until its task has ended, volume made and recorded": {
            "value": round(statistics.median(whole[WARM_UP:]) * 1000, 2),
            "unit": "ms",
        },
        "straight with libvirt": {"value": round(median["straight"] * 1000, 2), "unit": "ms"},
        "ratio": {"value": round(ratio, 2), "reach": "≤ 1.3", "ok": ratio <= 1.3},
    }


def _through_api(client: Connection, connection: Any, name: str) -> tuple[float, float]:
    """Seconds until libvirt has it, and until the task has ended (seen by asking, so at most one answer late)."""
    body = {"name": name, "memory": 64 * MEBI, "disks": [64 * MEBI]}
    began = time.perf_counter()
    answer = client.call("POST", "/api/v2/guests", body=body).value
    guest_id = answer["resource"].removeprefix("guest/")
    while not _defined(connection, guest_id):
        pass
    defined = time.perf_counter() - began
    while client.call("GET", f"/api/v2/tasks/{answer['task']['id']}").value["state"] == "running":
        pass
    return defined, time.perf_counter() - began


def _defined(connection: Any, guest_id: str) -> bool:
    try:
        connection.lookupByUUIDString(guest_id)
    except libvirt.libvirtError:
        return False
    return True


def _straight(connection: Any, pool: Any, folder: Path, index: int) -> float:
    guest_id = str(uuid.uuid4())
    spec = MachineSpec(
        name=f"s{index}", cores=1, memory=64 * MEBI, disks=(64 * MEBI,), mac=f"52:54:00:00:00:{index:02x}"
    )
    xml = domain_xml(guest_id, spec, Place(virt_type="qemu", volumes=folder / "straight", bridge=""))
    began = time.perf_counter()
    pool.createXML(VOLUME.format(name=f"{guest_id}_0.qcow2", size=64 * MEBI), 0)
    connection.defineXML(xml)
    return time.perf_counter() - began


def _configure(folder: Path, uri: str) -> None:
    domain = f'[domain]\nname = "bench"\nport = {PORT + 1}\n'
    config = {
        "core": f"{domain}[listen]\napi_port = {PORT}\n[placement]\ncpu_percent_busy = 100.0\n",
        "cell": f'{domain}[hypervisor]\nuri = "{uri}"\nvirt_type = "qemu"\nbridge = ""\n',
    }
    for node, text in config.items():
        path = folder / node / "config" / f"{node}.toml"
        path.parent.mkdir(parents=True)
        path.write_text(text)


def _program(name: str, verb: str, folder: Path) -> None:
    program = Path(sys.executable).parent / name
    done = subprocess.run([str(program), verb, "--state", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def _until(holds: Any) -> Any:
    for _ in itertools.repeat(None, 600):
        if value := holds():
            return value
        time.sleep(0.05)
    raise AssertionError("the zone did not come up")
