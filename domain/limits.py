"""Every ceiling of the control plane that is not a law of nature, in one typed struct (architecture.md, rule 8)."""

from datetime import timedelta

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    guests_per_cell: int = 100  # product default `max_guest` (nano-behaviour §21)
    cpu_percent_busy: float = 80.0  # no new guest on a cell busier than this (nano-behaviour §3)
    overcommit: int = 3  # promised resources may exceed physical ones this many times (nano-behaviour §3)
    create_deadline: timedelta = timedelta(minutes=30)  # copying a large image takes most of it
    change_deadline: timedelta = timedelta(minutes=30)  # a reset copies an image
    snapshot_deadline: timedelta = timedelta(minutes=30)  # a large memory is written to disk
    power_deadline: timedelta = timedelta(minutes=5)
    stop_patience_s: float = 120.0  # a guest that ignores the power button this long fails the stop
    migrate_deadline: timedelta = timedelta(hours=4)  # copying large disks takes most of it
    delete_deadline: timedelta = timedelta(minutes=10)
    recycle_hours: int = 7 * 24  # that a guest rests in the recycle bin unless it is said otherwise
    batch_deadline: timedelta = timedelta(hours=2)
    batch_items: int = 500  # guests that one request makes, starts, stops or deletes
    batch_at_once: int = 24  # of them that are worked on at the same time on one cell
    templates: int = 1000
    image_deadline: timedelta = timedelta(minutes=60)
    upload_deadline: timedelta = timedelta(hours=24)
    build_deadline: timedelta = timedelta(hours=4)
    uploads_max: int = 16  # images being uploaded or built at the same time
    sync_files: int = 500  # of the intake folder that are looked at by one sync
    images_quota: int = 0  # bytes that images may have in Core's own folder; 0 = what the disk has
    cell_silence_s: float = 15.0  # without a heartbeat this long a cell is offline (nano-behaviour §1)
    tasks_kept: int = 2000  # ended tasks held in memory; older ones live in the journal


LIMITS = Limits()
