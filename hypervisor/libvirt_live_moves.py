"""``LiveMoves`` over libvirt: its peer-to-peer migration, with every connection of it through a UNIX socket.

libvirt 6.8 and later takes UNIX sockets for all three: the other libvirtd, QEMU's memory, the NBD server that the disks are
copied to. The source listens under the very paths under which the destination's QEMU does (``/run/libvirt/nano/<token>-…``), and
each connection is carried to the destination's socket of that name. The token is drawn for each move; the folder lists nothing.
"""

import logging
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import anyio
import libvirt
from anyio.abc import SocketStream

from nano.domain.errors import HostError, NanoError, Unknown
from nano.domain.machine import MachineSpec
from nano.hypervisor.blocking_calls import BlockingCalls
from nano.hypervisor.connection import LibvirtConnection
from nano.hypervisor.domain_xml import Place, domain_xml
from nano.hypervisor.host import DOMAIN_WRONG_STATE, Progress
from nano.hypervisor.libvirt_api import Connection, translated
from nano.hypervisor.live_moves import CHANNELS, Berth, Relay, as_there
from nano.hypervisor.own_domains import OwnDomains, tolerating
from nano.hypervisor.socket_channel import Channel, SocketChannel
from nano.hypervisor.volumes import Volumes

log = logging.getLogger("nano.hypervisor")

INSIDE: Final = "/run/libvirt"  # where libvirtd has its run folder
SOCKET: Final = "libvirt-sock"
AT_ONCE: Final = 2  # each takes one of the driver's threads until it is over
MOVE_LIMIT_S: Final = 4 * 3600.0
LOOK_EVERY_S: Final = 0.5  # libvirt tells no progress by itself
SETTLE_LIMIT_S: Final = 60.0
FLAGS: Final = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_PAUSED
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
)
IN_PLACE: Final = libvirt.VIR_MIGRATE_UNSAFE
"""libvirt calls it unsafe because it takes only some kinds of mounts for shared. That this one is was proved; QEMU writes out
what it holds of a disk before the other opens it, and drops what it had read (file-posix, drop-cache)."""


class LibvirtLiveMoves:
    def __init__(
        self, connection: LibvirtConnection, own: OwnDomains, calls: BlockingCalls, volumes: Volumes, place: Place
    ):
        self._connection = connection
        self._own = own
        self._calls = calls
        self._volumes = volumes
        self._place = place
        self._run = run_folder(connection.uri)
        self._limiter = anyio.CapacityLimiter(AT_ONCE)

    # ---- destination

    async def expect(self, guest_id: str, spec: MachineSpec, *, in_place: bool) -> Berth:
        if not in_place:
            await self._volumes.make(guest_id, spec, None, lambda _percent: None)
        await self._calls.run(self._make_folder, what="Making a folder for sockets")
        return Berth(
            token=secrets.token_hex(16),
            volumes=str(self._place.volumes),
            bridge=self._place.bridge,
            cell=self._place.cell,
            definition=domain_xml(guest_id, spec, self._place),
        )

    async def channel(self, token: str, name: str) -> Channel:
        if name not in CHANNELS or not token.isalnum():
            raise Unknown(f"There is no channel {name!r}.", code="unknown_order")
        path = self._run / SOCKET if name == "hypervisor" else self._run / "nano" / f"{token}-{name}"
        async with self._short(path) as short:
            try:
                return SocketChannel(await anyio.connect_unix(short))
            except OSError as error:
                raise HostError(f"Nobody listens for its {name}: {error.strerror}.", code="hypervisor_error") from None

    # ---- source

    async def move(
        self, guest_id: str, berth: Berth, relay: Relay, progress: Progress, *, in_place: bool
    ) -> float | None:
        async with self._limiter, AsyncExitStack() as stack:
            await self._own.need_active(guest_id, "moved")
            running = await self._connection.run(lambda c: read_migratable(c, guest_id), what="Reading the domain")
            await self._calls.run(self._make_folder, what="Making a folder for sockets")
            tasks = await stack.enter_async_context(anyio.create_task_group())
            for name in CHANNELS:
                await tasks.start(self._listen, f"{berth.token}-{name}", name, relay)
            try:
                flags = FLAGS | (IN_PLACE if in_place else libvirt.VIR_MIGRATE_NON_SHARED_DISK)
                return await self._migrate(guest_id, berth, as_there(running, berth), flags, progress)
            finally:
                tasks.cancel_scope.cancel()

    async def _migrate(self, guest_id: str, berth: Berth, there: str, flags: int, progress: Progress) -> float | None:
        ended = anyio.Event()
        stopped: list[float] = []
        failures: list[NanoError] = []

        async def job() -> None:
            try:
                await self._connection.run(
                    lambda c: migrate(c, guest_id, berth, there, flags),
                    what="Moving the guest",
                    deadline_s=MOVE_LIMIT_S,
                )
            except NanoError as error:
                failures.append(error)
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job)
            tasks.start_soon(self._tell, guest_id, progress)
            tasks.start_soon(self._see_it_stop, guest_id, stopped)
            try:
                await ended.wait()
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._abort(guest_id)
                    await ended.wait()
                raise
            tasks.cancel_scope.cancel()
        if failures and not await self.gone(guest_id):
            raise failures[0]
        return anyio.current_time() - stopped[-1] if stopped else None

    async def gone(self, guest_id: str) -> bool:
        with anyio.move_on_after(SETTLE_LIMIT_S):
            while await self._connection.run(lambda c: has_job(c, guest_id), what="Looking at the move"):
                await self._abort(guest_id)
                await anyio.sleep(LOOK_EVERY_S)
        now = await self._own.find(guest_id)
        self._connection.forget(guest_id)
        if now is not None and now.state == libvirt.VIR_DOMAIN_PAUSED:
            with tolerating(DOMAIN_WRONG_STATE):
                await self._own.act(guest_id, Connection.resume)
        return now is None

    async def _abort(self, guest_id: str) -> None:
        try:
            await self._connection.run(lambda c: abort(c, guest_id), what="Stopping the move")
        except HostError as error:
            log.info("move not stopped guest=%s code=%s reason=%s", guest_id, error.code, error.message)

    async def _tell(self, guest_id: str, progress: Progress) -> None:
        while True:
            await anyio.sleep(LOOK_EVERY_S)
            try:
                progress(await self._connection.run(lambda c: percent(c, guest_id), what="Looking at the move"))
            except NanoError as error:
                log.debug("progress of a move not known guest=%s code=%s", guest_id, error.code)

    async def _see_it_stop(self, guest_id: str, stopped: list[float]) -> None:
        """When its processors were stopped, to go on at the destination."""
        async for event in self._connection.listen():
            if event.guest_id == guest_id and event.state == "paused":
                stopped.append(anyio.current_time())

    async def _listen(self, file: str, name: str, relay: Relay, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        async def carry(stream: SocketStream) -> None:
            try:
                await relay(name, SocketChannel(stream))
            except NanoError as error:
                log.warning("channel of a move broke name=%s code=%s reason=%s", name, error.code, error.message)

        path = self._run / "nano" / file
        async with self._short(path) as short:
            listener = await anyio.create_unix_listener(short, mode=0o666)
        try:
            async with listener:
                task_status.started()
                await listener.serve(carry)
        finally:
            path.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        """QEMU makes its sockets there, as whatever user it is; nobody lists them."""
        folder = self._run / "nano"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1733)

    @asynccontextmanager
    async def _short(self, path: Path) -> AsyncIterator[str]:
        """A name of it that fits into a socket's address."""
        folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}/{path.name}"
        finally:
            os.close(folder)


def run_folder(uri: str) -> Path:
    """libvirtd's run folder as we see it; libvirtd itself, and its QEMUs, see it as INSIDE."""
    told = parse_qs(urlsplit(uri).query).get("socket")
    return Path(told[0]).parent if told else Path(INSIDE)


def read_migratable(connection: Connection, uuid: str) -> str:
    with translated("Reading the domain"):
        flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE
        return str(connection.domain(uuid).XMLDesc(flags))


def migrate(connection: Connection, uuid: str, berth: Berth, there: str, flags: int) -> None:
    base = f"{INSIDE}/nano/{berth.token}"
    parameters: dict[str, Any] = {
        libvirt.VIR_MIGRATE_PARAM_URI: f"unix://{base}-memory",
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: f"unix://{base}-disks",
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: there,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: berth.definition,
    }
    with translated("Moving the guest"):
        connection.domain(uuid).migrateToURI3(f"qemu+unix:///system?socket={base}-hypervisor", parameters, flags)


def abort(connection: Connection, uuid: str) -> None:
    with translated("Stopping the move"):
        connection.domain(uuid).abortJob()


def has_job(connection: Connection, uuid: str) -> bool:
    try:
        return bool(connection.domain(uuid).jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return False
        with translated("Looking at the move"):
            raise


def percent(connection: Connection, uuid: str) -> int:
    """Of what is known to be moved now: disks first, then memory."""
    with translated("Looking at the move"):
        stats = connection.domain(uuid).jobStats()
    total, left = stats.get("data_total", 0), stats.get("data_remaining", 0)
    return max(0, min(99, (total - left) * 100 // total)) if total else 0
