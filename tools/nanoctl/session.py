"""What a verb works with: the connection (opened when first used), the terminal, and the format asked for."""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from nano.domain.errors import Invalid, Unknown
from nano.tools.display import plain
from nano.tools.display.terminal import Terminal
from nano.tools.nanoctl.connection import Api, Query, bad_answer

BASE: Final = "/api/v2"
PAGE_MAX: Final = 1000  # the API's largest page
PAGES_MAX: Final = 10_000
UUID_LENGTH: Final = 36
Row = dict[str, Any]


class Session:
    def __init__(self, terminal: Terminal, output: str, open_api: Callable[[], Api]) -> None:
        self.terminal = terminal
        self.output = output
        self._open_api = open_api

    @cached_property
    def api(self) -> Api:
        return self._open_api()

    @property
    def wide(self) -> bool:
        return self.output == "wide"

    @property
    def for_people(self) -> bool:
        return self.output in ("table", "wide")

    def print_data(self, value: Any) -> None:
        """For programs: JSON, or YAML when asked for."""
        self.terminal.data(plain.yaml_text(value) if self.output == "yaml" else plain.json_text(value))

    def print_record(self, value: Any) -> None:
        """One of a stream: a JSON line, or a YAML document."""
        self.terminal.data(f"---\n{plain.yaml_text(value)}" if self.output == "yaml" else plain.json_line(value))
        self.terminal.out.flush()

    def get(self, path: str, query: Query | None = None) -> Any:
        return self.api.call("GET", BASE + path, query=query).value

    def rows(self, path: str, query: Mapping[str, str | int] | None = None, limit: int = 0) -> Iterator[Row]:
        """Items of a list over all its pages, in the API's order; ``limit`` 0 = all."""
        given = 0
        cursor = ""
        for _ in range(PAGES_MAX):
            size = min(PAGE_MAX, limit - given) if limit else PAGE_MAX
            asked: dict[str, str | int] = {**(query or {}), "limit": size}
            if cursor:
                asked["cursor"] = cursor
            page = self.get(path, asked)
            if not isinstance(page, dict) or not isinstance(page.get("items"), list):
                raise bad_answer("it is no list of items")
            yield from page["items"]
            given += len(page["items"])
            cursor = page.get("next") or ""
            if not cursor or (limit and given >= limit):
                return

    def task_id(self, reference: str) -> str:
        """The whole id of a task named by its beginning. Raises Unknown, Invalid(ambiguous_task)."""
        if len(reference) >= UUID_LENGTH:
            return reference
        found = [row["id"] for row in self.rows("/tasks") if row["id"].startswith(reference)]
        if len(found) == 1:
            return str(found[0])
        if not found:
            raise Unknown(
                f"There is no task {reference!r}.",
                code="unknown_task",
                hint="List tasks to find its id: nanoctl task list.",
            )
        raise Invalid(
            f"{len(found)} tasks begin with {reference!r}.", code="ambiguous_task", hint="Write more of the id."
        )


def path_of(template: str, fields: Row) -> str:
    """``/guests/{guest}/start`` with the names put in, each as one safe part of the path."""
    return template.format(**{name: quote(str(value), safe="") for name, value in fields.items()})
