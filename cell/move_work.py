"""Moving a guest between cells: the orders of both ends (decision 41).

    destination   receive (open a door) ─────────────── adopt (define)
    source                            send ─ release (undefine) ───── remove

The source lets go of the guest before the destination takes it up, so it is never defined on both. Invariant: an adoption that
failed is over only when the host has nothing of it, because Core then gives the guest back.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Final

import anyio
import msgspec

from nano.cell.doors import Doors
from nano.cell.handlers import Handler, Tell
from nano.cell.sending import REPLY_S, Sending
from nano.cell.vnc_work import VncWork
from nano.domain.errors import HostError, NanoError, Unknown, Unreachable
from nano.domain.facts import Event
from nano.domain.guest import Power
from nano.domain.host_domain import (
    CloseOrder,
    DomainAgentChanged,
    DomainCreated,
    DomainDiscarded,
    DomainPowerChanged,
    DomainReleased,
    FailOrder,
    HostDomain,
    TakeOrder,
)
from nano.domain.machine import MachineSpec
from nano.domain.order import Order
from nano.domain.site import Site
from nano.hypervisor.host import DOMAIN_WRONG_STATE, Host
from nano.hypervisor.live_moves import Berth
from nano.hypervisor.moves import SEED, numbers_of
from nano.hypervisor.socket_channel import Channel
from nano.transports.messages import GuestOrder
from nano.transports.move_messages import (
    AdoptDomain,
    AskBerth,
    BerthIs,
    DiscardDomain,
    GoOn,
    OpenChannel,
    ReceiveDomain,
    ReleaseDomain,
    SendDomain,
)
from nano.transports.peer_link import Peers
from nano.transports.stream_pipe import relay

log = logging.getLogger("nano.cell")

TRIES_MAX: Final = 5  # to reach the destination without a byte more getting there
TRY_AGAIN_S: Final = 2.0

STOOD_STILL: Final = "it stood still for {} ms"
LIVE: Final = "live"  # the argument of an order for a guest that runs
STORAGE: Final = "storage"  # and of one whose files stay where they are, because both cells have that storage

Remove = Callable[[str, str], Awaitable[CloseOrder]]


class MoveWork:
    """``remove`` takes away a guest's domain and volumes, and closes that order."""

    def __init__(self, site: Site, host: Host, doors: Doors, peers: Peers, remove: Remove, vnc: VncWork) -> None:
        self._site = site
        self._host = host
        self._doors = doors
        self._peers = peers
        self._remove = remove
        self._vnc = vnc

    def handlers(self) -> Mapping[type[GuestOrder], Handler]:
        return {
            ReceiveDomain: Handler("receive", self.receive, take=_take_receive, undo=self.undo_receive),
            DiscardDomain: Handler("discard", self.discard, resume=self.resume_discard),
            SendDomain: Handler(
                "send", self.send, take=_take_send, resume=self.has_gone, undo=self.tidy, too_late=self.has_gone
            ),
            ReleaseDomain: Handler(
                "release", self.release, take=_take_release, resume=self.resume_release, undo=self.keep_it
            ),
            AdoptDomain: Handler(
                "adopt", self.adopt, take=self._take_adopt, resume=self.resume_adopt, undo=self.let_it_be
            ),
        }

    # ---- destination

    async def receive(self, order: ReceiveDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        if order.storage:
            return await self._receive_in_place(order)
        if order.guest_id in await self._host.volumes():
            raise HostError(
                "Files of the guest are in this cell's folder already.",
                code="volumes_here",
                hint="Look at what the files are. A folder that both cells see is told from others when both are restarted.",
            )
        return CloseOrder(id=order.command_id, detail=await self._open_door(order))

    async def _receive_in_place(self, order: ReceiveDomain) -> CloseOrder:
        """Its files are here, and stay the source's until this cell adopts the guest."""
        if self._host.capabilities.storage != order.storage:
            raise HostError(
                "This cell's volumes are on another storage now.",
                code="storage_changed",
                hint="See whether the folder for volumes is mounted here.",
            )
        if lacking := await self._host.storage.lacking(order.guest_id, order.spec):
            raise HostError(
                f"{lacking[0]} is not on the storage of both cells.",
                code="files_out_of_reach",
                hint="A disk that leans on an image in its cell's own folder can't move without it: build an image of the "
                "guest, and make a new one of that.",
            )
        await self._host.storage.announce(order.guest_id, order.command_id)
        return CloseOrder(id=order.command_id, detail=await self._open_door(order) if order.live else "")

    async def _open_door(self, order: ReceiveDomain) -> str:
        """For its files, or for a running guest itself."""
        if order.live:  # it begins to run here by itself
            await self._host.filters.guard({order.guest_id: order.spec})
        in_place = bool(order.storage)
        return await self._doors.open(
            order.guest_id, order.spec, order.peer, order.patience_s, live=order.live, in_place=in_place
        )

    async def undo_receive(self, order: Order, failed: FailOrder) -> FailOrder:
        """Nothing has come yet: whatever files of it are here, they are not ours to remove."""
        await self._doors.close(order.guest_id)
        if STORAGE in order.arguments:
            await self._host.storage.withdraw(order.guest_id)
        return msgspec.structs.replace(failed, events=(DomainDiscarded(reason=failed.error.message),))

    async def discard(self, order: DiscardDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        return await self._discard(order.command_id, order.guest_id)

    async def resume_discard(self, order: Order) -> CloseOrder:
        return await self._discard(order.id, order.guest_id)

    async def _discard(self, order_id: str, guest_id: str) -> CloseOrder:
        if isinstance(self._site.get(f"domain/{guest_id}"), HostDomain):
            return await self._remove(order_id, guest_id)
        return CloseOrder(id=order_id)

    async def adopt(self, order: AdoptDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        await self._doors.close(order.guest_id)
        return await self._settled(order.command_id, order.guest_id, self._take_adopt(order).arguments)

    async def resume_adopt(self, order: Order) -> CloseOrder:
        return await self._settled(order.id, order.guest_id, order.arguments)

    async def _settled(self, order_id: str, guest_id: str, arguments: Mapping[str, str]) -> CloseOrder:
        adopt = self._take_over if LIVE in arguments else self._adopt
        closed = await adopt(order_id, guest_id)
        access = await self._vnc.came_with(guest_id, arguments)
        return msgspec.structs.replace(closed, events=(*closed.events, *access))

    async def _take_over(self, order_id: str, guest_id: str) -> CloseOrder:
        """A guest that came running is only here, so this goes on until the host has done it. Raises HostError when it has
        not come at all."""
        while True:
            try:
                if await self._power_of(guest_id) == "missing":
                    break
                closed = await self._adopt(order_id, guest_id)
                if (power := await self._power_of(guest_id)) == "paused":
                    await self._host.start(guest_id)
                    power = "running"
                report = await self._host.agent(guest_id) if power == "running" else None
            except NanoError as error:
                log.error("guest not taken over yet guest=%s code=%s reason=%s", guest_id, error.code, error.message)
                await anyio.sleep(TRY_AGAIN_S)
                continue
            events: tuple[Event, ...] = (*closed.events, DomainPowerChanged(power, "came here while it ran"))
            if report is not None:
                events += (DomainAgentChanged(connected=True, addresses=report.addresses),)
            return CloseOrder(id=order_id, events=events)
        raise HostError("The guest has not come.", code="guest_not_arrived", hint="It is where it was, and off.")

    async def _adopt(self, order_id: str, guest_id: str) -> CloseOrder:
        spec = self._domain(guest_id).spec
        await self._host.storage.withdraw(guest_id)
        here = await self._host.changes.volume_sizes(guest_id)
        if missing := [number for number in spec.volume_numbers if number not in here]:
            raise HostError(f"Volume {missing[0]} of guest {spec.name} has not arrived.", code="volumes_missing")
        await self._host.define(guest_id, spec)
        return CloseOrder(id=order_id, events=(DomainCreated(),))

    def _take_adopt(self, order: AdoptDomain) -> TakeOrder:
        arguments = _how(order.live) | self._vnc.brought(order)
        return TakeOrder(id=order.command_id, kind="adopt", guest_id=order.guest_id, arguments=arguments)

    async def let_it_be(self, order: Order, failed: FailOrder) -> FailOrder:
        """Not over before the host has nothing of it: the source may define it again then."""
        while True:
            try:
                await self._host.undefine(order.guest_id)
                return failed
            except NanoError as error:
                log.error("adoption not taken back guest=%s code=%s", order.guest_id, error.code)
            await anyio.sleep(TRY_AGAIN_S)

    # ---- source

    async def send(self, order: SendDomain, tell: Tell) -> CloseOrder:
        guest_id, spec = order.guest_id, self._domain(order.guest_id).spec
        if order.announced and await self._host.storage.announced(guest_id) != order.announced:
            raise HostError(
                "The cells have one storage by its id, but what one writes there the other does not see.",
                code="storage_not_shared",
                hint="Two folders bear the id of one, so one is a copy, or not mounted: remove the file .nano-storage there "
                "if it is a copy, and restart its cell.",
            )
        if order.live:
            return await self._hand_over(order, spec, tell)
        await self._require_off(guest_id)
        if order.announced:
            return CloseOrder(id=order.command_id)
        lengths = await self._host.moves.lengths(
            guest_id, numbers_of(spec), lambda percent: tell(percent // 10, "make disk whole")
        )
        sending = Sending(self._host, guest_id, lengths, tell)
        fruitless = 0
        while not sending.done:
            before = sending.sent
            try:
                async with AsyncExitStack() as stack:
                    link = await stack.enter_async_context(self._peers.reaching(order.address, order.peer))
                    await sending.go_on(link)
            except Unreachable as error:
                fruitless = 0 if sending.sent > before else fruitless + 1
                log.info("sending interrupted guest=%s sent=%d reason=%s", guest_id, sending.sent, error.message)
                if fruitless >= TRIES_MAX:
                    raise
                await anyio.sleep(TRY_AGAIN_S)
        await self._host.moves.forget(guest_id, spec)
        return CloseOrder(id=order.command_id)

    async def _hand_over(self, order: SendDomain, spec: MachineSpec, tell: Tell) -> CloseOrder:
        """A running guest. A link that is lost meanwhile fails it, and it stays here."""
        guest_id = order.guest_id
        async with self._peers.reaching(order.address, order.peer) as link:
            if spec.seed and not order.announced:
                lengths = await self._host.moves.lengths(guest_id, (SEED,), lambda _percent: None)
                await Sending(self._host, guest_id, lengths, _untold).go_on(link)
            berth = await link.request(AskBerth(), timeout_s=REPLY_S)
            assert isinstance(berth, BerthIs)

            async def carry(name: str, channel: Channel) -> None:
                _, pipe = await link.pipe(OpenChannel(name), timeout_s=REPLY_S)
                await relay(pipe, channel)

            there = msgspec.convert(berth.berth, Berth)
            still = await self._host.live_moves.move(
                guest_id, there, carry, lambda percent: tell(percent, "hand over"), in_place=bool(order.announced)
            )
            begun = anyio.current_time()
            try:
                await link.request(GoOn(), timeout_s=REPLY_S)  # Core says so too, a little later
            except NanoError as error:
                log.info("guest waits for Core to go on guest=%s code=%s", guest_id, error.code)
                still = None
        told = "" if still is None else STOOD_STILL.format(round((still + anyio.current_time() - begun) * 1000))
        return _released(order.command_id, borrowed=bool(order.announced), detail=told)

    async def has_gone(self, order: Order) -> CloseOrder | None:
        """A running guest that was handed over, whatever was heard of it."""
        if LIVE not in order.arguments:
            return None
        while True:
            try:
                if await self._host.live_moves.gone(order.guest_id):
                    return _released(order.id, borrowed=STORAGE in order.arguments)
                return None
            except NanoError as error:
                log.error("not known whether it has gone guest=%s code=%s", order.guest_id, error.code)
            await anyio.sleep(TRY_AGAIN_S)

    async def tidy(self, order: Order, failed: FailOrder) -> FailOrder:
        domain = self._site.get(f"domain/{order.guest_id}")
        if isinstance(domain, HostDomain):
            try:
                await self._host.moves.forget(order.guest_id, domain.spec)
            except NanoError as error:
                log.warning("copies of disks not removed guest=%s code=%s", order.guest_id, error.code)
        return failed

    async def release(self, order: ReleaseDomain, tell: Tell) -> CloseOrder:  # noqa: ARG002
        await self._require_off(order.guest_id)
        return await self._release(order.command_id, order.guest_id, borrowed=order.shared)

    async def resume_release(self, order: Order) -> CloseOrder:
        return await self._release(order.id, order.guest_id, borrowed=STORAGE in order.arguments)

    async def _release(self, order_id: str, guest_id: str, *, borrowed: bool) -> CloseOrder:
        await self._host.undefine(guest_id)
        return _released(order_id, borrowed=borrowed)

    async def keep_it(self, order: Order, failed: FailOrder) -> FailOrder:
        """Defined as it was. Where the host does not let us, its domain is missing, and can be defined again."""
        try:
            await self._host.define(order.guest_id, self._domain(order.guest_id).spec)
        except NanoError as error:
            log.error("domain not defined again guest=%s code=%s", order.guest_id, error.code)
        return failed

    async def _require_off(self, guest_id: str) -> None:
        if (power := await self._power_of(guest_id)) in ("running", "paused"):
            raise HostError(f"The guest is {power}.", code=DOMAIN_WRONG_STATE, hint="Stop it first.")

    async def _power_of(self, guest_id: str) -> Power:
        found = (domain.state for domain in await self._host.domains() if domain.guest_id == guest_id)
        return next(found, "missing")

    def _domain(self, guest_id: str) -> HostDomain:
        domain = self._site.get(f"domain/{guest_id}")
        if not isinstance(domain, HostDomain):
            raise Unknown(f"This cell has no domain {guest_id}.", code="unknown_domain")
        return domain


def _take_receive(order: ReceiveDomain) -> TakeOrder:
    arguments = {STORAGE: order.storage} if order.storage else {}
    arguments |= {"pending": " ".join(order.pending)} if order.pending else {}
    return TakeOrder(id=order.command_id, kind="receive", guest_id=order.guest_id, spec=order.spec, arguments=arguments)


def _take_send(order: SendDomain) -> TakeOrder:
    arguments = _how(order.live) | ({STORAGE: "yes"} if order.announced else {})
    return TakeOrder(id=order.command_id, kind="send", guest_id=order.guest_id, arguments=arguments)


def _take_release(order: ReleaseDomain) -> TakeOrder:
    arguments = {STORAGE: "yes"} if order.shared else {}
    return TakeOrder(id=order.command_id, kind="release", guest_id=order.guest_id, arguments=arguments)


def _how(live: bool) -> dict[str, str]:
    return {LIVE: "yes"} if live else {}


def _released(order_id: str, *, borrowed: bool, detail: str = "") -> CloseOrder:
    return CloseOrder(id=order_id, events=(DomainReleased(borrowed),), detail=detail)


def _untold(_percent: int, _step: str) -> None:
    """A seed is too small for a progress."""
