"""Drift in words: what differs, where, and what would mend it; why something has no owner."""

from collections.abc import Mapping
from typing import Any, Final

from nano.ui.guest_words import FIELDS
from nano.ui.words import N_, Words

ATTRIBUTES: Final = {
    **FIELDS,
    "autostart": N_("autostart"),
    "network": N_("network interfaces"),
    "domain": N_("definition"),
}
WHERE: Final = {
    "domain": N_("on its host"),
    "definition": N_("in its definition"),
    "running": N_("while it runs"),
    "disk": N_("in its disks"),
    "filter": N_("in its packet filter"),
}
PLANS: Final = {
    "at_once": N_("A repair mends it at once."),
    "next_start": N_("A repair mends it; it follows at its next start."),
    "define_again": N_("A repair defines it again."),
    "not_here": N_("Its host can't do it: use another one, or leave it out."),
    "by_hand": N_("Nothing safe mends it by itself: look at it."),
}
KINDS: Final = {
    "domain": N_("domain"),
    "volume": N_("volume"),
    "seed": N_("cloud-init seed"),
    "media": N_("media"),
    "filter": N_("packet filter"),
    "snapshot": N_("snapshot"),
    "allocation": N_("allocation"),
}
WHY: Final = {
    "its cell has it, and Core has no such guest there": N_("Its cell has it, and Core has no such guest there."),
    "no journal has this domain": N_("No journal has this domain."),
    "its guest has no such snapshot": N_("Its guest has no such snapshot."),
    "its guest has no such file": N_("Its guest has no such file."),
    "no journal has its guest": N_("No journal has its guest."),
    "its creation was given up while the cell was away; the cell removes it before it takes new guests": N_(
        "Its creation was given up while the cell was away; the cell removes it before it takes new guests."
    ),
}
MENDABLE: Final = ("at_once", "next_start", "define_again")


def attribute(row: Mapping[str, Any], words: Words) -> str:
    name = str(row["attribute"])
    return words._(ATTRIBUTES.get(name, name))


def where(row: Mapping[str, Any], words: Words) -> str:
    return words._(WHERE.get(str(row["where"]), ""))


def plan(row: Mapping[str, Any], words: Words) -> str:
    return words._(PLANS.get(str(row["repair"]), ""))


def why(row: Mapping[str, Any], words: Words) -> str:
    return words._(WHY.get(str(row["why"]), str(row["why"])))


def kind(row: Mapping[str, Any], words: Words) -> str:
    return words._(KINDS.get(str(row["kind"]), str(row["kind"])))
