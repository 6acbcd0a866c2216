"""kill -9 under load, again and again: no acknowledged commit is lost, and nothing needs a hand."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from nano.journal.reader import JournalReader
from nano.journal.verify import verify

KILLS = 5
ACKNOWLEDGED_MIN = 300

CHILD = """
import sys, anyio
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.testing import Count, Counters, Make

async def main():
    clock = lambda: datetime.now(UTC)
    log = CommitLog(Path(sys.argv[1]), clock=clock, segment_bytes_max=200_000)
    async with Ledger.open(log, Counters(), clock=clock, new_id=lambda: str(uuid4()), feed=Feed()) as ledger:
        async def work(number):
            name = f"n{number}"
            if ledger.model.get(f"counter/{name}") is None:
                await ledger.execute(Make(name), actor="admin", command_id="")
            while True:
                receipt = await ledger.execute(Count(name), actor="admin", command_id=str(uuid4()))
                sys.stdout.write(f"{receipt.position} {receipt.facts[0].command_id}\\n")
                sys.stdout.flush()
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(work, number)

anyio.run(main)
"""


def acknowledged_until_killed(folder: Path) -> dict[int, str]:
    """Positions and command ids a child said were durable before it was killed in the middle of its work."""
    found: dict[int, str] = {}
    with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for row in child.stdout:
            if not row.endswith("\n"):
                break
            position, command_id = row.split()
            found[int(position)] = command_id
            if len(found) == ACKNOWLEDGED_MIN:
                os.kill(child.pid, signal.SIGKILL)
    assert len(found) >= ACKNOWLEDGED_MIN
    return found


@pytest.mark.timeout(60)
def test_no_acknowledged_commit_is_lost(tmp_path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for _ in range(KILLS):
        acknowledged |= acknowledged_until_killed(tmp_path)
    recorded = {line.position: line.command for line in JournalReader(tmp_path).lines()}
    assert {position: recorded[position] for position in acknowledged} == acknowledged
    report = verify(tmp_path)
    assert report.damage is None
    assert report.segments > 1
