# SPDX-License-Identifier: Apache-2.0
"""Links of a host whose switch is elsewhere: a pod's interface and the node's management port."""

import ipaddress
from collections.abc import Iterable

import msgspec

from ashore.api import annotations, names, net


class Route(msgspec.Struct, frozen=True, order=True):
    """A route over the planned link; no gateway: the link itself. ``source``: what is sent there comes from."""

    dest: str
    gateway: str
    source: str = ""


class LinkPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a link should be: these addresses and static routes and no others."""

    name: str
    mac: str
    mtu: int
    addresses: tuple[str, ...]
    routes: tuple[Route, ...]


class PodView(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod's interface is planned from; ``ifname`` is what the runtime wants it to be called."""

    ifname: str
    mtu: int
    network: annotations.PodNetwork


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """What the management port is planned from: the node's subnets and the ranges that lie behind its switch."""

    subnets: tuple[net.Network, ...]
    cluster_networks: tuple[net.Network, ...]
    service_networks: tuple[net.Network, ...]
    join_networks: tuple[net.Network, ...] = ()
    """Where balanced connections seem to come from."""
    host: tuple[net.Address, ...] = ()
    """The host's addresses, at most one of a family."""
    mtu: int


def plan_pod(view: PodView) -> LinkPlan:
    """A pod's interface: the addresses that the controller gave, its routes, and the default route by each gateway."""
    network = view.network
    routes = [Route("::/0" if ":" in gateway else "0.0.0.0/0", gateway) for gateway in network.gateway_ips]
    routes += [Route(route.dest, route.next_hop) for route in network.routes]
    return LinkPlan(
        name=view.ifname,
        mac=network.mac_address.lower(),
        mtu=view.mtu,
        addresses=tuple(str(ipaddress.ip_interface(cidr)) for cidr in network.ip_addresses),
        routes=_first_of_each(routes),
    )


def plan_node(view: NodeView) -> LinkPlan:
    """The management port: the subnets' second addresses, and routes to all pods and services by their first.

    To the node's own pods the host speaks by its own address: they reach it by that one, and a server of the host that
    doesn't choose its source must answer with the address that it was asked at. The two halves of the subnet stand
    before the kernel's own route. Balanced connections come from join addresses: the same for their answers.

    The MAC is that of the first subnet's address, as the controller expects it.
    """
    addresses = [subnet[2] for subnet in view.subnets]
    gateways = {subnet.version: str(subnet[1]) for subnet in view.subnets}
    sources = {address.version: str(address) for address in view.host}
    behind = (*view.cluster_networks, *view.service_networks)
    return LinkPlan(
        name=names.MANAGEMENT_PORT,
        mac=net.mac_of(addresses[0]),
        mtu=view.mtu,
        addresses=tuple(
            f"{address}/{subnet.prefixlen}" for address, subnet in zip(addresses, view.subnets, strict=True)
        ),
        routes=_first_of_each(
            [
                *(Route(str(network), gateways[network.version]) for network in behind if network.version in gateways),
                *(
                    Route(str(network), gateways[network.version], sources.get(network.version, ""))
                    for network in view.join_networks
                    if network.version in gateways
                ),
                *(
                    Route(str(half), "", str(address))
                    for address in view.host
                    for subnet in view.subnets
                    if subnet.version == address.version
                    for half in subnet.subnets()
                ),
            ]
        ),
    )


class SteeringPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Ports of the host's own addresses that the cluster serves; ``ways`` are (gateway, source) over the link."""

    link: str
    addresses: tuple[str, ...]
    ports: tuple[int, int]
    ways: tuple[tuple[str, str], ...]


def plan_node_ports(view: NodeView, ports: tuple[int, int]) -> SteeringPlan:
    """The host's own way to NodePorts on its own addresses: over the management port, as to any service."""
    return SteeringPlan(
        link=names.MANAGEMENT_PORT,
        addresses=tuple(map(str, view.host)),
        ports=ports,
        ways=tuple((str(subnet[1]), str(subnet[2])) for subnet in view.subnets),
    )


def _first_of_each(routes: Iterable[Route]) -> tuple[Route, ...]:
    """One route a destination: two gateways of a family would be an arbitrary choice of the kernel's."""
    chosen: dict[str, Route] = {}
    for route in routes:
        chosen.setdefault(route.dest, route)
    return tuple(chosen.values())
