"""A journal replayed with its chain verified, against decoding the same lines alone

The journal is one that guests leave who live whole lives: ordered to start, answering, looked at, stopped on order or by
themselves; most of its lines come of tasks. *Replay* is what a node does at a start without a snapshot: a ``Ledger`` opens it,
so every line is read, its hash checked against the line before, decoded, its position, time and versions checked, and folded
into the zone. *Decoding alone* is msgspec with the same typed decoder over the same lines, already in memory, in blocks of
the same size. In turns, with the collector off, as it is while a node starts; the best of a few rounds counts for each.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from nano.domain.zone import Zone
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import line_decoder
from nano.journal.segments import BLOCK_BYTES
from nano.journal.snapshots import SnapshotSettings
from nano.tools.simulator.filled import FilledJournal

ROOT: Final = Path(__file__).resolve().parents[2]
EVENTS, GUESTS, CELLS = 500_000, 10_000, 120
ROUNDS: Final = 5
REACH: Final = 0.2
NO_SNAPSHOTS: Final = SnapshotSettings(every_events=0, at_stop_events=1 << 60)


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        node = Path(name)
        filled = FilledJournal(node, guests=GUESTS, cells=CELLS)
        events = filled.live(EVENTS)
        filled.close()
        del filled
        journal = node / "data" / "journal"
        blocks = list(_blocks(journal))
        decoding, replaying = [], []
        for _ in range(ROUNDS):
            gc.collect()
            gc.disable()
            decoding.append(_decode(blocks))
            replaying.append(asyncio.run(_replay(journal, events)))
            gc.enable()
    alone, whole = events / min(decoding), events / min(replaying)
    return {
        "events": events,
        "lines": sum(block.count(b"\n") for block in blocks),
        "size": {"value": round(sum(map(len, blocks)) / 1e6), "unit": "MB"},
        "decoding alone": {"value": round(alone), "unit": "events/s"},
        "replay, chain verified": {"value": round(whole), "unit": "events/s"},
        "ratio": {"value": round(whole / alone, 3), "reach": f"≥ {REACH}", "ok": whole >= REACH * alone},
    }


def _blocks(journal: Path) -> Iterator[bytes]:
    for segment in sorted((journal / "commits").glob("*.jsonl")):
        with segment.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                yield block + file.readline()


def _decode(blocks: list[bytes]) -> float:
    decoder = line_decoder(Zone().rules.event_types())
    began = time.perf_counter()
    for block in blocks:
        decoder.decode_lines(block)
    return time.perf_counter() - began


async def _replay(journal: Path, events: int) -> float:
    def clock() -> datetime:
        return datetime.now(UTC)

    log = CommitLog(journal, clock=clock)
    ledger = Ledger(log, Zone(), clock=clock, new_id=str, feed=Feed(), snapshots=NO_SNAPSHOTS)
    began = time.perf_counter()
    await ledger.start()
    took = time.perf_counter() - began
    assert ledger.position == events
    await ledger.aclose()
    return took
