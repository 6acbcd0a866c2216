"""One signed connection to the API, for a program that lives for a second.

Synchronous on the standard library's HTTP client, because a start must be quick: an async client and its loop cost more
than the request (docs/decisions/0020). A kept connection that turns out closed is opened once more, and the request
sent again, signed anew, if that can't do the work twice: reads, and commands with an ``Idempotency-Key``. Bodies
and waits are bounded.
"""

import contextlib
import http.client
import itertools
import secrets
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec

from nano.domain.errors import Failure, Invalid, TooLarge, Unreachable
from nano.http import signing
from nano.http.event_lines import EventParser, ServerEvent
from nano.tools.nanoctl.exits import ApiProblem

TIMEOUT_S: Final = 30.0
SILENT: Final = "api_silent"
QUIET_S: Final = 45.0  # the server says something every 15 s at least
TRANSFER_QUIET_S: Final = 60.0
BLOCK_BYTES: Final = 1 << 20
BODY_BYTES_MAX: Final = 64 << 20
_JSON: Final = "application/json"
_SIGNED: Final = (b"host", signing.SESSION, signing.DATE, signing.SCOPE, signing.SIGNED_METHOD)
_ALSO_SIGNED: Final = ("content-type", "idempotency-key", "if-match")

Query = Mapping[str, str | int] | str  # text = as it is, already encoded


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes

    @property
    def value(self) -> Any:
        """The body as a JSON value, None when there is none. Raises Failure(bad_answer)."""
        try:
            return msgspec.json.decode(self.body) if self.body else None
        except msgspec.DecodeError as error:
            raise bad_answer(str(error)) from error


class Api(Protocol):
    """What the verbs need of a connection; tests give them a connection to a server of their own."""

    url: str

    def raw(
        self, method: str, path: str, *, query: Query | None = None, body: bytes = b"", headers: Mapping[str, str] = ...
    ) -> Reply:
        """Any answer, whatever its status. Raises Unreachable, TooLarge."""
        ...

    def call(
        self, method: str, path: str, *, query: Query | None = None, body: Any = None, headers: Mapping[str, str] = ...
    ) -> Reply:
        """An answer below 400. Raises ApiProblem with the problem document, Unreachable, TooLarge."""
        ...

    def put(self, path: str, *, query: Query, body: "Source", length: int) -> Reply:
        """Send that many bytes as they are read. Raises ApiProblem, Unreachable."""
        ...

    def stream(self, path: str, *, start: int) -> Iterator[bytes]:
        """A file from that byte on, a block at a time. Raises ApiProblem, Unreachable (also in the middle)."""
        ...

    def events(
        self, path: str, *, query: Query | None = None, after: int | None = None, quiet_s: float = ...
    ) -> "EventStream":
        """An open event stream. Raises ApiProblem, Unreachable."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    def read(self, count: int = -1, /) -> bytes: ...


class Key(NamedTuple):
    id: str
    secret: bytes

    def __repr__(self) -> str:
        return f"Key(id={self.id!r})"


class Connection:
    """``url`` is the API's base ("http://127.0.0.1:5850"), ``clock`` gives aware times for signatures."""

    def __init__(
        self,
        url: str,
        key: Key,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timeout_s: float = TIMEOUT_S,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Invalid(
                f"{url!r} is no address of an API.", code="invalid_api_url", hint="Write http://HOST:PORT or https://…"
            )
        self.url = url.rstrip("/")
        self._parts = parts
        self._key = key
        self._clock = clock
        self._timeout_s = timeout_s
        self._ssl = ssl_context
        self._session = secrets.token_hex(8)
        self._counter = itertools.count(1)
        self._kept: http.client.HTTPConnection | None = None

    def raw(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] = {},
    ) -> Reply:
        response = self._send(method, path, query, body, headers)
        data = _read(response)
        return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        headers: Mapping[str, str] = {},
    ) -> Reply:
        reply = self.raw(
            method, path, query=query, body=b"" if body is None else msgspec.json.encode(body), headers=headers
        )
        if reply.status >= 400:
            raise ApiProblem(reply.status, _problem(reply.body))
        return reply

    def put(self, path: str, *, query: Query, body: Source, length: int) -> Reply:
        connection = self._kept or self._connect(TRANSFER_QUIET_S)
        self._kept = None
        headers = {"content-length": str(length)}
        response = self._exchange(connection, "PUT", path, query, body, headers)
        data = _read(response)
        self._kept = None if response.will_close else connection
        reply = Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, data)
        if reply.status >= 400:
            raise ApiProblem(reply.status, _problem(reply.body))
        return reply

    def stream(self, path: str, *, start: int) -> Iterator[bytes]:
        connection = self._connect(TRANSFER_QUIET_S)
        headers = {"range": f"bytes={start}-"} if start else {}
        response = self._exchange(connection, "GET", path, None, b"", headers)
        try:
            if response.status >= 400:
                raise ApiProblem(response.status, _problem(_read(response)))
            while data := response.read(BLOCK_BYTES):
                yield data
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"The transfer broke off: {_reason(error)}.", hint="Run the command again.") from error
        finally:
            connection.close()

    def events(
        self, path: str, *, query: Query | None = None, after: int | None = None, quiet_s: float = QUIET_S
    ) -> "EventStream":
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(after)} if after is not None else {})
        connection = self._connect(quiet_s)
        response = self._exchange(connection, "GET", path, query, b"", headers)
        if response.status >= 400:
            body = _read(response)
            connection.close()
            raise ApiProblem(response.status, _problem(body))
        return EventStream(connection, response)

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    # ------------------------------------------------------------------ one exchange

    def _send(
        self, method: str, path: str, query: Query | None, body: bytes, headers: Mapping[str, str]
    ) -> http.client.HTTPResponse:
        fresh = self._kept is None
        connection = self._kept or self._connect(self._timeout_s)
        try:
            response = self._exchange(connection, method, path, query, body, headers)
        except Unreachable as error:
            self._kept = None
            repeatable = method == "GET" or "idempotency-key" in headers
            if fresh or not repeatable or error.code == SILENT:
                raise
            connection = self._connect(self._timeout_s)  # a kept connection may have been closed by the other end
            response = self._exchange(connection, method, path, query, body, headers)
        self._kept = None if response.will_close else connection
        return response

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._ssl)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Query | None,
        body: bytes | Source,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        """One request and the head of its answer; the connection is closed when that fails. What is read while it is
        sent is signed as if it were nothing. Raises Unreachable."""
        text = query if isinstance(query, str) else urlencode(query or {})
        target = f"{self._parts.path.rstrip('/')}{path}"
        everything = {**headers, "content-type": _JSON} if body and isinstance(body, bytes) else dict(headers)
        everything |= self._sign(method, target, text, body, everything)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before it had all
                connection.request(method, f"{target}?{text}" if text else target, body or None, everything)
            return connection.getresponse()
        except TimeoutError as error:
            connection.close()
            raise Unreachable(
                f"The API at {self.url} did not answer within {connection.timeout:.0f} s.",
                code=SILENT,
                hint="See whether nano-core is overloaded or stuck: nano-core status.",
            ) from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Unreachable(
                f"The API at {self.url} can't be reached: {_reason(error)}.",
                hint="Start it with scripts/up or nano-core start, or name another with --state or --api.",
            ) from error

    def _sign(
        self, method: str, path: str, query: str, body: bytes | Source, headers: Mapping[str, str]
    ) -> dict[str, str]:
        """The headers that sign this request; no two are alike, because Core takes each signature only once."""
        now = self._clock().astimezone(UTC)
        added = {
            "nano-session": f"{self._session}.{next(self._counter)}",
            "nano-date": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "nano-scope": f"{now:%Y%m%d}{signing.SCOPE_SUFFIX}",
            "nano-method": method,
        }
        also = [name for name in _ALSO_SIGNED if name in headers]
        shown = {"host": self._parts.hostname or "", **added, **{name: headers[name] for name in also}}
        authorization = signing.sign(
            key_id=self._key.id,
            key=self._key.secret,
            raw_path=path.encode(),
            query=query.encode(),
            headers={name.encode(): value.encode("latin-1") for name, value in shown.items()},
            signed=[*_SIGNED, *(name.encode() for name in also)],
            body_sha256=signing.body_digest(method, body if isinstance(body, bytes) else b""),
        )
        return {**added, "nano-authorization": authorization.decode("latin-1")}


class EventStream:
    """Iterate over it for server-sent events. It ends when the server ends it, and also after a silence: then ``quiet``
    is true. Either way the caller may open another after ``last_id`` and misses nothing."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self._parser = EventParser()
        self.last_id: int | None = None
        self.quiet = False

    def __enter__(self) -> "EventStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._response.close()
        self._connection.close()

    @property
    def farewell(self) -> str:
        """Why the server ended the stream, in its words."""
        return self._parser.comment

    def __iter__(self) -> Iterator[ServerEvent]:
        while True:
            try:
                data = self._response.read1(65_536)
            except TimeoutError:
                self.quiet = True
                return
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(
                    f"The event stream broke: {_reason(error)}.", hint="Run the command again."
                ) from error
            if not data:
                return
            try:
                events = [*self._parser.feed(data)]
            except ValueError as error:
                raise bad_answer(str(error)) from error
            for event in events:
                self.last_id = event.id or self.last_id
                yield event


def bad_answer(why: str) -> Failure:
    """Whatever answered, it is not the API of a Core."""
    return Failure(
        f"The answer is not one of Core's API: {why}.", code="bad_answer", hint="Check the address of the API."
    )


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        data = response.read(BODY_BYTES_MAX + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"The answer broke off: {_reason(error)}.", hint="Run the command again.") from error
    if len(data) > BODY_BYTES_MAX:
        raise TooLarge(f"The answer is longer than {BODY_BYTES_MAX >> 20} MiB.", hint="Ask for less with --limit.")
    return data


def _problem(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"detail": body[:200].decode(errors="replace")}
    return document if isinstance(document, dict) else {"detail": str(document)}


def _reason(error: Exception) -> str:
    if isinstance(error, http.client.IncompleteRead | http.client.RemoteDisconnected | ConnectionResetError):
        return "the other end closed the connection"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
