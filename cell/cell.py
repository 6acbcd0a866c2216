"""CellNode: one cell, put together from what it is given. It opens nothing itself: ``node`` brings the real world."""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import anyio

from nano.cell.agent_work import AgentWork
from nano.cell.change_work import ChangeWork
from nano.cell.compact_work import CompactWork
from nano.cell.doors import Doors
from nano.cell.image_cache import ImageCache
from nano.cell.image_work import ImageWork, SendFile, no_way
from nano.cell.inspector import Inspector
from nano.cell.move_work import MoveWork
from nano.cell.offer import CellOffer
from nano.cell.orders import OrderDesk
from nano.cell.repair_work import RepairWork
from nano.cell.sampler import Sampler
from nano.cell.snapshot_work import SnapshotWork
from nano.cell.viewers import NO_VNC, Viewers, VncOffer
from nano.cell.vnc_work import VncWork
from nano.cell.watch import Watch
from nano.cell.work import Work
from nano.domain.alarm import Finding
from nano.domain.errors import NanoError
from nano.domain.site import Site
from nano.hypervisor.host import Host
from nano.journal.health import NO_UPKEEP, NodeHealth, Upkeep
from nano.journal.ledger import Ledger
from nano.transports.peer_link import NO_PEERS, Peers

log = logging.getLogger("nano.cell")


class CellNode:
    """``ledger`` is started (replayed) already; its model is ``site``. ``clock`` is wall time, ``now`` gives seconds."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        site: Site,
        host: Host,
        images: ImageCache,
        *,
        clock: Callable[[], datetime],
        now: Callable[[], float],
        outgoing: Path = Path("outgoing"),
        send: SendFile = no_way,
        peers: Peers = NO_PEERS,
        vnc: VncOffer = NO_VNC,
        upkeep: Upkeep = NO_UPKEEP,
    ) -> None:
        self.name = name
        self.site = site
        self.ledger = ledger
        self.host = host
        self._doors = Doors(host, peers)
        self._viewers = Viewers(site, ledger, host, vnc, now)
        vnc_work = VncWork(self._viewers)
        work = Work(site, host, images, ledger.feed, self._doors)
        families = (
            work,
            MoveWork(site, host, self._doors, peers, work.take_away, vnc_work),
            ChangeWork(site, host, images),
            RepairWork(site, host),
            AgentWork(host),
            CompactWork(host),
            vnc_work,
            ImageWork(site, host, outgoing, send),
            SnapshotWork(site, host),
        )
        self._desk = OrderDesk(ledger, site, *families)
        self._watch = Watch(ledger, site, host, self._desk)
        self._sampler = Sampler(host, site, now)
        self.health = NodeHealth("cell", name, ledger, clock=clock, upkeep=upkeep, more=self._hypervisor)
        self._sampler.changed = self.health.look
        self.offer = CellOffer(self._desk, ledger.feed, self._sampler, host, images, self.health, Inspector(site, host))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Entered when open orders are settled and the journal has been compared with the host."""
        await self._guard()
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._doors.run)
            await tasks.start(self._viewers.run)
            await tasks.start(self._desk.run)
            await tasks.start(self._watch.run)
            tasks.start_soon(self._sampler.run)
            tasks.start_soon(self.health.run)
            yield
            tasks.cancel_scope.cancel()

    async def _guard(self) -> None:
        """What keeps guests from posing as others is made of the journal; a restart of the host has taken it along."""
        try:
            await self.host.filters.guard({domain.guest_id: domain.spec for domain in self.site.domains()}, only=True)
        except NanoError as error:
            log.warning("guests not guarded yet code=%s reason=%s", error.code, error.message)

    def _hypervisor(self) -> Iterator[Finding]:
        if self._sampler.trouble:
            yield Finding("hypervisor_unreachable", {"cell": self.name, "reason": self._sampler.trouble})
