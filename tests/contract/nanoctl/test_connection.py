"""The signed connection: what Core's verifier accepts, what happens when nobody answers, and where address and key come from."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nano.domain.errors import Invalid, NanoError, Unreachable
from nano.tools.nanoctl import exits
from nano.tools.nanoctl.connection import Connection, Key
from nano.tools.nanoctl.place import connect

KEY = Key("nanoctl", b"a-key-for-tests-only-0123456789")


@pytest.fixture
def connection(api: Any) -> Iterator[Connection]:
    made = Connection(api.url, KEY, timeout_s=5)
    yield made
    made.close()


def test_requests_on_one_connection_are_signed_each_anew(connection: Connection, api: Any) -> None:
    for _ in range(3):
        assert connection.call("GET", "/api/v2/guests", query={"limit": 2}).value["total"] == 3
    signatures = {asked.headers["nano-authorization"] for asked in api.requests}
    assert len(signatures) == 3


@pytest.mark.parametrize("header", ["idempotency-key", "if-match"])
def test_headers_that_matter_are_signed(connection: Connection, api: Any, header: str) -> None:
    api.answer("POST", "/x", {})
    connection.call("POST", "/api/v2/x", body={"a": 1}, headers={header: "v"})
    assert f";{header};" in api.requests[0].headers["nano-authorization"].replace(",", ";")


def test_a_wrong_key_is_a_matter_of_rights(api: Any) -> None:
    key = Key("nanoctl", b"another key than it should be")
    with closing(Connection(api.url, key)) as made, pytest.raises(NanoError) as caught:
        made.call("GET", "/api/v2/guests")
    assert caught.value.code == "signature_invalid"
    assert exits.exit_code(caught.value) == exits.RIGHTS


def test_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable, match="can't be reached: connection refused") as caught:
        Connection(f"http://127.0.0.1:{port}", KEY).call("GET", "/")
    assert exits.exit_code(caught.value) == exits.UNREACHABLE


class Closing:
    """A server that answers one request per connection, says it would keep it, and closes it."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        self.seen: list[bytes] = []
        self.closed = threading.Semaphore(0)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            peer, _ = self.server.accept()
            with peer:
                data = peer.recv(65536)
                if not data:
                    return
                self.seen.append(data.split(b" ")[0])
                peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                peer.shutdown(socket.SHUT_RDWR)
            self.closed.release()

    def end(self) -> None:
        socket.create_connection(self.server.getsockname()).close()
        self.thread.join()
        self.server.close()


@pytest.fixture
def closer() -> Iterator[Closing]:
    server = Closing()
    yield server
    server.end()


def test_a_kept_connection_that_was_closed_is_opened_again(closer: Closing) -> None:
    connection = Connection(closer.url, KEY)
    connection.call("GET", "/")
    closer.closed.acquire(timeout=5)
    connection.call("GET", "/")
    closer.closed.acquire(timeout=5)
    connection.call("POST", "/", headers={"idempotency-key": "k"})
    closer.closed.acquire(timeout=5)
    assert closer.seen == [b"GET", b"GET", b"POST"]
    with pytest.raises(Unreachable):  # without a key it might be done twice
        connection.call("POST", "/")
    connection.close()


def test_a_silent_server_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"did not answer within 0 s") as caught:
            Connection(url, KEY, timeout_s=0.05).call("GET", "/")
    assert caught.value.code == "api_silent"


def test_a_silent_stream_ends_and_says_so(connection: Connection, api: Any) -> None:
    api.hold = threading.Event()
    api.stream = [api.change(api.rows["guests"][0], 41)]
    with connection.events("/api/v2/events", quiet_s=0.2) as stream:
        assert [event.id for event in stream] == [41]
        assert stream.quiet
        assert stream.last_id == 41
    api.hold.set()


def test_address_and_key_come_from_the_state_folder(state: Path, api: Any) -> None:
    with closing(connect(state=state, environment={})) as made:
        assert made.call("GET", "/api/v2/guests").status == 200


def test_a_remote_api_takes_its_key_from_a_file(tmp_path: Path, api: Any) -> None:
    (tmp_path / "key").write_bytes(KEY.secret + b"\n")
    with closing(connect(state=None, api=api.url, key_file=tmp_path / "key", environment={})) as made:
        assert made.call("GET", "/api/v2/guests").status == 200
    named = {"NANO_API": api.url, "NANO_KEY_ID": "nanoctl", "NANO_KEY_FILE": str(tmp_path / "key")}
    with closing(connect(state=None, environment=named)) as made:
        assert made.call("GET", "/api/v2/guests").status == 200


def test_what_is_missing_is_told(state: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, Any], type[NanoError], str]] = [
        ({"state": tmp_path / "none"}, Unreachable, "api_not_found"),
        ({"state": state, "key_id": "nobody"}, Invalid, "unknown_credential"),
        ({"state": None, "api": "http://h"}, Invalid, "key_missing"),
        ({"state": None, "api": "http://h", "key_file": tmp_path / "none"}, Invalid, "key_missing"),
        ({"state": state, "api": "ftp://h"}, Invalid, "invalid_api_url"),
    ]
    for words, kind, code in cases:
        with pytest.raises(kind) as caught:
            connect(**words, environment={})
        assert caught.value.code == code
        assert caught.value.hint
    (state / "core/run/endpoint.json").write_text("{")
    with pytest.raises(Unreachable, match="can't be read"):
        connect(state=state, environment={})
    (state / "core/run/endpoint.json").write_text('{"api":"http://127.0.0.1:1"}')
    (state / "core/config/credentials.toml").unlink()
    with pytest.raises(Unreachable, match="No such file"):
        connect(state=state, environment={})
    assert KEY.secret.decode() not in repr(KEY)


def test_something_else_answers(nanoctl: Any, api: Any) -> None:
    api.answer("GET", "/guests", "hello")
    outcome = nanoctl("guest", "list")
    assert outcome.code == exits.FAILED
    assert "not one of Core's API" in outcome.err
    assert "[bad_answer]" in outcome.err
