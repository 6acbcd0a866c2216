"""Core's end of the links: a cell that is there counts as online, and what is lost on the way to it is said again."""

from types import SimpleNamespace
from typing import Any, cast

import anyio
import anyio.lowlevel
import msgspec
import pytest

from nano.core import cells
from nano.core.alarms import AlarmDesk
from nano.core.cells import CellDesk
from nano.core.image_sharing import ImageSharing
from nano.core.usage import UsageBoard
from nano.domain.cell import Cell, LoseCell, MeetCell
from nano.domain.errors import Unreachable
from nano.domain.facts import Command
from nano.journal.ledger import Ledger
from nano.transports.handshake import AcceptedLink
from nano.transports.messages import Message, Ok, RemoveDomain
from tests.unit.domain.test_guest_commands import Bench

pytestmark = pytest.mark.anyio


class SlowLedger:
    """Decides at once, as the real one does; what was decided is durable when ``disk`` is set."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.disk = anyio.Event()
        self.decided: list[type[Command]] = []
        self.feed = SimpleNamespace(add_listener=lambda _: None, remove_listener=lambda _: None)

    async def execute(self, command: Command, **_: object) -> None:
        self._bench.do(command)
        self.decided.append(type(command))
        await self.disk.wait()


class Linked:
    """A link that waits for its approval for ever."""

    remote = SimpleNamespace(name="one", fingerprint="f1", address="a")
    approved = False
    close_reason = ""

    def __init__(self) -> None:
        self.attended = anyio.Event()

    async def wait_approved(self) -> None:
        self.attended.set()
        await anyio.sleep_forever()


@pytest.mark.parametrize("first", [MeetCell, LoseCell])
async def test_a_cell_that_comes_while_its_loss_is_recorded_is_online(first: type[Command]) -> None:
    bench, link = Bench(), Linked()
    bench.zone.limits = msgspec.structs.replace(bench.zone.limits, cell_silence_s=0)
    ledger = SlowLedger(bench)
    desk = CellDesk(
        cast(Ledger, ledger),
        bench.zone,
        UsageBoard(),
        cast(AlarmDesk, SimpleNamespace(forget=lambda _: None)),
        cast(ImageSharing, None),
    )
    async with anyio.create_task_group() as tasks:

        async def come() -> None:
            tasks.start_soon(desk.on_link, cast(AcceptedLink, link))

        async def be_missed() -> None:
            await tasks.start(desk.run)

        both: list[Any] = [come, be_missed] if first is MeetCell else [be_missed, come]
        await both[0]()
        with anyio.fail_after(5):
            while ledger.decided != [first]:
                await anyio.lowlevel.checkpoint()
            await both[1]()
            await anyio.wait_all_tasks_blocked()
            ledger.disk.set()
            await link.attended.wait()
            await anyio.wait_all_tasks_blocked()
        cell = bench.zone.get("cell/one")
        assert isinstance(cell, Cell)
        assert cell.online
        tasks.cancel_scope.cancel()


class Forgetful(Linked):
    """Gives up the first exchange, and goes on."""

    approved = True

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def request(self, message: Message, *, timeout_s: float) -> Ok:
        self.asked += 1
        if self.asked == 1:
            raise Unreachable("The other node gave up this exchange.", code="exchange_reset")
        return Ok(7)


async def test_an_order_whose_exchange_is_lost_is_sent_again_over_the_same_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench, link = Bench(), Forgetful()
    desk = CellDesk(cast(Ledger, SlowLedger(bench)), bench.zone, UsageBoard(), cast(Any, None), cast(Any, None))
    monkeypatch.setattr(cells, "CELL_PAUSE_S", 0)
    monkeypatch.setattr(desk, "_links", {"one": link})
    monkeypatch.setattr(
        desk, "_following", {"one": SimpleNamespace(has=lambda position: position == 7, diverged=False)}
    )
    with anyio.fail_after(5):
        assert (await desk.order("one", RemoveDomain("order", "guest"))).position == 7
    assert link.asked == 2
