"""Tables: order, pages, cursors, what is encoded and when."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.domain.errors import Invalid
from nano.projections.rows import ImageRow, Row
from nano.projections.table import Table, encode_cursor

AT = datetime(2026, 11, 21, tzinfo=UTC)


class Shelf:
    """A table over a dictionary id -> name, counting how often a row is made."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.made = 0
        self.table = Table("image", self._row, lambda key: self.names[key], "run")

    def _row(self, key: str) -> ImageRow:
        self.made += 1
        return ImageRow(
            id=key,
            name=self.names[key],
            format="qcow2",
            size=1,
            virtual_size=1,
            sha256="",
            kept=False,
            wanted=0,
            owner="",
            description="",
            tags=(),
            task="",
            created_at=AT,
            version=1,
        )

    def put(self, key: str, name: str, position: int = 1) -> None:
        self.names[key] = name
        self.table.put(key, position)

    def items(self, **options: object) -> list[str]:
        body = msgspec.json.decode(self.table.page(**options).body)  # type: ignore[arg-type]
        return [item["name"] for item in body["items"]]


@pytest.fixture
def shelf() -> Shelf:
    shelf = Shelf()
    for key, name in (("1", "b"), ("2", "a"), ("3", "c"), ("4", "a")):
        shelf.put(key, name)
    return shelf


def test_rows_are_ordered_and_a_page_is_a_join_of_fragments(shelf: Shelf) -> None:
    assert shelf.items() == ["a", "a", "b", "c"]
    page = shelf.table.page()
    fragments = [shelf.table.fragment(key) or b"" for key in ("2", "4", "1", "3")]
    assert page.body == b'{"items":[' + b",".join(fragments) + b'],"total":4,"next":null,"position":1}'


def test_a_row_is_encoded_once_until_it_is_touched(shelf: Shelf) -> None:
    shelf.table.page()
    made = shelf.made
    shelf.table.page()
    shelf.table.page(limit=2)
    assert shelf.made == made
    etag = shelf.table.etag
    shelf.table.touch("1", 2)
    shelf.table.touch("1", 3)
    assert shelf.table.etag != etag
    shelf.table.page()
    assert shelf.made == made + 1
    shelf.table.touch("nothing", 4)
    assert shelf.table.position == 3


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=30), st.integers(1, 7))
def test_pages_add_up_to_the_whole(names: list[str], limit: int) -> None:
    shelf = Shelf()
    for index, name in enumerate(names):
        shelf.put(str(index), name)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        body = msgspec.json.decode(shelf.table.page(limit=limit, cursor=cursor).body)
        seen += [item["name"] for item in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert seen == sorted(names)


def test_a_cursor_survives_that_its_row_goes(shelf: Shelf) -> None:
    cursor = encode_cursor(("a", "4"))
    shelf.table.drop("4", 2)
    assert shelf.items(cursor=cursor) == ["b", "c"]
    assert "4" not in shelf.table
    shelf.table.drop("4", 3)
    assert shelf.table.position == 2


def test_filters_count_what_they_let_through(shelf: Shelf) -> None:
    def only_a(row: Row) -> bool:
        return getattr(row, "name", "") == "a"

    body = msgspec.json.decode(shelf.table.page(limit=1, where=only_a).body)
    assert (body["total"], [item["id"] for item in body["items"]]) == (2, ["2"])
    rest = msgspec.json.decode(shelf.table.page(limit=5, cursor=body["next"], where=only_a).body)
    assert [item["id"] for item in rest["items"]] == ["4"]
    assert rest["next"] is None


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limits(shelf: Shelf, limit: int) -> None:
    with pytest.raises(Invalid) as refused:
        shelf.table.page(limit=limit)
    assert refused.value.code == "invalid_limit"


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "bm90IGpzb24", "WzEsMl0"])
def test_made_up_cursors_are_refused(shelf: Shelf, cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        shelf.table.page(cursor=cursor)
    assert refused.value.code == "invalid_cursor"
