"""Alarms over the whole node: raised by what goes wrong, told to everyone who looks, and gone when it is mended."""

import errno
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from nano.domain.alarm import Alarm
from nano.domain.backup_state import BackupState
from nano.domain.cell import FaultCell, LoseCell
from nano.domain.errors import HostError
from nano.http.client import AsyncSignedClient
from nano.journal.testing import BadDisk
from nano.transports.messages import HealthIs

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.journal.health.CHECK_S", 0.02)
    monkeypatch.setattr("nano.cell.sampler.PERIOD_S", 0.05)


async def alarms(client: AsyncSignedClient, query: str = "") -> list[dict[str, Any]]:
    answer = await client.request("GET", f"/api/v2/alarms{query}")
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


class Following:
    """The event stream of alarms, as a portal sees it: what is there now, and everything that was told."""

    def __init__(self) -> None:
        self.rows: dict[str, Any] = {}
        self.told: list[str] = []
        self.listening = False
        self._moved = anyio.Event()

    async def run(self, client: AsyncSignedClient, *, task_status: Any) -> None:
        async for event in client.events(kinds=("alarm", "usage")):
            if event.event == "usage":  # the first comes at once: from here on nothing is missed
                if not self.listening:
                    self.listening = True
                    task_status.started()
                continue
            data = event.json()
            key = data["resource"].removeprefix("alarm/")
            self.told.append(f"{data['type']} {key}")
            self.rows[key] = data["row"]
            self._moved.set()
            self._moved = anyio.Event()

    async def until(self, holds: Any) -> None:
        with anyio.fail_after(20):
            while not holds():
                await self._moved.wait()


def known(alarm: Any) -> dict[str, Any]:
    """Without what may be told anew at any moment: which file the disk refused last, and why."""
    return {name: value for name, value in alarm.items() if name not in ("message", "details")}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (errno.ENOSPC, 507, "disk_full"),
        (errno.EIO, 503, "journal_write_failed"),
        (errno.EROFS, 503, "journal_read_only"),
    ],
)
async def test_cores_disk_refuses_and_recovers(serve: Any, error: int, status: int, code: str) -> None:
    disk = BadDisk()
    async with serve("one", disks={"core": disk}) as served, anyio.create_task_group() as tasks:
        await served.create("web")
        assert await alarms(served.admin) == []
        seen = Following()
        await tasks.start(seen.run, served.admin)
        position = served.core.ledger.position
        disk.refuse(error, "core/journal")

        refused = await served.refused("POST", "/api/v2/compute-pools", json={"name": "more"})
        assert (refused.status, refused.code) == (status, code)
        key = f"{code}:Core_bed"
        await seen.until(lambda: seen.rows.get(key))
        (alarm,) = await alarms(served.admin, f"?code={code}")
        assert known(alarm) == known(seen.rows[key])
        assert (alarm["severity"], alarm["node"], alarm["resource"]) == ("critical", "Core_bed", "core/Core_bed")
        assert alarm["message"]
        assert alarm["hint"]
        assert (await served.admin.request("GET", "/api/v2/zone")).json()["alarms"]["critical"] == 1

        for path in ("/guests/web", "/guests", "/journal", "/guests/web/history"):  # reads go on
            assert (await served.admin.request("GET", f"/api/v2{path}")).status_code == 200
        assert served.core.ledger.position == position

        disk.recover()
        await seen.until(lambda: not any(seen.rows.values()))  # by itself
        assert await alarms(served.admin) == []
        made = await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "more"})
        assert made.status_code == 201
        ours = [told for told in seen.told if told.endswith(key)]
        assert (ours[0], ours[-1]) == (f"alarm.shown {key}", f"alarm.cleared {key}")
        tasks.cancel_scope.cancel()


async def test_a_failed_sync_is_told_while_reads_go_on(serve: Any) -> None:
    disk = BadDisk()
    async with serve(disks={"core": disk}) as served, anyio.create_task_group() as tasks:
        seen = Following()
        await tasks.start(seen.run, served.admin)
        disk.order("fdatasync")
        refused = await served.refused("POST", "/api/v2/compute-pools", json={"name": "more"})
        assert refused.code == "journal_poisoned"
        await seen.until(lambda: seen.rows.get("journal_poisoned:Core_bed"))
        assert [alarm["code"] for alarm in await alarms(served.admin)] == ["journal_poisoned"]
        assert (await served.refused("GET", "/api/v2/health")).status == 503
        tasks.cancel_scope.cancel()


async def test_cores_clock_goes_back(serve: Any) -> None:
    back = timedelta()
    async with serve(clock=lambda: datetime.now(UTC) - back) as served, anyio.create_task_group() as tasks:
        seen = Following()
        await tasks.start(seen.run, served.admin)
        first = await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "a"})
        back = timedelta(seconds=100)
        await seen.until(lambda: seen.rows.get("clock_behind:Core_bed"))
        message = seen.rows["clock_behind:Core_bed"]["message"]
        assert "100 s behind" in message or "99 s behind" in message
        await served.admin.request("POST", "/api/v2/compute-pools", json={"name": "b"})
        facts = (await served.admin.request("GET", "/api/v2/journal?limit=2")).json()["items"]
        assert facts[0]["at"] == facts[1]["at"]
        assert first.status_code == 201
        back = timedelta()
        await seen.until(lambda: seen.rows["clock_behind:Core_bed"] is None)
        tasks.cancel_scope.cancel()


async def test_a_cells_troubles_reach_core_and_go(serve: Any) -> None:
    disks = {"one": BadDisk(), "two": BadDisk()}
    async with serve("one", "two", disks=disks) as served, anyio.create_task_group() as tasks:
        await served.create("web")
        seen = Following()
        await tasks.start(seen.run, served.admin)
        served.bed.host("two").fail_next("sample", HostError("libvirtd does not answer."), times=3)
        await seen.until(lambda: seen.rows.get("hypervisor_unreachable:two"))
        row = seen.rows["hypervisor_unreachable:two"]
        assert (row["node"], row["resource"]) == ("two", "cell/two")
        assert "libvirtd does not answer." in row["message"]
        await seen.until(lambda: seen.rows["hypervisor_unreachable:two"] is None)

        home = (await served.admin.request("GET", "/api/v2/guests/web")).json()["cell"]
        disks[home].refuse(errno.ENOSPC, "journal")
        started = (await served.admin.request("POST", "/api/v2/guests/web/start")).json()
        await seen.until(lambda: seen.rows.get(f"disk_full:{home}"))
        assert seen.rows[f"disk_full:{home}"]["node"] == home
        disks[home].recover()
        await seen.until(lambda: seen.rows[f"disk_full:{home}"] is None)
        await served.task(started["task"]["id"])
        task = (await served.admin.request("GET", f"/api/v2/tasks/{started['task']['id']}")).json()
        assert (task["state"], task["error"]["code"]) == ("failed", "disk_full")
        started = (await served.admin.request("POST", "/api/v2/guests/web/start")).json()
        await served.task(started["task"]["id"])
        assert (await served.admin.request("GET", "/api/v2/guests/web")).json()["state"] == "running"
        tasks.cancel_scope.cancel()


async def test_a_cell_that_is_away_or_at_fault_or_in_debt(serve: Any) -> None:
    async with serve("one") as served:
        core = served.core
        served.core.alarms.heard("one", HealthIs((_word("disk_low"),), BackupState(folder="/b", position=7)))
        assert [alarm["id"] for alarm in await alarms(served.admin)] == ["disk_low:one:volumes"]
        await core.execute(FaultCell("one", "its journal was cut"), actor="core", command_id="")
        await core.execute(LoseCell(name="one", reason="test"), actor="core", command_id="")
        core.alarms.forget("one")
        core.alarms.health.check()
        found = await alarms(served.admin, "?severity=critical")
        assert [alarm["id"] for alarm in found] == ["cell_fault:one", "cell_offline:one"]
        assert {alarm["resource"] for alarm in found} == {"cell/one"}


async def test_a_cell_speaks_of_itself_only_and_briefly(serve: Any) -> None:
    async with serve("one") as served:
        long = [_word(f"c{number}", message="x" * 5_000) for number in range(200)]
        served.core.alarms.heard("one", HealthIs(tuple(long)))
        found = await alarms(served.admin)
        assert len(found) == 50
        assert {(alarm["node"], alarm["resource"], len(alarm["message"])) for alarm in found} == {
            ("one", "cell/one", 1000)
        }


async def test_the_list_follows_the_rules_of_lists(serve: Any) -> None:
    async with serve("one") as served:
        served.core.alarms.heard("one", HealthIs((_word("disk_low"), _word("disk_full", severity="critical"))))
        page = (await served.admin.request("GET", "/api/v2/alarms?limit=1")).json()
        assert (page["total"], [row["code"] for row in page["items"]]) == (2, ["disk_full"])  # gravest first
        rest = (await served.admin.request("GET", f"/api/v2/alarms?limit=1&cursor={page['next']}")).json()
        assert [row["code"] for row in rest["items"]] == ["disk_low"]
        answer = await served.admin.request("GET", "/api/v2/alarms")
        again = await served.admin.request("GET", "/api/v2/alarms", headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
        assert (await served.refused("GET", "/api/v2/alarms?severity=bad")).code == "invalid_severity"
        assert (await served.refused("GET", "/api/v2/alarms?at=3")).code == "no_past"
        assert await alarms(served.admin, "?node=two") == []


async def test_backups_of_every_node(serve: Any) -> None:
    async with serve("one") as served:
        at = datetime(2026, 11, 21, tzinfo=UTC)
        served.core.alarms.heard("one", HealthIs((), BackupState(folder="/b", position=7, last_at=at)))
        rows = (await served.admin.request("GET", "/api/v2/backups")).json()["items"]
        assert [(row["node"], row["kind"], row["folder"], row["position"]) for row in rows] == [
            ("Core_bed", "core", "", 0),
            ("one", "cell", "/b", 7),
        ]


def _word(code: str, **changed: Any) -> Alarm:
    fields = {
        "severity": "warning",
        "place": "volumes",
        "message": "m",
        "hint": "h",
        "since": datetime.now(UTC),
        "details": {},
    }
    return Alarm(id="whatever", code=code, node="Core_bed", resource="core/Core_bed", **fields | changed)
