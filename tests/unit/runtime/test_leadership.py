# SPDX-License-Identifier: Apache-2.0
import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator

import msgspec
import pytest

from ashore import runtime


class SharedLease:
    """A lease in memory with compare-and-swap, shared by the candidates' threads."""

    def __init__(self) -> None:
        self.record: runtime.LeaseRecord | None = None
        self.reachable = True
        self._lock = threading.Lock()
        self._version = 0

    async def read(self) -> runtime.LeaseRecord | None:
        if not self.reachable:
            raise runtime.LeaseUnreachable("cut off")
        return self.record

    async def write(self, record: runtime.LeaseRecord, previous: runtime.LeaseRecord | None) -> runtime.LeaseRecord:
        if not self.reachable:
            raise runtime.LeaseUnreachable("cut off")
        with self._lock:
            if self.record != previous:
                raise runtime.LeaseTaken
            self._version += 1
            self.record = msgspec.structs.replace(record, version=str(self._version))
            return self.record

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["SharedLease"]:
        yield self


TIMING = runtime.Timing(duration_s=15, renew_s=3)


def test_a_candidate_waits_a_whole_lease_from_when_it_saw_the_last_change() -> None:
    candidate = runtime.Candidate("b", TIMING)
    candidate.saw(runtime.LeaseRecord("a", 15, "1"), now=100)
    candidate.saw(runtime.LeaseRecord("a", 15, "1"), now=114)
    assert not candidate.may_take(114)
    assert candidate.may_take(115.1)
    candidate.saw(runtime.LeaseRecord("a", 15, "2"), now=115)
    assert not candidate.may_take(129)


def test_a_released_lease_is_free_at_once() -> None:
    candidate = runtime.Candidate("b", TIMING)
    candidate.saw(runtime.LeaseRecord("", 15, "7", transitions=3), now=5)
    assert candidate.may_take(5)
    assert candidate.next_record().transitions == 4


def test_a_leader_that_slept_half_a_lease_is_no_longer_sure() -> None:
    candidate = runtime.Candidate("a", TIMING)
    candidate.renewed_at = 10
    assert candidate.is_sure(17.4)
    assert not candidate.is_sure(17.5)


def test_a_term_that_lost_its_certainty_never_gets_it_back() -> None:
    candidate = runtime.Candidate("a", TIMING)
    candidate.renewed_at = 0
    now = 0.0
    term = runtime.Term(candidate, lambda: now)
    term.check()
    now = 8.0
    with pytest.raises(runtime.NotLeader):
        term.check()
    candidate.renewed_at = now
    with pytest.raises(runtime.NotLeader):
        term.check()


async def test_one_of_two_leads_and_the_other_takes_over_when_it_stops() -> None:
    lease = SharedLease()
    timing = runtime.Timing(duration_s=60, renew_s=0.1)
    leads: asyncio.Queue[str] = asyncio.Queue()

    def campaign(name: str) -> asyncio.Task[None]:
        async def lead(term: runtime.Term) -> None:
            term.check()
            leads.put_nowait(name)
            await asyncio.Event().wait()

        return asyncio.create_task(runtime.Elector(name, lease.open, timing=timing).run(lead))

    tasks = {"a": campaign("a"), "b": campaign("b")}
    async with asyncio.timeout(20):
        first = await leads.get()
        tasks[first].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[first]
        second = await leads.get()
    for task in tasks.values():
        task.cancel()
    await asyncio.gather(*tasks.values(), return_exceptions=True)
    assert {first, second} == {"a", "b"}
    assert lease.record is not None
    assert lease.record.transitions == 2


async def test_a_leader_cut_off_from_the_lease_stops_leading() -> None:
    lease = SharedLease()
    ended = asyncio.Event()
    began = asyncio.Event()

    async def lead(term: runtime.Term) -> None:
        term.check()
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    elector = runtime.Elector("a", lease.open, timing=runtime.Timing(duration_s=0.6, renew_s=0.1))
    task = asyncio.create_task(elector.run(lead))
    async with asyncio.timeout(20):
        await began.wait()
        lease.reachable = False
        await ended.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not elector.leads
