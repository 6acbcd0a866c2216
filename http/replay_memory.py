"""Which signatures were used already, for as long as their dates could still be accepted.

Invariant: a signature that was admitted is never admitted again. The memory is bounded: when it is full the oldest
dates are forgotten and at the same time no longer accepted, so under load the clock window gets narrower and the
guarantee stays. It does not outlive the process; commands are safe past that because an unkeyed command takes its id
from its signature, and the journal knows that id.
"""

from typing import Final

from nano.domain.errors import Failure, Unauthenticated

BUCKET_S: Final = 4
REMEMBERED_MAX: Final = 300_000  # about 25 MB at worst; 4 s of 70,000 requests a second
_FRESH_S: Final = 8.0


class ReplayMemory:
    """Times are POSIX seconds. ``window_s`` is how far a date may lie from now, either way."""

    def __init__(self, window_s: float, remembered_max: int = REMEMBERED_MAX) -> None:
        self._window = window_s
        self._max = remembered_max
        self._buckets: dict[int, set[int]] = {}
        self._count = 0
        self._oldest = 0.0  # dates before this are refused

    def __len__(self) -> int:
        return self._count

    def admit(self, signature: bytes, date: float, now: float) -> None:
        """Raises Unauthenticated(signature_replayed, signature_expired), Failure(too_many_requests)."""
        if date < self._oldest:
            raise Unauthenticated(
                "The request was signed too long ago for a Core this busy.",
                code="signature_expired",
                hint="Set this machine's clock, and sign the request anew.",
            )
        number = int(date) // BUCKET_S
        bucket = self._buckets.get(number)
        if bucket is None:
            self._forget_before(int(now - self._window) // BUCKET_S)
            bucket = self._buckets[number] = set()
        mark = int(signature[:16], 16)
        if mark in bucket:
            raise Unauthenticated(
                "This signature was used before.",
                code="signature_replayed",
                hint="Sign every request anew, with the time in Nano-Date to the microsecond.",
            )
        if self._count >= self._max:
            self._make_room(now)
        bucket.add(mark)
        self._count += 1

    def _forget_before(self, number: int) -> None:
        for old in [kept for kept in self._buckets if kept < number]:
            self._count -= len(self._buckets.pop(old))

    def _make_room(self, now: float) -> None:
        oldest = min(self._buckets)
        end = float((oldest + 1) * BUCKET_S)
        if end > now - _FRESH_S:
            raise Failure(
                "More signed requests arrived in a few seconds than Core remembers.",
                code="too_many_requests",
                hint="Send fewer requests at a time.",
            )
        self._count -= len(self._buckets.pop(oldest))
        self._oldest = end
