"""Pieces: what of a domain no change reaches (display, inputs, channels, boot order …), to tell whether it is still there.

libvirt adds to what it was given (addresses, aliases, ports, devices of its own), so a piece is there when some piece of its
kind has at least its traits; and of the kinds that libvirt adds nothing to there may be no more than were asked for.
Disks, network interfaces and the media drive are ``shape``'s. The channel for the clipboard is nobody's: a guest gets it with its
next definition where its host can, and one that was defined before is as it should be.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from xml.etree import ElementTree as ET

from nano.hypervisor.devices import CLIPBOARD_CHANNEL, MEDIA_TARGET

NONE: Final = "not there"
_ELSEWHERE: Final = frozenset({"interface"})
_NO_MORE: Final = frozenset(
    {
        "graphics",
        "video",
        "hostdev",
        "filesystem",
        "redirdev",
        "tpm",
        "shmem",
        "watchdog",
        "sound",
        "parallel",
        "smartcard",
    }
)
_BESIDE: Final = ("clock", "on_poweroff", "on_reboot", "on_crash", "pm/suspend-to-mem", "pm/suspend-to-disk")


class Piece(NamedTuple):
    """``traits`` are paths below it with their values: "target/@name=org.qemu.guest_agent.0"."""

    kind: str
    traits: frozenset[str]

    def __str__(self) -> str:
        return " ".join([self.kind, *sorted(trait.rpartition("/")[2].lstrip("@") for trait in self.traits)])[:200]


def pieces_of(root: ET.Element) -> tuple[Piece, ...]:
    return tuple(_pieces(root))


def _pieces(root: ET.Element) -> Iterator[Piece]:
    yield Piece("domain", frozenset({f"@type={root.get('type')}"}))
    yield Piece("boot", frozenset({",".join(one.get("dev", "") for one in root.findall("os/boot"))}))
    for name in _BESIDE:
        for one in root.findall(name):
            yield Piece(name, frozenset(_traits(one)))
    yield from (Piece(f"feature {one.tag}", frozenset()) for one in root.findall("features/*"))
    for device in root.findall("devices/*"):
        if device.tag == "disk":
            target = device.find("target")
            is_media = target is not None and target.get("dev") == MEDIA_TARGET
            if device.get("device", "disk") == "disk" or is_media:
                continue
        if device.tag not in _ELSEWHERE and device.get("type") != CLIPBOARD_CHANNEL:
            yield Piece(device.tag, frozenset(_traits(device)))


def _traits(element: ET.Element, path: str = "") -> Iterator[str]:
    yield from (f"{path}@{name}={value}" for name, value in element.attrib.items())
    if text := (element.text or "").strip():
        yield f"{path}={text}" if path else text
    for child in element:
        yield from _traits(child, f"{path}{child.tag}/")


def unlike(now: Iterable[Piece], wanted: Iterable[Piece]) -> Iterator[tuple[str, str]]:
    """What was expected and what is found instead, in words."""
    left = list(now)
    lacking: list[Piece] = []
    for piece in wanted:
        has = next((one for one in left if one.kind == piece.kind and one.traits >= piece.traits), None)
        if has is None:
            lacking.append(piece)
        else:
            left.remove(has)
    for piece in lacking:
        instead = max(
            (one for one in left if one.kind == piece.kind),
            key=lambda one: len(one.traits & piece.traits),
            default=None,
        )
        if instead is not None:
            left.remove(instead)
        yield str(piece), str(instead or NONE)
    yield from ((NONE, str(one)) for one in left if one.kind in _NO_MORE)
