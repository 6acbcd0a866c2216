"""The restore drill: a whole zone at work is backed up, every state folder is lost, and all of it comes back from backups.

Core, two cells and a FrontEnd as the programs put them together, over real links, discovery, HTTP and files; only the
hypervisors are simulated, and they outlive the nodes as real ones do. Backups of nodes are never of the same instant, so all
are restored to one moment that each of them covers (docs/guides/operations.md).
"""

import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.cell import node as cell_room
from nano.cell.cell import CellNode
from nano.cell.node import open_cell
from nano.cell.settings import CellIdentitySettings, CellSettings
from nano.core.core import Core
from nano.core.node import open_core, utc_now
from nano.core.settings import CoreSettings, ListenSettings
from nano.domain.host_domain import CloseOrder, TakeOrder
from nano.domain.settings import DomainSettings
from nano.domain.site import Site
from nano.http.app import make_app
from nano.http.client import AsyncSignedClient, Signer
from nano.http.credentials import load_or_make_credentials
from nano.http.server import run_server
from nano.hypervisor.simulated import SimulatedHost
from nano.journal.backup import list_backups, read_manifest
from nano.journal.backup_schedule import BackupSettings
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.tools.nano_frontend import core_finder, read_key
from nano.tools.replay.main import main as nano_replay
from nano.tools.simulator.bed import ended
from nano.ui.node import run_frontend
from nano.ui.settings import CoreAccess, Listen, Settings
from nano.ui.testing.http_browser import PASSWORD, Browser

pytestmark = pytest.mark.anyio

NODES = ("core", "one", "two", "frontend")


class Drill:
    """Where everything is, on the disks that are lost (``state``) and on those that are not."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.backups = folder / "backups"
        self.safe = folder / "safe"  # keys, kept apart as the guide says
        self.hosts = {name: SimulatedHost(cell=name, copy_s=0.01, boot_s=0.01) for name in ("one", "two")}
        self.domain = DomainSettings(name="drill", port=_free_port(), addresses=())

    def settings(self, name: str) -> dict[str, Any]:
        return {"backup": BackupSettings(folder=str(self.backups / name))}


class Running:
    def __init__(self, core: Core, cells: dict[str, CellNode], api: AsyncSignedClient, portal: str) -> None:
        self.core = core
        self.cells = cells
        self.api = api
        self.portal = portal

    async def get(self, path: str) -> Any:
        return (await self.api.request("GET", f"/api/v2{path}")).json()

    async def do(self, method: str, path: str, **body: Any) -> Any:
        """Done when its task is, if it has one."""
        answer = (await self.api.request(method, f"/api/v2{path}", json=body or None)).json()
        if "task" in answer:
            task = await ended(self.core, answer["task"]["id"])
            assert task.state == "done", task
        return answer

    async def create(self, name: str, *, start: bool) -> None:
        await self.do("POST", "/guests", name=name, memory=128 << 20, disks=[64 << 20], start=start)

    async def guests(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in (await self.get("/guests"))["items"]}

    async def until(self, holds: Any) -> None:
        """Facts and heartbeats may make it true."""
        moved = anyio.Event()

        def wake(_: object = None) -> None:
            moved.set()

        self.core.feed.add_listener(wake)
        self.core.usage.listen(wake)
        with anyio.fail_after(30):
            while not holds():
                moved = anyio.Event()
                await moved.wait()
        self.core.feed.remove_listener(wake)
        self.core.usage.unlisten(wake)


@asynccontextmanager
async def zone(drill: Drill) -> AsyncIterator[Running]:
    """Every node running and linked."""
    async with AsyncExitStack() as stack:
        folder = drill.state / "core"
        listen = ListenSettings(host="127.0.0.1")
        settings = CoreSettings(domain=drill.domain, listen=listen, **drill.settings("core"))
        node = await stack.enter_async_context(open_core(folder, settings))
        tasks = await stack.enter_async_context(anyio.create_task_group())
        app = make_app(node.core, load_or_make_credentials(folder / "config"), clock=utc_now)
        address = f"http://127.0.0.1:{await tasks.start(run_server, app, '127.0.0.1', 0)}"
        await tasks.start(node.serve_images)
        await tasks.start(node.open_to_cells, address)
        cells = {}
        for name in drill.hosts:
            near = DomainSettings(
                name=drill.domain.name, port=drill.domain.port, addresses=(f"127.0.0.1:{drill.domain.port}",)
            )
            of_cell = CellSettings(domain=near, cell=CellIdentitySettings(name=name), **drill.settings(name))
            cells[name], uplink = await stack.enter_async_context(open_cell(drill.state / name, of_cell))
            tasks.start_soon(uplink.run)
        access = CoreAccess(api=address, key_file=str(folder / "config" / "credentials.toml"))
        portal_settings = Settings(listen=Listen(port=_free_port()), core=access, **drill.settings("frontend"))
        front, said, ready = drill.state / "frontend", [], anyio.Event()

        def on_ready(message: str) -> None:
            said.append(message.removeprefix("portal at "))
            ready.set()

        tasks.start_soon(run_frontend, front, portal_settings, core_finder(front, portal_settings), on_ready)
        await ready.wait()
        key = read_key(front, Settings(core=CoreAccess(key_id="nanoctl", key_file=access.key_file)))
        api = await stack.enter_async_context(AsyncSignedClient(address, Signer("nanoctl", key)))
        running = Running(node.core, cells, api, said[0])
        await running.until(lambda: all(_heard(node.core, name) for name in cells))
        yield running
        tasks.cancel_scope.cancel()


@pytest.fixture
def drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drill:
    found = Drill(tmp_path)

    async def host_of(folder: Path, name: str, settings: CellSettings) -> SimulatedHost:
        return found.hosts[name]

    monkeypatch.setattr(cell_room, "_open_host", host_of)
    monkeypatch.setattr("nano.cell.watch.CONFIRM_S", 0.2)
    return found


async def test_a_zone_that_lost_every_state_folder_comes_back(drill: Drill, capfd: pytest.CaptureFixture[str]) -> None:
    async with zone(drill) as running:
        await _fill(running)
        moment = datetime.now(UTC)
        before = await running.guests()
        await running.core.alarms.health.backups.once()  # type: ignore[union-attr]
        await running.create("between", start=False)
        for cell in running.cells.values():
            await cell.health.backups.once()  # type: ignore[union-attr]
        assert _replay("--node", drill.state / "frontend", "backup", drill.backups / "frontend") == 0
        rows = {row["node"]: row for row in (await running.get("/backups"))["items"]}
        assert rows[running.core.name]["last_at"]
        assert rows[running.core.name]["position"] < running.core.ledger.position
        await running.do("DELETE", "/guests/stopped")
        await running.create("late", start=True)
        live = drill.state / "core" / "data" / "journal" / "commits" / "0000000000000001.jsonl"
        written = live.read_bytes()
        assert _restore(drill, "core", moment) == 2  # a node runs there
        assert "folder_not_empty" in capfd.readouterr().err
        assert live.read_bytes().startswith(written)

    assert _restore(drill, "core", moment) == 2  # its data are there
    _lose_everything(drill)
    for name in NODES:
        assert _restore(drill, name, moment) == 0, capfd.readouterr()
        assert _replay("--node", drill.state / name, "verify") == 0
        shutil.copy(drill.safe / name / "receipts.key", drill.state / name / "data" / "receipts.key")
    _power_off(drill, "running-2")  # while there was no zone, the world went on

    async with zone(drill) as running:
        expected = {**before, "running-2": "stopped", "stopped": "missing"}
        with anyio.fail_after(30):
            while await running.guests() != expected:
                await running.core.feed.wait_for(running.core.feed.position + 1)
        codes = [alarm["code"] for alarm in (await running.get("/alarms"))["items"]]
        assert codes == []
        for host in drill.hosts.values():  # domains of afterwards: known to nobody, so touched by nobody
            assert all(domain.state for domain in host.machine.values())
        assert sum(len(host.machine) for host in drill.hosts.values()) == 2 + 2

        await running.do("POST", "/guests/running-2/start")
        await running.create("anew", start=True)
        assert (await running.guests())["anew"] == "running"

        browser = Browser(running.portal)
        await browser.get("/login")
        assert (await browser.post("/login", name="ada", password=PASSWORD)).status_code == 303
        page = await browser.until("/guests", "anew")
        assert "between" not in page.text
        await browser.http.aclose()


@pytest.mark.parametrize("gone_on", [False, True], ids=["shorter", "longer again"])
async def test_a_cell_that_is_older_than_what_core_has_read_of_it_is_an_alarm(drill: Drill, gone_on: bool) -> None:
    """Restored to different moments: Core says so instead of missing facts without a word, and that ends when both fit again."""
    async with zone(drill) as running:
        await _fill(running)
        (home,) = {row["cell"] for row in (await running.get("/guests"))["items"] if row["name"] == "stopped"}
        await running.cells[home].health.backups.once()  # type: ignore[union-attr]
        for _ in range(5):  # more than a start of the cell will find out by itself
            await running.do("POST", "/guests/stopped/start")
            await running.do("POST", "/guests/stopped/force-stop")
    read, newest = running.core.ledger.tracking(f"cell/{home}"), drill.state / "newest"
    folder = drill.state / home
    folder.joinpath("data").rename(newest)
    assert _replay("--backup", drill.backups / home, "restore", folder) == 0
    if gone_on:
        await _go_on(folder, read + 3)
    async with zone(drill) as running:
        with anyio.fail_after(30):
            while not (found := (await running.get("/alarms?code=cell_fault"))["items"]):
                await running.core.feed.wait_for(running.core.feed.position + 1)
        assert found[0]["resource"] == f"cell/{home}"
        assert "is not the one that was read" in found[0]["message"]
        assert ("it says something else" in found[0]["message"]) == gone_on
        assert running.core.ledger.tracking(f"cell/{home}") == read
    shutil.rmtree(folder / "data")
    newest.rename(folder / "data")
    async with zone(drill) as running:
        with anyio.fail_after(30):
            while (await running.get("/alarms?code=cell_fault"))["items"]:
                await running.core.feed.wait_for(running.core.feed.position + 1)
        await running.do("POST", "/guests/stopped/start")


async def _go_on(folder: Path, position: int) -> None:
    """The restored cell at work by itself, until its journal is that long."""
    log = CommitLog(folder / "data" / "journal", clock=utc_now)
    async with Ledger.open(log, Site(), clock=utc_now, new_id=str, feed=Feed()) as ledger:
        while ledger.position < position:
            order = f"by-itself-{ledger.position}"
            await ledger.execute(TakeOrder(id=order, kind="remove", guest_id=order), actor="core", command_id=order)
            await ledger.execute(CloseOrder(id=order), actor="cell", command_id="")


async def _fill(running: Running) -> None:
    for name in running.cells:
        await running.do("POST", f"/cells/{name}/add")
    await running.until(lambda: all(running.core.views.tables["cell"].row(name).cores for name in running.cells))  # type: ignore[union-attr]
    for name in ("running-1", "running-2"):
        await running.create(name, start=True)
    await running.create("stopped", start=False)
    browser = Browser(running.portal)
    await browser.enter()
    await browser.http.aclose()


def _heard(core: Core, cell: str) -> bool:
    row = core.zone.get(f"cell/{cell}")
    if row is None or not getattr(row, "pool", "") or getattr(row, "error", ""):
        return row is not None  # of these it hears no heartbeats
    return cell in core.usage.loads


def _replay(*words: object) -> int:
    return nano_replay([str(word) for word in words])


def _restore(drill: Drill, name: str, moment: datetime) -> int:
    for backup in list_backups(drill.backups / name):
        assert read_manifest(backup).taken_at >= moment, "every backup covers the moment"
    return _replay("--backup", drill.backups / name, "restore", drill.state / name, "--at", moment.isoformat())


def _lose_everything(drill: Drill) -> None:
    """But the keys, which are not in backups."""
    for name in NODES:
        shutil.copytree(drill.state / name / "config", drill.safe / name / "config")
        shutil.copy(drill.state / name / "data" / "receipts.key", drill.safe / name / "receipts.key")
    shutil.rmtree(drill.state)
    for name in NODES:
        shutil.copytree(drill.safe / name / "config", drill.state / name / "config")


def _power_off(drill: Drill, name: str) -> None:
    for host in drill.hosts.values():
        for domain in host.machine.values():
            if domain.spec.name == name:
                domain.state = "stopped"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
