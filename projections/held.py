"""Held: the guests of one cell, counted as they change, so that no row has to count them when it is read.

Invariant: it is a function of the states that were added and not taken away again. It does not know the cell itself:
what a guest's state looks like from outside (``lost``) is said where both are known.
"""

from collections import Counter
from collections.abc import Collection

from nano.domain.guest import Guest
from nano.domain.placement import Need
from nano.projections.rows import GuestState, own_state


class Held:
    """``counts`` by (pool, own state), without zeros; sizes in bytes."""

    __slots__ = ("cores", "counts", "disk", "guests", "memory")

    def __init__(self, guests: Collection[Guest] = ()) -> None:
        self.guests = {guest.id for guest in guests}
        self.counts: Counter[tuple[str, GuestState]] = Counter([(guest.pool, own_state(guest)) for guest in guests])
        specs = [guest.spec for guest in guests]
        self.cores = sum([spec.cores for spec in specs])
        self.memory = sum([spec.memory for spec in specs])
        self.disk = sum([spec.disk_total for spec in specs])

    @property
    def promised(self) -> Need:
        return Need(self.cores, self.memory, self.disk)

    def copy(self) -> "Held":
        other = Held()
        other.guests, other.counts = set(self.guests), self.counts.copy()
        other.cores, other.memory, other.disk = self.cores, self.memory, self.disk
        return other

    def add(self, guest: Guest) -> None:
        self.guests.add(guest.id)
        self._count(guest, 1)

    def remove(self, guest: Guest) -> None:
        self.guests.discard(guest.id)
        self._count(guest, -1)

    def _count(self, guest: Guest, sign: int) -> None:
        key = (guest.pool, own_state(guest))
        self.counts[key] += sign
        if not self.counts[key]:
            del self.counts[key]
        self.cores += sign * guest.spec.cores
        self.memory += sign * guest.spec.memory
        self.disk += sign * guest.spec.disk_total
