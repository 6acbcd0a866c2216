"""Waiting for something that tells nobody when it happens: asking again, with an end."""

from collections.abc import Awaitable, Callable

import anyio


async def until(holds: Callable[[], Awaitable[object]], limit_s: float = 10) -> None:
    """Return when it holds; raises TimeoutError."""
    with anyio.fail_after(limit_s):
        while not await holds():  # noqa: ASYNC110 (nothing to wait for)
            await anyio.sleep(0.03)
