"""What a template says in words: its kind of system, its virtual hardware, its security policy."""

from collections.abc import Mapping
from typing import Any, Final

from nano.ui import guest_words
from nano.ui.words import N_, Words

SYSTEMS: Final = {"linux": N_("Linux"), "windows": N_("Windows")}
PARTS: Final = {
    "disk": N_("Disks"),
    "network": N_("Network interfaces"),
    "display": N_("Display adapter"),
    "usb": N_("USB controller"),
    "tablet": N_("Pointer (tablet)"),
}
MODELS: Final = {  # names that are the same in every language
    "scsi": "VirtIO SCSI",
    "virtio": "VirtIO",
    "sata": "SATA",
    "ide": "IDE",
    "e1000": "Intel e1000",
    "rtl8139": "Realtek RTL8139",
    "vga": "VGA",
    "cirrus": "Cirrus",
    "qxl": "QXL",
    "nec-xhci": "USB 3 (xHCI)",
    "usb": "USB",
}
WITH: Final = {
    "disk": N_("%(model)s disks"),
    "network": N_("%(model)s network"),
    "display": N_("%(model)s display"),
    "usb": N_("USB 3"),
    "tablet": N_("%(model)s pointer"),
}
WITHOUT: Final = {"display": N_("no display"), "usb": N_("no USB"), "tablet": N_("no tablet pointer")}


def system(name: str, words: Words) -> str:
    return words._(SYSTEMS.get(name, name))


def part(name: str, words: Words) -> str:
    return words._(PARTS[name])


def model(name: str, words: Words) -> str:
    return words._("none") if name in ("", "none") else MODELS.get(name, name)


def hardware(held: Mapping[str, str], words: Words) -> str:
    """ "VirtIO SCSI disks, VirtIO network, VGA display, USB 3, USB pointer"."""
    said = []
    for name, with_it in WITH.items():
        held_model = held[name]
        if held_model in ("", "none"):
            said.append(words._(WITHOUT[name]))
        else:
            said.append(words._(with_it, model=MODELS.get(held_model, held_model)))
    return words._(", ").join(said)


def policy(held: Mapping[str, Any] | None, words: Words) -> str:
    """ "2 rules, then: Drop"; nothing when there is none."""
    if held is None:
        return ""
    default = guest_words.action(str(held["default"]), words)
    count = len(held["rules"])
    if not count:
        return words._("Everything: %(action)s", action=default)
    return words._(
        "%(rules)s, then: %(action)s", rules=words.ngettext("%(n)s rule", "%(n)s rules", count), action=default
    )
