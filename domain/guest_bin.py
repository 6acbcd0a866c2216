"""The recycle bin: a guest that rests in it for a set time, out of use, and is then deleted with its disks (feature B25).

It stays on its cell, and its name, room and addresses stay its own, so taking it out can't fail for what others took. Nothing
works on it but taking it out and deleting it. Its domain is not started with the host meanwhile. A protected guest never gets
there, and one that is protected in there is not deleted when its time is over.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest, GuestWorkEnded
from nano.domain.guest_change import CHANGE, hold_for_change
from nano.domain.guest_hold import refuse_protected, take_hold
from nano.domain.limits import LIMITS
from nano.domain.task import Task, TaskEnded, end_step, open_task

if TYPE_CHECKING:
    from nano.domain.zone import Zone

HOURS_MAX: Final = 366 * 24


class RecycleGuest(Command, frozen=True, kw_only=True, tag="guest.recycle"):
    """Put a stopped guest into the recycle bin; after so many hours it is deleted."""

    guest: str
    hours: int | None = None  # None = as Core's settings say


class RestoreGuest(Command, frozen=True, kw_only=True, tag="guest.restore"):
    """Take a guest out of the recycle bin, as it was."""

    guest: str


class EndBinWork(Command, frozen=True, tag="guest.end_bin_work"):
    """Its domain is as this asks for; the guest goes in, or comes out."""

    task: str


class GuestRecycled(Event, frozen=True, kw_only=True, tag="guest.recycled"):
    """It rests until then. ``autostart``: whether its domain was started with its host before."""

    until: datetime
    autostart: bool = False


class GuestRestored(Event, frozen=True, tag="guest.restored"):
    pass


def decide_recycle(zone: "Zone", command: RecycleGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    refuse_protected(guest, "it does not get into the recycle bin")
    hours = zone.limits.recycle_hours if command.hours is None else command.hours
    if not 1 <= hours <= HOURS_MAX:
        raise Invalid(f"hours is {hours}.", code="invalid_hours", hint=f"Use 1 to {HOURS_MAX}.", field="hours")
    spec = msgspec.structs.replace(guest.spec, autostart=False)
    claims = {"hours": str(hours), "autostart": "yes" if guest.spec.autostart else ""}
    return hold_for_change(
        zone, guest, "recycle", spec, context, allowed=("stopped", "crashed"), verb="recycled", claims=claims
    )


def decide_restore(zone: "Zone", command: RestoreGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if guest.phase != "recycled" and not guest.task:
        raise Conflict(
            f"Guest {guest.name} is not in the recycle bin.", code="not_recycled", hint="Nothing needs to be done."
        )
    spec = msgspec.structs.replace(guest.spec, autostart=guest.recycled_autostart)
    arguments = {"spec": msgspec.json.encode(spec).decode()}
    return take_hold(zone, guest, "restore", context, plan=(CHANGE,), limit=LIMITS.change_deadline, arguments=arguments)


def decide_end(zone: "Zone", command: EndBinWork, context: Context) -> list[Emitted]:
    task = open_task(zone, command.task)
    return [
        *end_step(task, CHANGE),
        Emitted(task.resource, _moved(task, context.at)),
        Emitted(task.resource, GuestWorkEnded(task.id)),
        Emitted(f"task/{task.id}", TaskEnded("done")),
    ]


def _moved(task: Task, at: datetime) -> GuestRecycled | GuestRestored:
    if task.kind == "guest.restore":
        return GuestRestored()
    until = at + timedelta(hours=int(task.arguments["hours"]))
    return GuestRecycled(until=until, autostart=bool(task.arguments["autostart"]))


def evolve_recycled(state: Guest, event: GuestRecycled, at: datetime) -> Guest:
    return msgspec.structs.replace(
        state, phase="recycled", recycled_until=event.until, recycled_autostart=event.autostart, changed_at=at
    )


def evolve_restored(state: Guest, event: GuestRestored, at: datetime) -> Guest:
    return msgspec.structs.replace(state, phase="ready", recycled_until=None, recycled_autostart=False, changed_at=at)


RULES: Final = Rules(
    decide={RecycleGuest: decide_recycle, RestoreGuest: decide_restore, EndBinWork: decide_end},
    evolve={GuestRecycled: evolve_recycled, GuestRestored: evolve_restored},
)
