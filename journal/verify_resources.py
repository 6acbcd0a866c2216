"""The part of ``verify`` that compares every resource journal with the commit log.

The log is read once, and each file once: of what a file must say, only its length and a digest chained over its rows are
kept, some 200 bytes a resource. Files that differ are then compared byte by byte in a second reading of the log, so that
the first row that is wrong is named. Measured with 1,000,000 events over 100,000 files: reading each file where the log
speaks of it took 650,000 openings, most of the time; this takes 100,000.

A file may end before the log does when its writer had not claimed those rows (``.mark``): a live node writes them a
little later, and after a loss of power anything may stand there. Neither is damage.
"""

from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from nano.journal.disk import Disk
from nano.journal.line import RawLine
from nano.journal.resource_files import derive, end_of, read_tail, resource_path
from nano.journal.segments import Block, damaged

READ_BYTES: Final = 1 << 20
SUSPECTS_A_READING: Final = 20_000


class Text(NamedTuple):
    """What a file must begin with: so many bytes, and the digest chained over the rows in them."""

    size: int = 0
    digest: bytes = b""

    def followed_by(self, rows: list[bytes]) -> "Text":
        size, digest = self
        for row in rows:
            size += len(row)
            digest = sha256(digest + row).digest()
        return Text(size, digest)


NOTHING: Final = Text()


class ResourceCheck:
    """``take`` every block of the log, then ``finish``. ``claimed`` is the position up to which rows are said to be written."""

    def __init__(self, disk: Disk, resources: Path, claimed: int, begins: int = 0) -> None:
        self.rows = 0
        self._disk = disk
        self._resources = resources
        self._claimed_to = claimed
        self._begins = begins  # rows up to it may still be there, of lines that are gone
        self._decoder = msgspec.json.Decoder(RawLine)
        self._claimed: dict[str, Text] = {}
        self._further: dict[str, Text] = {}  # with the rows after those that are claimed, where there are any

    def take(self, data: bytes) -> None:
        lines = self._decoder.decode_lines(data)
        claimed = [line for line in lines if line.last <= self._claimed_to]
        known, further = self._claimed, self._further
        for resource, rows in derive(claimed).items():
            known[resource] = known.get(resource, NOTHING).followed_by(rows.texts)
            self.rows += len(rows.texts)
        if len(claimed) < len(lines):
            for resource, rows in derive(lines[len(claimed) :]).items():
                before = further.get(resource) or known.get(resource, NOTHING)
                further[resource] = before.followed_by(rows.texts)
                self.rows += len(rows.texts)

    def finish(
        self,
        position: int,
        has_grown: Callable[[], bool],
        blocks: Callable[[], Iterator[Block]],
        progress: Callable[[int, int], None],
    ) -> None:
        """Compare the files. ``position`` is where the log ended, ``has_grown`` whether it is longer by now, ``blocks``
        reads it once more. Raises JournalDamaged for the first row, in the order of the log, that is not as it should be."""
        suspects, seen = [], set()
        resources = list(self._files())
        for number, resource in enumerate(resources):
            if number % 1_000 == 0:
                progress(number, len(resources))
            seen.add(resource)
            if not self._is_right(resource, position, has_grown):
                suspects.append(resource)
        suspects += [resource for resource in self._claimed if resource not in seen]
        every = iter(suspects)
        while some := set(islice(every, SUSPECTS_A_READING)):
            self._explain(some, blocks())

    def _files(self) -> Iterator[str]:
        for kind in self._disk.list(self._resources):
            if not kind.startswith("."):
                for name in self._disk.list(self._resources / kind):
                    yield f"{kind}/{name.removesuffix('.jsonl')}"

    def _is_right(self, resource: str, position: int, has_grown: Callable[[], bool]) -> bool:
        """Whether the file begins with what is claimed. Raises JournalDamaged when it says more than the log."""
        claimed = self._claimed.get(resource, NOTHING)
        further = self._further.get(resource, claimed)
        path = resource_path(self._resources, resource)
        text, right, skipped = NOTHING, not claimed.size, self._skipped(path)
        for row in self._rows(path, skipped, skipped + further.size):
            text = text.followed_by([row])
            right = right or text == claimed
        if right and text == further and self._disk.size(path) > (size := skipped + further.size):
            tail = read_tail(self._disk, path)
            if tail is None or (size < tail.end and (tail.position <= position or not has_grown())):
                raise damaged(path, size, "it says more than the commit log")
        return right

    def _skipped(self, path: Path) -> int:
        """How many bytes at the file's beginning are of lines that are gone."""
        return end_of(self._disk, path, self._begins) if self._begins else 0

    def _rows(self, path: Path, offset: int, end: int) -> Iterator[bytes]:
        """Whole rows of a file between two offsets."""
        rest = b""
        while offset < end and (data := self._disk.read(path, offset, min(READ_BYTES, end - offset))):
            offset += len(data)
            *texts, rest = (rest + data).split(b"\n")
            yield from (text + b"\n" for text in texts)

    # ------------------------------------------------------------------ what exactly is wrong

    def _explain(self, suspects: set[str], blocks: Iterator[Block]) -> None:
        offsets: dict[str, int] = {}
        behind: set[str] = set()
        for block in blocks:
            for resource, rows in derive(self._decoder.decode_lines(block.data)).items():
                if resource not in suspects or resource in behind:
                    continue
                path = resource_path(self._resources, resource)
                expected = b"".join(rows.texts)
                try:
                    offset = offsets[resource] if resource in offsets else self._skipped(path)
                    found = self._disk.read(path, offset, len(expected))
                except FileNotFoundError:
                    found, offset = b"", 0
                if found != expected:
                    self._compare(path, offset, expected, found)
                    behind.add(resource)
                offsets[resource] = offset + len(found)

    def _compare(self, path: Path, offset: int, expected: bytes, found: bytes) -> None:
        """Damage, unless the file's writer had not claimed that row."""
        same = next((n for n, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), len(found))
        start = expected.rfind(b"\n", 0, same) + 1
        row = msgspec.json.decode(expected[start : expected.index(b"\n", start)])
        if int(row["position"]) <= self._claimed_to:
            if same < len(found):
                raise damaged(path, offset + same, "it does not say what the commit log says")
            raise damaged(path, offset + same, "rows are missing that the commit log has")
