"""Reading back what happened, while the node runs: by position over everything, or by version for one resource.

Reads durable facts from the files, in a worker thread, in bounded pieces; it holds nothing in memory. One resource is
read from its own journal; should that not be at hand (a full disk), the commit log gives the same answer, slower.
"""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from nano.domain.facts import Fact
from nano.journal.horizon import before_horizon
from nano.journal.line import Line, line_decoder
from nano.journal.log import Log
from nano.journal.reader import facts_of
from nano.journal.resource_files import read_facts, row_decoder
from nano.journal.resource_journals import ResourceJournals
from nano.journal.small_files import UNREADABLE
from nano.journal.workers import THREADS, Workers

log = logging.getLogger("nano.journal")

LIMIT_MAX: Final = 10_000


class LogHistory:
    """History of one node; ``event_types`` are those of its model."""

    def __init__(
        self,
        commit_log: Log,
        journals: ResourceJournals,
        event_types: tuple[type, ...],
        workers: Workers = THREADS,
    ) -> None:
        self._log = commit_log
        self._workers = workers
        self._journals = journals
        self._lines = line_decoder(event_types)
        self._rows = row_decoder(event_types)

    async def facts(self, after: int, limit: int, resource: str | None = None) -> list[Fact]:
        """Up to ``limit`` (at most LIMIT_MAX) facts above ``after``: a position, or a version of ``resource``.

        Raises JournalError when the disk can't be read.
        """
        limit = max(0, min(limit, LIMIT_MAX))
        try:
            if resource is None:
                return await self._workers.run(self._after_position, after, limit)
            return await self._workers.run(self._of_resource, resource, after, limit)
        except OSError as error:
            raise self._log.refusal(error, "read") from error

    async def line_at(self, position: int) -> Line[Any]:
        """The line that holds a position. Raises Invalid(before_horizon), JournalError."""
        if position <= self._log.begins.position:
            raise before_horizon(self._log.begins)
        try:
            block: list[Line[Any]] = await self._workers.run(next, self._log.lines(self._lines, position - 1))
        except OSError as error:
            raise self._log.refusal(error, "read") from error
        return block[0]

    async def mark_at(self, position: int) -> str:
        """See ``feed.History``. Raises Invalid(before_horizon), JournalError."""
        line = await self.line_at(position)
        return line.hash if line.last == position else ""

    async def transactions(self, after: int, last: int, limit: int) -> list[Fact]:
        """Facts above ``after`` up to ``last`` of whole transactions: ``limit`` of them, more where one would be cut. Raises
        Invalid(before_horizon) when some of them are gone: who follows must not miss any."""
        if after < self._log.begins.position:
            raise before_horizon(self._log.begins)
        try:
            return await self._workers.run(self._transactions, after, last, limit)
        except OSError as error:
            raise self._log.refusal(error, "read") from error

    def _transactions(self, after: int, last: int, limit: int) -> list[Fact]:
        found: list[Fact] = []
        for lines in self._log.lines(self._lines, after):
            for line in lines:
                if line.position > last or len(found) >= limit:
                    return found
                found += (fact for fact in facts_of(line) if fact.position > after)
        return found

    def _after_position(self, after: int, limit: int) -> list[Fact]:
        return list(islice((fact for fact in self._facts(after) if fact.position > after), limit))

    def _of_resource(self, resource: str, after: int, limit: int) -> list[Fact]:
        if self._journals.flush():
            try:
                return read_facts(self._log.disk, self._journals.folder, resource, self._rows, after, limit)
            except (OSError, *UNREADABLE) as error:
                log.warning("journal.resource_journal_unreadable resource=%s error=%s", resource, error)
        wanted = (fact for fact in self._facts(0) if fact.resource == resource and fact.version > after)
        return list(islice(wanted, limit))

    def _facts(self, after: int) -> Iterator[Fact]:
        for lines in self._log.lines(self._lines, after):
            for line in lines:
                yield from facts_of(line)
