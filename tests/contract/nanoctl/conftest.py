"""A small API for nanoctl to talk to: real HTTP on loopback, real signature checks, real row structs, a zone that stands
still. Tests change its rows and give it answers; what nanoctl sent is in ``requests``."""

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from nano.domain.ability import Ability
from nano.domain.alarm import Alarm
from nano.domain.errors import NanoError, Unknown
from nano.domain.machine import GIBI, MEBI, DiskLimits, Hardware, NetworkLimits
from nano.domain.task import Problem, Step
from nano.http.credentials import Credential, Credentials
from nano.http.event_lines import format_event
from nano.http.problems import problem_answer
from nano.http.verifier import Verifier
from nano.projections.rows import BackupRow, CellRow, ComputePoolRow, GuestRow, ImageRow, TaskRow
from nano.tools.display.terminal import Terminal
from nano.tools.nanoctl import main as program

NOW = datetime(2026, 11, 21, 3, 30, tzinfo=UTC)
KEY = "a-key-for-tests-only-0123456789"
WEB, DB, GONE = (f"{number}f0c9d2e-7b1a-4c5d-8e6f-0123456789ab" for number in (1, 2, 3))
IMAGE = "9a8b7c6d-0000-4000-8000-000000000001"
TASK = "7e5d3c1b-0000-4000-8000-00000000000a"
CELL, OTHER = "Cell_0a1b2c3d4e5f", "Cell_5f4e3d2c1b0a"
FINGERPRINT = "ab12cd34ef567890" * 4


def before(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def guest(key: str, name: str, state: str, **changed: Any) -> GuestRow:
    row = GuestRow(
        id=key, name=name, state=state, pool="default", cell=CELL, owner="admin", cores=2, memory=2 * GIBI,
        disks=(10 * GIBI,), image="debian12", image_id=IMAGE, linked=False, mac="52:54:00:0a:1b:2c", autostart=False,
        more_macs=(), priority="high", disk_limits=DiskLimits(), network_limits=NetworkLimits(), media="", pending=(),
        cores_max=0, memory_max=0,
        description="", tags=(), notes="", protected=False, admin="",
        recycled_until=None, security=None, unguarded=False, own_addresses=(), snapshots=(), snapshot_schedule=None, vnc=None,
        template="", hardware=Hardware(), agent=state == "running", addresses=("10.90.0.12",) if state == "running" else (),
        task="", note="", created_at=before(86_400 * 3), changed_at=before(200), version=5,
    )  # type: ignore[arg-type]  # fmt: skip
    return msgspec.structs.replace(row, **changed)


def cell(name: str, state: str, **changed: Any) -> CellRow:
    row = CellRow(
        name=name, pool="default", state=state, enabled=True, address="127.0.0.1:5601", fingerprint=FINGERPRINT,
        cores=8, memory=16 * GIBI, disk=200 * GIBI, virt_type="qemu", virt_note="/dev/kvm does not answer",
        hypervisor="libvirt 9.0.0, QEMU 7.2.0", guests=2, error="", seen_at=before(3), version=4,
        abilities=(Ability("disk_limits", True), Ability("network_limits", False, "kernel", "sch_sfq")),
        storage="5f0c" * 8,
    )  # type: ignore[arg-type]  # fmt: skip
    return msgspec.structs.replace(row, **changed)


def task(state: str, *, key: str = TASK, kind: str = "guest.create", **changed: Any) -> TaskRow:
    ended = before(10) if state in ("done", "failed", "cancelled") else None
    row = TaskRow(
        id=key, kind=kind, state=state, resource=f"guest/{WEB}", resource_name="web", actor="admin",
        progress=100 if state == "done" else 40, step="make domain" if ended is None else "",
        steps=(Step("make domain", "running" if ended is None else "done", before(14), ended),),
        started_at=before(14), ended_at=ended, deadline_at=NOW + timedelta(minutes=30), error=None, undone=(),
        items=(), version=3,
    )  # type: ignore[arg-type]  # fmt: skip
    return msgspec.structs.replace(row, **changed)


FAILED = task(
    "failed",
    error=Problem("disk_full", "No room left on Cell_0a1b2c3d4e5f.", "Free some space, or choose another cell."),
    undone=("volume removed", "room on the cell given back"),
)


POOL = ComputePoolRow(
    name="default",
    storage="",
    network="",
    failover=False,
    enabled=True,
    linked_clones=True,
    cells=2,
    guests={"running": 1, "stopped": 1, "lost": 1},
    created_at=before(86_400 * 9),
    version=1,
)
DEBIAN = ImageRow(
    id=IMAGE,
    name="debian12",
    format="qcow2",
    size=330 * MEBI,
    virtual_size=2 * GIBI,
    sha256=FINGERPRINT,
    kept=True,
    wanted=0,
    owner="admin",
    description="Debian with cloud-init",
    tags=("linux",),
    task="",
    created_at=before(86_400 * 3),
    version=2,
)


OFFLINE = Alarm(
    id=f"cell_offline:{OTHER}", code="cell_offline", severity="critical", node="Core_aabbccddeeff", resource=f"cell/{OTHER}",
    place="", since=before(4_000), message=f"Cell {OTHER} has not answered since 2026-11-21 02:23:20 UTC.",
    hint="Look at the server, its network and nano-cell on it; the cell comes back by itself.", details={},
)  # fmt: skip
LOW = Alarm(
    id=f"disk_low:{CELL}:volumes", code="disk_low", severity="warning", node=CELL, resource=f"cell/{CELL}", place="volumes",
    since=before(300), message="The file system of /srv/volumes (volumes) has 17.5 GiB left, 8.8 %.",
    hint="Free space on this file system, or make it larger, before it is full.", details={},
)  # fmt: skip


def backup(node: str, kind: str, **changed: Any) -> BackupRow:
    row = BackupRow(
        node=node, kind=kind, folder="/mnt/backups/core", last_at=before(1_500), position=1180,
        next_at=before(-2_100), trouble="",
    )  # fmt: skip
    return msgspec.structs.replace(row, **changed)


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class FakeApi:
    """``rows`` by collection and reference; ``answers`` by (method, path) come first: an answer is a value with its
    status, a NanoError, or a function of what was asked. ``stream`` are the chunks of the event stream."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {
            "guests": [
                guest(
                    DB, "db", "stopped", memory=512 * MEBI, disks=(GIBI, 20 * GIBI), image="", changed_at=before(7_300)
                ),
                guest(GONE, "mail", "lost", cell=OTHER, note="its cell is offline"),
                guest(WEB, "web", "running"),
            ],
            "cells": [
                cell(CELL, "online"),
                cell(OTHER, "offline", guests=1, seen_at=before(4_000), error="disk is full"),
            ],
            "compute-pools": [POOL],
            "images": [DEBIAN],
            "tasks": [task("running"), FAILED],
            "alarms": [OFFLINE, LOW],
            "backups": [
                backup("Core_aabbccddeeff", "core"),
                backup(CELL, "cell", folder="", last_at=None, next_at=None),
            ],
        }
        self.answers: dict[tuple[str, str], Any] = {}
        self.requests: list[Asked] = []
        self.stream: list[bytes] = []
        self.hold = threading.Event()  # the event stream stays open until this is set
        self.hold.set()
        self.on_stream: Callable[[], object] = lambda: None
        self.page_max = 1000
        self.url = ""
        self._verifier = Verifier(Credentials([Credential("nanoctl", KEY, "administrator")]), lambda: datetime.now(UTC))

    def answer(self, method: str, path: str, value: Any, status: int = 200) -> None:
        self.answers[method, f"/api/v2{path}"] = (
            value if callable(value) or isinstance(value, NanoError) else (status, value)
        )

    def handle(self, asked: Asked) -> tuple[int, bytes]:
        found = self.answers.get((asked.method, asked.path))
        if callable(found):
            found = found(asked)
        if isinstance(found, NanoError):
            raise found
        if found is not None:
            return found[0], msgspec.json.encode(found[1])
        if asked.method == "GET":
            return 200, self._read(asked)
        raise Unknown(f"There is no {asked.path}.", code="unknown_path", hint="Look at the documentation.")

    def _read(self, asked: Asked) -> bytes:
        _, _, _, collection, *rest = asked.path.split("/")
        rows = self.rows[collection]
        if not rest:
            limit = min(int(asked.query.get("limit", ["100"])[0]), self.page_max)
            start = int(asked.query.get("cursor", ["0"])[0])
            following = str(start + limit) if start + limit < len(rows) else None
            page = {"items": rows[start : start + limit], "total": len(rows), "next": following, "position": 120}
            return msgspec.json.encode(page)
        for row in rows:
            if rest[0] in (getattr(row, "id", ""), getattr(row, "name", "")):
                return msgspec.json.encode(row)
        kind = collection.rstrip("s").replace("-", " ")
        raise Unknown(
            f"There is no {kind} {rest[0]!r}.", code=f"unknown_{kind}", hint=f"List {kind}s to see what there is."
        )

    def check(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        path, _, query = target.partition("?")
        shown = {name.lower().encode(): value.encode() for name, value in headers.items()}
        self._verifier.verify(method, path.encode(), query.encode(), shown, body)

    def change(self, row: Any, position: int | None = None, kind: str = "task.step_started") -> bytes:
        kinds = {TaskRow: "task", GuestRow: "guest", CellRow: "cell"}
        data = {
            "position": position,
            "at": NOW,
            "actor": "admin",
            "resource": f"{kinds[type(row)]}/{getattr(row, 'id', getattr(row, 'name', ''))}",
            "type": kind,
            "version": row.version,
            "row": row,
        }
        return format_event("change", msgspec.json.encode(data), position)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: FakeApi

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        parts = urlsplit(self.path)
        asked = Asked(
            self.command,
            parts.path,
            parse_qs(parts.query),
            {name.lower(): value for name, value in self.headers.items()},
            msgspec.json.decode(body) if body[:1] in (b"{", b"[") else body,
        )
        self.api.requests.append(asked)
        try:
            self.api.check(self.command, self.path, dict(self.headers), body)
            if parts.path == "/api/v2/events" and (self.command, parts.path) not in self.api.answers:
                self._stream()
                return
            status, answer = self.api.handle(asked)
        except NanoError as error:
            status, _, answer = problem_answer(error)
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(b": from 0\n\n")
        self.api.on_stream()
        while self.api.stream:
            self.wfile.write(self.api.stream.pop(0))
            self.wfile.flush()
        self.api.hold.wait(20)
        self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = _serve

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[FakeApi]:
    fake = FakeApi()
    handler = type("Handler", (_Handler,), {"api": fake})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield fake
    fake.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def state(api: FakeApi, tmp_path: Path) -> Path:
    """A state folder as a running Core leaves it."""
    core = tmp_path / "S" / "core"
    (core / "run").mkdir(parents=True)
    (core / "config").mkdir()
    (core / "run" / "endpoint.json").write_bytes(msgspec.json.encode({"api": api.url, "version": "0", "pid": 1}))
    credentials = core / "config" / "credentials.toml"
    credentials.write_text(f'[[credential]]\nid = "nanoctl"\nkey = "{KEY}"\nrole = "administrator"\n')
    credentials.chmod(0o600)
    return tmp_path / "S"


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


class _Stream(io.StringIO):
    """As a file: not a terminal, in UTF-8."""

    encoding = "utf-8"  # type: ignore[assignment]


Nanoctl = Callable[..., Outcome]


@pytest.fixture
def nanoctl(state: Path) -> Nanoctl:
    """Run one command line against the fake API, at a fixed time in UTC; ``width`` = columns of the terminal."""

    def run(*words: str, width: int = 100) -> Outcome:
        out, err = _Stream(), _Stream()
        terminal = Terminal(out, err, now=lambda: NOW, zone=UTC, width=width)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):  # argparse writes there
            try:
                code = program.run(["--state", str(state), *words], terminal)
            except SystemExit as ended:
                code = int(ended.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return run
