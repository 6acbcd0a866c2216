"""The probes of what a host can do: each says what is missing when something is, and never promises what it did not see."""

import errno
import fcntl
import json
import stat
from pathlib import Path

import pytest

from nano.domain.ability import CAN, KVM, VNC, Ability
from nano.hypervisor import host_probe as hp
from nano.hypervisor.qemu_probe import NEEDS, qemu_abilities

EVERY = sorted({part for parts in NEEDS.values() for part in parts})


def program(folder: Path, script: str, name: str = "tool") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def qemu(folder: Path, parts: list[str], blocked: tuple[str, ...] = ()) -> str:
    """A QEMU that has these, and does not move with a channel for the clipboard for those reasons."""
    names = [{"name": part} for part in parts]
    lines = [
        {"QMP": {}},
        {"return": {}},
        {"return": names, "id": "commands"},
        {"return": [], "id": "types"},
        {"return": {"qemu": {"major": 9, "minor": 1}}, "id": "version"},
        {"return": {}, "id": "channel"},
        {"return": {"blocked-reasons": blocked} if blocked else {}, "id": "migration"},
    ]
    (folder / "said").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return program(folder, f"cat > /dev/null; cat {folder}/said")


def can(found: list[Ability]) -> set[str]:
    return {one.name for one in found if one.can}


def test_a_qemu_with_every_part_can_all_but_what_is_known_to_be_unsafe(tmp_path: Path) -> None:
    found = qemu_abilities(qemu(tmp_path, EVERY))
    assert can(found) == set(NEEDS)
    (unsafe,) = (one for one in found if not one.can)
    assert unsafe.why_not == "it is not safe with QEMU 9.1"


def test_a_part_that_qemu_lacks_is_named(tmp_path: Path) -> None:
    found = {one.name: one for one in qemu_abilities(qemu(tmp_path, [part for part in EVERY if part != "balloon"]))}
    assert found["balloon"].why_not == "its QEMU lacks balloon"
    assert found["plug"].can


def test_a_clipboard_that_keeps_guests_from_moving_is_none(tmp_path: Path) -> None:
    found = {one.name: one for one in qemu_abilities(qemu(tmp_path, EVERY, ("it doesn't yet support migration",)))}
    assert found["clipboard"].why_not == "its QEMU lacks migration of qemu-vdagent"
    assert found["live_migration"].can


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "ended with status 3"),
        ("echo no such option >&2; exit 1", "no such option"),
        ("echo '{]'", "status 0"),
    ],
)
def test_a_qemu_that_does_not_answer_can_nothing(tmp_path: Path, script: str, why: str) -> None:
    found = qemu_abilities(program(tmp_path, f"cat > /dev/null; {script}"))
    assert can(found) == set()
    assert all(why in one.why_not for one in found)


def test_no_qemu_at_all(tmp_path: Path) -> None:
    found = qemu_abilities(str(tmp_path / "none"))
    assert {one.reason for one in found} == {"program"}


def test_files_are_cloned_where_the_file_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "ioctl", lambda *_: 0)
    assert hp.reflink(tmp_path).can
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("number", "reason"), [(errno.EOPNOTSUPP, "file_system"), (errno.ENOSPC, "told")])
def test_why_files_are_not_cloned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str) -> None:
    def fails(*_: object) -> int:
        raise OSError(number, "no")

    monkeypatch.setattr(fcntl, "ioctl", fails)
    found = hp.reflink(tmp_path)
    assert (found.can, found.reason) == (False, reason)
    assert found.detail


def test_a_kind_of_file_system_that_the_kernel_has_not_is_told() -> None:
    assert hp.nfs(("nano_none",), "sh").why_not == "its kernel lacks nfs"
    assert hp.nfs(("tmpfs",), "nano-none").why_not == "nano-none is not installed"
    assert hp.nfs(("tmpfs",), "sh").can


def test_this_host_tells_every_ability_once_in_order(tmp_path: Path) -> None:
    """Whatever it can: each is there, and what can't has a reason."""
    found = hp.host_abilities(tmp_path, Ability(KVM, True, detail="seen"))
    assert [*(one.name for one in found), VNC] == list(CAN), "that one is a setting of its cell"
    assert all(one.can != bool(one.why_not) for one in found)
