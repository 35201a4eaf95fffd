# SPDX-License-Identifier: Apache-2.0
"""A queue of keys to look at again: coalescing, serial per key, with backoff."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import structlog

from ashore.runtime import verdicts

log = structlog.get_logger(__name__)
K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF_S = 0.2
LONGEST_BACKOFF_S = 30.0
REPEAT_LOG_S = 60.0


class WorkQueue(Generic[K]):
    """Keys that wait for their reconcile.

    A key added many times is looked at once; a key added while it is being looked at is looked at again afterwards,
    never at the same time. An unexpected exception is logged with its traceback (the same one again only each minute),
    counted in ``bugs`` and retried with exponential backoff.
    """

    def __init__(self) -> None:
        self._ready: dict[K, None] = {}
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._logged: dict[str, float] = {}
        self._problems: dict[K, str] = {}
        self._wake = asyncio.Event()
        self._settled = asyncio.Event()
        self.bugs = 0

    @property
    def problems(self) -> Mapping[K, str]:
        """What the last look at a key said when it didn't succeed."""
        return MappingProxyType(self._problems)

    def __len__(self) -> int:
        return len(self._ready) + len(self._running)

    def add(self, key: K, *, after_s: float = 0) -> None:
        """Have the key looked at, now or after a while; an earlier time wins."""
        if after_s > 0:
            self._add_later(key, after_s)
            return
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        else:
            self._ready[key] = None
            self._wake.set()

    def forget(self, key: K) -> None:
        """Drop a key's backoff, delay and last problem; for things that are gone."""
        self._failures.pop(key, None)
        self._problems.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()

    async def idle(self) -> None:
        """Returns when no key is ready or running (delayed keys may remain)."""
        while self._ready or self._running:
            self._settled.clear()
            await self._settled.wait()

    async def run(self, reconcile: Callable[[K], Awaitable[None]], *, workers: int = 1) -> None:
        """Look at keys for ever, ``workers`` of them at a time."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(reconcile))
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def _add_later(self, key: K, after_s: float) -> None:
        if key in self._ready:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + after_s
        if (timer := self._timers.get(key)) is not None:
            if timer.when() <= due:
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _work(self, reconcile: Callable[[K], Awaitable[None]]) -> None:
        while True:
            while not self._ready:
                self._settled.set()
                self._wake.clear()
                await self._wake.wait()
            key = next(iter(self._ready))
            del self._ready[key]
            self._running.add(key)
            try:
                await self._look(key, reconcile)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)

    async def _look(self, key: K, reconcile: Callable[[K], Awaitable[None]]) -> None:
        try:
            await reconcile(key)
        except verdicts.Retry as verdict:
            self._problems[key] = verdict.why
            self.add(key, after_s=max(verdict.after_s, 0.001))
        except verdicts.Refused as verdict:
            self._failures.pop(key, None)
            self._problems[key] = verdict.why
        except Exception as error:  # noqa: BLE001 (a bug in a reconcile: shown, counted, tried again)
            self._failed(key, error)
        else:
            self._failures.pop(key, None)
            self._problems.pop(key, None)

    def _failed(self, key: K, error: Exception) -> None:
        self.bugs += 1
        count = self._failures[key] = self._failures.get(key, 0) + 1
        wait_s = min(FIRST_BACKOFF_S * 2 ** (count - 1), LONGEST_BACKOFF_S) * random.uniform(0.75, 1)  # noqa: S311 (jitter)
        self._problems[key] = f"{type(error).__name__}: {error}"
        kind = f"{type(error).__name__}:{error}"
        now = time.monotonic()
        if now - self._logged.get(kind, -REPEAT_LOG_S) >= REPEAT_LOG_S:
            self._logged[kind] = now
            log.error("reconcile-failed", key=str(key), retry_s=round(wait_s, 2), exc_info=error)
        self.add(key, after_s=wait_s)
