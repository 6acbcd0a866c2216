"""A place for a journal on each engine: a folder of its own, and for PostgreSQL a real server with a schema of its own."""

import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from nano.domain.facts import Model
from nano.journal.engines.opening import journal_disk, log_for
from nano.journal.engines.settings import EngineSettings
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.log import Log
from nano.journal.segments import list_segments
from nano.journal.testing import Counters, numbered, ticking
from nano.journal.verify import Report, verify
from nano.tools.testbed.postgres import PostgresServer, postgres_server

_schemas = count(1)


class Place:
    """``node`` is a node's folder, ``journal`` its journal's."""

    def __init__(self, node: Path, settings: EngineSettings) -> None:
        self.node = node
        self.journal = node / "data" / "journal"
        self.settings = settings

    def log(self, *, owner: str = "node", clock: Callable[[], datetime] | None = None, node: Path | None = None) -> Log:
        journal = node / "data" / "journal" if node else self.journal
        return log_for(self.settings, journal, clock=clock or ticking(), owner=owner)

    @asynccontextmanager
    async def opened(
        self,
        log: Log | None = None,
        model: Model | None = None,
        *,
        clock: Callable[[], datetime] | None = None,
        **ports: Any,
    ) -> AsyncIterator[Ledger]:
        clock = clock or ticking()
        log = log or self.log(clock=clock)
        ids = numbered()
        async with Ledger.open(log, model or Counters(), clock=clock, new_id=ids, feed=Feed(), **ports) as ledger:
            yield ledger

    def lines(self) -> bytes:
        """Every line there is, as exported."""
        with journal_disk(self.journal) as disk:
            found = list_segments(disk, self.journal / "commits")
            return b"".join([disk.read(segment.path) for segment in found])

    def verified(self) -> Report:
        with journal_disk(self.journal) as disk:
            return verify(self.journal, disk=disk)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as running:
        running.execute("CREATE DATABASE nano")
        yield running


@pytest.fixture
def postgres(server: PostgresServer) -> EngineSettings:
    """A schema that nobody uses yet."""
    schema = f"s{next(_schemas)}"
    server.execute(f"CREATE SCHEMA {schema}", database="nano")
    return EngineSettings(engine="postgres", host=str(server.folder), schema=schema)


@pytest.fixture(params=["json", "sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> EngineSettings:
    if request.param == "postgres":
        found: EngineSettings = request.getfixturevalue("postgres")
        return found
    return EngineSettings(engine=request.param)


@pytest.fixture
def place(tmp_path: Path, settings: EngineSettings) -> Place:
    return Place(tmp_path / "node", settings)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def make_place() -> type[Place]:
    return Place
