"""Monitor: what is seen of a running guest from outside, beside its console. A part of ``Host`` with drivers of its own."""

from typing import Protocol


class Monitor(Protocol):
    async def screenshot(self, guest_id: str) -> bytes:
        """What its first screen shows now, as PNG of at most ``picture.PNG_BYTES_MAX``. Raises HostError (of a guest that
        does not run, has no display, or shows what can't be read), DeadlineExceeded."""
        ...
