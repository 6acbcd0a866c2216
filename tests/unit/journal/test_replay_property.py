"""Whatever is done in whatever order, with whatever disk trouble: replayed state is live state, and nothing is lost."""

import asyncio
import errno
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from nano.domain.errors import NanoError
from nano.domain.facts import Change, Command, State
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.testing import BadDisk, Count, CountAll, Counters, Make, Remove, Spoil, numbered, ticking
from nano.journal.verify import verify

names = st.sampled_from("abc")
commands = st.one_of(
    st.builds(Make, names),
    st.builds(Count, names, st.integers(-3, 3)),
    st.builds(CountAll, st.integers(1, 3)),
    st.builds(Remove, names),
    st.builds(Spoil, names, st.sampled_from(["type", "unlisted", "evolve"])),
)
faults = st.sampled_from([None, None, None, "full", "short", "broken"])
rounds = st.lists(st.tuples(st.lists(commands, max_size=6), faults, st.booleans()), max_size=6)


class Zone:
    """A ledger on a bad disk, started again and again, and what was acknowledged."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ticking()
        self.disk = BadDisk()
        self.acknowledged: set[int] = set()
        self.published: dict[str, State] = {}
        self.sent = 0

    async def start(self) -> None:
        log = CommitLog(self.folder, clock=self.clock, disk=self.disk, segment_bytes_max=2000)
        feed = Feed()
        feed.add_listener(self.fold)
        self.ledger = Ledger(log, Counters(), clock=self.clock, new_id=numbered(), feed=feed)
        await self.ledger.start()
        self.published = dict(self.ledger.model.states)

    def fold(self, changes: list[Change]) -> None:
        for fact, before, after in changes:
            assert self.published.get(fact.resource) == before
            if after is None:
                self.published.pop(fact.resource)
            else:
                self.published[fact.resource] = after

    async def send(self, batch: list[Command]) -> None:
        async def one(command: Command) -> None:
            self.sent += 1
            try:
                receipt = await self.ledger.execute(command, actor="admin", command_id=f"c{self.sent}")
            except (NanoError, RuntimeError):
                return
            self.acknowledged |= {fact.position for fact in receipt.facts}

        await asyncio.gather(*(one(command) for command in batch))

    async def restart(self) -> None:
        live, versions = dict(self.ledger.model.states), dict(self.ledger._versions)
        await self.ledger.aclose()
        await self.start()
        assert self.ledger.model.states == live
        assert self.ledger._versions == versions


async def play(folder: Path, script: list[tuple[list[Command], str | None, bool]]) -> None:
    zone = Zone(folder)
    await zone.start()
    for batch, fault, again in script:
        if fault == "full":
            zone.disk.order("append", errno.ENOSPC)
        elif fault == "short":
            zone.disk.order("append", errno.ENOSPC, short=33)
        elif fault == "broken":
            zone.disk.order("append", errno.EIO)
        await zone.send(batch)
        zone.disk._orders.clear()
        assert zone.published == zone.ledger.model.states
        if again:
            await zone.restart()
    await zone.restart()
    facts = await zone.ledger.facts(limit=10_000)
    assert [fact.position for fact in facts] == list(range(1, len(facts) + 1))
    assert zone.acknowledged == {fact.position for fact in facts}
    await zone.ledger.aclose()
    assert verify(folder).damage is None


@settings(max_examples=60, deadline=None)
@given(rounds)
def test_replayed_state_is_live_state(script: list[tuple[list[Command], str | None, bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(play(Path(folder) / "journal", script))
