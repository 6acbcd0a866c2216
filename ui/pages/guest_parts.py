"""What one form on a guest's page asks of Core: shared by the pages that change guests."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nano.ui.mirror import Row

Form = Mapping[str, str]


class Ask(NamedTuple):
    """A request to Core about the guest; ``path`` continues its address."""

    method: str
    path: str = ""
    body: dict[str, Any] | None = None
    params: dict[str, str] | None = None


class Part(NamedTuple):
    """One form: the panel it stands in, what it asks for (None = nothing differs), and what is said when it is accepted."""

    panel: str
    ask: Callable[[Row, Form], Ask | None]
    said: str
