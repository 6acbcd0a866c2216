"""Opening a Core on the real world: its folder, clock, key, links and discovery. ``core.Core`` itself knows none of them."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.abc

from nano.core.core import Core
from nano.core.image_store import ImageStore
from nano.core.intake import Intake
from nano.core.settings import CoreSettings, ImageSettings
from nano.core.trust import CellTrust
from nano.core.vault import open_vault
from nano.domain.errors import Failure, NanoError
from nano.domain.image import Image
from nano.domain.zone import Zone
from nano.journal.engines.opening import log_for
from nano.journal.feed import Feed
from nano.journal.health import upkeep_of
from nano.journal.ledger import Ledger
from nano.transports.bulk import PORTS as IMAGE_PORTS
from nano.transports.bulk import serve_bulk
from nano.transports.discovery import DomainTriple, FoundCore, respond
from nano.transports.identity import NodeIdentity, load_or_create
from nano.transports.journal_signer import JournalSigner
from nano.transports.link import Link, Pipe
from nano.transports.messages import ImageSource, Message, Welcome
from nano.transports.node_files import write_node_card
from nano.transports.node_side import Listening, NodeSide
from nano.transports.settings import PORTS

log = logging.getLogger("nano.core")


class TakesNoOrders:
    """What Core offers on its links: nothing. Cells are asked and followed, they never ask."""

    async def on_request(self, link: Link, message: Message) -> Message:
        raise self._refusal(link, message)

    def on_follow(self, link: Link, message: Message) -> AsyncIterator[Message]:
        raise self._refusal(link, message)

    async def on_pipe(self, link: Link, message: Message) -> tuple[Message, Pipe | None]:
        raise self._refusal(link, message)

    def _refusal(self, link: Link, message: Message) -> NanoError:
        return Failure(f"Core takes no {type(message).__name__} from {link.remote.name}.", code="unknown_order")


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid.uuid4())


class ImageUrls:
    """Where cells fetch images; ``base`` is known once the image service listens."""

    def __init__(self, store: ImageStore) -> None:
        self.base = ""
        self._store = store

    def source(self, image: Image) -> ImageSource:
        # Only files that nobody but Core writes may be read where they are.
        near = str(self._store.path(image).absolute()) if image.kept else ""
        return ImageSource(image.id, f"{self.base}/images/{image.id}", image.size, image.sha256, image.format, near)

    def upload(self, image: Image) -> str:
        return f"{self.base}/uploads/{image.id}"


class CoreNode:
    """A Core with its outside. ``core`` answers; ``open_to_cells`` lets cells in."""

    def __init__(self, core: Core, identity: NodeIdentity, settings: CoreSettings, images: ImageUrls) -> None:
        self.core = core
        self.identity = identity
        self._settings = settings
        self._images = images

    async def serve_images(self, *, task_status: anyio.abc.TaskStatus[Listening]) -> None:
        """Give registered images to approved cells over HTTPS until cancelled."""
        listen, sharing = self._settings.listen, self.core.sharing
        async with anyio.create_task_group() as tasks:
            ports = listen.image_port or IMAGE_PORTS
            given = (sharing.file_of, sharing.may_fetch, sharing.upload_of)
            at: Listening = await tasks.start(serve_bulk, listen.host, ports, self.identity, *given)
            self._images.base = f"https://{at.address}"
            task_status.started(at)

    async def open_to_cells(self, api: str, *, task_status: anyio.abc.TaskStatus[Listening]) -> None:
        """Accept links and answer discovery until cancelled. ``api`` is the address told to those who ask."""
        from nano.transports import quic_link  # takes long to import, and the API answers before it is needed

        listen, domain = self._settings.listen, self._settings.domain
        core, epoch = self.core, self.core.ledger.log.epoch
        authority = self.identity.authority
        assert authority is not None
        side = NodeSide(self.identity, CellTrust(core.zone), TakesNoOrders())
        welcome = Welcome(name=core.name, domain=domain.name, version=core.version, epoch=epoch, approved=False)
        ports = listen.link_port or PORTS
        async with anyio.create_task_group() as tasks:
            at: Listening = await tasks.start(quic_link.serve, listen.host, ports, side, welcome, core.cells.on_link)
            triple = DomainTriple(domain.name, domain.group, domain.port, listen.host)
            answer = FoundCore(
                domain=domain.name,
                name=core.name,
                link=at.address,
                api=api,
                authority=authority.fingerprint,
                version=core.version,
                epoch=epoch,
            )
            await tasks.start(respond, triple, answer)
            log.info("open to cells link=%s domain=%s group=%s:%d", at.address, domain.name, domain.group, domain.port)
            task_status.started(at)


@asynccontextmanager
async def open_core(folder: Path, settings: CoreSettings) -> AsyncIterator[CoreNode]:
    """Replay the journal in ``folder`` (a node's folder) and run Core on it. Raises JournalDamaged, JournalError, Invalid."""
    identity = load_or_create(
        folder / "config", "core", domain=settings.domain.name, addresses=[settings.listen.host], with_authority=True
    )
    vault = open_vault(folder / "config" / "secrets.key")
    name = f"Core_{identity.fingerprint[:12]}"
    path, signer = folder / "data" / "journal", JournalSigner(identity)
    journal = log_for(settings.journal, path, clock=utc_now, owner=name, signer=signer, limits=settings.archive.limits)
    write_node_card(folder, "core", name)
    zone = Zone(settings.limits())
    async with Ledger.open(journal, zone, clock=utc_now, new_id=new_id, feed=Feed()) as ledger:
        store = ImageStore(folder / "data" / "images")
        images = ImageUrls(store)
        upkeep = upkeep_of(folder, ledger, settings.backup, settings.alarms, settings.archive, utc_now)
        generation = f"{ledger.log.epoch}"
        core = Core(
            name,
            ledger,
            zone,
            clock=utc_now,
            source=images.source,
            images=store,
            upload_url=images.upload,
            vault=vault,
            intake=_intake(folder, settings.images),
            generation=generation,
            upkeep=upkeep,
            repair_every_s=settings.repair.every_minutes * 60,
        )
        async with core.running():
            yield CoreNode(core, identity, settings, images)


def _intake(folder: Path, settings: ImageSettings) -> Intake:
    """The folder that is named is somebody's; our own is made."""
    if settings.intake:
        return Intake(Path(settings.intake))
    own = folder / "data" / "intake"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Intake(own)
