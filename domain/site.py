"""Site: the model of one Cell, its host domains and orders. What a Cell's journal folds into."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

from nano.domain import domain_snapshot as ds
from nano.domain import domain_vnc as dv
from nano.domain import host_domain as hd
from nano.domain import order as od
from nano.domain.facts import Model, Rules, State

ORDERS_KEPT: Final = 10_000  # closed orders held in memory for answering repeats; Core stops repeating long before


SITE_RULES: Final = Rules.joined(hd.RULES, ds.RULES, dv.RULES, od.RULES)


class Site(Model):
    rules = SITE_RULES

    def __init__(self) -> None:
        super().__init__()
        self.open_orders: dict[str, od.Order] = {}
        self._closed: deque[str] = deque()

    def clear_indexes(self) -> None:
        self.open_orders.clear()

    def memory(self) -> dict[str, list[str]]:
        return {"closed": list(self._closed)}

    def recall(self, memory: Mapping[str, list[str]]) -> None:
        self._closed = deque(memory.get("closed", ()))

    def of_kind(self, kind: str) -> Iterator[State]:
        """Orders: the open ones only."""
        return iter(list(self.open_orders.values())) if kind == "order" else super().of_kind(kind)

    def domains(self) -> list[hd.HostDomain]:
        return [state for state in self.of_kind("domain") if isinstance(state, hd.HostDomain)]

    def closed_orders(self, guest_id: str, kind: str) -> list[od.Order]:
        """Those that are still held in memory."""
        found = (self.states.get(f"order/{order_id}") for order_id in self._closed)
        return [one for one in found if isinstance(one, od.Order) and (one.guest_id, one.kind) == (guest_id, kind)]

    def changed(self, resource: str, before: State | None, after: State | None) -> None:
        if not isinstance(after, od.Order):
            return
        if after.state == "open":
            self.open_orders[after.id] = after
        else:
            self.open_orders.pop(after.id, None)

    def over(self, state: State | None) -> None:
        """Of closed orders only the last are kept."""
        assert isinstance(state, od.Order)
        self._closed.append(state.id)
        while len(self._closed) > ORDERS_KEPT:
            oldest = self._closed.popleft()
            self.states.pop(f"order/{oldest}", None)
