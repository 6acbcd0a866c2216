"""The command catalogue: every command and query people may use, once (architecture.md, "http/ and ui/").

Routes, OpenAPI, ``nanoctl`` verbs, the rights gate and the portal's buttons are all made from this table; a command that
is not here can't be reached from outside. Paths are relative to ``/api/v2``; ``{name}`` parts become the field of the
same name in the command.
"""

from typing import Final, Literal, NamedTuple

from nano.domain import batch as ba
from nano.domain import cell as ce
from nano.domain import cell_probe as cb
from nano.domain import compute_pool as cp
from nano.domain import guest_about as ga
from nano.domain import guest_bin as gb
from nano.domain import guest_change as gx
from nano.domain import guest_commands as gc
from nano.domain import guest_compact as gk
from nano.domain import guest_devices as gd
from nano.domain import guest_media as gm
from nano.domain import guest_migrate as mi
from nano.domain import guest_password as gp
from nano.domain import guest_repair as gr
from nano.domain import guest_rules as ru
from nano.domain import guest_snapshot as gs
from nano.domain import guest_vnc as gv
from nano.domain import image_commands as ic
from nano.domain import image_sync as iy
from nano.domain import orphan as orp
from nano.domain import snapshot_schedule as ss
from nano.domain import task as ta
from nano.domain import template as te
from nano.domain.facts import Command

Right = Literal["read", "operate", "administer"]
RIGHTS_OF_ROLE: Final[dict[str, frozenset[Right]]] = {
    "administrator": frozenset({"read", "operate", "administer"}),
    "operator": frozenset({"read", "operate"}),
    "reader": frozenset({"read"}),
}


class CommandEntry(NamedTuple):
    """``work`` = answered with 202 and a task. ``target`` is the kind of resource it is about."""

    name: str
    command: type[Command]
    method: Literal["POST", "PATCH", "DELETE"]
    path: str
    right: Right
    target: str
    work: bool = False
    success: int = 200

    @property
    def summary(self) -> str:
        return (self.command.__doc__ or "").split("\n")[0].strip()


class QueryEntry(NamedTuple):
    """``parameters`` are names of query parameters; ``kind`` the collection it reads (empty = something of its own)."""

    name: str
    path: str
    kind: str
    summary: str
    right: Right = "read"
    parameters: tuple[str, ...] = ()


_LIST = ("limit", "cursor")
AT: Final = "at"  # a position, or an instant with its offset: what was known then

COMMANDS: Final[tuple[CommandEntry, ...]] = (
    CommandEntry(
        "compute_pool.create", cp.CreateComputePool, "POST", "/compute-pools", "administer", "compute_pool", success=201
    ),
    CommandEntry(
        "compute_pool.modify", cp.ModifyComputePool, "PATCH", "/compute-pools/{pool}", "administer", "compute_pool"
    ),
    CommandEntry(
        "compute_pool.delete", cp.DeleteComputePool, "DELETE", "/compute-pools/{pool}", "administer", "compute_pool"
    ),
    CommandEntry("cell.add", ce.AddCell, "POST", "/cells/{cell}/add", "administer", "cell"),
    CommandEntry("cell.enable", ce.EnableCell, "POST", "/cells/{cell}/enable", "administer", "cell"),
    CommandEntry("cell.disable", ce.DisableCell, "POST", "/cells/{cell}/disable", "administer", "cell"),
    CommandEntry("cell.probe", cb.ProbeCell, "POST", "/cells/{cell}/probe", "operate", "cell", work=True),
    CommandEntry("cell.remove", ce.RemoveCell, "POST", "/cells/{cell}/remove", "administer", "cell"),
    CommandEntry("guest.create", gc.CreateGuest, "POST", "/guests", "operate", "guest", work=True),
    CommandEntry("guest.start", gc.StartGuest, "POST", "/guests/{guest}/start", "operate", "guest", work=True),
    CommandEntry("guest.stop", gc.StopGuest, "POST", "/guests/{guest}/stop", "operate", "guest", work=True),
    CommandEntry(
        "guest.force_stop", gc.ForceStopGuest, "POST", "/guests/{guest}/force-stop", "operate", "guest", work=True
    ),
    CommandEntry("guest.reboot", gc.RebootGuest, "POST", "/guests/{guest}/reboot", "operate", "guest", work=True),
    CommandEntry(
        "guest.force_reboot", gc.ForceRebootGuest, "POST", "/guests/{guest}/force-reboot", "operate", "guest", work=True
    ),
    CommandEntry("guest.redefine", gc.RedefineGuest, "POST", "/guests/{guest}/redefine", "operate", "guest", work=True),
    CommandEntry("guest.repair", gr.RepairGuest, "POST", "/guests/{guest}/repair", "operate", "guest", work=True),
    CommandEntry("guest.set", gx.SetGuest, "PATCH", "/guests/{guest}", "operate", "guest", work=True),
    CommandEntry("guest.describe", ga.DescribeGuest, "PATCH", "/guests/{guest}/description", "operate", "guest"),
    CommandEntry("guest.protect", ga.ProtectGuest, "POST", "/guests/{guest}/protect", "operate", "guest"),
    CommandEntry("guest.unprotect", ga.UnprotectGuest, "POST", "/guests/{guest}/unprotect", "operate", "guest"),
    CommandEntry("guest.disk.add", gd.AddDisk, "POST", "/guests/{guest}/disks", "operate", "guest", work=True),
    CommandEntry("guest.disk.grow", gd.GrowDisk, "POST", "/guests/{guest}/disks/grow", "operate", "guest", work=True),
    CommandEntry(
        "guest.disk.shrink", gd.ShrinkDisk, "POST", "/guests/{guest}/disks/shrink", "operate", "guest", work=True
    ),
    CommandEntry(
        "guest.disk.compact", gk.CompactDisk, "POST", "/guests/{guest}/disks/compact", "operate", "guest", work=True
    ),
    CommandEntry("guest.disk.remove", gd.RemoveDisk, "DELETE", "/guests/{guest}/disks", "operate", "guest", work=True),
    CommandEntry("guest.nic.add", gd.AddNic, "POST", "/guests/{guest}/nics", "operate", "guest", work=True),
    CommandEntry("guest.nic.remove", gd.RemoveNic, "DELETE", "/guests/{guest}/nics", "operate", "guest", work=True),
    CommandEntry("guest.media.insert", gm.InsertMedia, "POST", "/guests/{guest}/media", "operate", "guest", work=True),
    CommandEntry("guest.media.eject", gm.EjectMedia, "DELETE", "/guests/{guest}/media", "operate", "guest", work=True),
    CommandEntry("guest.password", gp.SetPassword, "POST", "/guests/{guest}/password", "operate", "guest", work=True),
    CommandEntry("guest.show_password", gp.ShowPassword, "POST", "/guests/{guest}/password/show", "operate", "guest"),
    CommandEntry("guest.vnc.enable", gv.EnableVnc, "POST", "/guests/{guest}/vnc", "operate", "guest", work=True),
    CommandEntry("guest.vnc.reset", gv.ResetVnc, "POST", "/guests/{guest}/vnc/reset", "operate", "guest", work=True),
    CommandEntry("guest.vnc.disable", gv.DisableVnc, "DELETE", "/guests/{guest}/vnc", "operate", "guest", work=True),
    CommandEntry("guest.vnc.show", gv.ShowVnc, "POST", "/guests/{guest}/vnc/show", "operate", "guest"),
    CommandEntry("guest.rule.add", ru.AddRule, "POST", "/guests/{guest}/rules", "operate", "guest", work=True),
    CommandEntry("guest.rule.modify", ru.ModifyRule, "PATCH", "/guests/{guest}/rules", "operate", "guest", work=True),
    CommandEntry("guest.rule.remove", ru.RemoveRule, "DELETE", "/guests/{guest}/rules", "operate", "guest", work=True),
    CommandEntry("guest.rule.move", ru.MoveRule, "POST", "/guests/{guest}/rules/move", "operate", "guest", work=True),
    CommandEntry(
        "guest.rule.default",
        ru.SetDefaultAction,
        "POST",
        "/guests/{guest}/rules/default",
        "operate",
        "guest",
        work=True,
    ),
    CommandEntry(
        *("guest.rule.addresses", ru.SetAddresses, "POST", "/guests/{guest}/rules/addresses", "operate", "guest"),
        work=True,
    ),
    CommandEntry("guest.rule.guard", ru.SetGuard, "POST", "/guests/{guest}/rules/guard", "operate", "guest", work=True),
    CommandEntry("guest.reset", gd.ResetGuest, "POST", "/guests/{guest}/reset", "operate", "guest", work=True),
    CommandEntry(
        "guest.snapshot.create", gs.CreateSnapshot, "POST", "/guests/{guest}/snapshots", "operate", "guest", work=True
    ),
    CommandEntry(
        "guest.snapshot.restore",
        gs.RestoreSnapshot,
        "POST",
        "/guests/{guest}/snapshots/{snapshot}/restore",
        "operate",
        "guest",
        work=True,
    ),
    CommandEntry(
        "guest.snapshot.delete",
        gs.DeleteSnapshot,
        "DELETE",
        "/guests/{guest}/snapshots/{snapshot}",
        "operate",
        "guest",
        work=True,
    ),
    CommandEntry("guest.migrate", mi.MigrateGuest, "POST", "/guests/{guest}/migrate", "operate", "guest", work=True),
    CommandEntry("guest.recycle", gb.RecycleGuest, "POST", "/guests/{guest}/recycle", "operate", "guest", work=True),
    CommandEntry("guest.restore", gb.RestoreGuest, "POST", "/guests/{guest}/restore", "operate", "guest", work=True),
    CommandEntry(
        "guest.snapshot.schedule",
        ss.ScheduleSnapshots,
        "POST",
        "/guests/{guest}/snapshot-schedule",
        "operate",
        "guest",
    ),
    CommandEntry(
        "guest.snapshot.unschedule",
        ss.UnscheduleSnapshots,
        "DELETE",
        "/guests/{guest}/snapshot-schedule",
        "operate",
        "guest",
    ),
    CommandEntry("guest.delete", gc.DeleteGuest, "DELETE", "/guests/{guest}", "operate", "guest", work=True),
    CommandEntry("guest.open_serial", gc.OpenSerial, "POST", "/guests/{guest}/serial", "operate", "guest"),
    CommandEntry("guest.open_console", gc.OpenConsole, "POST", "/guests/{guest}/console", "operate", "guest"),
    CommandEntry("batch.create", ba.CreateBatch, "POST", "/batches/create", "operate", "task", work=True),
    CommandEntry("batch.start", ba.StartBatch, "POST", "/batches/start", "operate", "task", work=True),
    CommandEntry("batch.stop", ba.StopBatch, "POST", "/batches/stop", "operate", "task", work=True),
    CommandEntry("batch.delete", ba.DeleteBatch, "POST", "/batches/delete", "operate", "task", work=True),
    CommandEntry("template.create", te.CreateTemplate, "POST", "/templates", "administer", "template", success=201),
    CommandEntry("template.modify", te.ModifyTemplate, "PATCH", "/templates/{template}", "administer", "template"),
    CommandEntry("template.delete", te.DeleteTemplate, "DELETE", "/templates/{template}", "administer", "template"),
    CommandEntry("image.register", ic.RegisterImage, "POST", "/images", "administer", "image", work=True),
    CommandEntry("image.upload", ic.UploadImage, "POST", "/images/upload", "operate", "image", work=True),
    CommandEntry("image.finish_upload", ic.FinishImageUpload, "POST", "/images/{image}/finish", "operate", "image"),
    CommandEntry("image.build", ic.BuildImage, "POST", "/images/build", "operate", "image", work=True),
    CommandEntry("image.sync", iy.SyncImages, "POST", "/images/sync", "administer", "task", work=True),
    CommandEntry("image.edit", ic.EditImage, "PATCH", "/images/{image}", "operate", "image"),
    CommandEntry("image.delete", ic.DeleteImage, "DELETE", "/images/{image}", "operate", "image"),
    CommandEntry("media.upload", ic.UploadMedia, "POST", "/media", "operate", "media", work=True),
    CommandEntry("media.finish_upload", ic.FinishMediaUpload, "POST", "/media/{media}/finish", "operate", "media"),
    CommandEntry("media.edit", ic.EditMedia, "PATCH", "/media/{media}", "operate", "media"),
    CommandEntry("media.delete", ic.DeleteMedia, "DELETE", "/media/{media}", "operate", "media"),
    CommandEntry("orphans.remove", orp.RemoveOrphan, "POST", "/orphans/remove", "administer", "cell", work=True),
    CommandEntry("task.cancel", ta.CancelTask, "POST", "/tasks/{task}/cancel", "operate", "task"),
)

QUERIES: Final[tuple[QueryEntry, ...]] = (
    QueryEntry("compute_pool.list", "/compute-pools", "compute_pool", "List compute pools.", parameters=(*_LIST, AT)),
    QueryEntry(
        "compute_pool.show", "/compute-pools/{pool}", "compute_pool", "Show one compute pool.", parameters=(AT,)
    ),
    QueryEntry(
        "compute_pool.history",
        "/compute-pools/{pool}/history",
        "compute_pool",
        "Tell a pool's history.",
        parameters=(*_LIST, AT),
    ),
    QueryEntry(
        "cell.list", "/cells", "cell", "List cells, discovered and added.", parameters=(*_LIST, "pool", "state", AT)
    ),
    QueryEntry("cell.show", "/cells/{cell}", "cell", "Show one cell.", parameters=(AT,)),
    QueryEntry("cell.history", "/cells/{cell}/history", "cell", "Tell a cell's history.", parameters=(*_LIST, AT)),
    QueryEntry(
        "guest.list",
        "/guests",
        "guest",
        "List guests.",
        parameters=(*_LIST, "pool", "cell", "state", "name", "tag", AT),
    ),
    QueryEntry("guest.show", "/guests/{guest}", "guest", "Show one guest, by id or name.", parameters=(AT,)),
    QueryEntry(
        "guest.screenshot",
        "/guests/{guest}/screenshot",
        "",
        "Show what a running guest's screen shows, as PNG.",
        right="operate",
    ),
    QueryEntry("guest.inside", "/guests/{guest}/inside", "", "Show what a running guest's agent says of its system."),
    QueryEntry("guest.history", "/guests/{guest}/history", "guest", "Tell a guest's history.", parameters=(*_LIST, AT)),
    QueryEntry(
        "guest.snapshot.list",
        "/guests/{guest}/snapshots",
        "",
        "List the snapshots of a guest, oldest first.",
        parameters=(AT,),
    ),
    QueryEntry("image.list", "/images", "image", "List disk images.", parameters=(*_LIST, "name", "tag", AT)),
    QueryEntry("image.show", "/images/{image}", "image", "Show one disk image, by id or name.", parameters=(AT,)),
    QueryEntry(
        "image.history", "/images/{image}/history", "image", "Tell an image's history.", parameters=(*_LIST, AT)
    ),
    QueryEntry("template.list", "/templates", "template", "List system templates.", parameters=(*_LIST, AT)),
    QueryEntry(
        "template.show", "/templates/{template}", "template", "Show one template, by id or name.", parameters=(AT,)
    ),
    QueryEntry(
        "template.history",
        "/templates/{template}/history",
        "template",
        "Tell a template's history.",
        parameters=(*_LIST, AT),
    ),
    QueryEntry("media.list", "/media", "media", "List media images.", parameters=(*_LIST, "name", "tag", AT)),
    QueryEntry("media.show", "/media/{media}", "media", "Show one media image, by id or name.", parameters=(AT,)),
    QueryEntry(
        "media.history", "/media/{media}/history", "media", "Tell a media image's history.", parameters=(*_LIST, AT)
    ),
    QueryEntry(
        "task.list", "/tasks", "task", "List tasks, newest first.", parameters=(*_LIST, "state", "resource", AT)
    ),
    QueryEntry("task.show", "/tasks/{task}", "task", "Show one task with its steps.", parameters=(AT,)),
    QueryEntry("task.history", "/tasks/{task}/history", "task", "Tell a task's history.", parameters=(*_LIST, AT)),
    QueryEntry(
        "placement.explain",
        "/placement",
        "",
        "Say which cell would take a guest of this size, and why each other would not.",
        parameters=("pool", "cores", "memory", "disk", "needs", AT),
    ),
    QueryEntry("zone.show", "/zone", "", "Show the zone: counts, capacity, time.", parameters=(AT,)),
    QueryEntry("usage.show", "/usage", "", "Show the last measured load of every cell and running guest."),
    QueryEntry(
        "journal.list",
        "/journal",
        "",
        "List recorded facts, newest first.",
        parameters=(*_LIST, "actor", "resource", "type", "command", "cause", AT),
    ),
    QueryEntry(
        "alarm.list",
        "/alarms",
        "alarm",
        "List what is wrong right now, gravest first.",
        parameters=(*_LIST, "severity", "code", "node", "resource"),
    ),
    QueryEntry("backup.list", "/backups", "backup", "List every node's last and next backup.", parameters=_LIST),
    QueryEntry("drift.list", "/drift", "", "List where hosts are not as the journals say, asking every cell now."),
    QueryEntry("orphans.list", "/orphans", "", "List what Nano made on hosts and nobody owns, asking every cell now."),
    QueryEntry("event.follow", "/events", "", "Follow changes as server-sent events.", parameters=("kinds",)),
)

BY_NAME: Final[dict[str, CommandEntry]] = {entry.name: entry for entry in COMMANDS}
BY_COMMAND: Final[dict[type[Command], CommandEntry]] = {entry.command: entry for entry in COMMANDS}
COLLECTIONS: Final[dict[str, str]] = {
    "compute_pool": "compute-pools",
    "cell": "cells",
    "guest": "guests",
    "image": "images",
    "template": "templates",
    "media": "media",
    "task": "tasks",
    "alarm": "alarms",
    "backup": "backups",
}
