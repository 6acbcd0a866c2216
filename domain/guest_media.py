"""The media drive of a guest: what is put into it and taken out, also while the guest runs (feature M24).

What is in the drive is part of what a guest is made of (``MachineSpec.media``), so insert and eject are changes like any
other: made whole or taken back. A media image that is in a drive, or on its way there, is not deleted (``users_of``).
"""

from typing import TYPE_CHECKING, Final

import msgspec

from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest import Guest
from nano.domain.guest_change import hold_for_change
from nano.domain.guest_hold import take_hold
from nano.domain.image import find_image, require_ready
from nano.domain.limits import LIMITS

if TYPE_CHECKING:
    from nano.domain.zone import Zone

INSERT: Final = "insert media"  # the step before the start, in the plan of a start with media


class InsertMedia(Command, frozen=True, kw_only=True, tag="guest.media.insert"):
    """Put a media image into a guest's drive, in place of what is there; also while it runs."""

    guest: str
    media: str


class EjectMedia(Command, frozen=True, kw_only=True, tag="guest.media.eject"):
    """Take what is in a guest's drive out of it, also while the guest uses it."""

    guest: str


def decide_insert(zone: "Zone", command: InsertMedia, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    media = require_ready(find_image(zone, command.media, "media"))
    wanted = msgspec.structs.replace(guest.spec, media=media.id)
    return hold_for_change(zone, guest, "media.insert", wanted, context, claims={"media": media.id})


def decide_eject(zone: "Zone", command: EjectMedia, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    return hold_for_change(zone, guest, "media.eject", msgspec.structs.replace(guest.spec, media=""), context)


def start_with(zone: "Zone", guest: Guest, reference: str, plan: tuple[str, ...], context: Context) -> list[Emitted]:
    """The start of a guest, after the media image was put into its drive; if only the start fails, it stays there."""
    media = require_ready(find_image(zone, reference, "media"))
    wanted = msgspec.structs.replace(guest.spec, media=media.id)
    arguments = {"spec": msgspec.json.encode(wanted).decode(), "media": media.id}
    return take_hold(
        zone, guest, "start", context, plan=(INSERT, *plan), limit=LIMITS.change_deadline, arguments=arguments
    )


RULES: Final = Rules(decide={InsertMedia: decide_insert, EjectMedia: decide_eject}, evolve={})
