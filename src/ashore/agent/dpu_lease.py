# SPDX-License-Identifier: Apache-2.0
"""The lease by which a DPU shows its host, and anyone else, that it serves."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any, Never

import structlog

from ashore import kube
from ashore.api import annotations, names, net
from ashore.kube import objects

log = structlog.get_logger(__name__)
DURATION_S = 12
FOREIGN_DURATION_S = 40
"""For a host half that isn't ours: ovn-kubernetes' compares our clock with its own, looks every 10 s, and takes the
whole node down with the lease; so clocks may differ, and this agent may be replaced, within its usual 40 s."""
RENEW_S = 4.0
RETRY_S = 1.0


class DpuLease:
    """Renews ``ovn-dpu-<node>`` while ``problem`` finds none; ages otherwise, also while this process restarts.

    It isn't released at the end: a restart must not look like a death.
    """

    def __init__(
        self,
        api: kube.Client,
        node: Callable[[], objects.Node | None],
        problem: Callable[[], Awaitable[str]],
        *,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._api = api
        self._node = node
        self._problem = problem
        self._now = now
        self.last_problem = "not renewed yet"

    async def run(self) -> Never:
        """Renews for ever."""
        while True:  # noqa: ASYNC110 (the clock is the event)
            await asyncio.sleep(RENEW_S if await self.renew() else RETRY_S)

    async def renew(self) -> bool:
        """Renews once; whether it did. What stands in the way is ``last_problem``, logged when it changes."""
        node = self._node()
        found = await self._problem() if node else "the host's Node object isn't known yet"
        if node is not None and not found:
            try:
                await self._write(node)
            except kube.ApiError as error:
                found = str(error)
        if found != self.last_problem:
            self.last_problem = found
            if found:
                log.warning("lease-not-renewed", why=found)
            else:
                log.info("lease-renewed")
        return not found

    async def _write(self, node: objects.Node) -> None:
        name = names.dpu_lease(net.NodeName(node.metadata.name))
        # Only our host half says how many VFs are free.
        is_ours = annotations.FREE_VFS in node.metadata.annotations
        spec: dict[str, Any] = {
            "holderIdentity": names.DPU_LEASE_HOLDER,
            "leaseDurationSeconds": DURATION_S if is_ours else FOREIGN_DURATION_S,
            "renewTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._api.patch(kube.LEASES, name, names.LEASE_NAMESPACE, {"spec": spec})
        except kube.NotFound:
            owner = {"apiVersion": "v1", "kind": "Node", "name": node.metadata.name, "uid": node.metadata.uid}
            metadata = {"name": name, "namespace": names.LEASE_NAMESPACE, "ownerReferences": [owner]}
            await self._api.create(kube.LEASES, {"metadata": metadata, "spec": spec}, names.LEASE_NAMESPACE)
