"""What the fake Core shows of an image, a row with nothing in it but what is told; and what a sync finds in its folder."""

import uuid
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

if TYPE_CHECKING:
    from nano.ui.testing.fake_core import FakeCore

_FOREIGN: Final = {
    "code": "image_not_raw",
    "message": "disk.raw begins as a VMDK file, it is no raw disk.",
    "hint": "Convert it to qcow2 first: qemu-img convert -O qcow2 OLD NEW.",
}

_NOTHING: Final[dict[str, Any]] = {
    "format": "",
    "size": 0,
    "virtual_size": 0,
    "sha256": "",
    "kept": False,
    "wanted": 0,
    "owner": "admin",
    "description": "",
    "tags": [],
    "task": "",
    "version": 1,
}


def image_row(name: str, **told: Any) -> dict[str, Any]:
    return {**_NOTHING, "name": name, **told}


def image_routes(core: "FakeCore", base: str) -> list[Route]:
    async def sync(request: Request) -> Response:
        if refused := await core.refusal(request):
            return refused
        task = core.task("image.sync", f"task/{uuid.uuid4()}", "intake", ["take in files"])
        nothing = {"guest": "", "task": "", "error": None}
        task["items"] = [
            {"name": "debian-13.qcow2", "state": "done", **nothing},
            {"name": "disk.raw", "state": "failed", **nothing, "error": _FOREIGN},
        ]
        return await core.accepted(task, "done")

    return [Route(base + "/images/sync", sync, methods=["POST"])]
