"""The pin: what a cell remembers of its Core."""

from pathlib import Path

import msgspec
import pytest

from nano.transports.messages import Hello, Welcome
from nano.transports.trust import FilePinStore, MemoryPinStore, Pin, PinnedCore, Verdict

PIN = Pin("nano", "Core_1", "ab" * 32, 4)
WELCOME = Welcome("Core_1", "nano", "0", 4, True)


def test_a_pin_survives_in_its_file(tmp_path: Path) -> None:
    store = FilePinStore(tmp_path / "data" / "core.json")
    assert store.load() is None
    store.save(PIN)
    assert FilePinStore(tmp_path / "data" / "core.json").load() == PIN
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["core.json"]


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"domain":"nano"', b"\xff"])
def test_a_damaged_pin_is_not_taken_for_none(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "core.json").write_bytes(damage)
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        PinnedCore("nano", FilePinStore(tmp_path / "core.json"))


def test_any_core_may_be_greeted_before_one_is_pinned() -> None:
    trust = PinnedCore("nano", MemoryPinStore())
    assert trust.check("cd" * 32, None).verdict is Verdict.WAITING
    assert trust.check("cd" * 32, WELCOME).verdict is Verdict.APPROVED
    assert trust.check("cd" * 32, msgspec.structs.replace(WELCOME, approved=False)).verdict is Verdict.WAITING
    assert trust.check("cd" * 32, Hello("x", "cell", "nano", "0")).verdict is Verdict.WAITING


@pytest.mark.parametrize(
    ("fingerprint", "change", "code"),
    [
        ("cd" * 32, {}, "core_not_pinned"),
        ("cd" * 32, {"epoch": 99}, "core_not_pinned"),
        ("ab" * 32, {"domain": "other"}, "wrong_domain"),
        ("ab" * 32, {"epoch": 3}, "epoch_old"),
        ("ab" * 32, {"epoch": 3, "approved": False}, "epoch_old"),
    ],
)
def test_what_stands_against_the_pin_is_refused(fingerprint: str, change: dict[str, object], code: str) -> None:
    judgement = PinnedCore("nano", MemoryPinStore(PIN)).check(fingerprint, msgspec.structs.replace(WELCOME, **change))
    assert (judgement.verdict, judgement.code) == (Verdict.REFUSED, code)
    assert judgement.error().code == code


def test_a_pin_is_written_only_when_it_changes() -> None:
    class Counting(MemoryPinStore):
        saves = 0

        def save(self, pin: Pin) -> None:
            super().save(pin)
            self.saves += 1

    store = Counting()
    trust = PinnedCore("nano", store)
    trust.admitted(PIN.fingerprint, WELCOME)
    trust.admitted(PIN.fingerprint, WELCOME)
    assert (store.pin, store.saves) == (PIN, 1)
    trust.admitted(PIN.fingerprint, msgspec.structs.replace(WELCOME, epoch=5))
    assert (trust.pin, store.saves) == (msgspec.structs.replace(PIN, epoch=5), 2)
