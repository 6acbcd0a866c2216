"""Disk images and media images: list, upload, build of a guest, register, edit, fetch, delete.

A file goes through this node in pieces that are passed on as they come; nothing of it is kept here. The browser takes the
digest, so what Core compares with is what the browser read.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from nano.domain.catalogue import COLLECTIONS
from nano.domain.errors import Invalid, NanoError, Unknown
from nano.ui.portal import Portal, explain, portal_of

EMPTY: Final = {"name": "", "path": "", "description": "", "tags": "", "guest": ""}
KIND_OF: Final = {"images": "image", "media": "media"}


async def images(request: Request) -> Response:
    portal, visit = portal_of(request)
    part = request.query_params.get("part") == "list"
    return portal.page(
        visit, "images/list.html" if part else "images.html", _context(portal, _kind(request), EMPTY, None)
    )


async def register(request: Request) -> Response:
    return await _begin(request, "/images", ("name", "path"))


async def build(request: Request) -> Response:
    return await _begin(request, "/images/build", ("name", "guest"))


async def sync(request: Request) -> Response:
    """To the page of its task, which tells of each file."""
    portal, visit = portal_of(request)
    try:
        answer = await portal.core.ask("POST", "/images/sync", visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    return RedirectResponse(f"/tasks/{answer['task']['id']}", 303)


async def _begin(request: Request, path: str, fields: tuple[str, ...]) -> Response:
    portal, visit = portal_of(request)
    form = {**EMPTY, **{field: visit.form.get(field, "").strip() for field in fields}}
    try:
        await portal.core.ask("POST", path, visit.caller, body={field: form[field] for field in fields})
    except NanoError as error:
        problem = explain(error, visit.words)
        return portal.page(visit, "images.html", _context(portal, "image", form, problem), status=error.status)
    return RedirectResponse("/images", 303)


async def begin_upload(request: Request) -> Response:
    """For the page's script: the id under which to send, of a new upload or of one that waits for its rest."""
    portal, visit = portal_of(request)
    kind, form = _kind(request), visit.form
    size = form.get("size", "")
    try:
        if not size.isdigit() or len(size) > 18:
            raise Invalid("That is no size of a file.", code="invalid_size", field="file")
        name = form.get("name", "").strip()
        waiting = next((row for row in portal.mirror.all(kind) if row["name"] == name and row["task"]), None)
        if waiting is not None and waiting["wanted"] == int(size):
            return JSONResponse({"id": waiting["id"]})
        body = {"name": name, "size": int(size), "description": form.get("description", ""), "tags": _tags(form)}
        if kind == "image":
            body["format"] = "qcow2" if form.get("format") == "qcow2" else "raw"
        path = "/images/upload" if kind == "image" else "/media"
        answer = await portal.core.ask("POST", path, visit.caller, body=body)
    except NanoError as error:
        return _told(request, error)
    return JSONResponse({"id": answer["resource"].partition("/")[2]})


async def send(request: Request) -> Response:
    """A piece, passed on as it comes."""
    portal, visit = portal_of(request)
    length, offset = request.headers.get("content-length", ""), request.query_params.get("offset", "")
    try:
        if not length.isdigit() or not offset.isdigit() or len(length + offset) > 36:
            raise Invalid("It is not said which bytes these are.", code="invalid_offset")
        return JSONResponse(
            await portal.core.send(
                f"{_address(request)}/content", visit.caller, int(offset), int(length), request.stream()
            )
        )
    except NanoError as error:
        return _told(request, error)


async def received(request: Request) -> Response:
    portal, visit = portal_of(request)
    try:
        return JSONResponse(await portal.core.get(f"{_address(request)}/received", visit.caller))
    except NanoError as error:
        return _told(request, error)


async def finish_upload(request: Request) -> Response:
    portal, visit = portal_of(request)
    try:
        body = {"sha256": visit.form.get("sha256", "")}
        await portal.core.ask("POST", f"{_address(request)}/finish", visit.caller, body=body)
    except NanoError as error:
        return _told(request, error)
    return JSONResponse({})


async def download(request: Request) -> Response:
    portal, visit = portal_of(request)
    row = _row(portal, request)
    wanted = {name: value for name in ("range", "if-range") if (value := request.headers.get(name))}
    status, headers, pieces = await portal.core.fetch_file(f"{_address(request)}/content", visit.caller, wanted)
    named = {"content-disposition": f'attachment; filename="{row["name"]}.{row["format"]}"'}

    async def passed_on() -> AsyncIterator[bytes]:
        async for piece in pieces:
            yield piece

    return StreamingResponse(passed_on(), status, headers={**headers, **named})


async def edit_page(request: Request) -> Response:
    portal, visit = portal_of(request)
    row = _row(portal, request)
    return portal.page(visit, "images/edit.html", _edit_context(_kind(request), row, None))


async def edit(request: Request) -> Response:
    portal, visit = portal_of(request)
    row, form = _row(portal, request), visit.form
    body = {"name": form.get("name", ""), "description": form.get("description", ""), "tags": _tags(form)}
    try:
        await portal.core.ask("PATCH", _address(request), visit.caller, body=body)
    except NanoError as error:
        context = _edit_context(_kind(request), {**row, **body}, explain(error, visit.words))
        return portal.page(visit, "images/edit.html", context, status=error.status)
    return RedirectResponse(f"/{COLLECTIONS[_kind(request)]}", 303)


async def delete(request: Request) -> Response:
    portal, visit = portal_of(request)
    kind, row = _kind(request), _row(portal, request)
    try:
        await portal.core.ask("DELETE", _address(request), visit.caller)
    except NanoError as error:
        return portal.refused(request, error)
    return portal.done(request, f"/{COLLECTIONS[kind]}", visit.words._("Image %(name)s is deleted", name=row["name"]))


def _kind(request: Request) -> str:
    return KIND_OF[request.url.path.split("/")[1]]


def _address(request: Request) -> str:
    """Core's path of the same thing."""
    return f"/{COLLECTIONS[_kind(request)]}/{request.path_params['image']}"


def _row(portal: Portal, request: Request) -> dict[str, Any]:
    row = portal.mirror.get(_kind(request), str(request.path_params["image"]))
    if row is None:
        raise Unknown("There is no such image.", code="unknown_image", hint="It may have been deleted.")
    return row


def _told(request: Request, error: NanoError) -> Response:
    """A refusal for the page's script, in the visitor's language."""
    _, visit = portal_of(request)
    words = explain(error, visit.words)
    return JSONResponse(
        {"code": error.code, "message": words.message, "hint": words.hint, **error.context}, error.status
    )


def _tags(form: Mapping[str, str]) -> list[str]:
    return form.get("tags", "").replace(",", " ").split()


def _edit_context(kind: str, row: dict[str, Any], problem: Any) -> dict[str, Any]:
    return {"kind": kind, "image": row, "problem": problem, "watch": ""}


def _context(portal: Portal, kind: str, form: dict[str, str], problem: Any) -> dict[str, Any]:
    rows = sorted(portal.mirror.all(kind), key=lambda image: str(image["name"]))
    used: dict[str, int] = {}
    for guest in portal.mirror.all("guest"):
        key = guest["image_id"] if kind == "image" else guest["media"]
        used[key] = used.get(key, 0) + 1
    guests = sorted(str(guest["name"]) for guest in portal.mirror.all("guest") if guest["state"] == "stopped")
    tasks = {task["id"]: task for task in portal.mirror.open_tasks()}
    return {
        "kind": kind,
        "images": rows,
        "form": form,
        "problem": problem,
        "used": used,
        "guests": guests,
        "tasks_of": tasks,
        "watch": "",
    }
