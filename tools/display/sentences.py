"""What an event says, in words: "was requested: 1 core, 128 MiB of memory, disk 64 MiB, on Cell_0a1b".

A phrase continues the name of its resource ("guest demo started: power button"). Events this version does not know are
told by their tag and fields, so nothing in a journal is ever passed over in silence. English only: the portal tells
its own stories from its catalogues.
"""

from collections.abc import Callable
from typing import Any, Final

from nano.domain.naming import format_size
from nano.tools.display import words

Event = dict[str, Any]
Phrase = Callable[[Event], str]


def phrase(event: Event) -> str:
    """The event as a phrase; ``event`` is its JSON object with ``type``."""
    known = PHRASES.get(str(event.get("type", "event")), _unknown)
    try:
        said = known(event)
    except (KeyError, TypeError, ValueError):
        said = _unknown(event)  # written by a version with other fields
    return "; ".join(said.splitlines())


def sentence(event: Event, resource: str, names: dict[str, str]) -> str:
    """Subject and phrase together: "guest web is running: power button", "guest web: its agent answers"."""
    who, said = subject(resource, names), phrase(event)
    return f"{who}: {said}" if said.startswith(APART) else f"{who} {said}"


def subject(resource: str, names: dict[str, str]) -> str:
    """A resource as people call it: "guest demo", "task 3f0c9d2e", "the zone"."""
    kind, _, identifier = resource.partition("/")
    if kind == "zone":
        return "the zone"
    return f"{kind.replace('_', ' ')} {names.get(resource) or words.short(identifier)}"


def name_in(event: Event) -> str:
    """The name an event gives its resource, "" when it gives none."""
    if event.get("type") == "task.started":
        return f"{event.get('kind')} of {event.get('target_name')}"
    spec = event.get("spec")
    if isinstance(spec, dict):
        return str(spec.get("name", ""))
    name = event.get("name", "")
    return str(name) if str(event.get("type", "")).partition(".")[2] in NAMING else ""


APART: Final = ("its ", "snapshot ", "step ", "a task ", "item ")  # phrases with a subject of their own
NAMING: Final = frozenset({"created", "requested", "discovered", "registered"})


def _unknown(event: Event) -> str:
    fields = ", ".join(f"{name} {_short(value)}" for name, value in event.items() if name != "type")
    said = str(event.get("type", "event")).partition(".")[2].replace("_", " ") or str(event.get("type"))
    return f"{said}: {fields}" if fields else said


def _short(value: Any) -> str:
    text = ", ".join(str(inner) for inner in value) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _because(said: str) -> Phrase:
    return lambda event: f"{said}: {event['reason']}" if event.get("reason") else said


def _said(text: str) -> Phrase:
    return lambda _event: text


def _machine(spec: dict[str, Any]) -> str:
    disks = words.sizes(spec["disks"])
    return f"{words.plural(spec['cores'], 'core')}, {format_size(spec['memory'])} of memory, disk {disks}"


def _guest_requested(event: Event) -> str:
    image = f" from image {event['image_name']}" if event.get("image_name") else ""
    return f"was requested{image}: {_machine(event['spec'])}, placed on {event['cell']}"


def _changed(event: Event) -> str:
    later = f"; at its next start: {', '.join(event['pending'])}" if event.get("pending") else ""
    return f"was changed: {_machine(event['spec'])}{later}"


WORKS: Final = {
    "set": "change it",
    "disk.add": "give it a disk",
    "disk.grow": "grow a disk of it",
    "disk.shrink": "shrink a disk of it",
    "disk.compact": "give back what a disk of it does not use",
    "disk.remove": "take a disk from it",
    "media.insert": "put media into its drive",
    "media.eject": "empty its drive",
    "nic.add": "give it a network interface",
    "nic.remove": "take a network interface from it",
    "vnc.enable": "let VNC viewers in",
    "vnc.reset": "give its VNC access another secret",
    "vnc.disable": "end its VNC access",
    "rule.add": "give it a security rule",
    "rule.modify": "change a security rule of it",
    "rule.remove": "take a security rule from it",
    "rule.move": "move a security rule of it",
    "rule.default": "change what becomes of packets that no rule is about",
    "rule.addresses": "change which addresses it may use",
    "rule.guard": "change whether it may pose as others",
    "reset": "make its system disk anew",
    "password": "set a password in it",
    "snapshot.create": "take a snapshot of it",
    "snapshot.restore": "take it back to a snapshot",
    "snapshot.delete": "delete a snapshot of it",
    "migrate": "move it to another cell",
    "recycle": "put it into the recycle bin",
    "restore": "take it out of the recycle bin",
}


def _vnc_opened(event: Event) -> str:
    return f"its VNC access is at {event['address']}, port {event['port']}"


def _vnc_closed(event: Event) -> str:
    return f"its VNC access has ended{': ' + _problem(event) if event.get('error') else ''}"


def _snapshot_made(event: Event) -> str:
    snapshot = event["snapshot"]
    frozen = " with its file systems frozen" if snapshot.get("frozen") else ""
    return f"snapshot {snapshot['name']} was taken{' with its memory' if snapshot.get('memory') else frozen}"


def _scheduled(event: Event) -> str:
    return f"its snapshots are taken {words.schedule(event['schedule'])}"


def _doing(action: str) -> str:
    return WORKS.get(action) or f"{action.replace('_', ' ')} it"


def _work_ended(event: Event) -> str:
    return f"could not: {event['error']}" if event.get("error") else "its task has ended"


def _described(event: Event) -> str:
    tags = f"; tags {', '.join(event['tags'])}" if event.get("tags") else ""
    notes = "; with notes" if event.get("notes") else ""
    return f"was described: {event.get('description') or 'without a description'}{tags}{notes}"


def _agent(event: Event) -> str:
    if not event["connected"]:
        return "its agent fell silent"
    addresses = ", ".join(event.get("addresses") or ())
    return f"its agent answers, address {addresses}" if addresses else "its agent answers"


def _pool(event: Event) -> str:
    parts = [f"storage {event.get('storage') or 'on local disks'}", f"network {event.get('network') or 'unmanaged'}"]
    parts.append("failover on" if event.get("failover") else "failover off")
    if "enabled" in event:
        parts.append("enabled" if event["enabled"] else "disabled")
    return ", ".join(parts)


def _cell_described(event: Event) -> str:
    note = f" ({event['virt_note']})" if event.get("virt_note") else ""
    return (
        f"described itself: {words.plural(event['cores'], 'core')}, {format_size(event['memory'])} of memory, "
        f"{format_size(event['disk'])} of disk, {event['virt_type']}{note}"
    )


def _step_ended(event: Event) -> str:
    detail = f": {event['detail']}" if event.get("detail") else ""
    return f"step “{event['name']}” {'is done' if event['outcome'] == 'done' else event['outcome']}{detail}"


def _problem(event: Event) -> str:
    error = event["error"]
    return f"{error['message']} [{error['code']}]"


def _task_ended(event: Event) -> str:
    said = {"done": "is done", "failed": "failed", "cancelled": "was cancelled"}[event["outcome"]]
    if event.get("error"):
        said += f": {_problem(event)}"
    if event.get("undone"):
        said += f"; undone: {', '.join(event['undone'])}"
    return said


def _template(event: Event) -> str:
    hardware = ", ".join(f"{name} {model}" for name, model in event["hardware"].items() if model)
    security = f", security {words.policy(event['policy'])}" if event.get("policy") else ""
    return f"{event['operating_system']}, {hardware}{security}"


def _items_ended(event: Event) -> str:
    ended = event["ended"]
    bad = [f"item {end['number']} {end['outcome']}" for end in ended if end["outcome"] != "done"]
    why = next((f": {end['error']['message']}" for end in ended if end.get("error")), "")
    done = len(ended) - len(bad)
    parts = [f"{words.plural(done, 'item')} done"] if done else []
    return ", ".join([*parts, *bad[:3], *([f"{len(bad) - 3} more"] if len(bad) > 3 else [])]) + why


def _order_taken(event: Event) -> str:
    action = str(event.get("action") or event["kind"]).replace("_", " ")
    return f"was taken: {action} domain {words.short(event['guest_id'])}"


def _order_failed(event: Event) -> str:
    undone = f"; undone: {', '.join(event['undone'])}" if event.get("undone") else ""
    return f"failed: {_problem(event)}{undone}"


def _image_requested(event: Event) -> str:
    if event.get("path"):
        return f"is to be registered from {event['path']}"
    return (
        f"is to be uploaded: {format_size(event['size'])}" if event.get("size") else "is to be made of a guest's disk"
    )


def _registered(event: Event) -> str:
    return (
        f"was registered: {event['format']}, {format_size(event['size'])}, "
        f"disk of {format_size(event['virtual_size'])}, SHA-256 {event['sha256'][:16]}…"
    )


PHRASES: Final[dict[str, Phrase]] = {
    "zone.founded": _said("was founded, with an empty default pool"),
    "compute_pool.created": lambda event: f"was created: {_pool(event)}",
    "compute_pool.modified": lambda event: f"was changed: {_pool(event)}",
    "compute_pool.deleted": _said("was deleted"),
    "cell.discovered": lambda event: f"was discovered at {event['address']}, certificate {event['fingerprint'][:16]}…",
    "cell.connected": lambda event: f"connected from {event['address']}",
    "cell.disconnected": _because("went offline"),
    "cell.described": _cell_described,
    "cell.added": lambda event: f"was added to pool {event['pool']}, its certificate approved",
    "cell.enabled": _said("was enabled for new guests"),
    "cell.disabled": _said("was disabled for new guests"),
    "cell.removed": lambda event: f"was taken out of pool {event['pool']}",
    "cell.faulted": lambda event: f"needs attention: {event['error']}" if event["error"] else "is well again",
    "cell.debt_recorded": lambda event: f"owes the removal of guest {words.short(event['guest_id'])}",
    "cell.debt_settled": lambda event: f"has removed guest {words.short(event['guest_id'])}",
    "guest.requested": _guest_requested,
    "guest.created": _said("was made: volumes and domain are there"),
    "guest.create_undone": lambda event: f"was given up and nothing of it is left: {event['reason']}",
    "guest.work_started": lambda event: f"a task began to {_doing(event['action'])}",
    "guest.work_ended": _work_ended,
    "guest.deleted": _said("was deleted with its disks"),
    "guest.started": _because("is running"),
    "guest.stopped": _because("is off"),
    "guest.paused": _because("is paused"),
    "guest.crashed": _because("crashed"),
    "guest.vanished": _because("is missing on its cell"),
    "guest.moved": lambda event: f"is on cell {event['cell']} now",
    "guest.redefined": _said("was defined again from the journal"),
    "guest.described": _described,
    "guest.protected": _said("was protected from deletion"),
    "guest.unprotected": _said("may be deleted again"),
    "guest.recycled": lambda event: f"was put into the recycle bin until {event['until'][:16].replace('T', ' ')} UTC",
    "guest.restored": _said("was taken out of the recycle bin"),
    "guest.changed": _changed,
    "guest.snapshot_made": _snapshot_made,
    "guest.snapshot_restored": lambda event: f"is back at snapshot {event['name']}",
    "guest.snapshot_deleted": lambda event: f"snapshot {event['name']} was deleted",
    "guest.snapshots_scheduled": _scheduled,
    "guest.snapshots_unscheduled": _said("its snapshots are not taken by schedule any more"),
    "guest.snapshot_due": lambda event: f"its snapshot of {event['due']} was due",
    "guest.agent_changed": _agent,
    "guest.password_set": lambda event: f"the password of {event['user']} was set in it",
    "guest.disk_compacted": lambda event: (
        f"disk {event['number']} was compacted: {format_size(event['freed'])} given back"
    ),
    "guest.password_told": lambda event: f"its password was told to {event['by']}",
    "guest.vnc_opened": _vnc_opened,
    "guest.vnc_closed": _vnc_closed,
    "guest.vnc_told": lambda event: f"its VNC secret was told to {event['by']}",
    "guest.serial_opened": lambda event: f"its serial console was opened by {event['by']}",
    "guest.console_opened": lambda event: f"its console was opened by {event['by']}",
    "image.requested": _image_requested,
    "image.received": _said("was sent whole, says its sender"),
    "image.edited": lambda event: f"is called {event['name']}, and what is said of it changed",
    "image.deleted": _said("was deleted with its file"),
    "image.registered": _registered,
    "image.refused": _because("was refused"),
    "image.forgotten": _said("was forgotten; its file stays"),
    "zone.templates_stocked": _said("was given its first templates"),
    "template.created": lambda event: f"was made: {_template(event)}",
    "template.modified": lambda event: f"was changed: {event['name']}, {_template(event)}",
    "template.deleted": _said("was deleted; guests made with it keep their hardware"),
    "task.started": lambda event: f"began: {', '.join(event['plan'])}",
    "task.step_started": lambda event: f"step “{event['name']}” began",
    "task.step_ended": _step_ended,
    "task.items_listed": lambda event: f"has {words.plural(len(event['names']), 'guest')}: {_short(event['names'])}",
    "task.files_listed": lambda event: f"found {words.plural(len(event['names']), 'file')}: {_short(event['names'])}",
    "task.item_started": lambda event: f"item {event['number']} began: task {words.short(event['task'])}",
    "task.items_ended": _items_ended,
    "task.cancel_requested": lambda event: f"is to be cancelled, asked by {event['by']}",
    "task.undoing": lambda event: f"is undoing what it did: {_problem(event)}",
    "task.ended": _task_ended,
    "domain.requested": lambda event: f"is to be made: {_machine(event['spec'])}",
    "domain.created": _said("was made"),
    "domain.discarded": lambda event: f"was undone, nothing of it is left: {event['reason']}",
    "domain.removed": lambda event: (
        f"was removed with {words.plural(len(event['volumes']), 'volume')}" if event.get("volumes") else "was removed"
    ),
    "domain.released": _said("is let go here, to move to another cell"),
    "domain.redefined": _said("was defined again"),
    "domain.changed": _changed,
    "domain.vanished": _because("vanished from the hypervisor"),
    "domain.power_changed": lambda event: f"is {event['power']}: {event['reason']}",
    "domain.snapshot_made": _snapshot_made,
    "domain.snapshot_restored": lambda event: f"is back at snapshot {event['name']}",
    "domain.snapshot_deleted": lambda event: f"snapshot {event['name']} was deleted",
    "domain.agent_changed": _agent,
    "domain.vnc_opened": _vnc_opened,
    "domain.vnc_closed": _vnc_closed,
    "order.taken": _order_taken,
    "order.done": lambda event: f"is done: {event['detail']}" if event.get("detail") else "is done",
    "order.failed": _order_failed,
    "account.created": lambda event: f"was made, {event['role']}",
    "account.password_changed": _said("was given another password"),
    "session.opened": lambda event: f"began: {event['account']} logged in from {event['address']}",
    "session.continued": _said("is still in use"),
    "session.closed": lambda event: f"was closed: {event['reason'].replace('_', ' ')}",
    "login.failed": lambda event: f"failed from {event['address']}",
}
