"""Compute pool: a named set of cells that guests are placed on (features M01, M02)."""

from datetime import datetime
from typing import Final

import msgspec

from nano.domain.errors import Conflict, Invalid, Unknown
from nano.domain.facts import Command, Context, Emitted, Event, Model, Rules
from nano.domain.naming import require_name

DEFAULT_POOL = "default"


class ComputePool(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``storage`` and ``network`` name a storage pool and an address pool; empty = local disks, addresses unmanaged.
    ``linked_clones``: disks may lean on their cell's copy of an image; if not, they are copied whole."""

    name: str
    storage: str = ""
    network: str = ""
    failover: bool = False
    enabled: bool = True
    linked_clones: bool = True
    created_at: datetime


class ComputePoolCreated(Event, frozen=True, kw_only=True, tag="compute_pool.created"):
    name: str
    storage: str = ""
    network: str = ""
    failover: bool = False
    linked_clones: bool = True


class ComputePoolModified(Event, frozen=True, kw_only=True, tag="compute_pool.modified"):
    storage: str
    network: str
    failover: bool
    enabled: bool
    linked_clones: bool = True


class ComputePoolDeleted(Event, frozen=True, tag="compute_pool.deleted"):
    pass


class CreateComputePool(Command, frozen=True, kw_only=True, tag="compute_pool.create"):
    """Make an empty compute pool."""

    name: str
    storage: str = ""
    network: str = ""
    failover: bool = False
    linked_clones: bool = True


class ModifyComputePool(Command, frozen=True, kw_only=True, tag="compute_pool.modify"):
    """Change a compute pool; what is left out stays as it is."""

    pool: str
    storage: str | None = None
    network: str | None = None
    failover: bool | None = None
    enabled: bool | None = None
    linked_clones: bool | None = None


class DeleteComputePool(Command, frozen=True, kw_only=True, tag="compute_pool.delete"):
    """Delete a compute pool that holds no cell."""

    pool: str


def pool_named(model: Model, name: str) -> ComputePool:
    pool = model.get(f"compute_pool/{name}")
    if not isinstance(pool, ComputePool):
        raise Unknown(
            f"There is no compute pool {name!r}.",
            code="unknown_compute_pool",
            hint="List compute pools to see their names.",
        )
    return pool


def check_backing(storage: str, network: str, failover: bool) -> None:
    """Refuse what the pool could not stand on: unknown storage or address pool, failover without shared storage."""
    if storage:
        raise Unknown(
            f"There is no storage pool {storage!r}.",
            code="unknown_storage_pool",
            hint="Leave storage empty for local disks.",
        )
    if network:
        raise Unknown(
            f"There is no address pool {network!r}.", code="unknown_address_pool", hint="Leave network empty."
        )
    if failover:
        raise Invalid(
            "Failover needs shared storage, and this pool keeps disks on each cell.",
            code="failover_needs_shared_storage",
            hint="Give the pool a shared storage pool first.",
            field="failover",
        )


def decide_create(model: Model, command: CreateComputePool, context: Context) -> list[Emitted]:
    name = require_name(command.name, "pool name")
    if model.get(f"compute_pool/{name}") is not None:
        raise Conflict(f"A compute pool {name!r} exists already.", code="duplicate_name", hint="Choose another name.")
    check_backing(command.storage, command.network, command.failover)
    event = ComputePoolCreated(
        name=name,
        storage=command.storage,
        network=command.network,
        failover=command.failover,
        linked_clones=command.linked_clones,
    )
    return [Emitted(f"compute_pool/{name}", event)]


def decide_modify(model: Model, command: ModifyComputePool, context: Context) -> list[Emitted]:
    pool = pool_named(model, command.pool)

    wanted = ComputePoolModified(
        storage=pool.storage if command.storage is None else command.storage,
        network=pool.network if command.network is None else command.network,
        failover=pool.failover if command.failover is None else command.failover,
        enabled=pool.enabled if command.enabled is None else command.enabled,
        linked_clones=pool.linked_clones if command.linked_clones is None else command.linked_clones,
    )
    if all(getattr(pool, field) == getattr(wanted, field) for field in wanted.__struct_fields__):
        raise Conflict(f"Pool {pool.name} is like that already.", code="no_change", hint="Nothing needs to be done.")
    check_backing(wanted.storage, wanted.network, wanted.failover)
    return [Emitted(f"compute_pool/{pool.name}", wanted)]


def evolve_created(state: ComputePool | None, event: ComputePoolCreated, at: datetime) -> ComputePool:
    return ComputePool(
        name=event.name,
        storage=event.storage,
        network=event.network,
        failover=event.failover,
        linked_clones=event.linked_clones,
        created_at=at,
    )


def evolve_modified(state: ComputePool, event: ComputePoolModified, at: datetime) -> ComputePool:
    return msgspec.structs.replace(
        state,
        storage=event.storage,
        network=event.network,
        failover=event.failover,
        enabled=event.enabled,
        linked_clones=event.linked_clones,
    )


def evolve_deleted(state: ComputePool, event: ComputePoolDeleted, at: datetime) -> None:
    return None


RULES: Final = Rules(
    decide={CreateComputePool: decide_create, ModifyComputePool: decide_modify},
    evolve={
        ComputePoolCreated: evolve_created,
        ComputePoolModified: evolve_modified,
        ComputePoolDeleted: evolve_deleted,
    },
    states={"compute_pool": ComputePool},
)
