"""Data for programs: JSON for one value, JSON lines for a stream, YAML for those whose tools want it.

The YAML is a small, safe part of the language: block mappings and lists, every text that could be read as something
else in JSON's double quotes (which YAML takes as they are). No anchors, no tags, no folded text.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_TAKEN: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def json_text(value: Any) -> str:
    """Indented JSON."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def json_line(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def yaml_text(value: Any) -> str:
    return "\n".join(_block(value))


def _block(value: Any) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{_scalar(key)}:", inner, indent="  ")
    elif isinstance(value, list) and value:
        for inner in value:
            yield from _item(inner)
    else:
        yield _scalar(value)


def _entry(head: str, value: Any, *, indent: str) -> Iterator[str]:
    if value and isinstance(value, dict | list):
        yield head
        yield from (indent + line for line in _block(value))
    else:
        yield f"{head} {_scalar(value)}"


def _item(value: Any) -> Iterator[str]:
    first = True
    for line in _block(value):
        yield ("- " if first else "  ") + line
        first = False


def _scalar(value: Any) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _TAKEN:
        return value
    return json_line(value)
