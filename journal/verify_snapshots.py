"""The part of ``verify`` that looks at snapshots: each bit as it was written, and what is in them as the log folds.

With a model of the node's kind the log is folded up to the newest snapshot's position, and each snapshot compared at its
own; the first resource and field that differ are named, never their values, which may be secrets. One of an older format, or
of another version of the node's code, can't be compared and is counted only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from nano.domain.errors import JournalDamaged
from nano.domain.facts import Model, State
from nano.journal.disk import Disk
from nano.journal.folded import Capture, Folded
from nano.journal.line import Line
from nano.journal.receipts import Receipts
from nano.journal.segments import damaged
from nano.journal.snapshot_text import SnapshotText, Unusable, whole_header
from nano.journal.snapshots import list_snapshots


class SnapshotCheck:
    """``take`` every line of the log, then ``finish``. ``whole`` counts those that are as written, ``folded`` those whose
    contents were compared. ``damage`` is the first thing that is wrong; the log's own damage comes before it."""

    def __init__(self, disk: Disk, folder: Path, model: Model | None, base: bytes | None = None) -> None:
        """``base`` is the file of what was true before the first line, where there is one."""
        self.whole = self.folded = 0
        self.damage: JournalDamaged | None = None
        self._disk = disk
        self._heads: dict[int, tuple[Path, str]] = {}  # position -> file, hash of the line that ends there
        for position, path in list_snapshots(disk, folder):
            self._look(position, path)
        self._last = max(self._heads, default=0) if model is not None and model.rules.states else 0
        if model is not None and self._last:
            self._text = SnapshotText(model)
            self._folded = Folded(model)
            self._folded.receipts = Receipts(b"")
            if base is not None:
                self._folded.restore(SnapshotText(model, any_code=True).read(base))

    def take(self, line: Line[Any], place: Callable[[], tuple[Path, int]]) -> None:
        """``place`` gives file and byte of the line. Raises JournalDamaged when it does not follow from those before it."""
        if line.position <= self._last:
            try:
                self._folded.apply(line)
            except (AttributeError, TypeError, ValueError, KeyError) as error:
                raise damaged(*place(), f"it does not follow from the lines before it ({error})") from error
        if line.events and (head := self._heads.get(line.last)) is not None:
            if head[1] != line.hash:
                self._note(head[0], f"it is of another journal: position {line.last} has another hash in it")
            elif line.last <= self._last:
                self._compare(head[0])

    def finish(self, position: int) -> None:
        for of, (path, _) in self._heads.items():
            if of > position:
                self._note(path, "it is of a position that the commit log does not have")
        if self.damage is not None:
            raise self.damage

    def _note(self, path: Path, why: str, **context: Any) -> None:
        self.damage = self.damage or damaged(path, 0, why, **context)

    def _look(self, position: int, path: Path) -> None:
        try:
            header = whole_header(self._disk.read(path))
        except FileNotFoundError:  # a live node keeps the last few
            return
        except Unusable as error:
            self._note(path, str(error))
            return
        if header is not None and header.position != position:
            self._note(path, f"it is one of position {header.position}")
        elif header is not None:
            self._heads[position] = (path, header.hash)
            self.whole += 1

    def _compare(self, path: Path) -> None:
        try:
            data = self._disk.read(path)
            self._text.header_of(data)
        except (FileNotFoundError, Unusable):  # gone meanwhile, or made by another version of the code
            return
        try:
            found = self._text.read(data)
        except Unusable as error:
            self._note(path, str(error))
            return
        self.folded += 1
        if (wrong := _difference(found, self._folded)) is not None:
            what = f"{wrong.resource} differs in {wrong.field}" if wrong.resource else f"{wrong.field} differs"
            why = f"{what} from what the log up to position {found.position} folds to"
            self._note(path, why, position=found.position, resource=wrong.resource, field=wrong.field)


class _Wrong(NamedTuple):
    resource: str
    field: str


def _difference(found: Capture, folded: Folded) -> _Wrong | None:
    """The first thing in a snapshot that is not what folding gives."""
    states = folded.model.states
    for resource in [*states, *found.states]:
        mine, theirs = states.get(resource), found.states.get(resource)
        if mine != theirs:
            return _Wrong(resource, _field(mine, theirs))
    for resource in [*folded.versions, *found.versions]:
        if folded.versions.get(resource) != found.versions.get(resource):
            return _Wrong(resource, "version")
    for what, mine_, theirs_ in (
        ("the order of resources", list(states), list(found.states)),
        ("what was read of other nodes", folded.tracking, found.tracking),
        ("the order in which things ended", folded.model.memory(), found.memory),
        ("the list of command ids", folded.receipts.copy(), found.receipts),
        ("time or epoch", (folded.time, folded.epoch), (found.time, found.epoch)),
    ):
        if mine_ != theirs_:
            return _Wrong("", what)
    return None


def _field(mine: State | None, theirs: State | None) -> str:
    if mine is None or theirs is None or type(mine) is not type(theirs):
        return "existence"
    one, other = msgspec.structs.asdict(mine), msgspec.structs.asdict(theirs)
    return next(name for name in one if one[name] != other[name])
