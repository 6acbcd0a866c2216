"""Events that were written must stay readable: the schema of each journal is held here.

To add an event, a state, or a field with a default: run with ``--regenerate`` (see tests/conftest.py) and look at the
difference. To rename or remove one, or change a type, write an upcaster first.
"""

from pathlib import Path

import msgspec
import pytest

from nano.domain.facts import Model
from nano.domain.office import Office
from nano.domain.schema import describe, describe_states
from nano.domain.site import Site
from nano.domain.zone import Zone

FOLDER = Path(__file__).parent / "schema"


@pytest.mark.parametrize(("name", "model"), [("zone", Zone), ("site", Site), ("office", Office)])
def test_schema_is_what_was_released(name: str, model: type[Model], regenerate: bool) -> None:
    path = FOLDER / f"{name}.json"
    now = msgspec.json.format(msgspec.json.encode(describe(model.rules)), indent=1).decode() + "\n"
    if regenerate:
        path.write_text(now)
    assert path.read_text() == now


@pytest.mark.parametrize(("name", "model"), [("zone", Zone), ("office", Office)])
def test_states_are_what_bases_hold(name: str, model: type[Model], regenerate: bool) -> None:
    """Of the nodes that may drop old segments: a base outlives them, so a new field needs a default, and an old one stays."""
    path = FOLDER / f"{name}-states.json"
    now = msgspec.json.format(msgspec.json.encode(describe_states(model.rules)), indent=1).decode() + "\n"
    if regenerate:
        path.write_text(now)
    assert path.read_text() == now


@pytest.mark.parametrize("model", [Zone, Site, Office])
def test_every_command_and_event_is_tagged_once(model: type[Model]) -> None:
    for table in (model.rules.decide, model.rules.evolve):
        tags = [kind.__struct_config__.tag for kind in table]
        assert len(tags) == len(set(tags))
        assert all(isinstance(tag, str) and "." in tag for tag in tags)
