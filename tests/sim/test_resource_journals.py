"""Resource journals on the disk of the simulator: power goes, syncs fail, room runs out, again and again; what their mark
claims is always there, and what is caught up is whole. One file sleeps throughout, so nothing but the mark speaks of it."""

import contextlib
import errno
from pathlib import Path
from random import Random

import pytest

from nano.journal.commit_log import CommitLog
from nano.journal.line import Body, Entry, encode_line, format_time, line_decoder
from nano.journal.resource_journals import ResourceJournals
from nano.journal.testing import Counted, Made, ticking
from nano.journal.verify import verify
from nano.tools.simulator.disk import DiskSession, SimulatedDisk

JOURNAL = Path("/node/journal")
DECODER = line_decoder((Made, Counted))
CLOCK = ticking()
ALL_FILES = 100


class Node:
    """A process that keeps resource journals, one step at a time."""

    def __init__(self, disk: SimulatedDisk, versions: dict[str, int]) -> None:
        self.versions = versions
        self.session = DiskSession(disk, lambda: None)
        self.log = CommitLog(JOURNAL, clock=CLOCK, disk=self.session, segment_bytes_max=1500)
        self.log.open()
        for _ in self.log.replay(DECODER):
            pass
        self.journals = ResourceJournals(self.log)

    def write(self, name: str) -> None:
        position, version = self.log.position + 1, self.versions.get(name, 0) + 1
        entry = Entry(f"counter/{name}", version, Made(name) if version == 1 else Counted(version))
        body = Body(position, format_time(max(CLOCK(), self.log.time)), self.log.epoch, "admin", "", "", "", (entry,))
        text, digest = encode_line(self.log.hash, body)
        self.log.append(text, position, position, digest)
        self.versions[name] = version

    def sync(self) -> None:
        """What the thread does when nothing came for a while."""
        with contextlib.suppress(OSError):
            self.journals._sync(ALL_FILES)

    def check(self) -> None:
        assert verify(JOURNAL, disk=self.session).damage is None


@pytest.mark.parametrize("seed", [*range(40), 62, 320, 349, 989])  # the last four found a fault once
def test_what_the_mark_claims_is_there(seed: int) -> None:
    random = Random(seed)
    disk, versions = SimulatedDisk(random), dict[str, int]()
    for life in range(8):
        node = Node(disk, versions)
        if life == 0:
            node.write("sleeper")
        for _ in range(random.randint(0, 6)):
            for _ in range(random.randint(0, 3)):
                node.write(random.choice("abc"))
            if random.random() < 0.2:
                disk.fail_next(random.choice(["append", "fdatasync", "truncate", "rename"]), errno.EIO)
            node.journals.step()
            if random.random() < 0.4:
                node.sync()
            disk.heal()
            node.check()
        node.session.end()
        if random.random() < 0.8:
            disk.lose_power()
    node = Node(disk, versions)
    node.journals.step()
    assert not node.journals.trouble
    assert node.journals.written == node.log.position
    node.check()
