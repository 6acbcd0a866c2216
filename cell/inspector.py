"""Inspector: looks at everything of Nano's on the host and says what is not as the journal has it. It changes nothing.

What is being worked on is left out, and so is what the journal changed while it looked: an answer is about what stays.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import anyio

from nano.domain.errors import HostError
from nano.domain.host_domain import HostDomain
from nano.domain.inspection import FOUND_MAX, Deviation, Inspection, Leftover
from nano.domain.site import Site
from nano.hypervisor.domain_xml import file_names, volume_name
from nano.hypervisor.host import DOMAIN_FOREIGN, Host
from nano.hypervisor.pieces import NONE
from nano.transports.unwrap import plain_errors

AT_ONCE: Final = 4  # domains that are looked at together


class Inspector:
    def __init__(self, site: Site, host: Host) -> None:
        self._site = site
        self._host = host
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    async def look(self, elsewhere: Collection[str] = ()) -> Inspection:
        """``elsewhere``: guests of other cells, whose files are on this storage. Raises HostError, DeadlineExceeded."""
        others = frozenset(elsewhere)
        before, busy = self._known(), self._busy()
        present = [view.guest_id for view in await self._host.domains()]
        files = await self._host.volume_files()
        filters = await self._host.filters.guests()
        found: dict[str, tuple[Deviation, ...]] = {}
        held: dict[str, frozenset[str]] = {}  # ids of the snapshots in a guest's volumes

        async def compare(domain: HostDomain) -> None:
            async with self._limiter:
                volumes = await self._host.snapshots.in_volumes(domain.guest_id)
                held[domain.guest_id] = frozenset[str]().union(*volumes.values())
                found[domain.guest_id] = (*await self._deviations(domain), *_lost_snapshots(domain, volumes))

        with plain_errors():
            async with anyio.create_task_group() as tasks:
                for domain in before.values():
                    if domain.ready and domain.guest_id not in busy:
                        tasks.start_soon(compare, domain)
        after, busy = self._known(), busy | self._busy()
        settled = [
            item
            for guest_id in sorted(found)
            if guest_id not in busy and _same(before[guest_id], after.get(guest_id))
            for item in found[guest_id]
        ]
        known = before.keys() | after.keys() | busy
        strays = [Leftover("domain", guest_id, guest_id) for guest_id in present if guest_id not in known]
        strays += [Leftover("filter", guest_id, guest_id) for guest_id in filters if guest_id not in known]
        nobodys = [
            Leftover("volume", name, guest_id)
            for name in files
            if (guest_id := name.rpartition("_")[0]) not in busy | others
            and not _has(before.get(guest_id), name)
            and not _has(after.get(guest_id), name)
        ]
        unknown = [
            Leftover("snapshot", f"{guest_id}_{snapshot_id}", guest_id)
            for guest_id in sorted(held.keys() - busy)
            if (now := after.get(guest_id)) is not None
            for snapshot_id in sorted(held[guest_id] - _ids(before[guest_id]) - _ids(now))
        ]
        return Inspection(
            deviations=tuple(settled[:FOUND_MAX]),
            leftovers=tuple((strays + nobodys + unknown)[:FOUND_MAX]),
            held=tuple(sorted(after)),
        )

    async def _deviations(self, domain: HostDomain) -> tuple[Deviation, ...]:
        try:
            return await self._host.changes.deviations(domain.guest_id, domain.spec, domain.pending)
        except HostError as error:
            if error.code != DOMAIN_FOREIGN:
                raise
            lost = Deviation(
                guest_id=domain.guest_id,
                attribute="domain",
                where="domain",
                expected="Nano's",
                found="not this cell's",
                repair="by_hand",
            )
            return (lost,)

    def _known(self) -> dict[str, HostDomain]:
        return {domain.guest_id: domain for domain in self._site.domains()}

    def _busy(self) -> set[str]:
        return {order.guest_id for order in self._site.open_orders.values()}


def _same(before: HostDomain, after: HostDomain | None) -> bool:
    return after is not None and all(
        getattr(before, name) == getattr(after, name) for name in ("spec", "pending", "power", "snapshots")
    )


def _ids(domain: HostDomain) -> set[str]:
    return {snapshot.id for snapshot in domain.snapshots}


def _lost_snapshots(domain: HostDomain, volumes: Mapping[int, frozenset[str]]) -> Iterator[Deviation]:
    """Those of the journal that a volume which should hold them does not. One that is gone can only be deleted."""
    for snapshot in domain.snapshots:
        for number in snapshot.volumes:
            if number in volumes and snapshot.id not in volumes[number]:
                name = volume_name(domain.guest_id, number)
                yield Deviation(
                    guest_id=domain.guest_id,
                    attribute="snapshots",
                    where="disk",
                    expected=f"{name}: {snapshot.name}",
                    found=f"{name}: {NONE}",
                    repair="by_hand",
                )


def _has(domain: HostDomain | None, file: str) -> bool:
    return domain is not None and file in file_names(domain.guest_id, domain.spec)
