"""What people say of a guest: description, tags, notes, and that it is protected (feature B25). No cell is asked.

A protected guest is not deleted, and nothing of it is: neither a disk nor what is on one. Protection is taken off first, by
a command of its own, so that no single one destroys what somebody meant to keep.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.errors import Conflict, Invalid
from nano.domain.facts import Command, Context, Emitted, Event, Rules
from nano.domain.guest import Guest
from nano.domain.naming import require_name, require_text

if TYPE_CHECKING:
    from nano.domain.zone import Zone

DESCRIPTION_MAX: Final = 200
NOTES_MAX: Final = 4000
TAGS_MAX: Final = 16


class DescribeGuest(Command, frozen=True, kw_only=True, tag="guest.describe"):
    """Say what a guest is for: a line of description, tags, notes. What is not given stays; empty takes it away."""

    guest: str
    description: str | None = None
    tags: tuple[str, ...] | None = None
    notes: str | None = None


class ProtectGuest(Command, frozen=True, kw_only=True, tag="guest.protect"):
    """Keep a guest from being deleted, and its disks."""

    guest: str


class UnprotectGuest(Command, frozen=True, kw_only=True, tag="guest.unprotect"):
    """Let a guest be deleted again."""

    guest: str


class GuestDescribed(Event, frozen=True, kw_only=True, tag="guest.described"):
    """This is what is said of it from now on."""

    description: str = ""
    tags: tuple[str, ...] = ()
    notes: str = ""


class GuestProtected(Event, frozen=True, tag="guest.protected"):
    pass


class GuestUnprotected(Event, frozen=True, tag="guest.unprotected"):
    pass


def decide_describe(zone: "Zone", command: DescribeGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    description, tags, notes = guest.description, guest.tags, guest.notes
    if command.description is not None:
        description = require_text(command.description.strip(), "description", DESCRIPTION_MAX)
    if command.notes is not None:
        notes = require_text(command.notes.replace("\r\n", "\n").strip(), "notes", NOTES_MAX, lines=True)
    if command.tags is not None:
        tags = require_tags(command.tags)
    if (description, tags, notes) == (guest.description, guest.tags, guest.notes):
        raise _no_change(guest, "described like that")
    return [Emitted(f"guest/{guest.id}", GuestDescribed(description=description, tags=tags, notes=notes))]


def require_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """Each once, without empty ones. Raises Invalid (invalid_name, too_many_tags)."""
    kept = tuple(dict.fromkeys(require_name(tag, "tag", dotted=True) for tag in tags if tag))
    if len(kept) > TAGS_MAX:
        raise Invalid(
            f"These are {len(kept)} tags.", code="too_many_tags", hint=f"Use {TAGS_MAX} at most.", field="tags"
        )
    return kept


def decide_protect(zone: "Zone", command: ProtectGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if guest.phase == "deleting":
        raise Conflict(
            f"Guest {guest.name} is being deleted.",
            code="guest_not_ready",
            hint="Cancel that task first.",
            task=guest.task,
        )
    if guest.protected:
        raise _no_change(guest, "protected")
    return [Emitted(f"guest/{guest.id}", GuestProtected())]


def decide_unprotect(zone: "Zone", command: UnprotectGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.protected:
        raise _no_change(guest, "unprotected")
    return [Emitted(f"guest/{guest.id}", GuestUnprotected())]


def _no_change(guest: Guest, how: str) -> Conflict:
    return Conflict(f"Guest {guest.name} is {how} already.", code="no_change", hint="Nothing needs to be done.")


def evolve_described(state: Guest, event: GuestDescribed, at: datetime) -> Guest:
    return msgspec.structs.replace(
        state, description=event.description, tags=event.tags, notes=event.notes, changed_at=at
    )


def evolve_protected(state: Guest, event: GuestProtected, at: datetime) -> Guest:
    return msgspec.structs.replace(state, protected=True, changed_at=at)


def evolve_unprotected(state: Guest, event: GuestUnprotected, at: datetime) -> Guest:
    return msgspec.structs.replace(state, protected=False, changed_at=at)


RULES: Final = Rules(
    decide={DescribeGuest: decide_describe, ProtectGuest: decide_protect, UnprotectGuest: decide_unprotect},
    evolve={
        GuestDescribed: evolve_described,
        GuestProtected: evolve_protected,
        GuestUnprotected: evolve_unprotected,
    },
)
