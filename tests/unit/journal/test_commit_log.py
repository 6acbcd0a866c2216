"""The commit log and its crash rules, on a real folder."""

import errno
import json
from hashlib import sha256
from pathlib import Path

import pytest

from nano.domain.errors import DiskFull, JournalDamaged, JournalError
from nano.journal.commit_log import CommitLog
from nano.journal.disk import Disk
from nano.journal.line import Body, Entry, encode_line, format_time, line_decoder
from nano.journal.segments import Seal, read_seal
from nano.journal.testing import BadDisk, Counted, Key, Made, ticking

TYPES = (Made, Counted)


class Writer:
    """Appends one event a line and remembers what was acknowledged."""

    def __init__(self, folder: Path, disk: Disk | None = None, segment_bytes_max: int = 1 << 20) -> None:
        self.log = CommitLog(folder, clock=ticking(), disk=disk, segment_bytes_max=segment_bytes_max)
        self.log.open()
        self.events = [
            entry.event for lines in self.log.replay(line_decoder(TYPES)) for line in lines for entry in line.events
        ]
        self.clock = ticking()

    def write(self, number: int = 1) -> None:
        texts, previous, first = [], self.log.hash, self.log.position + 1
        for position in range(first, first + number):
            event = Made("a") if position == 1 else Counted(position)
            body = Body(
                position,
                format_time(max(self.clock(), self.log.time)),
                self.log.epoch,
                "admin",
                f"command-{position}",
                "",
                "",
                (Entry("counter/a", position, event),),
            )
            text, previous = encode_line(previous, body)
            texts.append(text)
        self.log.append(b"".join(texts), first, first + number - 1, previous)


def written(folder: Path, number: int, segment_bytes_max: int = 1 << 20) -> Path:
    """A closed log of so many lines; returns its newest segment."""
    writer = Writer(folder, segment_bytes_max=segment_bytes_max)
    for _ in range(number):
        writer.write()
    writer.log.close()
    return writer.log.segments[-1].path


def reopened(folder: Path) -> int:
    writer = Writer(folder)
    writer.log.close()
    return writer.log.position


def test_a_line_is_written_as_documented(tmp_path: Path) -> None:
    path = written(tmp_path, 2)
    assert path == tmp_path / "commits" / "0000000000000001.jsonl"
    first, second = path.read_text().splitlines()
    line = json.loads(first)
    assert list(line) == ["position", "time", "epoch", "actor", "command", "cause", "events", "hash"]
    assert line["time"] == "2026-11-21T00:00:00.000000Z"
    assert line["events"] == [{"resource": "counter/a", "version": 1, "event": {"type": "counter.made", "name": "a"}}]
    assert line["hash"] == sha256(("0" * 64 + first.partition(',"hash":')[0]).encode()).hexdigest()
    assert json.loads(second)["hash"] == sha256((line["hash"] + second.partition(',"hash":')[0]).encode()).hexdigest()


def test_a_torn_tail_is_cut_at_every_byte_and_noted(tmp_path: Path) -> None:
    path = written(tmp_path, 4)
    whole = path.read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(ends[1], len(whole)):
        path.write_bytes(whole[:size])
        (tmp_path / "repairs.jsonl").unlink(missing_ok=True)
        kept = sum(1 for end in ends if end <= size)
        assert reopened(tmp_path) == kept
        assert path.read_bytes() == whole[: ends[kept - 1]]
        if size in ends:
            assert not (tmp_path / "repairs.jsonl").exists()
        else:
            note = json.loads((tmp_path / "repairs.jsonl").read_text())
            assert (note["kind"], note["file"], note["byte"], note["bytes"]) == (
                "journal.torn_tail_cut",
                path.name,
                ends[kept - 1],
                size - ends[kept - 1],
            )


def test_the_log_goes_on_after_a_cut(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:-7])
    writer = Writer(tmp_path)
    writer.write(2)
    writer.log.close()
    assert reopened(tmp_path) == 4


@pytest.mark.parametrize("flip", [1, 128])
def test_any_changed_byte_refuses_to_start_and_names_the_place(tmp_path: Path, flip: int) -> None:
    path = written(tmp_path, 4)
    whole = path.read_bytes()
    ends = [0, *(index + 1 for index, byte in enumerate(whole) if byte == ord("\n"))]
    for number in (0, 2):
        for offset in range(ends[number], ends[number + 1], 3):
            path.write_bytes(whole[:offset] + bytes([whole[offset] ^ flip]) + whole[offset + 1 :])
            with pytest.raises(JournalDamaged) as caught:
                Writer(tmp_path)
            assert caught.value.context["file"] == str(path)
            assert ends[number] <= caught.value.context["byte"] < ends[number + 1]
    path.write_bytes(whole)
    assert reopened(tmp_path) == 4


def test_a_changed_newline_at_the_end_is_damage_and_no_torn_tail(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"\x0b")
    with pytest.raises(JournalDamaged) as caught:
        Writer(tmp_path)
    assert caught.value.context["byte"] == len(whole) - 1


def test_a_removed_or_repeated_line_refuses_to_start(tmp_path: Path) -> None:
    path = written(tmp_path, 4)
    lines = path.read_bytes().splitlines(keepends=True)
    for wrong in ([lines[0], lines[2], lines[3]], [lines[0], lines[0], *lines[1:]], lines[1:]):
        path.write_bytes(b"".join(wrong))
        with pytest.raises(JournalDamaged):
            Writer(tmp_path)


def test_a_refusal_to_start_changes_nothing_and_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    whole = path.read_bytes()
    wrong = whole.replace(b'"by":2', b'"by":7') + b'{"torn'
    path.write_bytes(wrong)
    for _ in range(2):
        writer = CommitLog(tmp_path, clock=ticking())
        writer.open()
        with pytest.raises(JournalDamaged):
            list(writer.replay(line_decoder(TYPES)))
        writer.close()
    assert path.read_bytes() == wrong


def test_an_event_of_another_version_is_named_unreadable(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    writer = CommitLog(tmp_path, clock=ticking())
    writer.open()
    with pytest.raises(JournalDamaged) as caught:
        list(writer.replay(line_decoder((Made,))))
    writer.close()
    assert caught.value.code == "journal_unreadable"
    assert caught.value.context["byte"] == len(path.read_bytes().splitlines(keepends=True)[0])


def test_segments_roll_and_are_sealed(tmp_path: Path) -> None:
    written(tmp_path, 20, segment_bytes_max=1000)
    names = sorted(path.name for path in (tmp_path / "commits").iterdir())
    segments = [name for name in names if name.endswith(".jsonl")]
    assert len(segments) > 3
    assert [name for name in names if name.endswith(".seal")] == [
        name.replace(".jsonl", ".seal") for name in segments[:-1]
    ]
    for name in segments[:-1]:
        path = tmp_path / "commits" / name
        seal = read_seal(BadDisk(), path.with_suffix(".seal"))
        assert isinstance(seal, Seal)
        assert seal.digest == sha256(path.read_bytes()).hexdigest()
        assert path.stat().st_size <= 1000
        last = json.loads(path.read_bytes().splitlines()[-1])
        assert (seal.last, seal.last_hash) == (last["position"], last["hash"])
    assert reopened(tmp_path) == 20


def test_a_missing_segment_refuses_to_start(tmp_path: Path) -> None:
    written(tmp_path, 20, segment_bytes_max=1000)
    sorted((tmp_path / "commits").glob("*.jsonl"))[1].unlink()
    with pytest.raises(JournalDamaged):
        Writer(tmp_path)


def test_a_torn_line_before_the_newest_segment_refuses_to_start(tmp_path: Path) -> None:
    written(tmp_path, 20, segment_bytes_max=1000)
    path = sorted((tmp_path / "commits").glob("*.jsonl"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(JournalDamaged):
        Writer(tmp_path)


def test_a_missing_seal_is_written_at_the_next_start(tmp_path: Path) -> None:
    written(tmp_path, 20, segment_bytes_max=1000)
    seal = sorted((tmp_path / "commits").glob("*.seal"))[0]
    before = seal.read_bytes()
    seal.unlink()
    reopened(tmp_path)
    assert seal.read_bytes() == before


def test_seals_are_signed_by_the_nodes_key(tmp_path: Path) -> None:
    key = Key("key-1")
    log = CommitLog(tmp_path, clock=ticking(), signer=key, segment_bytes_max=300)
    writer = Writer.__new__(Writer)
    writer.log, writer.clock = log, ticking()
    log.open()
    assert list(log.replay(line_decoder(TYPES))) == []
    for _ in range(3):
        writer.write()
    log.close()
    seal = read_seal(BadDisk(), sorted((tmp_path / "commits").glob("*.seal"))[0])
    assert seal is not None
    assert seal.key == "key-1"
    assert key.is_signed(bytes.fromhex(seal.signature), seal.signed_bytes())


def test_two_writers_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    with pytest.raises(JournalError) as caught:
        Writer(tmp_path)
    assert caught.value.code == "journal_locked"
    writer.write()
    writer.log.close()
    assert reopened(tmp_path) == 1


def test_each_opening_has_a_higher_epoch(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        writer = Writer(tmp_path)
        writer.write()
        epochs.append(writer.log.epoch)
        writer.log.close()
    (tmp_path / "epoch").unlink()  # restored from a backup without it
    writer = Writer(tmp_path)
    writer.write()
    epochs.append(writer.log.epoch)
    writer.log.close()
    assert epochs == [1, 2, 3, 4]
    assert reopened(tmp_path) == 4


@pytest.mark.parametrize("short", [None, 0, 1, 150])
@pytest.mark.parametrize(("error", "raised"), [(errno.ENOSPC, DiskFull), (errno.EIO, JournalError)])
def test_a_failed_write_is_taken_back_and_the_log_goes_on(
    tmp_path: Path, error: int, raised: type[JournalError], short: int | None
) -> None:
    disk = BadDisk()
    writer = Writer(tmp_path, disk)
    writer.write(2)
    path = writer.log.segments[-1].path
    before = path.read_bytes()
    disk.order("append", error, short=short)
    with pytest.raises(raised):
        writer.write(3)
    assert path.read_bytes() == before
    assert writer.log.position == 2
    writer.write(2)
    writer.log.close()
    assert reopened(tmp_path) == 4


def test_a_failed_sync_poisons_the_log(tmp_path: Path) -> None:
    disk = BadDisk()
    writer = Writer(tmp_path, disk)
    writer.write()
    disk.order("fdatasync")
    for _ in range(2):
        with pytest.raises(JournalError) as caught:
            writer.write()
        assert caught.value.code == "journal_poisoned"
    assert writer.log.position == 1
    writer.log.close()
    assert reopened(tmp_path) in (1, 2)


def test_a_write_that_cannot_be_taken_back_poisons_the_log(tmp_path: Path) -> None:
    disk = BadDisk()
    writer = Writer(tmp_path, disk)
    writer.write()
    disk.order("append", errno.ENOSPC, short=20)
    disk.order("truncate")
    with pytest.raises(JournalError) as caught:
        writer.write()
    assert caught.value.code == "journal_poisoned"
    writer.log.close()
    assert reopened(tmp_path) == 1


def test_no_room_for_a_new_segment_leaves_the_old_one_usable(tmp_path: Path) -> None:
    disk = BadDisk()
    writer = Writer(tmp_path, disk, segment_bytes_max=500)
    writer.write(2)
    disk.order("open", errno.ENOSPC)
    with pytest.raises(DiskFull):
        writer.write()
    writer.write()
    assert len(writer.log.segments) == 2
    writer.log.close()
    assert reopened(tmp_path) == 3


def test_a_seal_that_fails_does_not_fail_the_commit(tmp_path: Path) -> None:
    disk = BadDisk()
    writer = Writer(tmp_path, disk, segment_bytes_max=500)
    writer.write(2)
    disk.order("rename", errno.ENOSPC, name=".seal")
    writer.write()
    writer.log.close()
    assert not list((tmp_path / "commits").glob("*.seal"))
    assert reopened(tmp_path) == 3
    assert list((tmp_path / "commits").glob("*.seal"))


def test_a_foreign_file_refuses_to_start(tmp_path: Path) -> None:
    written(tmp_path, 1)
    (tmp_path / "commits" / "notes.txt").write_text("hello")
    with pytest.raises(JournalDamaged):
        Writer(tmp_path)
