"""Alarms in the portal: how many there are on every page, what to do on one; live; the portal's own too."""

import errno
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from nano.domain.alarm import KINDS
from nano.journal import health
from nano.journal.commit_log import CommitLog
from nano.journal.disk import RealDisk
from nano.journal.segments import read_seal
from nano.journal.testing import BadDisk
from nano.ui import node
from nano.ui.hub import SEATS_PER_SESSION_MAX
from nano.ui.sentences import alarm_words
from nano.ui.testing.demo import alarm_row, demo_core
from nano.ui.testing.http_browser import Browser
from nano.ui.testing.stage import Stage, stage
from nano.ui.words import load_words

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def test_every_page_says_how_many_and_one_says_what_to_do(admin: Browser, portal: Stage) -> None:
    front = (await admin.get("/guests")).text
    assert 'id="alarm-light"' in front
    assert "2 alarms" in front
    page = (await admin.get("/alarms")).text
    assert "Cell Cell_b04e6677a1c2 has not answered since" in page
    assert KINDS["cell_offline"].hint in page
    assert page.index("cell_offline") < page.index("disk_low")  # the gravest first
    assert "has 312.4 GiB left, 7.6 %" in page
    dashboard = (await admin.get("/")).text
    assert "Cell Cell_b04e6677a1c2 has not answered since" in dashboard


async def test_they_come_and_go_by_themselves(admin: Browser, portal: Stage) -> None:
    for key in list(portal.core.rows["alarm"]):
        portal.core.show("alarm", key, None)
    page = await admin.until("/alarms?part=list", "All is well")
    assert "cell_offline" not in page.text
    assert "No alarms" in (await admin.get("/alarms?part=light")).text
    row = alarm_row("disk_full", "core/Core_9f8e7d6c5b4a", NOW, folder="/var/lib/nano/core/data/journal")
    portal.core.show("alarm", row["id"], row)
    page = await admin.until("/alarms?part=list", "disk_full")
    assert "There is no room to write the journal in /var/lib/nano/core/data/journal." in page.text
    assert "1 alarm" in (await admin.get("/alarms?part=light")).text


async def test_open_pages_hear_of_it(admin: Browser, portal: Stage) -> None:
    async with admin.http.stream("GET", "/events") as stream:
        lines = stream.aiter_lines()
        row = alarm_row("disk_full", "core/Core_9f8e7d6c5b4a", NOW, folder="/f")
        portal.core.show("alarm", row["id"], row)
        with anyio.fail_after(10):
            async for line in lines:
                if line.startswith("data: [") and '"alarm"' in line:
                    assert '"journal"' not in line  # no fact: histories stay as they are
                    break


async def test_in_chinese_nothing_is_left_in_english(admin: Browser, portal: Stage) -> None:
    page = (await admin.get("/alarms", Accept_Language="zh-CN")).text
    assert "资源节点 Cell_b04e6677a1c2 自" in page
    assert "/srv/volumes（磁盘卷）所在的文件系统剩余 312.4 GiB" in page
    assert "日志的备份" in page


@pytest.mark.parametrize("code", KINDS)
def test_every_alarm_there_is_can_be_told(code: str) -> None:
    details = dict.fromkeys(
        ("folder", "reason", "last", "behind", "free", "percent", "cell", "since", "count", "guest"), "x"
    )
    row = alarm_row(code, "cell/one", NOW, "journal", **details)
    for words in load_words().values():
        told, hint = alarm_words(row, words)
        assert told
        assert hint
        assert "%(" not in told
    assert alarm_words({**row, "code": "of_tomorrow"}, words) == (row["message"], row["hint"])
    assert alarm_words({**row, "details": {}}, words)[0]


async def test_backups_of_every_node_are_shown(admin: Browser, portal: Stage) -> None:
    page = (await admin.get("/alarms")).text
    assert "/mnt/backups/Core_9f8e7d6c5b4a" in page
    assert "Name a folder in [backup] of config/cell.toml." in page  # the cell that is offline has none
    assert "Name a folder in [backup] of config/frontend.toml." in page
    assert "FrontEnd_" in page


async def test_one_session_keeps_so_many_pages_open_and_no_more(admin: Browser, portal: Stage) -> None:
    async with anyio.create_task_group() as tasks:
        ready = [anyio.Event() for _ in range(SEATS_PER_SESSION_MAX)]

        async def listen(begun: anyio.Event) -> None:
            async with admin.http.stream("GET", "/events") as stream:
                assert stream.status_code == 200
                async for _ in stream.aiter_bytes():
                    begun.set()

        for begun in ready:
            tasks.start_soon(listen, begun)
        for begun in ready:
            await begun.wait()
        refused = await admin.http.get("/events")
        assert refused.status_code == 409
        assert "too_many_listeners" in refused.text
        tasks.cancel_scope.cancel()
    with anyio.fail_after(10):  # those that went gave their seats back
        while True:
            async with admin.http.stream("GET", "/events") as stream:
                if stream.status_code == 200:
                    break
            await anyio.sleep(0.02)


async def test_the_portals_own_disk_is_an_alarm_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_S", 0.02)
    disk = BadDisk()

    def badly(folder: Path, **options: Any) -> CommitLog:
        return CommitLog(folder, disk=disk, **options)

    monkeypatch.setattr(node, "CommitLog", badly)
    async with stage(tmp_path, demo_core(pace_s=0.01)) as running:
        browser = Browser(running.portal)
        await browser.enter()
        await browser.until("/guests", "db-primary")
        disk.refuse(errno.ENOSPC, "journal")
        refused = await browser.post("/logout")
        assert refused.status_code == 507
        page = await browser.until("/alarms", "disk_full")
        assert "FrontEnd_" in page.text
        disk.recover()
        page = await browser.until("/alarms?part=light", "2 alarms")
        assert (await browser.post("/logout")).status_code == 303
        await browser.http.aclose()


async def test_the_portals_journal_is_its_own_and_sealed_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small(folder: Path, **options: Any) -> CommitLog:
        return CommitLog(folder, segment_bytes_max=500, **options)

    monkeypatch.setattr(node, "CommitLog", small)
    async with stage(tmp_path, demo_core(pace_s=0.01)) as running:
        browser = Browser(running.portal)
        await browser.enter()
        await browser.post("/logout")
        await browser.http.aclose()
    card = msgspec.json.decode((tmp_path / "data" / "node.json").read_bytes())
    assert card["kind"] == "frontend"
    seals = sorted((tmp_path / "data" / "journal" / "commits").glob("*.seal"))
    assert seals
    for path in seals:
        seal = read_seal(RealDisk(), path)
        assert seal is not None
        assert seal.signature
        assert card["name"] == f"FrontEnd_{seal.key[:12]}"
    assert (tmp_path / "config" / "node.key").stat().st_mode & 0o077 == 0
