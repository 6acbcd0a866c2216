"""Group commit alone, over a log that only remembers what it was given."""

import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from nano.domain.errors import JournalError, NanoError
from nano.journal.append_stats import AppendStats
from nano.journal.commit_log import CommitLog
from nano.journal.engine import Batch, GroupCommit, fresh
from nano.journal.line import line_decoder
from nano.journal.testing import BadDisk, ticking

pytestmark = pytest.mark.anyio


class Bench:
    """An engine on a bad disk whose lines are plain bytes."""

    def __init__(self, folder: Path) -> None:
        self.disk = BadDisk()
        self.log = CommitLog(folder, clock=ticking(), disk=self.disk)
        self.log.open()
        assert list(self.log.replay(line_decoder())) == []
        self.batches: list[list[bytes]] = []
        self.failures: list[NanoError] = []
        self.engine = GroupCommit(self.log, self.durable, self.failures.append, AppendStats())

    def durable(self, batch: Batch) -> None:
        self.batches.append(batch.lines)

    async def put(self, *texts: bytes) -> None:
        batch = self.engine.waiting
        batch.lines += texts
        batch.first, batch.last = self.log.position + 1, self.log.position + len(batch.lines)
        await self.engine.join()


async def test_a_batch_is_what_arrived_while_the_last_one_flew(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.disk.hold()
    async with anyio.create_task_group() as group:
        group.start_soon(bench.put, b"1\n")
        await anyio.to_thread.run_sync(bench.disk.holding.wait, 10)
        for text in (b"2\n", b"3\n", b"4\n"):
            group.start_soon(bench.put, text)
        await anyio.wait_all_tasks_blocked()
        bench.disk.release()
    assert bench.batches == [[b"1\n"], [b"2\n", b"3\n", b"4\n"]]
    await bench.engine.close()
    bench.log.close()


async def test_joining_without_lines_waits_for_those_before(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    order: list[str] = []

    async def run(name: str, *texts: bytes) -> None:
        await bench.put(*texts)
        order.append(name)

    bench.disk.hold()
    async with anyio.create_task_group() as group:
        group.start_soon(run, "write", b"1\n")
        await anyio.to_thread.run_sync(bench.disk.holding.wait, 10)
        group.start_soon(run, "nothing")
        await anyio.wait_all_tasks_blocked()
        assert order == []
        bench.disk.release()
    assert order == ["write", "nothing"]
    await bench.put()  # with nothing under way it returns at once
    await bench.engine.close()
    bench.log.close()


async def test_a_defect_in_the_writing_thread_reaches_every_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)

    def broken(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.log, "append", broken)
    with pytest.raises(JournalError, match="ZeroDivisionError"):
        await bench.put(b"1\n")
    assert bench.log.poisoned is not None
    assert len(bench.failures) == 1
    await bench.engine.close()
    bench.log.close()


async def test_closing_ends_the_thread(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.put(b"1\n")
    await bench.engine.close()
    assert all(thread.name != "nano-journal" for thread in threading.enumerate())
    bench.log.close()


def test_a_fresh_error_says_the_same() -> None:
    error = JournalError("It failed.", code="journal_poisoned", hint="Look.", file="x")
    copy = fresh(error)
    assert copy is not error
    assert (type(copy), str(copy), copy.code, copy.hint, copy.context) == (
        JournalError, str(error), "journal_poisoned", "Look.", {"file": "x"},
    )  # fmt: skip
