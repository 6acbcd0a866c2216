"""Every event of every node has a phrase, and every phrase fits the event's fields."""

from typing import Any

import msgspec
import pytest

from nano.domain.office import OFFICE_RULES
from nano.domain.site import SITE_RULES
from nano.domain.zone import ZONE_RULES
from nano.tools.display.sentences import PHRASES, name_in, phrase, sentence, subject

EVENTS = {
    kind.__struct_config__.tag: kind for rules in (ZONE_RULES, SITE_RULES, OFFICE_RULES) for kind in rules.event_types()
}


def example(kind: Any) -> Any:
    """Some value of a type, as JSON."""
    schema, components = msgspec.json.schema_components([kind])
    return of_schema(schema[0], components)


def of_schema(schema: dict[str, Any], components: dict[str, Any]) -> Any:
    if "$ref" in schema:
        return of_schema(components[schema["$ref"].rpartition("/")[2]], components)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return of_schema(schema["anyOf"][0], components)
    match schema.get("type"):
        case "object" if "properties" in schema:
            return {name: of_schema(inner, components) for name, inner in schema["properties"].items()}
        case "object":
            return {}
        case "array":
            return [of_schema(schema["items"], components)] if "items" in schema else []
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "text"


@pytest.mark.parametrize("tag", sorted(map(str, EVENTS)))
def test_every_event_is_told_by_its_own_phrase(tag: str) -> None:
    event = {**example(EVENTS[tag]), "type": tag}
    assert tag in PHRASES
    said = PHRASES[tag](event)
    assert said
    assert "\n" not in phrase(event)
    assert not said[0].isupper() or said.startswith("Core ")


def test_no_phrase_is_left_over() -> None:
    assert set(PHRASES) == set(EVENTS)


def test_unknown_events_and_fields_are_told_all_the_same() -> None:
    assert phrase({"type": "guest.tagged", "tags": ["a", "b"]}) == "tagged: tags a, b"
    assert phrase({"type": "guest.requested", "size": 3}) == "requested: size 3"
    assert phrase({"type": "order.done", "detail": "one\ntwo"}) == "is done: one; two"


def test_subjects() -> None:
    names = {"guest/1f0c9d2e-7b1a-4c5d-8e6f-0123456789ab": "web"}
    assert subject("guest/1f0c9d2e-7b1a-4c5d-8e6f-0123456789ab", names) == "guest web"
    assert subject("guest/1f0c9d2e-7b1a-4c5d-8e6f-0123456789ab", {}) == "guest 1f0c9d2e"
    assert subject("compute_pool/default", {}) == "compute pool default"
    assert subject("zone/zone", {}) == "the zone"
    agent = {"type": "guest.agent_changed", "connected": False}
    assert sentence(agent, "guest/web", {}) == "guest web: its agent fell silent"


def test_names_come_from_the_event_that_gives_them() -> None:
    assert name_in({"type": "guest.requested", "spec": {"name": "web"}}) == "web"
    assert name_in({"type": "task.started", "kind": "guest.start", "target_name": "web"}) == "guest.start of web"
    assert name_in({"type": "task.step_started", "name": "make domain"}) == ""
