"""Clients of Core's REST API: every request signed, every refusal a typed ``ApiError``.

Used by FrontEnd and ``up``; nanoctl has a blocking one of its own that starts quicker (decision 20). A connection that
can't be made is tried again a few times; a request that may have been received is never sent twice by itself: callers
do that with an ``Idempotency-Key``. Each request's signature differs (time to the microsecond, a random session and a
counter), because Core takes each only once.
"""

import itertools
import json as json_text
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from nano.domain.errors import Invalid, NanoError, Unreachable
from nano.http import signing
from nano.http.credentials import load_credentials
from nano.http.event_lines import EventParser, ServerEvent

EVENTS_PATH: Final = "/api/v2/events"
CONNECT_RETRIES: Final = 3
_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=30.0, write=30.0, pool=30.0)
_EVENTS_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=45.0, write=30.0, pool=30.0)  # a heartbeat comes every 15 s
_TRANSFER_TIMEOUT: Final = httpx.Timeout(connect=5.0, read=120.0, write=60.0, pool=30.0)
_LIMITS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=4.0)
_BASE_SIGNED: Final = (b"host", signing.SESSION, signing.DATE, signing.SCOPE, signing.SIGNED_METHOD)
_ALSO_SIGNED: Final = (b"content-type", b"idempotency-key", b"if-match", b"nano-actor", b"nano-role")

Params = Mapping[str, str | int | bool]


class ApiError(NanoError):
    """Core's problem document. ``status`` is the HTTP status, ``context`` its further members."""

    def __init__(self, status: int, code: str, message: str, hint: str, context: dict[str, Any]) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status  # type: ignore[misc]  # the tree has it per class, an answer per instance
        self.context = context


class Signer:
    """Adds the signature to a request that is ready but for it. ``clock`` gives aware UTC times; ``session`` must differ
    from that of every other signer."""

    def __init__(
        self, key_id: str, key: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC), session: str = ""
    ) -> None:
        self.key_id = key_id
        self._key = key.encode()
        self._clock = clock
        self._session = session or secrets.token_hex(8)
        self._counter = itertools.count(1)

    def sign(self, request: httpx.Request, body: bytes) -> None:
        now = self._clock().astimezone(UTC)
        headers = request.headers
        headers["nano-session"] = f"{self._session}.{next(self._counter)}"
        headers["nano-date"] = now.isoformat(timespec="microseconds").replace("+00:00", "Z")
        headers["nano-scope"] = f"{now:%Y%m%d}{signing.SCOPE_SUFFIX}"
        headers["nano-method"] = request.method
        shown = {name.lower(): value for name, value in headers.raw}
        signed = [*_BASE_SIGNED, *(name for name in _ALSO_SIGNED if name in shown)]
        if not body and b"content-type" in signed:
            signed.remove(b"content-type")
        raw_path, _, query = request.url.raw_path.partition(b"?")
        authorization = signing.sign(
            key_id=self.key_id,
            key=self._key,
            raw_path=raw_path,
            query=query,
            headers=shown,
            signed=signed,
            body_sha256=signing.body_digest(request.method, body),
        )
        headers["nano-authorization"] = authorization.decode("latin-1")


def raise_for_problem(response: httpx.Response) -> None:
    """Raises ApiError for a status of 400 and above."""
    if response.status_code < 400:
        return
    try:
        document = response.json()
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    told = {"type", "title", "status", "detail", "code", "hint"}
    raise ApiError(
        response.status_code,
        str(document.get("code", f"http_{response.status_code}")),
        str(document.get("detail", f"Core answered {response.status_code} {response.reason_phrase}.")),
        str(document.get("hint", "")),
        {name: value for name, value in document.items() if name not in told},
    )


def _unreachable(base_url: str, error: httpx.TransportError) -> Unreachable:
    reason = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "can't be reached"
    return Unreachable(
        f"Core at {base_url} {reason} ({type(error).__name__}).",
        code="core_unreachable",
        hint="See whether nano-core runs: nano-core status.",
        address=base_url,
    )


def _ready(
    signer: Signer,
    client: httpx.Client | httpx.AsyncClient,
    method: str,
    path: str,
    json: Any,
    params: Params | None,
    headers: Mapping[str, str] | None,
) -> httpx.Request:
    body = b"" if json is None else json_text.dumps(json, separators=(",", ":"), ensure_ascii=False).encode()
    texts = {name: ("true" if value else "false") if isinstance(value, bool) else str(value)
             for name, value in (params or {}).items()}  # fmt: skip
    everything = dict(headers or {})
    if body:
        everything["content-type"] = "application/json"
    request = client.build_request(method.upper(), path, params=texts or None, content=body or None, headers=everything)
    signer.sign(request, body)
    return request


def _events_request(
    signer: Signer,
    client: httpx.Client | httpx.AsyncClient,
    last_event_id: int | None,
    kinds: tuple[str, ...],
    headers: Mapping[str, str] | None,
) -> httpx.Request:
    everything = {"accept": "text/event-stream", **(headers or {})}
    if last_event_id is not None:
        everything["last-event-id"] = str(last_event_id)
    params = {"kinds": ",".join(kinds)} if kinds else None
    request = _ready(signer, client, "GET", EVENTS_PATH, None, params, everything)
    request.extensions["timeout"] = _EVENTS_TIMEOUT.as_dict()
    return request


class AsyncSignedClient:
    """For asyncio; one client serves many tasks. Use it as an async context manager."""

    def __init__(
        self,
        base_url: str,
        signer: Signer,
        *,
        headers: Mapping[str, str] | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url = base_url
        self._signer = signer
        self._client = httpx.AsyncClient(
            base_url=base_url,
            headers=headers,
            timeout=_TIMEOUT,
            trust_env=False,
            transport=transport or httpx.AsyncHTTPTransport(retries=CONNECT_RETRIES, limits=_LIMITS),
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """The answer, read whole. Raises ApiError for a problem document, Unreachable when nobody answers."""
        request = _ready(self._signer, self._client, method, path, json, params, headers)
        try:
            response = await self._client.send(request)
        except httpx.TransportError as error:
            raise _unreachable(self.base_url, error) from error
        raise_for_problem(response)
        return response

    async def events(
        self,
        last_event_id: int | None = None,
        *,
        kinds: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[ServerEvent]:
        """Events until Core ends the stream; ``opened()`` is called when it has begun to listen for us. Leave it early
        only under ``contextlib.aclosing``."""
        request = _events_request(self._signer, self._client, last_event_id, kinds, headers)
        parser = EventParser()
        try:
            response = await self._client.send(request, stream=True)
            try:
                if response.status_code >= 400:
                    await response.aread()
                    raise_for_problem(response)
                opened()
                async for chunk in response.aiter_bytes():
                    for event in parser.feed(chunk):
                        yield event
            finally:
                await response.aclose()
        except httpx.TransportError as error:
            raise _unreachable(self.base_url, error) from error

    async def send(
        self, path: str, params: Mapping[str, int], pieces: AsyncIterator[bytes], headers: Mapping[str, str]
    ) -> httpx.Response:
        """PUT a body as it comes; ``headers`` have its length. It is signed as if it were empty. Raises ApiError, Unreachable."""
        request = self._client.build_request(
            "PUT", path, params=params, content=pieces, headers=dict(headers), timeout=_TRANSFER_TIMEOUT
        )
        self._signer.sign(request, b"")
        try:
            response = await self._client.send(request)
        except httpx.TransportError as error:
            raise _unreachable(self.base_url, error) from error
        raise_for_problem(response)
        return response

    async def stream(self, path: str, headers: Mapping[str, str]) -> httpx.Response:
        """GET something long, to be read and closed by the caller. Raises ApiError, Unreachable."""
        request = _ready(self._signer, self._client, "GET", path, None, None, headers)
        request.extensions["timeout"] = _TRANSFER_TIMEOUT.as_dict()
        try:
            response = await self._client.send(request, stream=True)
            if response.status_code >= 400:
                await response.aread()
                await response.aclose()
        except httpx.TransportError as error:
            raise _unreachable(self.base_url, error) from error
        raise_for_problem(response)
        return response

    def websocket_address(self, path: str) -> str:
        """The ws:// address of a path of this Core; a console's token needs no signature."""
        url = self._client.base_url
        return f"{'wss' if url.scheme == 'https' else 'ws'}://{url.netloc.decode()}{path}"

    async def aclose(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.aclose()


def find_core(state: Path, key_id: str) -> tuple[str, str]:
    """Address and key for one credential of the Core in this state folder.

    Raises Unreachable(core_not_running) when it has not written them, Invalid(unknown_credential).
    """
    core = state / "core"
    try:
        endpoint = json_text.loads((core / "run" / "endpoint.json").read_text(encoding="utf-8"))
        credential = load_credentials(core / "config").get(key_id)
        address = str(endpoint["api"])
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(
            f"No running Core is known in {state}.",
            code="core_not_running",
            hint="Start it (scripts/up, or nano-core start), or name its state folder with --state.",
        ) from error
    if credential is None:
        raise Invalid(
            f"Core has no credential {key_id!r}.", code="unknown_credential", hint="Look at its credentials.toml."
        )
    return address, credential.key


def load_async_client(
    state: Path, key_id: str = "nanoctl", headers: Mapping[str, str] | None = None
) -> AsyncSignedClient:
    address, key = find_core(state, key_id)
    return AsyncSignedClient(address, Signer(key_id, key), headers=headers)
