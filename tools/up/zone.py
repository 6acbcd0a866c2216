"""What ``up`` asks of Core once it answers: take the cell in, know the image, have the guest ``demo`` run.

Each question first looks at what is there, so that a second run changes nothing. Waiting follows Core's event stream, from the
position of the row that was looked at; a stream that breaks is begun anew, within the deadline.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, cast

import anyio

from nano.domain.errors import DeadlineExceeded, Failure, Unreachable
from nano.http.client import ApiError, AsyncSignedClient
from nano.http.event_lines import ServerEvent

DEMO: Final = "demo"
IMAGE: Final = "tiny"
POOL: Final = "default"
CORES: Final = 1
MEMORY: Final = 128 << 20  # bytes
CELL_TIMEOUT_S: Final = 60.0
TASK_TIMEOUT_S: Final = 300.0
AGENT_TIMEOUT_S: Final = 180.0  # seconds under emulation on a busy machine; 5 to 10 on an idle one
RESUME_PAUSE_S: Final = 0.2

log = logging.getLogger("nano.tools.up")

Row = dict[str, Any]
Progress = Callable[[int], None]  # percent


async def take_in_cell(client: AsyncSignedClient, name: str) -> Row:
    """Wait until the cell has found Core, add it to the pool unless it is in one, wait until it is online."""
    cell = await await_row(
        client, "cell", name, lambda row: row["state"] != "offline", CELL_TIMEOUT_S, "has not found Core"
    )
    if not cell["pool"]:
        await client.request("POST", f"/api/v2/cells/{name}/add", json={"pool": POOL})
    return await await_row(
        client, "cell", name, lambda row: row["state"] == "online", CELL_TIMEOUT_S, "did not come online"
    )


async def know_image(client: AsyncSignedClient, path: Path, progress: Progress) -> Row:
    """The row of image ``tiny``, registered from ``path`` unless Core knows it."""
    found = await find(client, "image", IMAGE)
    if found is None:
        answer = await client.request("POST", "/api/v2/images", json={"name": IMAGE, "path": str(path)})
        await await_task(client, answer.json()["task"]["id"], progress)
        found = await find(client, "image", IMAGE)
    if found is None:
        raise Failure(
            f"Image {IMAGE} was registered and is not there.", code="image_missing", hint="Look at Core's log."
        )
    return found


async def have_demo(client: AsyncSignedClient, image: Row, progress: Progress) -> Row:
    """The guest ``demo``: created and started when there is none; one that exists is left as it is."""
    found = await find(client, "guest", DEMO)
    if found is not None:
        return found
    wish = {
        "name": DEMO,
        "cores": CORES,
        "memory": MEMORY,
        "disks": [image["virtual_size"]],
        "image": image["id"],
        "start": True,
    }
    answer = await client.request("POST", "/api/v2/guests", json=wish)
    await await_task(client, answer.json()["task"]["id"], progress)
    created = await find(client, "guest", DEMO)
    if created is None:
        raise Failure(f"Guest {DEMO} was created and is not there.", code="guest_missing", hint="Look at Core's log.")
    return created


async def settled_guest(client: AsyncSignedClient, guest_id: str) -> Row:
    """The guest's row once it can be believed: its agent answers, or its cell says that it does not run."""

    def settled(row: Row) -> bool:
        return bool(row["agent"]) or row["state"] in ("stopped", "crashed", "missing", "paused")

    return await await_row(client, "guest", guest_id, settled, AGENT_TIMEOUT_S, "runs, but its agent does not answer")


async def await_task(client: AsyncSignedClient, task_id: str, progress: Progress) -> Row:
    """Follow a task to its end. Raises Failure with the task's own error when it failed."""

    def ended(row: Row) -> bool:
        progress(int(row["progress"]))
        return row["state"] in ("done", "failed", "cancelled")

    task = await await_row(client, "task", task_id, ended, TASK_TIMEOUT_S, "has not ended")
    if task["state"] != "done":
        error = task["error"] or {}
        raise Failure(
            f"{task['kind']} of {task['resource_name'] or task['resource']} {task['state']}: {error.get('message', '')}",
            code=error.get("code", "task_failed"),
            hint=error.get("hint", ""),
        )
    return task


async def await_row(
    client: AsyncSignedClient, kind: str, name: str, fits: Callable[[Row], bool], timeout_s: float, otherwise: str
) -> Row:
    """The first version of a resource's row that ``fits``. Raises DeadlineExceeded("<kind> <name> <otherwise> …")."""
    with anyio.move_on_after(timeout_s):
        while True:
            try:
                position, row = await _row_now(client, kind, name)
                if row is not None and fits(row):
                    return row
                async with stream(client, position, kind) as events:
                    async for event in events:
                        row = _row_of(event.json(), kind, name) if event.event == "change" else None
                        if row is not None and fits(row):
                            return row
            except Unreachable as error:
                log.info("asking again reason=%s", error)
            await anyio.sleep(RESUME_PAUSE_S)  # the stream ended, or Core restarts; the deadline bounds the tries
    raise DeadlineExceeded(
        f"{kind.replace('_', ' ').capitalize()} {name} {otherwise} within {timeout_s:.0f} s.",
        code=f"{kind}_not_ready",
        hint=f"Look at the log files below the state folder (…/log), or at: nanoctl {kind.replace('_', '-')} show {name}.",
    )


def stream(client: AsyncSignedClient, position: int, *kinds: str) -> "aclosing[AsyncGenerator[ServerEvent, None]]":
    """Core's events after a position; left early, the connection is closed at once."""
    return aclosing(cast("AsyncGenerator[ServerEvent, None]", client.events(position, kinds=kinds)))


async def find(client: AsyncSignedClient, kind: str, name: str) -> Row | None:
    try:
        row: Row = (await client.request("GET", f"/api/v2/{kind}s/{name}")).json()
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return row


async def collection(client: AsyncSignedClient, kinds: str) -> list[Row]:
    """All rows of a collection (its first 1000)."""
    rows: list[Row] = (await client.request("GET", f"/api/v2/{kinds}", params={"limit": 1000})).json()["items"]
    return rows


async def _row_now(client: AsyncSignedClient, kind: str, name: str) -> tuple[int, Row | None]:
    """A position and the row no older than it: the position is read first, so nothing that happens after is missed."""
    position = (await client.request("GET", f"/api/v2/{kind}s", params={"limit": 1})).json()["position"]
    return int(position), await find(client, kind, name)


def _row_of(data: Any, kind: str, name: str) -> Row | None:
    """The row in a change of that resource."""
    row: Row | None = data.get("row") if isinstance(data, dict) else None
    if (
        row is None
        or str(data.get("resource", "")).split("/")[0] != kind
        or name not in (row.get("id"), row.get("name"))
    ):
        return None
    return row
