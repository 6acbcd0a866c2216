"""Drift: where a domain is not what its spec says. It looks and compares, and touches nothing.

Definition, running domain and disk files are each compared with what this host would make of the spec (``shape``). What
waits for the next start (``pending``) is no drift of the running domain. The plan for each difference is the safe one: a
file that is missing, or would have to be cut, is for a person to look at.
"""

from collections.abc import Callable, Collection, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING

from nano.domain.ability import NETWORK_LIMITS, PACKET_FILTER, needed
from nano.domain.errors import HostError
from nano.domain.inspection import Deviation, Repair, Where
from nano.domain.machine import DiskLimits, MachineSpec, NetworkLimits
from nano.domain.naming import format_size
from nano.hypervisor.domain_xml import volume_name
from nano.hypervisor.host import DOMAIN_MISSING
from nano.hypervisor.pieces import NONE, unlike
from nano.hypervisor.shape import Difference, DiskShape, NicShape, Shape, differences

if TYPE_CHECKING:
    from nano.hypervisor.changes import ChangeParts


async def deviations(
    parts: "ChangeParts", guest_id: str, spec: MachineSpec, pending: Collection[str], why_not: Callable[[str], str]
) -> tuple[Deviation, ...]:
    """Raises HostError when the host can't be asked, or the domain is not ours."""
    sizes = tuple(_sizes(guest_id, spec, await parts.volume_sizes(guest_id)))
    wanted = parts.wanted(guest_id, spec)
    try:
        defined = await parts.defined(guest_id)
        autostart = await parts.autostart(guest_id)
        running = await parts.running(guest_id)
    except HostError as error:
        if error.code != DOMAIN_MISSING:
            raise
        mended: Repair = "define_again" if all(item.repair != "by_hand" for item in sizes) else "by_hand"
        return (_deviation(guest_id, "domain", "domain", "defined", NONE, mended), *sizes)
    found = []
    for attribute, expected, seen, _ in _between(defined, wanted):
        found.append(_deviation(guest_id, attribute, "definition", expected, seen, "at_once"))
    if defined.security != wanted.security:
        found.append(_filter(guest_id, wanted.security, defined.security))
    if autostart != spec.autostart:
        found.append(_deviation(guest_id, "autostart", "definition", str(spec.autostart), str(autostart), "at_once"))
    if running is not None:
        for attribute, expected, seen, live in _between(running, wanted, running=True):
            if attribute not in pending:
                repair: Repair = "at_once" if live else "next_start"
                found.append(_deviation(guest_id, attribute, "running", expected, seen, repair))
    return (*found, *_left_out(guest_id, spec, why_not), *sizes)


def _left_out(guest_id: str, spec: MachineSpec, why_not: Callable[[str], str]) -> Iterator[Deviation]:
    """What was taken off when it was defined, so that it starts on a host that can't do it."""
    if NETWORK_LIMITS in needed(spec) and (why := why_not(NETWORK_LIMITS)):
        expected, found = _limits(spec.network_limits), f"no limit: {why}"
        yield _deviation(guest_id, "network_limits", "definition", expected, found, "not_here")
    if spec.security is not None and (why := why_not(PACKET_FILTER)):
        yield _deviation(guest_id, "security", "filter", "its policy", f"not filtered: {why}", "not_here")


def _deviation(guest_id: str, attribute: str, where: Where, expected: str, found: str, repair: Repair) -> Deviation:
    return Deviation(guest_id=guest_id, attribute=attribute, where=where, expected=expected, found=found, repair=repair)


def _filter(guest_id: str, wanted: str, has: str) -> Deviation:
    """The first line in which they differ; a set of rules can be long."""
    pairs = zip_longest(wanted.splitlines(), has.splitlines(), fillvalue="")
    expected, seen = next(((ours, theirs) for ours, theirs in pairs if ours != theirs), (wanted, has))
    return _deviation(guest_id, "security", "filter", expected.strip() or NONE, seen.strip() or NONE, "at_once")


def _between(now: Shape, wanted: Shape, *, running: bool = False) -> Iterator[tuple[str, str, str, bool]]:
    """Attribute, expected and found in words, whether a running domain can follow."""
    for difference in differences(now._replace(digest=wanted.digest) if running else now, wanted):
        if difference.field == "hardware":
            yield from (("hardware", expected, found, False) for expected, found in unlike(now.pieces, wanted.pieces))
            continue
        yield (difference.field, *_words(difference, now, wanted), difference.live)
    nics = {nic.mac: nic for nic in now.nics}
    for nic in wanted.nics:
        has = nics.get(nic.mac, nic)
        if (has.bridge, has.model) != (nic.bridge, nic.model):
            yield "network", f"{nic.model} on {nic.bridge}", f"{has.model} on {has.bridge}", False
    disks = {disk.source: disk for disk in now.disks}
    for disk in wanted.disks if not running else ():  # a plugged disk has the next free place until the next start
        held = disks.get(disk.source, disk)
        if (held.target, held.bus) != (disk.target, disk.bus):
            yield "disks", f"{disk.bus} {disk.target}", f"{held.bus} {held.target}", False


def _words(difference: Difference, now: Shape, wanted: Shape) -> tuple[str, str]:
    field, value = difference.field, difference.value
    if isinstance(value, DiskShape):
        name = value.source.rpartition("/")[2]
        if difference.act == "attach_disk":
            return name, NONE
        if difference.act == "detach_disk":
            return NONE, name
        has_disk = next(disk for disk in now.disks if disk.source == value.source)
        return f"{name}: {_limits(value.limits)}", f"{name}: {_limits(has_disk.limits)}"
    if isinstance(value, NicShape):
        if difference.act == "filter":
            now_nic = next(nic for nic in now.nics if nic.mac == value.mac)
            return f"{value.mac}: {_filter_of(value)}", f"{value.mac}: {_filter_of(now_nic)}"
        if difference.act == "attach_nic":
            return value.mac, NONE
        if difference.act == "detach_nic":
            return NONE, value.mac
        has_nic = next(nic for nic in now.nics if nic.mac == value.mac)
        return f"{value.mac}: {_limits(value.limits)}", f"{value.mac}: {_limits(has_nic.limits)}"
    if field == "name":
        if now.title == wanted.title:
            return f"made from description {wanted.digest[:12]}", f"made from description {now.digest[:12] or NONE}"
        return wanted.title, now.title or NONE
    if field == "priority":
        return f"shares {wanted.shares}, quota {wanted.quota}", f"shares {now.shares}, quota {now.quota}"
    place = {"cores_max": "cores_most", "memory_max": "memory_most"}.get(field, field)
    told = format_size if place.startswith("memory") else str
    return told(getattr(wanted, place)), told(getattr(now, place))


def _filter_of(nic: NicShape) -> str:
    return nic.filter or nic.tap or "no filter"


def _limits(limits: DiskLimits | NetworkLimits) -> str:
    given = {name: getattr(limits, name) for name in limits.__struct_fields__}
    return ", ".join(f"{name} {value}" for name, value in given.items() if value) or "no limit"


def _sizes(guest_id: str, spec: MachineSpec, sizes: dict[int, int]) -> Iterator[Deviation]:
    for number, size in zip(spec.volume_numbers, spec.disks, strict=True):
        has = sizes.get(number)
        if has != size:
            name = volume_name(guest_id, number)
            repair: Repair = "at_once" if has is not None and has < size else "by_hand"
            seen = NONE if has is None else str(has)
            yield _deviation(guest_id, "disks", "disk", f"{name}: {size}", f"{name}: {seen}", repair)
