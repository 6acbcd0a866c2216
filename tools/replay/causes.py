"""From a fact back to the request behind it, over the journals of a zone.

Every writer says what led to a fact (``cause``), and that is followed, never guessed:
    cell/<name>@<position>   Core took it over from this place of a cell's journal: the fact of the domain there
    order/<id>               a cell did it for an order; the id begins with the task's (or is ``debt.<guest>``)
    task/<id>                a task did it: the task's first fact, which has the actor and the command; when the task
                             failed, first what the cell's order failed with
    nothing                  the fact itself came from a request, or from nobody: its node saw or did it

Where a journal is not at hand the chain says so (``missing``) and, when it can, goes on at the task that held the resource
at that time (``certain`` is false then). Reads each journal a few times in streams; holds only facts of what it looks for.
"""

from collections.abc import Generator, Iterator
from typing import Any, Final, NamedTuple

from nano.tools.replay.facts import Fact
from nano.tools.replay.node import Node
from nano.tools.replay.tracing import Place, facts_of, sessions_of

LINKS_MAX: Final = 32  # a chain is short; one that goes in circles is a damaged one
SESSIONS_MAX: Final = 5  # told of those somebody had open; the newest
_FROM_DOMAIN: Final = {
    "guest.created": ("domain.created", ""),
    "guest.redefined": ("domain.redefined", ""),
    "guest.changed": ("domain.changed", ""),
    "guest.snapshot_made": ("domain.snapshot_made", ""),
    "guest.snapshot_restored": ("domain.snapshot_restored", ""),
    "guest.snapshot_deleted": ("domain.snapshot_deleted", ""),
    "guest.vnc_opened": ("domain.vnc_opened", ""),
    "guest.vnc_closed": ("domain.vnc_closed", ""),
    "guest.deleted": ("domain.removed", ""),
    "guest.started": ("domain.power_changed", "running"),
    "guest.stopped": ("domain.power_changed", "stopped"),
    "guest.paused": ("domain.power_changed", "paused"),
    "guest.crashed": ("domain.power_changed", "crashed"),
    "guest.agent_changed": ("domain.agent_changed", ""),
}
_VANISHED: Final = (("domain.vanished", ""), ("domain.removed", ""), ("domain.power_changed", "missing"))


_Step = Generator["Link", None, tuple[Node, Place] | None]


class Link(NamedTuple):
    """One step back. ``relation``: change, report, failure, order, task, debt, request, session, origin or missing."""

    relation: str
    node: str
    kind: str
    fact: Fact | None
    said: dict[str, Any]
    certain: bool = True

    def record(self) -> dict[str, Any]:
        return {
            "relation": self.relation,
            "node": self.node,
            "kind": self.kind,
            "certain": self.certain,
            **self.said,
            **(self.fact or {}),
        }


def chain(nodes: list[Node], start: Node, place: Place) -> Iterator[Link]:
    """``place`` is the fact to begin with, in ``start``'s journal."""
    yield _link("change", start, place.fact)
    yield from _Chain(nodes).back(start, place)


def _link(relation: str, node: Node, fact: Fact, *, certain: bool = True, **said: Any) -> Link:
    return Link(relation, node.name, node.kind, fact, said, certain)


class _Chain:
    def __init__(self, nodes: list[Node]) -> None:
        self._nodes = nodes

    def back(self, node: Node, place: Place) -> Iterator[Link]:
        at: tuple[Node, Place] | None = (node, place)
        for _ in range(LINKS_MAX):
            if at is None:
                return
            node, place = at
            cause = str(place.fact["cause"])
            kind, _, rest = cause.partition("/")
            if kind == "cell" and "@" in rest:
                at = yield from self._report(node, place, *rest.rsplit("@", 1))
            elif kind == "order" and place.fact["resource"] != cause:
                at = yield from self._first(node, cause, "order")
            elif kind == "order":
                at = yield from self._order(rest)
            elif kind == "task" and _failed(place.fact) and (failure := self._failure(rest)) is not None:
                yield _link("failure", failure[0], failure[1].fact)
                at = failure
            elif kind == "task" and (place.fact["resource"] != cause or place.fact["version"] != 1):
                at = yield from self._first(node, cause, "task")
            else:
                yield from self._root(node, place.fact)
                return

    def _report(self, core: Node, place: Place, name: str, position: str) -> _Step:
        """The domain's fact that the guest's was made of."""
        cell = self._find("cell", name)
        if cell is None or not position.isdigit():
            yield _missing("cell", name, f"what {name} says of it")
            return (yield from self._held(core, place))
        low, high = place.read_before, int(position)
        wanted = said_by_cell(place.fact["event"]["type"])
        resource = f"domain/{str(place.fact['resource']).partition('/')[2]}"
        found = [
            other
            for other in facts_of(cell, resource)
            if low < other.fact["position"] <= high
            and (other.fact["event"]["type"], str(other.fact["event"].get("power", ""))) in wanted
        ]
        if len(found) <= place.nth:
            yield _missing("cell", name, f"what Core took over from positions {low + 1} to {high}", found=True)
            return (yield from self._held(core, place))
        yield _link("report", cell, found[place.nth].fact)
        return cell, found[place.nth]

    def _held(self, core: Node, place: Place) -> _Step:
        """Without the cell's word: the task that held the resource when it came."""
        if place.task:
            for task in facts_of(core, f"task/{place.task}"):
                yield _link("task", core, task.fact, certain=False)
                return core, task
        return None

    def _first(self, node: Node, resource: str, relation: str) -> _Step:
        """The first fact of an order or a task."""
        for place in facts_of(node, resource):
            yield _link(relation, node, place.fact)
            return node, place
        yield _missing(node.kind, node.name, f"the beginning of {resource}", found=True)
        return None

    def _failure(self, task_id: str) -> tuple[Node, Place] | None:
        """What the last order of the task failed with; an order's id begins with the task's."""
        found = None
        for cell in self._nodes:
            if cell.kind == "cell":
                for place in facts_of(cell, prefix=f"order/{task_id}."):
                    if place.fact["event"]["type"] == "order.failed":
                        found = cell, place
        return found

    def _order(self, order_id: str) -> _Step:
        """What Core wanted with it."""
        core = self._find("core")
        if core is None:
            yield _missing("core", "Core", f"the task behind order {order_id}")
            return None
        if order_id.startswith("debt."):
            guest = order_id.removeprefix("debt.")
            for other in facts_of(core, prefix="cell/"):
                if other.fact["event"] == {"type": "cell.debt_recorded", "guest_id": guest}:
                    yield _link("debt", core, other.fact)
                    return core, other
            yield _missing("core", core.name, f"the debt of guest {guest}", found=True)
            return None
        return (yield from self._first(core, f"task/{order_id.partition('.')[0]}", "task"))

    def _root(self, node: Node, fact: Fact) -> Iterator[Link]:
        actor, command = str(fact["actor"]), str(fact["command_id"])
        event = fact["event"]
        if event["type"] == "task.started":  # what it keeps for itself, should its command have come another way
            actor, command = str(event.get("actor", actor)), str(event.get("command_id", command))
        own = actor in ("core", "hypervisor") or actor.startswith("cell/")
        said = {"actor": actor, "command_id": command, "at": fact["at"]}
        if own:
            yield Link("origin", node.name, node.kind, None, said)
            return
        through = command.partition(":")[0].partition("/")[0] if ":" in command else ""
        yield Link("request", node.name, node.kind, None, {**said, "through": through})
        if through == "frontend":
            yield from self._session(actor, str(fact["at"]))

    def _session(self, account: str, at: str) -> Iterator[Link]:
        """The sessions the person had open then; which of several it was, nobody records."""
        frontend = self._find("frontend")
        if frontend is None:
            yield _missing("frontend", "FrontEnd", f"the session {account} asked from")
            return
        found = list(sessions_of(frontend, account, at))
        for fact in found[-SESSIONS_MAX:]:
            yield _link("session", frontend, fact, certain=len(found) == 1)
        if not found:
            yield _missing("frontend", frontend.name, f"a session {account} had open then", found=True)

    def _find(self, kind: str, name: str = "") -> Node | None:
        return next((node for node in self._nodes if node.kind == kind and name in ("", node.name)), None)


def said_by_cell(kind: str) -> tuple[tuple[str, str], ...]:
    """Types of a cell's event, with the power where it matters, of which Core makes a guest's event of this type."""
    return _VANISHED if kind == "guest.vanished" else (_FROM_DOMAIN.get(kind, (kind, "")),)


def _failed(fact: Fact) -> bool:
    event = fact["event"]
    return bool(event.get("error")) or event["type"] == "guest.create_undone"


def _missing(kind: str, name: str, what: str, *, found: bool = False) -> Link:
    hint = "its journal does not hold it" if found else "name its folder with --node"
    return Link("missing", name, kind, None, {"what": what, "hint": hint}, certain=True)
