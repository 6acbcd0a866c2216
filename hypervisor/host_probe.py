"""What can this host do? Every probe of an ability but KVM's, which is asked for once, before anything else (``virt_probe``).

Each probe does the thing itself, small and where nobody sees it: in a network namespace that goes with the process, with two
files of a few bytes, by a mount that can't succeed. A probe that can't be done counts as an ability that is not there, with
the reason: nothing is promised that was not seen. Blocks for some tenths of a second.
"""

import ctypes
import errno
import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, Literal

from nano.domain import ability as ab
from nano.domain.ability import Ability
from nano.hypervisor.bandwidth_probe import network_limits
from nano.hypervisor.filter_choice import anti_spoofing, packet_filter
from nano.hypervisor.qemu_probe import PROGRAM, qemu_abilities

LIMIT_S: Final = 10.0
FICLONE: Final = 0x40049409  # linux/fs.h
BLOCK: Final = 4096
DETAIL_MAX: Final = 200


def host_abilities(
    volumes: Path, kvm: Ability, *, qemu: str = PROGRAM, filtered_by: Literal["auto", "nwfilter", "nftables"] = "auto"
) -> tuple[Ability, ...]:
    """In the order of ``ability.CAN``. ``volumes`` is there already."""
    found = [kvm, *qemu_abilities(qemu), network_limits(), packet_filter(filtered_by), reflink(volumes), nfs()]
    found.append(anti_spoofing(filtered_by))
    order = list(ab.CAN)
    return tuple(sorted(found, key=lambda one: order.index(one.name)))


def reflink(folder: Path) -> Ability:
    """A file of one block, cloned."""
    name = ab.REFLINK
    try:
        with (
            tempfile.TemporaryFile(dir=folder, prefix=".probe-") as source,
            tempfile.TemporaryFile(dir=folder, prefix=".probe-") as target,
        ):
            source.write(b"\1" * BLOCK)
            source.flush()
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS):
            return Ability(name, False, "file_system", _file_system(folder))
        return Ability(name, False, "told", error.strerror or type(error).__name__)
    return Ability(name, True, detail=_file_system(folder))


def nfs(kinds: tuple[str, ...] = ("nfs4", "nfs"), program: str = "mount.nfs") -> Ability:
    """The kernel looks for the kind of file system before it reads what is to be mounted, which here is nonsense."""
    libc = ctypes.CDLL(None, use_errno=True)
    known = []
    with tempfile.TemporaryDirectory(prefix="nano-probe-") as folder:
        for kind in kinds:
            libc.mount(b"none", os.fsencode(folder), kind.encode(), 0, b"nano_probe=1")
            number = ctypes.get_errno()
            if number == errno.EPERM:
                return Ability(ab.NFS, False, "not_allowed", "mount")
            if number != errno.ENODEV:
                known.append(kind)
    if not known:
        return Ability(ab.NFS, False, "kernel", "nfs")
    if shutil.which(program) is None:
        return Ability(ab.NFS, False, "program", program)
    return Ability(ab.NFS, True, detail=", ".join(known))


def _file_system(folder: Path) -> str:
    """Its kind, of the longest mount point that holds the folder (proc(5), mountinfo)."""
    inside, kind = folder.resolve(), "unknown"
    longest = -1
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return kind
    for line in lines:
        head, _, tail = line.partition(" - ")
        fields = head.split()
        if len(fields) < 5 or not tail:
            continue
        point = Path(fields[4].replace("\\040", " "))
        if inside.is_relative_to(point) and len(str(point)) >= longest:
            longest, kind = len(str(point)), tail.split()[0]
    return kind
