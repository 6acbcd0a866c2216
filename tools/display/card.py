"""One resource in full: its name and state as a headline, then every field, aligned.

Fields are shown in the order the API gives them; what this module does not know is shown as it is rather than left out.
Values too long for the terminal are folded under themselves.
"""

from typing import TYPE_CHECKING, Any, Final

from nano.tools.display import words
from nano.tools.display.columns import guest_counts, state_of, task_took
from nano.tools.display.table import Row
from nano.tools.display.terminal import Terminal

if TYPE_CHECKING:
    from rich.text import Text

SIZES: Final = frozenset({"memory", "disk", "size", "virtual_size"})
HEADLINE: Final = frozenset({"name", "state", "steps", "undone"})
ONLY_IF_SAID: Final = frozenset({"task", "note", "error", "virt_note"})
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
}


def print_card(terminal: Terminal, kind: str, row: Row) -> None:
    from rich.text import Text

    headline = Text()
    headline.append(_name(kind, row), style="bold")
    state = state_of(kind, row)
    if state:
        headline.append("  ")
        headline.append_text(terminal.state(state))
    terminal.show(headline)
    _print_fields(terminal, kind, row)
    if kind == "task":
        _print_steps(terminal, row)
    if isinstance(row.get("error"), dict):
        _print_error(terminal, row["error"], row.get("undone") or [])


def print_fields(terminal: Terminal, fields: list[tuple[str, "str | Text"]]) -> None:
    """Names dim on the left, values on the right, folded within the width."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for title, value in fields:
        grid.add_row("  " + title, Text(value) if isinstance(value, str) else value)
    terminal.show(grid)


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
    if name == "progress":
        return words.percent(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {inner}" for key, inner in value.items() if inner not in ("", None)) or words.NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(str(inner) for inner in value) or words.NOTHING
    return str(value) if value not in ("", None) else words.NOTHING


def _print_steps(terminal: Terminal, row: Row) -> None:
    from rich.table import Table
    from rich.text import Text

    steps: list[Row] = row.get("steps") or []
    if not steps:
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(3):
        grid.add_column()
    for step in steps:
        grid.add_row(
            Text("  ").append_text(terminal.state(str(step.get("state")), str(step.get("name")))),
            Text(task_took(step, terminal), style="dim"),
            Text(str(step.get("detail") or "")),
        )
    terminal.show(Text("steps", style="dim"))
    terminal.show(grid)


def _print_error(terminal: Terminal, error: Row, undone: list[str]) -> None:
    from rich.text import Text

    text = Text("why  ", style="dim").append(str(error.get("message", "")), style="red")
    if error.get("hint"):
        text.append(f" {error['hint']}", style="not dim")
    text.append(f" [{error.get('code', '')}]", style="dim")
    terminal.show(text)
    if undone:
        terminal.show(Text("undone  ", style="dim").append("; ".join(undone), style="not dim"))
