"""Threads for calls that block: libvirt's API has no other kind.

Why not ``anyio.to_thread``: a libvirt call can hang for as long as a guest's job does. Abandoning it there frees its
slot while its thread stays, so stuck calls are unbounded; not abandoning it hangs the caller. Here the number of
threads is fixed, a call has a deadline, and what is stuck keeps its slot.

Invariant: a call that has begun is waited for, also when its caller is cancelled, until it ends or its deadline
passes; so an undo that follows sees the effect of what it undoes. Threads are daemons: a stuck call never keeps the
process from ending.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import anyio

from nano.domain.errors import DeadlineExceeded, HostError
from nano.hypervisor.host import HYPERVISOR_TIMEOUT, HYPERVISOR_UNREACHABLE

T = TypeVar("T")

WORKERS: Final = 8
WAITING_MAX: Final = 256
DEADLINE_S: Final = 30.0

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class BlockingCalls:
    def __init__(self, name: str, workers: int = WORKERS, waiting_max: int = WAITING_MAX) -> None:
        self._name = name
        self._workers = workers
        self._jobs: queue.Queue[_Job | None] = queue.Queue(waiting_max)
        self._threads: list[threading.Thread] = []
        self._closed = False

    async def run(self, call: Callable[[], T], *, what: str, deadline_s: float = DEADLINE_S) -> T:
        """The result of ``call()`` from one of our threads.

        Raises DeadlineExceeded after ``deadline_s`` seconds (waiting for a thread included), HostError(code=
        "hypervisor_busy") when too many calls wait, and what the call raises.
        """
        if self._closed:
            raise HostError(f"{what}: the connection to the hypervisor is closed.", code=HYPERVISOR_UNREACHABLE)
        self._start_thread()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            self._jobs.put_nowait((loop, future, call))
        except queue.Full:
            raise HostError(
                f"{what}: {self._jobs.maxsize} calls wait for the hypervisor already.",
                code="hypervisor_busy",
                hint="See whether libvirtd answers, then try again.",
            ) from None
        with anyio.move_on_after(deadline_s, shield=True):
            return await future
        raise DeadlineExceeded(
            f"{what} did not end within {deadline_s:g} s.",
            code=HYPERVISOR_TIMEOUT,
            hint="See whether libvirtd answers.",
        )

    def close(self) -> None:
        """Let the threads end after what they do now. Calls made later are refused."""
        self._closed = True
        for _ in self._threads:
            try:
                self._jobs.put_nowait(None)
            except queue.Full:
                return  # all are stuck; they are daemons

    def _start_thread(self) -> None:
        if len(self._threads) < self._workers:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=_serve, args=(self._jobs,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()


def _serve(jobs: "queue.Queue[_Job | None]") -> None:
    while (job := jobs.get()) is not None:
        loop, future, call = job
        if future.cancelled():  # its caller gave up before we began
            continue
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001  handed to the caller, whatever it is
            _tell(loop, future, None, error)
        else:
            _tell(loop, future, result, None)
        del job, future, call


def _tell(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", result: Any, error: BaseException | None
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    if not loop.is_closed():
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            return  # the loop ended between the two lines; nobody waits any more
