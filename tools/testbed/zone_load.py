"""Load on a zone that remembers what it was told: many callers at once, and for each command what became of it.

Callers of Core make and delete guests, make, change and delete compute pools, each command under an idempotency key of its own;
callers of FrontEnd log in and out. A caller ends at the first request that nobody answered, and leaves that request
``unsure``; ``ask_again`` sends those once more with the same key, after which every one is acknowledged or refused.

It judges nothing: what was acknowledged is compared with the journals by the test that uses this.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final, NamedTuple

import anyio
import httpx

from nano.domain.errors import Unreachable
from nano.http.client import ApiError, AsyncSignedClient
from nano.ui.doorman import form_token
from nano.ui.gate import SESSION_COOKIE, VISIT_COOKIE

API_CALLERS: Final = 8
PORTAL_CALLERS: Final = 2
GUESTS_MAX: Final = 6
MIB: Final = 1 << 20
NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used: making the usual one takes 20 ms each time
NAME: Final = "ada"
PASSWORD: Final = "Correct1horse"  # noqa: S105


class Asked(NamedTuple):
    method: str
    path: str
    body: dict[str, Any] | None


class ZoneLoad:
    """``positions``: idempotency key -> position it was acknowledged with. ``refused``: keys that Core did not carry out.
    ``sessions``: tokens of acknowledged logins; ``ended``: those whose logout was acknowledged."""

    def __init__(self, core: AsyncSignedClient, portal: str, random: Random) -> None:
        self.positions: dict[str, int] = {}
        self.refused: set[str] = set()
        self.unsure: dict[str, Asked] = {}
        self.sessions: set[str] = set()
        self.ended: set[str] = set()
        self.unsure_sessions: set[str] = set()  # their logout was not answered
        self._core = core
        self._portal = portal
        self._random = random
        self._number = 0
        self._stopped = False
        self._more = anyio.Event()

    @property
    def acknowledged(self) -> int:
        return len(self.positions) + len(self.sessions) + len(self.ended)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """All callers at work; at the end each finishes the request it has sent."""
        self._stopped = False
        async with anyio.create_task_group() as group:
            for _ in range(API_CALLERS):
                group.start_soon(self._call_core)
            for _ in range(PORTAL_CALLERS):
                group.start_soon(self._call_portal)
            try:
                yield
            finally:
                self._stopped = True

    async def reach(self, count: int) -> None:
        """Returns when so many are acknowledged."""
        while self.acknowledged < count:
            await self._more.wait()

    async def ask_again(self) -> None:
        """Everything that was not answered, under the same key. Core must be there."""
        for key, asked in list(self.unsure.items()):
            await self._ask(key, asked)
        assert not self.unsure

    # ------------------------------------------------------------------ Core

    async def _call_core(self) -> None:
        while not self._stopped:
            self._number += 1
            key = f"load-{self._number}"
            if not await self._ask(key, self._next()):
                return

    def _next(self) -> Asked:
        name = f"g{self._random.randrange(GUESTS_MAX)}"
        pool = f"p{self._random.randrange(4)}"
        chance = self._random.random()
        if chance < 0.25:
            return Asked("POST", "/api/v2/guests", {"name": name, "memory": 64 * MIB, "disks": [16 * MIB]})
        if chance < 0.45:
            return Asked("DELETE", f"/api/v2/guests/{name}", None)
        if chance < 0.6:
            return Asked("POST", "/api/v2/compute-pools", {"name": pool})
        if chance < 0.85:
            return Asked("PATCH", f"/api/v2/compute-pools/{pool}", {"failover": self._random.random() < 0.5})
        return Asked("DELETE", f"/api/v2/compute-pools/{pool}", None)

    async def _ask(self, key: str, asked: Asked) -> bool:
        """Whether somebody answered."""
        self.unsure[key] = asked
        try:
            answer = await self._core.request(
                asked.method, asked.path, json=asked.body, headers={"idempotency-key": key}
            )
        except ApiError:
            self.refused.add(key)
        except Unreachable:
            return False
        else:
            self.positions[key] = int(answer.json()["position"])
            self._tell()
        del self.unsure[key]
        return True

    # ------------------------------------------------------------------ FrontEnd

    async def first_visit(self) -> None:
        await self._post("/welcome", "visit", name=NAME, password=PASSWORD, again=PASSWORD)

    async def is_open(self, token: str) -> bool:
        async with self._browser() as client:
            answer = await client.get("/password", headers={"cookie": f"{SESSION_COOKIE}={token}"})
        return answer.status_code == 200

    async def log_in(self) -> str:
        answer = await self._post("/login", "visit", name=NAME, password=PASSWORD)
        token = answer.cookies[SESSION_COOKIE]
        self.sessions.add(token)
        return token

    async def _call_portal(self) -> None:
        while not self._stopped:
            try:
                token = await self.log_in()
                self._tell()
                if self._random.random() < 0.5:
                    await self._log_out(token)
            except httpx.TransportError:
                return

    async def _log_out(self, token: str) -> None:
        self.unsure_sessions.add(token)
        await self._post("/logout", token, cookie=SESSION_COOKIE)
        self.unsure_sessions.discard(token)
        self.ended.add(token)
        self._tell()

    async def _post(self, path: str, secret: str, *, cookie: str = VISIT_COOKIE, **fields: str) -> httpx.Response:
        async with self._browser() as client:
            answer = await client.post(
                path,
                data={**fields, "form_token": form_token(secret)},
                headers={"cookie": f"{cookie}={secret}"},
            )
        assert answer.status_code == 303, f"{path}: {answer.status_code} {answer.text[:300]}"
        return answer

    def _browser(self) -> httpx.AsyncClient:
        """One of its own for each request: nobody else's cookies."""
        return httpx.AsyncClient(base_url=self._portal, trust_env=False, verify=NO_TLS)

    def _tell(self) -> None:
        self._more.set()
        self._more = anyio.Event()
