"""Opening a FrontEnd on the real world: its folder, its key, and the portal on one HTTP port. ``frontend`` knows none.

When it is cancelled, open pages are told to go, then the listener, then the journal close, in that order.
"""

import json
import logging
import os
import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import uvicorn

import nano
from nano.domain.errors import Failure
from nano.domain.office import Office
from nano.http.listener import Listener
from nano.http.wire import BoundedProtocol
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.health import upkeep_of
from nano.journal.ledger import Ledger
from nano.transports.identity import load_or_create
from nano.transports.journal_signer import JournalSigner
from nano.transports.node_files import write_node_card
from nano.ui.core_api import Find
from nano.ui.frontend import FrontEnd
from nano.ui.settings import Settings
from nano.ui.usage_ring import UsageRing

log = logging.getLogger("nano.ui")

GRACE_S: Final = 2
CONNECTIONS_MAX: Final = 2_000


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid.uuid4())


async def run_frontend(
    folder: Path,
    settings: Settings,
    find: Find,
    ready: Callable[[str], None],
    *,
    clock: Callable[[], datetime] = utc_now,
    ids: Callable[[], str] = new_id,
    usage: UsageRing | None = None,
) -> None:
    """Run the node until cancelled; ``ready(message)`` when pages are served. Raises JournalError, Failure(port_taken)."""
    office = Office()
    identity = load_or_create(folder / "config", "frontend", addresses=[settings.listen.host])
    name = f"FrontEnd_{identity.fingerprint[:12]}"
    write_node_card(folder, "frontend", name)
    path, signer = folder / "data" / "journal", JournalSigner(identity)
    journal = CommitLog(path, clock=clock, signer=signer, limits=settings.archive.limits)
    async with Ledger.open(journal, office, clock=clock, new_id=ids, feed=Feed()) as ledger:
        upkeep = upkeep_of(folder, ledger, settings.backup, settings.alarms, settings.archive, clock)
        frontend = FrontEnd(
            name, ledger, office, find, settings, clock=clock, generation=ids(), usage=usage, upkeep=upkeep
        )
        listener = _listen(settings.listen.host, settings.listen.port)
        server = _server(frontend.app, settings)
        try:
            async with frontend.running(), anyio.create_task_group() as group:
                await group.start(serve_http, server, listener)
                address = _write_endpoint(folder, settings.listen.host, listener.getsockname()[1])
                if settings.metrics.port:
                    from nano.http.metrics import NodeMetrics  # its library is wanted by few
                    from nano.http.metrics_page import serve_metrics

                    group.start_soon(serve_metrics, settings.metrics, NodeMetrics("frontend", frontend.health, clock))
                ready(f"portal at {address}")
                try:
                    await anyio.sleep_forever()
                finally:
                    frontend.hub.close()
        finally:
            (folder / "run" / "endpoint.json").unlink(missing_ok=True)
            listener.close()


def _server(app: object, settings: Settings) -> Listener:
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]  # an ASGI application
        http=BoundedProtocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="websockets-sansio",
        ws_max_size=4 << 20,
        proxy_headers=settings.listen.https,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=GRACE_S,
    )
    return Listener(config)


async def serve_http(
    server: Listener, listener: socket.socket, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
) -> None:
    """Answer until cancelled; then it ends in order (``GRACE_S``), not in the middle of an answer."""
    started = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await started(sockets)
        task_status.started()

    async def serve() -> None:
        with anyio.CancelScope(shield=True):
            await server.serve(sockets=[listener])

    server.startup = startup  # type: ignore[method-assign]
    async with anyio.create_task_group() as group:
        group.start_soon(serve)
        try:
            await anyio.sleep_forever()
        finally:
            server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise Failure(
            f"The portal can't listen on {host} port {port}: {error.strerror}.",
            code="port_taken",
            hint="Stop what uses it, or set another port in config/frontend.toml.",
        ) from error


def _write_endpoint(folder: Path, host: str, port: int) -> str:
    """``run/endpoint.json``: where the portal answers."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    address = f"http://{shown}:{port}"
    path = folder / "run" / "endpoint.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"portal": address, "version": nano.__version__, "pid": os.getpid()}) + "\n")
    os.replace(fresh, path)
    return address
