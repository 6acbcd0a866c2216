"""Typed, strict reading of what a client sends: JSON bodies into command structs, query strings into known parameters.

Nothing is guessed or passed over: unknown fields, repeated parameters and wrong types are refused with a stable code
and the field's name. Ranges and spellings are the domain's to judge.
"""

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from nano.domain.errors import Invalid
from nano.domain.facts import Command
from nano.http.problems import BadRequest
from nano.http.signing import query_pairs

QUERY_BYTES_MAX: Final = 8 << 10
_object = msgspec.json.Decoder(dict[str, Any])
_AT: Final = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_TRUTHS: Final = {"true": True, "1": True, "false": False, "0": False}


def decode_object(body: bytes) -> dict[str, Any]:
    """A JSON object; nothing at all is an empty one. Raises BadRequest(invalid_json), Invalid(invalid_type)."""
    if not body.strip():
        return {}
    try:
        return _object.decode(body)
    except msgspec.ValidationError as error:
        raise Invalid(
            f"The body is not a JSON object: {error}.", code="invalid_type", hint="Send an object.", field=""
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(
            f"The body is not JSON: {error}.", code="invalid_json", hint="Send one JSON object in UTF-8."
        ) from error


def decode_command(
    kind: type[Command], body: dict[str, Any], arguments: dict[str, str], *, lax: bool = False
) -> Command:
    """The command, its path arguments merged in. ``lax`` reads texts as numbers and truth values (query parameters).

    Raises Invalid(unknown_field, missing_field, invalid_type, invalid_value) with ``field``.
    """
    for name in body:
        if name in arguments or name == "type":
            raise Invalid(
                f"The body may not hold {name!r}.",
                code="unknown_field",
                hint="It is in the path already." if name in arguments else "The address says what the command is.",
                field=name,
            )
    try:
        command = msgspec.convert({**body, **arguments}, kind, strict=not lax)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _invalid(str(error)) from error
    for name, value in body.items():
        _refuse_unknown(value, getattr(command, name), name)
    return command


def _refuse_unknown(told: Any, read: Any, path: str) -> None:
    """Unknown fields of structs inside a command: those are shared with the journal, which must read over them."""
    if isinstance(read, tuple) and isinstance(told, list):
        for number, (one, struct) in enumerate(zip(told, read, strict=True)):
            _refuse_unknown(one, struct, f"{path}[{number}]")
    if not isinstance(read, msgspec.Struct) or not isinstance(told, dict):
        return
    for name, value in told.items():
        if name not in read.__struct_fields__:
            raise _invalid(f"Object contains unknown field `{name}` - at `$.{path}`")
        _refuse_unknown(value, getattr(read, name), f"{path}.{name}")


def _invalid(text: str) -> Invalid:
    match = _AT.fullmatch(text)
    told, where = (match[1], match[2] or "") if match else (text, "")
    if field := _FIELD.fullmatch(told):
        missing = field[1].startswith("missing")
        path = f"{where}.{field[2]}" if where else field[2]
        return Invalid(
            f"The field {path!r} is missing." if missing else f"There is no field {path[:80]!r}.",
            code="missing_field" if missing else "unknown_field",
            hint="See /api/v2/openapi.json for the fields of this command.",
            field=path[:200],
        )
    code = "invalid_type" if told.startswith("Expected") and ", got" in told else "invalid_value"
    return Invalid(
        f"{where or 'The value'}: {told}.",
        code=code,
        hint="See /api/v2/openapi.json for the fields of this command.",
        field=where,
    )


def decode_query(query: bytes, allowed: Iterable[str]) -> dict[str, str]:
    """Raises BadRequest(invalid_query), Invalid(unknown_parameter, repeated_parameter) with ``field``."""
    if not query:
        return {}
    pairs = query_pairs(query)
    if len(pairs) != sum(1 for part in query.split(b"&") if part):
        raise BadRequest("The query is not form-encoded.", code="invalid_query", hint="Mind '%' and ';'.")
    known = tuple(allowed)
    values: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        try:
            name, value = raw_name.decode(), raw_value.decode()
        except UnicodeDecodeError as error:
            raise BadRequest("The query is not UTF-8.", code="invalid_query", hint="Encode it as UTF-8.") from error
        if name not in known:
            raise Invalid(
                f"There is no parameter {name[:80]!r} here.",
                code="unknown_parameter",
                hint=f"Known are: {', '.join(known)}." if known else "This address takes none.",
                field=name[:80],
            )
        if name in values:
            raise Invalid(
                f"The parameter {name} is there twice.", code="repeated_parameter", hint="Give it once.", field=name
            )
        values[name] = value
    return values


def whole_number(text: str, field: str, low: int, high: int) -> int:
    """Raises Invalid(invalid_<field>)."""
    if text.isascii() and text.isdigit() and len(text) <= 20 and low <= int(text) <= high:
        return int(text)
    raise Invalid(
        f"{field} is {text[:40]!r}.", code=f"invalid_{field}", hint=f"Use a number from {low} to {high}.", field=field
    )


def truth(text: str, field: str) -> bool:
    """Raises Invalid(invalid_<field>)."""
    value = _TRUTHS.get(text.lower())
    if value is None:
        raise Invalid(f"{field} is {text[:40]!r}.", code=f"invalid_{field}", hint="Use true or false.", field=field)
    return value
