"""FrontEnd: the portal and what it stands on, put together from what it is given. It opens nothing itself: ``node``
brings the real disk, clock, listener and way to Core; tests and the simulator bring theirs.

Core may be absent at any time: it answers without.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import anyio

from nano.domain.office import Office
from nano.domain.session import Lifetimes
from nano.domain.throttle import Throttle
from nano.journal.health import NO_UPKEEP, NodeHealth, Upkeep
from nano.journal.ledger import Ledger
from nano.journal.workers import THREADS, Workers
from nano.ui.app import make_app
from nano.ui.core_api import CoreApi, Find
from nano.ui.doorman import HASHER, Doorman, Hasher, new_token
from nano.ui.follower import Follower
from nano.ui.hub import Hub
from nano.ui.mirror import Mirror
from nano.ui.portal import Portal
from nano.ui.relay import Consoles
from nano.ui.render import Renderer
from nano.ui.settings import Settings
from nano.ui.statics import Statics
from nano.ui.usage_ring import UsageRing
from nano.ui.words import Words, load_words

DEFAULTS: Final = Settings()


class Looks(NamedTuple):
    """What pages are made of; the same for every FrontEnd of a process."""

    statics: Statics
    languages: dict[str, Words]
    renderer: Renderer


def load_looks(clock: Callable[[], datetime]) -> Looks:
    statics, languages = Statics(), load_words()
    return Looks(statics, languages, Renderer(languages, statics, clock))


class FrontEnd:
    """``ledger`` is started (replayed) already; its model is ``office``. ``app`` is the portal, an ASGI application."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        office: Office,
        find: Find,
        settings: Settings = DEFAULTS,
        *,
        clock: Callable[[], datetime],
        generation: str,
        looks: Looks | None = None,
        usage: UsageRing | None = None,
        hasher: Hasher = HASHER,
        token: Callable[[], str] = new_token,
        workers: Workers = THREADS,
        upkeep: Upkeep = NO_UPKEEP,
    ) -> None:
        self.ledger = ledger
        self.office = office
        self.mirror = Mirror(clock())
        self.hub = Hub(generation)
        self._core = CoreApi(find)
        consoles = Consoles(self._core, clock)

        def session_ended(session_id: str) -> None:
            self.hub.close(session_id)
            consoles.close(session_id)

        self._doorman = Doorman(
            office,
            ledger,
            lifetimes=Lifetimes(
                idle=timedelta(minutes=settings.session.idle_minutes),
                absolute=timedelta(hours=settings.session.absolute_hours),
            ),
            throttle=Throttle(
                {"account": settings.login.failures_per_account, "address": settings.login.failures_per_address},
                settings.login.window_minutes * 60,
            ),
            clock=clock,
            hasher=hasher,
            token=token,
            workers=workers,
            on_close=session_ended,
        )
        self.health = NodeHealth("frontend", name, ledger, clock=clock, upkeep=upkeep)
        self.health.listen(lambda: self.hub.publish({"alarm", "backup"}))
        looks, usage = looks or load_looks(clock), usage or UsageRing()
        portal = Portal(
            core=self._core,
            mirror=self.mirror,
            hub=self.hub,
            usage=usage,
            doorman=self._doorman,
            consoles=consoles,
            languages=looks.languages,
            renderer=looks.renderer,
            clock=clock,
            https=settings.listen.https,
            health=self.health,
        )
        self.app = make_app(portal, looks.statics)
        self._follower = Follower(self._core, self.mirror, self.hub, usage, clock=clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Core is followed and sessions are swept until this is left."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follower.run)
                tasks.start_soon(self._doorman.run)
                tasks.start_soon(self.health.run)
                yield
                tasks.cancel_scope.cancel()
        finally:
            await self._core.aclose()
