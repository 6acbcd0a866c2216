"""CellNode: one cell, put together from what it is given. It opens nothing itself: ``node`` brings the real world."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio

from nano.cell.image_cache import ImageCache
from nano.cell.offer import CellOffer
from nano.cell.orders import OrderDesk
from nano.cell.sampler import Sampler
from nano.cell.watch import Watch
from nano.cell.work import Work
from nano.domain.site import Site
from nano.hypervisor.host import Host
from nano.journal.ledger import Ledger


class CellNode:
    """``ledger`` is started (replayed) already; its model is ``site``. ``now`` gives seconds that only grow."""

    def __init__(
        self, name: str, ledger: Ledger, site: Site, host: Host, images: ImageCache, *, now: Callable[[], float]
    ) -> None:
        self.name = name
        self.site = site
        self.ledger = ledger
        self.host = host
        self._desk = OrderDesk(ledger, site, Work(site, host, images, ledger.feed))
        self._watch = Watch(ledger, site, host, self._desk)
        self._sampler = Sampler(host, site, now)
        self.offer = CellOffer(self._desk, ledger.feed, self._sampler, host)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Entered when open orders are settled and the journal has been compared with the host."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._desk.run)
            await tasks.start(self._watch.run)
            tasks.start_soon(self._sampler.run)
            yield
            tasks.cancel_scope.cancel()
