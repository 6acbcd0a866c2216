"""The intake folder: what is opened of it, what is refused at sight, and that nothing outside it is ever read."""

import os
import socket
from pathlib import Path

import pytest

from nano.core.intake import Found, Intake
from nano.domain.errors import Conflict, HostError, Invalid
from nano.domain.limits import LIMITS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "intake"
    made.mkdir()
    return made


def looked(folder: Path) -> dict[str, str]:
    """Name to format, or to the code of its refusal."""
    return {one.name: one.error.code if one.error else one.format for one in Intake(folder).look()}


def test_files_are_told_by_their_endings_and_disks_by_their_heads(folder: Path) -> None:
    (folder / "disc.ISO").write_bytes(b"x")
    (folder / "plain.raw").write_bytes(b"x" * 512)
    (folder / "old.img").write_bytes(b"QFI\xfb" + b"x" * 100)
    (folder / "new.qcow2").write_bytes(b"nothing of the kind, which is for the checks of uploads")
    (folder / "notes.txt").write_bytes(b"x")
    (folder / "bare").write_bytes(b"x")
    assert looked(folder) == {
        "disc.ISO": "iso",
        "plain.raw": "raw",
        "old.img": "qcow2",
        "new.qcow2": "qcow2",
        "notes.txt": "file_unknown",
        "bare": "file_unknown",
    }


def test_folders_and_names_with_a_dot_are_passed_over(folder: Path) -> None:
    (folder / "lost+found").mkdir()
    (folder / "lost+found" / "inner.iso").write_bytes(b"x")
    (folder / ".new.qcow2.Xy12").write_bytes(b"x")
    assert looked(folder) == {}


def test_nothing_outside_is_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (folder / "link.iso").symlink_to(secret)
    (folder / "dangling.iso").symlink_to("/nowhere")
    os.link(secret, folder / "hard.iso")
    os.mkfifo(folder / "pipe.iso")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "door.iso"))
        assert set(looked(folder).values()) == {"image_not_a_file"}
    assert len(looked(folder)) == 5
    with pytest.raises(Invalid, match="not a plain file"), Intake(folder).reading("link.iso", ""):
        pass


@pytest.mark.parametrize("name", ["a\nb.iso", "a\x1b[31m.iso", "\u202egpj.iso", b"\xff\xfe.iso"])
def test_names_that_no_page_shows_are_refused_and_written_out(folder: Path, name: str | bytes) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(folder), os.fsencode(name)))).write_bytes(b"x")
    (one,) = Intake(folder).look()
    assert one.error is not None
    assert one.error.code == "invalid_name"
    assert one.name.isprintable()
    one.name.encode()


def test_other_letters_are_names_too(folder: Path) -> None:
    (folder / "系统 盘.iso").write_bytes(b"x")
    assert looked(folder) == {"系统 盘.iso": "iso"}


def test_what_is_still_written_is_not_taken(folder: Path) -> None:
    with (folder / "half.raw").open("wb") as file:
        file.write(b"x" * 512)
        file.flush()
        assert looked(folder) == {"half.raw": "file_changing"}
    assert looked(folder) == {"half.raw": "raw"}


def test_what_changes_while_it_is_read_is_refused(folder: Path) -> None:
    path = folder / "disk.raw"
    path.write_bytes(b"x" * 512)
    (found,) = Intake(folder).look()
    with Intake(folder).reading(found.name, found.mark) as handle:
        assert os.read(handle, 1000) == b"x" * 512
    with pytest.raises(Conflict, match="has changed"), Intake(folder).reading(found.name, found.mark):
        path.write_bytes(b"y" * 1024)
    with pytest.raises(Conflict, match="has changed"), Intake(folder).reading(found.name, found.mark):
        pass


def test_only_the_very_file_is_removed(folder: Path) -> None:
    path = folder / "disk.raw"
    path.write_bytes(b"x" * 512)
    (found,) = Intake(folder).look()
    path.unlink()
    path.write_bytes(b"another one" * 100)
    Intake(folder).remove(found.name, found.mark)
    assert path.exists()
    (found,) = Intake(folder).look()
    for _ in range(2):  # a second time, as after a restart
        Intake(folder).remove(found.name, found.mark)
    assert not path.exists()
    assert Intake(folder).look_for(found.name) is None


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file") as caught:
        Intake(tmp_path / "none").look()
    assert caught.value.code == "intake_unreadable"


def test_what_is_looked_at_is_bounded(folder: Path) -> None:
    for number in range(LIMITS.sync_files + 3):
        (folder / f"{number:04}.iso").touch()
    found = Intake(folder).look()
    assert len(found) == LIMITS.sync_files
    assert found[0] == Found("0000.iso", 0, "iso", found[0].mark)
