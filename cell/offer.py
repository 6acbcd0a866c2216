"""CellOffer: what a cell answers on its link to Core: orders, its log with heartbeats, consoles."""

import socket
from collections.abc import AsyncIterator

import anyio
import msgspec
from anyio.abc import SocketStream

from nano.cell.image_cache import ImageCache
from nano.cell.inspector import Inspector
from nano.cell.orders import OrderDesk
from nano.cell.sampler import Sampler
from nano.domain.errors import Conflict, Unknown
from nano.domain.facts import Change
from nano.hypervisor.host import Host
from nano.hypervisor.socket_channel import SocketChannel
from nano.journal.feed import Feed
from nano.journal.health import NodeHealth
from nano.transports.link import Link, Pipe
from nano.transports.messages import (
    AbilitiesAre,
    AskInside,
    AskInspection,
    AskProgress,
    AskScreen,
    CancelCommand,
    FollowLog,
    HealthIs,
    Heartbeat,
    InsideIs,
    InspectionIs,
    KeepImages,
    LogBatch,
    LoggedFact,
    Message,
    Ok,
    OpenConsole,
    Ping,
    ProbeHost,
    ScreenIs,
)

AGENTS_AT_ONCE = 2  # a silent one keeps a thread of the hypervisor's for seconds


class CellOffer:
    def __init__(
        self,
        desk: OrderDesk,
        feed: Feed,
        sampler: Sampler,
        host: Host,
        images: ImageCache,
        health: NodeHealth,
        inspector: Inspector,
    ) -> None:
        self._desk = desk
        self._images = images
        self._feed = feed
        self._sampler = sampler
        self._host = host
        self._health = health
        self._inspector = inspector
        self._agents = anyio.CapacityLimiter(AGENTS_AT_ONCE)

    async def on_request(self, link: Link, message: Message) -> Message:  # noqa: ARG002
        if isinstance(message, Ping):
            return Ok()
        if isinstance(message, CancelCommand):
            await self._desk.cancel(message.command_id)
            return Ok()
        if isinstance(message, AskScreen):
            return ScreenIs(await self._host.monitor.screenshot(message.guest_id))
        if isinstance(message, ProbeHost):
            await self._host.probe()
            return AbilitiesAre(self._host.capabilities.abilities)
        if isinstance(message, AskInside):
            async with self._agents:
                return InsideIs(await self._host.insider.inside(message.guest_id))
        if isinstance(message, AskInspection):
            return InspectionIs(await self._inspector.look(message.elsewhere))
        if isinstance(message, KeepImages):
            await self._images.keep(message.digests)
            return Ok()
        return await self._desk.take(message)

    def on_follow(self, link: Link, message: Message) -> AsyncIterator[Message]:  # noqa: ARG002
        if isinstance(message, FollowLog):
            return self._log(message.after, message.mark, health=message.health)
        if isinstance(message, AskProgress):
            return self._desk.progress(message.command_id)
        raise Unknown(f"A cell has nothing to follow for {type(message).__name__}.", code="unknown_order")

    async def on_pipe(self, link: Link, message: Message) -> tuple[Message, Pipe | None]:  # noqa: ARG002
        if not isinstance(message, OpenConsole):
            raise Unknown(f"A cell opens no pipe for {type(message).__name__}.", code="unknown_order")
        opening = self._host.serial if message.port == "serial" else self._host.console
        opened: socket.socket = await opening(message.guest_id)
        return Ok(), SocketChannel(await SocketStream.from_socket(opened))

    async def _log(self, after: int, mark: str, *, health: bool) -> AsyncIterator[Message]:
        """Facts above ``after``, each new heartbeat and, where asked for, how the node is; in the order they come.
        Raises Conflict(journal_diverged)."""
        if mark and await self._feed.mark(after) != mark:
            raise Conflict(
                f"Its journal is not the one that was read: {_how(after, self._feed.position)}.",
                code="journal_diverged",
                hint="It was restored to an earlier moment, or replaced. Stop this node, and restore its newest backup.",
            )
        moved = anyio.Event()

        def wake(_: object = None) -> None:
            moved.set()

        self._feed.add_listener(wake)
        self._sampler.listen(wake)
        self._health.listen(wake)
        told: HealthIs | None = None
        beat: Heartbeat | None = None
        try:
            async with self._feed.subscribe(after) as changes:
                yield LogBatch(self._feed.position, [])
                while True:
                    moved = anyio.Event()
                    if self._feed.position > after:
                        batch = await anext(changes)
                        after = batch[-1].fact.position
                        facts = [_logged(change) for change in batch]
                        yield LogBatch(self._feed.position, facts, await self._feed.mark(after))
                    elif self._sampler.latest is not beat and self._sampler.latest is not None:
                        beat = self._sampler.latest
                        yield beat
                    elif health and told != (now := self._how_it_is()):
                        told = now
                        yield now
                    else:
                        await moved.wait()
        finally:
            self._feed.remove_listener(wake)
            self._sampler.unlisten(wake)
            self._health.unlisten(wake)

    def _how_it_is(self) -> HealthIs:
        return HealthIs(tuple(self._health.alarms.values()), self._health.backup)


def _how(read: int, head: int) -> str:
    if head < read:
        return f"it ends at {head}, and was read up to {read}"
    return f"at {read}, up to where it was read, it says something else"


def _logged(change: Change) -> LoggedFact:
    fact = change.fact
    return LoggedFact(
        position=fact.position,
        at=fact.at.isoformat(),
        actor=fact.actor,
        command_id=fact.command_id,
        resource=fact.resource,
        version=fact.version,
        event=msgspec.Raw(msgspec.json.encode(fact.event)),
    )
