"""What runs on each kind of machine: the very ``Core``, ``CellNode`` and ``FrontEnd`` that the daemons run, with the
simulator's ports. Each opener is entered while a process lives, on a ledger that has been replayed.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher

from nano.cell.cell import CellNode
from nano.cell.image_cache import ImageCache
from nano.cell.viewers import VncOffer
from nano.core.core import Core
from nano.core.image_store import ImageStore
from nano.core.vault import Vault
from nano.domain.image import Image
from nano.domain.office import Office
from nano.domain.site import Site
from nano.domain.zone import Zone
from nano.http.app import make_app
from nano.http.credentials import FRONTEND, Credential, Credentials
from nano.journal.ledger import Ledger
from nano.journal.sealing import SealingKey
from nano.tools.simulator.images import IMAGES, ImageFiles, fetching, files_of
from nano.tools.simulator.upkeep import upkeep_of
from nano.transports.bulk_fetch import Carry
from nano.transports.messages import ImageSource
from nano.ui.core_api import CoreClient
from nano.ui.frontend import FrontEnd, Looks, load_looks

if TYPE_CHECKING:
    from nano.tools.simulator.cell_doors import SimulatedDoors
    from nano.tools.simulator.machine import Process

EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
KEY: Final = "a key of the simulator"
CREDENTIALS: Final = Credentials(
    [Credential("somebody", KEY, "administrator"), Credential("portal", KEY, FRONTEND)]  # ids and roles
)

Node = Core | CellNode | FrontEnd


@asynccontextmanager
async def open_core(process: "Process", ledger: Ledger) -> AsyncIterator[Node]:
    machine, zone = process.machine, ledger.model
    assert isinstance(zone, Zone)
    files = ImageFiles(process)
    core = Core(
        "Core_sim",
        ledger,
        zone,
        clock=machine.clock,
        source=_source,
        vault=Vault(bytes(32)),
        images=ImageStore(machine.folder / "kept", process.session),
        files=files.files,
        tools=files,
        generation=str(machine.starts),
        upkeep=upkeep_of(machine, ledger),
    )
    api = make_app(core, CREDENTIALS, clock=machine.clock)
    async with core.running():
        process.apps["api"] = api
        process.apps["images"] = files.served(core)
        try:
            yield core
        finally:
            api.begin_shutdown()


@asynccontextmanager
async def open_cell(
    process: "Process", ledger: Ledger, carry: Callable[["Process"], Carry], doors: "SimulatedDoors"
) -> AsyncIterator[Node]:
    machine, site = process.machine, ledger.model
    assert isinstance(site, Site)
    images = ImageCache(machine.folder / IMAGES, fetching(process, carry(process)), files=files_of(process))
    now = asyncio.get_running_loop().time
    cell = CellNode(
        machine.name,
        ledger,
        site,
        process.host,
        images,
        clock=machine.clock,
        now=now,
        outgoing=machine.folder / "out",
        peers=doors.of(process),
        vnc=VncOffer("192.0.2.1", range(5901, 6001), SealingKey(bytes(32)), machine.random.randbytes),
        upkeep=upkeep_of(machine, ledger),
    )
    async with cell.running():
        yield cell


@asynccontextmanager
async def open_frontend(
    process: "Process", ledger: Ledger, find: Callable[["Process"], Awaitable[CoreClient]]
) -> AsyncIterator[Node]:
    machine, office = process.machine, ledger.model
    assert isinstance(office, Office)

    async def find_core() -> CoreClient:
        return await find(process)

    frontend = FrontEnd(
        "FrontEnd_sim",
        ledger,
        office,
        find_core,
        clock=machine.clock,
        generation=str(machine.starts),
        looks=_looks(),
        hasher=CheapHasher(machine.random),
        token=lambda: machine.random.randbytes(32).hex(),
        workers=process.workers,
        upkeep=upkeep_of(machine, ledger),
    )
    async with frontend.running():
        process.apps["portal"] = frontend.app
        try:
            yield frontend
        finally:
            frontend.hub.close()


class CheapHasher:
    """argon2id at its cheapest, with salts from the seed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._argon2 = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

    def hash(self, password: str) -> str:
        return self._argon2.hash(password, salt=self._random.randbytes(16))

    def verify(self, hash: str, password: str) -> bool:  # the port's name
        return self._argon2.verify(hash, password)


@cache
def _looks() -> Looks:
    """Read and compiled once for all seeds of this process. Pages only show this clock."""
    return load_looks(lambda: EPOCH + timedelta(seconds=asyncio.get_running_loop().time()))


def fingerprint_of(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _source(image: Image) -> ImageSource:
    return ImageSource(image.id, f"https://core:5801/images/{image.id}", image.size, image.sha256, image.format)
