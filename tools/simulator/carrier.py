"""HTTP between a simulated client and the process that serves: real requests, real ASGI applications, no sockets.

A ``Carrier`` is the transport of an ``httpx`` client. What goes through it takes its time and may be lost on the way
there, cut off on the way back at any chunk, or (a proxy that tries again) arrive twice; a partition holds it back until
one end gives up. A server that dies says nothing: its clients find out when they have heard nothing for as long as
they are willing to wait, or at once, as a reset connection does. Invariant: chunks of one answer arrive in order, and a
client is given nothing of a connection after it was told that it broke.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from random import Random
from typing import Any, Final, NamedTuple

import anyio
import anyio.abc
import httpx

Message = MutableMapping[str, Any]
App = Callable[
    [dict[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

CHUNKS_HELD_MAX: Final = 64  # what lies in the buffers of a connection; whoever sends more waits
RESET: Final = 0.5  # share of dead servers whose clients are told at once


class Served(NamedTuple):
    """What one process serves. ``died`` holds whom to tell when it is killed; ``broke`` hears of an error of the app."""

    app: App
    tasks: anyio.abc.TaskGroup
    died: dict[str, Callable[[], None]]
    broke: Callable[[Exception], None]


class Weather(NamedTuple):
    """How the network is now. ``held`` = a partition lies between the two."""

    delay_s: tuple[float, float]
    lost: float
    held: bool


class Carrier(httpx.AsyncBaseTransport):
    """``serve`` gives what answers now, None while nothing does; ``client`` is the address the server sees."""

    def __init__(
        self,
        serve: Callable[[], Served | None],
        weather: Callable[[], Weather],
        random: Random,
        faults: Counter[str],
        *,
        client: str = "sim",
        proven: dict[str, str] | None = None,
    ) -> None:
        self._serve = serve
        self._weather = weather
        self._random = random
        self._faults = faults
        self._client = client
        self._proven = proven or {}
        self._numbers = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout: dict[str, float | None] = request.extensions.get("timeout", {})
        body = await request.aread()
        await self._connect(timeout.get("connect") or 5.0)
        exchange = self._deliver(request, body)
        if self._random.random() < self._weather().lost / 2:
            self._faults["http request duplicated"] += 1
            self._deliver(request, body).leave()
        try:
            start = await exchange.next(timeout.get("read"))
        except BaseException:
            exchange.leave()
            raise
        if start is None:
            raise httpx.RemoteProtocolError("the server closed without an answer", request=request)
        stream = _Body(exchange, timeout.get("read"))
        return httpx.Response(start["status"], headers=start["headers"], stream=stream, request=request)

    async def _connect(self, patience_s: float) -> None:
        weather = self._weather()
        if weather.held:
            await anyio.sleep(patience_s)
            raise httpx.ConnectTimeout("nothing comes back")
        await anyio.sleep(self._random.uniform(*weather.delay_s))
        if self._serve() is None:
            raise httpx.ConnectError("connection refused")
        if self._random.random() < weather.lost:
            self._faults["http request lost"] += 1
            raise httpx.WriteError("the connection broke")

    def _deliver(self, request: httpx.Request, body: bytes) -> "Exchange":
        served = self._serve()
        assert served is not None, "asked for a moment ago"
        self._numbers += 1
        key = f"{self._client}#{self._numbers}"
        exchange = Exchange(body, self._weather, self._random, self._faults, lambda: served.died.pop(key, None))
        served.died[key] = exchange.server_died
        path, _, query = request.url.raw_path.partition(b"?")
        scope = {
            "type": "http",
            "method": request.method,
            "scheme": request.url.scheme,
            "path": request.url.path,
            "raw_path": path,
            "query_string": query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
            "client": (self._client, 1),
            "server": (request.url.host, request.url.port or 80),
            "http_version": "1.1",
            "root_path": "",
            **self._proven,
        }
        served.tasks.start_soon(exchange.run, served, scope)
        return exchange


class Exchange:
    """One request and its answer."""

    def __init__(
        self,
        body: bytes,
        weather: Callable[[], Weather],
        random: Random,
        faults: Counter[str],
        over: Callable[[], object],
    ) -> None:
        self._body: bytes | None = body
        self._weather = weather
        self._random = random
        self._faults = faults
        self._over = over
        self._loop = asyncio.get_running_loop()
        self._arriving: deque[tuple[float, Message | Exception | None]] = deque()
        self._moved = anyio.Event()  # for the client: something is on its way
        self._taken = anyio.Event()  # for the server: there is room again
        self._gone = anyio.Event()  # the client has left, or the connection is broken
        self._last = 0.0
        self._ended = False  # nothing more is sent

    # ---- the server's end

    async def run(self, served: Served, scope: dict[str, Any]) -> None:
        try:
            await served.app(scope, self.receive, self.send)
        except Exception as error:  # noqa: BLE001 (a server cuts the connection and logs; here it is judged)
            self.cut("the server gave up")
            served.broke(error)
        finally:
            self._over()
            self._post(None)

    async def receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        while len(self._arriving) >= CHUNKS_HELD_MAX and not self._gone.is_set():
            self._taken = anyio.Event()
            await self._taken.wait()
        if self._random.random() < self._weather().lost:
            self._faults["http answer cut"] += 1
            self.cut("the connection broke")
        self._post(message)

    def server_died(self) -> None:
        """Without a word."""
        if self._random.random() < RESET:
            self.cut("connection reset")
        self._ended = True

    def cut(self, reason: str) -> None:
        self._post(httpx.ReadError(reason))
        self._ended = True
        self._gone.set()
        self._taken.set()

    def _post(self, message: Message | Exception | None) -> None:
        if self._ended or self._gone.is_set():
            return
        if message is None:
            self._ended = True
        self._last = max(self._last, self._loop.time() + self._random.uniform(*self._weather().delay_s))
        self._arriving.append((self._last, message))
        self._moved.set()

    # ---- the client's end

    async def next(self, patience_s: float | None) -> Message | None:
        """The next message of the answer, None at its end. Raises httpx.TransportError."""
        try:
            with anyio.fail_after(patience_s):
                while True:
                    if self._arriving:
                        due, message = self._arriving[0]
                        if due <= self._loop.time() and not self._weather().held:
                            self._arriving.popleft()
                            self._taken.set()
                            break
                        await anyio.sleep(max(due - self._loop.time(), 1.0 if self._weather().held else 0.0))
                        continue
                    self._moved = anyio.Event()
                    await self._moved.wait()
        except TimeoutError as error:
            self.leave()
            raise httpx.ReadTimeout("nothing was heard for too long") from error
        if isinstance(message, Exception):
            raise message
        return message

    def leave(self) -> None:
        """The client closes the connection."""
        self._gone.set()
        self._taken.set()


class _Body(httpx.AsyncByteStream):
    def __init__(self, exchange: Exchange, patience_s: float | None) -> None:
        self._exchange = exchange
        self._patience_s = patience_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (message := await self._exchange.next(self._patience_s)) is not None:
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body", False):
                return
        raise httpx.RemoteProtocolError("the answer ended early")

    async def aclose(self) -> None:
        self._exchange.leave()
