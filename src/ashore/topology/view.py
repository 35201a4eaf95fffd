# SPDX-License-Identifier: Apache-2.0
"""What planners know of the world: frozen, validated, without Kubernetes' shapes."""

from collections.abc import Mapping

import msgspec

from ashore.api import names, net


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
    nodes: Mapping[net.NodeName, NodeView]
    pods: Mapping[net.PodKey, PodView]
