"""Metrics: what a Prometheus reads of a whole node, signed on the API and unsigned on a listener of its own."""

import errno
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nano.core.settings import CoreSettings
from nano.core.settings import load_settings as core_settings
from nano.domain.backup_state import BackupState
from nano.domain.errors import Conflict, Invalid
from nano.domain.settings import MetricsSettings
from nano.http.metrics import NodeMetrics
from nano.http.metrics_page import serve_metrics
from nano.journal.health import NodeHealth, Room
from nano.journal.testing import BadDisk
from nano.transports.messages import HealthIs

pytestmark = pytest.mark.anyio

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.journal.health.CHECK_S", 0.02)


def read(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


async def scrape(served: Any) -> Samples:
    answer = await served.admin.request("GET", "/api/v2/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return read(answer.text)


async def test_the_zone_and_the_journal_in_figures(serve: Any) -> None:
    async with serve("one", "two") as served:
        await served.create("web")
        before = await scrape(served)
        assert one(before, "nano_journal_position") == served.core.ledger.position
        assert one(before, "nano_guests", state="stopped") == 1
        assert one(before, "nano_cells", state="online") == 2
        assert one(before, "nano_journal_taking_commands") == 1
        assert one(before, "nano_node_info", kind="core", node="Core_bed", version=served.core.version) == 1
        assert one(before, "nano_cell_followed_position", cell="one") + one(
            before, "nano_cell_followed_position", cell="two"
        )
        await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "more"})
        await served.refused("GET", "/api/v2/guests/nobody")
        await served.refused("GET", "/nowhere")
        after = await scrape(served)
        for name in ("nano_journal_sync_seconds_count", "nano_journal_batch_commands_count"):
            assert one(after, name) == one(before, name) + 1
        assert one(after, "nano_journal_sync_seconds_bucket", le="+Inf") == one(
            after, "nano_journal_sync_seconds_count"
        )
        assert one(after, "nano_journal_sync_seconds_sum") > one(before, "nano_journal_sync_seconds_sum")
        assert one(after, "nano_http_requests_total", route="compute_pool.create", status="201") == 1
        assert one(after, "nano_http_requests_total", route="guest.show", status="404") == 1
        assert one(after, "nano_http_requests_total", route="none", status="404") == 1
        assert one(after, "nano_http_requests_total", route="metrics.show", status="200") == 1  # the one before this
        assert one(after, "nano_http_request_seconds_count", route="compute_pool.create") == 1
        assert one(after, "process_resident_memory_bytes") > 1 << 20


async def test_an_alarm_is_there_while_it_lasts(serve: Any) -> None:
    disk = BadDisk()
    async with serve(disks={"core": disk}) as served:
        labels = {"code": "disk_full", "severity": "critical", "node": "Core_bed"}
        health = served.core.alarms.health
        disk.refuse(errno.ENOSPC, "core/journal/")
        await served.refused("POST", "/api/v2/compute-pools", json={"name": "more"})
        await _until(health, lambda: health.alarms)
        samples = await scrape(served)
        assert one(samples, "nano_alarms", **labels) == 1
        assert one(samples, "nano_journal_taking_commands") == 0
        assert one(samples, "nano_journal_refused_batches_total") == 1
        disk.recover()
        await _until(health, lambda: not health.alarms)
        samples = await scrape(served)
        assert not [key for key in samples if key[0] == "nano_alarms"]
        assert one(samples, "nano_journal_taking_commands") == 1


async def test_backups_and_alarms_of_cells_are_cores_to_tell(serve: Any) -> None:
    async with serve("one") as served:
        now = datetime.now(UTC)
        state = BackupState(
            folder="/b",
            last_at=now - timedelta(hours=1),
            position=9,
            next_at=now + timedelta(hours=1),
            trouble="no room",
        )
        served.core.alarms.heard("one", HealthIs((), state))
        samples = await scrape(served)
        assert 3600 <= one(samples, "nano_backup_age_seconds", node="one") < 3660
        assert 3540 < one(samples, "nano_backup_due_seconds", node="one") <= 3600
        assert one(samples, "nano_backup_position", node="one") == 9
        assert one(samples, "nano_backup_failed", node="one") == 1
        assert ("nano_backup_failed", (("node", "Core_bed"),)) not in samples  # it makes none


async def test_unsigned_nothing_is_told_on_the_api(serve: Any) -> None:
    async with serve() as served:
        assert await served.status("GET", "/api/v2/metrics") == 401
        assert await served.status("GET", "/metrics") == 404


async def test_a_listener_of_its_own_answers_one_page(serve: Any, free_port: int) -> None:
    async with serve() as served, anyio.create_task_group() as tasks:
        settings = MetricsSettings(port=free_port)
        tasks.start_soon(serve_metrics, settings, served.app.metrics)
        address = f"http://127.0.0.1:{free_port}"
        async with httpx.AsyncClient(base_url=address, trust_env=False) as http:
            answer = await _when_listening(http)
            assert one(read(answer.text), "nano_journal_position") == served.core.ledger.position
            assert (await http.post("/metrics")).status_code == 405
            assert (await http.get("/api/v2/guests")).status_code == 404
            assert (await http.get("/")).status_code == 404
            assert (await http.head("/metrics")).status_code == 200
        with pytest.raises(ExceptionGroup) as taken:
            async with anyio.create_task_group() as again:
                again.start_soon(serve_metrics, settings, served.app.metrics)
        assert isinstance(taken.value.exceptions[0], Conflict)
        tasks.cancel_scope.cancel()


async def test_a_cell_tells_of_itself(serve: Any) -> None:
    async with serve("one") as served:
        (cell,) = served.cells
        metrics = NodeMetrics("cell", cell.health, served.bed.clock)
        cell.health.rooms = {"volumes": Room(total=10, free=5)}
        samples = read(metrics.text().decode())
        assert one(samples, "nano_journal_position") == cell.ledger.position
        assert one(samples, "nano_file_system_free_bytes", place="volumes") == 5
        assert one(samples, "nano_file_system_bytes", place="volumes") == 10


def test_nothing_listens_by_default_and_nonsense_is_refused(tmp_path: Path) -> None:
    assert CoreSettings().metrics == MetricsSettings(host="127.0.0.1", port=0)
    assert core_settings(tmp_path) == CoreSettings()  # the file that is written says the same
    (tmp_path / "core.toml").write_text("[metrics]\nport = 70000\n")
    with pytest.raises(Invalid, match="port"):
        core_settings(tmp_path)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def _until(health: NodeHealth, holds: Callable[[], object]) -> None:
    changed = anyio.Event()

    def wake() -> None:
        nonlocal changed
        changed.set()
        changed = anyio.Event()

    health.listen(wake)
    with anyio.fail_after(10):
        while not holds():
            await changed.wait()
    health.unlisten(wake)


async def _when_listening(http: httpx.AsyncClient) -> httpx.Response:
    with anyio.fail_after(10):
        while True:
            try:
                return await http.get("/metrics")
            except httpx.ConnectError:
                await anyio.sleep(0.02)
