"""What runs between ``unshare`` and libvirtd: it turns a fresh mount namespace into that libvirtd's own small world.

Why: libvirtd's folders are compiled in. Binding one folder of ours over each of them lets any number of libvirtds run
side by side, and everything they write stays below that folder. The mounts live in the private namespace and vanish
with its last process; the host's own mount table never changes (its only trace is the empty mount points that
libvirt's packages would make anyway).

Invariant: runs only as ``python -m nano.hypervisor.private_root`` inside a private mount namespace, and ends in exec.
It does not create namespaces, wait or supervise: that is ``local_libvirtd``. ``mount(2)`` is called directly, because a
``/dev`` without ``kvm`` needs one bind per device node and one ``mount`` process for each would take most of a second.
"""

import argparse
import contextlib
import ctypes
import fcntl
import json
import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Final

MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000

BOUND: Final = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "etc": "/etc/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}

UNUSED_ID: Final = 64055  # what Debian's package gives libvirt-qemu (policy 9.2.2: 60000-64999 are allotted globally)

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2). Raises OSError naming both ends."""
    result = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode())
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def bind_folders(folder: Path) -> None:
    for name, target in BOUND.items():
        Path(target).mkdir(parents=True, exist_ok=True)
        mount(str(folder / name), target, flags=MS_BIND)


def resolvable_host_name(folder: Path) -> None:
    """A private /etc/hosts that knows our own host name: without DNS every look-up of it costs libvirtd 10 s."""
    name = socket.gethostname()
    with contextlib.suppress(FileNotFoundError):
        known = Path("/etc/hosts").read_text(errors="replace")
        hosts = folder / "room" / "hosts"
        hosts.write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost {name}\n{known}")
        mount(str(hosts), "/etc/hosts", flags=MS_BIND)


def known_accounts(folder: Path) -> None:
    """Private /etc/passwd and /etc/group in which the accounts exist whose names are compiled into libvirt.

    Debian and Ubuntu make them in ``libvirt-daemon-system``, which also starts services; without them the QEMU driver
    refuses to load, before it reads that our qemu.conf names another user. Nothing ever runs as them here.
    """
    wanted = {
        "/etc/passwd": [f"libvirt-qemu:x:{UNUSED_ID}:{UNUSED_ID}::/nonexistent:/usr/sbin/nologin"],
        "/etc/group": [f"libvirt-qemu:x:{UNUSED_ID}:", f"kvm:x:{UNUSED_ID - 1}:"],
    }
    for path, lines in wanted.items():
        copy = folder / "room" / Path(path).name
        copy.write_text(with_accounts(Path(path).read_text(errors="replace"), lines))
        mount(str(copy), path, flags=MS_BIND)


def with_accounts(text: str, lines: list[str]) -> str:
    """A passwd or group file's text with those of the lines whose name it lacks."""
    known = {line.partition(":")[0] for line in text.splitlines()}
    missing = [line for line in lines if line.partition(":")[0] not in known]
    return "\n".join([text.rstrip("\n"), *missing]) + "\n"


def own_sysfs(folder: Path) -> None:
    """A /sys that shows this network namespace's devices, with the machine's cgroups still inside."""
    aside = folder / "room" / "cgroup"
    aside.mkdir(exist_ok=True)
    mount("/sys/fs/cgroup", str(aside), flags=MS_BIND | MS_REC)
    mount("sysfs", "/sys", "sysfs")
    mount(str(aside), "/sys/fs/cgroup", flags=MS_BIND | MS_REC)


def dev_without_kvm(folder: Path) -> None:
    """A /dev with every node but kvm. Covering kvm by /dev/null instead makes libvirt probe QEMU 16 s at every define."""
    if not os.path.exists("/dev/kvm"):
        return
    room = folder / "room" / "dev"
    room.mkdir(exist_ok=True)
    mount("tmpfs", str(room), "tmpfs", data="mode=755")
    for entry in os.scandir("/dev"):
        if entry.name == "kvm":
            continue
        copy = room / entry.name
        if entry.name == "ptmx":
            copy.symlink_to(
                "pts/ptmx"
            )  # the node looks for "pts" beside itself, and a bound node has nothing beside it
        elif entry.is_symlink():
            copy.symlink_to(os.readlink(entry.path))
        elif entry.is_dir():
            copy.mkdir()
            mount(entry.path, str(copy), flags=MS_BIND | MS_REC)
        else:
            copy.touch()
            mount(entry.path, str(copy), flags=MS_BIND)
    mount(str(room), "/dev", flags=MS_BIND | MS_REC)


def hold_folder(folder: Path) -> None:
    """Take the folder's lock for as long as this process lives, also as libvirtd: the descriptor survives exec."""
    descriptor = os.open(folder / "process.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"Another libvirtd holds {folder}.")
    os.set_inheritable(descriptor, True)


def clear_old(folder: Path) -> None:
    """What a libvirtd that ended left behind. After a reboot of the machine that is all of ``run``, as on any host where
    it is a tmpfs: libvirt starts its autostart guests once for each such folder."""
    run = folder / "run"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    if not (run / "nano.boot").exists() or (run / "nano.boot").read_text() != boot:
        shutil.rmtree(run)
        run.mkdir()
        (run / "nano.boot").write_text(boot)
    for name in ("libvirtd.pid", "libvirt-sock", "libvirt-sock-ro", "libvirt-admin-sock"):
        (run / name).unlink(missing_ok=True)


def record_process(folder: Path) -> None:
    """Who libvirtd will be: exec keeps pid and start time. Written here so that no crash of the starter loses it."""
    started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])  # proc(5), field 22
    fresh = folder / "libvirtd.json.new"
    fresh.write_text(json.dumps({"pid": os.getpid(), "started": started}))
    fresh.replace(folder / "libvirtd.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nano.hypervisor.private_root")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--own-sysfs", action="store_true")
    parser.add_argument("--hide-kvm", action="store_true")
    parser.add_argument("command", nargs="+")
    chosen = parser.parse_args()
    folder: Path = chosen.folder
    hold_folder(folder)
    clear_old(folder)
    record_process(folder)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    if chosen.own_sysfs:
        own_sysfs(folder)
    bind_folders(folder)
    resolvable_host_name(folder)
    known_accounts(folder)
    if chosen.hide_kvm:
        dev_without_kvm(folder)
    os.execvp(chosen.command[0], chosen.command)  # noqa: S606  it is to become this process


if __name__ == "__main__":
    main()
