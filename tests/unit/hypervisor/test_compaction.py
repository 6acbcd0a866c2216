"""Compacting real qcow2 files: smaller and the same to whoever reads them, or the old file as it was."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import MEBI
from nano.hypervisor import compaction
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.compaction import VolumeCompactor
from nano.hypervisor.qcow2_header import backing_file
from nano.hypervisor.volumes import Volumes

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"


class Off:
    """A domain that is off."""

    state = libvirt.VIR_DOMAIN_SHUTOFF

    async def get(self, guest_id: str) -> "Off":
        assert guest_id == GUEST
        return self


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


def qemu(*words: object) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def content(path: Path) -> bytes:
    raw = path.with_suffix(".raw")
    qemu("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw)
    return raw.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A volume of 8 MiB with 4 MiB of letters, of which 3 MiB were overwritten with zeros afterwards."""
    made = tmp_path / f"{GUEST}_1.qcow2"
    qemu("qemu-img", "create", "-f", "qcow2", made, "8M")
    fill(made)
    return made


def fill(path: Path) -> None:
    qemu("qemu-io", "-f", "qcow2", "-c", "write -P 120 0 4M", "-c", "write -P 0 1M 3M", path)


@pytest.fixture
def compactor(tmp_path: Path) -> Iterator[VolumeCompactor]:
    calls = BlockingCalls("test")
    off: Any = Off()
    yield VolumeCompactor(off, calls, Volumes(tmp_path, calls), off)
    calls.close()


def data(path: Path) -> bytes:
    return path.read_bytes()


def half(part: Path) -> None:
    part.write_bytes(b"half")


def moved(path: Path, to: Path) -> Path:
    return path.rename(to)


def unfinished(path: Path) -> list[Path]:
    return list(path.parent.glob("*.part"))


async def test_what_is_empty_is_given_back_and_nothing_else_changes(compactor: VolumeCompactor, path: Path) -> None:
    os.chmod(path, 0o640)
    before, taken = content(path), os.stat(path).st_blocks * 512
    told: list[int] = []
    freed = await compactor.compact(GUEST, 1, told.append)
    now = os.stat(path)
    assert freed == taken - now.st_blocks * 512
    assert freed >= 3 * MEBI - (256 << 10)
    assert (content(path), now.st_mode & 0o777) == (before, 0o640)
    assert told[-1] == 100
    assert await compactor.compact(GUEST, 1, nobody_asks) == 0
    assert os.stat(path).st_ino == now.st_ino, "there is nothing to win any more"
    assert not unfinished(path)


async def test_a_linked_clone_stays_linked(compactor: VolumeCompactor, path: Path, tmp_path: Path) -> None:
    image = moved(path, tmp_path / "image.qcow2")
    qemu("qemu-img", "create", "-f", "qcow2", "-b", image, "-F", "qcow2", path, "16M")
    fill(path)
    before = content(path)
    assert await compactor.compact(GUEST, 1, nobody_asks) >= 0
    assert backing_file(path) == str(image)
    assert content(path) == before


async def test_snapshots_inside_are_never_lost(compactor: VolumeCompactor, path: Path) -> None:
    qemu("qemu-img", "snapshot", "-c", "before", path)
    before = data(path)
    with pytest.raises(HostError) as refusal:
        await compactor.compact(GUEST, 1, nobody_asks)
    assert refusal.value.code == "volume_has_snapshots"
    assert data(path) == before


async def test_a_damaged_volume_stays_as_it_is(compactor: VolumeCompactor, path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 16)  # the place of its L1 table
    before = data(path)
    with pytest.raises(HostError):
        await compactor.compact(GUEST, 1, nobody_asks)
    assert data(path) == before
    assert not unfinished(path)


@pytest.mark.parametrize("act", ["copy", "_settled", "_replace"])
async def test_a_full_disk_in_each_phase_leaves_the_old_volume(
    compactor: VolumeCompactor, path: Path, act: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    async def copy_full(_path: Path, part: Path, *_: object) -> None:
        half(part)
        full()

    before = data(path)
    if act == "copy":
        monkeypatch.setattr(compactor._volumes, "copy_into", copy_full)
    else:
        monkeypatch.setattr(compaction, act, full)
    with pytest.raises(DiskFull):
        await compactor.compact(GUEST, 1, nobody_asks)
    assert data(path) == before
    assert not unfinished(path)


async def test_what_a_killed_cell_has_left_is_tidied(compactor: VolumeCompactor, path: Path) -> None:
    half(path.with_name(path.name + ".part"))
    await compactor.tidy(GUEST, 1)
    await compactor.tidy(GUEST, 1)
    assert not unfinished(path)
    half(path.with_name(path.name + ".part"))
    assert await compactor.compact(GUEST, 1, nobody_asks) > 0
    assert not unfinished(path)
