"""Viewers: people's own VNC viewers at the displays of this cell's guests (decision 44).

A guest that runs and has VNC access has an entrance: a port of the host at which a viewer must show the secret before anything
of the display is reached. Entrances follow the journal: ``run`` opens and shuts them as guests start, stop, come and go, and what
counts as the secret is what the journal has when a viewer answers. Invariants: a guest whose access is off, or that does not
run, has no entrance; whoever came in with an earlier secret is out as soon as there is another; secrets are in clear only
while one is compared. Everything is bounded: viewers, those that wait, their patience, wrong answers from one address.
"""

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

import anyio
import anyio.abc
from anyio.abc import SocketStream

from nano.domain.domain_vnc import SettleVnc
from nano.domain.errors import Conflict, Failure, HostError, NanoError
from nano.domain.facts import Change, id_of
from nano.domain.host_domain import HostDomain
from nano.domain.order import Order
from nano.domain.site import Site
from nano.domain.task import problem_of
from nano.domain.throttle import Throttle
from nano.hypervisor.host import Host
from nano.hypervisor.ports import PORT_TAKEN, Listening
from nano.hypervisor.rfb import CHALLENGE_BYTES, Doorkeeper, NotRfb, Reading, Refused, open_display
from nano.hypervisor.socket_channel import Channel, SocketChannel
from nano.journal.ledger import Ledger
from nano.journal.sealing import SealingKey
from nano.transports.stream_pipe import GONE, relay

log = logging.getLogger("nano.cell")

ACTOR: Final = "viewers"
PURPOSE: Final = b"nano vnc secret of a cell"
PATIENCE_S: Final = 60.0  # from the first byte to the right secret: somebody types it
VIEWERS_MAX: Final = 8  # at one display
WAITING_MAX: Final = 16  # at one entrance, without having shown a secret
WAITING_OF_ONE: Final = 4  # of them from one address
WRONG_MAX: Final = 5  # answers from one address, for WRONG_S seconds
WRONG_S: Final = 60.0
AGAIN_S: Final = 10.0
ORDERS: Final = ("open_vnc", "close_vnc", "adopt")  # whoever is at work on an entrance opens and shuts it


class VncOffer(NamedTuple):
    """Where a cell lets viewers in, the key it keeps secrets with, and where challenges come from. No address = nowhere."""

    address: str = ""
    ports: range = range(5901, 6001)
    key: SealingKey | None = None
    entropy: Callable[[int], bytes] = os.urandom


NO_VNC: Final = VncOffer()


class Viewers:
    def __init__(self, site: Site, ledger: Ledger, host: Host, offer: VncOffer, now: Callable[[], float]) -> None:
        self._site = site
        self._ledger = ledger
        self._host = host
        self._offer = offer
        self._now = now
        self._throttle = Throttle({"address": WRONG_MAX}, WRONG_S)
        self._entrances: dict[str, _Entrance] = {}
        self._moved = anyio.Event()
        self._tasks: anyio.abc.TaskGroup | None = None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        self._ledger.feed.add_listener(self._on_changes)
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                task_status.started()
                while True:
                    self._moved = anyio.Event()
                    settled = await self._settle()
                    with anyio.move_on_after(None if settled else AGAIN_S):
                        await self._moved.wait()
        finally:
            self._ledger.feed.remove_listener(self._on_changes)

    def seal(self, secret: str, command_id: str) -> str:
        """Raises Conflict when no viewers are let in here."""
        if self._offer.key is None or not self._offer.address:
            raise no_offer()
        return self._offer.key.seal(secret.encode(), command_id, PURPOSE)

    async def make_room(self, guest_id: str) -> tuple[str, int]:
        """Address and port for the guest's viewers; nobody is there any more. They can connect already if it runs, and are let
        in when the journal says so. Raises Conflict(no_free_port), HostError."""
        await self._host.ports.shut(guest_id)
        domain = self._site.get(f"domain/{guest_id}")
        last = domain.vnc.port if isinstance(domain, HostDomain) and domain.vnc is not None else 0
        port, listening = await self._open(guest_id, last)
        if isinstance(domain, HostDomain) and _is_on(domain):
            self._begin(guest_id, listening)
        else:
            await self._host.ports.shut(guest_id)
        return self._offer.address, port

    async def shut(self, guest_id: str) -> None:
        """Nobody is at its display when this returns. Raises HostError."""
        await self._host.ports.shut(guest_id)

    # ---- entrances

    def _on_changes(self, changes: list[Change]) -> None:
        if not any(self._concerns(change) for change in changes):
            return
        for guest_id, entrance in self._entrances.items():
            domain = self._site.get(f"domain/{guest_id}")
            vnc = domain.vnc if isinstance(domain, HostDomain) else None
            for visit in entrance.visits:
                if visit.kept and (vnc is None or visit.kept != vnc.kept):
                    visit.scope.cancel()
        self._moved.set()

    def _concerns(self, change: Change) -> bool:
        """Of all that a cell journals, little has to do with viewers."""
        after = change.after
        if isinstance(after, Order):
            return after.kind in ORDERS
        return (isinstance(after, HostDomain) and after.vnc is not None) or id_of(
            change.fact.resource
        ) in self._entrances

    async def _settle(self) -> bool:
        """Whether every entrance is as it should be."""
        wanted = {domain.guest_id: domain for domain in self._site.domains() if _is_on(domain) and domain.vnc}
        busy = {order.guest_id for order in self._site.open_orders.values() if order.kind in ORDERS}
        settled = True
        try:
            for guest_id in [one for one in self._entrances if one not in wanted and one not in busy]:
                await self._host.ports.shut(guest_id)
        except NanoError as error:
            log.error("entrance not shut code=%s reason=%s", error.code, error.message)
            settled = False
        for guest_id, domain in wanted.items():
            if guest_id in self._entrances or guest_id in busy:
                continue
            try:
                await self._open_again(domain)
            except NanoError as error:
                log.error("entrance not opened guest=%s code=%s reason=%s", guest_id, error.code, error.message)
                settled = False
        return settled

    async def _open_again(self, domain: HostDomain) -> None:
        """A guest with access has begun to run, or the cell has. Raises what may be otherwise the next time."""
        assert domain.vnc is not None
        settle = partial(SettleVnc, guest_id=domain.guest_id, kept=domain.vnc.kept)
        try:
            self._secret(domain)
            port, listening = await self._open(domain.guest_id, domain.vnc.port)
        except (Conflict, Failure) as error:
            log.warning("access ended guest=%s code=%s reason=%s", domain.guest_id, error.code, error.message)
            await self._ledger.execute(settle(error=problem_of(error)), actor=ACTOR, command_id="")
            return
        self._begin(domain.guest_id, listening)
        if (self._offer.address, port) != (domain.vnc.address, domain.vnc.port):
            moved = settle(address=self._offer.address, port=port)
            await self._ledger.execute(moved, actor=ACTOR, command_id="")

    async def _open(self, guest_id: str, wish: int) -> tuple[int, Listening]:
        for port in self._free_ports(guest_id, wish):
            try:
                return port, await self._host.ports.open(guest_id, self._offer.address, port)
            except HostError as error:
                if error.code != PORT_TAKEN:
                    raise
        ports = self._offer.ports
        raise Conflict(
            f"No port from {ports.start} to {ports.stop - 1} is free on its cell.",
            code="no_free_port",
            hint="Disable the VNC access of another guest there, or widen [vnc] in the cell's cell.toml.",
        )

    def _free_ports(self, guest_id: str, wish: int) -> Iterator[int]:
        others = [domain.vnc for domain in self._site.domains() if domain.vnc and domain.guest_id != guest_id]
        taken = {vnc.port for vnc in others}
        if wish in self._offer.ports and wish not in taken:
            yield wish
        yield from (port for port in self._offer.ports if port not in taken and port != wish)

    def _begin(self, guest_id: str, listening: Listening) -> None:
        assert self._tasks is not None
        entrance = self._entrances[guest_id] = _Entrance(listening)
        self._tasks.start_soon(self._keep, guest_id, entrance)

    async def _keep(self, guest_id: str, entrance: "_Entrance") -> None:
        try:
            await entrance.listening.serve(partial(self._receive, guest_id, entrance))
        finally:
            with anyio.CancelScope(shield=True):
                await entrance.listening.aclose()
            if self._entrances.get(guest_id) is entrance:
                del self._entrances[guest_id]
                self._moved.set()

    # ---- who comes

    async def _receive(self, guest_id: str, entrance: "_Entrance", channel: Channel, peer: str) -> None:
        waiting = [visit.peer for visit in entrance.visits if not visit.kept]
        if len(waiting) >= WAITING_MAX or waiting.count(peer) >= WAITING_OF_ONE:
            log.warning("too many wait at an entrance guest=%s address=%s", guest_id, peer)
            return
        visit, viewer = _Visit(peer), Reading(channel)
        entrance.visits.add(visit)
        try:
            with visit.scope:
                display: Reading | None = None
                with anyio.move_on_after(PATIENCE_S):
                    display = await self._admit(guest_id, entrance, visit, viewer)
                if display is None:
                    raise NotRfb("it was too slow")
                log.info("viewer let in guest=%s address=%s", guest_id, peer)
                await relay(viewer, display)
        except (NotRfb, Refused, *GONE) as error:
            log.info("viewer gone guest=%s address=%s reason=%s", guest_id, peer, error)
        finally:
            entrance.visits.discard(visit)

    async def _admit(self, guest_id: str, entrance: "_Entrance", visit: "_Visit", viewer: Reading) -> Reading:
        """The guest's display, once a right secret was shown. Raises NotRfb, Refused, and what a channel raises."""
        keeper = Doorkeeper(viewer, self._offer.entropy(CHALLENGE_BYTES))
        await keeper.greet()
        if reason := self._must_wait(visit.peer):
            await keeper.turn_away(reason)
        await keeper.ask(partial(self._why_refused, guest_id, visit))
        if sum(1 for one in entrance.visits if one.kept) > VIEWERS_MAX:
            await keeper.fail(f"{VIEWERS_MAX} viewers are connected already.")
        display: Reading | None = None
        try:
            display = Reading(SocketChannel(await SocketStream.from_socket(await self._host.console(guest_id))))
            await open_display(display)
            await keeper.let_in()
        except NanoError as error:
            await keeper.fail(error.message)
        except BaseException:
            if display is not None:
                with anyio.CancelScope(shield=True):
                    await display.aclose()
            raise
        assert display is not None
        return display

    def _why_refused(self, guest_id: str, visit: "_Visit", is_it: Callable[[str], bool]) -> str:
        """Empty when the secret that was answered with is the one that the journal has now."""
        if reason := self._must_wait(visit.peer):
            return reason
        domain = self._site.get(f"domain/{guest_id}")
        if not isinstance(domain, HostDomain) or domain.vnc is None:
            return "VNC access to this guest is off."
        if not is_it(self._secret(domain)):
            self._throttle.failed(self._now(), address=visit.peer)
            log.warning("wrong secret guest=%s address=%s", guest_id, visit.peer)
            return "The secret is wrong."
        visit.kept = domain.vnc.kept
        return ""

    def _must_wait(self, peer: str) -> str:
        wait_s = self._throttle.wait_s(self._now(), address=peer)
        return f"Too many wrong secrets. Try again in {wait_s:.0f} s." if wait_s > 0 else ""

    def _secret(self, domain: HostDomain) -> str:
        """Raises Conflict, Failure when it can't be had any more."""
        if self._offer.key is None or not self._offer.address:
            raise no_offer()
        assert domain.vnc is not None
        return self._offer.key.open(domain.vnc.kept, PURPOSE).decode()


def no_offer() -> Conflict:
    return Conflict(
        "Its cell lets no VNC viewers in.",
        code="no_vnc_address",
        hint="Give it an address for them ([vnc] in its cell.toml) and restart it.",
    )


class _Visit:
    """``kept``: the secret, as the journal has it, that let it in; empty = it has shown none."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.kept = ""
        self.scope = anyio.CancelScope()


class _Entrance:
    def __init__(self, listening: Listening) -> None:
        self.listening = listening
        self.visits: set[_Visit] = set()


def _is_on(domain: HostDomain) -> bool:
    return domain.ready and domain.power in ("running", "paused")
