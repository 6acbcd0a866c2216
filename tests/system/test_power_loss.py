"""Loss of power on a real kernel and a real file system: a guest journals on an ext4 of its own, and the plug is pulled.

The guest's disk has a volatile cache and remembers every write and flush in order. QEMU is killed in the middle of work; what
the disk was not told to flush is lost, kept or torn at sectors, by a seed. That is done for the moment of the kill, on
whose disk the next guest starts, and afterwards for many other moments of the same run, whose disks are read here
(e2fsck replays the file system's journal as a mount would).

``NANO_POWER_BOOTS``, ``NANO_POWER_CUTS`` (for each boot) and ``NANO_POWER_SEED`` ask for more, and for others.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import anyio
import anyio.abc
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from nano.domain.errors import JournalDamaged
from nano.journal.reader import JournalReader
from nano.journal.testing import Counters
from nano.journal.verify import verify
from nano.tools.testbed import nbd, power_guest
from nano.tools.testbed.journaling import ledger_on
from nano.tools.testbed.volatile_disk import VolatileDisk

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(3000)]

log = logging.getLogger("nano.tests")

BOOTS = int(os.environ.get("NANO_POWER_BOOTS", "2"))
CUTS = int(os.environ.get("NANO_POWER_CUTS", "40"))
SEED = int(os.environ.get("NANO_POWER_SEED", "1"))
BOOT_LIMIT_S = 240.0
TOOLS = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}

Acknowledged = dict[int, str]  # position -> command id


class Run:
    """One life of the guest. ``acknowledged`` in order, each with how many operations the disk had seen when it came."""

    def __init__(self, folder: Path, disk: VolatileDisk) -> None:
        self.folder = folder
        self.disk = disk
        self.opened_at = 0  # position of its journal when it was opened
        self.acknowledged: list[tuple[int, int, str]] = []

    async def live(self, kernel: Path, initrd: Path, commands: int) -> None:
        """Power on, until so many commands are acknowledged; then kill -9, at whatever it is doing."""
        sockets = [self.folder / "disk.sock", self.folder / "said.sock"]
        async with anyio.create_task_group() as group:
            await group.start(nbd.serve, self.disk, sockets[0])
            async with await anyio.create_unix_listener(sockets[1]) as listener:
                command = power_guest.command(kernel, initrd, *sockets, self.folder / "console.log")
                with anyio.fail_after(BOOT_LIMIT_S):
                    async with await anyio.open_process(command, stdout=None, stderr=None) as guest:
                        try:
                            async with await listener.accept() as said:
                                await self._hear(BufferedByteReceiveStream(said), commands)
                        finally:
                            guest.kill()
            group.cancel_scope.cancel()

    async def _hear(self, said: BufferedByteReceiveStream, commands: int) -> None:
        while len(self.acknowledged) < commands:
            word, text = (await said.receive_until(b"\n", 200)).decode().split()
            if word == "opened":
                self.opened_at = int(text)
            else:
                self.acknowledged.append((len(self.disk.operations), int(word), text))


def journal_on(image: bytearray, folder: Path) -> Path:
    """The node's folder as it is on this disk after the file system has recovered. Raises AssertionError when it can't."""
    folder.mkdir()
    raw = folder / "disk.raw"
    raw.write_bytes(image)
    mended = subprocess.run(["e2fsck", "-fy", raw], capture_output=True, text=True, env=TOOLS, check=False)
    assert mended.returncode in (0, 1), mended.stdout
    subprocess.run(["debugfs", "-R", f"rdump /data {folder}", raw], capture_output=True, env=TOOLS, check=True)
    raw.unlink()
    return folder


async def check(node: Path, acknowledged: Acknowledged) -> int:
    """Everything acknowledged is there once, at its place; nothing is there in part; live state is what the lines say.
    Returns the position of the snapshot that the start began with."""
    journal = node / "data" / "journal"
    if not (journal / "commits").exists():
        assert not acknowledged
        return 0
    before = verify(journal)
    assert before.damage is None, f"before a start: {before.damage}"
    ledger = ledger_on(node)
    await ledger.start()
    lines = list(JournalReader(journal).lines())
    recorded = {line.position: line.command for line in lines}
    assert {position: recorded.get(position) for position in acknowledged} == acknowledged
    commands = [line.command for line in lines if line.command]
    assert len(commands) == len(set(commands))
    assert isinstance(ledger.model, Counters)
    assert sum(ledger.model.values().values()) == len(commands)
    assert ledger.position == before.position == (lines[-1].last if lines else 0)
    began = ledger.snapshots.position
    await ledger.aclose()
    after = verify(journal)
    assert after.damage is None, f"after a start: {after.damage}"
    return began


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("guest")
    yield power_guest.build(folder)
    shutil.rmtree(folder)


async def test_what_was_acknowledged_survives_the_loss_of_power(guest: tuple[Path, Path], tmp_path: Path) -> None:
    random = Random(SEED)
    power_guest.make_disk(tmp_path / "empty.raw")
    image = bytearray((tmp_path / "empty.raw").read_bytes())
    survived: Acknowledged = {}
    for boot in range(BOOTS):
        folder = tmp_path / f"boot-{boot}"
        folder.mkdir()
        run = Run(folder, VolatileDisk(bytes(image)))
        await run.live(*guest, commands=random.randint(800, 1600))
        assert run.opened_at >= max(survived, default=0)
        made, began = len(run.disk.operations), []
        for number, at in enumerate(sorted(random.sample(range(1, made), min(CUTS, made - 1)))):
            known = survived | {position: command for seen, position, command in run.acknowledged if seen <= at}
            node = journal_on(run.disk.cut(at, random), folder / f"cut-{number}")
            try:
                began.append(await check(node, known))
            except (AssertionError, JournalDamaged) as error:
                error.add_note(f"boot {boot}, power lost after operation {at} of {made}, seed {SEED}: {node}")
                raise
            shutil.rmtree(node)
        assert any(began), "some starts are from a snapshot"
        await assert_that_a_lying_disk_is_found_out(run, survived, folder, random)
        log.info("boot %d: %d commands, %d operations, %d cuts", boot, len(run.acknowledged), made, len(began))
        survived |= {position: command for _, position, command in run.acknowledged}
        image = run.disk.cut(made, random)
    await check(journal_on(image, tmp_path / "end"), survived)


async def assert_that_a_lying_disk_is_found_out(run: Run, survived: Acknowledged, folder: Path, random: Random) -> None:
    """The proof of this proof: where flushes count for nothing, acknowledged commands are lost, and ``check`` says so."""
    known = survived | {position: command for _, position, command in run.acknowledged}
    image = run.disk.lied(random)
    with pytest.raises((AssertionError, JournalDamaged)):
        await check(journal_on(image, folder / "lied"), known)
