"""Rows of guests of the fake Core, and what each change does to one: none is refused, and all of it is there at once."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Row = dict[str, Any]
GIVEN = {"migrate": ("cell", "to"), "password": ("admin", "user"), "reset": ("image_id", "image")}
SAID = ("description", "protect", "unprotect", "snapshot-schedule")  # answered at once, without a task
AFTER = {"start": "running", "stop": "stopped", "force-stop": "stopped", "reboot": "running", "redefine": "stopped",
         "recycle": "recycled", "restore": "stopped"}  # fmt: skip
PLAN = {"start": "start", "stop": "stop", "force-stop": "force stop", "reboot": "reboot", "delete": "remove domain",
        "force-reboot": "force reboot", "redefine": "define again", "recycle": "change", "restore": "change"}  # fmt: skip


def changed(row: Row, method: str, verb: str, body: Row, params: Mapping[str, str]) -> Row | None:
    """The row after this change; None when it is no change that Core knows."""
    if verb == "rules/guard":
        return {**row, "unguarded": body["guard"] == "off"}
    if verb.partition("/")[0] == "rules":
        return {**row, "security": _guarded(row["security"], method, verb, body, params)}
    if verb.partition("/")[0] == "vnc":
        return {**row, "vnc": {"address": "127.0.0.1", "port": 5901} if method == "POST" else None}
    return _machine(row, method, verb, body, params)


def _machine(row: Row, method: str, verb: str, body: Row, params: Mapping[str, str]) -> Row | None:
    disks, nics = list(row["disks"]), list(row["more_macs"])
    match method, verb:
        case "PATCH", "":
            limits = {name: {**row[name], **_of(body, row[name])} for name in ("disk_limits", "network_limits")}
            known = {name: value for name, value in body.items() if name in row}
            waits = [name for name in ("cores", "memory") if name in body and row["state"] == "running"]
            return {**row, **known, **limits, "pending": waits}
        case "PATCH", "description":
            return {**row, **body}
        case "POST", "protect" | "unprotect":
            return {**row, "protected": verb == "protect"}
        case "POST", "disks":
            return {**row, "disks": [*disks, body["size"]]}
        case "POST", "disks/grow" | "disks/compact":
            disks[body["number"]] = body.get("size", disks[body["number"]])
            return {**row, "disks": disks}
        case "DELETE", "disks":
            del disks[int(params["number"])]
            return {**row, "disks": disks}
        case "POST", "nics":
            return {**row, "more_macs": [*nics, f"52:54:00:aa:bb:{len(nics):02x}"]}
        case "DELETE", "nics":
            return {**row, "more_macs": [mac for mac in nics if mac != params["mac"]]}
        case "POST", "snapshots":
            return {**row, "snapshots": _taken(row, body)}
        case "POST" | "DELETE", "media":
            return {**row, "media": body.get("media", "")}
        case "POST", "migrate" | "password" | "reset":
            field, given = GIVEN[verb]
            return {**row, field: body.get(given, "root")}
    if verb.startswith("snapshots/"):
        return _moved(row, method, verb.split("/")[1])
    return _scheduled(row, method, body) if verb == "snapshot-schedule" else None


def _moved(row: Row, method: str, snapshot: str) -> Row:
    """Back at that one, or without it."""
    there = [{**one, "current": one["id"] == snapshot} for one in row["snapshots"]]
    kept = [one for one in row["snapshots"] if one["id"] != snapshot]
    return {**row, "snapshots": there if method == "POST" else kept}


def _scheduled(row: Row, method: str, body: Row) -> Row:
    rhythm = {**body, "next_at": text_of(datetime.now(UTC))} if method == "POST" else None
    return {**row, "snapshot_schedule": rhythm}


def _guarded(policy: Row | None, method: str, verb: str, body: Row, params: Mapping[str, str]) -> Row:
    policy = policy or {"default": "accept", "rules": [], "addresses": []}
    rules = list(policy["rules"])
    match method, verb:
        case "POST", "rules":
            rules.append(body)
        case "PATCH", _:
            rules[body["rule"] - 1] = {name: value for name, value in body.items() if name != "rule"}
        case "DELETE", _:
            del rules[int(params["rule"]) - 1]
        case _, "rules/move":
            rules.insert(body["place"] - 1, rules.pop(body["rule"] - 1))
        case _, "rules/default":
            return {**policy, "default": body["action"]}
        case _:
            return {**policy, **body}
    return {**policy, "rules": rules}


def work(method: str, verb: str) -> str:
    """The kind of task that does it."""
    if not verb:
        return "guest.set"
    if verb == "snapshots":
        return "guest.snapshot.create"
    if verb.startswith("snapshots/"):
        return "guest.snapshot.restore" if method == "POST" else "guest.snapshot.delete"
    if verb == "media":
        return {"POST": "guest.media.insert", "DELETE": "guest.media.eject"}[method]
    if verb.partition("/")[0] == "vnc":
        return {"POST vnc": "guest.vnc.enable", "DELETE vnc": "guest.vnc.disable"}.get(
            f"{method} {verb}", "guest.vnc.reset"
        )
    noun, _, act = verb.partition("/")
    does = act or {"POST": "add", "DELETE": "remove", "PATCH": "modify"}[method]
    return f"guest.{noun.removesuffix('s')}.{does}" if noun in ("disks", "nics", "rules") else f"guest.{noun}"


def _taken(row: Row, body: Row) -> list[Row]:
    """One more, after the current one."""
    parent = next((one["name"] for one in row["snapshots"] if one["current"]), "")
    return [
        *({**one, "current": False} for one in row["snapshots"]),
        snapshot_row(
            body["name"],
            parent,
            description=body.get("description", ""),
            memory=row["state"] == "running" and not body.get("disks_only"),
        ),
    ]


def snapshot_row(name: str, parent: str = "", **changes: Any) -> Row:
    return {
        "id": str(uuid.uuid4()),
        "name": name,
        "description": "",
        "parent": parent,
        "current": True,
        "memory": False,
        "frozen": False,
        "scheduled": False,
        "disks": [20 << 30],
        "created_at": text_of(datetime.now(UTC)),
        **changes,
    }


def _of(body: Row, limits: Row) -> Row:
    return {name: value for name, value in body.items() if name in limits}


def text_of(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def guest_row(name: str, state: str, cell: str, **changes: Any) -> Row:
    now = text_of(datetime.now(UTC))
    return {
        "id": str(uuid.uuid4()), "name": name, "state": state, "pool": "default", "cell": cell, "owner": "admin", "cores": 1,
        "memory": 1 << 30, "disks": [5 << 30], "image": "", "image_id": "", "linked": False, "template": "",
        "mac": "52:54:00:12:34:56", "autostart": False,
        "hardware": {"disk": "scsi", "network": "virtio", "display": "vga", "usb": "nec-xhci", "tablet": "usb"},
        "priority": "high", "more_macs": [], "media": "", "pending": [], "cores_max": 0, "memory_max": 0, "description": "",
        "disk_limits": {"read_bytes": 0, "write_bytes": 0, "read_operations": 0, "write_operations": 0},
        "network_limits": {"receive_bytes": 0, "send_bytes": 0}, "tags": [], "notes": "", "protected": False,
        "recycled_until": None, "snapshots": [], "admin": "", "security": None, "snapshot_schedule": None,
        "vnc": None, "unguarded": False, "own_addresses": [],
        "agent": False, "addresses": [], "task": "", "note": "", "created_at": now, "changed_at": now, "version": 1,
    } | changes  # fmt: skip
