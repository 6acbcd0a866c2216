"""log, show and state: what is asked for is what is told."""

from argparse import Namespace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano.domain import account as ac
from nano.domain import session as se
from nano.domain.compute_pool import CreateComputePool
from nano.domain.errors import Invalid
from nano.domain.office import Office
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.tools.replay import exits, log
from nano.tools.replay.moments import Moment, parse_moment
from nano.tools.replay.node import Node

NOW = datetime(2026, 11, 21, 4, tzinfo=UTC)
CELL = "Cell_0a1b2c3d4e5f"


def positions(outcome: Any) -> list[int]:
    return [fact["position"] for fact in outcome.json]


def test_log_for_programs_is_every_fact_in_order(replay: Any) -> None:
    facts = replay("log", "-o", "json").json
    assert [fact["position"] for fact in facts] == list(range(1, 39))
    assert facts[0]["event"]["type"] == "zone.founded"
    assert set(facts[0]) == {
        "position", "at", "epoch", "actor", "command_id", "cause", "resource", "version", "event",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--actor", "eve"), [18, 19, 20, 31, 32, 33]),
        (("--resource", "guest/db"), [18, 22]),
        (("--resource", "db"), [18, 22]),
        (("--resource", "cell"), [3, 4, 5, 6]),
        (("--resource", f"cell/{CELL}", "--actor", "admin"), [6]),
        (("--type", "compute_pool.created"), [2, 38]),
        (("--type", "compute_pool."), [2, 38]),
        (("--since", "36"), [36, 37, 38]),
        (("--since", "2026-11-21T03:00:17Z"), [35, 36, 37, 38]),
        (("--since", "59m43s"), []),
        (("--since", "3583s"), [35, 36, 37, 38]),
        (("--until", "3"), [1, 2, 3]),
        (("--until", "2026-11-21T03:00:01Z"), [1, 2, 3, 4]),
        (("--since", "4", "--until", "6"), [4, 5, 6]),
        (("--resource", "nothing"), []),
    ],
)
def test_filters(replay: Any, words: tuple[str, ...], expected: list[int]) -> None:
    outcome = replay("log", *words, "-o", "json")
    if words == ("--since", "59m43s"):
        assert outcome.code == exits.REFUSED
        assert "is no moment" in outcome.err
    else:
        assert positions(outcome) == expected


@given(st.integers(0, 10**12))
def test_a_number_is_a_position(number: int) -> None:
    assert parse_moment(str(number), NOW, UTC) == Moment(position=number)


def test_moments() -> None:
    assert parse_moment("90s", NOW, UTC).time == NOW - timedelta(seconds=90)
    assert parse_moment("2 h", NOW, UTC).time == NOW - timedelta(hours=2)
    assert parse_moment("2026-11-21 03:10", NOW, UTC).time == datetime(2026, 11, 21, 3, 10, tzinfo=UTC)
    assert parse_moment("2026-11-21T03:10:00+08:00", NOW, UTC).time == datetime(2026, 11, 20, 19, 10, tzinfo=UTC)
    assert parse_moment("2026-11-21 03:10", NOW, None).time is not None
    with pytest.raises(Invalid, match="is no moment"):
        parse_moment("yesterday", NOW, UTC)


def test_what_is_recorded_while_following_is_told(replay: Any, node: Path) -> None:
    """The pause between two looks is where the node writes on."""
    import io

    from nano.domain.zone import Zone
    from nano.tools.display.terminal import Terminal

    looks: list[float] = []

    async def write_on() -> None:
        journal = CommitLog(node / "data" / "journal", clock=lambda: NOW)
        ledger = Ledger(journal, Zone(), clock=lambda: NOW, new_id=lambda: "x", feed=Feed())
        await ledger.start()
        await ledger.execute(CreateComputePool(name=f"late{len(looks)}"), actor="admin", command_id="")
        await ledger.aclose()

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt
        anyio.run(write_on)

    out = io.StringIO()
    options = Namespace(
        resource="compute_pool", actor=None, type=None, since="38", until=None, follow=True, output="json"
    )
    with pytest.raises(KeyboardInterrupt):
        log.run(Terminal(out, io.StringIO(), zone=UTC), Node(node), options, pause=pause)
    told = [msgspec.json.decode(line)["event"]["name"] for line in out.getvalue().splitlines()]
    assert told == ["fast", "late1", "late2"]


def test_a_story_holds_the_facts_of_its_tasks(replay: Any) -> None:
    facts = replay("show", "guest/db", "-o", "json").json
    assert {fact["resource"].partition("/")[0] for fact in facts} == {"guest", "task"}
    assert [fact["position"] for fact in facts] == [18, 19, 20, 21, 22, 23]


def test_a_story_of_a_task(replay: Any) -> None:
    first = next(fact for fact in replay("log", "-o", "json").json if fact["event"]["type"] == "task.started")
    outcome = replay("show", first["resource"])
    assert outcome.code == 0
    assert "task guest.create of web" in outcome.out


def test_nothing_of_that_name(replay: Any) -> None:
    for words in (
        ("show", "guest/mail"),
        ("show", "guest"),
        ("state", "guest/mail"),
        ("state", "guest/web", "--at", "3"),
    ):
        outcome = replay(*words)
        assert (outcome.code, outcome.out) == (exits.REFUSED, "")
    assert "does not exist at position 3" in outcome.err


def test_state_at_a_position_inside_a_transaction(replay: Any) -> None:
    assert not any("default" in row["resource"] for row in replay("state", "--at", "1", "-o", "json").json)
    rows = replay("state", "--at", "7", "-o", "json").json
    assert {row["resource"].partition("/")[0] for row in rows} == {"zone", "compute_pool", "cell", "guest"}
    (guest,) = (row for row in rows if row["resource"].startswith("guest/"))
    assert (guest["version"], guest["position"], guest["state"]["phase"]) == (1, 7, "creating")


def test_state_is_that_of_the_moment(replay: Any) -> None:
    (then,) = replay("state", "guest/web", "--at", "2026-11-21T03:00:08Z", "-o", "json").json
    assert then["state"]["addresses"] == ["10.90.0.12"]
    (now,) = replay("state", "guest/web", "-o", "json").json
    assert now["state"]["owner"] == "eve"


def test_nothing_at_all_yet(replay: Any) -> None:
    outcome = replay("state", "--at", "2020-01-01T00:00:00Z")
    assert outcome.code == 0
    assert outcome.err == "Nothing exists yet.\n"


def test_an_event_of_a_newer_version(node: Path, replay: Any) -> None:
    """It can be read and told, but not folded."""
    from nano.journal.line import Body, Entry, encode_line
    from nano.journal.reader import JournalReader

    class Tagged(msgspec.Struct, tag="guest.tagged", tag_field="type"):
        tags: list[str]

    reader = JournalReader(node / "data" / "journal")
    list(reader.lines())
    body = Body(39, "2026-11-21T03:50:00.000000Z", 1, "admin", "", "", "", (Entry("guest/x", 1, Tagged(["a"])),))
    text, _ = encode_line(reader.hash, body)
    with reader.path.open("ab") as file:
        file.write(text)
    assert "guest x tagged: tags a" in replay("log", "--since", "39").out
    outcome = replay("state")
    assert outcome.code == exits.DAMAGED
    assert str(reader.path) in outcome.err


def write_office(folder: Path) -> None:
    async def work() -> None:
        (folder / "data").mkdir(parents=True)
        clock = [NOW]
        journal = CommitLog(folder / "data" / "journal", clock=lambda: clock[0])
        ledger = Ledger(journal, Office(), clock=lambda: clock[0], new_id=lambda: "s1", feed=Feed())
        await ledger.start()
        made = ac.CreateFirstAccount(name="ann", password_hash="$argon2id$secret")
        await ledger.execute(made, actor="ann", command_id="")
        opened = se.OpenSession(account="ann", digest="feed" * 16, address="127.0.0.1")
        await ledger.execute(opened, actor="ann", command_id="")
        await ledger.aclose()

    anyio.run(work)


def test_a_frontend_is_known_by_its_events_and_keeps_its_secrets(replay: Any, tmp_path: Path) -> None:
    folder = tmp_path / "portal"
    write_office(folder)
    assert Node(folder).kind == "frontend"
    everything = ""
    for words in (("log",), ("log", "-o", "json"), ("state",), ("state", "-o", "json"), ("show", "account/ann")):
        outcome = replay(*words, folder=folder)
        assert outcome.code == 0, outcome.err
        everything += outcome.out
    assert "ann" in everything
    assert "logged in from 127.0.0.1" in everything
    assert "argon2id" not in everything
    assert "feedfeed" not in everything
