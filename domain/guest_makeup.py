"""What guests are made of when they are asked for, one or many: the fields that such commands share, and their sense.

``settle`` looks up what they name and refuses what can't be made; name and MAC come in only when a guest is. Nothing is
recorded here.
"""

import ipaddress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from nano.domain.ability import ABILITY_MISSING, needed, who_can
from nano.domain.cloud_init import CloudInit, check_public
from nano.domain.compute_pool import DEFAULT_POOL, ComputePool, pool_named
from nano.domain.errors import Conflict, Invalid, NoCapacity, Unknown
from nano.domain.facts import Command
from nano.domain.guest_change import changed_spec
from nano.domain.guest_size import check_hardware, check_size
from nano.domain.image import Image, find_image
from nano.domain.machine import DiskLimits, Hardware, MachineSpec, NetworkLimits, Priority
from nano.domain.placement import Need
from nano.domain.security import SecurityPolicy, checked_policy
from nano.domain.template import Template, find_template

if TYPE_CHECKING:
    from nano.domain.zone import Zone


MORE_ROOM: Final = "Add or enable a cell, free some room, or ask for less."


class GuestMakeup(Command, frozen=True, kw_only=True):
    """``disks`` in bytes, the first is the system disk; blank, or cloned from ``image``."""

    cores: int = 1
    memory: int
    disks: tuple[int, ...]
    pool: str = DEFAULT_POOL
    cell: str = ""  # place it just there; empty = let placement choose
    image: str = ""
    linked: bool = False  # lean on the image instead of copying it, where the pool allows
    autostart: bool = False
    start: bool = False
    template: str = ""  # whose hardware it gets, and whose policy when it has none of its own
    hardware: Hardware = Hardware()
    cloud_init: CloudInit | None = None
    cores_max: int = 0  # how far it can grow while it runs; 0 = not beyond what it has
    memory_max: int = 0
    priority: Priority = "high"
    read_bytes: int = 0  # a second, each disk; 0 = no limit
    write_bytes: int = 0
    read_operations: int = 0
    write_operations: int = 0
    receive_bytes: int = 0  # a second, each network interface; 0 = no limit
    send_bytes: int = 0
    unguarded: bool = False  # it may send as other machines, as a router does
    policy: SecurityPolicy | None = None  # in force from its first start on; None = the template's, if that has one


class Settled(NamedTuple):
    """A makeup that can be made, were there room. ``spec`` lacks name and MAC."""

    pool: ComputePool
    image: Image | None
    template: Template | None
    cloud_init: CloudInit | None
    spec: MachineSpec

    def spec_of(self, name: str, mac: str) -> MachineSpec:
        return msgspec.structs.replace(self.spec, name=name, mac=mac)

    @property
    def need(self) -> Need:
        """What its cell must have room for, and must be able to do."""
        spec = self.spec
        return Need(cores=spec.cores, memory=spec.memory, disk=spec.disk_total, abilities=needed(spec))


def settle(zone: "Zone", makeup: GuestMakeup) -> Settled:
    """Raises Invalid, Unknown, Conflict."""
    pool = pool_named(zone, makeup.pool)
    if not pool.enabled:
        raise Conflict(
            f"Compute pool {pool.name} is disabled.", code="pool_disabled", hint="Enable it, or choose another."
        )
    image = find_image(zone, makeup.image) if makeup.image else None
    check_size(makeup.cores, makeup.memory, makeup.disks, image)
    template = find_template(zone, makeup.template) if makeup.template else None
    if template is not None and makeup.hardware != Hardware():
        raise Invalid(
            "Its hardware is given twice: by a template, and in parts.",
            code="hardware_given_twice",
            hint="Give one of them.",
            field="hardware",
        )
    hardware = template.hardware if template is not None else makeup.hardware
    check_hardware(hardware)
    policy = makeup.policy or (template.policy if template is not None else None)
    spec = MachineSpec(
        name="",
        mac="",
        cores=makeup.cores,
        memory=makeup.memory,
        disks=makeup.disks,
        image=image.id if image else "",
        linked=makeup.linked and image is not None and pool.linked_clones,
        autostart=makeup.autostart,
        hardware=hardware,
        seed=makeup.cloud_init is not None,
        security=checked_policy(policy) if policy is not None else None,
        unguarded=makeup.unguarded,
    )
    told = _told(makeup.cloud_init, template)
    if told is not None and told.address and not (policy is not None and policy.addresses):
        spec = msgspec.structs.replace(spec, own_addresses=(str(ipaddress.ip_interface(told.address).ip),))
    spec = changed_spec(spec, {name: getattr(makeup, name) for name in _GROWTH_AND_LIMITS})
    return Settled(pool, image, template, told, spec)


def _told(told: CloudInit | None, template: Template | None) -> CloudInit | None:
    """With the administrator of the template. Raises Invalid."""
    if told is None:
        return None
    if told.password or told.user_data:
        raise AssertionError("A secret of cloud-init has passed Core's door in clear.")
    check_public(told)
    if template is None:
        return told
    if template.operating_system == "windows":
        raise Invalid(
            f"Template {template.name} is for Windows, which reads no cloud-init.",
            code="cloud_init_unsupported",
            hint="Leave cloud-init out, or choose a template for Linux.",
            field="cloud_init",
        )
    return msgspec.structs.replace(told, user=told.user or template.admin)


_GROWTH_AND_LIMITS: Final = (
    "cores_max",
    "memory_max",
    "priority",
    *DiskLimits.__struct_fields__,
    *NetworkLimits.__struct_fields__,
)


def choose_cell(zone: "Zone", pool: str, need: Need, wanted: str) -> str:
    """The wanted cell, or the best one. Raises Unknown, NoCapacity with every cell's reason."""
    verdict = zone.explain_placement(pool, need, only=wanted)
    if wanted and not verdict.scores:
        raise Unknown(f"Pool {pool} has no cell {wanted!r}.", code="unknown_cell", hint="List the pool's cells.")
    if not verdict.cell:
        raise NoCapacity(
            verdict.message,
            code=verdict.code,
            hint=who_can(zone, need.abilities) if verdict.code == ABILITY_MISSING else MORE_ROOM,
            cells={score.cell: score.reason for score in verdict.scores},
        )
    return verdict.cell
