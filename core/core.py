"""Core: what the API is given to serve. Everything it needs comes in by its constructor.

It opens nothing itself: ``node`` brings the real disk, clock and links, tests and the simulator bring theirs.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import anyio

import nano
from nano.core.alarms import AlarmDesk
from nano.core.batch_work import BatchWork
from nano.core.bin_work import BinWork
from nano.core.cells import CellDesk
from nano.core.change_work import ChangeWork, Serve
from nano.core.compact_work import CompactWork
from nano.core.guest_steps import GuestSteps
from nano.core.guest_work import GuestWork
from nano.core.image_sharing import ImageSharing
from nano.core.image_store import ImageStore
from nano.core.image_sync import NO_INTAKE, ImageSync
from nano.core.image_tools import ImageTools, QemuTools
from nano.core.images import ImageWork, UploadUrl
from nano.core.inspector import Inspector
from nano.core.intake import Intake
from nano.core.migrate_work import MigrateWork
from nano.core.password_work import PasswordWork
from nano.core.past import Past
from nano.core.probe_work import ProbeWork
from nano.core.reconciler import Reconciler
from nano.core.repair_work import RepairWork
from nano.core.screens import Screen, ScreenDesk
from nano.core.snapshot_schedule import SnapshotClock
from nano.core.snapshot_work import SnapshotWork
from nano.core.uploads import UploadDesk
from nano.core.usage import UsageBoard
from nano.core.vault import Vault
from nano.core.vnc_work import VncWork
from nano.core.work import ACTOR, TaskRunner
from nano.domain.facts import Change, Command, Emitted
from nano.domain.guest_hold import require_power
from nano.domain.guest_password import require_agent
from nano.domain.guest_vnc import require_vnc
from nano.domain.inside import Inside
from nano.domain.placement import Need, Verdict
from nano.domain.zone import FoundZone, StockTemplates, Zone
from nano.journal.health import NO_UPKEEP, Upkeep
from nano.journal.ledger import Ledger, Receipt
from nano.projections.zone_views import ZoneViews
from nano.transports.files import FILES, Files
from nano.transports.link import Pipe
from nano.transports.messages import Port


class Core:
    """``ledger`` is started (replayed) already; its model is ``zone``."""

    version = nano.__version__

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        zone: Zone,
        *,
        clock: Callable[[], datetime],
        source: Serve,
        images: ImageStore,
        vault: Vault,
        upload_url: UploadUrl = lambda image: image.id,
        files: Files = FILES,
        tools: ImageTools | None = None,
        intake: Intake = NO_INTAKE,
        generation: str,
        upkeep: Upkeep = NO_UPKEEP,
        repair_every_s: float = 0.0,
    ) -> None:
        self.name = name
        self.ledger = ledger
        self.feed = ledger.feed
        self.zone = zone
        self.clock = clock
        self.started_at = clock()
        self._vault = vault
        self.usage = UsageBoard()
        self.views = ZoneViews(generation)
        self.past = Past(ledger, generation)
        self.alarms = AlarmDesk(name, ledger, zone, self.views, clock, upkeep)
        self.images = images
        self.files = files
        self.uploads = UploadDesk(files)
        self.sharing = ImageSharing(zone, ledger.feed, images, self.uploads)
        self.cells = CellDesk(ledger, zone, self.usage, self.alarms, self.sharing)
        self.inspector = Inspector(zone, self.cells)
        self.reconciler = Reconciler(ledger, self.inspector, repair_every_s)
        if repair_every_s:  # else nobody would look again, and an alarm might outlast its cause
            self.inspector.looked = lambda found: self.alarms.inspected(found.drift, found.orphans)
        zone.loads = self.usage.loads
        self._screens = ScreenDesk(self._take_screen, anyio.current_time)
        tell = self.views.set_progress
        steps = GuestSteps(zone, self.cells, tell)
        sync = ImageSync(zone, ledger.feed, images, intake, files)
        self._image_work = ImageWork(
            steps, ledger.feed, images, self.uploads, upload_url, tools or QemuTools(files), files.workers, sync
        )
        self._bin = BinWork(steps, source, ledger, clock)
        families = (
            GuestWork(steps, source, vault),
            ChangeWork(steps, source),
            CompactWork(steps),
            MigrateWork(steps, vault),
            RepairWork(steps),
            PasswordWork(steps, vault),
            VncWork(steps, vault),
            SnapshotWork(steps),
            ProbeWork(self.cells),
            BatchWork(zone, ledger.feed),
            self._bin,
            self._image_work,
            sync,
        )
        sagas = {kind: saga for family in families for kind, saga in family.sagas().items()}
        self._snapshot_clock = SnapshotClock(ledger, zone, clock)
        self._runner = TaskRunner(ledger, zone, clock, sagas)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Views are right when this is entered; cells and tasks are attended to until it is left."""
        self.views.load(self.zone, self.ledger.version, self.ledger.position)
        self.feed.add_listener(self._fold)
        for first in (FoundZone(), StockTemplates()):
            await self.ledger.execute(first, actor=ACTOR, command_id="")
        try:
            async with anyio.create_task_group() as tasks:
                await tasks.start(self.cells.run)
                await tasks.start(self._runner.run)
                tasks.start_soon(self._image_work.run)
                tasks.start_soon(self._bin.run)
                tasks.start_soon(self._snapshot_clock.run)
                tasks.start_soon(self.alarms.health.run)
                tasks.start_soon(self.reconciler.run)
                yield
                tasks.cancel_scope.cancel()
        finally:
            self.feed.remove_listener(self._fold)

    def _fold(self, changes: list[Change]) -> None:
        self.views.fold(changes)
        self.alarms.on_changes(changes)

    async def execute(
        self, command: Command, *, actor: str, command_id: str, expect: tuple[str, int] | None = None
    ) -> Receipt:
        """Carry out a command of the catalogue. Returns when it is durable and the views show it."""
        sealed = self._vault.seal(command, command_id)
        return await self.ledger.execute(sealed, actor=actor, command_id=command_id, expect=expect)

    def dry_run(self, command: Command, *, actor: str) -> list[Emitted]:
        """What the command would record now; nothing changes."""
        return self.ledger.dry_run(self._vault.seal(command, ""), actor=actor)

    def placement(self, pool: str, need: Need) -> Verdict:
        return self.zone.explain_placement(pool, need)

    async def console(self, guest_id: str, port: Port = "display") -> Pipe:
        """RFB bytes of the guest's display, or those of its serial port. Raises Unknown, Unreachable, HostError."""
        guest = self.zone.find_guest(guest_id)
        return await self.cells.console(guest.cell, guest.id, port)

    async def screenshot(self, guest_id: str) -> Screen:
        """What the guest's screen shows, a few seconds old at most. Raises Unknown, Conflict, Unreachable, HostError."""
        guest = self.zone.find_guest(guest_id)
        require_power(guest, ("running", "paused"), "looked at")
        return await self._screens.look(guest.id)

    async def inside(self, guest_id: str) -> Inside:
        """What its agent says of its system. Raises Unknown, Conflict, Unreachable, HostError."""
        guest = self.zone.find_guest(guest_id)
        require_agent(guest)
        return await self.cells.inside(guest.cell, guest.id)

    def password(self, guest_id: str) -> tuple[str, str]:
        """Account and password that were last set in it. Raises Unknown, Failure."""
        guest = self.zone.find_guest(guest_id)
        return guest.admin, self._vault.open_password(guest.password)

    def vnc(self, guest_id: str) -> tuple[str, int, str]:
        """Address, port and secret of VNC access to it. Raises Unknown, Failure, Conflict when it has just ended."""
        access = require_vnc(self.zone.find_guest(guest_id))
        return access.address, access.port, self._vault.open_vnc(access.sealed)

    async def _take_screen(self, guest_id: str) -> bytes:
        return await self.cells.screenshot(self.zone.find_guest(guest_id).cell, guest_id)
