"""Metrics in Prometheus' text format: what a node counts anyway, put into words when somebody asks.

Nothing is registered with the client library's global registry, and nothing here runs between two scrapes. Names begin with
``nano_``, units are base units (seconds, bytes), and labels have few values: never a guest, never a user.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

import nano
from nano.domain.alarm import Alarm
from nano.domain.backup_state import BackupState
from nano.domain.cell import Cell
from nano.http.overview import zone_row
from nano.http.request_stats import RequestStats
from nano.journal.append_stats import Histogram
from nano.journal.health import NodeHealth
from nano.projections.rows import BackupRow

if TYPE_CHECKING:
    from nano.core.core import Core

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
Families = Iterator[Family]
Labelled = Mapping[Any, float]  # by a tuple of the labels' values


class NodeMetrics(Collector):
    """Those that every kind of node has. ``text`` is what a scrape gets."""

    def __init__(self, kind: str, health: NodeHealth, clock: Callable[[], datetime]) -> None:
        self.kind = kind
        self.health = health
        self._clock = clock
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Family]:
        yield _gauge("nano_node_info", "Which node this is.", ("kind", "node", "version"), {self._label(): 1})
        yield from self._journal()
        yield from self._alarms(self.alarms())
        yield from self._backups(self.backups())
        rooms = self.health.rooms
        free = {(place,): room.free for place, room in rooms.items()}
        total = {(place,): room.total for place, room in rooms.items()}
        yield _gauge("nano_file_system_free_bytes", "Room left where the node keeps files.", ("place",), free)
        yield _gauge("nano_file_system_bytes", "Size of these file systems.", ("place",), total)

    def alarms(self) -> Iterable[Alarm]:
        return self.health.alarms.values()

    def backups(self) -> dict[str, BackupState | BackupRow]:
        """By node."""
        return {self.health.node: self.health.backup}

    def _label(self) -> tuple[str, str, str]:
        return self.kind, self.health.node, nano.__version__

    def _journal(self) -> Families:
        ledger, stats = self.health.ledger, self.health.ledger.stats
        taking = ledger.trouble is None
        snapshot = ledger.snapshots
        behind = ledger.position - ledger.journals.written
        yield _one("nano_journal_position", "Facts that are durable.", ledger.position)
        yield _one("nano_journal_epoch", "How often the journal was opened.", ledger.log.epoch)
        yield _one("nano_journal_taking_commands", "1 while facts can be recorded, 0 while the disk refuses.", taking)
        yield _one("nano_journal_resources_behind", "Facts that resource journals do not have yet.", behind)
        yield _one("nano_snapshot_position", "How far the newest snapshot reaches; 0 = none.", snapshot.position)
        if snapshot.time is not None:
            age = max(0.0, (self._clock() - snapshot.time).total_seconds())
            yield _one("nano_snapshot_age_seconds", "Since the last fact in the newest snapshot.", age)
        yield _histogram("nano_journal_sync_seconds", "Writing and syncing one batch.", {(): stats.seconds})
        yield _histogram("nano_journal_batch_commands", "Commands that shared one sync.", {(): stats.lines})
        yield CounterMetricFamily(
            "nano_journal_refused_batches", "Batches that could not be written.", value=stats.failures
        )

    def _alarms(self, alarms: Iterable[Alarm]) -> Families:
        counts = Counter((alarm.code, alarm.severity, alarm.node) for alarm in alarms)
        yield _gauge("nano_alarms", "What is wrong right now.", ("code", "severity", "node"), counts)

    def _backups(self, states: dict[str, BackupState | BackupRow]) -> Families:
        now = self._clock()
        kept = {(node,): state for node, state in states.items() if state.folder}
        ages = {key: (now - state.last_at).total_seconds() for key, state in kept.items() if state.last_at}
        due = {key: (state.next_at - now).total_seconds() for key, state in kept.items() if state.next_at}
        failed = {key: int(bool(state.trouble)) for key, state in kept.items()}
        reach = {key: state.position for key, state in kept.items()}
        yield _gauge("nano_backup_age_seconds", "Since the last backup was made.", ("node",), ages)
        yield _gauge("nano_backup_due_seconds", "Until the next backup; negative when it is late.", ("node",), due)
        yield _gauge("nano_backup_position", "How far the last backup reaches.", ("node",), reach)
        yield _gauge("nano_backup_failed", "1 when the last try failed.", ("node",), failed)


class CoreMetrics(NodeMetrics):
    """Core's also tell of the zone and of the API. Cells' alarms and backups are Core's to tell, as it has heard them."""

    def __init__(self, core: "Core", requests: RequestStats, streams: Callable[[], int]) -> None:
        super().__init__("core", core.alarms.health, core.clock)
        self._core = core
        self._requests = requests
        self._streams = streams

    def alarms(self) -> Iterable[Alarm]:
        return self._core.alarms.current()

    def backups(self) -> dict[str, BackupState | BackupRow]:
        return {key: row for key, row in self._core.views.shown["backup"].items() if isinstance(row, BackupRow)}

    def collect(self) -> Iterable[Family]:
        yield from super().collect()
        yield from self._zone()
        yield from self._api()

    def _zone(self) -> Families:
        core, row = self._core, zone_row(self._core, self._core.views, self._core.clock(), {})
        tasks = Counter(task.state for task in core.zone.open_tasks.values())
        yield _gauge("nano_guests", "Guests, by state.", ("state",), _by_state(row.guests))
        yield _gauge("nano_cells", "Cells, by state.", ("state",), _by_state(row.cells))
        yield _gauge("nano_tasks_open", "Tasks that have not ended, by state.", ("state",), _by_state(tasks))
        yield _one("nano_compute_pools", "Compute pools.", row.compute_pools)
        yield _one("nano_images", "Disk images.", row.images)
        cells = [cell.name for cell in core.zone.of_kind("cell") if isinstance(cell, Cell)]
        followed = {(cell,): core.ledger.tracking(f"cell/{cell}") for cell in cells}
        yield _gauge("nano_cell_followed_position", "How far Core has read a cell's journal.", ("cell",), followed)

    def _api(self) -> Families:
        answers = CounterMetricFamily("nano_http_requests", "Requests answered.", labels=("route", "status"))
        for (route, status), count in sorted(self._requests.answers.items()):
            answers.add_metric((route, str(status)), count)
        yield answers
        seconds = {(route,): histogram for route, histogram in sorted(self._requests.seconds.items())}
        yield _histogram("nano_http_request_seconds", "Answering a request.", seconds, ("route",))
        yield _one("nano_event_streams", "Event streams that are open.", self._streams())


def _one(name: str, told: str, value: float) -> Family:
    return GaugeMetricFamily(name, told, value=value)


def _gauge(name: str, told: str, labels: tuple[str, ...], values: Labelled) -> Family:
    family = GaugeMetricFamily(name, told, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _histogram(name: str, told: str, values: Mapping[Any, Histogram], labels: tuple[str, ...] = ()) -> Family:
    family = HistogramMetricFamily(name, told, labels=labels)
    for key, histogram in values.items():
        total, buckets = 0, []
        for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound is None else f"{bound:g}", total))
        family.add_metric(key, buckets, histogram.sum)
    return family


def _by_state(counts: Mapping[Any, int]) -> Labelled:
    return {(state,): count for state, count in counts.items()}
