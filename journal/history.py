"""Reading back what happened, while the node runs: by position over everything, or by version for one resource.

Reads durable facts from the files, in a worker thread, in bounded pieces; it holds nothing in memory.
"""

from itertools import islice
from typing import Final

import anyio.to_thread

from nano.domain.facts import Fact
from nano.journal.commit_log import CommitLog
from nano.journal.reader import LineDecoder, facts_of, read_lines

LIMIT_MAX: Final = 10_000


class LogHistory:
    """History straight from the commit log."""

    def __init__(self, commit_log: CommitLog, decoder: LineDecoder) -> None:
        self._log = commit_log
        self._decoder = decoder

    async def facts(self, after: int, limit: int, resource: str | None = None) -> list[Fact]:
        """Up to ``limit`` (at most LIMIT_MAX) facts above ``after``: a position, or a version of ``resource``."""
        limit = max(0, min(limit, LIMIT_MAX))
        return await anyio.to_thread.run_sync(self._facts, after, limit, resource)

    def _facts(self, after: int, limit: int, resource: str | None) -> list[Fact]:
        log = self._log
        if resource is None:
            lines = read_lines(log.disk, log.segments, self._decoder, after)
            facts = (fact for line in lines for fact in facts_of(line) if fact.position > after)
        else:
            lines = read_lines(log.disk, log.segments, self._decoder, 0)
            facts = (
                fact for line in lines for fact in facts_of(line) if fact.resource == resource and fact.version > after
            )
        return list(islice(facts, limit))
