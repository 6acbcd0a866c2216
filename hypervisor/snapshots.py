"""The ``Snapshots`` part of a host: what a domain was at one moment, kept inside its volumes (internal qcow2 snapshots).

A snapshot's name on the host is its id, never a name that people gave: ``qemu-img`` takes a short number for the place of a
snapshot in its table. Restoring puts back disks, memory and also the definition of that time, with the note that was kept with
it then; that note tells an interrupted restore from one that has not begun (``stage``).
"""

import re
from typing import Final, Literal, Protocol

from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec

Stage = Literal["before", "restored", "settled"]

_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Snapshots(Protocol):
    """Every call first waits for what the hypervisor still does with the domain. Failures are HostError, DiskFull,
    DeadlineExceeded."""

    async def held(self, guest_id: str, snapshot_id: str) -> bool | None:
        """Whether a snapshot has memory; None when there is none of that id."""
        ...

    async def make(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> bool:
        """Whether it has memory, as it has when the domain is on and ``memory`` is wanted. Succeeds when it is there. After a
        failure ``drop`` is due."""
        ...

    async def freeze(self, guest_id: str) -> bool:
        """Have the agent of a running domain hold its file systems still: all written, nothing more. Whether it does; a domain
        that is off, or has no agent that answers in time, is left as it is. ``thaw`` is due then, whatever happens."""
        ...

    async def thaw(self, guest_id: str) -> None:
        """Let the file systems go on; nothing to do where none stands still. Raises HostError when its agent can't be told."""
        ...

    async def restore(self, guest_id: str, snapshot_id: str, spec: MachineSpec, *, memory: bool) -> None:
        """Disks, memory and definition are what they were. ``spec`` and ``memory`` serve where the hypervisor has lost its
        record of the snapshot and only the volumes have it."""
        ...

    async def settle(self, guest_id: str, spec: MachineSpec, order_id: str) -> None:
        """Define it by its spec again after a restore, with a note that this order's restore is done."""
        ...

    async def stage(self, guest_id: str, snapshot_id: str, order_id: str) -> Stage:
        """How far the restore of this order came."""
        ...

    async def drop(self, guest_id: str, snapshot_id: str, spec: MachineSpec) -> bool:
        """Whether there was one; those that came after it stay. ``spec`` serves where only the volumes have it."""
        ...

    async def in_volumes(self, guest_id: str) -> dict[int, frozenset[str]]:
        """Number of each volume -> ids of the snapshots it holds, whatever the hypervisor knows of them."""
        ...


def taken(snapshot_id: str) -> str:
    """The note in a definition while its snapshot is being made, and so in the definition that the snapshot keeps."""
    return f"snapshot {snapshot_id}"


def settled(order_id: str) -> str:
    return f"restored {order_id}"


def stage_of(note: str, snapshot_id: str, order_id: str) -> Stage:
    return "settled" if note == settled(order_id) else "restored" if note == taken(snapshot_id) else "before"


def is_snapshot_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def require_snapshot_id(snapshot_id: str) -> str:
    """The id itself. Raises HostError(code="invalid_snapshot_id"): it becomes a file name of libvirt's."""
    if not is_snapshot_id(snapshot_id):
        raise HostError(
            f"{snapshot_id[:64]!r} is not a snapshot id.",
            code="invalid_snapshot_id",
            hint="It is a UUID in lower case.",
        )
    return snapshot_id
