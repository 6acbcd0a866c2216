"""The real disk, and the helpers that make writes whole."""

import errno
from pathlib import Path

import pytest

from nano.journal.disk import RealDisk, append_all, append_record, replace_file
from nano.journal.testing import BadDisk


def test_reads_and_writes(tmp_path: Path) -> None:
    disk = RealDisk()
    path = tmp_path / "deep" / "er" / "file"
    disk.make_folder(path.parent)
    with pytest.raises(FileNotFoundError):
        disk.open(path)
    handle = disk.open(path, create=True)
    append_all(disk, handle, b"hello ")
    append_all(disk, handle, b"world")
    disk.truncate(handle, 8)
    append_all(disk, handle, b"!")
    disk.fdatasync(handle)
    disk.close(handle)
    assert (disk.read(path), disk.read(path, 6, 2), disk.read(path, 9), disk.size(path)) == (
        b"hello wo!", b"wo", b"", 9,
    )  # fmt: skip
    assert path.stat().st_mode & 0o077 == path.parent.stat().st_mode & 0o077 == 0
    assert (disk.list(path.parent), disk.list(tmp_path / "none")) == (["file"], [])
    disk.rename(path, path.with_name("other"))
    disk.remove(path.with_name("other"))
    assert disk.list(path.parent) == []


def test_one_holder_of_a_lock(tmp_path: Path) -> None:
    disk = RealDisk()
    handle = disk.lock(tmp_path / "lock")
    with pytest.raises(BlockingIOError):
        disk.lock(tmp_path / "lock")
    disk.close(handle)
    disk.close(disk.lock(tmp_path / "lock"))


def test_the_boot_id_stays_within_a_boot() -> None:
    assert RealDisk().boot_id() == RealDisk().boot_id() != ""


def test_a_short_write_shows_its_reason(tmp_path: Path) -> None:
    disk = BadDisk()
    handle = disk.open(tmp_path / "file", create=True)
    disk.order("append", errno.ENOSPC, name="file", short=3)
    with pytest.raises(OSError, match="No space"):
        append_all(disk, handle, b"hello")
    disk.close(handle)


@pytest.mark.parametrize("operation", ["append", "fdatasync", "rename"])
def test_a_replacement_that_fails_leaves_the_old_content(tmp_path: Path, operation: str) -> None:
    disk = BadDisk()
    path = tmp_path / "file"
    replace_file(disk, path, b"old and long")
    disk.order(operation, name="file")
    with pytest.raises(OSError, match="Input/output"):
        replace_file(disk, path, b"new")
    assert path.read_bytes() == b"old and long"
    replace_file(disk, path, b"new")
    assert path.read_bytes() == b"new"


def test_records_are_appended(tmp_path: Path) -> None:
    for record in (b"one\n", b"two\n"):
        append_record(RealDisk(), tmp_path / "side", record)
    assert (tmp_path / "side").read_bytes() == b"one\ntwo\n"
