"""Rows of a small data centre, the same every time: for screenshots and for trying the portal out without a zone."""

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from nano.domain.alarm import Finding, alarms_of
from nano.ui.ability_words import ABILITIES
from nano.ui.testing.fake_batches import demo_batches
from nano.ui.testing.fake_core import FakeCore
from nano.ui.testing.fake_drift import drift_row, orphan_row
from nano.ui.testing.fake_guests import guest_row, text_of

GIB, MIB = 1 << 30, 1 << 20
GUESTS = (
    ("web-1", "running", 2, 4),
    ("web-2", "running", 2, 4),
    ("db-primary", "running", 8, 32),
    ("db-replica", "running", 8, 32),
    ("cache", "running", 2, 8),
    ("mail", "running", 2, 4),
    ("ci-runner-1", "running", 4, 8),
    ("ci-runner-2", "stopped", 4, 8),
    ("gitea", "running", 2, 4),
    ("grafana", "running", 1, 2),
    ("wiki", "running", 1, 2),
    ("legacy-erp", "crashed", 4, 16),
    ("vpn", "running", 1, 1),
    ("backup", "stopped", 2, 4),
    ("lab-ubuntu", "paused", 2, 4),
    ("lab-debian", "stopped", 1, 1),
    ("kiosk", "lost", 1, 1),
    ("dns-1", "running", 1, 1),
    ("dns-2", "running", 1, 1),
    ("build-arm", "missing", 4, 8),
)
CELLS = (
    ("Cell_0a1b2c3d4e5f", "default", "online"),
    ("Cell_5f21aa0349c1", "default", "online"),
    ("Cell_77c9e0b1d2f3", "lab", "online"),
    ("Cell_b04e6677a1c2", "lab", "offline"),
    ("Cell_e9d87f001b3a", "", "discovered"),
)


def demo_core(pace_s: float = 1.2, now: datetime | None = None) -> FakeCore:
    """A fake Core with pools, cells, images, guests, tasks and the facts that led there."""
    core, dice = FakeCore(pace_s), random.Random(7)  # noqa: S311 (pictures, not secrets)
    now = now or datetime.now(UTC)
    begin = now - timedelta(days=12)
    ids = (str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(10_000))
    for pool in ("default", "lab"):
        row: dict[str, Any] = {
            "name": pool,
            "storage": "",
            "network": "",
            "failover": False,
            "enabled": True,
            "cells": 2,
            "guests": {},
            "created_at": text_of(begin),
            "version": 1,
        }
        core.put("compute_pool", row, "compute_pool.created", at=begin)
    for number, (name, pool, state) in enumerate(CELLS):
        _cell(core, dice, number, name, pool, state, begin, now)
    for number, (name, size) in enumerate((("debian-12", 2), ("ubuntu-24.04", 4), ("nano-tiny", 1))):
        at = begin + timedelta(hours=number)
        row = {
            "id": next(ids),
            "name": name,
            "format": "qcow2",
            "size": size * 310 * MIB,
            "virtual_size": size * GIB,
            "sha256": f"{dice.getrandbits(256):064x}",
            "kept": False,
            "wanted": 0,
            "owner": "admin",
            "description": "",
            "tags": [],
            "task": "",
            "created_at": text_of(at),
            "version": 2,
        }
        core.put("image", row, "image.requested", at=at, path=f"/srv/images/{name}.qcow2")
        core.put("image", row, "image.registered", at=at + timedelta(seconds=9), format="qcow2")
    images = list(core.rows["image"].values())
    for number, (name, state, cores, memory) in enumerate(GUESTS):
        _guest(core, dice, next(ids), images[number % 3], number, (name, state, cores, memory), begin, now)
    _tasks(core, ids, now)
    demo_batches(core, begin, now)
    _pools(core)
    _health(core, now)
    core.settle()
    core.measure(measurements(core, dice, 0))
    _drift(core)
    return core


def _drift(core: FakeCore) -> None:
    guests = {row["name"]: row for row in core.rows["guest"].values()}
    core.found.drift = [
        drift_row(guests["db-primary"], "priority", "shares 2000, quota 0", "shares 77, quota 0", "at_once"),
        drift_row(guests["db-primary"], "memory", "32 GiB", "16 GiB", "next_start", "running"),
        drift_row(
            guests["web-1"], "network_limits", "send_bytes 1048576", "no limit: its kernel lacks sch_sfq", "not_here"
        ),
    ]
    stray = "3f0c0000-0000-4000-8000-00000000000f"
    core.found.orphans = [orphan_row(CELLS[0][0], "volume", f"{stray}_0.qcow2", stray, "no journal has its guest")]


CANNOT = {
    "unplug_cores": ("unsafe", "QEMU 8.2"),
    "reflink": ("file_system", "ext4"),
    "network_limits": ("kernel", "sch_sfq, cls_fw, act_police"),
}


def _cell(
    core: FakeCore, dice: random.Random, number: int, name: str, pool: str, state: str, begin: datetime, now: datetime
) -> None:
    row: dict[str, Any] = {
        "name": name,
        "pool": pool,
        "state": state,
        "enabled": name != "Cell_77c9e0b1d2f3",
        "address": f"10.20.0.{11 + number}",
        "fingerprint": ":".join(f"{dice.getrandbits(8):02X}" for _ in range(32)),
        "cores": 32,
        "memory": 128 * GIB,
        "disk": 4096 * GIB,
        "virt_type": "kvm",
        "virt_note": "",
        "hypervisor": "QEMU 8.2.2, libvirt 10.0.0",
        "abilities": [
            {"name": name, "can": name not in CANNOT, "reason": CANNOT.get(name, ("", ""))[0], "detail": detail}
            for name in ABILITIES
            for detail in (
                CANNOT.get(name, ("", {"packet_filter": "nftables", "network_limits": "tc"}.get(name, "")))[1],
            )
        ],
        "storage": f"{number // 2:032x}",
        "guests": 0,
        "error": "",
        "seen_at": text_of(now - timedelta(minutes=42 if state == "offline" else 0)),
        "version": 1,
    }
    at = begin + timedelta(minutes=3 + number)
    core.put("cell", row, "cell.discovered", actor="", at=at, address=row["address"])
    if pool:
        core.put("cell", row, "cell.added", at=at + timedelta(minutes=1), pool=pool)
        described = {field: row[field] for field in ("cores", "memory", "disk", "virt_type")}
        core.put("cell", row, "cell.described", actor="", at=at + timedelta(minutes=1, seconds=2), **described)
    if state == "offline":
        core.put(
            "cell", row, "cell.disconnected", actor="", at=now - timedelta(minutes=42), reason="no heartbeat for 15 s"
        )


def _guest(
    core: FakeCore,
    dice: random.Random,
    key: str,
    image: dict[str, Any],
    number: int,
    about: tuple[str, str, int, int],
    begin: datetime,
    now: datetime,
) -> None:
    name, state, cores, memory = about
    cell = {"lost": "Cell_b04e6677a1c2", "paused": "Cell_77c9e0b1d2f3"}.get(state, CELLS[number % 2][0])
    at = begin + timedelta(hours=2 + number * 3)
    row = guest_row(
        name,
        state,
        cell,
        id=key,
        pool="lab" if state in ("lost", "paused") else "default",
        cores=cores,
        memory=memory * GIB,
        disks=[20 * GIB, 200 * GIB] if cores > 4 else [20 * GIB],
        image=image["name"],
        image_id=image["id"],
        mac="52:54:00:" + ":".join(f"{dice.getrandbits(8):02x}" for _ in range(3)),
        agent=state == "running",
        addresses=[f"10.30.0.{20 + number}"] if state == "running" else [],
        autostart=number % 3 == 0,
        created_at=text_of(at),
        changed_at=text_of(now - timedelta(hours=number * 2, minutes=7)),
    )
    spec = {"cores": cores, "memory": row["memory"], "disks": row["disks"]}
    early = {**row, "agent": False, "addresses": []}
    off, on = {**early, "state": "stopped"}, {**early, "state": "running"}
    core.put("guest", {**early, "state": "creating"}, "guest.requested", at=at, spec=spec, cell=cell)
    core.put("guest", {**off}, "guest.created", actor=f"cell/{cell}", at=at + timedelta(seconds=4))
    core.put("guest", {**off}, "guest.work_started", at=at + timedelta(seconds=5), action="start")
    core.put("guest", on, "guest.started", actor=f"cell/{cell}", at=at + timedelta(seconds=6), reason="start on order")
    if state == "lost":  # no event of its own: its cell went
        core.rows["guest"][key] = row
    if state == "running":
        core.put(
            "guest",
            row,
            "guest.agent_changed",
            actor=f"cell/{cell}",
            at=at + timedelta(seconds=21),
            connected=True,
            addresses=row["addresses"],
        )
        core.put("guest", row, "guest.console_opened", actor="mei", at=at + timedelta(hours=4), by="mei")
    ending = {
        "stopped": "guest.stopped",
        "crashed": "guest.crashed",
        "missing": "guest.vanished",
        "paused": "guest.paused",
    }.get(state)
    if ending:
        why = {"crashed": "the guest panicked", "missing": "the domain is not on the host any more"}.get(state, "")
        core.put("guest", row, ending, actor=f"cell/{cell}", at=now - timedelta(hours=number), reason=why)


def _tasks(core: FakeCore, ids: Any, now: datetime) -> None:
    def task(kind: str, name: str, state: str, minutes: float, lasted_s: float, **changes: Any) -> None:
        start = now - timedelta(minutes=minutes)
        end = start + timedelta(seconds=lasted_s)
        guest = next((row for row in core.rows["guest"].values() if row["name"] == name), None)
        steps = [
            {
                "name": changes.pop("step_name", "start"),
                "state": "done" if state == "done" else state,
                "started_at": text_of(start),
                "ended_at": text_of(end),
                "detail": changes.pop("detail", ""),
            }
        ]
        row = {
            "id": next(ids),
            "kind": kind,
            "state": state,
            "resource": f"guest/{guest['id'] if guest else next(ids)}",
            "resource_name": name,
            "actor": "admin",
            "progress": 100 if state == "done" else 40,
            "step": "",
            "steps": steps,
            "started_at": text_of(start),
            "ended_at": text_of(end),
            "deadline_at": text_of(start + timedelta(minutes=30)),
            "error": None,
            "undone": [],
            "version": 3,
        } | changes
        core.put("task", row, "task.started", at=start, kind=kind)
        core.put("task", row, "task.ended", at=end, outcome=state, error=row["error"])

    task("guest.create", "web-1", "done", 620, 4.2, step_name="make domain")
    task("guest.start", "web-1", "done", 619, 1.1)
    task("guest.reboot", "mail", "done", 240, 9.4, actor="mei", step_name="reboot")
    task(
        "guest.create",
        "bigdata",
        "failed",
        55,
        12.3,
        step_name="make domain",
        error={
            "code": "disk_full",
            "message": "The disk of Cell_5f21aa0349c1 is full.",
            "hint": "Free some space, or choose another cell.",
        },
        undone=["volume bigdata-0 was removed"],
    )
    task("guest.stop", "backup", "done", 31, 22.0, step_name="stop")
    task("guest.start", "cache", "done", 1.2, 1.3)


def alarm_row(code: str, resource: str, at: datetime, place: str = "", **details: str) -> dict[str, Any]:
    """As Core shows it."""
    finding = Finding(code, details, resource, place)
    (alarm,) = alarms_of("Core_9f8e7d6c5b4a", "core/Core_9f8e7d6c5b4a", [finding], {}, at).values()
    row: dict[str, Any] = msgspec.to_builtins(alarm)
    return row


def _health(core: FakeCore, now: datetime) -> None:
    offline, full = "Cell_b04e6677a1c2", "Cell_77c9e0b1d2f3"
    since = now - timedelta(minutes=42)
    for row in (
        alarm_row("cell_offline", f"cell/{offline}", since, cell=offline, since=f"{since:%Y-%m-%d %H:%M:%S} UTC"),
        alarm_row(
            "disk_low",
            f"cell/{full}",
            now - timedelta(hours=5),
            place="volumes",
            folder="/srv/volumes",
            free="312.4 GiB",
            percent="7.6",
        ),
    ):
        core.show("alarm", row["id"], row)
    for number, node in enumerate(("Core_9f8e7d6c5b4a", *(name for name, pool, _ in CELLS if pool))):
        made = node != offline
        row = {
            "node": node,
            "kind": "cell" if number else "core",
            "folder": f"/mnt/backups/{node}" if made else "",
            "last_at": text_of(now - timedelta(minutes=11 + number)) if made else None,
            "position": 40_200 - 7_000 * number if made else 0,
            "next_at": text_of(now + timedelta(minutes=49 - number)) if made else None,
            "trouble": "",
        }
        core.show("backup", node, row)


def _pools(core: FakeCore) -> None:
    for pool in core.rows["compute_pool"].values():
        states: dict[str, int] = {}
        for guest in core.rows["guest"].values():
            if guest["pool"] == pool["name"]:
                states[guest["state"]] = states.get(guest["state"], 0) + 1
        pool["guests"] = states
    for cell in core.rows["cell"].values():
        cell["guests"] = sum(guest["cell"] == cell["name"] for guest in core.rows["guest"].values())


def measurements(core: FakeCore, dice: random.Random, tick: int) -> dict[str, Any]:
    """What the cells would have measured: gentle waves, a little noise."""
    from math import sin

    cells, guests = {}, {}
    for number, (name, cell) in enumerate(core.rows["cell"].items()):
        if cell["state"] != "online" or not cell["pool"]:
            continue
        wave = sin(tick / 37 + number) + sin(tick / 11 + number * 2) / 3
        cells[name] = {
            "cpu_percent": max(2.0, 34 + 14 * wave + dice.uniform(-3, 3)),
            "memory_total": 128 * GIB,
            "memory_available": int((58 - 9 * wave - number * 6) * GIB),
            "disk_total": 4096 * GIB,
            "disk_available": int((2600 - number * 900) * GIB),
            "read_rate": int(max(0, 9 + 6 * wave + dice.uniform(0, 9)) * MIB),
            "write_rate": int(max(0, 5 - 3 * wave + dice.uniform(0, 6)) * MIB),
            "receive_rate": int(max(0, 3 + 2 * wave + dice.uniform(0, 2)) * MIB),
            "send_rate": int(max(0, 7 + 4 * wave + dice.uniform(0, 3)) * MIB),
            "uptime_s": 1_036_800.0,
        }
    for number, (key, guest) in enumerate(core.rows["guest"].items()):
        if guest["state"] == "running":
            wave = sin(tick / 23 + number * 1.7)
            guests[key] = {
                "cpu_percent": max(0.5, 22 + 18 * wave + dice.uniform(-6, 6)),
                "memory_used": int(guest["memory"] * (0.55 + wave / 8)),
                "read_rate": int(max(0, 1 + wave + dice.uniform(0, 1)) * MIB),
                "write_rate": int(max(0, 1 - wave + dice.uniform(0, 1)) * MIB),
                "receive_rate": int((500 + 300 * wave + dice.uniform(0, 150)) * 1024),
                "send_rate": int((900 - 500 * wave + dice.uniform(0, 250)) * 1024),
            }
    return {"cells": cells, "guests": guests}
