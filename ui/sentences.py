"""Facts, steps and problems as people say them. Every text here is marked for translation.

A fact of a journal becomes a sentence ("started", "was placed on cell …"); the page adds who and when around it. An event this
version does not know is shown by its type, never hidden.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from nano.domain.alarm import KINDS
from nano.ui.formats import Formats
from nano.ui.problem_words import PROBLEMS
from nano.ui.vocabulary import ACTIONS, OUTCOMES, PLACES, SCORE_REASONS, STEPS, TASKS
from nano.ui.words import N_, Words

_STILL: Final = re.compile(r"it stood still for (\d+) ms")  # of a move (cell/move_work)
_FREED: Final = re.compile(r"([0-9.]+ [KMGT]?i?B) given back")
ON_ORDER: Final = " on order"  # how a cell explains what it was told to do


class Story(NamedTuple):
    icon: str
    text: str
    tone: str  # "", ok, bad, warn


Teller = Callable[[Mapping[str, Any], Words, Formats], str]


def _plain(message: str, *fields: str) -> Teller:
    def tell_it(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
        return words._(message, **{field: event.get(field, "") for field in fields})

    return tell_it


def _fault(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    return _reason(N_("Reported a fault") if event.get("error") else N_("Is well again"))(event, words, formats)


def _reason(message: str) -> Teller:
    """The message, and the reason the cell gave, if any."""

    def tell_it(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
        reason = event.get("reason") or event.get("error") or ""
        if str(reason).endswith(ON_ORDER):
            reason = ""  # the step before it says so already
        if isinstance(reason, Mapping):
            reason = problem_words(reason, words)[0]
        return words._("%(what)s: %(why)s", what=words._(message), why=reason) if reason else words._(message)

    return tell_it


def _requested(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    spec = event.get("spec") or {}
    cores = int(spec.get("cores", 1))
    return words.ngettext(
        "Requested with %(n)s core, %(memory)s memory and %(disk)s disk; placed on %(cell)s",
        "Requested with %(n)s cores, %(memory)s memory and %(disk)s disk; placed on %(cell)s",
        cores,
        memory=formats.size(spec.get("memory", 0)),
        disk=formats.size(sum(spec.get("disks", ()))),
        cell=event.get("cell", ""),
    )


def _changed(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    spec = event.get("spec") or {}
    cores = int(spec.get("cores", 1))
    sizes = {"memory": formats.size(spec.get("memory", 0)), "disk": formats.size(sum(spec.get("disks", ())))}
    if event.get("pending"):
        return words.ngettext(
            "Changed to %(n)s core, %(memory)s memory and %(disk)s disk; some of it at the next start",
            "Changed to %(n)s cores, %(memory)s memory and %(disk)s disk; some of it at the next start",
            cores,
            **sizes,
        )
    return words.ngettext(
        "Changed to %(n)s core, %(memory)s memory and %(disk)s disk",
        "Changed to %(n)s cores, %(memory)s memory and %(disk)s disk",
        cores,
        **sizes,
    )


def _image_requested(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    if event.get("path"):
        return words._("Registered from %(path)s", path=event["path"])
    if event.get("size"):
        return words._("An upload of %(size)s was begun", size=formats.size(event["size"]))
    return words._("An image of a guest's disk was asked for")


def _described(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    return words._(
        "Described itself: %(cores)s cores, %(memory)s memory, %(disk)s disk, %(virt)s",
        cores=event.get("cores", "?"),
        memory=formats.size(event.get("memory", 0)),
        disk=formats.size(event.get("disk", 0)),
        virt=event.get("virt_type", ""),
    )


def _said_of(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    said = event.get("description") or ", ".join(event.get("tags") or ())
    return words._("Described: %(what)s", what=said) if said else words._("Its description was changed")


def _scheduled(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    schedule = event.get("schedule") or {}
    return words.ngettext(
        "Its snapshots are taken every hour, %(keep)s are kept",
        "Its snapshots are taken every %(n)s hours, %(keep)s are kept",
        int(schedule.get("every_hours", 0)),
        keep=schedule.get("keep", ""),
    )


def _snapshot_made(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    snapshot = event.get("snapshot") or {}
    if snapshot.get("memory"):
        return words._("Snapshot %(name)s was taken, with its memory", name=snapshot.get("name", ""))
    if snapshot.get("frozen"):
        return words._("Snapshot %(name)s was taken, with its file systems frozen", name=snapshot.get("name", ""))
    return words._("Snapshot %(name)s was taken", name=snapshot.get("name", ""))


def _agent(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    if not event.get("connected"):
        return words._("Guest agent stopped answering")
    addresses = ", ".join(event.get("addresses") or ())
    if addresses:
        return words._("Guest agent answers; addresses: %(addresses)s", addresses=addresses)
    return words._("Guest agent answers")


def _work(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    return words._(ACTIONS.get(str(event.get("action")), "Work was asked for"))


def _modified(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    return words._("Modified; enabled") if event.get("enabled") else words._("Modified; disabled")


def _step(message: str) -> Teller:
    def tell_it(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
        return words._(message, step=step_word(str(event.get("name", "")), words))

    return tell_it


def _step_ended(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    messages = {
        "done": N_("Step done: %(step)s"),
        "failed": N_("Step failed: %(step)s"),
        "undone": N_("Step undone: %(step)s"),
    }
    return words._(
        messages.get(str(event.get("outcome")), messages["done"]), step=step_word(str(event.get("name", "")), words)
    )


def _compacted(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    freed = formats.size(int(event.get("freed", 0)))
    return words._("Disk %(n)s was compacted: %(size)s given back", n=event.get("number", 0), size=freed)


def _listed(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    names = event.get("names") or ()
    return words.ngettext("%(n)s guest is to be worked on", "%(n)s guests are to be worked on", len(names))


def _files_listed(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    names = event.get("names") or ()
    return words.ngettext("%(n)s file was found", "%(n)s files were found", len(names))


def _items_ended(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    ended = event.get("ended") or ()
    bad = [end for end in ended if end.get("outcome") != "done"]
    if not bad:
        return words.ngettext("%(n)s item is done", "%(n)s items are done", len(ended))
    text = words.ngettext("%(n)s item could not be done", "%(n)s items could not be done", len(bad))
    why = next((end["error"] for end in bad if end.get("error")), None)
    return words._("%(what)s: %(why)s", what=text, why=problem_words(why, words)[0]) if why else text


def _task_started(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    return words._("Task began: %(task)s", task=words._(TASKS.get(str(event.get("kind")), str(event.get("kind")))))


def _task_ended(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    text = words._(OUTCOMES.get(str(event.get("outcome")), OUTCOMES["done"]))
    error = event.get("error")
    return words._("%(what)s: %(why)s", what=text, why=problem_words(error, words)[0]) if error else text


TELLERS: Final[dict[str, tuple[str, str, Teller]]] = {
    "zone.founded": ("logo", "ok", _plain(N_("The zone was founded: Core's first start"))),
    "guest.requested": ("plus", "", _requested),
    "guest.created": ("st-done", "ok", _plain(N_("Created: its disks and its definition are there"))),
    "guest.create_undone": ("st-undo", "bad", _reason(N_("Creation was undone"))),
    "guest.work_started": ("tasks", "", _work),
    "guest.work_ended": ("tasks", "", _reason(N_("The task let go of it"))),
    "guest.deleted": ("trash", "", _plain(N_("Deleted"))),
    "guest.started": ("st-running", "ok", _reason(N_("Started"))),
    "guest.stopped": ("st-stopped", "", _reason(N_("Stopped"))),
    "guest.paused": ("st-paused", "warn", _reason(N_("Paused"))),
    "guest.crashed": ("st-crashed", "bad", _reason(N_("Crashed"))),
    "guest.vanished": ("st-missing", "bad", _reason(N_("Its definition vanished from the host"))),
    "guest.described": ("journal", "", _said_of),
    "guest.protected": ("st-done", "", _plain(N_("Protected from deletion"))),
    "guest.unprotected": ("st-done", "", _plain(N_("May be deleted again"))),
    "guest.recycled": ("trash", "warn", _plain(N_("Was put into the recycle bin"))),
    "guest.restored": ("st-undo", "ok", _plain(N_("Was taken out of the recycle bin"))),
    "guest.changed": ("st-done", "ok", _changed),
    "guest.moved": ("cell", "ok", _plain(N_("Moved to cell %(cell)s"), "cell")),
    "guest.redefined": ("st-done", "ok", _plain(N_("Was defined again from the journal"))),
    "guest.snapshot_made": ("snapshot", "ok", _snapshot_made),
    "guest.snapshot_restored": ("st-undo", "ok", _plain(N_("Is back at snapshot %(name)s"), "name")),
    "guest.snapshot_deleted": ("trash", "", _plain(N_("Snapshot %(name)s was deleted"), "name")),
    "guest.snapshots_scheduled": ("snapshot", "", _scheduled),
    "guest.snapshots_unscheduled": ("snapshot", "", _plain(N_("Its snapshots are not taken by schedule any more"))),
    "guest.snapshot_due": ("snapshot", "", _plain(N_("A snapshot by its schedule was due"))),
    "guest.agent_changed": ("agent", "", _agent),
    "guest.password_set": ("agent", "", _plain(N_("The password of %(user)s was set"), "user")),
    "guest.disk_compacted": ("disk", "ok", _compacted),
    "guest.password_told": ("agent", "", _plain(N_("%(by)s had its password shown"), "by")),
    "guest.vnc_opened": (
        "console",
        "ok",
        _plain(N_("VNC viewers reach it at %(address)s, port %(port)s"), "address", "port"),
    ),
    "guest.vnc_closed": ("console", "", _reason(N_("VNC access has ended"))),
    "guest.vnc_told": ("console", "", _plain(N_("%(by)s had its VNC secret shown"), "by")),
    "guest.serial_opened": ("console", "", _plain(N_("%(by)s opened its serial console"), "by")),
    "guest.console_opened": ("console", "", _plain(N_("%(by)s opened its console"), "by")),
    "compute_pool.created": ("plus", "ok", _plain(N_("Created"))),
    "compute_pool.modified": ("settings", "", _modified),
    "compute_pool.deleted": ("trash", "", _plain(N_("Deleted"))),
    "cell.discovered": ("st-new", "", _plain(N_("Discovered at %(address)s"), "address")),
    "cell.connected": ("st-running", "ok", _plain(N_("Connected from %(address)s"), "address")),
    "cell.disconnected": ("st-lost", "bad", _reason(N_("Connection lost"))),
    "cell.described": ("cell", "", _described),
    "cell.added": ("plus", "ok", _plain(N_("Added to pool %(pool)s"), "pool")),
    "cell.enabled": ("st-running", "ok", _plain(N_("Enabled"))),
    "cell.disabled": ("st-paused", "warn", _plain(N_("Disabled: takes no new guests"))),
    "cell.removed": ("trash", "", _plain(N_("Removed from pool %(pool)s"), "pool")),
    "cell.faulted": ("st-crashed", "bad", _fault),
    "cell.debt_recorded": ("st-undo", "warn", _plain(N_("Owes the removal of what is left of a guest"))),
    "cell.debt_settled": ("st-done", "ok", _plain(N_("Removed what was left of a guest"))),
    "image.requested": ("plus", "", _image_requested),
    "image.received": ("st-done", "", _plain(N_("All of it was sent"))),
    "image.edited": ("settings", "", _plain(N_("Is called %(name)s; what is said of it changed"), "name")),
    "image.deleted": ("trash", "", _plain(N_("Deleted with its file"))),
    "image.registered": ("st-done", "ok", _plain(N_("Checked and ready (%(format)s)"), "format")),
    "image.refused": ("st-crashed", "bad", _reason(N_("Refused"))),
    "image.forgotten": ("trash", "", _plain(N_("Removed from the list"))),
    "zone.templates_stocked": ("plus", "", _plain(N_("Got its first templates"))),
    "template.created": ("plus", "ok", _plain(N_("Created"))),
    "template.modified": ("settings", "", _plain(N_("Modified"))),
    "template.deleted": ("trash", "", _plain(N_("Deleted"))),
    "task.started": ("tasks", "", _task_started),
    "task.step_started": ("st-busy", "", _step(N_("Step began: %(step)s"))),
    "task.step_ended": ("st-done", "", _step_ended),
    "task.items_listed": ("tasks", "", _listed),
    "task.files_listed": ("tasks", "", _files_listed),
    "task.item_started": ("st-busy", "", _plain(N_("The next item's turn began"))),
    "task.items_ended": ("st-done", "", _items_ended),
    "task.cancel_requested": ("st-cancelled", "warn", _plain(N_("%(by)s asked to cancel it"), "by")),
    "task.undoing": ("st-undo", "warn", _reason(N_("Undoing what was done"))),
    "task.ended": ("st-done", "", _task_ended),
}


def tell(fact: Mapping[str, Any], words: Words, formats: Formats) -> Story:
    """The sentence of one recorded fact."""
    event = fact.get("event") or {}
    kind = str(event.get("type", ""))
    icon, tone, teller = TELLERS.get(kind, ("journal", "", _plain("")))
    if event.get("outcome") == "failed":
        icon, tone = "st-crashed", "bad"
    return Story(icon, teller(event, words, formats) or kind, tone)


def step_word(step: str, words: Words) -> str:
    return words._(STEPS.get(step, step))


def step_detail(detail: str, words: Words) -> str:
    """What is told of a step that is done; the cell's own words where they are of no known form."""
    if still := _STILL.fullmatch(detail):
        return words._("It stood still for %(number)s ms.", number=still[1])
    freed = _FREED.fullmatch(detail)
    return words._("%(size)s given back", size=freed[1]) if freed else detail


def problem_words(problem: Mapping[str, Any] | None, words: Words) -> tuple[str, str]:
    """What happened and what to do, translated when the code is known; English keeps the sender's own, fuller words."""
    if not problem:
        return "", ""
    message, hint = str(problem.get("message", "")), str(problem.get("hint", ""))
    known = PROBLEMS.get(str(problem.get("code", "")))
    if known and (words.tag != "en" or not message):
        return words._(known[0]), words._(known[1])
    return message, hint


def alarm_words(alarm: Mapping[str, Any], words: Words) -> tuple[str, str]:
    """What is wrong and what to do; of a kind that this version does not know, the sender's own words."""
    kind, place = KINDS.get(str(alarm["code"])), str(alarm["place"])
    if kind is None:
        return str(alarm["message"]), str(alarm["hint"])
    try:
        return words._(kind.message) % {"place": words._(PLACES.get(place, place)), **alarm["details"]}, words._(
            kind.hint
        )
    except KeyError:  # a node of another version tells other details
        return str(alarm["message"]), words._(kind.hint)


def cause_word(cause: str, words: Words) -> str:
    """What led to a fact, when that says more than who did it: a task by the start of its id, an entry of a cell's journal."""
    kind, _, key = cause.partition("/")
    if kind == "task":
        return words._("task %(id)s", id=key[:8])
    cell, at, position = key.partition("@")
    return words._("entry #%(n)s of %(cell)s's journal", n=position, cell=cell) if kind == "cell" and at else ""


def cause_url(cause: str) -> str:
    """Where more of a cause is told; what ``cause_word`` has words for."""
    kind, _, key = cause.partition("/")
    return f"/tasks/{quote(key)}" if kind == "task" else f"/cells/{quote(key.partition('@')[0])}?tab=history"


def actor_word(actor: str) -> str:
    """Who did it: an account, or a node by its name ("cell/Cell_0a…" is told by its cell)."""
    return "Core" if actor == "core" else actor.removeprefix("cell/")


def note_words(note: str) -> str:
    """Why a guest last changed power, when there is more to say than that somebody wanted it."""
    return "" if note.endswith(ON_ORDER) else note


def score_reason(score: Mapping[str, Any], words: Words) -> str:
    """Why a cell does not take a guest; English keeps Core's words, which name the figures."""
    known = SCORE_REASONS.get(str(score.get("code", "")))
    said = str(score.get("reason", ""))
    return words._(known) if known and (words.tag != "en" or not said) else said
