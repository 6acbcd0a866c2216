"""The text of a line: encoding, chain, times."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from nano.journal.line import NO_HASH, Body, Entry, Tracked, check_chain, encode_line, format_time, line_decoder
from nano.journal.testing import Counted, Made

AT = datetime(2026, 11, 21, 3, 10, 53, 123456, UTC)


def encoded(number: int = 1, previous: bytes = NO_HASH, **fields: object) -> tuple[bytes, bytes]:
    events = (Entry("counter/a", number, Counted(number)),)
    return encode_line(previous, Body(number, format_time(AT), 1, "admin", "c", "", **({"events": events} | fields)))  # type: ignore[arg-type]


def test_a_line_reads_back() -> None:
    text, digest = encoded(3, tracking=Tracked("cell/one", 44), digest="0123456789abcdef")
    line = line_decoder((Made, Counted)).decode(text)
    assert (line.position, line.time, line.epoch, line.actor, line.command, line.cause) == (3, AT, 1, "admin", "c", "")
    assert line.events == (Entry("counter/a", 3, Counted(3)),)
    assert line.tracking == Tracked("cell/one", 44)
    assert (line.digest, line.hash, line.last) == ("0123456789abcdef", digest.decode(), 3)
    assert list(msgspec.json.decode(text)) == [
        "position", "time", "epoch", "actor", "command", "cause", "digest", "events", "tracking", "hash",
    ]  # fmt: skip


def test_a_line_without_events_keeps_its_empty_list() -> None:
    text, _ = encoded(3, events=(), tracking=Tracked("cell/one", 1))
    line = line_decoder().decode(text)
    assert (line.events, line.last) == ((), 2)


def test_unread_events_pass_byte_for_byte() -> None:
    raw = b'{"type":"x.happened","n":1.50,"text":"\\u00fc"}'
    text, _ = encoded(1, events=(Entry("x/y", 1, msgspec.Raw(raw)),))
    assert bytes(line_decoder().decode(text).events[0].event) == raw


def test_the_chain_finds_the_first_line_that_does_not_follow() -> None:
    texts, previous = [], NO_HASH
    for number in range(1, 6):
        text, previous = encoded(number, previous)
        texts.append(text[:-1])
    assert check_chain(NO_HASH, texts) == (previous, 5)
    assert check_chain(NO_HASH, texts[1:])[1] == 0
    assert check_chain(NO_HASH, [*texts[:2], *texts[3:]])[1] == 2
    assert check_chain(NO_HASH, [b""])[1] == 0


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_a_line(actor: str, command: str, cause: str) -> None:
    body = Body(1, format_time(AT), 1, actor, command, cause, "", ())
    text, _ = encode_line(NO_HASH, body)
    assert text.count(b"\n") == 1
    line = line_decoder().decode(text)
    assert (line.actor, line.command, line.cause) == (actor, command, cause)


def test_times_are_utc_text_that_sorts() -> None:
    assert format_time(AT) == "2026-11-21T03:10:53.123456Z"
    assert format_time(AT.replace(microsecond=0)) == "2026-11-21T03:10:53.000000Z"
    assert format_time(AT.astimezone(timezone(timedelta(hours=8)))) == "2026-11-21T03:10:53.123456Z"
