"""What is read of a qcow2 file by ourselves, against files that qemu-img made and files that lie."""

import struct
import subprocess
from pathlib import Path

import pytest

from nano.hypervisor.qcow2_header import snapshot_names


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", str(path), "1M")
    return path


def qemu_img(*words: str) -> None:
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def test_names_of_snapshots_are_those_that_qemu_img_gave(disk: Path) -> None:
    assert snapshot_names(disk) == []
    names = ["one", "51000000-0000-4000-8000-000000000001", "a name with spaces", "快照"]
    for name in names:
        qemu_img("snapshot", "-c", name, str(disk))
    assert snapshot_names(disk) == names
    qemu_img("snapshot", "-d", "one", str(disk))
    assert snapshot_names(disk) == names[1:]


@pytest.mark.parametrize("table", [(1, 1 << 40), (1 << 31, 0), (70_000, 64), (3, 512)])
def test_a_table_that_lies_is_refused(disk: Path, table: tuple[int, int]) -> None:
    data = bytearray(disk.read_bytes())
    struct.pack_into(">IQ", data, 60, *table)
    disk.write_bytes(bytes(data[:600]))
    with pytest.raises(ValueError, match="snapshots"):
        snapshot_names(disk)


def test_another_file_has_none(tmp_path: Path) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(4096))
    with pytest.raises(ValueError, match="no qcow2 file"):
        snapshot_names(tmp_path / "disk.raw")
