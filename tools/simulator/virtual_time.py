"""An asyncio loop on virtual time: when nothing is ready it jumps to the next timer, so hours take seconds.

Invariant: what runs when depends on nothing but the program: no real clock, no sockets, no threads, no addresses of
objects (asyncio and anyio keep tasks and scopes in sets, whose order would follow those), no garbage collector that
comes when it likes. So the same program gives the same run, in this process and in the next.
"""

import asyncio
import contextlib
import gc
import itertools
import selectors
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, TypeVar

from anyio._backends._asyncio import CancelScope

T = TypeVar("T")

COLLECT_EVERY_S: Final = 900.0  # virtual seconds between garbage collections


class NothingWillHappen(RuntimeError):
    """Every task waits and no timer is set: the program would wait for ever."""


class _Selector(selectors.SelectSelector):
    """Where a real loop would sleep, time is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise NothingWillHappen("Every task waits and no timer is set.")
        self.now += max(0.0, timeout)
        return []


class _Task(asyncio.Task[Any]):
    """Hashed by its number, so that sets of tasks have one order."""

    number: int

    def __new__(cls, *_: Any, loop: "VirtualLoop", **__: Any) -> "_Task":
        task = super().__new__(cls)
        task.number = next(loop.numbers)
        return task

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)
        self.numbers = itertools.count()
        self.set_task_factory(_new_task)  # type: ignore[arg-type]

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual.now


def _new_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> Any:
    assert isinstance(loop, VirtualLoop)
    return _Task(work, loop=loop, **options)


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, float]:
    """What ``main()`` returns, and how many virtual seconds it took."""
    with _orderly(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        loop = runner.get_loop()

        def collect() -> None:
            gc.collect()
            loop.call_later(COLLECT_EVERY_S, collect)

        collect()
        return runner.run(main()), loop.time()


def _hash_of_task(scope: CancelScope) -> int:
    return hash(scope._host_task)


@contextlib.contextmanager
def _orderly() -> Iterator[None]:
    """Cancel scopes hash as their task does (a scope holds at most one scope of each task), and garbage is collected
    at set instants of virtual time only: a collected generator runs code."""
    former = CancelScope.__hash__
    enabled = gc.isenabled()
    CancelScope.__hash__ = _hash_of_task  # type: ignore[method-assign,assignment]
    gc.disable()
    gc.collect()  # a former world's, which would otherwise be frozen with what lives
    gc.freeze()  # what was there before is not looked at again and again
    try:
        yield
    finally:
        gc.unfreeze()
        CancelScope.__hash__ = former  # type: ignore[method-assign]
        if enabled:
            gc.enable()
