"""What may be asked of guests, and the decisions.

Every work on a guest is a task that holds it (``guest_hold``). The commands at the end are the creation's own: they settle
guest and task together.
"""

import zlib
from typing import TYPE_CHECKING, Final, Literal

from nano.domain.cell import CellDebtRecorded
from nano.domain.errors import Conflict
from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import GuestConsoleOpened, GuestCreateUndone, GuestRequested, GuestSerialOpened, GuestWorkEnded
from nano.domain.guest_hold import open_events, refuse_protected, require_free_name, require_power, take_hold, task_for
from nano.domain.guest_makeup import GuestMakeup, choose_cell, settle
from nano.domain.guest_media import start_with
from nano.domain.limits import LIMITS
from nano.domain.task import Problem, TaskEnded, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

PLANS: Final[dict[str, tuple[str, ...]]] = {
    "start": ("start",),
    "stop": ("stop",),
    "force_stop": ("force stop",),
    "reboot": ("reboot",),
    "force_reboot": ("force reboot",),
    "redefine": ("define again",),
    "delete": ("remove domain",),
}
MADE, STARTED = "make domain", "start"
MAC_TRIES = 1000  # of 16 million; that many in a row are taken only when nearly all are


class CreateGuest(GuestMakeup, frozen=True, kw_only=True, tag="guest.create"):
    """Create a guest, blank or cloned from a disk image. ``disks`` in bytes, the first is the system disk."""

    name: str


class StartGuest(Command, frozen=True, kw_only=True, tag="guest.start"):
    """Power a guest on; with ``media`` it finds that media image in its drive."""

    guest: str
    media: str = ""


class StopGuest(Command, frozen=True, kw_only=True, tag="guest.stop"):
    """Press the guest's power button and wait until it is off."""

    guest: str


class ForceStopGuest(Command, frozen=True, kw_only=True, tag="guest.force_stop"):
    """Power a guest off at once, as pulling the plug does."""

    guest: str


class RebootGuest(Command, frozen=True, kw_only=True, tag="guest.reboot"):
    """Ask the guest to restart."""

    guest: str


class ForceRebootGuest(Command, frozen=True, kw_only=True, tag="guest.force_reboot"):
    """Reset a guest at once, as the reset button does."""

    guest: str


class RedefineGuest(Command, frozen=True, kw_only=True, tag="guest.redefine"):
    """Define the domain of a missing guest again, as the journal describes it."""

    guest: str


class DeleteGuest(Command, frozen=True, kw_only=True, tag="guest.delete"):
    """Delete a guest with its disks; a running one only with ``force``."""

    guest: str
    force: bool = False


class OpenSerial(Command, frozen=True, kw_only=True, tag="guest.open_serial"):
    """Open a guest's serial console: a one-time token for its bytes over a websocket."""

    guest: str


class OpenConsole(Command, frozen=True, kw_only=True, tag="guest.open_console"):
    """Get a one-time token for a running guest's display."""

    guest: str


class EndCreate(Command, frozen=True, tag="guest.end_create"):
    task: str


class AbandonCreate(Command, frozen=True, kw_only=True, tag="guest.abandon_create"):
    """``debt``: the cell could not be asked to clean up, and owes it."""

    task: str
    error: Problem
    undone: tuple[str, ...]
    cancelled: bool = False
    debt: bool = False


def decide_create(zone: "Zone", command: CreateGuest, context: Context) -> list[Emitted]:
    name = require_free_name(zone, command.name)
    settled = settle(zone, command)
    cell = choose_cell(zone, settled.pool.name, settled.need, command.cell)
    guest_id, task_id = context.new_id(), context.new_id()
    requested = GuestRequested(
        id=guest_id,
        spec=settled.spec_of(name, free_mac(zone, context)),
        pool=settled.pool.name,
        cell=cell,
        owner=context.actor,
        image_name=settled.image.name if settled.image else "",
        task=task_id,
        template=settled.template.name if settled.template else "",
        cloud_init=settled.cloud_init,
    )
    plan = (MADE, STARTED) if command.start else (MADE,)
    task = task_for(context, task_id, "guest.create", guest_id, name, plan, LIMITS.create_deadline)
    return [Emitted(f"guest/{guest_id}", requested), *open_events(task)]


def free_mac(zone: "Zone", context: Context) -> str:
    """An address in QEMU's range 52:54:00 that no other guest has, drawn from the context's ids. Raises Conflict."""
    for _ in range(MAC_TRIES):
        drawn = f"{zlib.crc32(context.new_id().encode()) & 0xFFFFFF:06x}"
        mac = f"52:54:00:{drawn[0:2]}:{drawn[2:4]}:{drawn[4:6]}"
        if mac not in zone.macs and not zone.claims("mac", mac):
            return mac
    raise Conflict(
        "No free MAC address was found.", code="no_free_mac", hint="Delete guests that are no longer needed."
    )


_POWER_RULES: dict[type[Command], tuple[str, tuple[str, ...], str]] = {
    StartGuest: ("start", ("stopped", "crashed"), "started"),
    StopGuest: ("stop", ("running",), "stopped"),
    ForceStopGuest: ("force_stop", ("running", "paused", "crashed"), "stopped"),
    RebootGuest: ("reboot", ("running",), "rebooted"),
    ForceRebootGuest: ("force_reboot", ("running", "paused"), "rebooted"),
    RedefineGuest: ("redefine", ("missing",), "defined again"),
}


def decide_power(
    zone: "Zone",
    command: StartGuest | StopGuest | ForceStopGuest | RebootGuest | ForceRebootGuest | RedefineGuest,
    context: Context,
) -> list[Emitted]:
    action, allowed, verb = _POWER_RULES[type(command)]
    guest = zone.find_guest(command.guest)
    if not guest.task:
        require_power(guest, allowed, verb)
    if isinstance(command, StartGuest) and command.media:
        return start_with(zone, guest, command.media, PLANS[action], context)
    return take_hold(zone, guest, action, context, plan=PLANS[action])


def decide_delete(zone: "Zone", command: DeleteGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    refuse_protected(guest, "it is not deleted")
    if guest.power in ("running", "paused") and not command.force and not guest.task:
        raise Conflict(
            f"Guest {guest.name} is {guest.power}.",
            code="guest_running",
            hint="Stop it first, or force the deletion.",
            state=guest.power,
        )
    return take_hold(zone, guest, "delete", context, plan=PLANS["delete"], limit=LIMITS.delete_deadline)


def decide_open_console(zone: "Zone", command: OpenConsole | OpenSerial, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    require_power(guest, ("running", "paused"), "looked at")
    opened = GuestSerialOpened if isinstance(command, OpenSerial) else GuestConsoleOpened
    return [Emitted(f"guest/{guest.id}", opened(by=context.actor))]


def decide_end_create(zone: "Zone", command: EndCreate, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    steps = [event for name in task.plan for event in end_step(task, name)]
    return [*steps, Emitted(task.resource, GuestWorkEnded(task.id)), Emitted(f"task/{task.id}", TaskEnded("done"))]


def decide_abandon_create(zone: "Zone", command: AbandonCreate, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    guest = zone.find_guest(task.resource.removeprefix("guest/"))
    outcome: Literal["failed", "cancelled"] = "cancelled" if command.cancelled else "failed"
    events = [Emitted(task.resource, GuestCreateUndone(reason=command.error.message))]
    if command.debt:
        events.append(Emitted(f"cell/{guest.cell}", CellDebtRecorded(guest_id=guest.id)))
    return [*events, Emitted(f"task/{task.id}", TaskEnded(outcome, error=command.error, undone=command.undone))]


RULES: Final = Rules(
    decide={
        CreateGuest: decide_create,
        **dict.fromkeys(_POWER_RULES, decide_power),
        DeleteGuest: decide_delete,
        OpenConsole: decide_open_console,
        OpenSerial: decide_open_console,
        EndCreate: decide_end_create,
        AbandonCreate: decide_abandon_create,
    },
    evolve={},
)
