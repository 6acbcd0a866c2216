"""What the zone needs of this machine: a bridge of its own, a private libvirtd, the guest image, room, free ports.

Everything is recorded in ``up.json`` of the state folder before it is made, so that ``down --purge`` finds it after a
crash at any point.
"""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import libvirt
import msgspec

from nano.domain.errors import Conflict, DiskFull, HostError
from nano.hypervisor import local_libvirtd
from nano.hypervisor.bridge import ensure_bridge, remove_bridge
from nano.hypervisor.guard import remove_guard
from nano.hypervisor.virt_probe import PROBE_FILE, VirtProbe, choose_virt_type
from nano.tools import processes
from nano.tools.guest_image.builder import ensure_image
from nano.tools.state import make_node_folders, node_folder
from nano.tools.up.configs import Ports, bridge_name
from nano.transports.node_files import NodeCard

FREE_BYTES_MIN: Final = 512 << 20
GUESTS_DESTROYED_AT_ONCE: Final = 4  # destroying takes libvirt 2 s each, four at once still 2 s (measured)
RECORD: Final = "up.json"


class Record(msgspec.Struct, frozen=True):
    """What was made outside the state folder, or is needed to find it."""

    bridge: str


def host_folder(state: Path) -> Path:
    return state / "host"


def prepare_state(state: Path) -> Record:
    """The state folder with its record. Raises DiskFull, HostError(state_unusable)."""
    try:
        state.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(state).free
        if free < FREE_BYTES_MIN:
            raise DiskFull(
                f"{state} has {free >> 20} MiB of room; Nano wants {FREE_BYTES_MIN >> 20} MiB to start.",
                hint="Make room, or name another folder with --state.",
            )
        record = Record(bridge=bridge_name(state))
        (state / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    except OSError as error:
        raise HostError(
            f"The state folder {state} can't be used: {error.strerror}.",
            code="state_unusable",
            hint="Name another with --state.",
        ) from error
    return record


def require_ports(ports: Ports, *, core: bool, frontend: bool) -> None:
    """For the nodes that are to start: raises Conflict(port_in_use) naming the first port that somebody else holds."""
    for_core = [("the API", ports.api, "tcp"), ("images", ports.image, "tcp"), ("links", ports.link, "udp")]
    for_frontend = [("the portal", ports.portal, "tcp")]
    for what, port, kind in (for_core if core else []) + (for_frontend if frontend else []):
        if port == 0:
            continue  # the node takes a free one
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as probe:
            if kind == "tcp":  # as the servers do: a closed connection that still waits does not count as taken
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise Conflict(
                    f"Port {port} ({kind}) for {what} can't be used: {error.strerror}.",
                    code="port_in_use",
                    hint="Choose others with --port-base N; N to N+4 are used.",
                    port=port,
                ) from error


def probe_virtualisation(state: Path, cache: Path) -> VirtProbe:
    """Asked once a boot for all zones of this user (the answer names boot and QEMU), and left where the cell looks."""
    probed = choose_virt_type(cache)
    cell = node_folder(state, "cell")
    make_node_folders(cell)
    if (answer := cache / PROBE_FILE).exists():
        shutil.copyfile(answer, cell / "data" / PROBE_FILE)
    return probed


def start_libvirtd(state: Path, bridge: str, probed: VirtProbe) -> str:
    """The bridge and a private libvirtd; its URI. One that runs is kept. Raises HostError."""
    ensure_bridge(bridge)
    return local_libvirtd.start(host_folder(state), hide_kvm=probed.virt_type == "qemu")


def libvirtd_runs(state: Path) -> bool:
    return local_libvirtd.status(host_folder(state)).running


def stop_idle_libvirtd(state: Path) -> bool:
    """Stop the private libvirtd unless guests run under it; whether guests run."""
    folder = host_folder(state)
    guests = local_libvirtd.guest_processes(folder)
    if not guests:
        local_libvirtd.stop(folder)
    return bool(guests)


def image_for(state: Path, cache: Path, progress: Callable[[str, int, int], None]) -> Path:
    """The tiny guest image below the state folder: a name of its own, because the cache forgets and guests do not."""
    target = state / "images" / "tiny.qcow2"
    if target.exists():
        return target
    image = ensure_image(cache, progress)
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    try:
        os.link(image, temporary)
    except OSError:  # another file system
        shutil.copyfile(image, temporary)
    temporary.rename(target)
    return target


def purge(state: Path) -> list[str]:
    """Remove guests, libvirtd, bridge and the folder itself. What was removed, in words. Raises HostError."""
    removed = []
    folder = host_folder(state)
    if folder.is_dir():
        guests = _destroy_guests(folder)
        removed += [f"{guests} guest" + ("s" if guests > 1 else "")] if guests else []
        local_libvirtd.stop(folder)
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        remove_guard(
            msgspec.json.decode((node_folder(state, "cell") / "data" / "node.json").read_bytes(), type=NodeCard).name
        )
    record = _read_record(state)
    if record and remove_bridge(record.bridge):
        removed.append(f"bridge {record.bridge}")
    if state.exists():
        shutil.rmtree(state)
        removed.append(str(state))
    return removed


def _destroy_guests(folder: Path) -> int:
    """Power off and forget every domain of this private libvirtd: all of them are ours. How many there were.

    libvirt does it, because it also takes away what it made for a guest elsewhere (taps, cgroups).
    """
    if not local_libvirtd.guest_processes(folder) and not local_libvirtd.status(folder).running:
        return 0
    uri = local_libvirtd.start(folder, hide_kvm=True)
    with contextlib.closing(libvirt.open(uri)) as connection:
        domains = connection.listAllDomains()
        with ThreadPoolExecutor(max_workers=GUESTS_DESTROYED_AT_ONCE) as pool:
            list(pool.map(_destroy, domains))
    for pid in local_libvirtd.guest_processes(folder):
        if process := processes.identify(pid):
            processes.end(process, patience_s=5.0)
    return len(domains)


def _destroy(domain: "libvirt.virDomain") -> None:
    if domain.isActive():
        with contextlib.suppress(libvirt.libvirtError):  # it may end by itself just now
            domain.destroy()
    flags = (
        libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
        | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    )
    domain.undefineFlags(flags | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)


def _read_record(state: Path) -> Record | None:
    try:
        return msgspec.json.decode((state / RECORD).read_bytes(), type=Record)
    except (FileNotFoundError, msgspec.DecodeError):
        return None
