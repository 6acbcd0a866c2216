"""Disks and network interfaces of a guest, and its system disk made anew (features M28, M29).

Disks are told by their place: 0 is the system disk. A volume's number is never that of another volume the guest has, so a disk
that comes is a file beside those that are there, and one that goes is removed when nothing refers to it any more.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest
from nano.domain.guest_change import hold_for_change
from nano.domain.guest_commands import free_mac
from nano.domain.guest_hold import refuse_protected
from nano.domain.guest_size import check_size, within
from nano.domain.image import find_image
from nano.domain.machine import DISKS_MAX, NICS_MAX, MachineSpec
from nano.domain.naming import format_size

if TYPE_CHECKING:
    from nano.domain.zone import Zone

OFF: Final = ("stopped", "crashed")


class AddDisk(Command, frozen=True, kw_only=True, tag="guest.disk.add"):
    """Give a guest one more data disk, blank; a running guest gets it at once where its disks' bus allows."""

    guest: str
    size: int


class GrowDisk(Command, frozen=True, kw_only=True, tag="guest.disk.grow"):
    """Make a disk of a guest larger, also while it runs. Its file systems are the guest's own to grow."""

    guest: str
    number: int = 0  # 0 = the system disk
    size: int


class ShrinkDisk(Command, frozen=True, kw_only=True, tag="guest.disk.shrink"):
    """Cut the end off a disk of a stopped guest, and what lies there is lost: only with ``force``."""

    guest: str
    number: int
    size: int
    force: bool = False


class RemoveDisk(Command, frozen=True, kw_only=True, tag="guest.disk.remove"):
    """Take a data disk away from a guest, with everything on it."""

    guest: str
    number: int


class AddNic(Command, frozen=True, kw_only=True, tag="guest.nic.add"):
    """Give a guest one more network interface."""

    guest: str


class RemoveNic(Command, frozen=True, kw_only=True, tag="guest.nic.remove"):
    """Take a network interface away from a guest; its first stays."""

    guest: str
    mac: str


class ResetGuest(Command, frozen=True, kw_only=True, tag="guest.reset"):
    """Make the system disk of a stopped guest anew from a disk image. The old one goes when the new one is whole."""

    guest: str
    image: str


def decide_add_disk(zone: "Zone", command: AddDisk, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    spec = guest.spec
    if len(spec.disks) >= DISKS_MAX:
        raise Conflict(
            f"Guest {guest.name} has {DISKS_MAX} disks, the most a guest may have.",
            code="too_many_disks",
            hint="Remove one, or grow one.",
        )
    disks = (*spec.disks, command.size)
    check_size(spec.cores, spec.memory, disks, None)
    wanted = with_disks(spec, disks, (*spec.volume_numbers, spec.free_volume()))
    return hold_for_change(zone, guest, "disk.add", wanted, context)


def decide_grow_disk(zone: "Zone", command: GrowDisk, context: Context) -> list[Emitted]:
    guest, before = disk_of(zone, command.guest, command.number)
    if command.size <= before:
        raise Invalid(
            f"The disk is {format_size(before)}; {format_size(command.size)} is not larger.",
            code="disk_not_larger",
            hint="Ask for more, or shrink it.",
            field="size",
        )
    return hold_for_change(zone, guest, "disk.grow", _resized(guest.spec, command.number, command.size), context)


def decide_shrink_disk(zone: "Zone", command: ShrinkDisk, context: Context) -> list[Emitted]:
    guest, before = disk_of(zone, command.guest, command.number)
    if command.size >= before:
        raise Invalid(
            f"The disk is {format_size(before)}; {format_size(command.size)} is not smaller.",
            code="disk_not_smaller",
            hint="Ask for less, or grow it.",
            field="size",
        )
    wanted = _resized(guest.spec, command.number, command.size)
    refuse_protected(guest, "nothing of its disks is cut off")
    if not command.force:
        raise Conflict(
            f"What lies behind the first {format_size(command.size)} of the disk would be lost.",
            code="shrink_loses_data",
            hint="Make its file systems smaller first, inside the guest; then force it.",
        )
    return hold_for_change(zone, guest, "disk.shrink", wanted, context, allowed=OFF, verb="given a smaller disk")


def decide_remove_disk(zone: "Zone", command: RemoveDisk, context: Context) -> list[Emitted]:
    guest, _ = disk_of(zone, command.guest, command.number)
    if command.number == 0:
        raise Invalid(
            "The system disk can't be removed.",
            code="system_disk",
            hint="Reset it, or delete the guest.",
            field="number",
        )
    refuse_protected(guest, "its disks are not removed")
    spec = guest.spec
    stays = [place for place in range(len(spec.disks)) if place != command.number]
    wanted = with_disks(
        spec, tuple(spec.disks[place] for place in stays), tuple(spec.volume_numbers[place] for place in stays)
    )
    return hold_for_change(zone, guest, "disk.remove", wanted, context)


def decide_add_nic(zone: "Zone", command: AddNic, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if len(guest.spec.macs) >= NICS_MAX:
        raise Conflict(
            f"Guest {guest.name} has {NICS_MAX} network interfaces, the most a guest may have.",
            code="too_many_nics",
            hint="Remove one first.",
        )
    mac = free_mac(zone, context)
    wanted = msgspec.structs.replace(guest.spec, more_macs=(*guest.spec.more_macs, mac))
    return hold_for_change(zone, guest, "nic.add", wanted, context, claims={"mac": mac})


def decide_remove_nic(zone: "Zone", command: RemoveNic, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if command.mac not in guest.spec.more_macs:
        raise Invalid(
            f"{command.mac[:40]!r} is no network interface of guest {guest.name} that can be removed.",
            code="unknown_nic",
            hint=f"It is one of: {', '.join(guest.spec.more_macs) or 'none'}. The first one stays.",
            field="mac",
        )
    kept = tuple(mac for mac in guest.spec.more_macs if mac != command.mac)
    return hold_for_change(zone, guest, "nic.remove", msgspec.structs.replace(guest.spec, more_macs=kept), context)


def decide_reset(zone: "Zone", command: ResetGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    image = find_image(zone, command.image)
    refuse_protected(guest, "its system disk is not replaced")
    spec = guest.spec
    check_size(spec.cores, spec.memory, spec.disks, image)
    volumes = (spec.free_volume(), *spec.volume_numbers[1:])
    wanted = msgspec.structs.replace(spec, image=image.id, volumes=volumes)
    return hold_for_change(
        zone,
        guest,
        "reset",
        wanted,
        context,
        allowed=OFF,
        verb="reset",
        claims={"image": image.id},
        beside=image.size,
    )


def with_disks(spec: MachineSpec, disks: tuple[int, ...], numbers: tuple[int, ...]) -> MachineSpec:
    """The spec with these disks; numbers that go without saying are not written."""
    return msgspec.structs.replace(spec, disks=disks, volumes=() if numbers == tuple(range(len(disks))) else numbers)


def disk_of(zone: "Zone", reference: str, number: int) -> tuple[Guest, int]:
    """The guest, and the size of that disk. Raises Unknown, Invalid(invalid_number)."""
    guest = zone.find_guest(reference)
    most = len(guest.spec.disks) - 1
    within(number, 0, most, "number", str(number), f"0 to {most}: 0 is the system disk of guest {guest.name}")
    return guest, guest.spec.disks[number]


def _resized(spec: MachineSpec, number: int, size: int) -> MachineSpec:
    disks = tuple(size if place == number else now for place, now in enumerate(spec.disks))
    check_size(spec.cores, spec.memory, disks, None)
    return msgspec.structs.replace(spec, disks=disks)


RULES: Final = Rules(
    decide={
        AddDisk: decide_add_disk,
        GrowDisk: decide_grow_disk,
        ShrinkDisk: decide_shrink_disk,
        RemoveDisk: decide_remove_disk,
        AddNic: decide_add_nic,
        RemoveNic: decide_remove_nic,
        ResetGuest: decide_reset,
    },
    evolve={},
)
