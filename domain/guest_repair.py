"""Repairing a guest whose domain is not what the journal says: what drifted, or a domain that is gone.

Nothing of the guest changes here: the task has its cell make the domain what its own journal says, and only what is safe.
"""

from typing import TYPE_CHECKING, Final

from nano.domain.facts import Command, Context, Emitted, Rules
from nano.domain.guest_change import ANY_POWER
from nano.domain.guest_hold import require_power, take_hold
from nano.domain.limits import LIMITS

if TYPE_CHECKING:
    from nano.domain.zone import Zone

REPAIR: Final = "repair"  # the one step of its plan


class RepairGuest(Command, frozen=True, kw_only=True, tag="guest.repair"):
    """Make a guest's domain again what the journal says it is, as far as that is safe."""

    guest: str


def decide_repair(zone: "Zone", command: RepairGuest, context: Context) -> list[Emitted]:
    guest = zone.find_guest(command.guest)
    if not guest.task:
        require_power(guest, (*ANY_POWER, "missing"), "repaired")
    return take_hold(zone, guest, "repair", context, plan=(REPAIR,), limit=LIMITS.change_deadline)


RULES: Final = Rules(decide={RepairGuest: decide_repair}, evolve={})
