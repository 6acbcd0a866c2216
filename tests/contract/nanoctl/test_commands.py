"""What nanoctl sends for a command, and what it makes of the answer."""

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nano.domain.errors import Conflict, Forbidden, Invalid, JournalError, Stale, Unauthenticated, Unknown
from nano.domain.task import Problem
from nano.http.problems import BadRequest
from nano.projections.rows import TaskRow
from nano.tools.nanoctl import exits

CREATE = ("guest", "create", "web", "--memory", "2GiB", "--disk", "10GiB", "--disk", "64MiB")


def running(api: Any) -> TaskRow:
    row: TaskRow = api.rows["tasks"][0]
    return row


def ended(row: TaskRow, state: str = "done", **more: Any) -> TaskRow:
    return msgspec.structs.replace(
        row, state=state, progress=100, step="", ended_at=row.started_at, version=row.version + 1, **more
    )


def accept(api: Any, method: str, path: str) -> TaskRow:
    """The API takes the work and answers with its task."""
    row = running(api)
    api.answer(method, path, {"task": row, "resource": row.resource, "position": 100}, 202)
    return row


def test_sizes_become_bytes_and_only_what_was_given_is_sent(nanoctl: Any, api: Any) -> None:
    accept(api, "POST", "/guests")
    assert nanoctl(*CREATE, "--no-wait").code == exits.OK
    asked = api.requests[0]
    assert asked.body == {"name": "web", "memory": 2 << 30, "disks": [10 << 30, 64 << 20]}
    assert asked.headers["content-type"] == "application/json"


def test_every_option_of_create(nanoctl: Any, api: Any) -> None:
    accept(api, "POST", "/guests")
    nanoctl(
        *CREATE, "--cores", "2", "--image", "debian12", "--pool", "fast", "--cell", "C", "--autostart", "--start",
        "--hardware", "disk=virtio", "--hardware", "display=qxl", "--no-wait",
    )  # fmt: skip
    body = api.requests[0].body
    assert body["hardware"] == {"disk": "virtio", "display": "qxl"}
    assert (body["cores"], body["image"], body["pool"], body["cell"]) == (2, "debian12", "fast", "C")
    assert body["autostart"] is True
    assert body["start"] is True


def test_a_policy_is_written_in_words_or_in_a_file(nanoctl: Any, api: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.rules").write_text("accept tcp 80-89 from 10.0.0.0/8\n\naddress 10.0.0.5\n")
    policy = ["--policy", "drop", "--policy", f"@{tmp_path}/shop.rules"]
    accept(api, "POST", "/guests")
    assert nanoctl(*CREATE, "--no-wait", *policy).code == exits.OK
    rule = {"action": "accept", "protocol": "tcp", "source": "10.0.0.0/8", "port": 80, "last_port": 89}
    assert api.requests[0].body["policy"] == {"default": "drop", "rules": [rule], "addresses": ["10.0.0.5"]}
    refused = nanoctl(*CREATE, "--policy", "reject tcp 22")
    assert (refused.code, "accept tcp 80-89" in refused.err) == (exits.USAGE, True)


def test_each_command_has_a_key_of_its_own(nanoctl: Any, api: Any) -> None:
    accept(api, "POST", "/guests/web/stop")
    for _ in range(2):
        nanoctl("guest", "stop", "web", "--no-wait")
    nanoctl("guest", "stop", "web", "--no-wait", "--idempotency-key", "mine")
    keys = [asked.headers["idempotency-key"] for asked in api.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_waiting_ends_with_the_row(nanoctl: Any, api: Any) -> None:
    row = accept(api, "POST", "/guests")
    api.stream = [api.change(row), api.change(ended(row), 101, "task.ended")]
    outcome = nanoctl(*CREATE, "-o", "json")
    assert outcome.code == exits.OK
    assert outcome.json["name"] == "web"
    assert outcome.json["state"] == "running"
    stream = next(asked for asked in api.requests if asked.path.endswith("/events"))
    assert stream.headers["last-event-id"] == "100"
    assert stream.query == {"kinds": ["task"]}


def test_waiting_without_a_stream_asks_for_the_task(nanoctl: Any, api: Any) -> None:
    """The stream ends at once, again and again, as when Core restarts."""
    row = accept(api, "POST", "/guests")
    answers = [row, row, ended(row)]
    api.answer("GET", f"/tasks/{row.id}", lambda _: (200, answers.pop(0)))
    assert nanoctl(*CREATE).code == exits.OK
    assert not answers


def test_a_failed_task_says_why_and_what_was_undone(nanoctl: Any, api: Any) -> None:
    row = accept(api, "POST", "/guests")
    problem = Problem("disk_full", "No room left on Cell_0a1b2c3d4e5f.", "Free some space.")
    api.stream = [api.change(ended(row, "failed", error=problem, undone=("volume removed",)), 101)]
    outcome = nanoctl(*CREATE)
    assert outcome.code == exits.FAILED
    assert not outcome.out
    assert "guest.create of web failed: No room left on Cell_0a1b2c3d4e5f." in outcome.err
    assert "Free some space. [disk_full]" in outcome.err
    assert "Undone: volume removed" in outcome.err


def test_a_cancelled_task_fails_the_command(nanoctl: Any, api: Any) -> None:
    row = accept(api, "POST", "/guests/web/start")
    api.stream = [api.change(ended(row, "cancelled"), 101)]
    outcome = nanoctl("guest", "start", "web", "-o", "json")
    assert outcome.code == exits.FAILED
    assert msgspec.json.decode(outcome.err)["task"]["state"] == "cancelled"


def test_giving_up_waiting_leaves_the_task(nanoctl: Any, api: Any) -> None:
    accept(api, "POST", "/guests/web/stop")
    api.hold = threading.Event()
    outcome = nanoctl("guest", "stop", "web", "--timeout", "0")
    assert outcome.code == exits.TIMEOUT
    assert "It goes on. Follow it: nanoctl task watch 7e5d3c1b" in outcome.err


def test_interrupting_leaves_the_task(nanoctl: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    accept(api, "POST", "/guests/web/stop")
    monkeypatch.setattr("nano.tools.nanoctl.commands.wait_for", interrupt)
    outcome = nanoctl("guest", "stop", "web")
    assert outcome.code == exits.INTERRUPTED
    assert "the task goes on" in outcome.err
    assert "nanoctl task cancel 7e5d3c1b" in outcome.err


def test_no_wait_names_the_task(nanoctl: Any, api: Any) -> None:
    row = accept(api, "POST", "/guests/web/reboot")
    outcome = nanoctl("guest", "reboot", "web", "--no-wait")
    assert outcome.out == f"guest.create of web has begun: task {row.id}\n"
    assert nanoctl("guest", "reboot", "web", "--no-wait", "-o", "json").json["task"]["id"] == row.id


def test_what_a_step_found_is_told_with_the_end(nanoctl: Any, api: Any) -> None:
    row = accept(api, "POST", "/guests/web/disks/compact")
    done = ended(row)
    steps = tuple(msgspec.structs.replace(step, detail="12 MiB given back") for step in done.steps)
    api.stream = [api.change(msgspec.structs.replace(done, steps=steps), 101)]
    outcome = nanoctl("guest", "disk", "compact", "web")
    assert outcome.err.startswith("✓ guest.create web done in 0.00 s: 12 MiB given back\n")


def test_what_was_deleted_is_not_shown(nanoctl: Any, api: Any) -> None:
    row = accept(api, "DELETE", "/guests/web")
    api.stream = [api.change(ended(row), 101)]
    api.answer("GET", f"/{row.resource.replace('guest/', 'guests/')}", Unknown("There is no guest."))
    outcome = nanoctl("guest", "delete", "web", "--force")
    assert (outcome.code, outcome.out) == (exits.OK, "")
    assert outcome.err == "✓ guest.create web done in 0.00 s\n"
    assert api.requests[0].body == {"force": True}


def test_a_dry_run_is_only_told(nanoctl: Any, api: Any) -> None:
    spec = {"name": "web", "cores": 1, "memory": 1 << 30, "disks": [1 << 30]}
    event = {"type": "guest.requested", "image_name": "", "cell": "Cell_1", "spec": spec}
    api.answer("POST", "/guests", {"events": [{"resource": "guest/x", "event": event}], "explanation": None})
    outcome = nanoctl(*CREATE, "--dry-run")
    assert outcome.code == exits.OK
    assert api.requests[0].query == {"dry_run": ["true"]}
    assert "guest web  was requested: 1 core, 1 GiB of memory, disk 1 GiB, placed on Cell_1" in outcome.out
    assert outcome.err == "Nothing was done. This would be recorded:\n"


def test_an_immediate_command_shows_the_row(nanoctl: Any, api: Any) -> None:
    row = api.rows["compute-pools"][0]
    api.answer("PATCH", "/compute-pools/default", {"resource": "compute_pool/default", "position": 5, "row": row})
    outcome = nanoctl("pool", "modify", "default", "--no-enabled", "--if-version", "3")
    assert outcome.code == exits.OK
    assert outcome.out.splitlines()[1].startswith("default")
    assert api.requests[0].body == {"enabled": False}
    assert api.requests[0].headers["if-match"] == '"v3"'
    api.answer("DELETE", "/compute-pools/default", {"resource": "compute_pool/default", "position": 6, "row": None})
    assert nanoctl("pool", "delete", "default").out == "Compute pool default: delete done.\n"


def test_a_file_is_named_by_its_whole_path(
    nanoctl: Any, api: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept(api, "POST", "/images")
    monkeypatch.chdir(tmp_path)
    nanoctl("image", "register", "tiny", "tiny.qcow2", "--no-wait")
    assert api.requests[0].body == {"name": "tiny", "path": str(tmp_path / "tiny.qcow2")}


def test_a_task_is_found_by_the_beginning_of_its_id(nanoctl: Any, api: Any) -> None:
    api.rows["tasks"] = [running(api)]
    row = running(api)
    answer = {"resource": f"task/{row.id}", "position": 5, "row": row}
    api.answer("POST", f"/tasks/{row.id}/cancel", answer)
    assert nanoctl("task", "cancel", "7e5d").code == exits.OK
    assert nanoctl("task", "cancel", "beef").code == exits.NOT_FOUND
    assert not any("beef" in asked.path for asked in api.requests)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unknown("No such guest.", code="unknown_guest"), exits.NOT_FOUND),
        (Conflict("It is busy.", code="guest_busy", task="7e5d3c1b-0000"), exits.REFUSED),
        (Stale("It has changed."), exits.REFUSED),
        (Forbidden("Not for you."), exits.RIGHTS),
        (Unauthenticated("Who are you?"), exits.RIGHTS),
        (Invalid("That is no name.", code="invalid_name"), exits.USAGE),
        (BadRequest("That is no JSON."), exits.USAGE),
        (JournalError("The disk is gone."), exits.FAILED),
    ],
)
def test_exit_code_by_class_of_error(nanoctl: Any, api: Any, error: Any, code: int) -> None:
    api.answer("POST", "/guests/web/start", error)
    outcome = nanoctl("guest", "start", "web")
    assert outcome.code == code
    assert outcome.err.startswith(f"{error.message}\n")
    assert f"[{error.code}]" in outcome.err
    told = nanoctl("guest", "start", "web", "-o", "json")
    assert msgspec.json.decode(told.err)["code"] == error.code
    assert not told.out


def test_what_stands_in_the_way_is_named(nanoctl: Any, api: Any) -> None:
    api.answer("POST", "/guests/web/start", Conflict("It is busy.", code="guest_busy", task="7e5d3c1b-0000"))
    assert "That task: nanoctl task show 7e5d3c1b" in nanoctl("guest", "start", "web").err


def test_a_repeated_command_whose_task_is_forgotten(nanoctl: Any, api: Any) -> None:
    api.answer("POST", "/guests", {"task": None, "resource": running(api).resource, "position": 9}, 202)
    assert nanoctl(*CREATE, "-o", "json").json["name"] == "web"


def test_core_may_be_gone_for_a_while(nanoctl: Any, api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it is restarted: waiting goes on as soon as it answers again."""
    from nano.domain.errors import Unreachable
    from nano.tools.nanoctl.connection import Connection

    row = accept(api, "POST", "/guests")
    events, gone = Connection.events, [1, 2, 3]

    def refuse(self: Connection, *words: Any, **more: Any) -> Any:
        if gone:
            gone.pop()
            raise Unreachable("Nobody answers.")
        return events(self, *words, **more)

    monkeypatch.setattr(Connection, "events", refuse)
    monkeypatch.setattr("nano.tools.nanoctl.waiting.RETRY_S", 0.01)
    api.stream = [api.change(ended(row), 101)]
    assert nanoctl(*CREATE).code == exits.OK
    assert not gone
