# SPDX-License-Identifier: Apache-2.0
"""What the planners of load balancers know of the world: frozen and validated."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from ashore.api import net
from ashore.schema import row


class ServiceName(NamedTuple):
    """Names one service; its UID tells incarnations apart and is carried beside it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


class Claim(NamedTuple):
    """Something that only one service can have. ``address`` is empty for a port of every node."""

    protocol: str
    address: str
    port: int

    def __str__(self) -> str:
        where = f"[{self.address}]" if ":" in self.address else self.address
        return f"{where}:{self.port}/{self.protocol}" if where else f"node port {self.port}/{self.protocol}"


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint of a service's port."""

    address: net.Address
    port: int
    node: net.NodeName = net.NodeName("")
    """Where it runs; empty when it isn't said."""
    is_ready: bool = True
    is_draining: bool = False
    """It terminates and still serves: used where nothing is ready."""
    zones: frozenset[str] = frozenset()
    """The topology zones that it is meant for; empty: not said."""


class PortView(msgspec.Struct, frozen=True, kw_only=True):
    """A port of a service with what serves it."""

    protocol: str
    """TCP, UDP or SCTP."""
    port: int
    node_port: int = 0
    backends: tuple[Backend, ...] = ()


class ServiceView(msgspec.Struct, frozen=True, kw_only=True):
    """A service that wants load balancers."""

    name: ServiceName
    uid: str
    created: str = ""
    cluster_ips: tuple[net.Address, ...]
    external_ips: tuple[net.Address, ...] = ()
    """externalIPs and load balancers' ingress addresses."""
    ports: tuple[PortView, ...]
    is_sticky: bool = False
    """sessionAffinity: ClientIP."""
    is_external_local: bool = False
    is_internal_local: bool = False
    lost: frozenset[Claim] = frozenset()
    """What an older service has; see ``claims``."""


class HostPort(msgspec.Struct, frozen=True, kw_only=True):
    """A container's port that is also one of the host's addresses'; ``address`` is None for all of them."""

    protocol: str
    port: int
    target: int
    address: net.Address | None = None


class HostPortsView(msgspec.Struct, frozen=True, kw_only=True):
    """A pod with host ports."""

    pod: net.PodKey
    uid: str
    node: net.NodeName
    addresses: tuple[net.Address, ...]
    ports: tuple[HostPort, ...]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A node: where load balancers can be."""

    name: net.NodeName
    chassis: str = ""
    switch: row.Uuid
    router: row.Uuid | None = None
    """The gateway router, where there is one."""
    addresses: tuple[net.Address, ...] = ()
    """The host's own."""
    is_host: bool = False
    """Whether the host itself is reached through OVN: it has a gateway and a management port."""
    topology_zone: str = ""


class Reach(msgspec.Struct, frozen=True, order=True):
    """Which switches or routers a load balancer is on, where that isn't all of them or a node's own.

    ``kind`` is "switches-but", "routers-but" (``names``: nodes left out), "switches-in" or "switches-outside"
    (``names``: topology zones). Services that agree share one group of load balancers.
    """

    kind: str
    names: tuple[str, ...]


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """All nodes of one zone, and the groups that are on each of them."""

    zone: str
    everywhere: row.Uuid
    """The group of load balancers on all node switches and all gateway routers."""
    switches: row.Uuid
    """The group on all node switches."""
    routers: row.Uuid
    """The group on all gateway routers."""
    nodes: Mapping[net.NodeName, Place]
    hosts: Mapping[net.Address, net.NodeName]
    """Whose host an address is; only hosts that are reached through OVN."""
    most_addresses: Mapping[int, int]
    """By IP version, how many addresses the node with most of them has."""


def hosts_of(nodes: Mapping[net.NodeName, Place]) -> dict[net.Address, net.NodeName]:
    """``Places.hosts`` of these nodes; of two nodes that say an address the first by name has it."""
    found: dict[net.Address, net.NodeName] = {}
    for name in sorted(nodes):
        if nodes[name].is_host:
            for address in nodes[name].addresses:
                found.setdefault(address, name)
    return found


def most_addresses_of(nodes: Mapping[net.NodeName, Place]) -> dict[int, int]:
    """``Places.most_addresses`` of these nodes."""
    return {
        version: max((sum(a.version == version for a in place.addresses) for place in nodes.values()), default=0)
        for version in (4, 6)
    }
