"""diff: exactly what the states of two moments do not have in common."""

from pathlib import Path
from typing import Any

import pytest

from nano.tools.replay import exits
from nano.tools.replay.difference import flat
from nano.tools.replay.fold import fold
from nano.tools.replay.moments import Moment
from nano.tools.replay.node import Node

CELL = "cell/Cell_0a1b2c3d4e5f"


def changes(outcome: Any) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    return {record["resource"]: record for record in outcome.json}


def test_added_changed_and_removed(replay: Any) -> None:
    found = changes(replay("diff", "--at", "4", "--at", "9", "-o", "json"))
    guest = next(record for name, record in found.items() if name.startswith("guest/"))
    assert (guest["change"], guest["name"], guest["version"]) == ("added", "web", {"from": 0, "to": 1})
    assert guest["state"]["spec"]["cores"] == 2
    assert found[CELL]["change"] == "changed"
    fields = {field["field"]: (field["from"], field["to"]) for field in found[CELL]["fields"]}
    assert fields["cores"] == (0, 8)
    assert fields["pool"] == ("", "default")
    back = changes(replay("diff", "--at", "9", "--at", "4", "-o", "json"))
    gone = next(record for name, record in back.items() if name.startswith("guest/"))
    assert gone["change"] == "removed"
    assert next(field for field in back[CELL]["fields"] if field["field"] == "cores")["to"] == 0


@pytest.mark.parametrize("before", range(0, 38, 3))
def test_what_differs_is_what_two_folds_do_not_share(replay: Any, node: Path, before: int) -> None:
    """Every field of every resource, by folding each moment on its own."""
    found = changes(replay("diff", "--at", str(before), "--at", "34", "-o", "json"))
    one, other = (fold(Node(node), Moment(position=at)).model.states for at in (before, 34))
    for resource in {*one, *other}:
        old, new = flat(one.get(resource)), flat(other.get(resource))
        if old == new:
            assert resource not in found
        elif old and new:
            told = {field["field"]: field["to"] for field in found[resource]["fields"]}
            assert {**old, **told} == new
        else:
            assert found[resource]["change"] == ("added" if new else "removed")
    assert set(found) <= {*one, *other}


def test_one_moment_is_compared_with_the_end(replay: Any) -> None:
    assert set(changes(replay("diff", "--at", "37", "-o", "json"))) == {"compute_pool/fast"}
    assert "Nothing differs." in replay("diff", "--at", "38").err


def test_one_resource(replay: Any) -> None:
    assert set(changes(replay("diff", "--at", "4", CELL, "-o", "json"))) == {CELL}
    assert set(changes(replay("diff", "--at", "4", "cell", "-o", "json"))) == {CELL}
    assert set(changes(replay("diff", "--at", "4", "--at", "37", "compute_pool/default", "-o", "json"))) == set()
    outcome = replay("diff", "--at", "4", "guest/none")
    assert outcome.code == exits.REFUSED
    assert "not_there" in outcome.err


def test_moments_must_be_one_or_two(replay: Any) -> None:
    for words in ((), ("--at", "1", "--at", "2", "--at", "3"), ("--at", "soon")):
        outcome = replay("diff", *words)
        assert (outcome.code, outcome.out) == (exits.REFUSED, "")
