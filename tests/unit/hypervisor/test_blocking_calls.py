"""Blocking calls on threads of their own: results, errors, deadlines, and what a caller that gave up leaves behind."""

import threading

import anyio
import pytest

from nano.domain.errors import DeadlineExceeded, HostError
from nano.hypervisor.blocking_calls import BlockingCalls

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_back() -> None:
    calls = BlockingCalls("test")
    assert await calls.run(lambda: 7, what="seven") == 7
    with pytest.raises(ZeroDivisionError):
        await calls.run(lambda: 1 // 0, what="nothing")
    calls.close()


async def test_a_stuck_call_ends_for_its_caller_and_keeps_its_slot() -> None:
    calls, release = BlockingCalls("test", workers=1), threading.Event()
    with pytest.raises(DeadlineExceeded) as late:
        await calls.run(release.wait, what="Waiting", deadline_s=0.05)
    assert late.value.code == "hypervisor_timeout"
    with pytest.raises(DeadlineExceeded):  # the only thread is still stuck
        await calls.run(lambda: 1, what="One", deadline_s=0.05)
    release.set()
    assert await calls.run(lambda: 2, what="Two") == 2
    calls.close()


async def test_threads_are_bounded_and_so_is_the_queue() -> None:
    calls, release = BlockingCalls("test", workers=2, waiting_max=3), threading.Event()
    before = threading.active_count()
    refused: list[str] = []

    async def wait() -> None:
        try:
            await calls.run(release.wait, what="Waiting")
        except HostError as error:
            refused.append(error.code)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert threading.active_count() - before <= 2
        release.set()
    assert len(refused) >= 20 - 2 - 3
    assert set(refused) == {"hypervisor_busy"}
    calls.close()


async def test_a_call_that_has_begun_is_waited_for_when_its_caller_is_cancelled() -> None:
    calls, begun, release = BlockingCalls("test"), threading.Event(), threading.Event()
    done: list[str] = []

    def work() -> None:
        begun.set()
        release.wait(10)
        done.append("effect")

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: calls.run(work, what="Working"))
        await anyio.to_thread.run_sync(begun.wait, 10)
        group.cancel_scope.cancel()
        release.set()
    assert done == ["effect"]
    calls.close()


async def test_after_close_nothing_is_taken() -> None:
    calls = BlockingCalls("test")
    calls.close()
    with pytest.raises(HostError) as refusal:
        await calls.run(lambda: 1, what="One")
    assert refusal.value.code == "hypervisor_unreachable"
