"""What guests are made of when they are asked for, one or many: the fields that such commands share, and their sense.

``settle`` looks up what they name and refuses what can't be made; name and MAC come in only when a guest is. Nothing is
recorded here.
"""

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from nano.domain.compute_pool import DEFAULT_POOL, ComputePool, pool_named
from nano.domain.errors import Conflict, NoCapacity, Unknown
from nano.domain.facts import Command
from nano.domain.guest_size import check_hardware, check_size
from nano.domain.image import Image, find_image
from nano.domain.machine import Hardware, MachineSpec
from nano.domain.placement import Need

if TYPE_CHECKING:
    from nano.domain.zone import Zone


class GuestMakeup(Command, frozen=True, kw_only=True):
    """``disks`` in bytes, the first is the system disk; blank, or cloned from ``image``."""

    cores: int = 1
    memory: int
    disks: tuple[int, ...]
    pool: str = DEFAULT_POOL
    cell: str = ""  # place it just there; empty = let placement choose
    image: str = ""
    autostart: bool = False
    start: bool = False
    hardware: Hardware = Hardware()

    @property
    def need(self) -> Need:
        return Need(cores=self.cores, memory=self.memory, disk=sum(self.disks))


class Settled(NamedTuple):
    """A makeup that can be made, were there room. ``spec`` lacks name and MAC."""

    pool: ComputePool
    image: Image | None
    spec: MachineSpec

    def spec_of(self, name: str, mac: str) -> MachineSpec:
        return msgspec.structs.replace(self.spec, name=name, mac=mac)


def settle(zone: "Zone", makeup: GuestMakeup) -> Settled:
    """Raises Invalid, Unknown, Conflict."""
    pool = pool_named(zone, makeup.pool)
    if not pool.enabled:
        raise Conflict(
            f"Compute pool {pool.name} is disabled.", code="pool_disabled", hint="Enable it, or choose another."
        )
    image = find_image(zone, makeup.image) if makeup.image else None
    check_size(makeup.cores, makeup.memory, makeup.disks, image)
    check_hardware(makeup.hardware)
    spec = MachineSpec(
        name="",
        mac="",
        cores=makeup.cores,
        memory=makeup.memory,
        disks=makeup.disks,
        image=image.id if image else "",
        autostart=makeup.autostart,
        hardware=makeup.hardware,
    )
    return Settled(pool, image, spec)


def choose_cell(zone: "Zone", pool: str, need: Need, wanted: str) -> str:
    """The wanted cell, or the best one. Raises Unknown, NoCapacity with every cell's reason."""
    verdict = zone.explain_placement(pool, need, only=wanted)
    if wanted and not verdict.scores:
        raise Unknown(f"Pool {pool} has no cell {wanted!r}.", code="unknown_cell", hint="List the pool's cells.")
    if not verdict.cell:
        raise NoCapacity(
            verdict.message,
            code=verdict.code,
            hint="Add or enable a cell, free some room, or ask for less.",
            cells={score.cell: score.reason for score in verdict.scores},
        )
    return verdict.cell
