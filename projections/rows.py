"""The rows that the API shows, and how each is made from states. Sizes in bytes, times in UTC.

A row is a frozen struct so that its fields can be filtered on, described in OpenAPI, and encoded once.
"""

from datetime import datetime
from typing import Literal

import msgspec

from nano.domain.ability import Ability
from nano.domain.alarm import Alarm
from nano.domain.cell import Cell
from nano.domain.compute_pool import ComputePool
from nano.domain.guest import Guest
from nano.domain.image import Image
from nano.domain.machine import DiskLimits, Hardware, NetworkLimits, Priority
from nano.domain.security import SecurityPolicy
from nano.domain.task import Item, Problem, Step, Task
from nano.domain.template import System, Template
from nano.projections.snapshot_rows import SnapshotRow, SnapshotScheduleRow, schedule_row, snapshot_rows

GuestState = Literal["creating", "stopped", "running", "paused", "crashed", "lost", "missing", "recycled", "deleting"]
CellState = Literal["discovered", "online", "offline"]


class VncRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where VNC viewers reach the guest while it runs; its secret is told on demand."""

    address: str
    port: int


class GuestRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``state`` lost = its cell is offline, missing = its domain vanished. ``note`` says why it last changed power. A
    ``linked`` one has a system disk that leans on its image. ``pending`` names the fields that take effect at its next start;
    ``cores_max`` and ``memory_max`` (0 = none) how far it can grow while it runs; a ``protected`` one is not deleted, nor its
    disks; ``media`` is the id of the image in its drive; ``template`` named its hardware; ``admin`` is the account whose password
    Nano can tell. A recycled one rests in the bin and is deleted ``recycled_until`` then. Without ``security`` everything comes
    through to it; unless ``unguarded`` it sends from its MACs only, and from ``own_addresses`` where it was made with some.
    Without ``vnc`` no VNC viewer is let in."""

    id: str
    name: str
    state: GuestState
    pool: str
    cell: str
    owner: str
    cores: int
    memory: int
    disks: tuple[int, ...]
    image: str
    image_id: str
    linked: bool
    mac: str
    more_macs: tuple[str, ...]
    autostart: bool
    template: str
    hardware: Hardware
    priority: Priority
    disk_limits: DiskLimits
    network_limits: NetworkLimits
    security: SecurityPolicy | None
    unguarded: bool
    own_addresses: tuple[str, ...]
    media: str
    pending: tuple[str, ...]
    cores_max: int
    memory_max: int
    description: str
    tags: tuple[str, ...]
    notes: str
    protected: bool
    admin: str
    recycled_until: datetime | None
    snapshots: tuple[SnapshotRow, ...]
    snapshot_schedule: SnapshotScheduleRow | None
    vnc: VncRow | None
    agent: bool
    addresses: tuple[str, ...]
    task: str
    note: str
    created_at: datetime
    changed_at: datetime
    version: int


class ComputePoolRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``guests`` counts by state."""

    name: str
    storage: str
    network: str
    failover: bool
    enabled: bool
    linked_clones: bool
    cells: int
    guests: dict[str, int]
    created_at: datetime
    version: int


class CellRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``pool`` empty = discovered and waiting. ``fingerprint`` is what adding it approves. ``abilities``: what probes of its
    host found, none = not told. Cells with the same ``storage`` see each other's volumes."""

    name: str
    pool: str
    state: CellState
    enabled: bool
    address: str
    fingerprint: str
    cores: int
    memory: int
    disk: int
    virt_type: str
    virt_note: str
    hypervisor: str
    abilities: tuple[Ability, ...]
    storage: str
    guests: int
    error: str
    seen_at: datetime
    version: int


class ImageRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A disk image or a media image. ``task`` names the task that still makes it; sizes are 0 until then. ``kept``: its file
    is Core's own; ``wanted``: bytes that its upload is to bring."""

    id: str
    name: str
    format: str
    size: int
    virtual_size: int
    sha256: str
    kept: bool
    wanted: int
    owner: str
    description: str
    tags: tuple[str, ...]
    task: str
    created_at: datetime
    version: int


class TemplateRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``admin`` is the account that administers such a system; guests made with it get ``policy``, unless they are given one."""

    id: str
    name: str
    operating_system: System
    admin: str
    hardware: Hardware
    policy: SecurityPolicy | None
    created_at: datetime
    modified_at: datetime
    version: int


class TaskRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``progress`` in percent; ``step`` in words; ``undone`` tells what was taken back; ``items`` are the guests of a batch
    or the files of a sync."""

    id: str
    kind: str
    state: Literal["running", "cancelling", "undoing", "done", "failed", "cancelled"]
    resource: str
    resource_name: str
    actor: str
    progress: int
    step: str
    steps: tuple[Step, ...]
    started_at: datetime
    ended_at: datetime | None
    deadline_at: datetime
    error: Problem | None
    undone: tuple[str, ...]
    items: tuple[Item, ...]
    version: int


class BackupRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How a node stands with its backups. ``folder`` empty = none are made; ``position`` is how far the last one reaches,
    ``trouble`` why the last try failed."""

    node: str
    kind: str
    folder: str
    last_at: datetime | None
    position: int
    next_at: datetime | None
    trouble: str


Row = GuestRow | ComputePoolRow | CellRow | ImageRow | TemplateRow | TaskRow | Alarm | BackupRow


def own_state(guest: Guest) -> GuestState:
    """Whatever its cell does."""
    return guest.power if guest.phase == "ready" else guest.phase


def seen_state(own: GuestState, cell: Cell | None) -> GuestState:
    """What readers are told: of a ready guest nobody knows while its cell is offline."""
    return own if own in ("creating", "recycled", "deleting") or (cell is not None and cell.online) else "lost"


def guest_row(guest: Guest, version: int, cell: Cell | None) -> GuestRow:
    spec = guest.spec
    return GuestRow(
        id=guest.id,
        name=spec.name,
        state=seen_state(own_state(guest), cell),
        pool=guest.pool,
        cell=guest.cell,
        owner=guest.owner,
        cores=spec.cores,
        memory=spec.memory,
        disks=spec.disks,
        image=guest.image_name,
        image_id=spec.image,
        linked=spec.linked,
        mac=spec.mac,
        more_macs=spec.more_macs,
        autostart=spec.autostart,
        template=guest.template,
        hardware=spec.hardware,
        priority=spec.priority,
        disk_limits=spec.disk_limits,
        network_limits=spec.network_limits,
        security=spec.security,
        unguarded=spec.unguarded,
        own_addresses=spec.own_addresses,
        media=spec.media,
        pending=guest.pending,
        cores_max=spec.cores_max,
        memory_max=spec.memory_max,
        description=guest.description,
        tags=guest.tags,
        notes=guest.notes,
        protected=guest.protected,
        admin=guest.admin,
        recycled_until=guest.recycled_until,
        snapshots=snapshot_rows(guest),
        snapshot_schedule=schedule_row(guest.snapshot_schedule),
        vnc=VncRow(address=guest.vnc.address, port=guest.vnc.port) if guest.vnc else None,
        agent=guest.agent,
        addresses=guest.addresses,
        task=guest.task,
        note=guest.note,
        created_at=guest.created_at,
        changed_at=guest.changed_at,
        version=version,
    )


def pool_row(pool: ComputePool, version: int, cells: int, guests: dict[str, int]) -> ComputePoolRow:
    return ComputePoolRow(
        name=pool.name,
        storage=pool.storage,
        network=pool.network,
        failover=pool.failover,
        enabled=pool.enabled,
        linked_clones=pool.linked_clones,
        cells=cells,
        guests=guests,
        created_at=pool.created_at,
        version=version,
    )


def cell_row(cell: Cell, version: int, guests: int) -> CellRow:
    state: CellState = "offline" if not cell.online else "online" if cell.pool else "discovered"
    return CellRow(
        name=cell.name,
        pool=cell.pool,
        state=state,
        enabled=cell.enabled,
        address=cell.address,
        fingerprint=cell.fingerprint,
        cores=cell.cores,
        memory=cell.memory,
        disk=cell.disk,
        virt_type=cell.virt_type,
        virt_note=cell.virt_note,
        hypervisor=cell.hypervisor,
        abilities=cell.abilities,
        storage=cell.storage,
        guests=guests,
        error=cell.error,
        seen_at=cell.seen_at,
        version=version,
    )


def image_row(image: Image, version: int) -> ImageRow:
    return ImageRow(
        id=image.id,
        name=image.name,
        format=image.format,
        size=image.size,
        virtual_size=image.virtual_size,
        sha256=image.sha256,
        kept=image.kept,
        wanted=image.wanted,
        owner=image.owner,
        description=image.description,
        tags=image.tags,
        task=image.task,
        created_at=image.created_at,
        version=version,
    )


def template_row(template: Template, version: int) -> TemplateRow:
    return TemplateRow(
        id=template.id,
        name=template.name,
        operating_system=template.operating_system,
        admin=template.admin,
        hardware=template.hardware,
        policy=template.policy,
        created_at=template.created_at,
        modified_at=template.modified_at,
        version=version,
    )


def task_row(task: Task, version: int, live: tuple[int, str] | None) -> TaskRow:
    """``live`` = percent of the open step and its words, as last heard from whoever does it."""
    running = next((step.name for step in task.steps if step.state == "running"), "")
    share = 100 / max(1, len(task.items or task.plan))
    progress = (
        100 if task.state == "done" else min(99, int(task.parts_done * share + (live[0] * share / 100 if live else 0)))
    )
    return TaskRow(
        id=task.id,
        kind=task.kind,
        state=task.state,
        resource=task.resource,
        resource_name=task.resource_name,
        actor=task.actor,
        progress=progress,
        step=(live[1] if live and live[1] and not task.ended else running),
        steps=task.steps,
        started_at=task.started_at,
        ended_at=task.ended_at,
        deadline_at=task.deadline_at,
        error=task.error,
        undone=task.undone,
        items=task.items,
        version=version,
    )
