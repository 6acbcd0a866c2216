"""The host's own figures, from the kernel by psutil, and a guest's from libvirt's bulk statistics.

CPU percent is over the time since the last reading (0.0 at the first). Disk counters are of whole disks, network
counters of every interface but loopback, bridges and the guests' taps, which would count the same bytes again.
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from nano.hypervisor.host import GuestSample, HostSample


class HostFigures:
    def __init__(self, folder: Path) -> None:
        """``folder`` is where volumes are; its file system is the disk that is told."""
        self._folder = folder

    def sample(self, guests: tuple[GuestSample, ...]) -> HostSample:
        memory = psutil.virtual_memory()
        disk = psutil.disk_usage(str(_existing(self._folder)))
        counters = psutil.disk_io_counters(nowrap=False)
        received, sent = _traffic()
        return HostSample(
            cpu_percent=min(100.0, max(0.0, psutil.cpu_percent(interval=None))),
            memory_total=memory.total,
            memory_available=memory.available,
            disk_total=disk.total,
            disk_available=disk.free,
            read_bytes=counters.read_bytes if counters else 0,
            write_bytes=counters.write_bytes if counters else 0,
            receive_bytes=received,
            send_bytes=sent,
            uptime_s=_uptime(),
            guests=guests,
        )


def memory_total() -> int:
    """Bytes of memory the host has."""
    return int(psutil.virtual_memory().total)


def guest_sample(guest_id: str, stats: Mapping[str, Any]) -> GuestSample:
    """From one record of virConnectGetAllDomainStats. Memory is what the guest's balloon driver says it uses, where it
    says so; before that (booting, no driver) what QEMU holds, at most what the guest was given. libvirt counts in KiB."""
    given = int(stats.get("balloon.current", 0))
    available = stats.get("balloon.available")
    free = stats.get("balloon.usable", stats.get("balloon.unused"))
    if available is not None and free is not None:
        used = max(0, int(available) - int(free))
    else:
        used = min(int(stats.get("balloon.rss", given)), given)
    return GuestSample(
        guest_id=guest_id,
        cpu_time_ns=int(stats.get("cpu.time", 0)),
        memory_used=used << 10,
        read_bytes=_total(stats, "block", "rd.bytes"),
        write_bytes=_total(stats, "block", "wr.bytes"),
        receive_bytes=_total(stats, "net", "rx.bytes"),
        send_bytes=_total(stats, "net", "tx.bytes"),
    )


def _total(stats: Mapping[str, Any], group: str, counter: str) -> int:
    return sum(int(stats.get(f"{group}.{n}.{counter}", 0)) for n in range(int(stats.get(f"{group}.count", 0))))


def _traffic() -> tuple[int, int]:
    received = sent = 0
    for name, counters in psutil.net_io_counters(pernic=True, nowrap=False).items():
        device = Path("/sys/class/net") / name
        if name == "lo" or (device / "bridge").exists() or (device / "tun_flags").exists():
            continue
        received += counters.bytes_recv
        sent += counters.bytes_sent
    return received, sent


def _uptime() -> float:
    with contextlib.suppress(OSError, ValueError):
        return float(Path("/proc/uptime").read_text().split()[0])
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
