"""A fake Core: the routes of /api/v2 that the portal uses, on rows in memory. No journal, no cells, no rights, no signatures.

Work becomes a task that goes through its steps with ``pace_s`` between them, and every change is told on the event stream,
so the portal sees what it would see of a real Core. ``refuse`` maps "METHOD /path" to a problem it shall answer with.
"""

import copy
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

from nano.ui.mirror import COLLECTIONS
from nano.ui.mirror import KEY_OF as KEY
from nano.ui.testing.fake_batches import begin_batch
from nano.ui.testing.fake_display import display_of
from nano.ui.testing.fake_drift import FakeDrift
from nano.ui.testing.fake_guests import AFTER, PLAN, SAID, changed, guest_row, text_of, work
from nano.ui.testing.fake_images import image_routes, image_row
from nano.ui.testing.fake_inside import inside_routes
from nano.ui.testing.fake_past import FakePast, problem, settle
from nano.ui.testing.fake_plain import MADE, patched

Row = dict[str, Any]
KIND_OF = {path: kind for kind, path in COLLECTIONS.items()}
EVENT = {"running": "guest.started", "stopped": "guest.stopped"}


class FakeCore:
    """``app`` is the ASGI application; the rows are open to tests. ``run`` must run while tasks are to go on."""

    def __init__(self, pace_s: float = 0.05) -> None:
        self.pace_s = pace_s
        self.rows: dict[str, dict[str, Row]] = {kind: {} for kind in KEY}
        self.facts: list[Row] = []
        self.refuse: dict[str, Row] = {}
        self.asked: list[tuple[str, str, str, Any]] = []
        self.usage: Row = {"cells": {}, "guests": {}}
        self.away = False
        self.listed: Counter[str] = Counter()
        self.followed_after = -1
        self.tokens: dict[str, str] = {}
        self._moved = anyio.Event()
        self._told: list[Row] = []
        self._then: dict[int, Row | None] = {}  # by id of a fact, the row that came of it
        self._past = FakePast(self.facts, self._then)
        self._work: list[tuple[Row, str]] = []
        self._given = anyio.Event()
        self.found = FakeDrift(self)
        v2 = "/api/v2"
        self.app = Starlette(
            routes=[
                Route(v2 + "/events", self._events),
                Route(v2 + "/placement", self._placement),
                Route(v2 + "/journal", self._journal),
                Route(v2 + "/zone", self._zone),
                *self.found.routes(v2),
                *image_routes(self, v2),
                Route(v2 + "/batches/{action}", self._batch, methods=["POST"]),
                Route(v2 + "/{collection}", self._list),
                Route(v2 + "/{collection}", self._make, methods=["POST"]),
                Route(v2 + "/{collection}/{key}", self._show),
                Route(v2 + "/{collection}/{key}", self._change, methods=["PATCH", "DELETE"]),
                Route(v2 + "/{collection}/{key}/history", self._history),
                Route(v2 + "/guests/{key}/console", self._console, methods=["POST"]),
                Route(v2 + "/guests/{key}/serial", self._console, methods=["POST"]),
                *inside_routes(v2 + "/guests/{key}"),
                Route(v2 + "/guests/{key}/{verb:path}", self._change_guest, methods=["POST", "PATCH", "DELETE"]),
                Route(v2 + "/{collection}/{key}/{verb}", self._act, methods=["POST"]),
                WebSocketRoute(v2 + "/console/{token}", display_of(self.tokens)),
            ]
        )

    # ------------------------------------------------------------------ rows

    def put(
        self, kind: str, row: Row, event: str = "", /, actor: str = "admin", at: datetime | None = None, **data: Any
    ) -> Row:
        """Store a row as the outcome of an event, and tell."""
        self.rows[kind][row[KEY[kind]]] = row
        self.record(f"{kind}/{row[KEY[kind]]}", event or f"{kind}.changed", actor, at, data)
        row["version"] = self.facts[-1]["version"]
        return row

    def show(self, kind: str, key: str, row: Row | None) -> None:
        """An alarm or a backup, which is no fact: there from now on, or gone (None)."""
        if row is None:
            self.rows[kind].pop(key, None)
        else:
            self.rows[kind][key] = row
        self.tell({"name": "change", "data": {"position": None, "resource": f"{kind}/{key}", "row": row}})

    def drop(self, kind: str, key: str, event: str, actor: str = "admin") -> None:
        self.rows[kind].pop(key, None)
        self.record(f"{kind}/{key}", event, actor, None, {})

    def record(self, resource: str, event: str, actor: str, at: datetime | None, data: Row) -> None:
        version = 1 + sum(fact["resource"] == resource for fact in self.facts)
        kind, _, key = resource.partition("/")
        cause = f"{actor}@{version}" if actor.startswith("cell/") else ""
        if kind == "task" and event != "task.started":
            cause = resource
        self.facts.append(
            {
                "position": len(self.facts) + 1,
                "at": text_of(at or datetime.now(UTC)),
                "actor": actor,
                "command_id": f"{key}/{version}" if cause == resource else "" if cause else str(uuid.uuid4()),
                "cause": cause,
                "resource": resource,
                "version": version,
                "event": {"type": event, **data},
            }
        )
        row = self._row(kind, key)
        self._then[id(self.facts[-1])] = copy.deepcopy(row)
        told = {**self.facts[-1], "type": event, "row": row}
        self.tell({"name": "change", "id": len(self.facts), "data": told})

    def settle(self) -> None:
        """Bring what was recorded so far into the order of its times; nobody may have listened yet."""
        settle(self.facts)
        self._told.clear()

    def measure(self, usage: Row) -> None:
        self.usage = usage
        self.tell({"name": "usage", "data": usage})

    def tell(self, message: Row) -> None:
        self._told.append(copy.deepcopy(message))
        moved, self._moved = self._moved, anyio.Event()
        moved.set()

    def _row(self, kind: str, key: str) -> Row | None:
        return self.rows.get(kind, {}).get(key)

    def _found(self, kind: str, key: str) -> Row | None:
        return self._row(kind, key) or next((row for row in self.rows[kind].values() if row.get("name") == key), None)

    def task(self, kind: str, resource: str, name: str, steps: list[str], actor: str = "admin") -> Row:
        now = datetime.now(UTC)
        row = {
            "id": str(uuid.uuid4()), "kind": kind, "state": "running", "resource": resource, "resource_name": name,
            "actor": actor, "progress": 0, "step": steps[0], "steps": [], "plan": steps, "started_at": text_of(now),
            "ended_at": None, "deadline_at": text_of(now + timedelta(minutes=30)), "error": None, "undone": [], "version": 1,
        }  # fmt: skip
        return self.put("task", row, "task.started", actor, kind=kind)

    async def run(self) -> None:
        """Carry out work until cancelled."""
        async with anyio.create_task_group() as group:
            while True:
                await self._given.wait()
                work, self._work, self._given = self._work, [], anyio.Event()
                for task, outcome in work:
                    group.start_soon(self._carry_out, task, outcome)

    async def _carry_out(self, task: Row, outcome: str) -> None:
        for number, name in enumerate(task["plan"]):
            began = text_of(datetime.now(UTC))
            step = {"name": name, "state": "running", "started_at": began, "ended_at": None, "detail": ""}
            task["steps"].append(step)
            task["step"] = name
            self.put("task", task, "task.step_started", name=name)
            for part in (30, 70):
                await anyio.sleep(self.pace_s)
                task["progress"] = int((number + part / 100) * 100 / len(task["plan"]))
                self.tell({"name": "change", "data": {"position": None, "resource": f"task/{task['id']}", "row": task}})
            if task["state"] == "cancelling":
                step["state"] = "failed"
                self._end(task, "cancelled", outcome)
                return
            step |= {"state": "done", "ended_at": text_of(datetime.now(UTC))}
            self.put("task", task, "task.step_ended", name=name, outcome="done")
        self._end(task, "done", outcome)

    def _end(self, task: Row, state: str, outcome: str) -> None:
        key = task["resource"].partition("/")[2]
        guest = self._row("guest", key)
        if guest is not None and (outcome == "deleted" or (state == "cancelled" and guest["state"] == "creating")):
            self.drop("guest", key, "guest.deleted")
        elif guest is not None:
            guest |= {"task": "", "state": outcome if state == "done" else guest["state"]}
            if guest["state"] != "running":
                guest |= {"agent": False, "addresses": []}
            self.put("guest", guest, EVENT.get(guest["state"], "guest.changed"))
        image = self._row("image", key)
        if image is not None:
            image |= {"task": "", "format": "qcow2", "size": 31 << 20, "virtual_size": 64 << 20, "sha256": "ab" * 32}
            self.put("image", image, "image.registered", format="qcow2")
        percent = 100 if state == "done" else task["progress"]
        task |= {"state": state, "ended_at": text_of(datetime.now(UTC)), "progress": percent}
        self.put("task", task, "task.ended", outcome=state)

    async def refusal(self, request: Request) -> Response | None:
        body, path = await request.body(), request.url.path.removeprefix("/api/v2")
        told = orjson.loads(body) if body else None
        self.asked.append((request.method, path, request.headers.get("nano-actor", ""), told))
        refused = self.refuse.get(f"{request.method} {path}")
        return JSONResponse(refused, refused["status"]) if refused else None

    def leave(self) -> None:
        """Answer nothing any more, until ``away`` is False again."""
        self.away = True
        self.tell({"name": "usage", "data": self.usage})

    async def _list(self, request: Request) -> Response:
        if self.away:
            return problem(503, "core_unreachable", "Core is stopping.")
        kind = KIND_OF[request.path_params["collection"]]
        if "at" in request.query_params:
            return self._past.list(kind, request.query_params)
        items = list(self.rows[kind].values())
        last = max((fact["position"] for fact in self.facts if fact["resource"].startswith(kind + "/")), default=0)
        page = {"items": items, "total": len(items), "next": None, "position": last}
        self.listed[kind] += 1
        return JSONResponse(page, headers={"x-nano-position": str(len(self.facts))})

    async def _zone(self, request: Request) -> Response:
        return self._past.zone(request.query_params.get("at", str(len(self.facts))))

    async def _show(self, request: Request) -> Response:
        kind, key = KIND_OF[request.path_params["collection"]], request.path_params["key"]
        if at := request.query_params.get("at"):
            return self._past.show(kind, key, at)
        row = self._found(kind, key)
        return JSONResponse(row) if row else problem(404, "unknown_resource", "There is no such thing.")

    async def _make(self, request: Request) -> Response:
        if refused := await self.refusal(request):
            return refused
        kind, body = KIND_OF[request.path_params["collection"]], await request.json()
        if self._found(kind, body["name"]):
            return problem(409, "duplicate_name", f"The name {body['name']} is taken.", "Choose another name.")
        now = text_of(datetime.now(UTC))
        if kind in MADE:
            row = self.put(kind, MADE[kind](body, now), f"{kind}.created")
            return JSONResponse({"resource": f"{kind}/{row[KEY[kind]]}", "position": len(self.facts), "row": row}, 201)
        key = str(uuid.uuid4())
        if kind == "image":
            row = image_row(body["name"], id=key, created_at=now)
            task = self.task("image.register", f"image/{key}", body["name"], ["inspect"])
            self.put(kind, row | {"task": task["id"]}, "image.requested", path=body["path"])
            return await self.accepted(task, "ready")
        plan = ["make domain", *(["start"] if body["start"] else [])]
        task = self.task("guest.create", f"guest/{key}", body["name"], plan)
        cell = next(iter(self.rows["cell"]), "")
        self.put(kind, guest_row(body["name"], "creating", cell, id=key, cores=body["cores"], memory=body["memory"],
                                 disks=body["disks"], image_id=body["image"], task=task["id"], created_at=now),
                 "guest.requested", spec=body, cell=cell)  # fmt: skip
        return await self.accepted(task, "running" if body["start"] else "stopped")

    async def _batch(self, request: Request) -> Response:
        begun = await begin_batch(self, request)
        return begun if isinstance(begun, Response) else await self.accepted(*begun)

    async def accepted(self, task: Row, outcome: str) -> Response:
        self._work.append((task, outcome))
        self._given.set()
        return JSONResponse({"task": task, "resource": task["resource"], "position": len(self.facts)}, 202)

    async def _change(self, request: Request) -> Response:
        if refused := await self.refusal(request):
            return refused
        kind, key = KIND_OF[request.path_params["collection"]], request.path_params["key"]
        row = self._found(kind, key)
        if row is None:
            return problem(404, f"unknown_{kind}", f"There is no {kind} {key}.")
        if kind == "guest" and request.method == "PATCH":
            return await self._changed(request, row, "")
        if request.method == "PATCH":
            self.put(kind, patched(row, await request.json()), f"{kind}.modified", enabled=True)
        elif kind == "guest":
            task = self.task("guest.delete", f"guest/{row['id']}", row["name"], ["remove domain"])
            self.put(kind, row | {"state": "deleting", "task": task["id"]}, "guest.work_started", action="delete")
            return await self.accepted(task, "deleted")
        else:
            self.drop(kind, key, f"{kind}.deleted")
        return JSONResponse({"resource": f"{kind}/{key}", "position": len(self.facts), "row": self._row(kind, key)})

    async def _change_guest(self, request: Request) -> Response:
        verb, row = request.path_params["verb"], self._found("guest", request.path_params["key"])
        if verb in PLAN or row is None:
            request.path_params["collection"] = "guests"
            return await self._act(request)
        return await self.refusal(request) or await self._changed(request, row, verb)

    async def _changed(self, request: Request, row: Row, verb: str) -> Response:
        body = orjson.loads(await request.body() or b"{}")
        after = changed(row, request.method, verb, body, request.query_params)
        if after is None:
            return problem(404, "unknown_route", "There is no such command.")
        if verb in SAID:
            self.put("guest", after, f"guest.{'described' if verb == 'description' else verb + 'ed'}", **body)
            return JSONResponse({"resource": f"guest/{row['id']}", "position": len(self.facts), "row": after})
        kind = work(request.method, verb)
        task = self.task(kind, f"guest/{row['id']}", row["name"], ["change"])
        self.put("guest", after | {"task": task["id"]}, "guest.work_started", action=kind.partition(".")[2])
        return await self.accepted(task, str(row["state"]))

    async def _act(self, request: Request) -> Response:
        if refused := await self.refusal(request):
            return refused
        asked = request.path_params
        kind, key, verb = KIND_OF[asked["collection"]], asked["key"], asked["verb"]
        row = self._found(kind, key)
        if row is None:
            return problem(404, f"unknown_{kind}", f"There is no {kind} {key}.")
        if kind == "guest":
            task = self.task(
                f"guest.{verb.replace('-', '_')}", f"guest/{row['id']}", row["name"], [PLAN.get(verb, verb)]
            )
            self.put(kind, row | {"task": task["id"]}, "guest.work_started", action=verb.replace("-", "_"))
            return await self.accepted(task, AFTER.get(verb) or str(row["state"]))
        if kind == "task":
            self.put(kind, row | {"state": "cancelling"}, "task.cancel_requested", by="admin")
            row["state"] = "cancelling"
        elif verb == "add":
            self.put(
                kind, row | {"pool": (await request.json())["pool"], "state": "online"}, "cell.added", pool="default"
            )
        else:
            self.put(kind, row | {"enabled": verb == "enable"}, f"cell.{verb}d")
        return JSONResponse({"resource": f"{kind}/{key}", "position": len(self.facts), "row": self._row(kind, key)})

    async def _history(self, request: Request) -> Response:
        kind = KIND_OF[request.path_params["collection"]]
        resource = f"{kind}/{request.path_params['key']}"
        return JSONResponse(
            {"items": [fact for fact in self.facts[::-1] if fact["resource"] == resource][:100], "next": None}
        )

    async def _journal(self, request: Request) -> Response:
        return self._past.journal(request.query_params)

    async def _placement(self, request: Request) -> Response:
        need = int(request.query_params.get("memory", "0"))
        scores: list[Row] = []
        for name, cell in self.rows["cell"].items():
            if cell["pool"] != request.query_params.get("pool"):
                continue
            free = self.usage["cells"].get(name, {}).get("memory_available", cell["memory"])
            needs = request.query_params.get("needs", "").split(",")
            lacks = [one["name"] for one in cell["abilities"] if one["name"] in needs and not one["can"]]
            why = (
                ("cell_offline", "it is offline") if cell["state"] == "offline"
                else ("ability_missing", "it can't do what is asked for") if lacks
                else ("no_memory", f"{free / 2**30:.1f} GiB of memory is free") if free < need else ("", "")
            )  # fmt: skip
            points = 0.0 if why[0] else round(free / need, 1)
            scores.append({"cell": name, "score": points, "code": why[0], "reason": why[1], "lacks": lacks})
        best = max(
            (score for score in scores if not score["code"]), key=lambda score: float(score["score"]), default=None
        )
        verdict = {"cell": best["cell"] if best else "", "scores": scores, "code": "", "message": ""}
        if best is None:
            verdict |= {"code": "no_memory", "message": "No cell has enough memory."}
        if best is None and any(score["lacks"] for score in scores):
            verdict |= {"code": "ability_missing", "message": "No cell of the pool can do that."}
        return JSONResponse(verdict)

    async def _console(self, request: Request) -> Response:
        if refused := await self.refusal(request):
            return refused
        self.tokens[token := uuid.uuid4().hex] = request.url.path.rpartition("/")[2]
        expires = text_of(datetime.now(UTC) + timedelta(seconds=30))
        return JSONResponse({"token": token, "path": f"/api/v2/console/{token}", "expires_at": expires})

    async def _events(self, request: Request) -> Response:
        after = self.followed_after = int(request.headers.get("last-event-id", "0"))
        start = next((index for index, told in enumerate(self._told) if told.get("id", 0) > after), len(self._told))

        async def stream() -> AsyncIterator[bytes]:
            index = start
            yield _sse({"name": "usage", "data": self.usage})
            while not self.away:
                while index < len(self._told):
                    yield _sse(self._told[index])
                    index += 1
                await self._moved.wait()

        return StreamingResponse(stream(), media_type="text/event-stream")


def _sse(message: Row) -> bytes:
    identifier = b"id: %d\n" % message["id"] if "id" in message else b""
    return identifier + b"event: %b\ndata: %b\n\n" % (message["name"].encode(), orjson.dumps(message["data"]))
