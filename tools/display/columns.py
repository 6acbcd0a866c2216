"""Which columns a list of each kind shows, from the API's rows.

The first few columns of a kind are what one looks for at a glance (name, state, where, how big); ``-o wide`` adds the
rest. Cells read rows as plain JSON objects and never fail on a missing field: a newer or older Core must still be shown.
"""

from collections.abc import Callable
from typing import Any, Final

from nano.tools.display import words
from nano.tools.display.table import Column, Row
from nano.tools.display.terminal import Terminal
from nano.tools.display.text import Text

Shower = Callable[[Row, Terminal], str | Text]


def text(name: str) -> Shower:
    return lambda row, _terminal: str(row.get(name) or words.NOTHING)


def number(name: str) -> Shower:
    return lambda row, _terminal: str(row.get(name, words.NOTHING))


def size(name: str) -> Shower:
    return lambda row, _terminal: words.size(row.get(name))


def flag(name: str) -> Shower:
    return lambda row, _terminal: words.yes(row.get(name))


def since(name: str) -> Shower:
    def show(row: Row, terminal: Terminal) -> str:
        value = row.get(name)
        return words.ago(words.parse_time(value), terminal.now()) if value else words.NOTHING

    return show


def at(name: str) -> Shower:
    def show(row: Row, terminal: Terminal) -> str:
        value = row.get(name)
        return words.exact(words.parse_time(value), terminal.zone) if value else words.NOTHING

    return show


def state(row: Row, terminal: Terminal) -> Text:
    return terminal.state(str(row.get("state", "")))


def cell_state(row: Row) -> str:
    """What a cell's row amounts to: a disabled cell that is online is neither just one nor the other."""
    state = str(row.get("state", ""))
    return "disabled" if state == "online" and not row.get("enabled", True) else state


def image_state(row: Row) -> str:
    return "ready" if not row.get("task") else "receiving" if row.get("wanted") else "inspecting"


def backup_state(row: Row) -> str:
    if not row.get("folder"):
        return "off"
    return "failed" if row.get("trouble") else "made" if row.get("last_at") else "waiting"


def pool_state(row: Row) -> str:
    return "enabled" if row.get("enabled", True) else "disabled"


def guest_counts(row: Row) -> str:
    """ "12: 10 running, 2 stopped"."""
    guests: dict[str, int] = row.get("guests") or {}
    parts = ", ".join(f"{count} {state}" for state, count in sorted(guests.items()) if count)
    total = sum(guests.values())
    return f"{total}: {parts}" if parts else str(total)


def task_took(row: Row, terminal: Terminal) -> str:
    started, ended = row.get("started_at"), row.get("ended_at")
    if not started:
        return words.NOTHING
    until = words.parse_time(ended) if ended else terminal.now()
    return words.lasted((until - words.parse_time(started)).total_seconds())


def task_says(row: Row) -> str:
    """Why a task failed, or what it is doing."""
    error: dict[str, Any] | None = row.get("error")
    if error:
        return str(error.get("message", ""))
    return str(row.get("step") or words.NOTHING)


def task_subject(row: Row) -> str:
    return str(row.get("resource_name") or words.short(str(row.get("resource", "")).partition("/")[2])) or "-"


GUEST: Final = (
    Column("NAME", text("name")),
    Column("STATE", state, shorten=False),
    Column("CELL", text("cell"), 2),
    Column("CORES", number("cores"), 4, justify="right"),
    Column("MEMORY", size("memory"), 3, justify="right"),
    Column("DISK", lambda row, _: words.size(sum(row.get("disks") or ())), 3, justify="right"),
    Column("ADDRESS", lambda row, _: ", ".join(row.get("addresses") or ()) or words.NOTHING, 1),
    Column("CHANGED", since("changed_at"), 5),
    Column("IMAGE", text("image"), 6, wide=True),
    Column("POOL", text("pool"), 7, wide=True),
    Column("MAC", text("mac"), 8, wide=True),
    Column("AGENT", flag("agent"), 8, wide=True),
    Column("AUTOSTART", flag("autostart"), 9, wide=True),
    Column("OWNER", text("owner"), 9, wide=True),
    Column("CREATED", at("created_at"), 9, wide=True),
    Column("CHANGED AT", at("changed_at"), 9, wide=True),
    Column("ID", text("id"), 6, wide=True),
    Column("NOTE", text("note"), 9, wide=True, if_said=True),
)

COMPUTE_POOL: Final = (
    Column("NAME", text("name")),
    Column("STATE", lambda row, terminal: terminal.state(pool_state(row)), shorten=False),
    Column("CELLS", number("cells"), 1, justify="right"),
    Column("GUESTS", lambda row, _: guest_counts(row), 2),
    Column("STORAGE", lambda row, _: str(row.get("storage") or "local disks"), 3),
    Column("NETWORK", lambda row, _: str(row.get("network") or "unmanaged"), 4),
    Column("FAILOVER", flag("failover"), 5),
    Column("CREATED", since("created_at"), 6),
    Column("CREATED AT", at("created_at"), 9, wide=True),
    Column("VERSION", number("version"), 9, wide=True, justify="right"),
)

CELL: Final = (
    Column("NAME", text("name")),
    Column("STATE", lambda row, terminal: terminal.state(cell_state(row)), shorten=False),
    Column("POOL", text("pool"), 1),
    Column("GUESTS", number("guests"), 2, justify="right"),
    Column("CORES", lambda row, _: str(row.get("cores") or words.NOTHING), 4, justify="right"),
    Column("MEMORY", size("memory"), 3, justify="right"),
    Column("DISK", size("disk"), 3, justify="right"),
    Column("ADDRESS", text("address"), 5),
    Column("SINCE", since("seen_at"), 6),
    Column("ERROR", text("error"), 1, if_said=True),
    Column("VIRT", text("virt_type"), 7, wide=True),
    Column("HYPERVISOR", text("hypervisor"), 8, wide=True),
    Column("SINCE AT", at("seen_at"), 9, wide=True),
    Column("FINGERPRINT", lambda row, _: str(row.get("fingerprint", ""))[:16] or words.NOTHING, 8, wide=True),
    Column("VIRT NOTE", text("virt_note"), 9, wide=True),
)

IMAGE: Final = (
    Column("NAME", text("name")),
    Column("STATE", lambda row, terminal: terminal.state(image_state(row)), 1, shorten=False),
    Column("FORMAT", text("format"), 2),
    Column("SIZE", size("size"), 2, justify="right"),
    Column("DISK", size("virtual_size"), 1, justify="right"),
    Column("CREATED", since("created_at"), 3),
    Column("DESCRIPTION", text("description"), 4, if_said=True),
    Column("OWNER", text("owner"), 9, wide=True),
    Column("CREATED AT", at("created_at"), 9, wide=True),
    Column("SHA-256", lambda row, _: str(row.get("sha256", ""))[:16] or words.NOTHING, 8, wide=True),
    Column("ID", text("id"), 6, wide=True),
)


def _part(name: str) -> Shower:
    return lambda row, _: str((row.get("hardware") or {}).get(name) or words.NOTHING)


TEMPLATE: Final = (
    Column("NAME", text("name")),
    Column("SYSTEM", text("operating_system"), 1),
    Column("ADMIN", text("admin"), 2),
    Column("DISK", _part("disk"), 3),
    Column("NETWORK", _part("network"), 3),
    Column("DISPLAY", _part("display"), 4),
    Column("USB", _part("usb"), 5),
    Column("TABLET", _part("tablet"), 6),
    Column("ID", text("id"), 7, wide=True),
    Column("CHANGED", since("modified_at"), 8, wide=True),
)
MEDIA: Final = tuple(column for column in IMAGE if column.title not in ("FORMAT", "DISK"))

TASK: Final = (
    Column("TASK", lambda row, _: words.short(str(row.get("id", ""))), shorten=False),
    Column("KIND", text("kind"), 1),
    Column("OF", lambda row, _: task_subject(row)),
    Column("STATE", state, shorten=False),
    Column("DONE", lambda row, _: words.percent(row.get("progress", 0)), 3, justify="right"),
    Column("TOOK", task_took, 4, justify="right"),
    Column("WHO", text("actor"), 5),
    Column("STARTED", since("started_at"), 2),
    Column("SAYS", lambda row, _: task_says(row), 6, if_said=True, fold=True),
    Column("STARTED AT", at("started_at"), 9, wide=True),
    Column("ENDED AT", at("ended_at"), 9, wide=True),
    Column("ID", text("id"), 8, wide=True),
)

ALARM: Final = (
    Column("SEVERITY", lambda row, terminal: terminal.state(str(row.get("severity", ""))), shorten=False),
    Column("CODE", text("code"), 3),
    Column("OF", lambda row, _: str(row.get("resource", "")).partition("/")[2] or words.NOTHING, 2),
    Column("SINCE", since("since"), 1, shorten=False),
    Column("SAYS", text("message"), fold=True),
    Column("DO", text("hint"), 9, wide=True),
    Column("FOUND BY", text("node"), 9, wide=True),
    Column("SINCE AT", at("since"), 9, wide=True),
    Column("ID", text("id"), 9, wide=True),
)

BACKUP: Final = (
    Column("NODE", text("node")),
    Column("STATE", lambda row, terminal: terminal.state(backup_state(row)), shorten=False),
    Column("LAST", since("last_at"), 1),
    Column("NEXT", since("next_at"), 2),
    Column("POSITION", number("position"), 3, justify="right"),
    Column("IN", text("folder"), 4),
    Column("SAYS", text("trouble"), 5, if_said=True, fold=True),
    Column("LAST AT", at("last_at"), 9, wide=True),
    Column("NEXT AT", at("next_at"), 9, wide=True),
)

SNAPSHOT: Final = (
    Column("NAME", text("shown")),
    Column("NOW", lambda row, _: "here" if row.get("current") else "", shorten=False),
    Column("HOLDS", lambda row, _: words.held_by(row), 3),
    Column("DISK", lambda row, _: words.size(sum(row.get("disks") or ())), 4, justify="right"),
    Column("TAKEN", since("created_at"), 1),
    Column("SAYS", text("description"), 2, if_said=True, fold=True),
    Column("AFTER", text("parent"), 9, wide=True),
    Column("TAKEN AT", at("created_at"), 9, wide=True),
    Column("ID", text("id"), 8, wide=True),
)

COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "guest": GUEST,
    "compute_pool": COMPUTE_POOL,
    "cell": CELL,
    "image": IMAGE,
    "template": TEMPLATE,
    "media": MEDIA,
    "task": TASK,
    "alarm": ALARM,
    "backup": BACKUP,
}

STATE_OF: Final[dict[str, Callable[[Row], str]]] = {
    "cell": cell_state,
    "image": image_state,
    "media": image_state,
    "compute_pool": pool_state,
}


def state_of(kind: str, row: Row) -> str:
    """The word that ``terminal.state`` knows for a row of this kind."""
    rule = STATE_OF.get(kind)
    return rule(row) if rule is not None else str(row.get("state", ""))
