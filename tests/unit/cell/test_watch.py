"""Watch: what the hypervisor shows is recorded with what led to it."""

from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import anyio
import pytest

from nano.cell.cell import CellNode
from nano.cell.image_cache import ImageCache, Progress
from nano.domain.facts import Fact
from nano.domain.host_domain import DomainPowerChanged
from nano.domain.machine import MachineSpec
from nano.domain.site import Site
from nano.hypervisor.simulated import SimulatedHost
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.transports.messages import CreateDomain, ImageSource, PowerDomain

pytestmark = pytest.mark.anyio

GUEST = "3f0c9d2e-1111-4222-8333-123456789abc"
SPEC = MachineSpec(name="web", cores=1, memory=64 << 20, disks=(1 << 20,), mac="52:54:00:00:00:01")


async def no_fetch(source: ImageSource, path: Path, progress: Progress) -> None:
    raise AssertionError("nothing is fetched here")


async def test_a_power_that_an_order_led_to_names_the_order(tmp_path: Path) -> None:
    site, ids = Site(), count()
    log = CommitLog(tmp_path / "journal", clock=lambda: datetime.now(UTC))
    ledger = Ledger(log, site, clock=lambda: datetime.now(UTC), new_id=lambda: str(next(ids)), feed=Feed())
    await ledger.start()
    host = SimulatedHost(boot_s=0.01, copy_s=0.01)
    cell = CellNode(
        "Cell_0a1b2c3d4e5f",
        ledger,
        site,
        host,
        ImageCache(tmp_path, no_fetch),
        clock=lambda: datetime.now(UTC),
        now=anyio.current_time,
    )

    async def powers() -> list[Fact]:
        facts = await ledger.facts(0, 1000)
        return [fact for fact in facts if isinstance(fact.event, DomainPowerChanged)]

    async def until(number: int) -> Fact:
        while len(found := await powers()) < number:
            await ledger.feed.wait_for(ledger.position + 1)
        return found[number - 1]

    with anyio.fail_after(10):
        async with cell.running():
            await cell._desk.take(CreateDomain("t1.make", GUEST, SPEC))
            await cell._desk.take(PowerDomain("t1.start", GUEST, "start"))
            started = await until(1)
            host.stop_behind(GUEST)
            stopped = await until(2)
    await ledger.aclose()
    assert isinstance(started.event, DomainPowerChanged)
    assert (started.event.power, started.cause) == ("running", "order/t1.start")
    assert isinstance(stopped.event, DomainPowerChanged)
    assert (stopped.event.power, stopped.cause, stopped.actor) == ("stopped", "", "hypervisor"), "nobody ordered that"
