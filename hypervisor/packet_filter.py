"""Packet filters: the part of a host that lets a guest's network interfaces carry only what its security policy allows.

Drivers of policies: ``nwfilter.NwFilters`` (libvirt's own), ``nftables.NftFilters`` where that is missing, and ``Unable``.
A set is put in place whole or not at all: after a failure the last one is in force. A filter belongs to a guest by name,
``nano-<guest id>``; nothing else that filters packets on the host is seen or touched.
"""

import re
from collections.abc import Mapping
from typing import Final, Literal, Protocol

from nano.domain.ability import ABILITY_MISSING
from nano.domain.errors import HostError
from nano.domain.machine import MachineSpec
from nano.hypervisor.guard import NftGuard

FilterKind = Literal["nwfilter", "nftables"]
PREFIX: Final = "nano-"
_NAME: Final = re.compile(rf"{PREFIX}([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")


class PolicyFilters(Protocol):
    """What carries out policies. All of it is safe to repeat; failures are HostError, DeadlineExceeded."""

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:
        """What ``found`` says when the spec's policy is in place; empty when it has none."""
        ...

    async def found(self, guest_id: str) -> str:
        """The guest's filter on this host, as a text that two equal ones share; empty when there is none."""
        ...

    async def put(self, guest_id: str, spec: MachineSpec) -> None:
        """Have this policy in force, for a running guest at once. After a failure the one before stays."""
        ...

    async def drop(self, guest_id: str) -> bool:
        """Whether there was one. No interface may use it any more."""
        ...

    async def guests(self) -> list[str]:
        """Guest ids that have a filter here, and no domain of somebody else's."""
        ...


class PacketFilters(PolicyFilters, Protocol):
    """With the guard (``guard``) that every guest has, where the host can."""

    async def guard(self, specs: Mapping[str, MachineSpec], *, only: bool = False) -> None:
        """Keep these guests from posing as others, or let those that may; with ``only`` no others are guarded any more."""
        ...

    async def release(self, guest_id: str) -> None:
        """Drop what carries out its policy, and go on guarding it."""
        ...


class GuardedFilters:
    """``guard`` None: the host can't, and nothing fails for it."""

    def __init__(self, policies: PolicyFilters, guard: NftGuard | None) -> None:
        self.policies = policies
        self._guard = guard

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:
        return self.policies.wanted(guest_id, spec)

    async def found(self, guest_id: str) -> str:
        return await self.policies.found(guest_id)

    async def put(self, guest_id: str, spec: MachineSpec) -> None:
        await self.policies.put(guest_id, spec)

    async def drop(self, guest_id: str) -> bool:
        if self._guard is not None:
            await self._guard.drop(guest_id)
        return await self.policies.drop(guest_id)

    async def guests(self) -> list[str]:
        if self._guard is not None:
            await self._guard.look()
        return await self.policies.guests()

    async def guard(self, specs: Mapping[str, MachineSpec], *, only: bool = False) -> None:
        if self._guard is not None:
            await self._guard.put(specs, only=only)

    async def release(self, guest_id: str) -> None:
        await self.policies.drop(guest_id)


def filter_name(guest_id: str) -> str:
    return f"{PREFIX}{guest_id}"


def tap_name(mac: str) -> str:
    """Of the host's end of an interface, where its filter has to know it beforehand."""
    return "nt" + mac.replace(":", "")


def guest_of(name: str) -> str | None:
    """Whose filter it is; None when it is not one of ours."""
    match = _NAME.fullmatch(name)
    return match[1] if match else None


class Unable:
    """Of a host that can't filter packets: a policy is refused there, and no guest with one is defined."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def wanted(self, guest_id: str, spec: MachineSpec) -> str:  # noqa: ARG002
        return ""

    async def found(self, guest_id: str) -> str:  # noqa: ARG002
        return ""

    async def put(self, guest_id: str, spec: MachineSpec) -> None:  # noqa: ARG002
        raise cannot_filter(self.reason)

    async def drop(self, guest_id: str) -> bool:  # noqa: ARG002
        return False

    async def guests(self) -> list[str]:
        return []


def cannot_filter(reason: str) -> HostError:
    return HostError(
        f"This host can't filter packets: {reason}.",
        code=ABILITY_MISSING,
        hint="Use a host that can, or mend this one and restart its cell.",
    )
