"""A journal replayed with its chain verified, against decoding the same lines alone

The journal is one that guests leave who live whole lives: ordered to start, answering, looked at, stopped on order or by
themselves; most of its lines come of tasks. *Replay* is what a Core does at a start without a snapshot: a ``Ledger`` opens the
log with the node's key, so every byte of every sealed segment is checked against the digest that this key has signed, every
line of the newest against the hash of the line before, all of it is decoded, its positions, times and versions checked, and
folded into the zone. *Line by line* is the same without the key, as where seals are missing: the whole chain is followed.
*Decoding alone* is msgspec with the same typed decoder over the same lines, in memory when its time begins, in blocks of the
same size. In turns, with the collector off, as while a node starts; the best of a few rounds counts for each.
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
from nano.journal.archive import SCAN_BYTES, read_text
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.line import line_decoder
from nano.journal.segments import BLOCK_BYTES, Signer, list_segments
from nano.journal.snapshots import SnapshotSettings
from nano.tools.simulator.filled import FilledJournal
from nano.transports.identity import load_or_create
from nano.transports.journal_signer import JournalSigner

ROOT: Final = Path(__file__).resolve().parents[2]
EVENTS, GUESTS, CELLS = 1_000_000, 20_000, 240
ROUNDS: Final = 3
REACH: Final = 0.2
NO_SNAPSHOTS: Final = SnapshotSettings(every_events=0, at_stop_events=1 << 60)


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".bench-") as name:
        node = Path(name)
        signer = JournalSigner(load_or_create(node / "config", "core", addresses=[]))
        filled = FilledJournal(node, guests=GUESTS, cells=CELLS, signer=signer)
        events = filled.live(EVENTS)
        filled.close()
        del filled
        journal = node / "data" / "journal"
        decoding, replaying, following = [], [], []
        for _ in range(ROUNDS):
            gc.collect()
            gc.disable()
            decoding.append(_decode(journal))
            replaying.append(asyncio.run(_replay(journal, events, signer)))
            following.append(asyncio.run(_replay(journal, events, None)))
            gc.enable()
        lines = sum(block.count(b"\n") for block in _blocks(journal))
        size = sum(map(len, _blocks(journal)))
    alone, whole, by_line = events / min(decoding), events / min(replaying), events / min(following)
    return {
        "events": events,
        "lines": lines,
        "size": {"value": round(size / 1e6), "unit": "MB"},
        "decoding alone": {"value": round(alone), "unit": "events/s"},
        "replay, chain verified": {"value": round(whole), "unit": "events/s"},
        "replay, line by line": {"value": round(by_line), "unit": "events/s"},
        "ratio": {"value": round(whole / alone, 3), "reach": f"≥ {REACH}", "ok": whole >= REACH * alone},
    }


def _blocks(journal: Path) -> Iterator[bytes]:
    """Whole lines of about BLOCK_BYTES, of plain segments and archived ones."""
    disk = RealDisk()
    for segment in list_segments(disk, journal / "commits"):
        offset, rest = 0, b""
        while text := read_text(disk, segment.path, offset, SCAN_BYTES):
            offset, text, begin = offset + len(text), rest + text, 0
            while end := text.find(b"\n", begin + BLOCK_BYTES) + 1:
                yield text[begin:end]
                begin = end
            rest = text[begin:]
        if rest:
            yield rest


def _decode(journal: Path) -> float:
    decoder = line_decoder(Zone().rules.event_types())
    took = 0.0
    for block in _blocks(journal):
        began = time.perf_counter()
        decoder.decode_lines(block)
        took += time.perf_counter() - began
    return took


async def _replay(journal: Path, events: int, signer: Signer | None) -> float:
    def clock() -> datetime:
        return datetime.now(UTC)

    log = CommitLog(journal, clock=clock, signer=signer)
    ledger = Ledger(log, Zone(), clock=clock, new_id=str, feed=Feed(), snapshots=NO_SNAPSHOTS)
    began = time.perf_counter()
    await ledger.start()
    took = time.perf_counter() - began
    assert ledger.position == events
    await ledger.aclose()
    return took
