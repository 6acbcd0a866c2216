"""The mark that makes a libvirt domain Nano's: one element in its metadata, and the digest kept in it.

Invariant: a domain without a well-formed mark is not ours, whatever it is called. The namespace never changes its
meaning; a new form gets a new number.
"""

import hashlib
from typing import Final
from xml.etree import ElementTree as ET

import msgspec

from nano.domain.machine import MachineSpec

NAMESPACE: Final = "urn:nano:guest:1"
PREFIX: Final = "nano"
MARK_LENGTH_MAX: Final = 4096  # a longer element is not one we wrote

ET.register_namespace(PREFIX, NAMESPACE)


class Mark(msgspec.Struct, frozen=True):
    """``digest`` of the spec the domain was defined from; ``cell`` whose domain it is; ``zone`` that cell's domain name."""

    digest: str
    cell: str = ""
    zone: str = ""


def spec_digest(spec: MachineSpec) -> str:
    """64 hex digits, equal exactly when the specs are (fields in declared order, as JSON)."""
    return hashlib.sha256(msgspec.json.encode(spec)).hexdigest()


def read_mark(text: str) -> Mark | None:
    """The mark in the text libvirt returned for our namespace; None when it is not one."""
    if len(text) > MARK_LENGTH_MAX or "<!" in text:
        return None
    try:
        root = ET.fromstring(text)  # noqa: S314  bounded, and a document type is refused above
    except ET.ParseError:
        return None
    # libvirt gives the element back without its prefix when that namespace is the one asked for
    if root.tag not in (f"{{{NAMESPACE}}}guest", "guest") or not root.get("digest"):
        return None
    return Mark(root.get("digest", ""), root.get("cell", ""), root.get("zone", ""))
