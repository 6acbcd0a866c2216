"""Core, as the portal sees it: the REST API with every request signed, in the name of the logged-in user.

Answers come back as plain JSON values. Refusals of Core arrive as the client's errors, with Core's own status, code and
words; an unreachable Core as ``Unreachable``. It retries nothing: whoever asks decides. Which client signs, and where
Core is, comes in from outside (``find``), because Core may move or not be there yet.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import httpx
import msgspec

from nano.domain.errors import Unreachable

PREFIX: Final = "/api/v2"
_PIECE_BYTES: Final = 256 << 10
_OF_FILES: Final = ("content-type", "content-length", "content-range", "accept-ranges", "etag")


class Caller(NamedTuple):
    """In whose name a request is made; Core checks the role's rights."""

    name: str
    role: str


SYSTEM: Final = Caller("frontend", "reader")  # the portal itself, following changes


class Message(Protocol):
    """One server-sent event; ``data`` is JSON."""

    @property
    def event(self) -> str: ...

    @property
    def data(self) -> bytes: ...


class CoreClient(Protocol):
    """What is asked of the client that signs (``nano.http.client.AsyncSignedClient``)."""

    base_url: str

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, str | int | bool] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response: ...

    def events(
        self,
        last_event_id: int | None = None,
        *,
        kinds: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Message]: ...

    def websocket_address(self, path: str) -> str: ...

    async def send(
        self, path: str, params: Mapping[str, int], pieces: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> httpx.Response: ...

    async def stream(self, path: str, headers: Mapping[str, str]) -> httpx.Response: ...

    async def aclose(self) -> None: ...


Find = Callable[[], Awaitable[CoreClient]]


class CoreApi:
    """``find`` gives a client of the Core as it is now; raises Unreachable while there is none."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self._client: CoreClient | None = None

    @property
    def address(self) -> str:
        return self._client.base_url if self._client else ""

    async def reconnect(self) -> None:
        """Look where Core is and use that from now on. Raises Unreachable."""
        old, self._client = self._client, None
        if old is not None:
            await old.aclose()
        self._client = await self._find()

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def get(self, path: str, caller: Caller, params: Mapping[str, str | int] | None = None) -> Any:
        return await self.ask("GET", path, caller, params=params)

    async def ask(
        self,
        method: str,
        path: str,
        caller: Caller,
        body: Any = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """The JSON answer to one request below /api/v2. Raises Core's refusal, or Unreachable."""
        response = await self._send(method, path, caller, body, params, headers)
        return msgspec.json.decode(response.content) if response.content else None

    async def fetch(self, path: str, caller: Caller, headers: Mapping[str, str]) -> httpx.Response:
        """An answer that is not JSON, as it came. Raises Core's refusal, or Unreachable."""
        return await self._send("GET", path, caller, None, None, headers)

    async def read_list(self, path: str, caller: Caller, params: Mapping[str, str | int]) -> tuple[Any, int]:
        """One page of a list, and the position of Core's journal at which it is true (a table's own may be much older)."""
        response = await self._send("GET", path, caller, None, params, None)
        page = msgspec.json.decode(response.content)
        return page, int(response.headers.get("x-nano-position") or page["position"])

    @asynccontextmanager
    async def events(self, after: int, opened: Callable[[], None]) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        """Core's changes after a position, then those to come, as (event, data). What is told live only, and not recorded,
        is told from ``opened()`` on."""
        messages = self._connected().events(after, headers=_actor(SYSTEM), opened=opened)
        decoded = _decoded(messages)
        async with aclosing(messages), aclosing(decoded):  # type: ignore[type-var]
            yield decoded

    async def send(self, path: str, caller: Caller, offset: int, length: int, pieces: AsyncIterator[bytes]) -> Any:
        """So many bytes of an upload, passed on as they come; Core's answer. Raises Core's refusal, or Unreachable."""
        headers = {**_actor(caller), "content-length": str(length)}
        response = await self._connected().send(PREFIX + path, {"offset": offset}, pieces, headers)
        return msgspec.json.decode(response.content)

    async def fetch_file(
        self, path: str, caller: Caller, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], AsyncIterator[bytes]]:
        """A file or a range of it: status, the headers that matter, and the bytes. Raises as ``send`` does."""
        response = await self._connected().stream(PREFIX + path, {**_actor(caller), **headers})
        kept = {name: response.headers[name] for name in _OF_FILES if name in response.headers}
        return response.status_code, kept, _closing(response)

    async def _send(
        self,
        method: str,
        path: str,
        caller: Caller,
        body: Any,
        params: Mapping[str, str | int] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        everything = {**_actor(caller), **(headers or {})}
        return await self._connected().request(method, PREFIX + path, json=body, params=params, headers=everything)

    def websocket_address(self, path: str) -> str:
        return self._connected().websocket_address(path)

    def _connected(self) -> CoreClient:
        if self._client is None:
            raise Unreachable(
                "Core was not found yet.",
                code="core_unreachable",
                hint="Is nano-core running? The portal goes on looking.",
            )
        return self._client


async def _closing(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in response.aiter_raw(_PIECE_BYTES):
            yield piece
    finally:
        await response.aclose()


async def _decoded(messages: AsyncIterator[Message]) -> AsyncIterator[tuple[str, Any]]:
    async for message in messages:
        yield message.event, msgspec.json.decode(message.data)


def _actor(caller: Caller) -> dict[str, str]:
    return {"Nano-Actor": caller.name, "Nano-Role": caller.role}
