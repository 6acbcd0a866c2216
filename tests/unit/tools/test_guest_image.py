"""The guest image's parts that can be told without building one (that a built one boots is ``tests/system/test_up.py``)."""

import gzip
import struct
from pathlib import Path

import pytest

from nano.domain.errors import DiskFull, Failure
from nano.tools.guest_image import builder, disk, packages, trees


def test_partition_table_places_root_last() -> None:
    """The root must end the disk, because the initrd lets it grow to the end."""
    table = disk._partition_table(boot_sectors=40960, disk_sectors=262144)
    assert len(table) == 512 - 440
    assert table.endswith(b"\x55\xaa")
    boot = struct.unpack_from("<BBBBBBBBII", table, 6)
    root = struct.unpack_from("<BBBBBBBBII", table, 22)
    assert (boot[0], boot[4], boot[8], boot[9]) == (0x80, 0x06, 2048, 40960)
    assert (root[0], root[4], root[8]) == (0, 0x83, 2048 + 40960)
    assert root[8] + root[9] == 262144


def test_the_same_tree_packs_to_the_same_initrd(tmp_path: Path) -> None:
    archives = []
    for order in (("b", "a/c"), ("a/c", "b")):
        tree = tmp_path / "-".join(order).replace("/", "_")
        for name in order:
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(name)
        disk.pack_initrd(tree, tmp_path / "initrd.gz")
        archives.append((tmp_path / "initrd.gz").read_bytes())
    assert archives[0] == archives[1]
    assert b"a/c" in gzip.decompress(archives[0])


def test_guest_scripts_become_executable(tmp_path: Path) -> None:
    trees.copy_files("root", tmp_path)
    assert (tmp_path / "etc/rcS").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "etc/acpi/PWRF/00000080").stat().st_mode & 0o111
    assert (tmp_path / "etc/passwd").stat().st_mode & 0o777 == 0o644


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"libnowhere\.so"):
        trees.locate(tmp_path, "lib/x86_64-linux-gnu/libnowhere.so")


def test_programs_are_found_where_the_distribution_moved_them(tmp_path: Path) -> None:
    for place in ("usr/sbin/qemu-ga", "sbin/resize2fs", "usr/bin/blkid"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).touch()
    for asked in ("usr/sbin/qemu-ga", "sbin/resize2fs", "sbin/blkid"):
        assert trees.locate(tmp_path, asked).exists()


def test_another_builder_makes_another_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"tiny-{builder.builder_digest()}-000000000000.qcow2").touch()
    assert builder.cached_image(tmp_path)
    monkeypatch.setattr(builder, "builder_digest", lambda: "another00000")
    assert builder.cached_image(tmp_path) is None


def test_the_cache_answers_without_asking_apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / f"tiny-{builder.builder_digest()}-000000000000.qcow2"
    made.touch()
    monkeypatch.setattr(packages, "resolve", lambda: pytest.fail("asked apt"))
    assert builder.ensure_image(tmp_path, lambda *_: None) == made


def test_offline_a_cached_image_serves_even_when_a_newer_one_is_wished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline() -> list[packages.Package]:
        raise Failure("apt has no lists.", code="packages_unknown")

    monkeypatch.setattr(packages, "resolve", offline)
    with pytest.raises(Failure):
        builder.ensure_image(tmp_path, lambda *_: None, check_packages=True)
    made = tmp_path / f"tiny-{builder.builder_digest()}-000000000000.qcow2"
    made.touch()
    assert builder.ensure_image(tmp_path, lambda *_: None, check_packages=True) == made


def test_a_full_disk_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "resolve", lambda: [packages.Package("one_1_amd64.deb", "00")])
    monkeypatch.setattr(builder, "SCRATCH_BYTES", 1 << 62)
    with pytest.raises(DiskFull, match="MiB are free"):
        builder.ensure_image(tmp_path, lambda *_: None)
    assert not list(tmp_path.glob("build-*"))
