"""The horizon: where a journal begins from which old segments were dropped, and how it is still tied to what it was.

    commits/horizon.json                 the anchor: last position and hash of what is gone, every seal of it, signed
    base/<position>.json.zst             what all that folded to, in the text of a snapshot
    base/<position>.copy.json.zst        the same once more

Unlike a snapshot the base is not a saving of time: nothing else says what was true at the horizon. So it is kept twice,
bound to the anchor by its SHA-256, outlives every change of the node's code, and a start without it is refused. The
chain of the lines that are left begins with the hash in the anchor; the seals, each signed, lead from there back to the
first line ever.

``retention`` prepares both aside, as ``horizon.next.json``; the next opening of the log takes them over (``adopt``) by one
rename, and removes the files. Invariants: nothing is removed before anchor and base are durable and were read back;
segments up to the horizon that are still there do not count. So a crash at any point leaves the old journal or the new one.
"""

import contextlib
import logging
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from nano.domain.errors import Invalid, JournalDamaged
from nano.journal.disk import Disk, replace_file
from nano.journal.line import BEGINNING, NO_HASH, format_time
from nano.journal.segments import HORIZON, Seal, damaged
from nano.journal.small_files import UNREADABLE, checked

log = logging.getLogger("nano.journal")

NEXT: Final = "horizon.next.json"
BASE: Final = "base"
FORMAT: Final = 1


class Limits(NamedTuple):
    """What a node keeps: archived segments whose last fact is older than ``days``, and the oldest while all that are
    archived take more than ``size`` bytes, may be dropped. 0 = never."""

    days: int
    size: int


NEVER: Final = Limits(0, 0)


class Horizon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``position``, ``hash``, ``time`` and ``epoch`` are those of the last line that is gone, ``journal`` the hash of the
    first (``owner``), ``base`` the SHA-256 of the base, ``seals`` those of all segments that are gone, oldest first.
    ``limits`` are those under which it was prepared."""

    position: int
    horizon: int = FORMAT
    journal: str
    hash: str
    time: datetime
    epoch: int
    base: str
    made_by: str
    limits: Limits
    seals: tuple[Seal, ...]
    key: str = ""
    signature: str = ""

    def signed_bytes(self) -> bytes:
        seals = sha256(b"".join(seal.signed_bytes() for seal in self.seals)).hexdigest()
        parts = (self.journal, self.position, self.hash, format_time(self.time), self.epoch, self.base, seals)
        return "\n".join(["nano horizon 1", *map(str, parts), ""]).encode()

    def beginning(self) -> "Beginning":
        return Beginning(self.position, self.hash.encode(), self.time, self.epoch)

    def base_paths(self, journal: Path) -> tuple[Path, Path]:
        return base_paths(journal, self.position)


class Beginning(NamedTuple):
    """What comes before the first line there is."""

    position: int
    hash: bytes
    time: datetime
    epoch: int


THE_BEGINNING: Final = Beginning(0, NO_HASH, BEGINNING, 0)


def base_paths(journal: Path, position: int) -> tuple[Path, Path]:
    folder = journal / BASE
    return folder / f"{position:016d}.json.zst", folder / f"{position:016d}.copy.json.zst"


def read_horizon(disk: Disk, commits: Path, name: str = HORIZON) -> Horizon | None:
    """None for a journal that is all there. Raises JournalDamaged, also for one of a newer format; OSError."""
    path = commits / name
    try:
        horizon = msgspec.json.decode(checked(disk.read(path)), type=Horizon)
    except FileNotFoundError:
        return None
    except (*UNREADABLE, ValueError) as error:
        raise damaged(path, 0, f"it does not say where the journal begins ({error})") from error
    if horizon.horizon != FORMAT:
        raise damaged(path, 0, f"it has format {horizon.horizon}, this version reads {FORMAT}")
    if why := _odd(horizon):
        raise damaged(path, 0, why)
    return horizon


def beginning(disk: Disk, commits: Path) -> Beginning:
    """What comes before the first line. Raises JournalDamaged, OSError."""
    horizon = read_horizon(disk, commits)
    return horizon.beginning() if horizon is not None else THE_BEGINNING


def before_horizon(horizon: Beginning) -> Invalid:
    """For whoever asks for a moment of which nothing is left."""
    return Invalid(
        f"The journal begins after position {horizon.position} ({format_time(horizon.time)}): what was before is gone.",
        code="before_horizon",
        hint=f"Ask for position {horizon.position} or later; older ones are in older backups.",
        field="at",
    )


def read_base(disk: Disk, commits: Path, horizon: Horizon) -> bytes:
    """The file, from whichever copy is whole. Raises JournalDamaged when none is."""
    paths = horizon.base_paths(commits.parent)
    for path in paths:
        with contextlib.suppress(OSError):
            data = disk.read(path)
            if sha256(data).hexdigest() == horizon.base:
                return data
        log.warning("journal.base_damaged file=%s", path)
    raise JournalDamaged(
        f"The base of the journal is damaged or gone: {paths[0]}, byte 0, and its copy too. What was true at position "
        f"{horizon.position} is known from nowhere else.",
        code="base_damaged",
        hint="Nothing was changed. Restore these files from a backup.",
        file=str(paths[0]),
        byte=0,
    )


def copy_horizon(source: Disk, commits: Path, disk: Disk, into: Path) -> Beginning:
    """Anchor and base of a journal for a copy of it with ``commits`` in ``into`` on ``disk``. Raises JournalDamaged, OSError."""
    horizon = read_horizon(source, commits)
    if horizon is None:
        return THE_BEGINNING
    base = read_base(source, commits, horizon)
    disk.make_folder(into.parent / BASE)
    for path in horizon.base_paths(into.parent):
        replace_file(disk, path, base)
    replace_file(disk, into / HORIZON, source.read(commits / HORIZON))
    return horizon.beginning()


def mend(disk: Disk, commits: Path) -> None:
    """Of the two copies of the base, make that anew which is not whole. Raises JournalDamaged when neither is, OSError."""
    horizon = read_horizon(disk, commits)
    if horizon is None:
        return
    base = read_base(disk, commits, horizon)
    for path in horizon.base_paths(commits.parent):
        if path.name not in disk.list(path.parent) or disk.read(path) != base:
            log.warning("journal.base_copied_again file=%s", path)
            replace_file(disk, path, base)


def adopt(disk: Disk, commits: Path, limits: Limits) -> None:
    """At an opening, under the log's lock: take over what was prepared, unless ``limits`` are others by now, and remove what
    no longer counts. Raises JournalDamaged (the journal as it is), OSError."""
    names = disk.list(commits)
    if NEXT in names:
        try:
            following = read_horizon(disk, commits, NEXT)
            assert following is not None
            if following.limits != limits:
                raise damaged(commits / NEXT, 0, "the settings say something else by now")
            for path in following.base_paths(commits.parent):
                if sha256(disk.read(path)).hexdigest() != following.base:
                    raise damaged(path, 0, "it is not what was written")
        except (JournalDamaged, FileNotFoundError) as error:
            log.warning("journal.horizon_passed_over reason=%s", error)
            disk.remove(commits / NEXT)
        else:
            disk.rename(commits / NEXT, commits / HORIZON)
            log.info("journal.horizon_moved position=%d", following.position)
        disk.sync_folder(commits)
        names = disk.list(commits)
    if HORIZON in names:
        horizon = read_horizon(disk, commits)
        assert horizon is not None
        _remove_old(disk, commits, horizon, names)


def _remove_old(disk: Disk, commits: Path, horizon: Horizon, names: list[str]) -> None:
    gone = {f"{seal.first:016d}" for seal in horizon.seals}
    old = [name for name in names if name.partition(".")[0] in gone]
    for name in old:
        disk.remove(commits / name)
    if old:
        disk.sync_folder(commits)
    drop_bases(disk, commits.parent, horizon)


def drop_bases(disk: Disk, journal: Path, *horizons: Horizon) -> None:
    """Remove the bases of others than these. Raises OSError."""
    kept = {path.name for horizon in horizons for path in horizon.base_paths(journal)}
    for name in disk.list(journal / BASE):
        if name not in kept:
            disk.remove(journal / BASE / name)


def _odd(horizon: Horizon) -> str:
    """What is wrong about the seals; empty when they lead from the first line to the horizon."""
    following = 1
    for seal in horizon.seals:
        if seal.first != following or seal.last < seal.first:
            return f"its seals do not follow one another at position {following}"
        following = seal.last + 1
    last = horizon.seals[-1] if horizon.seals else None
    if last is None or (last.last, last.last_hash) != (horizon.position, horizon.hash):
        return "its seals do not lead to its position and hash"
    return ""
