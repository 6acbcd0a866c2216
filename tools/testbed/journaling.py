"""A node's journal at hard work, in a process that is meant to die: ``python -m nano.tools.testbed.journaling FOLDER OUT``.

Twenty callers count their counters through a ledger on FOLDER. Segments are small and snapshots frequent, so that rolling
and sealing happen all the time. To OUT (a file, a terminal or a serial line) it says ``opened <position>``, and then,
for each command only after it was acknowledged, ``<position> <command id>``. It ends by being killed, or after
``--commands N``. With ``--loaded`` it then lists every file of Python it has needed: what a machine without Python must
be given to run it.
"""

import argparse
import os
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio

from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.snapshots import SnapshotSettings
from nano.journal.testing import Count, Counters, Make

CALLERS: Final = 20
SEGMENT_BYTES: Final = 60_000
SNAPSHOTS: Final = SnapshotSettings(every_events=400, at_stop_events=0, keep=2)


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return uuid.uuid4().hex


def ledger_on(folder: Path) -> Ledger:
    log = CommitLog(folder / "data" / "journal", clock=now, segment_bytes_max=SEGMENT_BYTES)
    return Ledger(log, Counters(), clock=now, new_id=new_id, feed=Feed(), snapshots=SNAPSHOTS)


async def work(folder: Path, out: int, commands: int) -> None:
    ledger = ledger_on(folder)
    await ledger.start()
    os.write(out, b"opened %d\n" % ledger.position)
    left = commands

    async def call(name: str) -> None:
        nonlocal left
        if ledger.model.get(f"counter/{name}") is None:
            await ledger.execute(Make(name), actor="admin", command_id="")
        while left:
            left -= 1
            receipt = await ledger.execute(Count(name), actor="admin", command_id=new_id())
            os.write(out, f"{receipt.position} {receipt.facts[0].command_id}\n".encode())

    async with anyio.create_task_group() as group:
        for number in range(CALLERS):
            group.start_soon(call, f"n{number}")
    await ledger.aclose()


def loaded() -> list[str]:
    """Files of every module in this process."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(file for file in files if file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--commands", type=int, default=-1, metavar="N")
    parser.add_argument("--loaded", action="store_true")
    options = parser.parse_args()
    out = os.open(options.out, os.O_WRONLY | os.O_CREAT | os.O_NOCTTY | os.O_APPEND)
    anyio.run(work, options.folder, out, options.commands)
    if options.loaded:
        print("\n".join(loaded()))


if __name__ == "__main__":
    main()
