"""Keeping one link to Core alive: find it, connect, hand the link over, and when it is lost begin again, for ever.

Invariants: there is at most one link at a time; waits grow from 0.1 s to 3 s with jitter (so that the cells of a zone do
not all call at once when Core comes back) and start over after a link that held; a Core that refuses us is asked again
too, at the longest wait, because an administrator may change that at any time. It ends only by cancellation.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from random import Random
from typing import Final

import anyio

from nano.domain.errors import Forbidden, NanoError
from nano.transports.messages import Hello
from nano.transports.node_side import NodeSide
from nano.transports.stream_link import StreamLink

logger = logging.getLogger("nano.transports")

WAIT_FIRST_S: Final = 0.1
WAIT_LAST_S: Final = 3.0
HELD_S: Final = 5.0  # a link that lived this long was a good one

Connect = Callable[[str, NodeSide, Hello], AbstractAsyncContextManager[StreamLink]]
"""``quic_link.connect`` or ``tls_link.connect``."""

Find = Callable[[], AsyncIterator[str]]
"""Addresses to try now, best first: those in the configuration, or ``discovery``'s answers as they come. Ends when it
knows no more; is closed when one was linked. A NanoError it raises is logged, and it is asked again later."""

Use = Callable[[StreamLink], Awaitable[None]]
"""Works with a fresh link, waiting ones included; returning or losing the link leads to the next one."""


async def keep_linked(
    find: Find,
    connect: Connect,
    side: NodeSide,
    hello: Callable[[], Hello],
    use: Use,
    *,
    random: Random,
    now: Callable[[], float] = anyio.current_time,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> None:
    """Run until cancelled. ``hello`` is asked anew each time (a join token is used once). Errors of ``use`` other than
    NanoErrors are defects and are raised."""
    wait = WAIT_FIRST_S
    while True:
        held_s, refused = await _once(find, connect, side, hello, use, now)
        if held_s >= HELD_S:
            wait = WAIT_FIRST_S
        elif refused:
            wait = WAIT_LAST_S
        await sleep(wait * random.uniform(0.5, 1.0))
        wait = min(wait * 2, WAIT_LAST_S)


async def _once(
    find: Find, connect: Connect, side: NodeSide, hello: Callable[[], Hello], use: Use, now: Callable[[], float]
) -> tuple[float, bool]:
    """(how long a link held, 0 when there was none; whether somebody refused us)."""
    refused = False
    addresses = find()
    try:
        async for address in addresses:
            try:
                async with connect(address, side, hello()) as link:
                    linked_at = now()
                    logger.info("linked address=%s core=%s approved=%s", address, link.remote.name, link.approved)
                    await _use(link, use)
                    logger.warning("link lost core=%s reason=%s", link.remote.name, link.close_reason or "given back")
                return now() - linked_at, False
            except Forbidden as error:
                refused = True
                logger.warning("refused address=%s code=%s reason=%s", address, error.code, error.message)
            except NanoError as error:
                logger.info("no link address=%s code=%s reason=%s", address, error.code, error.message)
    except NanoError as error:
        logger.warning("nothing to connect to code=%s reason=%s", error.code, error.message)
    finally:
        if isinstance(addresses, AsyncGenerator):
            with anyio.CancelScope(shield=True):
                await addresses.aclose()
    return 0.0, refused


async def _use(link: StreamLink, use: Use) -> None:
    """``use``, cancelled when the link is lost."""
    async with anyio.create_task_group() as tasks:

        async def until_lost() -> None:
            await link.closed.wait()
            tasks.cancel_scope.cancel()

        tasks.start_soon(until_lost)
        try:
            await use(link)
        except NanoError as error:
            if not link.closed.is_set():
                logger.warning("work on the link failed core=%s reason=%s", link.remote.name, error)
        tasks.cancel_scope.cancel()
