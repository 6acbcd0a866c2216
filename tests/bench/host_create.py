"""A blank guest made through the host driver, and straight with libvirt

Straight is what a script would do: a volume in a directory pool (virStorageVolCreateXML) and the same domain XML defined
(virDomainDefineXML), on the same private libvirtd, in turns within one run.
"""

import os
import signal
import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import anyio
import libvirt

from nano.domain.machine import GIBI, MEBI, MachineSpec
from nano.hypervisor import local_libvirtd
from nano.hypervisor.domain_xml import Place, domain_xml, volume_name
from nano.hypervisor.libvirt_host import LibvirtHost

ROUNDS, WARM = 60, 5
SPEC = MachineSpec(name="bench", cores=1, memory=64 * MEBI, disks=(GIBI,), mac="52:54:00:00:00:01")
POOL = "<pool type='dir'><name>bench</name><target><path>{folder}</path></target></pool>"
VOLUME = """<volume><name>{name}</name><capacity>{size}</capacity><allocation>0</allocation>
<target><format type='qcow2'/></target></volume>"""


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as base:
        host = Path(base) / "host"
        uri = local_libvirtd.start(host, hide_kvm=True)
        try:
            return anyio.run(_measure, uri, Path(base))
        finally:
            local_libvirtd.stop(host)
            for pid in local_libvirtd.guest_processes(host):
                os.kill(pid, signal.SIGKILL)


async def _measure(uri: str, base: Path) -> dict[str, Any]:
    host = await LibvirtHost.open(uri, volumes=base / "volumes", virt_type="qemu")
    raw = libvirt.open(uri)
    (base / "pool").mkdir()
    pool = raw.storagePoolCreateXML(POOL.format(folder=base / "pool"))
    kinds: list[list[float]] = [[], [], []]
    straight, driver, together = kinds
    try:
        for turn in range(ROUNDS + WARM):
            times = (_straight(raw, pool, base / "pool"), await _one_by_one(host), await _at_once(host))
            if turn >= WARM:
                for kept, took in zip((straight, driver, together), times, strict=True):
                    kept.append(took * 1000)
    finally:
        pool.destroy()
        raw.close()
        await host.close()
    base_ms, driver_ms, together_ms = (statistics.median(times) for times in (straight, driver, together))
    return {
        "straight with libvirt": {"value": round(base_ms, 1), "unit": "ms"},
        "driver, volume then define": {"value": round(driver_ms, 1), "unit": "ms"},
        "driver, both at once": {"value": round(together_ms, 1), "unit": "ms"},
        "driver to straight": {
            "value": round(driver_ms / base_ms, 2),
            "unit": "×",
            "reach": "< 1 (leaves the rest of 1.3 × to Core and Cell)",
            "ok": driver_ms < base_ms,
        },
    }


def _straight(raw: Any, pool: Any, folder: Path) -> float:
    guest = str(uuid.uuid4())
    begun = time.perf_counter()
    volume = pool.createXML(VOLUME.format(name=volume_name(guest, 0), size=SPEC.disks[0]))
    domain = raw.defineXML(domain_xml(guest, SPEC, Place("qemu", folder)))
    took = time.perf_counter() - begun
    domain.undefine()
    volume.delete()
    return took


async def _one_by_one(host: LibvirtHost) -> float:
    guest = str(uuid.uuid4())
    begun = time.perf_counter()
    await host.make_volumes(guest, SPEC, None, _unheard)
    await host.define(guest, SPEC)
    took = time.perf_counter() - begun
    await _remove(host, guest)
    return took


async def _at_once(host: LibvirtHost) -> float:
    guest = str(uuid.uuid4())
    begun = time.perf_counter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(host.make_volumes, guest, SPEC, None, _unheard)
        tasks.start_soon(host.define, guest, SPEC)
    took = time.perf_counter() - begun
    await _remove(host, guest)
    return took


async def _remove(host: LibvirtHost, guest: str) -> None:
    await host.undefine(guest)
    await host.remove_volumes(guest)


def _unheard(_percent: int) -> None:
    """A progress that is not looked at."""
