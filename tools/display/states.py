"""States as symbol + word + colour: never by colour alone, and with plain letters where the terminal has no others."""

from typing import Final, NamedTuple


class Look(NamedTuple):
    symbol: str
    plain: str  # where the terminal's encoding has no such symbol
    style: str


UNKNOWN: Final = Look("·", ".", "")

LOOKS: Final[dict[str, Look]] = {
    # guests
    "running": Look("●", "*", "green"),
    "stopped": Look("○", "o", "dim"),
    "paused": Look("◫", "=", "yellow"),
    "creating": Look("◐", "~", "cyan"),
    "recycled": Look("♻", "%", "yellow"),
    "deleting": Look("◐", "~", "cyan"),
    "crashed": Look("✗", "x", "bold red"),
    "lost": Look("?", "?", "bold red"),
    "missing": Look("!", "!", "bold red"),
    # cells
    "online": Look("●", "*", "green"),
    "offline": Look("○", "o", "bold red"),
    "discovered": Look("◌", "+", "cyan"),
    "disabled": Look("◍", "-", "yellow"),
    "can": Look("✓", "v", "green"),
    "can't": Look("⊘", "-", "yellow"),
    # tasks and their steps ("running" is above)
    "cancelling": Look("◑", "~", "yellow"),
    "undoing": Look("◑", "~", "yellow"),
    "undone": Look("↶", "<", "yellow"),
    "done": Look("✓", "v", "green"),
    "failed": Look("✗", "x", "bold red"),
    "cancelled": Look("⊘", "-", "yellow"),
    "waiting": Look("·", ".", "dim"),
    # alarms, backups
    "critical": Look("✗", "x", "bold red"),
    "warning": Look("!", "!", "yellow"),
    "made": Look("✓", "v", "green"),
    "off": Look("○", "o", "dim"),
    # images, pools, orders
    "ready": Look("●", "*", "green"),
    "enabled": Look("●", "*", "green"),
    "receiving": Look("◐", "~", "cyan"),
    "inspecting": Look("◐", "~", "cyan"),
    "open": Look("◐", "~", "cyan"),
}


def look(state: str) -> Look:
    return LOOKS.get(state, UNKNOWN)
