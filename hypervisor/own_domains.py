"""OwnDomains: the domains of this host that carry Nano's mark, and the rules for acting on one.

A domain without the mark, or with another cell's, is never touched. Every part of the libvirt driver goes through here.
"""

import contextlib
from collections.abc import Callable
from typing import Any, Final

import libvirt

from nano.domain.errors import HostError
from nano.hypervisor.blocking_calls import DEADLINE_S
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.host import DOMAIN_FOREIGN, DOMAIN_MISSING, DOMAIN_WRONG_STATE
from nano.hypervisor.libvirt_api import Connection, DomainState
from nano.hypervisor.volumes import require_guest_id

INACTIVE: Final = (libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED)


class OwnDomains:
    def __init__(self, connection: LibvirtConnection) -> None:
        self._connection = connection

    async def act(
        self,
        guest_id: str,
        call: Callable[[Connection, str], None],
        done: Callable[[DomainState | None], bool] | None = None,
        *,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        """One call. When libvirt finds the state wrong and it is what was asked for by now, that is success."""
        try:
            await self._connection.run(lambda c: call(c, guest_id), what=f"Domain {guest_id}", deadline_s=deadline_s)
        except HostError as error:
            if error.code != DOMAIN_WRONG_STATE or done is None:
                raise
            now = await self._connection.run(lambda c: c.state(guest_id), what="Looking at the domain")
            if not done(now):
                raise

    async def find(self, guest_id: str) -> DomainState | None:
        require_guest_id(guest_id)
        state = await self._connection.run(lambda c: c.state(guest_id), what="Looking at the domain")
        if state is None:
            return None
        await self.refuse_foreign(guest_id)
        return state

    async def get(self, guest_id: str) -> DomainState:
        state = await self.find(guest_id)
        if state is None:
            raise HostError(f"There is no domain {guest_id}.", code=DOMAIN_MISSING, hint="Redefine the guest.")
        return state

    async def refuse_foreign(self, guest_id: str) -> None:
        if await self._connection.is_foreign(guest_id):
            raise HostError(
                f"Domain {guest_id} is not this cell's.", code=DOMAIN_FOREIGN, hint="It is left alone; look with virsh."
            )

    async def need_active(self, guest_id: str, what: str) -> None:
        if (await self.get(guest_id)).state in INACTIVE:
            raise HostError(
                f"A domain that does not run can't be {what}.", code=DOMAIN_WRONG_STATE, hint="Start it first."
            )


@contextlib.contextmanager
def tolerating(code: str) -> Any:
    try:
        yield
    except HostError as error:
        if error.code != code:
            raise


def is_active(state: DomainState | None) -> bool:
    return state is not None and state.state not in INACTIVE


def is_inactive(state: DomainState | None) -> bool:
    return state is None or state.state in INACTIVE
