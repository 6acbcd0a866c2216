"""``down``: stop the nodes; with ``--purge`` also remove guests, volumes, the private libvirtd, the bridge and the state."""

import json

from rich.console import Console

from nano.domain.errors import Invalid
from nano.tools.up import machine, nodes
from nano.tools.up.options import Options


def run(given: Options, console: Console) -> int:
    """The exit code of ``down``. Succeeds when nothing is there. Raises HostError, Invalid(not_a_state_folder)."""
    state = given.state
    if given.purge and state.exists() and any(state.iterdir()) and not (state / machine.RECORD).exists():
        raise Invalid(
            f"{state} holds no {machine.RECORD}: scripts/up did not make it, so it is not removed.",
            code="not_a_state_folder",
            hint="Name the folder that scripts/up was given with --state.",
        )
    stopped = nodes.stop_all(state)
    removed: list[str] = []
    guests = False
    if given.purge:
        removed = machine.purge(state)
    elif machine.host_folder(state).is_dir():
        guests = machine.stop_idle_libvirtd(state)
    console.print(f"Stopped {', '.join(stopped)}." if stopped else "No node was running.")
    if guests:
        console.print(
            "Guests run on, with their libvirtd; scripts/up finds them again, scripts/down --purge removes them."
        )
    if removed:
        console.print(f"Removed {', '.join(removed)}.", soft_wrap=True)
    if given.json:
        print(json.dumps({"stopped": stopped, "guests_running": guests, "removed": removed}), flush=True)
    return 0
