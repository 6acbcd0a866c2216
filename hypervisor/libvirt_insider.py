"""``Insider`` over libvirt, which speaks with the agent: it bounds what an agent may answer, and we how long it may take."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import libvirt

from nano.domain.errors import HostError
from nano.domain.inside import Inside
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.insider import inside_of, refused, silent, untrimmed
from nano.hypervisor.libvirt_api import AGENT_SILENT, Connection, translated
from nano.hypervisor.own_domains import OwnDomains

ANSWER_LIMIT_S: Final = 3
TRIM_LIMIT_S: Final = 120  # large file systems take their time; an agent that never answers holds a thread so long
HASH_LIMIT_S: Final = 20  # a guest under emulation takes seconds for the hash of a password
_KINDS: Final = (
    libvirt.VIR_DOMAIN_GUEST_INFO_HOSTNAME,
    libvirt.VIR_DOMAIN_GUEST_INFO_OS,
    libvirt.VIR_DOMAIN_GUEST_INFO_INTERFACES,
    libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM,
)


class LibvirtInsider:
    def __init__(self, connection: LibvirtConnection, own: OwnDomains) -> None:
        self._connection = connection
        self._own = own

    async def set_password(self, guest_id: str, user: str, password: str) -> None:
        await self._own.need_active(guest_id, "asked")
        await self._connection.run(
            lambda c: _set_password(c, guest_id, user, password),
            what="Setting the password",
            deadline_s=HASH_LIMIT_S + 10.0,
        )

    async def trim(self, guest_id: str) -> None:
        await self._own.need_active(guest_id, "trimmed")
        await self._connection.run(
            lambda c: _trim(c, guest_id), what="Trimming its file systems", deadline_s=TRIM_LIMIT_S + 10.0
        )

    async def inside(self, guest_id: str) -> Inside:
        await self._own.need_active(guest_id, "asked")
        limit_s = 2.0 * ANSWER_LIMIT_S * len(_KINDS)
        return await self._connection.run(
            lambda c: _ask(c, guest_id), what="Asking the guest agent", deadline_s=limit_s
        )


def _set_password(connection: Connection, uuid: str, user: str, password: str) -> None:
    """Blocking, in the manner of ``libvirt_api``."""
    with _untold(refused), translated("Setting the password"):
        domain = connection.domain(uuid)
        domain.agentSetResponseTimeout(HASH_LIMIT_S, 0)
        domain.setUserPassword(user, password, 0)


def _trim(connection: Connection, uuid: str) -> None:
    with _untold(untrimmed), translated("Trimming its file systems"):
        domain = connection.domain(uuid)
        domain.agentSetResponseTimeout(TRIM_LIMIT_S, 0)
        domain.fSTrim(None, 0, 0)


def _ask(connection: Connection, uuid: str) -> Inside:
    """Each kind by itself: an agent may know some, or be told to keep some for itself."""
    said: dict[str, Any] = {}
    with _untold(silent), translated("Asking the guest agent"):
        domain = connection.domain(uuid)
        domain.agentSetResponseTimeout(ANSWER_LIMIT_S, 0)
        for kind in _KINDS:
            try:
                said |= domain.guestInfo(kind, 0)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in _AGENT_SAYS_NO:
                    raise
        memory = domain.memoryStats()
    return inside_of(said, memory)


_AGENT_SAYS_NO: Final = (
    libvirt.VIR_ERR_INTERNAL_ERROR,
    libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
    libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
)


@contextmanager
def _untold(otherwise: Callable[[], HostError]) -> Iterator[None]:
    """libvirt hands on what an agent says in its errors; those that may have words of the guest are told in ours."""
    try:
        yield
    except HostError as error:
        if error.code == AGENT_SILENT:
            raise silent() from None
        if error.code == "hypervisor_error":
            raise otherwise() from None
        raise
