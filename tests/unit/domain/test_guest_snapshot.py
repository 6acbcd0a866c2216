"""Decisions about snapshots, and the tree that they form."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.domain import guest_devices as gd
from nano.domain import guest_snapshot as gs
from nano.domain import snapshot as sn
from nano.domain.errors import NanoError
from nano.domain.guest import Guest, GuestChanged, GuestStarted
from nano.domain.guest_about import ProtectGuest
from nano.domain.guest_hold import EndWork
from nano.domain.machine import MEBI
from tests.unit.domain.test_guest_commands import AT, Bench


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


def carried_out(bench: Bench, command: Any) -> sn.Snapshot:
    """Asked for, done by the cell, and the task ended."""
    bench.do(command)
    (task,) = bench.zone.open_tasks.values()
    snapshot = gs.snapshot_in(task)
    event = {
        "guest.snapshot.create": gs.GuestSnapshotMade(snapshot),
        "guest.snapshot.restore": gs.GuestSnapshotRestored(snapshot.id, snapshot.name),
        "guest.snapshot.delete": gs.GuestSnapshotDeleted(snapshot.id, snapshot.name),
    }[task.kind]
    bench.zone.apply(task.resource, event, AT)
    bench.do(EndWork(task.id))
    return snapshot


def make(bench: Bench, name: str) -> sn.Snapshot:
    return carried_out(bench, gs.CreateSnapshot(guest="web", name=name))


def tree(bench: Bench) -> dict[str, str]:
    snapshots = bench.zone.find_guest("web").snapshots
    names = {one.id: one.name for one in snapshots} | {"": ""}
    return {one.name: names[one.parent] for one in snapshots}


def current(bench: Bench) -> str:
    guest = bench.zone.find_guest("web")
    return next((one.name for one in guest.snapshots if one.id == guest.snapshot), "")


def test_each_comes_after_the_one_the_guest_came_from(bench: Bench) -> None:
    for name in ("one", "two"):
        make(bench, name)
    carried_out(bench, gs.RestoreSnapshot(guest="web", snapshot="one"))
    assert current(bench) == "one"
    make(bench, "three")
    assert tree(bench) == {"one": "", "two": "one", "three": "one"}
    carried_out(bench, gs.DeleteSnapshot(guest="web", snapshot="one"))
    assert (tree(bench), current(bench)) == ({"two": "", "three": ""}, "three")
    carried_out(bench, gs.DeleteSnapshot(guest="web", snapshot="three"))
    assert (tree(bench), current(bench)) == ({"two": ""}, "")


def test_one_of_a_guest_that_is_on_has_its_memory(bench: Bench) -> None:
    guest = bench.zone.find_guest("web")
    assert not make(bench, "off").memory
    bench.zone.apply(f"guest/{guest.id}", GuestStarted(), AT)
    snapshot = make(bench, "on")
    assert (snapshot.memory, snapshot.disks, snapshot.volumes) == (True, guest.spec.disks, (0,))


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../up", "a b", "a\nb", "a\0", "a;b", "<b>", "é", "x" * 65, "x" * 10_000]
)
def test_a_name_is_made_of_few_letters(bench: Bench, name: str) -> None:
    assert code_of(bench, gs.CreateSnapshot(guest="web", name=name)) == "invalid_name"


@pytest.mark.parametrize("text", ["x" * 201, "a\nb", "\x1b[31m", "a\0"])
def test_a_description_is_one_line_that_can_be_shown(bench: Bench, text: str) -> None:
    assert code_of(bench, gs.CreateSnapshot(guest="web", name="one", description=text)) == "invalid_description"


def test_refusals(bench: Bench) -> None:
    snapshot = make(bench, "one")
    assert code_of(bench, gs.CreateSnapshot(guest="web", name="one")) == "duplicate_name"
    assert code_of(bench, gs.CreateSnapshot(guest="web", name=snapshot.id)) == "duplicate_name"
    for reference in ("two", "", "../one", "x" * 10_000):
        assert code_of(bench, gs.RestoreSnapshot(guest="web", snapshot=reference)) == "unknown_snapshot"
        assert code_of(bench, gs.DeleteSnapshot(guest="web", snapshot=reference)) == "unknown_snapshot"
    assert code_of(bench, gs.CreateSnapshot(guest="nobody", name="two")) == "unknown_guest"
    bench.do(ProtectGuest(guest="web"))
    assert code_of(bench, gs.RestoreSnapshot(guest="web", snapshot="one")) == "guest_protected"
    assert code_of(bench, gs.DeleteSnapshot(guest="web", snapshot="one")) == "guest_protected"
    bench.do(gs.CreateSnapshot(guest="web", name="two"))
    assert code_of(bench, gs.CreateSnapshot(guest="web", name="three")) == "guest_busy"


def test_there_is_an_end_to_them(bench: Bench) -> None:
    for number in range(sn.SNAPSHOTS_MAX):
        make(bench, f"s{number}")
    assert code_of(bench, gs.CreateSnapshot(guest="web", name="one-more")) == "too_many_snapshots"


def test_a_disk_that_a_snapshot_holds_stays_as_it_is(bench: Bench) -> None:
    two_disks(bench)
    make(bench, "one")
    for command in (
        gd.GrowDisk(guest="web", number=0, size=96 * MEBI),
        gd.ShrinkDisk(guest="web", number=1, size=MEBI, force=True),
        gd.RemoveDisk(guest="web", number=1),
    ):
        assert code_of(bench, command) == "disk_in_snapshot"
    carried_out(bench, gs.DeleteSnapshot(guest="web", snapshot="one"))
    bench.do(gd.RemoveDisk(guest="web", number=1))


def test_a_disk_that_came_later_is_removed_before_a_restore(bench: Bench) -> None:
    make(bench, "one")
    two_disks(bench)
    assert code_of(bench, gs.RestoreSnapshot(guest="web", snapshot="one")) == "disk_not_in_snapshot"
    make(bench, "two")
    bench.do(gs.RestoreSnapshot(guest="web", snapshot="two"))


def test_other_disks_at_the_next_start_are_settled_first(bench: Bench) -> None:
    guest = bench.zone.find_guest("web")
    bench.zone.apply(f"guest/{guest.id}", GuestStarted(), AT)
    bench.zone.apply(f"guest/{guest.id}", GuestChanged(spec=guest.spec, pending=("disks",)), AT)
    assert code_of(bench, gs.CreateSnapshot(guest="web", name="one")) == "disks_pending"


def two_disks(bench: Bench) -> None:
    guest: Guest = bench.zone.find_guest("web")
    spec = msgspec.structs.replace(guest.spec, disks=(*guest.spec.disks, 2 * MEBI))
    bench.zone.apply(f"guest/{guest.id}", GuestChanged(spec=spec), AT)


@given(st.lists(st.tuples(st.sampled_from(["make", "back", "drop"]), st.integers(0, 20)), max_size=40))
def test_whatever_is_done_it_stays_a_tree(deeds: list[tuple[str, int]]) -> None:
    holder = Holder()
    for number, (deed, which) in enumerate(deeds):
        ids = [one.id for one in holder.snapshots]
        if deed == "make":
            made = sn.Snapshot(
                id=f"s{number}", name=f"s{number}", created_at=AT, disks=(), volumes=(), parent=holder.snapshot
            )
            holder = sn.with_snapshot(holder, made)
        elif ids:
            chosen = ids[which % len(ids)]
            holder = sn.back_at(holder, chosen) if deed == "back" else sn.without_snapshot(holder, chosen)
    ids = [one.id for one in holder.snapshots]
    assert holder.snapshot in ("", *ids)
    order = sn.tree_order({one.id: one.parent for one in holder.snapshots})
    assert sorted(name for name, _ in order) == sorted(ids), "every one hangs on a root"
    places = [name for name, _ in order]
    assert all(not one.parent or places.index(one.parent) < places.index(one.id) for one in holder.snapshots)


class Holder(msgspec.Struct, frozen=True):
    snapshots: tuple[sn.Snapshot, ...] = ()
    snapshot: str = ""


def test_the_order_of_a_tree() -> None:
    parents = {"a": "", "b": "a", "c": "", "d": "a", "e": "b", "f": "gone"}
    assert sn.tree_order(parents) == [("a", 0), ("b", 1), ("e", 2), ("d", 1), ("c", 0), ("f", 0)]
