"""A zone's and a cell's journal cut anywhere: a snapshot there and the rest after it give what the whole gives."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, get_type_hints

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.domain import guest_commands as gc
from nano.domain import site as site_module
from nano.domain.cell import AddCell
from nano.domain.facts import Model
from nano.domain.limits import LIMITS
from nano.domain.machine import MEBI
from nano.domain.office import Office
from nano.domain.site import Site
from nano.domain.zone import Zone
from nano.journal.folded import Capture, Folded
from nano.journal.line import Line
from nano.journal.reader import JournalReader
from nano.journal.receipts import Receipts
from nano.journal.snapshot_text import SnapshotText
from nano.tools.simulator.bed import Bed, ended, task_of

pytestmark = pytest.mark.anyio

CUTS = 40


def few_tasks() -> Zone:
    """So that ended tasks are trimmed all along."""
    return Zone(msgspec.structs.replace(LIMITS, tasks_kept=3))


async def busy(folder: Path) -> None:
    """Guests come, start, stop and go, two at a time, so that tasks do not end in the order in which they began."""
    bed = Bed(folder, seed=3)
    bed.host("one", copy_s=0.01)
    bed.host("two", copy_s=0.03)
    async with bed.zone("one", "two") as (core, _):
        for cell in ("one", "two"):
            with anyio.fail_after(10):
                while core.zone.get(f"cell/{cell}") is None:
                    await core.feed.wait_for(core.feed.position + 1)
            await core.execute(AddCell(cell=cell), actor="admin", command_id=f"add-{cell}")
        with anyio.fail_after(10):
            while not all(core.usage.loads.get(cell) for cell in ("one", "two")):
                await anyio.lowlevel.checkpoint()

        async def life(name: str, cell: str) -> None:
            make = gc.CreateGuest(name=name, memory=128 * MEBI, disks=(64 * MEBI,), cell=cell)
            verbs = (gc.StartGuest(guest=name), gc.ForceStopGuest(guest=name), gc.DeleteGuest(guest=name))
            for command in (make, *verbs[: 3 if name in "abc" else 1]):
                receipt = await core.execute(command, actor="admin", command_id=f"{name}-{type(command).__name__}")
                await ended(core, task_of(receipt.facts))

        async with anyio.create_task_group() as tasks:
            for number, name in enumerate("abcdef"):
                tasks.start_soon(life, name, ("one", "two")[number % 2])


def folded(make: Callable[[], Model]) -> Folded:
    whole = Folded(make())
    whole.receipts = Receipts(b"key", commands_max=9)
    return whole


def told(one: Folded, line: Line[Any]) -> list[Any]:
    """All of it, byte for byte, with the model's indexes where something is in them."""
    capture = one.capture(line.last, line.hash.encode())
    indexes = {
        name: value
        for name, value in vars(one.model).items()
        if name not in ("states", "limits", "loads") and isinstance(value, dict | set)
    }
    return [
        msgspec.json.encode(list(capture.states.items())),
        msgspec.structs.replace(capture, states={}),
        {name: _ordered(index) for name, index in indexes.items()},
        [(kind, list(one.model.of_kind(kind))) for kind in one.model.rules.states],
    ]


def _ordered(index: Any) -> Any:
    """The order in an index matters, but not that in which kinds or cells first had something in theirs."""
    if not isinstance(index, dict):
        return index
    items = [
        (key, list(inner.items()) if isinstance(inner, dict) else inner) for key, inner in index.items() if inner != {}
    ]
    return sorted(items) if any(isinstance(inner, list) for _, inner in items) else items


@pytest.mark.parametrize(("name", "make"), [("core", Zone), ("core", few_tasks), ("one", Site)])
async def test_any_prefix_and_the_rest_give_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, make: Callable[[], Model]
) -> None:
    await busy(tmp_path)
    monkeypatch.setattr(site_module, "ORDERS_KEPT", 2)
    lines = list(JournalReader(tmp_path / name / "journal", make().rules.event_types()).lines())
    assert len(lines) > 20
    text = SnapshotText(make())
    whole = folded(make)
    whole.fold([lines])
    expected = told(whole, lines[-1])
    cuts = sorted(Random(5).sample(range(1, len(lines)), min(CUTS, len(lines) - 1)))
    live = folded(make)
    done = 0
    for cut in cuts:
        live.fold([lines[done:cut]])
        done = cut
        line = lines[cut - 1]
        capture = live.capture(line.last, line.hash.encode())
        again = folded(make)
        data = b"".join(text.write(capture))
        text.check(data, capture)
        read: Capture = text.read(data)
        again.restore(read)
        assert told(again, line) == told(live, line)
        for rest in lines[cut:]:  # one by one on one side, all at once on the other
            again.apply(rest)
        assert told(again, lines[-1]) == expected


@pytest.mark.parametrize("model", [Zone, Site, Office])
def test_every_state_that_evolve_gives_has_its_kind(model: type[Model]) -> None:
    given = set(model.rules.states.values())
    for event, evolve in model.rules.evolve.items():
        result = get_type_hints(evolve)["return"]
        assert result is type(None) or result in given, f"{event.__name__} gives {result}"
