"""What the fake Core does with batches, and the templates and the batch of the demo."""

import uuid
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from nano.domain.template import DEFAULTS
from nano.ui.testing.fake_guests import text_of
from nano.ui.testing.fake_plain import template_row

if TYPE_CHECKING:
    from nano.ui.testing.fake_core import FakeCore

FULL = {
    "code": "cells_full",
    "message": "Every cell of pool default holds the most guests allowed.",
    "hint": "Add a cell.",
}


def item(name: str, state: str = "done", guest: str = "", **changes: Any) -> dict[str, Any]:
    return {"name": name, "guest": guest, "state": state, "task": "", "error": None} | changes


async def begin_batch(core: "FakeCore", request: Request) -> tuple[dict[str, Any], str] | Response:
    """The task of a batch whose guests are there at once, or a refusal."""
    if refused := await core.refusal(request):
        return refused
    action, body = request.path_params["action"], await request.json()
    if action == "create":
        items = [item(f"{body['prefix']}_{number}") for number in range(body["count"])]
        title = body["prefix"]
    else:
        rows = [core.rows["guest"][guest] for guest in body["guests"]]
        items = [item(row["name"], guest=row["id"]) for row in rows]
        title = ", ".join(row["name"] for row in rows)
    task = core.task(f"batch.{action}", f"task/{uuid.uuid4()}", title, [f"{action} guests"])
    task["items"] = items
    return task, "stopped"


def demo_batches(core: "FakeCore", begin: datetime, now: datetime) -> None:
    for number, (name, admin, system, hardware) in enumerate(DEFAULTS):
        told = {"name": name, "operating_system": system, "admin": admin, "hardware": msgspec.to_builtins(hardware)}
        row = template_row(told, text_of(begin)) | {"id": str(uuid.UUID(int=number + 1, version=4))}
        core.put("template", row, "template.created", at=begin)
    items = [item(f"shop_{number}") for number in range(11)] + [item("shop_11", "failed", error=FULL)]
    start, end = now - timedelta(minutes=40), now - timedelta(minutes=39)
    step = {"name": "create guests", "state": "failed", "started_at": text_of(start), "ended_at": text_of(end)}
    step["detail"] = ""
    error = {
        "code": "batch_incomplete",
        "message": f"1 of 12 guests were not made: shop_11. shop_11: {FULL['message']}",
        "hint": "Each item says why; the others are done.",
    }
    task = core.task("batch.create", "", "shop", ["create guests"], actor="mei")
    task |= {"resource": f"task/{task['id']}", "items": items, "steps": [step], "state": "failed", "error": error}
    task |= {"started_at": text_of(start), "ended_at": text_of(end), "progress": 99, "step": ""}
    core.put("task", task, "task.ended", at=end, outcome="failed", error=error)
