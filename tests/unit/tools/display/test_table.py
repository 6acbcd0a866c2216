"""Tables fit their terminal: columns leave by rank, long text folds, and only then is anything cut."""

import io
from typing import Any

from nano.tools.display.table import Column, table_lines
from nano.tools.display.terminal import Terminal


def terminal(width: int | None) -> Terminal:
    return Terminal(io.StringIO(), io.StringIO(), width=width)


def column(name: str, **more: Any) -> Column:
    return Column(name.upper(), lambda row, _: str(row[name]), **more)


ROWS = [{"name": "web", "note": "it was restarted after the power cut of last night", "id": "1f0c9d2e", "error": "-"}]
COLUMNS = (
    column("name"), column("note", rank=1, fold=True), column("id", rank=2), column("error", if_said=True),
)  # fmt: skip


def test_everything_where_there_is_room() -> None:
    assert (
        table_lines(terminal(80), COLUMNS, ROWS)[1]
        == "web   it was restarted after the power cut of last night  1f0c9d2e"
    )


def test_a_column_with_nothing_to_say_is_left_out() -> None:
    assert "ERROR" not in table_lines(terminal(80), COLUMNS, ROWS)[0]
    assert "ERROR" in table_lines(terminal(80), COLUMNS, [{**ROWS[0], "error": "broken"}])[0]


def test_long_text_folds_before_a_column_leaves() -> None:
    lines = table_lines(terminal(46), COLUMNS, ROWS)
    assert lines[0].split() == ["NAME", "NOTE", "ID"]
    assert len(lines) == 3
    assert max(map(len, lines)) <= 46


def test_the_highest_rank_leaves_first() -> None:
    assert table_lines(terminal(36), COLUMNS, ROWS)[0].split() == ["NAME", "NOTE"]
    assert table_lines(terminal(20), COLUMNS, ROWS)[0].split() == ["NAME"]


def test_text_is_cut_last() -> None:
    rows = [{"name": "a-name-that-is-far-too-long", "state": "running"}]
    columns = (column("name"), column("state", shorten=False))
    assert table_lines(terminal(20), columns, rows)[1] == "a-name-tha…  running"


def test_wide_is_never_cut() -> None:
    columns = (*COLUMNS, column("id", wide=True))
    line = table_lines(terminal(20), columns, ROWS, wide=True)[1]
    assert line == "web   it was restarted after the power cut of last night  1f0c9d2e  1f0c9d2e"


def test_a_pipe_gets_whole_lines_without_colours(monkeypatch: Any) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    piped = terminal(None)
    assert not piped.colours
    assert len(table_lines(piped, COLUMNS, ROWS)) == 2
