"""Tables that fit: columns give way before text is cut.

Each column has a rank; when the terminal is too narrow the highest ranks are left out, one by one, and only then is the
widest remaining text shortened. Whoever asks for ``wide`` gets every column whole, however long the lines.
No rules, no boxes: two spaces between columns, titles in dim capitals.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from nano.tools.display.terminal import Terminal
from nano.tools.display.words import NOTHING

if TYPE_CHECKING:
    from rich.text import Text

GAP: Final = 2
FOLD_MIN: Final = 28
Row = dict[str, Any]
Cell = "str | Text"


class Column(NamedTuple):
    """``rank`` 0 always stays; higher ones go first. ``wide`` = only with ``-o wide``; ``if_said`` = not when every row
    has nothing to say there. ``fold`` = long text goes on below itself instead of pushing other columns out."""

    title: str
    cell: Callable[[Row, Terminal], "str | Text"]
    rank: int = 0
    wide: bool = False
    justify: Literal["left", "right"] = "left"
    shorten: bool = True
    if_said: bool = False
    fold: bool = False


def print_table(terminal: Terminal, columns: Sequence[Column], rows: Iterable[Row], *, wide: bool = False) -> None:
    """Print the rows; titles are printed even when there are none."""
    from rich.table import Table
    from rich.text import Text

    chosen = [column for column in columns if wide or not column.wide]
    cells = [[_text(column.cell(row, terminal)) for column in chosen] for row in rows]
    widths = [
        max([len(column.title), *(line[number].cell_len for line in cells)]) for number, column in enumerate(chosen)
    ]
    kept = [
        number
        for number, column in enumerate(chosen)
        if not column.if_said or any(line[number].plain not in ("", NOTHING) for line in cells)
    ]
    needed = [min(width, FOLD_MIN) if chosen[number].fold else width for number, width in enumerate(widths)]
    while _total(needed, kept) > terminal.width and not wide:
        leaving = max(kept, key=lambda number: (chosen[number].rank, number))
        if chosen[leaving].rank == 0:
            break
        kept.remove(leaving)
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="dim", collapse_padding=False)
    for number in kept:
        column = chosen[number]
        table.add_column(
            Text(column.title),
            justify=column.justify,
            no_wrap=not column.fold or wide,
            overflow="fold" if column.fold else "ellipsis",
            min_width=None if column.shorten else widths[number],
        )
    for line in cells:
        table.add_row(*(line[number] for number in kept))
    terminal.show(table, _total(widths, kept) if wide else None)


def _text(cell: "str | Text") -> "Text":
    from rich.text import Text

    return Text(cell) if isinstance(cell, str) else cell


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[number] for number in kept) + GAP * max(0, len(kept) - 1)
