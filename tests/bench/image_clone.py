"""A full clone of an image of 1 GiB to a cell on the same machine, against qemu-img convert of the same file

From the request until the task has ended: the cell takes the digest of Core's file, at the first clone of it, then qemu-img
copies it to the guest's volume. A cell elsewhere fetches it first, over verified HTTPS; that is measured with an image whose
file cells are not told of, with an empty cache. Straight is qemu-img convert from the same file to the same folder, in
turns. All are synced to disk, and begin with nothing left to sync. The best round of each counts: what else uses the
disk is no part of it. Memory is the highest resident size of the cell's process in a clone beyond what it had before
(VmHWM); qemu-img, which works in both, is not counted.
"""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from nano.domain.machine import GIBI
from nano.hypervisor import local_libvirtd
from nano.tools.nanoctl.connection import Connection
from nano.tools.nanoctl.place import connect
from nano.tools.testbed.memory import Peak
from nano.tools.testbed.zone import Zone, until

ROUNDS = 4
PORT = 17740


def run() -> dict[str, Any]:
    folder = Path(tempfile.mkdtemp(prefix="nano-bench-"))
    zone = None
    try:
        zone = Zone(folder, local_libvirtd.start(folder / "host", hide_kvm=True), PORT)
        zone.up()
        return _measure(zone, folder)
    finally:
        if zone is not None:
            zone.stop()
        local_libvirtd.stop(folder / "host")
        shutil.rmtree(folder, ignore_errors=True)


def _measure(zone: Zone, folder: Path) -> dict[str, Any]:
    image = folder / "image.qcow2"
    full_image(image)
    zone.ctl("image", "upload", "near", str(image), "--wait")
    zone.ctl("image", "register", "far", str(image), "--wait")  # not in Core's folder: cells are not told its path
    seconds: dict[str, list[float]] = {"near": [], "far": [], "straight": []}
    peaks = []
    for _ in range(ROUNDS):
        for name in ("near", "far"):
            with Peak(zone.pid("cell")) as peak:
                seconds[name].append(_clone(folder, name))
            peaks.append(peak.bytes)
            zone.ctl("guest", "delete", name, "--wait")
            for cached in (folder / "cell" / "data" / "images").glob("*.qcow2"):
                cached.unlink()
        seconds["straight"].append(_convert(image, folder / "straight.qcow2"))
    best = {name: min(values) for name, values in seconds.items()}
    speed = best["straight"] / best["near"]
    return {
        "clone": {"value": round(best["near"], 2), "unit": "s"},
        "qemu-img convert": {"value": round(best["straight"], 2), "unit": "s"},
        "speed, of qemu-img's": {"value": round(speed, 2), "reach": "≥ 0.5", "ok": speed >= 0.5},
        "clone, fetched by HTTPS first": {"value": round(best["far"], 2), "unit": "s"},
        "memory of the cell, beyond what it had": {
            "value": round(max(peaks) / 2**20, 1),
            "unit": "MiB",
            "reach": "< 64 MiB",
            "ok": max(peaks) < 64 << 20,
        },
    }


def full_image(path: Path) -> None:
    """A qcow2 of 1 GiB, every cluster of it written, with nothing that repeats."""
    raw = path.with_suffix(".raw")
    with raw.open("wb") as file:
        for _ in range(1024):
            file.write(os.urandom(1 << 20))
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
    raw.unlink()


def ended(client: Connection, task: str) -> None:
    row: dict[str, Any] = {}

    def has_ended() -> bool:
        row.update(client.call("GET", f"/api/v2/tasks/{task}").value)
        return row["state"] in ("done", "failed")

    until(has_ended, "it ends", 300)
    assert row["state"] == "done", row["error"]


def _clone(state: Path, name: str) -> float:
    client = connect(state=state)
    body = {"name": name, "memory": 64 << 20, "disks": [GIBI], "image": name}
    os.sync()
    began = time.perf_counter()
    task = client.call("POST", "/api/v2/guests", body=body).value["task"]["id"]
    ended(client, task)
    return time.perf_counter() - began


def _convert(source: Path, target: Path) -> float:
    os.sync()
    began = time.perf_counter()
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", source, target], check=True)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    took = time.perf_counter() - began
    target.unlink()
    return took
