"""Opening a Cell on the real world: its folder, key, hypervisor and the link to Core. ``cell.CellNode`` knows none of them."""

import logging
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from random import Random, SystemRandom

import anyio
import anyio.to_thread

import nano
from nano.cell.cell import CellNode
from nano.cell.image_cache import Fetch, ImageCache, Progress
from nano.cell.image_work import SendFile
from nano.cell.settings import CellSettings, VncSettings
from nano.cell.viewers import VncOffer
from nano.domain.ability import KVM, VNC, Ability
from nano.domain.naming import require_name
from nano.domain.site import Site
from nano.hypervisor.host_probe import host_abilities
from nano.hypervisor.libvirt_host import LibvirtHost
from nano.hypervisor.virt_probe import VirtProbe, choose_virt_type
from nano.hypervisor.volumes import backing_files
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.health import upkeep_of
from nano.journal.ledger import Ledger
from nano.journal.sealing import open_key
from nano.transports import quic_link
from nano.transports.bulk_fetch import fetch, over_https
from nano.transports.bulk_send import send
from nano.transports.discovery import DomainTriple, discover
from nano.transports.identity import NodeIdentity, load_or_create
from nano.transports.journal_signer import JournalSigner
from nano.transports.messages import Hello, ImageSource
from nano.transports.node_files import write_node_card
from nano.transports.node_side import NodeSide
from nano.transports.peer_link import PeerLinks
from nano.transports.reconnect import keep_linked
from nano.transports.stream_link import StreamLink
from nano.transports.trust import FilePinStore, PinnedCore

log = logging.getLogger("nano.cell")

DISCOVER_S = 5.0


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    return str(uuid.uuid4())


class Uplink:
    """Finds Core and keeps one link to it; a new Core is obeyed only after it has approved this cell."""

    def __init__(self, cell: CellNode, identity: NodeIdentity, trust: PinnedCore, settings: CellSettings) -> None:
        self._cell = cell
        self._side = NodeSide(identity, trust, cell.offer)
        self._trust = trust
        self._settings = settings
        self._random: Random = SystemRandom()

    async def run(self) -> None:
        await keep_linked(self._find, quic_link.connect, self._side, self._hello, _until_lost, random=self._random)

    def _hello(self) -> Hello:
        epoch = self._trust.pin.epoch if self._trust.pin else 0
        domain = self._settings.domain.name
        return Hello(name=self._cell.name, kind="cell", domain=domain, version=nano.__version__, epoch=epoch)

    async def _find(self) -> AsyncIterator[str]:
        domain = self._settings.domain
        triple = DomainTriple(domain.name, domain.group, domain.port, self._settings.cell.address)
        answers = discover(triple, timeout_s=DISCOVER_S, random=self._random, addresses=domain.addresses)
        async with aclosing(answers):
            async for found in answers:
                yield found.link  # every one that answers: whoever is quickest need not be ours


async def _until_lost(link: StreamLink) -> None:
    """Nothing to do on the link ourselves: Core asks. Returns when it is gone."""
    await link.closed.wait()


@asynccontextmanager
async def open_cell(folder: Path, settings: CellSettings) -> AsyncIterator[tuple[CellNode, Uplink]]:
    """Replay the journal in ``folder`` (a node's folder), compare it with the host and run the cell.

    Raises JournalDamaged, JournalError, HostError, Invalid.
    """
    identity = load_or_create(folder / "config", "cell", addresses=[settings.cell.address])
    name = require_name(settings.cell.name or f"Cell_{identity.fingerprint[:12]}", "cell name")
    log.info("identity name=%s fingerprint=%s", name, identity.fingerprint)  # what an administrator compares
    data = folder / "data"
    write_node_card(folder, "cell", name)
    journal = CommitLog(data / "journal", clock=utc_now, signer=JournalSigner(identity))
    trust = PinnedCore(settings.domain.name, FilePinStore(data / "core.json"), identity)
    volumes = _volumes(folder, settings)
    images = ImageCache(_images(folder, name, settings), _fetching(identity), needed=lambda: backing_files(volumes))
    site = Site()
    async with Ledger.open(journal, site, clock=utc_now, new_id=new_id, feed=Feed()) as ledger:
        host = await _open_host(folder, name, settings)
        try:
            upkeep = upkeep_of(
                folder, ledger, settings.backup, settings.alarms, settings.archive, utc_now, volumes=volumes
            )
            cell = CellNode(
                name,
                ledger,
                site,
                host,
                images,
                clock=utc_now,
                now=time.monotonic,
                outgoing=data / "outgoing",
                send=_sending(identity),
                peers=_peers(identity, name, settings),
                vnc=VncOffer(settings.vnc.address, settings.vnc.ports, open_key(folder / "config" / "secrets.key")),
                upkeep=upkeep,
            )
            async with cell.running():
                yield cell, Uplink(cell, identity, trust, settings)
        finally:
            await host.close()


async def _open_host(folder: Path, name: str, settings: CellSettings) -> LibvirtHost:
    wanted = settings.hypervisor
    probe: VirtProbe = await anyio.to_thread.run_sync(choose_virt_type, folder / "data", wanted.virt_type)
    log.info("virtualisation type=%s reason=%s", probe.virt_type, probe.note)
    kvm = Ability(KVM, probe.virt_type == "kvm", "" if probe.virt_type == "kvm" else "told", probe.note)
    volumes = _volumes(folder, settings)
    host = await LibvirtHost.open(
        wanted.uri,
        volumes=volumes,
        virt_type=probe.virt_type,
        virt_note=probe.note,
        bridge=wanted.bridge,
        cell=name,
        zone=settings.domain.name,
        look=lambda: (*host_abilities(volumes, kvm, filtered_by=wanted.packet_filter), _viewers(settings.vnc)),
    )
    for ability in host.capabilities.abilities:
        log.info("ability name=%s can=%s reason=%s", ability.name, ability.can, ability.why_not or ability.detail)
    return host


def _viewers(settings: VncSettings) -> Ability:
    where = f"{settings.address}, {settings.first_port} – {settings.last_port}"
    return Ability(VNC, True, detail=where) if settings.address else Ability(VNC, False, "setting", "[vnc] address")


def _volumes(folder: Path, settings: CellSettings) -> Path:
    wanted = settings.hypervisor.volumes
    return Path(wanted) if wanted else folder / "data" / "volumes"


def _images(folder: Path, name: str, settings: CellSettings) -> Path:
    """Disks lean on images, so these are below a folder of volumes that other cells may see too, each cell's in its own."""
    chosen = settings.hypervisor.volumes
    return Path(chosen) / "images" / name if chosen else folder / "data" / "images"


def _peers(identity: NodeIdentity, name: str, settings: CellSettings) -> PeerLinks:
    hello = Hello(name=name, kind="cell", domain=settings.domain.name, version=nano.__version__)
    return PeerLinks(identity, hello, settings.cell.address)


def _sending(identity: NodeIdentity) -> SendFile:
    async def send_file(path: Path, url: str, progress: Progress) -> str:
        return await send(path, url, identity, progress=lambda done, size: progress(done * 100 // max(1, size)))

    return send_file


def _fetching(identity: NodeIdentity) -> Fetch:
    async def fetch_image(source: ImageSource, target: Path, progress: Progress) -> None:
        def told(done: int, size: int) -> None:
            progress(done * 100 // max(1, size))

        await fetch(source.url, source.size, source.sha256, target, over_https(identity), progress=told)

    return fetch_image
