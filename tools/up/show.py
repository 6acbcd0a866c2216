"""What ``up`` shows: the table of where everything is, and the live view of nodes, guests and open tasks."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import anyio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nano.domain.errors import Unreachable
from nano.http.client import ApiError, AsyncSignedClient
from nano.tools.up import nodes, zone
from nano.tools.up.outcome import Outcome

STATE_STYLES: Final = {
    "running": "green",
    "online": "green",
    "stopped": "dim",
    "failed": "red",
    "lost": "red",
    "offline": "red",
}
GUESTS_SHOWN: Final = 20
TASKS_SHOWN: Final = 8
REFRESH_S: Final = 1.0
RETRY_S: Final = 0.5


def summary(outcome: Outcome, seconds: Mapping[str, float]) -> Group:
    """Where to go, what runs, and how long each step took."""
    table = Table(show_header=False, title="Nano runs", title_justify="left", title_style="bold")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("Portal", f"[link={outcome.portal}]{outcome.portal}[/link]")
    table.add_row("API", outcome.api)
    if guest := outcome.guest:
        table.add_row(
            "Guest",
            Text.assemble(guest["name"], " is ", styled(guest["state"]), ", agent answers" if guest["agent"] else ""),
        )
        table.add_row("Cell", guest["cell"])
        table.add_row(
            "Address", ", ".join(guest["addresses"]) or "none: the bridge is isolated and gives out no addresses yet"
        )
        table.add_row("Console", f"{outcome.portal}/guests/{guest['id']}/console")
        table.add_row("Login there", "root, password nano")
    table.add_row("State", str(outcome.state))
    parts: list[Any] = [table]
    if seconds:
        times = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        times.add_column()
        times.add_column(justify="right")
        for title, taken in seconds.items():
            times.add_row(title, f"{taken:.1f} s", style="dim")
        parts.append(times)
    return Group(*parts)


def styled(state: str) -> Text:
    return Text(state, style=STATE_STYLES.get(state, "yellow"))


class LiveView:
    """Follows Core's events and draws until cancelled, or until no node runs any more."""

    def __init__(self, console: Console, state: Path, client: AsyncSignedClient) -> None:
        self._console = console
        self._state = state
        self._client = client
        self._rows: dict[str, dict[str, zone.Row]] = {"guest": {}, "cell": {}, "task": {}}
        self._usage: dict[str, Any] = {}
        self._started = time.monotonic()

    async def run(self) -> None:
        if not self._console.is_terminal:
            await nodes.all_gone(self._state)
            return
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            async with anyio.create_task_group() as group:
                group.start_soon(self._follow)
                group.start_soon(self._draw_again, live)
                await nodes.all_gone(self._state)
                group.cancel_scope.cancel()

    async def _draw_again(self, live: Live) -> None:
        while True:
            live.update(self._draw(), refresh=True)
            await anyio.sleep(REFRESH_S)

    async def _follow(self) -> None:
        """Rows as they change. While Core is away the last ones stay, and the nodes' line says that it is."""
        while True:
            try:
                position = 0
                for kind, rows in self._rows.items():
                    page = (await self._client.request("GET", f"/api/v2/{kind}s", params={"limit": 100})).json()
                    rows.clear()
                    rows.update({row["id"] if kind != "cell" else row["name"]: row for row in page["items"]})
                    position = (
                        max(position, int(page["position"])) if position == 0 else min(position, int(page["position"]))
                    )
                async with zone.stream(self._client, position, *self._rows, "usage") as events:
                    async for event in events:
                        self._take(event.event, event.json())
            except (Unreachable, ApiError):
                self._usage = {}
            await anyio.sleep(RETRY_S)

    def _take(self, name: str, data: dict[str, Any]) -> None:
        if name == "usage":
            self._usage = data
        elif name == "change":
            kind, _, key = str(data["resource"]).partition("/")
            if kind in self._rows:
                if data["row"] is None:
                    self._rows[kind].pop(key, None)
                else:
                    self._rows[kind][key] = data["row"]

    def _draw(self) -> Panel:
        hint = "[dim]Ctrl-C stops the nodes; guests stay as they are[/]"
        parts: list[RenderableType] = [self._nodes(), self._cells(), self._guests(), *self._tasks()]
        spaced: list[RenderableType] = [piece for part in parts for piece in (part, "")][:-1]
        return Panel(
            Group(*spaced),
            title="[bold]Nano[/]",
            title_align="left",
            subtitle=hint,
            subtitle_align="left",
            padding=(1, 2),
        )

    def _nodes(self) -> Text:
        line = Text()
        for node in reversed(nodes.STOP_ORDER):
            process = nodes.running(self._state, node)
            line.append("● ", style="green" if process else "red")
            line.append(f"nano-{node} ", style="bold")
            line.append(f"pid {process.pid}   " if process else "stopped   ", style="dim")
        return line.append(f"up {_duration(time.monotonic() - self._started)}", style="dim")

    def _cells(self) -> Table:
        table = _columns("Cell", "State", "Pool", "Guests", "CPU", "Memory free")
        for row in self._rows["cell"].values():
            used = self._usage.get("cells", {}).get(row["name"], {})
            free = used.get("memory_available")
            cpu = f"{used['cpu_percent']:.0f} %" if used else "–"
            table.add_row(
                row["name"],
                styled(row["state"]),
                row["pool"] or "–",
                str(row["guests"]),
                cpu,
                f"{free >> 20} MiB" if free else "–",
            )
        return table

    def _guests(self) -> Table:
        table = _columns("Guest", "State", "Agent", "Cell", "CPU", "Memory used")
        rows = sorted(self._rows["guest"].values(), key=lambda row: row["name"])
        for row in rows[:GUESTS_SHOWN]:
            used = self._usage.get("guests", {}).get(row["id"], {})
            cpu = f"{used['cpu_percent']:.0f} %" if used else "–"
            memory = f"{used['memory_used'] >> 20} MiB" if used else "–"
            table.add_row(
                row["name"], styled(row["state"]), "answers" if row["agent"] else "–", row["cell"] or "–", cpu, memory
            )
        if len(rows) > GUESTS_SHOWN:
            table.add_row(f"and {len(rows) - GUESTS_SHOWN} more", "", "", "", "", "")
        return table

    def _tasks(self) -> list[Table]:
        open_tasks = [row for row in self._rows["task"].values() if row["state"] not in ("done", "failed", "cancelled")]
        if not open_tasks:
            return []
        table = _columns("Task", "On", "Step", "Progress")
        for row in open_tasks[:TASKS_SHOWN]:
            table.add_row(row["kind"], row["resource_name"] or row["resource"], row["step"], f"{row['progress']} %")
        return [table]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _columns(*names: str) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 3, 0, 0))
    for name in names:
        table.add_column(name)
    return table
