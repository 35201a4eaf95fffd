# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ashore import runtime

Reconcile = Callable[[str], Awaitable[None]]


@contextlib.asynccontextmanager
async def running(queue: runtime.WorkQueue[str], reconcile: Reconcile, *, workers: int = 1) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(reconcile, workers=workers))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_key_added_many_times_is_looked_at_once() -> None:
    seen: list[str] = []
    queue: runtime.WorkQueue[str] = runtime.WorkQueue()
    for _ in range(5):
        queue.add("a")

    async def reconcile(key: str) -> None:
        seen.append(key)

    async with running(queue, reconcile):
        await queue.idle()
    assert seen == ["a"]


async def test_a_key_added_while_it_runs_runs_again_and_never_twice_at_once() -> None:
    queue: runtime.WorkQueue[str] = runtime.WorkQueue()
    running_now = 0
    rounds = 0

    async def reconcile(key: str) -> None:
        nonlocal running_now, rounds
        running_now += 1
        assert running_now == 1
        rounds += 1
        if rounds == 1:
            queue.add(key)
            queue.add(key)
        await asyncio.sleep(0)
        running_now -= 1

    queue.add("a")
    async with running(queue, reconcile, workers=3):
        await queue.idle()
    assert rounds == 2


@pytest.mark.looptime
async def test_retry_comes_back_after_its_time_and_says_why() -> None:
    queue: runtime.WorkQueue[str] = runtime.WorkQueue()
    times: list[float] = []

    async def reconcile(key: str) -> None:
        del key
        times.append(asyncio.get_running_loop().time())
        if len(times) == 1:
            raise runtime.Retry(7, "no subnet yet")

    queue.add("a")
    async with running(queue, reconcile):
        await queue.idle()
        assert queue.problems == {"a": "no subnet yet"}
        await asyncio.sleep(8)
        assert queue.problems == {}
    assert times[1] - times[0] == pytest.approx(7, abs=0.1)


@pytest.mark.looptime
async def test_a_bug_is_counted_and_tried_again_with_growing_pauses() -> None:
    queue: runtime.WorkQueue[str] = runtime.WorkQueue()
    times: list[float] = []

    async def reconcile(key: str) -> None:
        del key
        times.append(asyncio.get_running_loop().time())
        raise ZeroDivisionError

    queue.add("a")
    async with running(queue, reconcile):
        await asyncio.sleep(10)
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert queue.bugs == len(times) >= 4
    assert pauses == sorted(pauses)
    assert "ZeroDivisionError" in queue.problems["a"]


@pytest.mark.looptime
async def test_refused_waits_for_a_change_of_its_key() -> None:
    queue: runtime.WorkQueue[str] = runtime.WorkQueue()
    rounds = 0

    async def reconcile(key: str) -> None:
        nonlocal rounds
        rounds += 1
        raise runtime.Refused(f"{key} overlaps")

    queue.add("a")
    async with running(queue, reconcile):
        await asyncio.sleep(100)
        assert rounds == 1
        queue.add("a")
        await queue.idle()
    assert rounds == 2


@pytest.mark.looptime
async def test_an_event_overtakes_a_delay() -> None:
    queue: runtime.WorkQueue[str] = runtime.WorkQueue()
    times: list[float] = []

    async def reconcile(key: str) -> None:
        del key
        times.append(asyncio.get_running_loop().time())

    async with running(queue, reconcile):
        start = asyncio.get_running_loop().time()
        queue.add("a", after_s=50)
        queue.add("a", after_s=20)
        await asyncio.sleep(1)
        queue.add("a")
        await asyncio.sleep(100)
    assert [round(t - start) for t in times] == [1]
