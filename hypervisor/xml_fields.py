"""Dataclass fields mapped to places in an XML element: how every device class says what it looks like.

Why: a device is easier to read, test and extend as a list of ``name: type = at("source/@bridge")`` than as code
that builds nodes (virt-manager's ``XMLProperty`` is the model). Invariant: text and attribute values go through
ElementTree only, so whatever a value contains, the document stays the document; characters that XML 1.0 cannot carry,
and line breaks, become "?". Parsing XML back is not done here.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

_UNPRINTABLE = re.compile("[^\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def at(place: str, default: Any = dataclasses.MISSING) -> Any:
    """A field kept at ``place``: "@attr", "child/@attr", "child/grandchild" (text) or "." (own text).

    "", (), None and False leave nothing; True leaves an empty element; a tuple of elements is appended at the place.
    """
    return dataclasses.field(default=default, metadata={"at": place})


@dataclasses.dataclass(frozen=True, kw_only=True)
class XmlElement:
    """Base of everything that renders itself; subclasses set ``tag`` and declare fields with ``at``."""

    tag: ClassVar[str]

    def element(self) -> ET.Element:
        root = ET.Element(self.tag)
        for field in dataclasses.fields(self):
            _put(root, field.metadata["at"], getattr(self, field.name))
        return root


def render(document: XmlElement) -> str:
    """The document as indented text, always the same for the same values."""
    root = document.element()
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def printable(value: object) -> str:
    return _UNPRINTABLE.sub("?", str(value))


def _put(root: ET.Element, place: str, value: Any) -> None:
    if value is None or value is False or value in ("", ()):
        return
    path, _, attribute = place.partition("@")
    node = _child(root, [step for step in path.split("/") if step not in ("", ".")])
    if attribute:
        node.set(attribute, printable(value))
    elif isinstance(value, XmlElement):
        node.append(value.element())
    elif isinstance(value, ET.Element):
        node.append(value)
    elif isinstance(value, Iterable) and not isinstance(value, str):
        node.extend(item.element() for item in value)
    elif value is not True:
        node.text = printable(value)


def _child(node: ET.Element, steps: list[str]) -> ET.Element:
    for step in steps:
        found = node.find(step)
        node = ET.SubElement(node, step) if found is None else found
    return node
