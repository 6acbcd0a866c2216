"""Changes: making a domain what a spec says, or leaving it what it was. The order of acts, once for every driver.

    make new volumes ─▶ put filter, define ─▶ what can follow live ─▶ resize volumes ─▶ remove volumes
    (can all be taken back) ───────────────────────────┘  (can't)

Invariants: a volume that the guest has is never made, only one that it is to get; nothing that can't be taken back happens
before everything else has succeeded; each act is safe to repeat, so an interrupted change is applied again from its start.
What a running domain can't follow takes effect at its next start and is given back by the names of the spec's fields.
"""

import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import msgspec

from nano.domain.ability import ABILITY_MISSING, CAN, needed
from nano.domain.errors import HostError
from nano.domain.inspection import Deviation
from nano.domain.machine import MachineSpec
from nano.hypervisor.drift import deviations
from nano.hypervisor.host import DOMAIN_WRONG_STATE, HYPERVISOR_UNREACHABLE, Progress
from nano.hypervisor.metadata import spec_digest
from nano.hypervisor.shape import Difference, Shape, differences

log = logging.getLogger("nano.hypervisor")

_CERTAIN: Final = ("attach_disk", "detach_disk", "media", "filter")
"""A file hangs on it, or who gets through: it succeeds, or the change has failed."""


class ChangeParts(Protocol):
    """The acts that a driver gives. All are safe to repeat; failures are HostError, DiskFull, DeadlineExceeded."""

    def wanted(self, guest_id: str, spec: MachineSpec) -> Shape:
        """What this host makes of the spec."""
        ...

    async def defined(self, guest_id: str) -> Shape:
        """What the domain starts as the next time. Raises HostError(domain_missing, domain_foreign)."""
        ...

    async def autostart(self, guest_id: str) -> bool: ...

    async def running(self, guest_id: str) -> Shape | None:
        """What it runs as; None when it does not run."""
        ...

    async def define(self, guest_id: str, spec: MachineSpec) -> None:
        """Its guard and its packet filter too, first: an interface refers to that, and obeys it at once."""
        ...

    async def drop_filter(self, guest_id: str) -> None:
        """Of its policy: no interface refers to it any more."""
        ...

    async def guard(self, guest_id: str, spec: MachineSpec) -> None:
        """Keep it from posing as others, where this host can."""
        ...

    async def follow(self, guest_id: str, difference: Difference) -> None:
        """Let the running domain follow. Raises HostError where it, or this host, can't."""
        ...

    async def volume_sizes(self, guest_id: str) -> dict[int, int]:
        """Number -> bytes that the guest sees."""
        ...

    async def make_volumes(
        self, guest_id: str, spec: MachineSpec, numbers: Collection[int], image: Path | None, progress: Progress
    ) -> None: ...

    async def resize_volume(self, guest_id: str, number: int, size: int) -> None:
        """Also of a running guest, to grow."""
        ...

    async def drop_files(self, guest_id: str, names: Collection[str]) -> list[str]:
        """Those of the guest's files, of whatever kind."""
        ...

    async def drop_volumes(self, guest_id: str, numbers: Collection[int]) -> list[str]:
        """Names of the files removed, unfinished ones too."""
        ...

    async def media(self, guest_id: str) -> set[str]:
        """Ids of the media images whose files the guest has here."""
        ...

    async def put_media(self, guest_id: str, media: str, file: Path) -> None:
        """Make the file the guest's, under the media image's id; one that is there stays."""
        ...

    async def drop_media(self, guest_id: str, keep: str) -> list[str]:
        """Remove what the guest has of media, but for the one with this id; names of the files."""
        ...


class Restored(NamedTuple):
    """What a domain is made of after a change was taken back, and what was done for it in words."""

    spec: MachineSpec
    pending: tuple[str, ...]
    undone: tuple[str, ...]


class Changes:
    """``why_not`` tells of an ability of the host why it is not there, empty for one that is."""

    def __init__(self, parts: ChangeParts, why_not: Callable[[str], str]) -> None:
        self._parts = parts
        self._why_not = why_not

    async def is_defined(self, guest_id: str, spec: MachineSpec) -> bool:
        return self._is_of(guest_id, spec, await self._parts.defined(guest_id))

    async def volume_sizes(self, guest_id: str) -> dict[int, int]:
        """Number -> bytes that the guest sees, of every whole volume of the guest."""
        return await self._parts.volume_sizes(guest_id)

    async def deviations(self, guest_id: str, spec: MachineSpec, pending: Collection[str]) -> tuple[Deviation, ...]:
        """Where the domain is not what the spec says (``drift``). ``pending``: what waits for its next start."""
        return await deviations(self._parts, guest_id, spec, pending, self._why_not)

    async def remove_file(self, guest_id: str, name: str) -> list[str]:
        """One that bears the guest's id and that the guest does not have; names of the files removed, finished or not."""
        return await self._parts.drop_files(guest_id, (name,))

    async def apply(
        self,
        guest_id: str,
        before: MachineSpec,
        spec: MachineSpec,
        image: Path | None,
        progress: Progress,
        *,
        media: Path | None = None,
    ) -> tuple[str, ...]:
        """The fields that take effect at its next start. ``image``: what a new system disk is cloned from, ``media``: what
        goes into its drive. After a failure ``take_back`` is due."""
        parts = self._parts
        now = await parts.defined(guest_id)
        new = set(spec.volume_numbers) - set(before.volume_numbers)
        await self._refuse(guest_id, before, spec)
        if new:
            if not self._is_of(guest_id, spec, now):
                await parts.drop_volumes(guest_id, new)  # whatever a file of that name is, it is not this guest's disk
            await parts.make_volumes(guest_id, spec, new, image, progress)
        if media is not None:
            await parts.put_media(guest_id, spec.media, media)
        await parts.define(guest_id, spec)
        pending = await self.follow(guest_id, spec)
        if now.security and spec.security is None:
            await parts.drop_filter(guest_id)
        for number, size in zip(spec.volume_numbers, spec.disks, strict=True):
            if (await parts.volume_sizes(guest_id))[number] != size:
                await parts.resize_volume(guest_id, number, size)
        if gone := set(before.volume_numbers) - set(spec.volume_numbers):
            await parts.drop_volumes(guest_id, gone)
        if before.media not in ("", spec.media):
            await parts.drop_media(guest_id, spec.media)
        progress(100)
        return pending

    async def prepare(self, guest_id: str, spec: MachineSpec) -> None:
        """Before it starts: it can't pose as another. One that was defined before there was a guard is defined again for it."""
        await self._parts.guard(guest_id, spec)
        now, wanted = await self._parts.defined(guest_id), self._parts.wanted(guest_id, spec)
        if [nic.guarded for nic in now.nics] != [nic.guarded for nic in wanted.nics]:
            await self._parts.define(guest_id, spec)

    async def take_back(self, guest_id: str, failed: MachineSpec, spec: MachineSpec) -> Restored:
        """``spec`` again, unless the change has removed a volume or media: behind that there is only the way forward."""
        parts = self._parts
        sizes = await parts.volume_sizes(guest_id)
        gone = any(number not in sizes for number in set(spec.volume_numbers) - set(failed.volume_numbers))
        if gone or (spec.media not in ("", failed.media) and spec.media not in await parts.media(guest_id)):
            failed, spec = spec, failed
        found = msgspec.structs.replace(
            spec, disks=tuple(sizes.get(n, size) for n, size in zip(spec.volume_numbers, spec.disks, strict=True))
        )
        undone = []
        now = await parts.defined(guest_id)
        if not self._is_of(guest_id, found, now):
            await parts.define(guest_id, found)
            undone.append("definition put back")
        pending = await self.follow(guest_id, found)
        if now.security and found.security is None:
            await parts.drop_filter(guest_id)
        dropped = await parts.drop_volumes(guest_id, set(failed.volume_numbers) - set(spec.volume_numbers))
        undone += [f"volume {name} removed" for name in dropped]
        if failed.media not in ("", spec.media):
            undone += [f"media {name} removed" for name in await parts.drop_media(guest_id, spec.media)]
        return Restored(found, pending, tuple(undone))

    async def _refuse(self, guest_id: str, before: MachineSpec, spec: MachineSpec) -> None:
        """What is known beforehand to be impossible, before anything is touched."""
        new = set(spec.volume_numbers) - set(before.volume_numbers)
        sizes = await self._parts.volume_sizes(guest_id)
        if missing := [number for number in spec.volume_numbers if number not in sizes and number not in new]:
            raise HostError(
                f"Volume {missing[0]} of guest {spec.name} is not on this host.",
                code="volumes_missing",
                hint="Restore it, or remove that disk from the guest.",
            )
        for name in needed(spec, before):
            if why := self._why_not(name):
                raise HostError(
                    f"This host can't {CAN[name]}: {why}.",
                    code=ABILITY_MISSING,
                    hint="Use a host that can, or leave it out.",
                )
        now = await self._parts.running(guest_id)
        if now is None:
            return
        if spec.volume_numbers[0] != before.volume_numbers[0]:
            raise _stop_first("The system disk of a running guest can't be replaced.")
        for difference in differences(now, self._parts.wanted(guest_id, spec)):
            if difference.act == "detach_disk" and not difference.live:
                raise _stop_first(f"A {difference.value.bus} disk can't be taken out of a running guest.")
        for number, size in zip(spec.volume_numbers, spec.disks, strict=True):
            if size < sizes.get(number, 0):
                raise _stop_first("A disk can't shrink while its guest runs.")

    def _is_of(self, guest_id: str, spec: MachineSpec, now: Shape) -> bool:
        """Whether a definition, with its packet filter, is the spec's."""
        return (now.digest, now.security) == (spec_digest(spec), self._parts.wanted(guest_id, spec).security)

    async def follow(self, guest_id: str, spec: MachineSpec) -> tuple[str, ...]:
        """Let a running domain follow its definition; the fields that take effect at its next start."""
        now = await self._parts.running(guest_id)
        if now is None:
            return ()
        pending = []
        for difference in differences(now, self._parts.wanted(guest_id, spec)):
            if not difference.live:
                pending.append(difference.field)
                continue
            try:
                await self._parts.follow(guest_id, difference)
            except HostError as error:
                if difference.act in _CERTAIN or error.code == HYPERVISOR_UNREACHABLE:
                    raise
                text = "not changed while running guest=%s field=%s code=%s reason=%s"
                log.info(text, guest_id, difference.field, error.code, error.message)
                pending.append(difference.field)
        return tuple(dict.fromkeys(pending))


def _stop_first(message: str) -> HostError:
    return HostError(message, code=DOMAIN_WRONG_STATE, hint="Stop the guest first.")
