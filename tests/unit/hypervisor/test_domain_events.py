"""libvirt's events in Nano's words, and what happens to a listener that does not keep up."""

import anyio
import anyio.to_thread
import libvirt
import pytest

from nano.hypervisor.domain_events import Bystander, EventHub, EventStream, running_state
from nano.hypervisor.host import DomainEvent, Running
from nano.hypervisor.libvirt_api import RawEvent

pytestmark = pytest.mark.anyio

OURS = "3f0c0000-0000-4000-8000-000000000001"
FOREIGN = "3f0c0000-0000-4000-8000-000000000002"


class World:
    """What a stream may ask: which domains exist, and in which state."""

    def __init__(self) -> None:
        self.states: dict[str, Running] = {OURS: "running"}

    async def ours(self, guest_id: str) -> bool:
        return guest_id == OURS

    async def state_of(self, guest_id: str) -> Running | None:
        return self.states.get(guest_id)


@pytest.fixture
def world() -> World:
    return World()


def stream_of(world: World, *raws: RawEvent, waiting_max: int = 100) -> EventStream:
    stream = EventStream(Bystander(world.ours, world.state_of), waiting_max)
    for raw in raws:
        stream.offer(raw)
    return stream


async def told(stream: EventStream) -> list[DomainEvent]:
    stream.end()
    return [event async for event in stream]


def lifecycle(event: int, detail: int = 0, guest_id: str = OURS) -> RawEvent:
    return RawEvent("lifecycle", guest_id, event, detail)


STOPPED, SUSPENDED = libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED
PAUSE = libvirt.VIR_DOMAIN_EVENT_IO_ERROR_PAUSE
CASES = [
    (lifecycle(libvirt.VIR_DOMAIN_EVENT_STARTED), "running", "started"),
    (lifecycle(libvirt.VIR_DOMAIN_EVENT_RESUMED), "running", "resumed"),
    (lifecycle(SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR), "paused", "disk error"),
    (lifecycle(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN), "stopped", "shutdown by guest"),
    (lifecycle(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED), "stopped", "destroyed"),
    (lifecycle(STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED), "crashed", "crashed"),
    (lifecycle(libvirt.VIR_DOMAIN_EVENT_CRASHED), "crashed", "guest panicked"),
    (RawEvent("reboot", OURS), "running", "rebooted"),
    (RawEvent("io_error", OURS, PAUSE, 0, "sda: enospc"), "paused", "disk error sda: enospc"),
]


@pytest.mark.parametrize(("raw", "state", "detail"), CASES)
async def test_words(world: World, raw: RawEvent, state: str, detail: str) -> None:
    (event,) = await told(stream_of(world, raw))
    assert (event.guest_id, event.kind, event.state, event.detail) == (OURS, "state", state, detail)


async def test_the_agent_comes_and_goes(world: World) -> None:
    states = libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED, 2
    events = await told(stream_of(world, *(RawEvent("agent", OURS, state) for state in states)))
    assert [(event.kind, event.state, event.connected) for event in events] == [
        ("agent", "running", True),
        ("agent", "running", False),
    ]


async def test_foreign_domains_are_not_told_of(world: World) -> None:
    raws = [lifecycle(libvirt.VIR_DOMAIN_EVENT_STARTED, guest_id=FOREIGN), RawEvent("reboot", FOREIGN)]
    assert await told(stream_of(world, *raws)) == []


async def test_a_dead_emulator_is_a_crash_when_the_domain_says_so(world: World) -> None:
    raw = lifecycle(libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED)
    world.states[OURS] = "crashed"
    assert [event.state for event in await told(stream_of(world, raw))] == ["crashed"]
    world.states[OURS] = "stopped"
    assert [event.state for event in await told(stream_of(world, raw))] == ["stopped"]


async def test_undefined_while_it_runs_is_gone_when_it_stops(world: World) -> None:
    stream = stream_of(
        world,
        lifecycle(libvirt.VIR_DOMAIN_EVENT_UNDEFINED),
        lifecycle(libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED),
    )
    assert [event.kind for event in await told(stream)] == ["state", "undefined"]


async def test_undefined_and_defined_again_is_not_told(world: World) -> None:
    world.states[OURS] = "stopped"
    raws = [lifecycle(libvirt.VIR_DOMAIN_EVENT_UNDEFINED), lifecycle(libvirt.VIR_DOMAIN_EVENT_DEFINED)]
    assert await told(stream_of(world, *raws)) == []
    del world.states[OURS]
    assert [event.kind for event in await told(stream_of(world, raws[0]))] == ["undefined"]


async def test_an_error_the_guest_was_told_of_is_not_a_pause(world: World) -> None:
    raw = RawEvent("io_error", OURS, libvirt.VIR_DOMAIN_EVENT_IO_ERROR_REPORT, 0, "sda: ")
    assert await told(stream_of(world, raw)) == []


async def test_a_listener_that_is_too_slow_ends_after_what_it_has(world: World) -> None:
    stream = stream_of(world, *(RawEvent("reboot", OURS) for _ in range(5)), waiting_max=3)
    assert len([event async for event in stream]) == 3


def test_states() -> None:
    assert running_state(libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_CRASHED) == "crashed"
    assert running_state(libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED) == "stopped"
    assert running_state(libvirt.VIR_DOMAIN_SHUTDOWN, 0) == "running"
    assert running_state(libvirt.VIR_DOMAIN_PMSUSPENDED, 0) == "paused"


async def test_events_cross_from_their_thread_in_order(world: World) -> None:
    seen: list[RawEvent] = []
    hub = EventHub(seen.append, lambda: None)
    stream = hub.listen(Bystander(world.ours, world.state_of))
    raws = [RawEvent("io_error", OURS, PAUSE, 0, str(number)) for number in range(50)]
    await anyio.to_thread.run_sync(lambda: [hub.tell(raw) for raw in raws])
    assert [(await anext(stream)).detail for _ in raws] == [f"disk error {number}" for number in range(50)]
    assert seen == raws


async def test_a_loop_that_is_too_slow_for_its_events_loses_its_listeners_not_events(world: World) -> None:
    hub = EventHub(lambda raw: None, lambda: None, waiting_max=3)
    stream = hub.listen(Bystander(world.ours, world.state_of))
    for _ in range(5):  # the loop is busy here, so none is taken up meanwhile
        hub.tell(RawEvent("reboot", OURS))
    with anyio.fail_after(5):
        assert len([event async for event in stream]) == 3
    later = hub.listen(Bystander(world.ours, world.state_of))
    hub.tell(RawEvent("reboot", OURS))
    with anyio.fail_after(5):
        assert (await anext(later)).detail == "rebooted"
