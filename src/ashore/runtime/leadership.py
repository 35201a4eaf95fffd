# SPDX-License-Identifier: Apache-2.0
"""Leadership by a lease: the protocol, and the thread that keeps the lease while the process' loop is busy.

Timing is by this process' monotonic clock from when it *saw* a change, never by the clock of another machine.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec
import structlog

log = structlog.get_logger(__name__)


class LeaseRecord(msgspec.Struct, frozen=True):
    """A lease as stored. ``version`` changes with each write of anybody; ``holder`` is empty when it was released."""

    holder: str
    duration_s: float
    version: str
    transitions: int = 0


class LeaseTaken(Exception):  # noqa: N818 (an outcome, not a fault)
    """The compare-and-swap lost: somebody else wrote in between."""


class LeaseUnreachable(Exception):  # noqa: N818 (an outcome, not a fault)
    """The store didn't answer; nothing is known."""


class LeaseStore(Protocol):
    """Where the lease lives. Raises LeaseUnreachable where the store can't be asked."""

    async def read(self) -> LeaseRecord | None:
        """The lease, None when there is none yet."""

    async def write(self, record: LeaseRecord, previous: LeaseRecord | None) -> LeaseRecord:
        """Compare-and-swap; the record as stored. Raises LeaseTaken."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds: a lease's duration, and how often its holder renews it and others look at it."""

    duration_s: float = 15.0
    renew_s: float = 3.0


class NotLeader(Exception):  # noqa: N818 (an outcome, not a fault)
    """This process may not write: it doesn't lead, or it can't be sure that it still does."""


class Candidate:
    """One candidate's view: what it saw when. Pure but for the numbers handed in; ``now`` is monotonic seconds."""

    def __init__(self, identity: str, timing: Timing) -> None:
        self.identity = identity
        self.timing = timing
        self._seen: LeaseRecord | None = None
        self._seen_at = 0.0
        self.renewed_at: float | None = None

    def saw(self, record: LeaseRecord | None, now: float) -> None:
        """A read showed this record; only a change of it restarts its life."""
        if record is None or self._seen is None or record.version != self._seen.version:
            self._seen, self._seen_at = record, now

    def may_take(self, now: float) -> bool:
        """Whether nobody else holds the lease any more, as far as this candidate can tell."""
        record = self._seen
        if record is None or record.holder in ("", self.identity):
            return True
        return now - self._seen_at > record.duration_s

    def next_record(self) -> LeaseRecord:
        """What to write to take or to keep the lease."""
        transitions = self._seen.transitions if self._seen else 0
        moved = self._seen is None or self._seen.holder != self.identity
        return LeaseRecord(self.identity, self.timing.duration_s, "", transitions + int(moved))

    def is_sure(self, now: float) -> bool:
        """Whether a write is safe: the last renewal *began* less than half a lease ago."""
        return self.renewed_at is not None and now - self.renewed_at < self.timing.duration_s / 2

    @property
    def previous(self) -> LeaseRecord | None:
        """The record that the next write must replace."""
        return self._seen


class Term:
    """One reign. ``check`` stands before every write."""

    def __init__(self, candidate: Candidate, clock: Callable[[], float]) -> None:
        self._candidate = candidate
        self._clock = clock
        self.ended = False

    def check(self) -> None:
        """Raises NotLeader unless this process leads and has shown so within half a lease."""
        if self.ended or not self._candidate.is_sure(self._clock()):
            self.ended = True
            raise NotLeader(f"{self._candidate.identity}: lease not renewed for half its duration, or lost")


class Elector:
    """Runs ``lead(term)`` whenever this process holds the lease.

    The lease is read and written by an event loop in a thread of its own, so that a busy main loop doesn't lose it;
    ``open_store`` is entered in that loop.
    """

    def __init__(
        self,
        identity: str,
        open_store: Callable[[], AbstractAsyncContextManager[LeaseStore]],
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._candidate = Candidate(identity, timing or Timing())
        self._open_store = open_store
        self._clock = clock
        self._holds = asyncio.Event()
        self._lost = asyncio.Event()
        self._stopping = threading.Event()

    @property
    def leads(self) -> bool:
        """Whether this process holds the lease, for metrics and health."""
        return self._holds.is_set()

    async def run(self, lead: Callable[[Term], Awaitable[None]]) -> None:
        """Campaign for ever; ``lead`` is cancelled when the lease is lost, and its NotLeader ends the term."""
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._campaign_thread, args=(loop,), name="lease", daemon=True)
        thread.start()
        try:
            while True:
                await self._holds.wait()
                await self._one_term(lead)
        finally:
            self._stopping.set()
            # The thread gives the lease back, so that a standby needn't wait for it to run out.
            await asyncio.to_thread(thread.join, self._candidate.timing.renew_s + 5)

    async def _one_term(self, lead: Callable[[Term], Awaitable[None]]) -> None:
        term = Term(self._candidate, self._clock)
        log.info("leading", identity=self._candidate.identity)
        work = asyncio.ensure_future(lead(term))
        lost = asyncio.ensure_future(self._lost.wait())
        try:
            await asyncio.wait({work, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            term.ended = True
            lost.cancel()
            finished = work.done()
            work.cancel()
            # Waiting on the task, not awaiting it: a cancellation of our own must not be taken for the task's.
            await asyncio.wait({work})
            if not work.cancelled() and (error := work.exception()) and not isinstance(error, NotLeader):
                raise error
            log.info("no-longer-leading", identity=self._candidate.identity, gave_up=finished)
        if finished:
            # Leading ended by itself (fenced, not sure): campaign afresh rather than at once again.
            self._holds.clear()
            self._candidate.renewed_at = None
            await asyncio.sleep(self._candidate.timing.renew_s)

    def _campaign_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run(self._campaign(loop))

    async def _campaign(self, loop: asyncio.AbstractEventLoop) -> None:
        timing = self._candidate.timing
        async with self._open_store() as store:
            while not self._stopping.is_set():
                await self._round(store, loop)
                waited = 0.0
                while waited < timing.renew_s and not self._stopping.is_set():
                    await asyncio.sleep(min(0.1, timing.renew_s))
                    waited += 0.1
            await self._release(store)

    async def _round(self, store: LeaseStore, loop: asyncio.AbstractEventLoop) -> None:
        began = self._clock()
        try:
            async with asyncio.timeout(self._candidate.timing.duration_s / 3):
                holds = await self._take_or_renew(store, began)
        except (LeaseUnreachable, TimeoutError) as error:
            log.warning("lease-unreachable", error=str(error))
            holds = self._candidate.is_sure(self._clock())
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._report, holds)

    async def _take_or_renew(self, store: LeaseStore, began: float) -> bool:
        candidate = self._candidate
        candidate.saw(await store.read(), began)
        if not candidate.may_take(began):
            candidate.renewed_at = None
            return False
        try:
            stored = await store.write(candidate.next_record(), candidate.previous)
        except LeaseTaken:
            candidate.renewed_at = None
            return False
        candidate.saw(stored, began)
        candidate.renewed_at = began
        return True

    async def _release(self, store: LeaseStore) -> None:
        if self._candidate.renewed_at is None or self._candidate.previous is None:
            return
        released = msgspec.structs.replace(self._candidate.previous, holder="")
        with contextlib.suppress(LeaseTaken, LeaseUnreachable, TimeoutError):
            async with asyncio.timeout(2):
                await store.write(released, self._candidate.previous)

    def _report(self, holds: bool) -> None:  # noqa: FBT001 (a thread's one message)
        if holds:
            self._lost.clear()
            self._holds.set()
        else:
            self._holds.clear()
            self._lost.set()
