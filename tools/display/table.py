"""Tables that fit: columns give way before text is cut.

Each column has a rank; when the terminal is too narrow the highest ranks are left out, one by one, and only then is the
widest remaining text shortened. Whoever asks for ``wide`` gets every column whole, however long the lines.
No rules, no boxes: two spaces between columns, titles in dim capitals.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from nano.tools.display.terminal import Terminal
from nano.tools.display.text import GAP, Justify, Text, columns_of, lay_out
from nano.tools.display.words import NOTHING

FOLD_MIN: Final = 28
SHORT_MIN: Final = 4
Row = dict[str, Any]


class Column(NamedTuple):
    """``rank`` 0 always stays; higher ones go first. ``wide`` = only with ``-o wide``; ``if_said`` = not when every row
    has nothing to say there. ``fold`` = long text goes on below itself instead of pushing other columns out."""

    title: str
    cell: Callable[[Row, Terminal], str | Text]
    rank: int = 0
    wide: bool = False
    justify: Justify = "left"
    shorten: bool = True
    if_said: bool = False
    fold: bool = False


def print_table(terminal: Terminal, columns: Sequence[Column], rows: Iterable[Row], *, wide: bool = False) -> None:
    """Print the rows; titles are printed even when there are none."""
    for line in table_lines(terminal, columns, rows, wide=wide):
        terminal.write(line)


def table_lines(terminal: Terminal, columns: Sequence[Column], rows: Iterable[Row], *, wide: bool = False) -> list[str]:
    chosen = [column for column in columns if wide or not column.wide]
    cells = [[_text(column.cell(row, terminal)) for column in chosen] for row in rows]
    kept, widths = _fit(chosen, cells, None if wide else terminal.width)
    lines = [[Text(chosen[number].title, "dim") for number in kept]]
    lines += [[row[number] for number in kept] for row in cells]
    return lay_out(
        lines,
        widths,
        [chosen[number].justify for number in kept],
        [chosen[number].fold and not wide for number in kept],
        terminal.colours,
    )


def print_grid(terminal: Terminal, rows: list[list[Text]]) -> None:
    """Rows without titles; the last column is folded within the terminal."""
    if not rows:
        return
    count = len(rows[0])
    widths = [max(row[number].width for row in rows) for number in range(count)]
    widths[-1] = min(widths[-1], max(FOLD_MIN // 2, terminal.width - sum(widths[:-1]) - GAP * (count - 1)))
    folds = [False] * (count - 1) + [True]
    for line in lay_out(rows, widths, ["left"] * count, folds, terminal.colours):
        terminal.write(line)


def _fit(columns: Sequence[Column], cells: list[list[Text]], room: int | None) -> tuple[list[int], list[int]]:
    """Numbers of the columns that stay, and their widths. ``room`` None = as much as they want."""
    widths = [
        max([columns_of(column.title), *(row[number].width for row in cells)]) for number, column in enumerate(columns)
    ]
    kept = [number for number, column in enumerate(columns) if not column.if_said or _says(cells, number)]
    if room is None:
        return kept, [widths[number] for number in kept]
    least = [min(width, FOLD_MIN) if column.fold else width for column, width in zip(columns, widths, strict=True)]
    while _total(least, kept) > room:
        leaving = max(kept, key=lambda number: (columns[number].rank, number))
        if columns[leaving].rank == 0:
            break
        kept.remove(leaving)
    for number in kept:  # what room is left goes to the folding columns
        if columns[number].fold:
            widths[number] = min(widths[number], least[number] + max(0, room - _total(least, kept)))
            least[number] = widths[number]
    while _total(widths, kept) > room:
        widest = max((number for number in kept if columns[number].shorten), key=lambda n: widths[n], default=None)
        if widest is None or widths[widest] <= SHORT_MIN:
            break
        widths[widest] -= 1
    return kept, [widths[number] for number in kept]


def _says(cells: list[list[Text]], number: int) -> bool:
    return any(row[number].plain not in ("", NOTHING) for row in cells)


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _total(widths: Sequence[int], kept: Sequence[int]) -> int:
    return sum(widths[number] for number in kept) + GAP * max(0, len(kept) - 1)
