"""A node's journal through the ``eventsourcing`` library's ``Application``, and back through the ledger."""

import subprocess
import sys
from pathlib import Path

import pytest
from eventsourcing.persistence import IntegrityError, StoredEvent

from nano.domain.errors import JournalError
from nano.journal.application import NanoApplication, Recorded
from nano.journal.commit_log import CommitLog
from nano.journal.feed import Feed
from nano.journal.ledger import Ledger
from nano.journal.store import EventStore
from nano.journal.testing import Count, Counted, Counter, Counters, Made, Make, Odd, numbered, ticking

pytestmark = pytest.mark.anyio


def ledger_on(folder: Path) -> Ledger:
    clock = ticking()
    return Ledger(CommitLog(folder, clock=clock), Counters(), clock=clock, new_id=numbered(), feed=Feed())


async def test_a_nodes_journal_read_and_written(tmp_path: Path) -> None:
    ledger = ledger_on(tmp_path)
    await ledger.start()
    await ledger.execute(Make("a"), actor="admin", command_id="1")
    await ledger.execute(Count("a", 4), actor="admin", command_id="2")
    with pytest.raises(JournalError, match="Another process"):
        NanoApplication(tmp_path, Counters.rules)
    await ledger.aclose()

    app = NanoApplication(tmp_path, Counters.rules)
    assert app.state("counter/a") == Counter("a", 4)
    assert app.state("counter/a", version=1) == Counter("a", 0)
    assert app.state("counter/b") is None
    recordings = app.save(
        Recorded("counter/a", 3, Counted(5)), Recorded("counter/b", 1, Made("b")), actor="me", command_id="3"
    )
    assert [recording.notification.id for recording in recordings] == [3, 4]
    notifications = app.notification_log.select(start=1, limit=10)
    assert [(one.id, one.topic, one.originator_id) for one in notifications] == [
        (1, "counter.made", "counter/a"),
        (2, "counter.counted", "counter/a"),
        (3, "counter.counted", "counter/a"),
        (4, "counter.made", "counter/b"),
    ]
    with pytest.raises(IntegrityError):
        app.save(Recorded("counter/a", 3, Counted(5)))
    with pytest.raises(IntegrityError):  # a gap would make the node refuse to start
        app.save(Recorded("counter/a", 9, Counted(5)))
    with pytest.raises(TypeError):
        app.save(Recorded("counter/a", 4, Odd()))
    with pytest.raises(TypeError):
        app.save(Recorded("counter/a", 4, Counted("many")))  # type: ignore[arg-type]
    app.close()

    ledger = ledger_on(tmp_path)
    await ledger.start()
    assert isinstance(ledger.model, Counters)
    assert ledger.model.values() == {"a": 9, "b": 0}
    fact = (await ledger.facts(after=2, limit=1))[0]
    assert (fact.actor, fact.command_id, fact.version) == ("me", "3", 3)
    await ledger.aclose()


def test_any_stored_event_comes_back_as_it_was(tmp_path: Path) -> None:
    store = EventStore(tmp_path)
    stored = [
        StoredEvent(originator_id, version, topic, state)
        for version, originator_id in enumerate(
            ("guest/1", "plain", "with space", "ümlaut/x", "text/a", "hex/zz", "..")
        )
        for topic, state in ((f"module:Class{version}", b"\x00\xff\n"),)
    ]
    stored.append(StoredEvent("guest/1", 5, "t", b'{"type":"t",\n"x":1}'))
    stored.append(StoredEvent("guest/2", 1, "t", b'{"type":"eventsourcing.stored","topic":"t","version":1}'))
    for one in stored:
        store.insert([one], None)
    store.close()
    store = EventStore(tmp_path)
    found = store.notifications(1, None, 100, ())
    assert [StoredEvent(n.originator_id, n.originator_version, n.topic, n.state) for n in found] == stored
    store.close()


def test_a_node_does_not_load_the_library() -> None:
    code = "import sys, nano.journal.ledger; print('eventsourcing' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
