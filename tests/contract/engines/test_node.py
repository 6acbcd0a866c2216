"""A whole Core on each engine: a zone with guests, the real program, its tools, and the way from one engine to another."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from nano.domain import guest_commands as gc
from nano.domain.cell import AddCell
from nano.domain.machine import MEBI
from nano.journal.backup import backup, check_backup, read_manifest, restore
from nano.journal.engines.moving import move_in
from nano.journal.engines.settings import EngineSettings
from nano.journal.testing import Count, make_counters, ticking, values
from nano.tools.simulator.bed import Bed, ended, task_of

BIN = Path(sys.executable).parent
LIMIT_S = 100


@pytest.mark.anyio
async def test_a_zone_lives_on_it(tmp_path: Path, settings: EngineSettings) -> None:
    bed = Bed(tmp_path)
    bed.engine = settings
    blank = gc.CreateGuest(name="web", memory=128 * MEBI, disks=(64 * MEBI,), start=True)
    async with bed.zone("one") as (core, _):
        with anyio.fail_after(10):
            while core.zone.get("cell/one") is None:
                await core.feed.wait_for(core.feed.position + 1)
        await core.execute(AddCell(cell="one"), actor="admin", command_id="add")
        with anyio.fail_after(10):
            while "one" not in core.usage.loads:
                await anyio.lowlevel.checkpoint()
        receipt = await core.execute(blank, actor="admin", command_id="create")
        assert (await ended(core, task_of(receipt.facts))).state == "done"
    async with bed.zone("one") as (core, _):
        assert core.zone.find_guest("web").power == "running"
        assert (await core.execute(blank, actor="admin", command_id="create")).repeated
        with anyio.fail_after(10):
            while "one" not in core.usage.loads:
                await anyio.lowlevel.checkpoint()
        receipt = await core.execute(gc.DeleteGuest(guest="web", force=True), actor="admin", command_id="delete")
        assert (await ended(core, task_of(receipt.facts))).state == "done"
        assert not list(core.zone.guests())


class Site:
    """A state folder in which the real nano-core runs."""

    def __init__(self, state: Path, number: int) -> None:
        self.state = state
        self.core = state / "core"
        self._number = number

    def configure(self, settings: EngineSettings) -> Path:
        config = self.core / "config"
        config.mkdir(parents=True, exist_ok=True)
        named = {"engine": settings.engine, "host": settings.host, "schema": settings.schema}
        section = "\n".join(f"{name} = {json.dumps(value)}" for name, value in named.items())
        listen = f"[listen]\napi_port = {self._number}\n[domain]\nname = 'n{self._number}'\nport = {self._number}\n"
        (config / "core.toml").write_text(f"{listen}[journal]\n{section}\n")
        return config / "core.toml"

    def run(self, program: str, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [str(BIN / program), *words], capture_output=True, text=True, check=False, timeout=LIMIT_S, env=os.environ
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def node(self, verb: str) -> str:
        return self.run("nano-core", verb, "--state", str(self.state))

    def ctl(self, *words: str) -> Any:
        return json.loads(self.run("nanoctl", "--state", str(self.state), "-o", "json", *words))

    def replay(self, *words: str, code: int = 0) -> list[Any]:
        told = self.run("nano-replay", "--node", str(self.core), *words, "-o", "json", code=code)
        return [json.loads(line) for line in told.splitlines()]


@pytest.fixture
def site(tmp_path: Path, free_port: int) -> Iterator[Site]:
    made = Site(tmp_path / "S", free_port)
    yield made
    made.node("halt")


def pools(site: Site) -> set[str]:
    return {row["name"] for row in site.ctl("pool", "list")}


@pytest.mark.timeout(280)
def test_the_programs_run_on_it(site: Site, settings: EngineSettings, tmp_path: Path) -> None:
    site.configure(settings)
    site.node("start")
    for name in ("red", "green"):
        site.ctl("pool", "create", name)
    site.node("halt")
    site.node("start")
    assert pools(site) >= {"red", "green"}
    site.ctl("pool", "delete", "red")
    live = site.replay("verify")[0]
    assert (live["whole"], live["kind"]) == (True, "core")
    log = site.replay("log")
    assert [fact["position"] for fact in log] == list(range(1, live["position"] + 1))
    site.node("stop")
    before = {path: path.read_bytes() for path in sorted(site.core.rglob("*")) if path.is_file()}
    assert site.replay("log") == log
    assert site.replay("verify")[0]["hash"] == live["hash"]
    assert site.replay("stats")
    assert site.replay("state")
    assert site.replay("diff", "--at", "2", "--at", str(live["position"]))
    site.replay("rebuild", str(tmp_path / "rebuilt"))
    site.replay("export", str(tmp_path / "bundle"))
    assert before == {path: path.read_bytes() for path in sorted(site.core.rglob("*")) if path.is_file()}
    rebuilt = site.run("nano-replay", "--node", str(tmp_path / "rebuilt"), "verify", "-o", "json")
    assert json.loads(rebuilt)["hash"] == live["hash"]


@pytest.mark.timeout(280)
def test_from_one_engine_to_the_next(site: Site, postgres: EngineSettings, tmp_path: Path, free_port: int) -> None:
    """Files → SQLite → PostgreSQL → files: stopped, backed up, restored with the new settings, started."""
    site.configure(EngineSettings())
    site.node("start")
    site.ctl("pool", "create", "red")
    site.node("stop")
    for number, settings in enumerate((EngineSettings(engine="sqlite"), postgres, EngineSettings())):
        backups = tmp_path / f"backups{number}"
        site.replay("backup", str(backups))
        new = Site(tmp_path / f"S{number}", free_port)
        file = new.configure(settings)
        words = ["--backup", str(backups), "restore", str(new.core), "--settings", str(file), "-o", "json"]
        assert json.loads(new.run("nano-replay", *words))["engine"] == settings.engine
        for path in [*(site.core / "config").iterdir(), site.core / "data" / "receipts.key"]:  # what no backup has
            if path.name != "core.toml":
                shutil.copy(path, new.core / path.relative_to(site.core))
        was = site.replay("verify")[0]
        assert (new.replay("verify")[0]["hash"], was["whole"]) == (was["hash"], True)
        site = new
        try:
            site.node("start")
            assert "red" in pools(site)
            site.ctl("pool", "create", f"after{number}")
        finally:
            site.node("stop")
        assert (site.core / "data/journal/commits").exists() == (settings.engine == "json")
    assert site.replay("verify")[0]["whole"]
    epochs = [read_manifest(made).epoch for made in sorted(tmp_path.glob("backups*/*"))]
    assert epochs == sorted(set(epochs))


@pytest.mark.anyio
async def test_backups_take_over_what_they_have(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of about the same size at the same lines, whoever keeps them: the next backup links those that are full."""
    monkeypatch.setattr("nano.journal.engines.view.DatabaseView.segment_bytes", 20_000)
    clock = ticking()
    async with place.opened(clock=clock) as ledger:
        await make_counters(ledger, "a")
        for _ in range(300):
            await ledger.execute(Count("a"), actor="admin", command_id="")
        first = backup(place.node, tmp_path / "b", now=clock())
        for _ in range(100):
            await ledger.execute(Count("a"), actor="admin", command_id="")
        second = backup(place.node, tmp_path / "b", now=clock().replace(minute=9), position=ledger.position)
    for one in (first, second):
        check_backup(one)
    shared = {path.name for path in (second / "data/journal/commits").glob("*.jsonl") if path.stat().st_nlink > 1}
    assert len(shared) >= (0 if place.settings.engine == "json" else 3)
    text = b"".join(path.read_bytes() for path in sorted((second / "data/journal/commits").glob("*.jsonl")))
    assert text == place.lines()
    assert restore(second, tmp_path / "again", at=200) == 200
    move_in(tmp_path / "again/data/journal", EngineSettings(engine="sqlite"), owner="node")
    place.settings = EngineSettings(engine="sqlite")
    async with place.opened(place.log(node=tmp_path / "again")) as ledger:
        assert (values(ledger), ledger.log.epoch) == ({"a": 199}, 2)
        assert ledger.log.hash != b"0" * 64
