# SPDX-License-Identifier: Apache-2.0
"""What a reconcile of one key works with during a term."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass

import structlog

from ashore import kube, runtime
from ashore.controller import api, keys, zone
from ashore.controller.ledger import Ledger
from ashore.controller.service_book import ServiceBook
from ashore.kube import objects

log = structlog.get_logger(__name__)

COMPONENT = "ashore-controller"


@dataclass(frozen=True)
class Means:
    """The parts of one term."""

    nodes: kube.Informer[objects.Node]
    pods: kube.Informer[objects.Pod]
    services: kube.Informer[objects.Service]
    slices: kube.Informer[objects.EndpointSlice]
    ledger: Ledger
    book: ServiceBook
    writer: zone.ZoneWriter
    writes: api.Writes
    queue: runtime.WorkQueue[keys.Key]

    def now(self) -> float:
        """The clock of rests: monotonic seconds of the running loop."""
        return asyncio.get_running_loop().time()

    async def warn(self, regarding: objects.ObjectReference, reason: str, message: str) -> None:
        """A Warning event. What can't be told is logged and holds up nothing."""
        self.writes.check()
        try:
            await kube.publish_event(
                self.writes.client,
                regarding=regarding,
                reason=reason,
                message=message,
                type_="Warning",
                component=COMPONENT,
            )
        except kube.ApiError as error:
            log.warning("event-not-published", object=regarding.name, reason=reason, error=str(error))


async def both(one: Awaitable[None], other: Awaitable[None]) -> None:
    """Does both at once and waits for both, whatever becomes of either; then raises the first failure."""
    for outcome in await asyncio.gather(one, other, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
