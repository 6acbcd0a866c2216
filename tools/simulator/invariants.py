"""What must hold, looked at from outside the nodes.

``Audit`` watches one node's journal: what was published must be there after every crash, and folding the journal anew must
give the live states byte for byte. ``look`` is true of a zone at any instant, ``unrest`` lists what is still under way
or out of place; when faults have stopped and time has passed it must be empty.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from nano.cell.snapshot_work import snapshot_of_order
from nano.core.core import Core
from nano.domain.cell import Cell
from nano.domain.facts import Change, Fact, Model
from nano.domain.guest import Guest
from nano.domain.host_domain import HostDomain
from nano.domain.image import Image
from nano.domain.site import Site
from nano.domain.zone import Zone
from nano.hypervisor.domain_xml import file_names
from nano.hypervisor.filter_xml import filter_text
from nano.hypervisor.guard import claims_of
from nano.hypervisor.packet_filter import tap_name
from nano.hypervisor.simulated import SimulatedHost
from nano.hypervisor.simulated_machine import SimulatedDomain
from nano.journal.backup import JOURNAL
from nano.journal.horizon import read_base, read_horizon
from nano.journal.ledger import Ledger
from nano.journal.reader import JournalReader
from nano.journal.snapshot_text import SnapshotText
from nano.journal.verify import verify
from nano.projections.table import PAGE_MAX, Table
from nano.projections.zone_views import SHOWN, ZoneViews
from nano.tools.simulator.disk import DiskSession, SimulatedDisk
from nano.tools.simulator.images import IMAGES, cache_damage
from nano.ui.mirror import KEY_OF, Mirror

Report = Callable[[str], None]


class _Look(DiskSession):
    """Reading without being noticed by the faults."""

    def _begin(self, operation: str) -> None:
        """No operation of the node."""


class Audit:
    def __init__(
        self, disk: SimulatedDisk, folder: Path, name: str, model: Callable[[], Model], report: Report
    ) -> None:
        self.published = 0
        self.facts: list[bytes] = []
        self.receipts: dict[str, int] = {}  # command id -> position it was answered with
        self.disk = _Look(disk, lambda: None)
        self._folder = folder / JOURNAL
        self._model = model
        self._name = name
        self._report = report

    def opened(self, ledger: Ledger) -> None:
        """A node has replayed its journal: all that was published must be in it, but for what it was allowed to drop."""
        begins, facts = self._read(self._folder)
        found = [_told(fact) for fact in facts]
        end = begins + len(found)
        for position, (told, kept) in enumerate(zip(self.facts[begins:], found, strict=False), start=begins + 1):
            if told != kept:
                self._report(f"{self._name}: position {position} was published as {told!r} and is now {kept!r}")
                break
        if end < len(self.facts):
            lost = self.facts[end]
            self._report(f"{self._name}: published up to {len(self.facts)}, the journal ends at {end}: {lost!r}")
        if begins > len(self.facts):
            self._report(f"{self._name}: {begins} were dropped, and only {len(self.facts)} published")
        self.facts[begins:] = found
        ledger.feed.add_listener(self._on_changes)
        if not self._folds_to(facts, ledger):
            self._report(f"{self._name}: what it starts with is not what its journal says")

    def _on_changes(self, changes: list[Change]) -> None:
        for change in changes:
            if change.fact.position != len(self.facts) + 1:
                self._report(f"{self._name}: {change.fact.position} was published after {len(self.facts)}")
            self.facts.append(_told(change.fact))

    def answered(self, command_id: str, position: int) -> None:
        known = self.receipts.setdefault(command_id, position)
        if known != position:
            self._report(f"{self._name}: command {command_id} was answered with {known}, then with {position}")
        if position > len(self.facts):
            self._report(f"{self._name}: command {command_id} was answered before {position} was published")

    def compare(self, ledger: Ledger) -> bool:
        """Whether the journal folded anew gives the live states (not while a batch is under way)."""
        return self._folds_to(self._read(self._folder)[1], ledger)

    def _folds_to(self, facts: list[Fact], ledger: Ledger) -> bool:
        model = self._model()
        versions: Counter[str] = Counter(self._base(model))
        for fact in facts:
            model.apply(fact.resource, fact.event, fact.at)
            versions[fact.resource] += 1
        same = encoded(model) == encoded(ledger.model)
        return same and all(ledger.version(resource) == version for resource, version in versions.items())

    def damage(self) -> str:
        """What ``nano-replay verify`` would say of the journal, its resource journals and snapshots; "" when all is whole."""
        found = verify(self._folder, disk=self.disk, model=self._model()).damage
        return found.message if found is not None else ""

    def restored(self, journal: Path, position: int) -> None:
        """A backup came back up to a position, or the transaction before it: as it was published."""
        begins, facts = self._read(journal)
        end = begins + len(facts)
        if end > position or [_told(fact) for fact in facts] != self.facts[begins:end]:
            self._report(f"{self._name}: a backup that was restored up to {position} is not what was published")

    def _base(self, model: Model) -> dict[str, int]:
        """Make of the model what was dropped came to; the versions then."""
        horizon = read_horizon(self.disk, self._folder / "commits")
        if horizon is None:
            return {}
        base = SnapshotText(model, any_code=True).read(read_base(self.disk, self._folder / "commits", horizon))
        model.restore(base.states, base.memory)
        return base.versions

    def _read(self, folder: Path) -> tuple[int, list[Fact]]:
        """Where a journal begins, and its facts from there on."""
        reader = JournalReader(folder, self._model().rules.event_types(), disk=self.disk)
        facts = list(reader.facts())
        return reader.position - len(facts), facts


def _told(fact: Fact) -> bytes:
    return msgspec.json.encode(fact)


def encoded(model: Model) -> bytes:
    return msgspec.json.encode({name: model.states[name] for name in sorted(model.states)})


def views_differ(zone: Zone, ledger: Ledger, views: ZoneViews) -> list[str]:
    """Kinds whose rows are not what loading the states anew shows."""
    fresh = ZoneViews("fresh")
    fresh.load(zone, ledger.version, ledger.position)
    folded = [kind for kind in fresh.tables if kind not in SHOWN]  # the others show conditions, not facts
    return [kind for kind in folded if _rows(fresh.tables[kind]) != _rows(views.tables[kind])]


def mirror_differs(mirror: Mirror, core: object) -> list[str]:
    """Kinds whose rows are not Core's; of Core being away, all."""
    if not isinstance(core, Core) or mirror.away_since is not None:
        return ["every kind: it says that Core is away"]
    found = []
    for kind, rows in mirror.rows.items():
        told = msgspec.json.decode(core.views.tables[kind].page(PAGE_MAX).body)["items"]
        if rows != {row[KEY_OF[kind]]: row for row in told}:
            found.append(kind)
    return found


def _rows(table: Table) -> bytes:
    """Without the position, which is that of the last change a row of the table has seen."""
    return table.page(PAGE_MAX).body.rpartition(b',"position"')[0]


def look(zone: Zone | None, hosts: Mapping[str, SimulatedHost], report: Report) -> None:
    """What must hold at every instant."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for name, host in hosts.items():
        for guest_id in host.machine:
            places[guest_id].append(name)
    for guest_id, names in places.items():
        if len(names) > 1:
            report(f"guest {guest_id} is on cells {', '.join(names)}")
    if zone is None:
        return
    guests = list(zone.guests())
    for what, values in (
        ("name", [guest.name for guest in guests]),
        ("MAC", [mac for guest in guests for mac in guest.spec.macs]),
    ):
        for value, count in Counter(values).items():
            if count > 1:
                report(f"{count} guests have {what} {value}")
    for guest in guests:
        if guest.task and guest.task not in zone.open_tasks:
            report(f"guest {guest.name} belongs to task {guest.task}, which is not open")
        if guest.phase not in ("ready", "recycled") and not guest.task:
            report(f"guest {guest.name} is {guest.phase} and no task owns it")


def unrest(
    zone: Zone,
    sites: Mapping[str, Site],
    hosts: Mapping[str, SimulatedHost],
    disks: Mapping[str, SimulatedDisk],
) -> list[str]:
    """What is still under way, or where Core, a cell's journal and its host disagree."""
    found = [f"task {task.kind} {task.id} of {task.resource_name} is {task.state}" for task in zone.open_tasks.values()]
    for cell in zone.of_kind("cell"):
        if isinstance(cell, Cell):
            if not cell.online:
                found.append(f"cell {cell.name} is offline")
            if cell.debts:
                found.append(f"cell {cell.name} owes {cell.debts}")
            if cell.error:
                found.append(f"cell {cell.name}: {cell.error}")
    for name, site in sites.items():
        host = hosts[name]
        found += [f"{name}: order {order.kind} {order.id} is open" for order in site.open_orders.values()]
        intended = {guest.id: guest for guest in zone.guests_on(name)}
        known = {domain.guest_id: domain for domain in site.domains()}
        found += [f"{name}: domain of no guest: {guest_id}" for guest_id in host.machine if guest_id not in intended]
        sharing = [other for other, its in hosts.items() if its.files is host.files]
        owned = {guest.id for other in sharing for guest in zone.guests_on(other)}
        found += [f"{name}: volume of no guest: {file}" for file in host.files if file.rpartition("_")[0] not in owned]
        found += [
            f"{name}: guest {guest.name} {guest_id} has lost {file}"
            for guest_id, guest in intended.items()
            if guest_id in host.machine  # else a removal went further than it told
            for file in sorted(file_names(guest_id, guest.spec) - host.files.keys())
        ]
        found += [f"{name}: a word is left for a guest that moves: {word}" for word in host.words]
        found += [
            f"{name}: packet filter of no guest: {guest_id}" for guest_id in host.in_force if guest_id not in intended
        ]
        found += [f"{name}: journaled domain of no guest: {guest_id}" for guest_id in known if guest_id not in intended]
        found += _image_unrest(name, zone, disks[name])
        found += _entrances_differ(name, site, host)
        for guest_id, guest in intended.items():
            domain = host.machine.get(guest_id)
            actual = domain.state if domain is not None else "missing"
            kept: HostDomain | None = known.get(guest_id)
            told = kept.power if kept is not None else "missing"  # a removal that overtook its cancellation
            if (guest.power, told) != (actual, actual):
                found.append(
                    f"{name}: guest {guest.name} {guest_id} is {guest.power} to Core, "
                    f"{kept.power if kept else 'unknown'} to its cell, {actual} on the host"
                )
            if domain is not None and host.in_force.get(guest_id, "") != filter_text(guest_id, domain.spec):
                found.append(f"{name}: the packet filter of {guest.name} {guest_id} is not its policy's")
            if (
                actual == "running"
                and kept is not None
                and host.guarded.get(guest_id, ()) != claims_of(kept.spec, tap_name)
            ):
                found.append(f"{name}: {guest.name} {guest_id} is not guarded as it is to be")
            if kept is not None and (guest.spec, guest.pending) != (kept.spec, kept.pending):
                found.append(
                    f"{name}: guest {guest.name} {guest_id} is made of {guest.spec}, {guest.pending} pending, to Core, "
                    f"of {kept.spec}, {kept.pending} pending, to its cell"
                )
            there = guest.vnc and (guest.vnc.address, guest.vnc.port, guest.vnc.sealed)
            if kept is not None and there != (kept.vnc and (kept.vnc.address, kept.vnc.port, kept.vnc.sealed)):
                found.append(f"{name}: {guest.name} {guest_id} has other VNC access to Core than to its cell")
            found += [
                f"{name}: guest {guest.name} {guest_id} {text}" for text in _snapshots_differ(guest, site, domain)
            ]
    return found


def _entrances_differ(cell: str, site: Site, host: SimulatedHost) -> list[str]:
    """Ports that are open for nobody, or not for whom they should be."""
    wanted = {
        (domain.vnc.address, domain.vnc.port): domain.guest_id
        for domain in site.domains()
        if domain.vnc is not None and domain.ready and domain.power in ("running", "paused")
    }
    found = {place: listening.guest_id for place, listening in host.open_ports.items()}
    return [] if found == wanted else [f"{cell}: ports are open for {found}, and should be for {wanted}"]


def _snapshots_differ(guest: Guest, site: Site, domain: SimulatedDomain | None) -> list[str]:
    found = []
    kept = site.get(f"domain/{guest.id}")
    if isinstance(kept, HostDomain) and (guest.snapshots, guest.snapshot) != (kept.snapshots, kept.snapshot):
        found.append(
            f"has snapshots {guest.snapshots} and is at {guest.snapshot!r} to Core, "
            f"{kept.snapshots} and {kept.snapshot!r} to its cell"
        )
    if domain is not None and domain.frozen:
        found.append("has frozen file systems")
    wrong = set(domain.snapshots) ^ {one.id for one in guest.snapshots} if domain is not None else set()
    if wrong - _given_up(site, guest.id):
        found.append(f"has snapshots {guest.snapshots}, and its host differs in {wrong}")
    return found


def _image_unrest(cell: str, zone: Zone, disk: SimulatedDisk) -> list[str]:
    """Files of the image cache that belong to no image of Core, or are not what they are called."""
    folder = Path("/") / cell / IMAGES
    wanted = {image.sha256 for image in zone.of_kind("image") if isinstance(image, Image)}
    names = sorted(path.name for path in disk.names if path.parent == folder)
    found = [f"{cell}: image file of no image: {name}" for name in names if name.partition(".")[0] not in wanted]
    return found + [f"{cell}: image file is damaged: {name}" for name in cache_damage(disk, folder)]


def _given_up(site: Site, guest_id: str) -> set[str]:
    """Ids of snapshots of which the host did not even let the cell see what came of them: orphans, or drift."""
    orders = site.closed_orders(guest_id, "snapshot") + site.closed_orders(guest_id, "drop_snapshot")
    uncertain = ("not everything could be taken back", "the snapshot may be deleted")
    return {snapshot_of_order(order).id for order in orders if any(text.startswith(uncertain) for text in order.undone)}


def digest_of(disks: Mapping[str, SimulatedDisk]) -> str:
    """SHA-256 over every file of every machine, hex."""
    digest = hashlib.sha256()
    for name in sorted(disks):
        for path in sorted(disks[name].names):
            data = disks[name].names[path].data
            digest.update(f"{path} {len(data)}\n".encode() + data)
    return digest.hexdigest()
