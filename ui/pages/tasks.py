"""Tasks: what is being done and what was, step by step; cancel."""

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from nano.domain.errors import NanoError, Unknown
from nano.ui.mirror import OPEN_TASKS, Mirror
from nano.ui.pages.history import read_history
from nano.ui.portal import Portal, back_path, portal_of
from nano.ui.visit import Visit

PAGE = 50


async def tasks(request: Request) -> Response:
    portal, visit = portal_of(request)
    state = request.query_params.get("state", "")[:20]
    resource = request.query_params.get("resource", "")[:100]
    every = [task for task in portal.mirror.tasks() if resource in ("", task["resource"])]
    groups = {
        "open": [task for task in every if task["state"] in OPEN_TASKS],
        "failed": [task for task in every if task["state"] == "failed"],
    }
    shown = groups.get(state, every)
    number = request.query_params.get("page", "1")
    pages = max(1, -(-len(shown) // PAGE))
    page = max(1, min(int(number) if number.isdigit() and len(number) < 6 else 1, pages))
    context = {
        "shown": shown[(page - 1) * PAGE : page * PAGE],
        "counts": {name: len(group) for name, group in groups.items()} | {"": len(every)},
        "state": state if state in groups else "",
        "resource": resource,
        "page": page,
        "pages": pages,
        "watch": "",
    }
    return portal.page(
        visit, "tasks/list.html" if request.query_params.get("part") == "list" else "tasks.html", context
    )


async def task_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    task_id = str(request.path_params["task"])
    task = portal.mirror.get("task", task_id)
    if task is None:  # the answer to a command may be here before the stream has told of its task
        try:
            task = await portal.core.get(f"/tasks/{task_id}", visit.caller)
        except NanoError as error:
            if error.status != 404:
                raise
            return await _old_task(portal, visit, task_id)
    if not isinstance(task, dict):
        raise Unknown("There is no such task.", code="unknown_task", hint="Old tasks are kept in the journal.")
    context: dict[str, Any] = {"task": task, "watch": "", "resource_url": _link(portal.mirror, task["resource"])}
    context |= await read_history(portal, visit, f"/tasks/{task_id}")
    name = "task/body.html" if request.query_params.get("part") == "body" else "task.html"
    return portal.page(visit, name, context)


async def _old_task(portal: Portal, visit: Visit, task_id: str) -> Response:
    """Of a task that ended long ago the journal still tells. Raises Core's refusal where there never was one."""
    await portal.core.get(f"/tasks/{task_id}/history", visit.caller, {"limit": 1})
    return RedirectResponse(f"/journal?resource=task/{task_id}", 303)


async def cancel(request: Request) -> Response:
    portal, visit = portal_of(request)
    task_id = str(request.path_params["task"])
    try:
        await portal.core.ask("POST", f"/tasks/{task_id}/cancel", visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(request, back_path(request, f"/tasks/{task_id}"), visit.words._("The task is being cancelled"))


def _link(mirror: Mirror, resource: str) -> str:
    """The page of what a task is about; none once it is gone, and none for a batch, which is about itself."""
    kind, _, key = resource.partition("/")
    return resource_url(resource) if kind != "task" and kind in mirror.rows and mirror.get(kind, key) else ""


def resource_url(resource: str) -> str:
    """The page that shows a resource."""
    kind, _, key = resource.partition("/")
    return {
        "guest": f"/guests/{key}",
        "cell": f"/cells/{key}",
        "compute_pool": "/pools",
        "image": "/images",
        "media": "/media",
        "template": "/templates",
        "task": f"/tasks/{key}",
    }.get(kind, "")
