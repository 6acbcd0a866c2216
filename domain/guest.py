"""Guest: a virtual machine as Core intends it, and what its cell last said of it (features M20, M23).

Phases:  creating ──▶ ready ──▶ deleting ──▶ (gone), and ready ◀──▶ recycled ──▶ deleting (``guest_bin``)
``power`` is meaningful when ready: stopped, running, paused, crashed, or missing when the domain vanished from its host.
``task`` names the open task that owns the guest; a second piece of work on it is refused meanwhile. The guest's place in
the model is also its reservation on the cell: a guest that is not there reserves nothing.
"""

from datetime import datetime
from typing import Final, Literal

import msgspec

from nano.domain.cloud_init import CloudInit
from nano.domain.facts import Event, Rules
from nano.domain.machine import MachineSpec
from nano.domain.snapshot import Snapshot, SnapshotSchedule
from nano.domain.vnc import VncAccess

Power = Literal["stopped", "running", "paused", "crashed", "missing"]


class Guest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    id: str
    spec: MachineSpec
    pool: str
    cell: str
    owner: str
    image_name: str
    template: str = ""  # name of the one it was made with
    cloud_init: CloudInit | None = None  # what its system is told at its first start
    created_at: datetime
    changed_at: datetime
    phase: Literal["creating", "ready", "recycled", "deleting"] = "creating"
    power: Power = "stopped"
    agent: bool = False
    addresses: tuple[str, ...] = ()
    task: str = ""
    note: str = ""  # why it last changed power, in words
    pending: tuple[str, ...] = ()  # fields of the spec that take effect at its next start
    description: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""
    since: int = 0  # position in its cell's journal when it came to it; 0 = it was made there
    protected: bool = False  # it is not deleted, nor is anything of it
    admin: str = ""  # the account whose password was last set by Nano
    password: str = ""  # that password, sealed with Core's key
    snapshots: tuple[Snapshot, ...] = ()  # oldest first
    snapshot: str = ""  # id of the one it has last come from
    recycled_until: datetime | None = None  # it rests in the recycle bin and is deleted then
    recycled_autostart: bool = False  # what its autostart becomes when it is taken out
    snapshot_schedule: SnapshotSchedule | None = None
    snapshot_due: bool = False  # the schedule's is being taken
    snapshots_failed: int = 0  # of the schedule, in a row
    snapshot_error: str = ""  # why the last of these failed
    vnc: VncAccess | None = None  # for people's own viewers; None = off

    @property
    def name(self) -> str:
        return self.spec.name


class GuestRequested(Event, frozen=True, kw_only=True, tag="guest.requested"):
    """Accepted and placed: name, MAC and room on the cell are taken from here on."""

    id: str
    spec: MachineSpec
    pool: str
    cell: str
    owner: str
    image_name: str
    task: str
    template: str = ""
    cloud_init: CloudInit | None = None


class GuestCreated(Event, frozen=True, tag="guest.created"):
    """The cell has made its volumes and defined its domain."""


class GuestCreateUndone(Event, frozen=True, tag="guest.create_undone"):
    reason: str


class GuestWorkStarted(Event, frozen=True, tag="guest.work_started"):
    """A task took hold of the guest; ``action`` is what it does, as in the task's kind."""

    action: str
    task: str


class GuestWorkEnded(Event, frozen=True, tag="guest.work_ended"):
    task: str
    error: str = ""


class GuestDeleted(Event, frozen=True, tag="guest.deleted"):
    pass


class GuestStarted(Event, frozen=True, tag="guest.started"):
    reason: str = ""


class GuestStopped(Event, frozen=True, tag="guest.stopped"):
    reason: str = ""


class GuestPaused(Event, frozen=True, tag="guest.paused"):
    reason: str = ""


class GuestCrashed(Event, frozen=True, tag="guest.crashed"):
    reason: str = ""


class GuestVanished(Event, frozen=True, tag="guest.vanished"):
    """The hypervisor no longer has the domain, and Nano did not remove it."""

    reason: str = ""


class GuestRedefined(Event, frozen=True, tag="guest.redefined"):
    """Its domain was defined again from the journal."""


class GuestChanged(Event, frozen=True, kw_only=True, tag="guest.changed"):
    """It is made of this now, as its cell has it; ``pending`` names the fields that take effect at its next start."""

    spec: MachineSpec
    pending: tuple[str, ...] = ()
    image_name: str | None = None  # of another image that its system disk comes from


class GuestMoved(Event, frozen=True, kw_only=True, tag="guest.moved"):
    """It is this cell's from here on. ``spec``: what it is made of there. ``since``: what the cell's journal has up to this
    position is about an earlier stay."""

    cell: str
    spec: MachineSpec
    since: int


class GuestAgentChanged(Event, frozen=True, tag="guest.agent_changed"):
    connected: bool
    addresses: tuple[str, ...] = ()


class GuestConsoleOpened(Event, frozen=True, tag="guest.console_opened"):
    """Somebody was given a one-time console token (the token itself is never written)."""

    by: str


class GuestSerialOpened(Event, frozen=True, tag="guest.serial_opened"):
    """The same for its serial port."""

    by: str


def evolve_requested(state: Guest | None, event: GuestRequested, at: datetime) -> Guest:
    return Guest(
        id=event.id,
        spec=event.spec,
        pool=event.pool,
        cell=event.cell,
        owner=event.owner,
        image_name=event.image_name,
        template=event.template,
        cloud_init=event.cloud_init,
        task=event.task,
        created_at=at,
        changed_at=at,
    )


def evolve_created(state: Guest, event: GuestCreated, at: datetime) -> Guest:
    return msgspec.structs.replace(state, phase="ready", power="stopped", changed_at=at)


def evolve_create_undone(state: Guest, event: GuestCreateUndone, at: datetime) -> None:
    return None


def evolve_work_started(state: Guest, event: GuestWorkStarted, at: datetime) -> Guest:
    phase = "deleting" if event.action == "delete" else state.phase
    return msgspec.structs.replace(state, task=event.task, phase=phase, changed_at=at)


def evolve_work_ended(state: Guest, event: GuestWorkEnded, at: datetime) -> Guest:
    resting: Literal["recycled", "ready"] = "recycled" if state.recycled_until else "ready"
    phase = resting if state.phase == "deleting" else state.phase
    ended = msgspec.structs.replace(state, task="", phase=phase, changed_at=at)
    if not state.snapshot_due:
        return ended
    failed = state.snapshots_failed + 1 if event.error else 0
    return msgspec.structs.replace(ended, snapshot_due=False, snapshots_failed=failed, snapshot_error=event.error)


def evolve_deleted(state: Guest, event: GuestDeleted, at: datetime) -> None:
    return None


def _on(state: Guest, power: Power, reason: str, at: datetime) -> Guest:
    return msgspec.structs.replace(state, power=power, note=reason, changed_at=at)


def _off(state: Guest, power: Power, reason: str, at: datetime) -> Guest:
    """Nothing that runs in it can be reached."""
    return msgspec.structs.replace(
        state, power=power, note=reason, changed_at=at, agent=False, addresses=(), pending=()
    )


def evolve_started(state: Guest, event: GuestStarted, at: datetime) -> Guest:
    return _on(state, "running", event.reason, at)


def evolve_stopped(state: Guest, event: GuestStopped, at: datetime) -> Guest:
    return _off(state, "stopped", event.reason, at)


def evolve_paused(state: Guest, event: GuestPaused, at: datetime) -> Guest:
    return _on(state, "paused", event.reason, at)


def evolve_crashed(state: Guest, event: GuestCrashed, at: datetime) -> Guest:
    return _off(state, "crashed", event.reason, at)


def evolve_vanished(state: Guest, event: GuestVanished, at: datetime) -> Guest:
    return _off(state, "missing", event.reason, at)


def evolve_redefined(state: Guest, event: GuestRedefined, at: datetime) -> Guest:
    return _off(state, "stopped", "defined again from the journal", at)


def evolve_changed(state: Guest, event: GuestChanged, at: datetime) -> Guest:
    image_name = state.image_name if event.image_name is None else event.image_name
    changed = msgspec.structs.replace(
        state, spec=event.spec, pending=event.pending, image_name=image_name, changed_at=at
    )
    if event.spec.volume_numbers[0] == state.spec.volume_numbers[0]:
        return changed
    return msgspec.structs.replace(changed, admin="", password="")  # another system disk has other passwords


def evolve_moved(state: Guest, event: GuestMoved, at: datetime) -> Guest:
    """Its new cell has all of it, and says whether its agent answers."""
    power: Power = state.power if state.power in ("running", "paused") else "stopped"  # it is defined there anew
    there = msgspec.structs.replace(state, cell=event.cell, spec=event.spec, since=event.since, power=power)
    pending = state.pending if power in ("running", "paused") else ()
    return msgspec.structs.replace(there, pending=pending, agent=False, addresses=(), changed_at=at)


def evolve_agent_changed(state: Guest, event: GuestAgentChanged, at: datetime) -> Guest:
    return msgspec.structs.replace(state, agent=event.connected, addresses=event.addresses if event.connected else ())


def evolve_console_opened(state: Guest, event: GuestConsoleOpened | GuestSerialOpened, at: datetime) -> Guest:
    return state


RULES: Final = Rules(
    decide={},
    evolve={
        GuestRequested: evolve_requested,
        GuestCreated: evolve_created,
        GuestCreateUndone: evolve_create_undone,
        GuestWorkStarted: evolve_work_started,
        GuestWorkEnded: evolve_work_ended,
        GuestDeleted: evolve_deleted,
        GuestStarted: evolve_started,
        GuestStopped: evolve_stopped,
        GuestPaused: evolve_paused,
        GuestCrashed: evolve_crashed,
        GuestVanished: evolve_vanished,
        GuestRedefined: evolve_redefined,
        GuestChanged: evolve_changed,
        GuestMoved: evolve_moved,
        GuestAgentChanged: evolve_agent_changed,
        GuestConsoleOpened: evolve_console_opened,
        GuestSerialOpened: evolve_console_opened,
    },
    states={"guest": Guest},
)
