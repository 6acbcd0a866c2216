"""What is said of a guest: kept as it was said, or refused; and protection, which nothing that destroys gets past."""

from typing import Any

import pytest

from nano.domain import guest_about as ga
from nano.domain import guest_commands as gc
from nano.domain import guest_devices as gd
from nano.domain.errors import NanoError
from nano.domain.image_commands import EndImage, RegisterImage
from nano.domain.machine import MEBI
from tests.unit.domain.test_guest_commands import Bench


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    made.ready("web")
    return made


def code_of(bench: Bench, command: Any) -> str:
    states = dict(bench.zone.states)
    with pytest.raises(NanoError) as refusal:
        bench.do(command)
    assert bench.zone.states == states
    return refusal.value.code


def test_what_is_said_stays_and_what_is_not_given_is_left(bench: Bench) -> None:
    html = "<script>alert('1')</script> & \"quotes\" 云主机 👩‍💻"
    bench.do(ga.DescribeGuest(guest="web", description=f"  {html} ", tags=("prod", "a.b-c_1", "prod")))
    bench.do(ga.DescribeGuest(guest="web", notes="one\r\ntwo\n\tthree\n"))
    guest = bench.zone.find_guest("web")
    assert (guest.description, guest.tags, guest.notes) == (html, ("prod", "a.b-c_1"), "one\ntwo\n\tthree")
    assert code_of(bench, ga.DescribeGuest(guest="web", description=html)) == "no_change"
    bench.do(ga.DescribeGuest(guest="web", description="", tags=("",), notes=""))
    guest = bench.zone.find_guest("web")
    assert (guest.description, guest.tags, guest.notes) == ("", (), "")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"description": "x" * 201}, "invalid_description"),
        ({"description": "a\nb"}, "invalid_description"),
        ({"description": "a\0b"}, "invalid_description"),
        ({"description": "a\x1b[2Jb"}, "invalid_description"),
        ({"description": "a\u202eb"}, "invalid_description"),
        ({"description": "a\x85b"}, "invalid_description"),
        ({"description": "a\ud800b"}, "invalid_description"),
        ({"notes": "x" * 4001}, "invalid_notes"),
        ({"notes": "a\0b"}, "invalid_notes"),
        ({"notes": "a\x1b]0;title\x07"}, "invalid_notes"),
        ({"tags": ("a b",)}, "invalid_name"),
        ({"tags": ("<b>",)}, "invalid_name"),
        ({"tags": ("../x",)}, "invalid_name"),
        ({"tags": ("x" * 65,)}, "invalid_name"),
        ({"tags": ("a;b",)}, "invalid_name"),
        ({"tags": tuple(f"t{n}" for n in range(17))}, "too_many_tags"),
    ],
)
def test_what_can_not_be_shown_or_is_too_much_is_refused(bench: Bench, changes: dict[str, Any], code: str) -> None:
    assert code_of(bench, ga.DescribeGuest(guest="web", **changes)) == code


def test_a_protected_guest_loses_nothing_until_the_protection_is_off(bench: Bench) -> None:
    bench.do(RegisterImage(name="img", path="/img"))
    (task,) = bench.zone.open_tasks
    bench.do(EndImage(task=task, format="qcow2", size=1, virtual_size=MEBI, sha256="0" * 64))
    bench.do(ga.ProtectGuest(guest="web"))
    assert code_of(bench, ga.ProtectGuest(guest="web")) == "no_change"
    for command in (
        gc.DeleteGuest(guest="web"),
        gc.DeleteGuest(guest="web", force=True),
        gd.ShrinkDisk(guest="web", number=0, size=MEBI, force=True),
        gd.ResetGuest(guest="web", image="img"),
    ):
        assert code_of(bench, command) == "guest_protected"
    bench.do(gc.StartGuest(guest="web"))  # everything else goes on
    bench.do(ga.UnprotectGuest(guest="web"))
    assert code_of(bench, ga.UnprotectGuest(guest="web")) == "no_change"
    assert code_of(bench, gc.DeleteGuest(guest="web")) == "guest_busy"


def test_a_guest_that_is_being_deleted_is_not_protected_any_more(bench: Bench) -> None:
    bench.do(gc.DeleteGuest(guest="web"))
    assert code_of(bench, ga.ProtectGuest(guest="web")) == "guest_not_ready"
