"""Insider: what is asked of the agent inside a guest. A part of ``Host`` with drivers of its own.

The agent is the guest's, so what it says is never trusted: each call has a limit in time, an answer is cut to what may be shown
(``inside_of``), and nothing that it says gets into an error, where a guest that was given a password could have it journaled.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from nano.domain.errors import HostError
from nano.domain.inside import FileSystem, Inside, Interface

INTERFACES_MAX: Final = 16
ADDRESSES_MAX: Final = 16
FILE_SYSTEMS_MAX: Final = 32
TEXT_MAX: Final = 120
BYTES_MAX: Final = 1 << 60
_HIDDEN: Final = re.compile("[^\x20-\x7e\xa0-\u2027\u202f-\u2065\u2070-\ud7ff\uf900-\ufffd\U00010000-\U0002ffff]")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Insider(Protocol):
    async def set_password(self, guest_id: str, user: str, password: str) -> None:
        """Raises HostError (agent_silent, agent_refused; of a guest that does not run), DeadlineExceeded."""
        ...

    async def trim(self, guest_id: str) -> None:
        """Have its file systems tell which blocks they do not use. Raises as ``set_password``."""
        ...

    async def inside(self, guest_id: str) -> Inside:
        """Raises HostError (agent_silent; of a guest that does not run), DeadlineExceeded."""
        ...


def silent() -> HostError:
    return HostError(
        "The guest agent does not answer.",
        code="agent_silent",
        hint="See that qemu-guest-agent is installed in the guest and runs.",
    )


def refused() -> HostError:
    return HostError(
        "The guest agent did not set the password.",
        code="agent_refused",
        hint="See that the account exists in the guest, and that its rules for passwords allow this one.",
    )


def untrimmed() -> HostError:
    return HostError(
        "The guest agent did not trim the guest's file systems.",
        code="agent_refused",
        hint="See that they can be trimmed (fstrim), or stop the guest and compact its disks one by one.",
    )


def inside_of(said: Mapping[str, Any], memory: Mapping[str, Any]) -> Inside:
    """From libvirt's flat names (virDomainGetGuestInfo) and its memory statistics in KiB, whatever a guest put into them."""
    total, unused = _bytes(memory.get("available"), 1024), _bytes(memory.get("usable", memory.get("unused")), 1024)
    system = _text(said.get("os.pretty-name") or said.get("os.name"))
    return Inside(
        host_name=_text(said.get("hostname")),
        system=system,
        kernel=_text(said.get("os.kernel-release")),
        memory=total,
        memory_used=max(0, total - unused),
        interfaces=tuple(_interfaces(said)),
        file_systems=tuple(_file_systems(said)),
    )


def _interfaces(said: Mapping[str, Any]) -> Iterator[Interface]:
    for number in range(_count(said.get("if.count"), INTERFACES_MAX)):
        at = f"if.{number}"
        addresses = []
        for place in range(_count(said.get(f"{at}.addr.count"), ADDRESSES_MAX)):
            address = _address(said.get(f"{at}.addr.{place}.addr"), said.get(f"{at}.addr.{place}.prefix"))
            addresses += [address] if address else []
        mac = str(said.get(f"{at}.hwaddr", ""))[:TEXT_MAX].lower()
        yield Interface(
            name=_text(said.get(f"{at}.name")), mac=mac if _MAC.fullmatch(mac) else "", addresses=tuple(addresses)
        )


def _file_systems(said: Mapping[str, Any]) -> Iterator[FileSystem]:
    for number in range(_count(said.get("fs.count"), FILE_SYSTEMS_MAX)):
        at = f"fs.{number}"
        size = _bytes(said.get(f"{at}.total-bytes"))
        yield FileSystem(
            mount=_text(said.get(f"{at}.mountpoint")),
            device=_text(said.get(f"{at}.name")),
            type=_text(said.get(f"{at}.fstype")),
            size=size,
            used=min(size, _bytes(said.get(f"{at}.used-bytes"))),
        )


def _text(value: Any) -> str:
    return _HIDDEN.sub("?", value[:TEXT_MAX]) if isinstance(value, str) else ""


def _count(value: Any, most: int) -> int:
    return min(max(0, value), most) if isinstance(value, int) else 0


def _bytes(value: Any, unit: int = 1) -> int:
    return value * unit if isinstance(value, int) and 0 <= value * unit <= BYTES_MAX else 0


def _address(value: Any, prefix: Any) -> str:
    try:
        address = ipaddress.ip_address(str(value)[:TEXT_MAX])
    except ValueError:
        return ""
    known = isinstance(prefix, int) and 0 <= prefix <= address.max_prefixlen
    return f"{address}/{prefix}" if known else str(address)
