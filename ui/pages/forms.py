"""Numbers that people type into forms, read into bytes and counts; and bytes written as people would type them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from nano.domain.errors import Invalid
from nano.domain.machine import OPERATIONS_MAX
from nano.domain.security import read_policy

UNITS: Final = {"MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
MEBI: Final = 1 << 20
MBIT: Final = 125_000  # bytes of a megabit
DISK_RATES: Final = ("read_bytes", "write_bytes")
DISK_OPERATIONS: Final = ("read_operations", "write_operations")
NETWORK_RATES: Final = ("receive_bytes", "send_bytes")
LIMITS: Final = (*DISK_RATES, *DISK_OPERATIONS, *NETWORK_RATES)


def size_in(form: Mapping[str, str], field: str) -> int:
    """Bytes, whole KiB, of ``field`` in the unit ``<field>_unit``. Raises Invalid(invalid_number) naming the field."""
    return (
        int(_amount(form.get(field, ""), field) * UNITS.get(form.get(f"{field}_unit", ""), UNITS["GiB"])) // 1024 * 1024
    )


def rate_in(form: Mapping[str, str], field: str, unit: int) -> int:
    """Bytes a second of ``field`` in ``unit`` bytes; nothing typed is 0, no limit. Raises Invalid(invalid_number)."""
    return round(_amount(form[field], field) * unit) if form.get(field, "").strip() not in ("", "0") else 0


def limits_in(form: Mapping[str, str]) -> dict[str, int]:
    """Every limit of disks and network interfaces, 0 for none. Raises Invalid(invalid_number) naming the field."""
    return {
        **{field: rate_in(form, field, MEBI) for field in DISK_RATES},
        **{field: whole_in(form.get(field, "") or "0", field, OPERATIONS_MAX, 0) for field in DISK_OPERATIONS},
        **{field: rate_in(form, field, MBIT) for field in NETWORK_RATES},
    }


def policy_in(form: Mapping[str, str]) -> dict[str, Any]:
    """``policy`` of a command; nothing when neither a default nor a rule was given. Raises Invalid, Conflict."""
    lines = [form["policy"], *form["rules"].splitlines()]
    return {"policy": msgspec.to_builtins(read_policy(lines))} if any(line.strip() for line in lines) else {}


def whole_in(text: str, field: str, most: int, least: int = 1) -> int:
    """Raises Invalid(invalid_number) naming the field."""
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or not least <= int(text) <= most:
        raise _wrong(field)
    return int(text)


def with_unit(size: int) -> tuple[str, str]:
    """Number and unit of a size: the largest unit in which it is a number of few digits."""
    for unit in ("TiB", "GiB"):
        if size >= UNITS[unit] and size * 4 % UNITS[unit] == 0:
            return plain(size / UNITS[unit]), unit
    return plain(size / MEBI), "MiB"


def plain(number: float) -> str:
    """Without what is not needed: 2, 0.5, and nothing for 0."""
    return f"{number:.6f}".rstrip("0").rstrip(".") if number else ""


def _amount(text: str, field: str) -> float:
    try:
        amount = float(text)
    except ValueError:
        amount = 0
    if not 0 < amount < 1e6:
        raise _wrong(field)
    return amount


def _wrong(field: str) -> Invalid:
    return Invalid("This is not a number that can be used.", code="invalid_number", field=field)
