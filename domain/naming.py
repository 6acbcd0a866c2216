"""Spelling of names, and sizes as people write them.

Names of guests, pools and cells are ``[0-9A-Za-z_-]`` (nano-behaviour §21), images and tags also take a dot; of marks only
(``-``) none is made: no command line could be given it. They become parts of file names and of domain XML, so nothing else
is ever let through.
"""

import re
from typing import Final

from nano.domain.errors import Invalid

NAME_LENGTH_MAX: Final = 64
_NAME = re.compile(r"(?=.*[0-9A-Za-z])[0-9A-Za-z_-]+")
_DOTTED = re.compile(r"(?=.*[0-9A-Za-z])[0-9A-Za-z_.-]+")
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_SIZE = re.compile(r"\s*(\d+)\s*(B|KiB|MiB|GiB|TiB)?\s*")
_UNITS: Final = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def require_name(value: str, what: str = "name", *, dotted: bool = False) -> str:
    """The value itself. Raises Invalid(code="invalid_name") when it is empty, too long or misspelt."""
    pattern, letters = (
        (_DOTTED, "letters, digits, '_', '-' and '.'") if dotted else (_NAME, "letters, digits, '_' and '-'")
    )
    if not 0 < len(value) <= NAME_LENGTH_MAX or not pattern.fullmatch(value):
        shown = value if len(value) <= NAME_LENGTH_MAX else value[:NAME_LENGTH_MAX] + "…"
        raise Invalid(
            f"{shown!r} is not a {what}.",
            code="invalid_name",
            hint=f"Use 1 to {NAME_LENGTH_MAX} {letters}, not marks only.",
            field=what,
        )
    return value


def require_text(value: str, field: str, most: int, *, lines: bool = False) -> str:
    """The value itself, words of people. Raises Invalid(invalid_<field>) when it is too long or has characters that no
    page, terminal or XML shows as they are: control characters, and those that turn the direction of what follows."""
    if len(value) > most:
        raise Invalid(
            f"{field} has {len(value)} characters.", code=f"invalid_{field}", hint=f"Use {most} at most.", field=field
        )
    found = _UNSHOWN.search(value.replace("\n", "").replace("\t", "") if lines else value)
    if found:
        raise Invalid(
            f"{field} has a character that can't be shown: U+{ord(found[0]):04X}.",
            code=f"invalid_{field}",
            hint="Leave it out." if lines else "Leave it out; it is one line.",
            field=field,
        )
    return value


def parse_size(text: str) -> int:
    """Bytes of "512", "128MiB", "2 GiB". Raises Invalid(code="invalid_size")."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise Invalid(
            f"{text!r} is not a size.", code="invalid_size", hint="Write bytes, or a number with KiB, MiB, GiB or TiB."
        )
    return int(match[1]) * _UNITS[match[2] or "B"]


def format_size(size: int) -> str:
    """The shortest exact-looking text: 134217728 -> "128 MiB"; one decimal where it does not divide."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        scale = _UNITS[unit]
        if size >= scale:
            value = size / scale
            return f"{value:.0f} {unit}" if size % scale == 0 else f"{value:.1f} {unit}"
    return f"{size} B"
