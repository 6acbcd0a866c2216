"""What the fake Core finds on its hosts that is not as its journal says: rows that a repair, or a removal, takes away."""

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nano.domain.inspection import PLANS, Repair

if TYPE_CHECKING:
    from nano.ui.testing.fake_core import FakeCore

Row = dict[str, Any]


def drift_row(guest: Row, attribute: str, expected: str, found: str, repair: Repair, where: str = "definition") -> Row:
    return {
        "guest": guest["name"],
        "guest_id": guest["id"],
        "cell": guest["cell"],
        "attribute": attribute,
        "where": where,
        "expected": expected,
        "found": found,
        "repair": repair,
        "plan": PLANS[repair],
    }


def orphan_row(cell: str, kind: str, name: str, guest_id: str, why: str) -> Row:
    return {"id": f"{cell}/{kind}/{name}", "cell": cell, "kind": kind, "name": name, "guest_id": guest_id, "why": why}


class FakeDrift:
    def __init__(self, core: "FakeCore") -> None:
        self._core = core
        self.drift: list[Row] = []
        self.orphans: list[Row] = []
        self.unasked: list[Row] = []

    def routes(self, v2: str) -> list[Route]:
        return [
            Route(v2 + "/drift", self._told),
            Route(v2 + "/orphans", self._told),
            Route(v2 + "/orphans/remove", self._remove, methods=["POST"]),
            Route(v2 + "/guests/{key}/repair", self._repair, methods=["POST"]),
        ]

    async def _told(self, request: Request) -> Response:
        rows = self.drift if request.url.path.endswith("/drift") else self.orphans
        return await self._core.refusal(request) or JSONResponse({"items": rows, "unasked": self.unasked})

    async def _remove(self, request: Request) -> Response:
        if refused := await self._core.refusal(request):
            return refused
        orphan = str((await request.json())["orphan"])
        cell = orphan.partition("/")[0]
        self.orphans = [row for row in self.orphans if row["id"] != orphan]
        task = self._core.task("orphans.remove", f"cell/{cell}", cell, ["remove orphan"])
        return await self._core.accepted(task, "")

    async def _repair(self, request: Request) -> Response:
        if refused := await self._core.refusal(request):
            return refused
        guest = self._core.rows["guest"][request.path_params["key"]]
        self.drift = [row for row in self.drift if row["guest_id"] != guest["id"] or row["repair"] == "not_here"]
        task = self._core.task("guest.repair", f"guest/{guest['id']}", guest["name"], ["repair"])
        self._core.put("guest", guest | {"task": task["id"]}, "guest.work_started", action="repair")
        return await self._core.accepted(task, str(guest["state"]))
