"""The probe's reading of what QEMU does, with a script in QEMU's place; the real QEMU is in tests/system."""

from pathlib import Path

import pytest

from nano.hypervisor.virt_probe import BOOT_SECTOR, EXECUTED, VirtProbe, choose_virt_type, probe


@pytest.fixture
def device(tmp_path: Path) -> Path:
    path = tmp_path / "kvm"
    path.touch()
    return path


def fake_qemu(folder: Path, does: str, version: str = "7.2.22") -> str:
    path = folder / "qemu"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo "QEMU emulator version {version}"; exit 0; fi\n'
        f"echo run >> {folder}/runs\n{does}\n"
    )
    path.chmod(0o755)
    return str(path)


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines()) if (folder / "runs").exists() else 0


def test_a_guest_that_executes_means_kvm(tmp_path: Path, device: Path) -> None:
    answer = probe(program=fake_qemu(tmp_path, f"exit {EXECUTED}"), device=device)
    assert answer.virt_type == "kvm"
    assert "executes guest code" in answer.note


def test_a_hanging_guest_is_killed_and_means_emulation(tmp_path: Path, device: Path) -> None:
    answer = probe(program=fake_qemu(tmp_path, "exec sleep 600"), device=device, limit_s=0.2)
    assert answer.virt_type == "qemu"
    assert "executes nothing within 0.2 s" in answer.note
    assert runs(tmp_path) == 2


def test_a_refusal_is_told_with_qemus_words(tmp_path: Path, device: Path) -> None:
    answer = probe(
        program=fake_qemu(tmp_path, "echo 'failed to initialize kvm: Permission denied' >&2; exit 1"), device=device
    )
    assert answer.virt_type == "qemu"
    assert "Permission denied" in answer.note
    assert runs(tmp_path) == 1


def test_a_missing_qemu_is_not_kvm(tmp_path: Path, device: Path) -> None:
    assert probe(program=str(tmp_path / "absent"), device=device).virt_type == "qemu"


def test_without_the_device_nothing_is_run(tmp_path: Path) -> None:
    answer = choose_virt_type(tmp_path, program=fake_qemu(tmp_path, "exit 1"), device=tmp_path / "absent")
    assert answer.virt_type == "qemu"
    assert answer.note.startswith("There is no ")
    assert runs(tmp_path) == 0


def test_what_is_configured_is_not_probed(tmp_path: Path, device: Path) -> None:
    program = fake_qemu(tmp_path, "exit 1")
    assert choose_virt_type(tmp_path, "kvm", program=program, device=device).virt_type == "kvm"
    assert choose_virt_type(tmp_path, "qemu", program=program, device=device).virt_type == "qemu"
    assert runs(tmp_path) == 0


def test_the_answer_is_kept_until_the_kernel_boots_or_qemu_changes(tmp_path: Path, device: Path) -> None:
    kept, boot_id = tmp_path / "data", tmp_path / "boot_id"

    def ask(version: str = "7.2.22") -> VirtProbe:
        program = fake_qemu(tmp_path, f"exit {EXECUTED}", version)
        return choose_virt_type(kept, program=program, device=device, boot_id=boot_id)

    boot_id.write_text("first\n")
    assert ask() == ask()
    assert runs(tmp_path) == 1
    boot_id.write_text("second\n")
    ask()
    assert runs(tmp_path) == 2
    ask("8.0.0")
    assert runs(tmp_path) == 3
    (kept / "virt_probe.json").write_text("{torn")
    ask("8.0.0")
    assert runs(tmp_path) == 4


def test_the_guest_is_a_bootable_sector() -> None:
    assert len(BOOT_SECTOR) == 512
    assert BOOT_SECTOR.endswith(b"\x55\xaa")
