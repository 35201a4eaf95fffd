# SPDX-License-Identifier: Apache-2.0
"""What planners know of the world: frozen, validated, without Kubernetes' shapes."""

from collections.abc import Mapping

import msgspec

from ashore.api import config, names, net


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """A node's leg to the outside: the host's own addresses and MAC, which OVN shares on the wire."""

    port: str
    """The localnet port's name."""
    mac: net.Mac
    addresses: tuple[net.Interface, ...]
    """At most one of each family: what pods' traffic to the outside is translated to."""
    next_hops: tuple[net.Address, ...] = ()
    vlan: int = 0
    mtu: int = 0
    """The most bytes of a packet to a pod; 0: not known."""


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node of this zone. What isn't known yet is empty; planners then leave out what needs it.

    ``uid`` tells a node from an earlier one of the same name: their rows are different rows.
    """

    name: net.NodeName
    uid: str
    node_id: int = 0
    subnets: tuple[net.Network, ...] = ()
    chassis: str = ""
    """The chassis that serves the node: its DPU's, or its own where it has OVS itself."""
    has_management_port: bool = False
    """Whether the node said which device is its management port."""
    host_addresses: tuple[net.Interface, ...] = ()
    """All addresses of the host."""
    gateway: GatewayView | None = None
    topology_zone: str = ""
    """Where the node is, as its label says."""


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """A pod that has addresses on the cluster's network."""

    key: net.PodKey
    uid: str
    node: net.NodeName
    addresses: tuple[net.Interface, ...]
    mac: net.Mac


class ClusterView(msgspec.Struct, frozen=True, kw_only=True):
    """All of one zone."""

    zone: str = names.ZONE
    settings: config.Settings | None = None
    nodes: Mapping[net.NodeName, NodeView]
    pods: Mapping[net.PodKey, PodView]
