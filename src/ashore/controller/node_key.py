# SPDX-License-Identifier: Apache-2.0
"""A node: its id and subnets, its switch, the taint when its VFs are used up."""

import msgspec
import structlog

from ashore import kube, runtime
from ashore.api import net
from ashore.controller import keys, records
from ashore.controller.means import Means, both
from ashore.ipam.slots import Exhausted
from ashore.kube import objects
from ashore.topology import gateway

log = structlog.get_logger(__name__)


class Nodes:
    """Reconciles one node at a time; see ``Reign``."""

    def __init__(self, means: Means) -> None:
        self._nodes = means.nodes
        self._pods = means.pods
        self._ledger = means.ledger
        self._book = means.book
        self._writer = means.writer
        self._writes = means.writes
        self._queue = means.queue
        self._means = means
        self._short: set[net.NodeName] = set()

    async def reconcile(self, name: net.NodeName) -> None:
        """Makes the world level for one node. Retry, Refused: see there."""
        seen = self._nodes.store.get(kube.ObjectKey("", name))
        found = self._writes.newest(kube.NODES, seen) if seen else None
        record = records.node_record(found, self._ledger.view.zone) if found else None
        if found is None or record is None:
            await self._drop(name)
            return
        before, pods = self._ledger.node(name), self._ledger.pods_on(name)
        view, exhausted = self._ledger.put_node(record)
        if view != before:
            # Its pods' ports hang on its switch, its subnets and its chassis.
            self._look_at_pods(name)
            log.info("node-planned", node=name, subnets=[str(s) for s in view.subnets], chassis=view.chassis)
        self._look_at_services(name)
        share = self._ledger.shares[name]
        await both(
            self._writer.settle(keys.NodeKey(name), *(map(keys.PodKey, pods) if view != before else ())),
            self._writes.patch(kube.NODES, found, lambda now: _body(records.node_notes(now, share))),
        )
        # The taint is in the node itself, not in its status: another request, after the first one's version.
        await self._writes.patch(kube.NODES, found, _taint_body, subresource="")
        await self._report(found, name, exhausted)

    async def _drop(self, name: net.NodeName) -> None:
        self._short.discard(name)
        if self._ledger.node(name) is None:
            return
        pods = self._ledger.drop_node(name)
        log.info("node-dropped", node=name, pods=len(pods))
        for pod in pods:
            self._book.put_pod(pod, None)
        self._look_at_services(name)
        self._writes.forget(kube.NODES, kube.ObjectKey("", name))
        await self._writer.settle(keys.NodeKey(name), *map(keys.PodKey, pods))
        self._queue.forget(keys.NodeKey(name))
        for other in self._short:
            self._queue.add(keys.NodeKey(other))

    def _look_at_services(self, name: net.NodeName) -> None:
        """Load balancers with endpoints on this node, and groups that its switch or router is in, may be others now."""
        for key in self._book.put_node(self._ledger.view, name):
            self._queue.add(key)

    def _look_at_pods(self, name: net.NodeName) -> None:
        for pod in self._pods.store.values():
            if pod.spec.node_name == name and not pod.spec.host_network:
                self._queue.add(keys.PodKey(records.key_of(pod)))

    async def _report(self, found: objects.Node, name: net.NodeName, exhausted: tuple[Exhausted, ...]) -> None:
        if not exhausted:
            self._short.discard(name)
            view = self._ledger.node(name)
            if view and (why := gateway.problem(self._ledger.view, view)):
                raise runtime.Refused(f"node {name}: no gateway: {why}")
            return
        why = "; ".join(map(str, exhausted)) + "; add a cluster network to NetworkConfig default, or remove nodes"
        if name not in self._short:
            self._short.add(name)
            log.warning("node-short", node=name, why=why)
            regarding = objects.ObjectReference("v1", "Node", "", found.metadata.name, found.metadata.uid)
            await self._means.warn(regarding, "NoNodeSubnet", f"node {name}: {why}")
        raise runtime.Refused(f"node {name}: {why}")


def _body(notes: dict[str, str]) -> dict[str, object]:
    return {"metadata": {"annotations": notes}} if notes else {}


def _taint_body(found: objects.Node) -> dict[str, object]:
    wanted = records.taints(found)
    if wanted == found.spec.taints:
        return {}
    return {"spec": {"taints": msgspec.to_builtins(wanted)}}
