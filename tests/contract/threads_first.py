"""Closes a recorder's factory when no thread of the library's case uses it any more.

``test_concurrent_no_conflicts`` of the library leaves its two readers to themselves. Closing SQLite under a thread that reads
takes the whole process down (CPython 3.11 closes the connection beneath the running statement).
"""

import threading
from collections.abc import Callable
from unittest import TestCase


class ThreadsFirst(TestCase):
    def at_the_end(self, close: Callable[[], object]) -> None:
        """Calls ``close`` after the case, when the threads begun since now have ended; not the daemons, which a pool keeps."""
        before = set(threading.enumerate())

        def join_and_close() -> None:
            for thread in {each for each in threading.enumerate() if not each.daemon} - before:
                thread.join(timeout=30)
                assert not thread.is_alive(), f"{thread.name} still runs"
            close()

        self.addCleanup(join_and_close)
