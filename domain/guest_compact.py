"""Compacting a disk: the space that its volume takes and the guest does not use is given back to its cell (feature M28).

Of a guest that is off, the volume is written anew without its empty blocks and takes the old one's place when it is whole. Of
a running one, its agent has the file systems tell what they do not use, which reaches all of its disks; that is the thorough
way, because blocks that a guest has freed without saying so are not empty. The disk's size stays, and so does what it leans on.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest, GuestWorkEnded
from nano.domain.guest_devices import disk_of
from nano.domain.guest_hold import EndWork, decide_end_work, require_power, take_hold
from nano.domain.guest_password import require_agent
from nano.domain.limits import LIMITS
from nano.domain.naming import format_size
from nano.domain.task import TaskEnded, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

COMPACT: Final = "compact disk"  # the one step of its plan
NUMBER: Final = "number"  # argument of its task


class CompactDisk(Command, frozen=True, kw_only=True, tag="guest.disk.compact"):
    """Give back what a disk takes and its guest does not use; of a running guest all of its disks, by its agent."""

    guest: str
    number: int = 0  # 0 = the system disk


class EndCompact(Command, frozen=True, kw_only=True, tag="guest.end_compact"):
    """A task's word: so many bytes were given back."""

    task: str
    freed: int


class GuestDiskCompacted(Event, frozen=True, kw_only=True, tag="guest.disk_compacted"):
    """``number``: which disk was asked for; ``freed`` bytes."""

    number: int
    freed: int


def decide_compact(zone: "Zone", command: CompactDisk, context: Context) -> list[Emitted]:
    guest, _ = disk_of(zone, command.guest, command.number)
    if not guest.task:
        if guest.power == "running" and guest.phase == "ready":
            require_agent(guest)
        else:
            require_power(guest, ("stopped", "crashed", "running"), "compacted")
            _refuse_snapshots(guest, guest.spec.volume_numbers[command.number])
    arguments = {NUMBER: str(command.number)}
    return take_hold(
        zone, guest, "disk.compact", context, plan=(COMPACT,), limit=LIMITS.build_deadline, arguments=arguments
    )


def _refuse_snapshots(guest: Guest, volume: int) -> None:
    """They are inside the volume, and writing it anew would lose them. Raises Conflict(disk_in_snapshot)."""
    held = next((one.name for one in guest.snapshots if volume in one.volumes), "")
    if held:
        raise Conflict(
            f"Snapshot {held} of guest {guest.name} holds that disk.",
            code="disk_in_snapshot",
            hint="Delete its snapshots first, or compact it while the guest runs.",
            snapshot=held,
        )


def decide_end(zone: "Zone", command: EndCompact, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    if zone.get(task.resource) is None:
        return decide_end_work(zone, EndWork(task.id), context)
    return [
        Emitted(task.resource, GuestDiskCompacted(number=int(task.arguments[NUMBER]), freed=command.freed)),
        *end_step(task, COMPACT, f"{format_size(command.freed)} given back"),
        Emitted(task.resource, GuestWorkEnded(task.id)),
        Emitted(f"task/{task.id}", TaskEnded("done")),
    ]


def evolve_compacted(state: Guest, event: GuestDiskCompacted, at: datetime) -> Guest:
    return msgspec.structs.replace(state, changed_at=at)


RULES: Final = Rules(
    decide={CompactDisk: decide_compact, EndCompact: decide_end},
    evolve={GuestDiskCompacted: evolve_compacted},
)
