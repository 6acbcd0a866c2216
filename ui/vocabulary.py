"""States, tasks, steps and works of tasks in words, marked for translation; and the icon of each state."""

from typing import Final

from nano.ui.words import N_

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
SCORE_REASONS: Final = {
    "cell_offline": N_("It is offline."),
    "cell_disabled": N_("It is disabled for new guests."),
    "cell_full": N_("It holds the most guests allowed."),
    "cell_busy": N_("Its cores are too busy."),
    "no_memory": N_("Too little memory is free."),
    "no_disk": N_("Too little disk is free."),
}
