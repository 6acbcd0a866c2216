"""What nobody should send: each gets a 4xx problem document with a stable code, and nothing changes."""

import json
import random
import socket
from typing import Any

import anyio
import httpx
import pytest

from nano.http.client import Signer

pytestmark = pytest.mark.anyio
GOOD = {"name": "web", "memory": 1 << 27, "disks": [1 << 26]}


REFUSED: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/guests", {**GOOD, "colour": 1}, 422, "unknown_field"),
    ("POST", "/guests", {"name": "web"}, 422, "missing_field"),
    ("POST", "/guests", {**GOOD, "memory": "1GiB"}, 422, "invalid_type"),
    ("POST", "/guests", {**GOOD, "memory": 1}, 422, "invalid_memory"),
    ("POST", "/guests", {**GOOD, "memory": 10**30}, 422, "invalid_memory"),
    ("POST", "/guests", {**GOOD, "cores": 0}, 422, "invalid_cores"),
    ("POST", "/guests", {**GOOD, "cores": -5}, 422, "invalid_cores"),
    ("POST", "/guests", {**GOOD, "disks": []}, 422, "invalid_disks"),
    ("POST", "/guests", {**GOOD, "disks": [1 << 26] * 17}, 422, "invalid_disks"),
    ("POST", "/guests", {**GOOD, "name": "a b"}, 422, "invalid_name"),
    ("POST", "/guests", {**GOOD, "name": "../x"}, 422, "invalid_name"),
    ("POST", "/guests", {**GOOD, "name": "x" * 65}, 422, "invalid_name"),
    ("POST", "/guests", {**GOOD, "pool": "none"}, 404, "unknown_compute_pool"),
    ("POST", "/guests", {**GOOD, "image": "none"}, 404, "unknown_image"),
    ("POST", "/guests", {**GOOD, "cell": "none"}, 404, "unknown_cell"),
    ("POST", "/compute-pools", {"name": "default"}, 409, "duplicate_name"),
    ("POST", "/compute-pools", {"name": "p", "failover": True}, 422, "failover_needs_shared_storage"),
    ("POST", "/images", {"name": "i", "path": "relative"}, 422, "invalid_path"),
    ("POST", "/guests", {**GOOD, "name": "-"}, 422, "invalid_name"),
    ("GET", "/guests/none", None, 404, "unknown_guest"),
    ("GET", "/tasks/none", None, 404, "unknown_task"),
    ("POST", "/tasks/none/cancel", None, 404, "unknown_task"),
    ("POST", "/guests/none/start", None, 404, "unknown_guest"),
    ("POST", "/cells/none/add", {"pool": "default"}, 404, "unknown_cell"),
    ("POST", "/cells/one/add", {"pool": "default", "cell": "two"}, 422, "unknown_field"),
    ("GET", "/guests?limit=0", None, 422, "invalid_limit"),
    ("GET", "/guests?limit=1001", None, 422, "invalid_limit"),
    ("GET", "/guests?cursor=rubbish", None, 422, "invalid_cursor"),
    ("GET", "/guests?cursor=%22", None, 422, "invalid_cursor"),
    ("GET", "/guests?cursor=", None, 422, "invalid_cursor"),
    ("GET", "/journal?cursor=", None, 422, "invalid_cursor"),
    ("GET", "/guests?state=flying", None, 422, "invalid_state"),
    ("GET", "/guests?colour=red", None, 422, "unknown_parameter"),
    ("GET", "/guests?state=running&state=stopped", None, 422, "repeated_parameter"),
    ("GET", "/guests?name=" + "x" * 9000, None, 400, "invalid_query"),
    ("HEAD", "/events", None, 405, "http_405"),  # the answer to HEAD has no body to hold a code
    ("GET", "/zone?x=1", None, 422, "unknown_parameter"),
    ("POST", "/guests?force=true", GOOD, 422, "unknown_parameter"),
    ("GET", "/journal?cursor=-1", None, 422, "invalid_cursor"),
    ("GET", "/nothing", None, 404, "unknown_route"),
    ("PUT", "/guests", GOOD, 405, "method_not_allowed"),
    ("PUT", "/guests/none", {}, 405, "method_not_allowed"),
]


async def test_refused_with_a_code(serve: Any) -> None:
    async with serve("one") as served:
        position = served.core.ledger.position
        for method, path, body, status, code in REFUSED:
            error = await served.refused(method, "/api/v2" + path, json=body)
            assert (error.status, error.code) == (status, code), (method, path, body)
            assert error.message
        assert served.core.ledger.position == position


class Wire:
    """One connection, written to as one likes."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=15)

    async def talk(self, data: bytes, *, shut: bool = False) -> tuple[int, dict[str, Any]]:
        """Sends, then reads one answer: status and problem document (empty when the connection just ended)."""
        return await anyio.to_thread.run_sync(self._talk, data, shut)

    def _talk(self, data: bytes, shut: bool) -> tuple[int, dict[str, Any]]:
        with self._socket as wire:
            wire.sendall(data)
            if shut:
                wire.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := wire.recv(65536):
                answer += piece
                head, end, body = answer.partition(b"\r\n\r\n")
                length = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if end and length and len(body) >= int(length[0]):
                    break
        if not answer:
            return 0, {}
        assert b"application/problem+json" in head
        return int(answer.split()[1]), json.loads(body)


def signed(served: Any, method: str, path: str, body: bytes, **headers: str) -> httpx.Request:
    request = httpx.Request(method, served.address + path, content=body, headers=headers)
    Signer("administrator", served.admin._signer._key.decode()).sign(request, body)
    return request


def wire_bytes(request: httpx.Request, **changed: str) -> bytes:
    headers = dict(request.headers) | {name.replace("_", "-"): value for name, value in changed.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n{head}\r\n".encode() + request.content


async def test_a_body_of_100_megabytes(serve: Any) -> None:
    """Also the client that sends everything before it reads gets its 413; Core holds none of it."""
    async with serve() as served:
        body = b'{"name":"' + b"x" * (100 << 20) + b'"}'
        async with httpx.AsyncClient(trust_env=False, timeout=30) as plain:
            refused = await plain.send(signed(served, "POST", "/api/v2/compute-pools", body))
        assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")

        def chunks() -> Any:
            for _ in range(40):
                yield b"y" * (1 << 16)

        def post() -> httpx.Response:
            with httpx.Client(trust_env=False, timeout=30) as plain:
                return plain.post(f"{served.address}/api/v2/compute-pools", content=chunks())

        streamed = await anyio.to_thread.run_sync(post)
        assert (streamed.status_code, streamed.json()["code"]) == (413, "body_too_large")
        assert (await served.admin.request("GET", "/api/v2/health")).status_code == 200


async def test_lies_in_content_length(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.http.bodies.BODY_PAUSE_S", 0.2)
    async with serve() as served:
        position = served.core.ledger.position
        request = signed(served, "POST", "/api/v2/compute-pools", b'{"name":"p"}')
        longer = await Wire(served.port).talk(wire_bytes(request, content_length="1000"))
        assert (longer[0], longer[1]["code"]) == (400, "body_incomplete")
        shorter = await Wire(served.port).talk(wire_bytes(request, content_length="3"))
        assert (shorter[0], shorter[1]["code"]) in ((401, "signature_invalid"), (400, "invalid_http"))
        for lie in ("-1", "abc", "1, 2", "99999999999999999999999"):
            status, document = await Wire(served.port).talk(wire_bytes(request, content_length=lie))
            assert (status, document["code"]) in ((400, "invalid_http"), (413, "body_too_large"))
        assert served.core.ledger.position == position


async def test_json_that_is_none(serve: Any) -> None:
    async with serve() as served:
        for body, status, code in (
            (b"{", 400, "invalid_json"),
            (b"[1]", 422, "invalid_type"),
            (b"\xff\xfe", 400, "invalid_json"),
            (b'{"name":' * 50_000, 400, "invalid_json"),
        ):
            async with httpx.AsyncClient(trust_env=False) as plain:
                answer = await plain.send(signed(served, "POST", "/api/v2/compute-pools", body))
            assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_get_with_a_body(serve: Any) -> None:
    async with serve() as served, httpx.AsyncClient(trust_env=False) as plain:
        answer = await plain.send(signed(served, "GET", "/api/v2/guests", b"{}"))
        assert (answer.status_code, answer.json()["code"]) == (400, "unexpected_body")


async def test_no_http_at_all(serve: Any) -> None:
    async with serve() as served:
        for data in (
            b"hello\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"GET /\xff HTTP/1.1\r\n\r\n",
        ):
            status, document = await Wire(served.port).talk(data, shut=True)
            assert (status, document.get("code")) in ((400, "invalid_http"), (0, None), (404, "unknown_route")), data


async def test_heads_are_bounded(serve: Any) -> None:
    async with serve() as served:
        status, document = await Wire(served.port).talk(b"GET / HTTP/1.1\r\nx: " + b"y" * 400_000)
        assert (status, document["code"]) == (431, "head_too_large")
        many = b"".join(b"x%d: y\r\n" % number for number in range(200))
        status, document = await Wire(served.port).talk(b"GET / HTTP/1.1\r\n" + many + b"\r\n")
        assert (status, document["code"]) == (400, "invalid_http")


async def test_a_head_that_never_ends_is_hung_up_on(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nano.http.wire.HEAD_SECONDS_MAX", 0.1)
    async with serve() as served:
        assert await Wire(served.port).talk(b"GET / HTTP/1.1\r\nx: y") == (0, {})
        assert await Wire(served.port).talk(b"") == (0, {})


async def test_no_header_makes_core_fail(serve: Any) -> None:
    """Random values in every header that Core reads: refused or passed over, never a 500."""
    chance = random.Random(7)
    names = [
        "nano-authorization", "nano-date", "nano-scope", "nano-session", "nano-method", "nano-actor", "nano-role", "host",
        "content-type", "idempotency-key", "if-match", "if-none-match", "last-event-id", "expect", "range",
        "accept", "accept-encoding", "cookie", "x-forwarded-for",
    ]  # fmt: skip
    pieces = [
        "", " ", '"', ";", ",", "/", "=", "v1", '"v1"', "*", "\t", "ÿ", "é", "%00", "9" * 40, "-1", "1e9", "Credential=",
        "Nano-HMAC-SHA256 ", "2026-11-21T03:10:53Z", "SignedHeaders=host", "Signature=00", "administrator",
    ]  # fmt: skip
    async with serve() as served, httpx.AsyncClient(trust_env=False) as plain:
        for round_number in range(250):
            path = chance.choice(
                ["/api/v2/guests", "/api/v2/compute-pools/default", "/api/v2/journal", "/api/v2/health"]
            )
            method, body = chance.choice([("GET", b""), ("POST", b'{"name":"default"}'), ("DELETE", b"")])
            values = {
                name: "".join(chance.choices(pieces, k=chance.randint(1, 4))).encode("latin-1")
                for name in chance.sample(names, chance.randint(1, 4))
            }
            headers = {name.encode(): value for name, value in values.items() if name not in ("host", "expect")}
            request = httpx.Request(method, served.address + path, content=body, headers=list(headers.items()))
            if round_number % 2:
                Signer("administrator", served.admin._signer._key.decode()).sign(request, body)
            try:
                answer = await plain.send(request)
            except (httpx.LocalProtocolError, httpx.RemoteProtocolError):
                continue
            assert answer.status_code < 500, (method, path, headers, answer.text)
