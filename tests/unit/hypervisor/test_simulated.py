"""What the simulated machine adds to the contract: a given clock, faults, and things behind a cell's back."""

import heapq
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from nano.domain.errors import DiskFull, HostError
from nano.domain.machine import GIBI, MEBI, MachineSpec
from nano.hypervisor.host import HYPERVISOR_UNREACHABLE, DomainEvent
from nano.hypervisor.simulated import SimulatedHost

pytestmark = pytest.mark.anyio

GUEST = "3f0c0000-0000-4000-8000-000000000001"
SPEC = MachineSpec(name="demo", cores=1, memory=64 * MEBI, disks=(GIBI,), mac="52:54:00:0a:0b:0c", image="some")
IMAGE = Path("/images/some.qcow2")


class VirtualClock:
    """Time that moves only when the test moves it."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        woken = anyio.Event()
        heapq.heappush(self._sleepers, (self.time + seconds, next(self._order), woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        end = self.time + seconds
        await anyio.wait_all_tasks_blocked()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.time, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            await anyio.wait_all_tasks_blocked()
        self.time = end


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
async def host(clock: VirtualClock) -> AsyncIterator[SimulatedHost]:
    made = SimulatedHost(now=clock.now, sleep=clock.sleep, seed=1)
    yield made
    await made.close()


def nobody_asks(_percent: int) -> None:
    """A progress that is not looked at."""


async def create(host: SimulatedHost, spec: MachineSpec = SPEC) -> None:
    await host.make_volumes(GUEST, spec, None, nobody_asks)
    await host.define(GUEST, spec)


async def test_a_copy_takes_its_time_and_tells_its_progress(host: SimulatedHost, clock: VirtualClock) -> None:
    host.copy_s = 10.0
    percents: list[int] = []
    async with anyio.create_task_group() as group:
        group.start_soon(host.make_volumes, GUEST, SPEC, IMAGE, percents.append)
        await clock.advance(5.0)
        assert percents == [0, 10, 20, 30, 40, 50]
        await clock.advance(5.0)
    assert percents[-1] == 100
    assert await host.volumes() == [GUEST]


async def test_a_cancelled_copy_leaves_nothing(host: SimulatedHost, clock: VirtualClock) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(host.make_volumes, GUEST, SPEC, IMAGE, nobody_asks)
        await clock.advance(0.5)
        assert host.disk_used > 0
        group.cancel_scope.cancel()
    assert host.disk_used == 0


async def test_a_disk_that_fills_up_during_the_copy(host: SimulatedHost, clock: VirtualClock) -> None:
    host.disk_capacity = 50 * MEBI
    failures: list[DiskFull] = []

    async def make() -> None:
        try:
            await host.make_volumes(GUEST, SPEC, IMAGE, nobody_asks)
        except DiskFull as error:
            failures.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(make)
        await clock.advance(10)
    assert len(failures) == 1
    assert host.disk_used == 0


async def test_a_fault_strikes_as_often_as_it_was_set(host: SimulatedHost) -> None:
    host.fail_next("define", HostError("No.", code="domain_refused"), times=2)
    for _ in range(2):
        with pytest.raises(HostError):
            await host.define(GUEST, SPEC)
    await host.define(GUEST, SPEC)


async def test_a_fault_in_make_volumes_removes_what_was_made(host: SimulatedHost) -> None:
    host.fail_next("make_volumes", HostError("No."))
    with pytest.raises(HostError):
        await host.make_volumes(GUEST, SPEC, None, nobody_asks)
    assert host.files == {}


async def test_a_hanging_call_ends_when_it_is_cancelled(host: SimulatedHost) -> None:
    host.hang_next("define")
    with anyio.move_on_after(0.01) as limit:
        await host.define(GUEST, SPEC)
    assert limit.cancelled_caught
    await host.define(GUEST, SPEC)


async def test_a_guest_shuts_down_and_its_agent_comes_when_their_time_has_come(
    host: SimulatedHost, clock: VirtualClock
) -> None:
    await create(host)
    events = host.events()
    heard: list[tuple[float, DomainEvent]] = []

    async def listen() -> None:
        async for event in events:
            heard.append((clock.time, event))

    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        await host.start(GUEST)
        assert await host.agent(GUEST) is None
        await clock.advance(10)
        report = await host.agent(GUEST)
        assert report is not None
        assert report.addresses == ("10.10.11.12",)
        await host.shutdown(GUEST)
        await clock.advance(10)
        group.cancel_scope.cancel()
    assert [(at, event.kind, event.state) for at, event in heard] == [
        (1000.0, "state", "running"),
        (1005.0, "agent", "running"),
        (1014.0, "state", "stopped"),
    ]


async def test_a_guest_without_an_image_can_be_deaf(host: SimulatedHost, clock: VirtualClock) -> None:
    host.blank_guests_boot = False
    await create(host, MachineSpec(name="blank", cores=1, memory=64 * MEBI, disks=(MEBI,), mac=""))
    await host.start(GUEST)
    await host.shutdown(GUEST)
    await clock.advance(60)
    assert (await host.domains())[0].state == "running"


async def test_what_happens_behind_a_cells_back_is_told(host: SimulatedHost) -> None:
    await create(host)
    await host.start(GUEST)
    events = host.events()
    host.pause_behind(GUEST)
    host.crash(GUEST)
    host.vanish(GUEST)
    told = [await anext(events) for _ in range(4)]
    assert [(event.kind, event.state) for event in told] == [
        ("state", "paused"),
        ("state", "crashed"),
        ("state", "stopped"),
        ("undefined", "stopped"),
    ]
    assert await host.volumes() == [GUEST]


async def test_a_lost_connection_ends_listeners_and_leaves_guests(host: SimulatedHost) -> None:
    await create(host)
    await host.start(GUEST)
    events = host.events()
    host.lose_connection()
    assert [event async for event in events] == []
    with pytest.raises(HostError) as refusal:
        await host.domains()
    assert refusal.value.code == HYPERVISOR_UNREACHABLE
    host.restore_connection()
    assert (await host.domains())[0].state == "running"


async def test_the_machine_survives_the_end_of_a_cell(host: SimulatedHost) -> None:
    await create(host)
    await host.start(GUEST)
    await host.close()
    assert (await host.domains())[0].state == "running"


async def test_the_screen_speaks_rfb(host: SimulatedHost) -> None:
    await create(host)
    await host.start(GUEST)
    with await host.console(GUEST) as screen:
        assert screen.recv(12) == b"RFB 003.008\n"


async def test_the_same_seed_gives_the_same_figures(clock: VirtualClock) -> None:
    figures = [await SimulatedHost(now=clock.now, sleep=clock.sleep, seed=7).sample() for _ in range(2)]
    assert figures[0] == figures[1]
