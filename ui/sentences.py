"""Facts, states, tasks and problems as people say them. Every text here is marked for translation.

A fact of a journal becomes a sentence ("started", "was placed on cell …"); the page adds who and when around it. An event this
version does not know is shown by its type, never hidden.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from nano.ui.formats import Formats
from nano.ui.words import N_, Words

STATES: Final = {
    "guest.creating": N_("creating"),
    "guest.stopped": N_("stopped"),
    "guest.running": N_("running"),
    "guest.paused": N_("paused"),
    "guest.crashed": N_("crashed"),
    "guest.lost": N_("lost"),
    "guest.missing": N_("missing"),
    "guest.deleting": N_("deleting"),
    "cell.discovered": N_("discovered"),
    "cell.online": N_("online"),
    "cell.offline": N_("offline"),
    "cell.disabled": N_("disabled"),
    "pool.enabled": N_("enabled"),
    "pool.disabled": N_("disabled"),
    "task.running": N_("running"),
    "task.cancelling": N_("cancelling"),
    "task.undoing": N_("undoing"),
    "task.done": N_("done"),
    "task.failed": N_("failed"),
    "task.cancelled": N_("cancelled"),
    "task.undone": N_("undone"),
    "image.ready": N_("ready"),
    "image.checking": N_("being checked"),
}
STATE_ICONS: Final = {
    "guest.creating": "st-busy",
    "guest.stopped": "st-stopped",
    "guest.running": "st-running",
    "guest.paused": "st-paused",
    "guest.crashed": "st-crashed",
    "guest.lost": "st-lost",
    "guest.missing": "st-missing",
    "guest.deleting": "st-busy",
    "cell.discovered": "st-new",
    "cell.online": "st-running",
    "cell.offline": "st-lost",
    "cell.disabled": "st-paused",
    "pool.enabled": "st-running",
    "pool.disabled": "st-paused",
    "task.running": "st-busy",
    "task.cancelling": "st-busy",
    "task.undoing": "st-undo",
    "task.done": "st-done",
    "task.failed": "st-crashed",
    "task.cancelled": "st-cancelled",
    "task.undone": "st-undo",
    "image.ready": "st-done",
    "image.checking": "st-busy",
}
TASKS: Final = {
    "guest.create": N_("Create guest"),
    "guest.start": N_("Start guest"),
    "guest.stop": N_("Stop guest"),
    "guest.force_stop": N_("Force guest off"),
    "guest.reboot": N_("Restart guest"),
    "guest.force_reboot": N_("Reset guest"),
    "guest.redefine": N_("Define guest again"),
    "guest.delete": N_("Delete guest"),
    "image.register": N_("Register image"),
}
STEPS: Final = {
    "make domain": N_("Make its disks and define it"),
    "start": N_("Start"),
    "stop": N_("Press the power button and wait"),
    "force stop": N_("Switch off at once"),
    "reboot": N_("Restart"),
    "force reboot": N_("Reset at once"),
    "define again": N_("Define it again"),
    "remove domain": N_("Remove its definition and disks"),
    "inspect image": N_("Read the image and its digest"),
    "inspect": N_("Read the image and its digest"),
}
ACTIONS: Final = {
    "start": N_("Starting was asked for"),
    "stop": N_("Stopping was asked for"),
    "force_stop": N_("Switching off at once was asked for"),
    "reboot": N_("A restart was asked for"),
    "force_reboot": N_("A reset was asked for"),
    "redefine": N_("Defining it again was asked for"),
    "delete": N_("Deletion was asked for"),
}
OUTCOMES: Final = {
    "done": N_("Task ended: done"),
    "failed": N_("Task failed"),
    "cancelled": N_("Task was cancelled"),
}
# Problems that people meet in the portal, by their stable code: what happened, and what to do. Others keep Core's words.
PROBLEMS: Final = {
    "wrong_login": (N_("Name or password is wrong."), N_("Check both, and the Caps Lock key.")),
    "too_many_attempts": (N_("There were too many failed logins."), N_("Wait a few minutes and try again.")),
    "weak_password": (
        N_("The password does not meet the rule."),
        N_("Use at least 8 characters with a digit, a lower case and an upper case letter."),
    ),
    "wrong_password": (N_("The current password is wrong."), N_("Type it again.")),
    "passwords_differ": (N_("The two passwords differ."), N_("Type the same password twice.")),
    "invalid_name": (N_("This name can't be used."), N_("Use 1 to 64 letters, digits, “_” and “-”.")),
    "duplicate_name": (N_("This name is taken."), N_("Choose another name.")),
    "already_set_up": (N_("This portal has its administrator already."), N_("Log in with that account.")),
    "form_token_invalid": (
        N_("The form is from another time or another site."),
        N_("Load the page again and repeat what you did."),
    ),
    "not_logged_in": (N_("You are not logged in."), N_("Log in, then try again.")),
    "core_unreachable": (N_("Core does not answer."), N_("Is nano-core running? The portal tries again by itself.")),
    "forbidden": (N_("Your role does not allow this."), N_("Ask an administrator.")),
    "name_not_repeated": (N_("The name you typed is another one."), N_("Type the name exactly, to be sure.")),
    "unknown_page": (N_("There is no such page."), N_("Check the address, or start from the dashboard.")),
    "unknown_guest": (N_("There is no such guest."), N_("It may have been deleted. The journal knows.")),
    "unknown_cell": (N_("There is no such cell."), N_("It may have been removed. The journal knows.")),
    "unknown_image": (N_("There is no such image."), N_("It may have been removed. The journal knows.")),
    "unknown_task": (N_("There is no such task."), N_("Old tasks are kept in the journal.")),
    "unknown_compute_pool": (N_("There is no such compute pool."), N_("It may have been deleted. The journal knows.")),
    "invalid_at": (
        N_("This moment is not in the journal."),
        N_("Choose one between its first entry and now, as a position or as a time like 2026-11-21T03:10:53Z."),
    ),
    "invalid_number": (N_("This is not a number that can be used."), N_("Use digits, within the limits shown.")),
    "guest_running": (N_("The guest is running."), N_("Stop it first.")),
    "guest_not_running": (N_("The guest is not running."), N_("Start it first.")),
    "pool_not_empty": (N_("The pool still has cells."), N_("Remove its cells first.")),
    "no_change": (N_("It is like that already."), N_("Nothing needs to be done.")),
    "pool_disabled": (N_("The compute pool is disabled."), N_("Enable it, or choose another.")),
    "no_cell": (N_("The pool has no cell."), N_("Add a cell to it first.")),
    "no_memory": (N_("No cell has enough free memory."), N_("Ask for less, stop guests, or add a cell.")),
    "no_disk": (N_("No cell has enough free disk."), N_("Ask for less, delete guests, or add a cell.")),
    "cores_busy": (N_("All cells are busy."), N_("Wait until load falls, or add a cell.")),
    "all_cells_unavailable": (
        N_("Every cell of the pool is offline or disabled."),
        N_("Bring a cell back, or enable one."),
    ),
    "cell_offline": (N_("The cell is offline."), N_("Bring it back, then try again.")),
    "task_cancelled": (N_("It was cancelled."), ""),
    "internal": (N_("Something broke inside the portal."), N_("Try again; what happened is in its log.")),
    "guest_busy": (N_("Another task is working on this guest."), N_("Wait until it ends.")),
}


SCORE_REASONS: Final = {
    "cell_offline": N_("It is offline."),
    "cell_disabled": N_("It is disabled for new guests."),
    "cell_full": N_("It holds the most guests allowed."),
    "cell_busy": N_("Its cores are too busy."),
    "no_memory": N_("Too little memory is free."),
    "no_disk": N_("Too little disk is free."),
}


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


def _described(event: Mapping[str, Any], words: Words, formats: Formats) -> str:
    return words._(
        "Described itself: %(cores)s cores, %(memory)s memory, %(disk)s disk, %(virt)s",
        cores=event.get("cores", "?"),
        memory=formats.size(event.get("memory", 0)),
        disk=formats.size(event.get("disk", 0)),
        virt=event.get("virt_type", ""),
    )


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


def _task_started(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    return words._("Task began: %(task)s", task=words._(TASKS.get(str(event.get("kind")), str(event.get("kind")))))


def _task_ended(event: Mapping[str, Any], words: Words, formats: Formats) -> str:  # noqa: ARG001
    text = words._(OUTCOMES.get(str(event.get("outcome")), OUTCOMES["done"]))
    error = event.get("error")
    return words._("%(what)s: %(why)s", what=text, why=problem_words(error, words)[0]) if error else text


TELLERS: Final[dict[str, tuple[str, str, Teller]]] = {
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
    "guest.redefined": ("st-done", "ok", _plain(N_("Was defined again from the journal"))),
    "guest.agent_changed": ("agent", "", _agent),
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
    "cell.faulted": ("st-crashed", "bad", _reason(N_("Reported a fault"))),
    "cell.debt_recorded": ("st-undo", "warn", _plain(N_("Owes the removal of what is left of a guest"))),
    "cell.debt_settled": ("st-done", "ok", _plain(N_("Removed what was left of a guest"))),
    "image.requested": ("plus", "", _plain(N_("Registered from %(path)s"), "path")),
    "image.registered": ("st-done", "ok", _plain(N_("Checked and ready (%(format)s)"), "format")),
    "image.refused": ("st-crashed", "bad", _reason(N_("Refused"))),
    "image.forgotten": ("trash", "", _plain(N_("Removed from the list"))),
    "task.started": ("tasks", "", _task_started),
    "task.step_started": ("st-busy", "", _step(N_("Step began: %(step)s"))),
    "task.step_ended": ("st-done", "", _step_ended),
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


def problem_words(problem: Mapping[str, Any] | None, words: Words) -> tuple[str, str]:
    """What happened and what to do, translated when the code is known; English keeps the sender's own, fuller words."""
    if not problem:
        return "", ""
    message, hint = str(problem.get("message", "")), str(problem.get("hint", ""))
    known = PROBLEMS.get(str(problem.get("code", "")))
    if known and (words.tag != "en" or not message):
        return words._(known[0]), words._(known[1])
    return message, hint


def cause_word(cause: str, words: Words) -> str:
    """What led to a fact, when that says more than who did it: a task, by the start of its id."""
    kind, _, key = cause.partition("/")
    return words._("task %(id)s", id=key[:8]) if kind == "task" else ""


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
