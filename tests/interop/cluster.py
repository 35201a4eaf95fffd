# SPDX-License-Identifier: Apache-2.0
"""A host cluster of one node for one of our halves and a counterpart, and what every test waits with."""

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ashore import kube
from ashore.api import annotations, net
from ashore.controller import records
from ashore.kube import objects
from ashore.topology import view

NODE = "host-1"
CONFIG = {
    "metadata": {"name": "default"},
    "spec": {
        "clusterNetworks": [{"cidr": "10.244.0.0/16", "hostPrefix": 24}], "serviceCIDRs": ["10.96.0.0/16"], "mtu": 1400,
    },
}  # fmt: skip


async def until(claim: Callable[[], bool], what: str, *, limit_s: float = 2.0) -> float:
    """Seconds until the claim held. Fails with ``what`` when it doesn't within the limit."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while not claim():
        assert clock() - began < limit_s, f"not within {limit_s:g} s: {what}"
        await asyncio.sleep(limit_s / 100)
    return clock() - began


class Tasks:
    """What runs until ``end``; an exception in one of them fails ``end``."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self, *coroutines: Coroutine[Any, Any, Any]) -> None:
        self._tasks += [asyncio.create_task(each) for each in coroutines]

    async def end(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if outcome is not None and not isinstance(outcome, asyncio.CancelledError):
                raise outcome


class Server(Protocol):
    """FakeKube or a real API server."""

    def client(self) -> kube.Client: ...


class Cluster:
    """Objects as an administrator, a kubelet and the controller make them; ``see`` is the newest state."""

    def __init__(self, admin: kube.Client) -> None:
        self.admin = admin
        self.seen: kube.Informer[objects.Pod] = kube.Informer(admin, kube.PODS, namespace="ns")
        self.nodes: kube.Informer[objects.Node] = kube.Informer(admin, kube.NODES)
        self.leases: kube.Informer[objects.Lease] = kube.Informer(admin, kube.LEASES)
        self._count = 0

    async def node(self, **notes: str) -> None:
        await self.admin.create(kube.NODES, {"metadata": {"name": NODE}})
        if notes:
            await self.tell_node(notes)

    async def tell_node(self, notes: dict[str, str]) -> None:
        await self.admin.patch(kube.NODES, NODE, "", {"metadata": {"annotations": notes}})

    async def subnets(self) -> None:
        """Our controller's part for the node."""
        await self.tell_node({annotations.NODE_SUBNETS: '{"default":["10.244.0.0/24"]}', annotations.NODE_ID: "2"})

    async def pod(self, name: str = "web", *, node: str = NODE, allocated: bool = True, **notes: str) -> objects.Pod:
        """A scheduled pod; with addresses unless told otherwise."""
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0}
        spec["tolerations"] = [{"operator": "Exists"}]
        made = await self.admin.create(kube.PODS, {"metadata": {"name": name, "namespace": "ns"}, "spec": spec})
        if notes:
            await self.annotate(name, dict(notes))
        if allocated:
            await self.allocate(name)
        return made

    async def allocate(self, name: str = "web") -> None:
        """What the controller writes for a pod, by its own code."""
        self._count += 1
        address = ipaddress.ip_interface(f"10.244.0.{2 + self._count}/24")
        pod = view.PodView(
            key=net.PodKey("ns", name),
            uid="",
            node=net.NodeName(NODE),
            addresses=(address,),
            mac=net.mac_of(address.ip),
        )
        text = annotations.encode_pod_networks({"default": records.pod_network(pod)})
        await self.annotate(name, {annotations.POD_NETWORKS: text})

    async def annotate(self, name: str, notes: dict[str, str | None]) -> None:
        await self.admin.patch(kube.PODS, name, "ns", {"metadata": {"annotations": notes}})

    async def delete(self, name: str = "web") -> None:
        await self.admin.delete(kube.PODS, name, "ns", grace_s=0)

    def notes(self, name: str = "web") -> dict[str, str]:
        return dict(self.seen.store[kube.ObjectKey("ns", name)].metadata.annotations)

    def status(self, name: str = "web") -> str | None:
        return self.notes(name).get(annotations.CONNECTION_STATUS)

    def details(self, name: str = "web") -> str | None:
        return self.notes(name).get(annotations.CONNECTION_DETAILS)

    def node_notes(self) -> dict[str, str]:
        found = self.nodes.store.get(kube.ObjectKey("", NODE))
        return dict(found.metadata.annotations) if found else {}

    def lease(self) -> objects.Lease | None:
        return self.leases.store.get(kube.ObjectKey("ovn-kubernetes", f"ovn-dpu-{NODE}"))

    async def follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in (self.seen, self.nodes, self.leases):
                group.create_task(informer.run())
