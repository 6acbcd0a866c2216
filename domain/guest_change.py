"""Changing a guest: its name, size, priority, limits, disks and network interfaces (features M25–M28).

Every change is a new ``MachineSpec``, decided here whole and carried by the task to the guest's cell, which applies what
differs. So the spec that a refused or failed change leaves is the old one, and what takes effect only at the next start
is what the cell says of it (``pending``). What is asked for already is applied again, which mends a domain that drifted.

A new name or MAC is its guest's from the decision on (``Zone.claims``), although the guest gets it later.
"""

from typing import TYPE_CHECKING, Any, Final

import msgspec

from nano.domain.ability import ABILITY_MISSING, needed, who_can
from nano.domain.errors import Invalid, NoCapacity
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest
from nano.domain.guest_hold import require_free_name, require_power, take_hold
from nano.domain.guest_size import check_limit, check_room, check_size
from nano.domain.guest_snapshot import refuse_loss
from nano.domain.limits import LIMITS
from nano.domain.machine import OPERATIONS_MAX, RATE_MAX, RATE_MIN, DiskLimits, MachineSpec, NetworkLimits, Priority
from nano.domain.placement import Need
from nano.domain.task import Task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

ANY_POWER: Final = ("stopped", "running", "paused", "crashed")
CHANGE: Final = "change"  # the one step of its plan


class SetGuest(Command, frozen=True, kw_only=True, tag="guest.set"):
    """Change a guest's name, size, priority or limits. What a running guest can't take over waits for its next start."""

    guest: str
    name: str | None = None
    cores: int | None = None
    memory: int | None = None
    cores_max: int | None = None  # how far it can grow while it runs; 0 = not
    memory_max: int | None = None
    autostart: bool | None = None
    priority: Priority | None = None
    read_bytes: int | None = None  # a second, each disk; 0 = no limit
    write_bytes: int | None = None
    read_operations: int | None = None
    write_operations: int | None = None
    receive_bytes: int | None = None  # a second, each network interface; 0 = no limit
    send_bytes: int | None = None


def decide_set(zone: "Zone", command: SetGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    wanted = {
        name: value
        for name in command.__struct_fields__
        if name != "guest" and (value := getattr(command, name)) is not None
    }
    if not wanted:
        raise Invalid("Nothing is to be changed.", code="nothing_to_change", hint="Say what, such as cores or memory.")
    claims = {}
    if command.name is not None and command.name != guest.name:
        claims["name"] = require_free_name(zone, command.name)
    return hold_for_change(zone, guest, "set", changed_spec(guest.spec, wanted), context, claims=claims)


def changed_spec(spec: MachineSpec, wanted: dict[str, Any]) -> MachineSpec:
    """The spec with these fields of the command in it. Raises Invalid when a value, or the whole, is out of bounds."""
    for group in ("disk_limits", "network_limits"):
        limits: DiskLimits | NetworkLimits = getattr(spec, group)
        given = {name: wanted.pop(name) for name in limits.__struct_fields__ if name in wanted}
        for name, value in given.items():
            low, high = (1, OPERATIONS_MAX) if name.endswith("operations") else (RATE_MIN, RATE_MAX)
            check_limit(name, value, low, high)
        if given:
            wanted[group] = msgspec.structs.replace(limits, **given)
    changed = msgspec.structs.replace(spec, **wanted)
    check_size(changed.cores, changed.memory, changed.disks, None)
    for size in ("cores", "memory"):
        most = getattr(changed, f"{size}_max")
        if not most or most > getattr(changed, size):
            continue
        if f"{size}_max" in wanted and most < getattr(changed, size):
            raise Invalid(
                f"{size}_max is {most}, below {size}.",
                code=f"invalid_{size}_max",
                hint=f"Use more than its {size}, or 0 for no room to grow.",
                field=f"{size}_max",
            )
        changed = msgspec.structs.replace(changed, **{f"{size}_max": 0})  # it has grown into all of its room
    check_room(changed)
    return changed


def hold_for_change(
    zone: "Zone",
    guest: Guest,
    action: str,
    spec: MachineSpec,
    context: Context,
    *,
    allowed: tuple[str, ...] = ANY_POWER,
    verb: str = "changed",
    claims: dict[str, str] | None = None,
    beside: int = 0,
) -> list[Emitted]:
    """Open the task that has the guest's cell make it so. ``claims`` are values that nobody else may take meanwhile,
    ``beside`` the bytes of disk that it needs while it goes on. Raises Conflict, NoCapacity."""
    if not guest.task:
        require_power(guest, allowed, verb)
        refuse_loss(guest, spec)
        require_capacity(zone, guest, spec, beside)
    arguments = {"spec": msgspec.json.encode(spec).decode(), **(claims or {})}
    return take_hold(zone, guest, action, context, plan=(CHANGE,), limit=LIMITS.change_deadline, arguments=arguments)


def require_capacity(zone: "Zone", guest: Guest, spec: MachineSpec, beside: int) -> None:
    """Its cell has room for what it grows by, and can do what it needs anew."""
    more = Need(
        cores=max(0, spec.cores - guest.spec.cores),
        memory=max(0, spec.memory - guest.spec.memory),
        disk=max(0, spec.disk_total - guest.spec.disk_total) + beside,
        abilities=needed(spec, guest.spec),
    )
    score = zone.explain_growth(guest.cell, more)
    if score.code:
        unfit = score.code == ABILITY_MISSING
        raise NoCapacity(
            f"Cell {guest.cell} {'is not fit for' if unfit else 'has no room for'} it: {score.reason}.",
            code=score.code,
            hint=who_can(zone, more.abilities) if unfit else "Free some room there, ask for less, or move the guest.",
            cells={guest.cell: score.reason},
        )


def spec_of(task: Task) -> MachineSpec:
    """What the guest of an open change is to be made of."""
    return msgspec.json.decode(task.arguments["spec"], type=MachineSpec)


RULES: Final = Rules(decide={SetGuest: decide_set}, evolve={})
