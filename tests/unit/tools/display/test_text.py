"""Styled text keeps to its columns, whatever letters it is made of."""

from hypothesis import given
from hypothesis import strategies as st

from nano.tools.display.text import Text, columns_of, lay_out

letters = st.text(alphabet="abc 一二ée\u0301-", max_size=60)


def test_columns() -> None:
    assert columns_of("web") == 3
    assert columns_of("虚拟机") == 6
    assert columns_of("e\u0301") == 1


@given(letters, st.integers(2, 30))
def test_cut_text_fits_and_says_so(text: str, width: int) -> None:
    cut = Text(text).cut(width)
    assert cut.width <= width
    assert cut.plain == text or cut.plain.endswith("…")


@given(letters, letters, st.integers(2, 30))
def test_folded_text_loses_nothing_but_blanks(first: str, second: str, width: int) -> None:
    text = Text(first, "dim").append(second, "bold")
    lines = text.folded(width)
    assert all(line.width <= width for line in lines)
    assert "".join("".join(line.plain for line in lines).split()) == "".join(text.plain.split())


def test_text_is_folded_between_words() -> None:
    lines = Text("placed on Cell_0a1b2c3d4e5f at once").folded(12)
    assert [line.plain for line in lines] == ["placed on", "Cell_0a1b2c3", "d4e5f at", "once"]


def test_styles_survive_cutting_and_folding() -> None:
    text = Text("one two", "green").append(" three", "dim")
    assert text.ansi(colours=True) == "\x1b[32mone two\x1b[0m\x1b[2m three\x1b[0m"
    assert text.ansi(colours=False) == "one two three"
    assert [line.ansi(colours=True) for line in text.folded(4)][1] == "\x1b[32mtwo\x1b[0m"
    assert text.cut(4).ansi(colours=True) == "\x1b[32mone\x1b[0m…"


def test_lines_end_where_their_text_ends() -> None:
    rows = [[Text("a"), Text("one two")], [Text("bb"), Text("x")]]
    assert lay_out(rows, [2, 4], ["left", "left"], [False, True], colours=False) == ["a   one", "    two", "bb  x"]
    assert lay_out(rows, [3, 7], ["right", "right"], [False, False], colours=False) == ["  a  one two", " bb        x"]
