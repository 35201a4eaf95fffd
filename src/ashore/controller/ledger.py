# SPDX-License-Identifier: Apache-2.0
"""The leader's account of what is given to whom. In memory: annotations are the record that it is rebuilt from."""

import ipaddress
from collections.abc import Iterable, Mapping

import msgspec

from ashore.api import config, net
from ashore.ipam import nodes
from ashore.ipam.addresses import NodeAddresses
from ashore.ipam.nodes import NodeBook, NodeShare
from ashore.ipam.slots import Exhausted, Rejected
from ashore.topology.view import ClusterView, GatewayView, NodeView, PodView


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A node of our zone as the API has it, decoded. ``recorded`` is what its annotations give it."""

    name: net.NodeName
    uid: str
    created: str
    recorded: NodeShare
    chassis: str = ""
    has_management_port: bool = False
    host_addresses: tuple[net.Interface, ...] = ()
    gateway: GatewayView | None = None
    topology_zone: str = ""


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that has, or should get, addresses. ``recorded`` is what its annotation gives it.

    A finished pod keeps what it has until its port is unplugged, but gets nothing new.
    """

    key: net.PodKey
    uid: str
    created: str
    node: net.NodeName
    recorded: tuple[net.Interface, ...] = ()
    is_finished: bool = False


class Ledger:
    """Shares of nodes, addresses of pods, and the views of both that planners read.

    No method awaits, so that each one is a step that nothing comes between.
    """

    def __init__(self, zone: str) -> None:
        self.settings: config.Settings | None = None
        self.shares: dict[net.NodeName, NodeShare] = {}
        self._book = NodeBook.empty(())
        self._addresses: dict[net.NodeName, NodeAddresses] = {}
        self._nodes: dict[net.NodeName, NodeView] = {}
        self._pods: dict[net.PodKey, PodView] = {}
        self._on_node: dict[net.NodeName, set[net.PodKey]] = {}
        self._zone = zone

    @property
    def view(self) -> ClusterView:
        """What planners read, as it is now."""
        return ClusterView(zone=self._zone, settings=self.settings, nodes=self._nodes, pods=self._pods)

    def begin(
        self, settings: config.Settings, node_records: Iterable[NodeRecord], pod_records: Iterable[PodRecord]
    ) -> dict[str, str]:
        """Starts the account from the records; says by object why a record doesn't stand."""
        found = {record.name: record for record in node_records}
        self._nodes.clear()
        self._pods.clear()
        self._on_node.clear()
        self._addresses.clear()
        self.settings = settings
        claims = [nodes.NodeClaim(r.created, r.name, r.recorded) for r in found.values()]
        self._book, self.shares, fallen = nodes.rebuild(NodeBook.empty(settings.cluster_networks), claims)
        problems = {f"node {name}": "; ".join(p.why for p in why) for name, why in fallen.items()}
        for record in sorted(found.values(), key=lambda r: (r.created, r.name)):
            self.put_node(record)
        for pod in sorted(pod_records, key=lambda r: (r.created, r.uid)):
            if pod.recorded and isinstance(outcome := self.claim(pod), Rejected):
                problems[f"pod {pod.key}"] = outcome.why
        return problems

    def put_node(self, record: NodeRecord) -> tuple[NodeView, tuple[Exhausted, ...]]:
        """The node with everything given to it that is free, and what was exhausted."""
        known = self._nodes.get(record.name)
        if known is not None and known.uid != record.uid:
            self.drop_node(record.name)
        if record.name not in self.shares:
            self._book, self.shares[record.name], _ = self._book.claim(record.recorded)
        before = self.shares[record.name]
        self._book, share, problems = self._book.complete(before)
        self.shares[record.name] = share
        book = self._addresses.get(record.name)
        if book is None or book.subnets != share.subnets:
            self._open_addresses(record.name, share)
        view = NodeView(
            name=record.name,
            uid=record.uid,
            node_id=share.node_id,
            subnets=share.subnets,
            chassis=record.chassis,
            has_management_port=record.has_management_port,
            host_addresses=record.host_addresses,
            gateway=record.gateway,
            topology_zone=record.topology_zone,
        )
        self._nodes[record.name] = view
        return view, problems

    def drop_node(self, name: net.NodeName) -> frozenset[net.PodKey]:
        """Frees a node's share; its pods' addresses go with it. Returns these pods."""
        self._nodes.pop(name, None)
        self._addresses.pop(name, None)
        if (share := self.shares.pop(name, None)) is not None:
            self._book = self._book.release(share)
        pods = frozenset(self._on_node.pop(name, ()))
        for key in pods:
            del self._pods[key]
        return pods

    def claim(self, pod: PodRecord) -> PodView | Rejected:
        """The pod with what its record gives it."""
        book = self._addresses.get(pod.node)
        if book is None or not book.subnets:
            return Rejected(f"node {pod.node} has no subnet")
        outcome = book.claim(pod.recorded)
        if isinstance(outcome, Rejected):
            return outcome
        self._addresses[pod.node] = outcome
        return self._put_pod(pod, pod.recorded)

    def give(self, pod: PodRecord, now: float) -> PodView | Exhausted | Rejected:
        """The pod with fresh addresses of its node. Rejected: the node has no subnets (yet)."""
        book = self._addresses.get(pod.node)
        if book is None or not book.subnets:
            return Rejected(f"node {pod.node} has no subnet yet")
        outcome = book.take(now)
        if isinstance(outcome, Exhausted):
            return outcome
        self._addresses[pod.node], found = outcome
        return self._put_pod(pod, found)

    def drop_pod(self, key: net.PodKey, now: float) -> PodView | None:
        """Lays a pod's addresses to rest; returns what it had."""
        pod = self._pods.pop(key, None)
        if pod is None:
            return None
        self._on_node[pod.node].discard(key)
        if (book := self._addresses.get(pod.node)) is not None:
            self._addresses[pod.node] = book.release(pod.addresses, now)
        return pod

    def rest(self, found: Iterable[net.Address], now: float) -> None:
        """Addresses that the world still shows but no record has rest before they are given out."""
        owners = {subnet: name for name, book in self._addresses.items() for subnet in book.subnets}
        lengths = {(subnet.version, subnet.prefixlen) for subnet in owners}
        for address in found:
            for version, length in lengths:
                if version != address.version:
                    continue
                face = ipaddress.ip_interface((address, length))
                if (name := owners.get(face.network)) is not None:
                    self._addresses[name] = self._addresses[name].rest((face,), now)

    def node(self, name: net.NodeName) -> NodeView | None:
        """The node's view; None for one that isn't ours."""
        return self._nodes.get(name)

    def pod(self, key: net.PodKey) -> PodView | None:
        """The pod's view; None while it has no addresses."""
        return self._pods.get(key)

    def pods_on(self, node: net.NodeName) -> frozenset[net.PodKey]:
        """The pods with addresses of this node."""
        return frozenset(self._on_node.get(node, ()))

    @property
    def in_use(self) -> Mapping[net.NodeName, int]:
        """How many addresses pods of each node have."""
        return {name: book.in_use for name, book in self._addresses.items()}

    def _open_addresses(self, name: net.NodeName, share: NodeShare) -> None:
        """A node's book for its subnets as they are now, with its pods' addresses in it."""
        book = NodeAddresses.empty(name, share.subnets)
        for key in self._on_node.get(name, ()):
            outcome = book.claim(self._pods[key].addresses)
            if isinstance(outcome, NodeAddresses):
                book = outcome
        self._addresses[name] = book

    def _put_pod(self, pod: PodRecord, found: tuple[net.Interface, ...]) -> PodView:
        view = PodView(key=pod.key, uid=pod.uid, node=pod.node, addresses=found, mac=net.mac_of(found[0].ip))
        self._pods[pod.key] = view
        self._on_node.setdefault(pod.node, set()).add(pod.key)
        return view
