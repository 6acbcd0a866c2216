"""Server-sent events, written and read back whatever way they are cut."""

import pytest

from nano.http.event_lines import EVENT_BYTES_MAX, EventParser, ServerEvent, format_comment, format_event

TEXT = (
    format_comment("from 3")
    + format_event("change", b'{"a":1}', 4)
    + format_event("usage", b'{"b":"\xc3\xa9"}')
    + format_comment("end: done")
)
WANTED = [ServerEvent(4, "change", b'{"a":1}'), ServerEvent(None, "usage", b'{"b":"\xc3\xa9"}')]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_read_back_in_pieces(size: int) -> None:
    parser = EventParser()
    found = [event for start in range(0, len(TEXT), size) for event in parser.feed(TEXT[start : start + size])]
    assert found == WANTED
    assert parser.comment == "end: done"
    assert found[1].json() == {"b": "é"}


def test_other_line_ends_and_several_data_lines() -> None:
    parser = EventParser()
    assert list(parser.feed(b"id:9\r\ndata: 1\r\ndata: 2\r\n\r\n")) == [ServerEvent(9, "message", b"1\n2")]


def test_an_endless_event_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(ValueError, match="longer"):
        list(parser.feed(b"data: " + b"x" * EVENT_BYTES_MAX))
