"""The schema of a journal as data: every event with its fields, for the lock file that guards old journals.

A journal written by any release must replay on every later one. So an event's tag and fields, once released, only change
together with an upcaster; ``tests/golden/schema`` holds the last word and a test compares.
"""

from typing import Any

import msgspec

from nano.domain.facts import Rules


def describe(rules: Rules) -> dict[str, Any]:
    """``{tag: {"fields": {name: type or [type, default]}}}``, nested structs by name under ``$structs``."""
    schemas, components = msgspec.json.schema_components(rules.event_types(), ref_template="{name}")
    events = {}
    for kind, schema in zip(rules.event_types(), schemas, strict=True):
        body = components.get(schema.get("$ref", ""), schema)
        fields = {name: _brief(value) for name, value in body.get("properties", {}).items() if name != "type"}
        events[str(kind.__struct_config__.tag)] = {
            "fields": fields,
            "required": sorted(set(body.get("required", ())) - {"type"}),
        }
    names = {kind.__name__ for kind in rules.event_types()}
    structs = {
        name: {"fields": {field: _brief(value) for field, value in body.get("properties", {}).items()}}
        for name, body in components.items()
        if name not in names
    }
    return {"events": dict(sorted(events.items())), "structs": dict(sorted(structs.items()))}


def describe_states(rules: Rules) -> dict[str, Any]:
    """``{kind: {"fields": …, "required": …}}`` of every kind of state, nested structs under their names. The base of a journal
    whose old segments were dropped holds such states, and must read on every later release as well."""
    kinds = sorted(rules.states.items())
    schemas, components = msgspec.json.schema_components([state for _, state in kinds], ref_template="{name}")
    roots = {kind: schema.get("$ref", "") for (kind, _), schema in zip(kinds, schemas, strict=True)}
    described = {
        name: {
            "fields": {field: _brief(value) for field, value in body.get("properties", {}).items()},
            "required": sorted(body.get("required", ())),
        }
        for name, body in sorted(components.items())
    }
    return {"kinds": roots, "structs": described}


def _brief(schema: dict[str, Any]) -> Any:
    return {key: value for key, value in schema.items() if key not in ("title", "description")}
