"""What the fake Core tells of a guest when somebody looks: the same of each."""

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nano.ui.testing.fake_display import serve_screen

INSIDE: dict[str, Any] = {
    "host_name": "web-1",
    "system": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.1.0-28-amd64",
    "memory": 1 << 30,
    "memory_used": 412 << 20,
    "interfaces": [
        {"name": "lo", "mac": "", "addresses": ["127.0.0.1/8", "::1/128"]},
        {"name": "ens3", "mac": "52:54:00:12:34:56", "addresses": ["10.0.0.21/24", "fe80::5054:ff:fe12:3456/64"]},
    ],
    "file_systems": [
        {"mount": "/", "device": "sda1", "type": "ext4", "size": 5 << 30, "used": 1900 << 20},
        {"mount": "/opt/data", "device": "sdb", "type": "xfs", "size": 20 << 30, "used": 3 << 30},
    ],
}
PASSWORD = "Kx7-not-secret"  # noqa: S105  of a guest that is not there
VNC_SECRET = "hT7kWq3m"  # noqa: S105  the same


async def serve_inside(request: Request) -> Response:  # noqa: ARG001
    return JSONResponse(INSIDE)


async def serve_password(request: Request) -> Response:  # noqa: ARG001
    return JSONResponse({"user": "root", "password": PASSWORD})


async def serve_vnc(request: Request) -> Response:  # noqa: ARG001
    return JSONResponse({"address": "127.0.0.1", "port": 5901, "secret": VNC_SECRET})


def inside_routes(guest: str) -> list[Route]:
    return [
        Route(guest + "/screenshot", serve_screen),
        Route(guest + "/inside", serve_inside),
        Route(guest + "/password/show", serve_password, methods=["POST"]),
        Route(guest + "/vnc/show", serve_vnc, methods=["POST"]),
    ]
