"""Watch: keeps the journal true to the hypervisor (B17's beginning).

The hypervisor's events drive it; a full comparison runs at start, whenever the event stream had to be reopened, and every
``CONFIRM_S`` to confirm. It only observes: nothing is started, stopped or defined here, and what is not Nano's is not seen.
"""

import logging

import anyio
import anyio.abc

from nano.cell.orders import OrderDesk
from nano.domain.errors import NanoError
from nano.domain.guest import Power
from nano.domain.host_domain import ObserveAgent, ObserveDomain
from nano.domain.site import Site
from nano.hypervisor.host import DomainEvent, Host
from nano.journal.ledger import Ledger

log = logging.getLogger("nano.cell")

ACTOR = "hypervisor"
CONFIRM_S = 30.0
REOPEN_S = 1.0
AGENTS_AT_ONCE = 4


class Watch:
    def __init__(self, ledger: Ledger, site: Site, host: Host, desk: OrderDesk) -> None:
        self._ledger = ledger
        self._site = site
        self._host = host
        self._desk = desk
        self._agents = anyio.CapacityLimiter(AGENTS_AT_ONCE)

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Started when the journal has been compared once, or the hypervisor could not be asked."""
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._follow_events, tasks)
            task_status.started()
            while True:
                await anyio.sleep(CONFIRM_S)
                try:
                    await self._compare("found so by the regular check")
                except NanoError as error:  # the journal takes nothing now; the next check sees the same
                    log.warning("regular check not recorded code=%s reason=%s", error.code, error.message)

    async def _follow_events(self, tasks: anyio.abc.TaskGroup, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        reason = "found so when the cell started"
        started = False
        while True:
            try:
                events = self._host.events()  # from here on nothing is missed
                await self._compare(reason)
                if not started:
                    started = True
                    task_status.started()
                async for event in events:
                    await self._on_event(event, tasks)
            except NanoError as error:
                log.warning("hypervisor not watched code=%s reason=%s", error.code, error.message)
            if not started:
                started = True
                task_status.started()
            reason = "found so when the hypervisor answered again"
            await anyio.sleep(REOPEN_S)

    async def _on_event(self, event: DomainEvent, tasks: anyio.abc.TaskGroup) -> None:
        if event.kind == "agent":
            if event.connected:
                tasks.start_soon(self._ask_agent, event.guest_id)
            else:
                await self._observe_agent(event.guest_id, connected=False)
            return
        power: Power = "missing" if event.kind == "undefined" else event.state
        await self._observe(event.guest_id, power, event.detail or f"the hypervisor says {power}")

    async def _compare(self, reason: str) -> None:
        """Every domain of the journal against the host's."""
        try:
            present = {domain.guest_id: domain for domain in await self._host.domains()}
        except NanoError as error:
            log.warning("hypervisor not compared code=%s reason=%s", error.code, error.message)
            return
        known = {domain.guest_id: domain for domain in self._site.domains()}
        for guest_id, domain in known.items():
            if not domain.ready:
                continue
            if guest_id in present:
                await self._observe(guest_id, present[guest_id].state, reason)
            else:
                await self._observe(guest_id, "missing", reason)
        for guest_id in present.keys() - known.keys():
            log.warning("stray domain guest=%s: it carries Nano's mark but is not in the journal; left alone", guest_id)
        running = [guest_id for guest_id, domain in present.items() if domain.state == "running" and guest_id in known]
        async with anyio.create_task_group() as tasks:
            for guest_id in running:
                tasks.start_soon(self._ask_agent, guest_id)

    async def _ask_agent(self, guest_id: str) -> None:
        try:
            async with self._agents:
                report = await self._host.agent(guest_id)
            addresses = report.addresses if report else ()
            await self._observe_agent(guest_id, connected=report is not None, addresses=addresses)
        except NanoError as error:
            log.info("agent not asked guest=%s code=%s", guest_id, error.code)

    async def _observe(self, guest_id: str, power: Power, reason: str) -> None:
        if self._desk.is_removing(guest_id):
            return  # the order says what became of it
        order = self._desk.ordered(guest_id, power)
        why = f"{order.action.replace('_', ' ')} on order" if order else reason
        command = ObserveDomain(guest_id=guest_id, power=power, reason=why)
        cause = f"order/{order.id}" if order else ""
        await self._ledger.execute(command, actor=ACTOR, command_id="", cause=cause)

    async def _observe_agent(self, guest_id: str, *, connected: bool, addresses: tuple[str, ...] = ()) -> None:
        command = ObserveAgent(guest_id=guest_id, connected=connected, addresses=addresses)
        await self._ledger.execute(command, actor=ACTOR, command_id="")
