"""One resource in full: its name and state as a headline, then every field, aligned.

Fields are shown in the order the API gives them; what this module does not know is shown as it is rather than left out.
Values too long for the terminal are folded under themselves.
"""

from typing import Any, Final

import msgspec

from nano.domain.ability import CAN, Ability
from nano.tools.display import words
from nano.tools.display.columns import guest_counts, state_of, task_took
from nano.tools.display.table import Row, print_grid
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text

SIZES: Final = frozenset({"memory", "memory_max", "disk", "size", "virtual_size"})
HEADLINE: Final = frozenset({"name", "state", "steps", "undone", "items", "abilities"})
ONLY_IF_SAID: Final = frozenset(
    {
        "task",
        "note",
        "error",
        "virt_note",
        "template",
        "description",
        "tags",
        "notes",
        "protected",
        "admin",
        "pending",
        "cores_max",
        "memory_max",
        "more_macs",
        "media",
        "recycled_until",
        "snapshots",
        "snapshot",
        "security",
        "unguarded",
        "own_addresses",
        "snapshot_schedule",
        "vnc",
    }
)
TITLES: Final = {
    "seen_at": "since",
    "mac": "MAC",
    "id": "id",
    "sha256": "SHA-256",
    "virt_type": "virtualisation",
    "virt_note": "because",
    "image_id": "image id",
    "virtual_size": "disk size",
    "resource_name": "name",
    "vnc": "VNC",
}


def print_card(terminal: Terminal, kind: str, row: Row) -> None:
    headline = Text(_name(kind, row), "bold")
    if state := state_of(kind, row):
        headline.append("  ").append(terminal.state(state))
    terminal.write(headline)
    _print_fields(terminal, kind, row)
    if kind == "task":
        _print_steps(terminal, row)
        print_items(terminal, row)
    print_abilities(terminal, row)
    if isinstance(row.get("error"), dict):
        _print_error(terminal, row["error"], row.get("undone") or [])


def print_abilities(terminal: Terminal, row: Row) -> None:
    """What a cell's host can do; what it can't first, with the reason."""
    told = [msgspec.convert(one, Ability) for one in row.get("abilities") or ()]
    if not told:
        return
    terminal.write(Text("its host", "dim"))
    print_grid(
        terminal,
        [
            [
                Text("  ").append(terminal.state("can" if one.can else "can't", CAN.get(one.name, one.name))),
                Text(one.why_not or one.detail, "dim"),
            ]
            for one in sorted(told, key=lambda one: one.can)
        ],
    )


def print_fields(terminal: Terminal, fields: list[tuple[str, str | Text]]) -> None:
    """Names dim on the left, values on the right, folded within the width."""
    rows = [(title, Text(value) if isinstance(value, str) else value) for title, value in fields]
    print_grid(terminal, [[Text(f"  {title}", "dim"), value] for title, value in rows])


def _name(kind: str, row: Row) -> str:
    if kind == "task":
        return f"{row.get('kind', 'task')} {row.get('resource_name') or ''}".strip()
    return str(row.get("name") or row.get("id") or kind)


def _print_fields(terminal: Terminal, kind: str, row: Row) -> None:
    fields: list[tuple[str, str | Text]] = []
    for name, value in row.items():
        if name in HEADLINE or (name in ONLY_IF_SAID and not value) or (name == "error" and isinstance(value, dict)):
            continue
        if kind == "task" and name in ("kind", "resource_name"):
            continue
        if kind == "compute_pool" and name == "guests":
            fields.append(("guests", guest_counts(row)))
            continue
        fields.append((TITLES.get(name, name.removesuffix("_at").replace("_", " ")), _value(terminal, name, value)))
    if kind == "task":
        fields.append(("took", task_took(row, terminal)))
    print_fields(terminal, fields)


def _value(terminal: Terminal, name: str, value: Any) -> str:
    if name.endswith("_at") and isinstance(value, str) and value:
        at = words.parse_time(value)
        return f"{words.ago(at, terminal.now())} ({words.exact(at, terminal.zone)})"
    if isinstance(value, bool):
        return words.yes(value)
    if name in SIZES:
        return words.size(value)
    if name == "disks":
        return words.sizes(value)
    if name == "snapshot_schedule" and isinstance(value, dict):
        return words.schedule(value)
    if name == "snapshots":
        return ", ".join(f"{one['name']} (here)" if one["current"] else str(one["name"]) for one in value)
    if name == "progress":
        return words.percent(value)
    if name == "vnc" and isinstance(value, dict):
        return f"{value['address']}, port {value['port']}"
    if name in ("security", "policy") and isinstance(value, dict):
        return words.policy(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner not in ("", None)) or words.NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(str(inner) for inner in value) or words.NOTHING
    return str(value) if value not in ("", None) else words.NOTHING


def _print_steps(terminal: Terminal, row: Row) -> None:
    steps: list[Row] = row.get("steps") or []
    if not steps:
        return
    terminal.write(Text("steps", "dim"))
    print_grid(
        terminal,
        [
            [
                Text("  ").append(terminal.state(str(step.get("state")), str(step.get("name")))),
                Text(task_took(step, terminal), "dim"),
                Text(str(step.get("detail") or "")),
            ]
            for step in steps
        ],
    )


def print_items(terminal: Terminal, row: Row) -> None:
    """What became of each guest of a batch, or of each file of a sync."""
    items: list[Row] = row.get("items") or []
    if not items:
        return
    terminal.write(Text("files" if row.get("kind") == "image.sync" else "guests", "dim"))
    print_grid(
        terminal,
        [
            [
                Text("  ").append(terminal.state(str(item.get("state")), str(item.get("name")))),
                Text(str(item.get("state")), "dim"),
                Text(str((item.get("error") or {}).get("message") or "")),
            ]
            for item in items
        ],
    )


def _print_error(terminal: Terminal, error: Row, undone: list[str]) -> None:
    why = Text(str(error.get("message", "")), "red")
    if error.get("hint"):
        why.append(f" {error['hint']}")
    rows = [[Text("why", "dim"), why.append(f" [{error.get('code', '')}]", "dim")]]
    if undone:
        rows.append([Text("undone", "dim"), Text("; ".join(undone))])
    print_grid(terminal, rows)
