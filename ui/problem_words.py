"""Problems that people meet in the portal, by their stable code: what happened, and what to do. Others keep Core's words."""

from typing import Final

from nano.ui.words import N_

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
