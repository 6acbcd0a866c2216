"""Intake: the folder on Core's machine where files are dropped that are to become images.

Others may write there, so nothing in it is believed. Only plain files directly in it are opened, by name relative to the
folder and never through a link; a file of more than one name (hard link) may be somebody else's and is refused. What a file
is called says what it claims to be; whether it is that, the checks of uploads find out, on a copy that nobody else can
write to. Names that begin with a dot are passed over: programs that copy files write them so until they are whole.

Blocking: called where the workers are.
"""

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from nano.domain.errors import Conflict, HostError, Invalid, NanoError
from nano.domain.image_sync import Format
from nano.domain.limits import LIMITS

MAGIC: Final = b"QFI\xfb"
ENDINGS: Final = {"iso": "iso", "qcow2": "qcow2", "img": "raw", "raw": "raw"}
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Found(NamedTuple):
    """One file. ``name`` is fit to be shown; ``mark`` changes with the file's content; ``error`` = refused at first sight."""

    name: str
    size: int = 0
    format: Format = "raw"
    mark: str = ""
    error: NanoError | None = None


class Intake:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def look(self) -> list[Found]:
        """What lies there, by name, as many as one sync takes. Raises HostError(intake_unreadable)."""
        with self._folder() as place:
            names = sorted(name for name in os.listdir(place) if not name.startswith("."))
            found = (self._look_at(place, name) for name in names)
            kept = [one for one in found if one is not None]
        return kept[: LIMITS.sync_files]

    def look_for(self, name: str) -> Found | None:
        """One of them; None when it is there no more. Raises HostError(intake_unreadable)."""
        with self._folder() as place:
            return self._look_at(place, name)

    @contextmanager
    def reading(self, name: str, mark: str) -> Iterator[int]:
        """A descriptor of the file, which is still the one that was marked, also at the end. Raises Conflict(file_changed),
        Invalid."""
        with self._folder() as place, self._opened(place, name) as handle:
            if _mark(os.fstat(handle)) != mark:
                raise _changed(name)
            yield handle
            if _mark(os.fstat(handle)) != mark:
                raise _changed(name)

    def remove(self, name: str, mark: str) -> None:
        """Its image is there now. One that has changed meanwhile is another file, and stays."""
        with self._folder() as place, suppress(FileNotFoundError):
            if _mark(os.stat(name, dir_fd=place, follow_symlinks=False)) == mark:
                os.unlink(name, dir_fd=place)

    @contextmanager
    def _folder(self) -> Iterator[int]:
        try:
            place = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(
                f"The intake folder {self.folder} can't be read: {error.strerror}.",
                code="intake_unreadable",
                hint="Make it, or name another in core.toml: [images] intake.",
            ) from error
        try:
            yield place
        finally:
            os.close(place)

    def _look_at(self, place: int, name: str) -> Found | None:
        """None for folders, and for what has gone."""
        shown = _shown(name)
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=place, follow_symlinks=False).st_mode):
                return None
            if shown != name:
                raise Invalid("The name of the file can't be written.", code="invalid_name", hint="Rename it.")
            with self._opened(place, name) as handle:
                _refuse_writers(handle, name)
                ending = name.rpartition(".")[2].lower()
                stated = ENDINGS.get(ending)
                if stated is None:
                    raise Invalid(
                        f"{name} does not say what it is.",
                        code="file_unknown",
                        hint="Let its name end in .qcow2, .img or .raw for a disk, .iso for a disc.",
                    )
                if stated == "raw" and os.pread(handle, len(MAGIC), 0) == MAGIC:
                    stated = "qcow2"  # .img is what either is called
                found = os.fstat(handle)
                format: Format = "iso" if stated == "iso" else "qcow2" if stated == "qcow2" else "raw"
                return Found(name, found.st_size, format, _mark(found))
        except FileNotFoundError:
            return None
        except OSError as error:
            problem = Invalid(f"{shown} can't be read: {error.strerror}.", code="image_unreadable")
            return Found(shown, error=problem)
        except NanoError as error:
            return Found(shown, error=error)

    @contextmanager
    def _opened(self, place: int, name: str) -> Iterator[int]:
        try:
            handle = os.open(name, _OPEN, dir_fd=place)
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                raise _no_file(name) from error
            raise
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
                raise _no_file(name)
            yield handle
        finally:
            os.close(handle)


def _mark(found: os.stat_result) -> str:
    return f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}"


def _shown(name: str) -> str:
    """The name, with what no page or terminal shows as it is written out."""
    return "".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in name)


def _refuse_writers(handle: int, name: str) -> None:
    """Raises Conflict(file_changing) while a program has it open for writing, which is when no lease is given on it."""
    try:
        fcntl.fcntl(handle, fcntl.F_SETSIG, signal.SIGURG)  # should it be opened just now: the default would end us
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(handle, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise Conflict(
                f"{name} is still being written.", code="file_changing", hint="Sync again when it is whole."
            ) from error
        # Not ours, or the file system knows no leases: that it stays the same while it is read is checked anyway.


def _no_file(name: str) -> Invalid:
    return Invalid(
        f"{name} is not a plain file of its own.",
        code="image_not_a_file",
        hint="Put the file itself there, not a link or a device.",
    )


def _changed(name: str) -> Conflict:
    return Conflict(
        f"{name} has changed since it was looked at.", code="file_changed", hint="Sync again when it is whole."
    )
