"""What people see, held by golden files: wide and narrow, without colours, at a fixed time in UTC.

To write them anew after a wanted change: pytest --regenerate <this file>; look at the difference.
"""

from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).parents[2] / "golden" / "cli"
WEB = "guest/1f0c9d2e-7b1a-4c5d-8e6f-0123456789ab"
CELL = "cell/Cell_0a1b2c3d4e5f"
FACTS = [
    {
        "position": 12 + number, "at": "2026-11-21T03:10:53.123456Z", "actor": actor, "command_id": "c", "cause": cause,
        "resource": resource, "version": number + 1, "event": event,
    }
    for number, (actor, cause, resource, event) in enumerate([
        ("admin", "", WEB, {
            "type": "guest.requested", "id": "1f0c", "pool": "default", "cell": "Cell_0a1b2c3d4e5f", "owner": "admin",
            "image_name": "debian12", "task": "t",
            "spec": {"name": "web", "cores": 2, "memory": 2 << 30, "disks": [10 << 30, 64 << 20], "mac": "52:54:00:00:00:01"},
        }),
        ("admin", "", "task/7e5d3c1b-0000-4000-8000-00000000000a", {
            "type": "task.started", "kind": "guest.create", "target": "guest/1f0c", "target_name": "web", "actor": "admin",
            "plan": ["make domain", "start"],
        }),
        (CELL, "cell/Cell_0a1b2c3d4e5f@9", WEB, {"type": "guest.created"}),
        (CELL, "", WEB, {"type": "guest.started", "reason": "start on order"}),
        (CELL, "", WEB, {
            "type": "guest.agent_changed", "connected": True, "addresses": ["10.90.0.12"],
        }),
        ("admin", "", WEB, {"type": "guest.tagged", "tags": ["new"]}),
    ])
]  # fmt: skip
VERDICT = {
    "cell": "Cell_0a1b2c3d4e5f",
    "scores": [
        {"cell": "Cell_0a1b2c3d4e5f", "score": 17.25, "code": "", "reason": ""},
        {"cell": "Cell_5f4e3d2c1b0a", "score": 0.0, "code": "cell_offline", "reason": "it is offline"},
        {"cell": "Cell_777777777777", "score": 3.5, "code": "", "reason": ""},
    ],
    "code": "",
    "message": "",
}
ZONE = {
    "id": "z", "name": "Core_aabbccddeeff", "version": "0.1.0", "started_at": "2026-11-21T01:00:00Z",
    "at": "2026-11-21T03:30:00Z", "position": 1204, "compute_pools": 1, "cells": {"offline": 1, "online": 1},
    "guests": {"lost": 1, "running": 1, "stopped": 1}, "images": 1, "tasks_open": 1, "cores": 8, "memory": 16 << 30,
    "disk": 200 << 30, "alarms": {"critical": 1, "warning": 1},
}  # fmt: skip
USAGE = {
    "cells": {
        "Cell_0a1b2c3d4e5f": {
            "cpu_percent": 78.4, "memory_total": 16 << 30, "memory_available": 6 << 30, "disk_total": 200 << 30,
            "disk_available": 12 << 30, "read_rate": 1_200_000, "write_rate": 0, "receive_rate": 900, "send_rate": 64 << 20,
            "uptime_s": 93_000.0,
        }
    },
    "guests": {
        "1f0c9d2e-7b1a-4c5d-8e6f-0123456789ab": {
            "cpu_percent": 55.0, "memory_used": 1 << 30, "read_rate": 0, "write_rate": 4096, "receive_rate": 0, "send_rate": 0,
        }
    },
}  # fmt: skip
LINES = {
    "guest-list": "guest list",
    "guest-list-wide": "guest list -o wide",
    "guest-list-json": "guest list --limit 1 -o json",
    "guest-show": "guest show web",
    "guest-show-yaml": "guest show web -o yaml",
    "guest-history": "guest history web",
    "cell-list": "cell list",
    "cell-show": "cell show Cell_5f4e3d2c1b0a",
    "pool-list": "pool list",
    "image-list": "image list -o wide",
    "task-list": "task list",
    "task-show-failed": "task show 8f000000-0000-4000-8000-00000000000b",
    "journal-list": "journal list",
    "journal-list-wide": "journal list -o wide",
    "alarm-list": "alarm list",
    "alarm-list-wide": "alarm list -o wide",
    "backup-list": "backup list",
    "placement": "placement explain --cores 2 --memory 2GiB --disk 10GiB",
    "status": "status",
    "status-then": "status --at 1204",
    "usage": "usage",
    "top": "top --once",
    "refused": "guest create web --memory 2GiB --disk 10GiB",
    "unknown": "guest show nothing",
}


def history(newest_first: list[dict[str, Any]]) -> dict[str, Any]:
    return {"items": newest_first, "next": None, "position": 17}


@pytest.mark.parametrize("width", [100, 60])
@pytest.mark.parametrize("name", LINES)
def test_output(
    nanoctl: Any, api: Any, regenerate: bool, name: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nano.domain.errors import NoCapacity

    failed = api.rows["tasks"][1]
    api.rows["tasks"][1] = type(failed)(**{f: getattr(failed, f) for f in failed.__struct_fields__} | {
        "id": "8f000000-0000-4000-8000-00000000000b"
    })  # fmt: skip
    api.answer("GET", "/guests/web/history", history([fact for fact in FACTS[::-1] if "guest/" in fact["resource"]]))
    api.answer("GET", "/journal", history(FACTS[::-1]))
    api.answer("GET", "/placement", VERDICT)
    api.answer("GET", "/zone", ZONE)
    api.answer("GET", "/usage", USAGE)
    refusal = NoCapacity(
        "No cell fulfils the resource requirement.", hint="Add or enable a cell, free some room, or ask for less.",
        cells={"Cell_0a1b2c3d4e5f": "its cores are 93 % busy, over 80 %", "Cell_5f4e3d2c1b0a": "it is offline"},
    )  # fmt: skip
    api.answer("POST", "/guests", refusal)
    monkeypatch.setenv("COLUMNS", str(width))  # argparse asks for it
    outcome = nanoctl(*LINES[name].split(), width=width)
    text = f"$ nanoctl {LINES[name]}\n{outcome.out}{outcome.err}[{outcome.code}]\n".replace(
        api.url, "http://127.0.0.1:5850"
    )
    path = GOLDEN / f"{name}-{width}.txt"
    if regenerate:
        path.write_text(text)
    assert text == path.read_text(), f"{path.name} differs"


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in GOLDEN.glob("*.txt")} == {
        f"{name}-{width}.txt" for name in LINES for width in (100, 60)
    }


def test_narrow_output_fits() -> None:
    for path in GOLDEN.glob("*-60.txt"):
        if path.stem.startswith(
            ("image-list", "guest-list-wide", "journal-list-wide", "alarm-list-wide", "refused", "unknown", "status")
        ):
            continue  # wide was asked for, or a sentence that a terminal folds by itself
        long = [line for line in path.read_text().splitlines()[1:] if len(line) > 60 and not line.endswith("]")]
        assert not long, f"{path.name}: {long}"
