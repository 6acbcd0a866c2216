"""Table: the rows of one kind, ordered, each with its JSON bytes; pages are joins of fragments.

Invariant: ``fragment(id)`` is what encoding the row would give now. ``touch`` only marks; encoding waits for a reader,
so a burst of changes costs one encoding a row. A whole page is remembered too, until anything in the table changes.
"""

import base64
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, Final

import msgspec

from nano.domain.errors import Invalid
from nano.projections.rows import Row

PAGE_DEFAULT: Final = 100
PAGE_MAX: Final = 1000
PAGES_KEPT: Final = 64
SORT_MAX: Final = 2_000

Key = tuple[str, str]  # (sort text, id)
_encode = msgspec.json.Encoder().encode


class Page(msgspec.Struct, frozen=True):
    body: bytes  # '{"items":[…],"total":n,"next":…,"position":p}'
    etag: str


class Table:
    """``render(id)`` makes the row from the view's states; ``sort(id)`` gives the text it is ordered by."""

    def __init__(self, kind: str, render: Callable[[str], Row], sort: Callable[[str], str], generation: str) -> None:
        self.kind = kind
        self.revision = 0
        self.position = 0
        self._render = render
        self._sort = sort
        self._generation = generation
        self._keys: list[Key] = []
        self._key_of: dict[str, Key] = {}
        self._rows: dict[str, Row] = {}
        self._fragments: dict[str, bytes] = {}
        self._pages: dict[tuple[int, str | None], Page] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, row_id: str) -> bool:
        return row_id in self._key_of

    def clear(self) -> None:
        for store in (self._keys, self._key_of, self._rows, self._fragments, self._pages):
            store.clear()
        self.revision += 1

    def stores(self) -> list[dict[str, Any]]:
        """The dictionaries by row id, for who takes a table apart."""
        return [self._key_of, self._rows, self._fragments]

    def load(self, row_ids: Iterable[str], position: int) -> None:
        """Begin anew with these rows, sorted once."""
        self.clear()
        self._key_of.update((row_id, (self._sort(row_id), row_id)) for row_id in row_ids)
        self._keys.extend(_sorted(list(self._key_of.values())))
        self._changed(position)

    def take(self, other: "Table") -> None:
        """Begin anew with the rows of another table of this kind, and what it has rendered of them."""
        self.clear()
        self._keys.extend(other._keys)
        self._key_of.update(other._key_of)
        self._rows.update(other._rows)
        self._fragments.update(other._fragments)
        self._changed(other.position)

    def settle(self, position: int) -> None:
        """Stand at this position, whatever changed last: a view of the past has no other."""
        if self.position != position:
            self.position = position
            self._pages.clear()

    def put(self, row_id: str, position: int) -> None:
        """The row is there, new or changed."""
        key, before = (self._sort(row_id), row_id), self._key_of.get(row_id)
        if key != before:
            if before is not None:  # it was given another name
                del self._keys[bisect_left(self._keys, before)]
            self._key_of[row_id] = key
            insort(self._keys, key)
        self.touch(row_id, position)

    def touch(self, row_id: str, position: int) -> None:
        """What the row shows has changed; nothing when there is no such row."""
        if row_id not in self._key_of:
            return
        self._rows.pop(row_id, None)
        self._fragments.pop(row_id, None)
        self._changed(position)

    def drop(self, row_id: str, position: int) -> None:
        key = self._key_of.pop(row_id, None)
        if key is None:
            return
        del self._keys[bisect_left(self._keys, key)]
        self._rows.pop(row_id, None)
        self._fragments.pop(row_id, None)
        self._changed(position)

    def _changed(self, position: int) -> None:
        self.revision += 1
        self.position = position
        self._pages.clear()

    @property
    def etag(self) -> str:
        return f'"{self._generation}-{self.kind}-{self.revision}"'

    def row(self, row_id: str) -> Row | None:
        row = self._rows.get(row_id)
        if row is None and row_id in self._key_of:
            row = self._rows[row_id] = self._render(row_id)
        return row

    def fragment(self, row_id: str) -> bytes | None:
        fragment = self._fragments.get(row_id)
        if fragment is None:
            row = self.row(row_id)
            if row is None:
                return None
            fragment = self._fragments[row_id] = _encode(row)
        return fragment

    def ids(self) -> list[str]:
        return [row_id for _, row_id in self._keys]

    def page(
        self, limit: int = PAGE_DEFAULT, cursor: str | None = None, where: Callable[[Row], bool] | None = None
    ) -> Page:
        """Rows after the cursor, at most ``limit``. Raises Invalid(invalid_limit, invalid_cursor)."""
        if not 1 <= limit <= PAGE_MAX:
            raise Invalid(f"limit is {limit}.", code="invalid_limit", hint=f"Use 1 to {PAGE_MAX}.", field="limit")
        if where is not None:
            return self._make_page(limit, cursor, where)
        page = self._pages.get((limit, cursor))
        if page is None:
            page = self._make_page(limit, cursor, None)
            if len(self._pages) >= PAGES_KEPT:
                self._pages.clear()
            self._pages[(limit, cursor)] = page
        return page

    def _make_page(self, limit: int, cursor: str | None, where: Callable[[Row], bool] | None) -> Page:
        start = bisect_right(self._keys, _decode_cursor(cursor)) if cursor is not None else 0
        if where is None:
            total = len(self._keys)
            wanted = self._keys[start : start + limit + 1]
        else:
            chosen = [key for key in self._keys if (row := self.row(key[1])) is not None and where(row)]
            total = len(chosen)
            wanted = chosen[bisect_left(chosen, self._keys[start]) :] if start < len(self._keys) else []
        shown = wanted[:limit]
        following = encode_cursor(shown[-1]) if len(wanted) > limit else None
        fragments = b",".join(fragment for _, row_id in shown if (fragment := self.fragment(row_id)) is not None)
        body = b'{"items":[%b],"total":%d,"next":%b,"position":%d}' % (
            fragments,
            total,
            _encode(following),
            self.position,
        )
        return Page(body, self.etag)


def _sorted(keys: list[Key]) -> list[Key]:
    """``sorted``, in steps: it may run beside an event loop, and one step of 50,000 keys would hold that up for 20 ms."""
    runs = [sorted(keys[first : first + SORT_MAX]) for first in range(0, len(keys), SORT_MAX)]
    while len(runs) > 1:
        runs = [sorted(chain(*runs[first : first + 2])) for first in range(0, len(runs), 2)]  # merges what is sorted
    return runs[0] if runs else []


def encode_cursor(key: Key) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def _decode_cursor(cursor: str) -> Key:
    try:
        key: Key = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=Key)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Invalid(
            "The cursor is not one that was handed out.",
            code="invalid_cursor",
            hint="Start again without it.",
            field="cursor",
        ) from error
    return key
