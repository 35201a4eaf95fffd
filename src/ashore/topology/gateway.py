# SPDX-License-Identifier: Apache-2.0
"""A node's gateway: its router, the join switch before it, the external switch behind it, and who is sent there.

The router doesn't own the host's address (``api.gateway``): it translates to it within a range of ports, and what has
neither a translation nor a service goes back to the host. ``docs/explanation/gateway.md`` walks packets through it.

Every row's number follows from its own node: no policy lists other nodes, and a join switch of its own keeps neighbour
flows linear in the number of nodes. What all nodes' hosts are is one address set, a member each.
"""

import ipaddress
from collections.abc import Iterator

import msgspec

from ashore.api import config, gateway, names, net
from ashore.ipam import addresses
from ashore.schema import nb, row
from ashore.topology import identity
from ashore.topology.view import ClusterView, NodeView

HOSTS = {4: "ashore_hosts_v4", 6: "ashore_hosts_v6"}
"""Address sets with the addresses of hosts that have a management port, by IP version."""
_FIELD = {4: "ip4", 6: "ip6"}
_ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}

# Cluster router. Own host's NodePorts are balanced on the gateway router, else a host is behind its management port;
# to other nodes' hosts the way is over the wire, in spite of their route.
_TO_OWN_NODE_PORT, _TO_OWN_HOST, _TO_OTHER_HOST = 1012, 1011, 1010
# Gateway router.
_BALANCED_FROM_OUTSIDE, _BALANCED_FROM_PODS, _BOUNCE, _UNSERVED = 1004, 1003, 1002, 1001


class _Leg(msgspec.Struct, frozen=True, kw_only=True):
    """One family of a gateway. ``near`` is the cluster router's address on the join link, ``far`` the gateway's."""

    version: int
    near: net.Interface
    far: net.Interface
    management: net.Interface
    subnet: net.Network
    host: net.Interface
    hosts: tuple[net.Interface, ...]
    """All of the host's addresses of this family."""
    cluster: tuple[net.Network, ...]
    services: tuple[net.Network, ...]
    next_hops: tuple[net.Address, ...]


def plan_cluster(view: ClusterView) -> row.Plan:
    """What all gateways share."""
    rows = tuple(
        nb.AddressSet(uuid=_hosts(view, version), name=name, external_ids={identity.OWNER: identity.CLUSTER_OWNER})
        for version, name in HOSTS.items()
    )
    return row.Plan(rows)


def problem(view: ClusterView, node: NodeView) -> str:
    """Why a node that told of its leg to the outside gets no gateway; "" where it gets one or told of none."""
    if view.settings is None or node.gateway is None or not node.node_id or list(_legs(view, node)):
        return ""
    joins = ", ".join(map(str, view.settings.join_cidrs))
    return f"id {node.node_id} has no place in joinCIDRs {joins}, or no family of its host's addresses is the cluster's"


def plan_node(view: ClusterView, node: NodeView) -> row.Plan:
    """A node's gateway; nothing before its host's addresses, its chassis and its subnets are known."""
    if not is_planned(view, node):
        return row.Plan()
    assert view.settings is not None  # noqa: S101 (is_planned looked)
    plan = _Plan(view, node)
    legs = tuple(_legs(view, node))
    plan.join_switch(legs)
    plan.router(legs)
    plan.external_switch()
    for leg in legs:
        plan.routes(leg)
        plan.policies(leg, view.settings)
        plan.translation(leg, view.settings)
    return row.Plan(tuple(plan.rows), frozenset(plan.members))


def is_planned(view: ClusterView, node: NodeView) -> bool:
    """Whether the node has a gateway."""
    if view.settings is None or node.gateway is None or not (node.chassis and node.subnets and node.node_id):
        return False
    return any(_legs(view, node))


def _legs(view: ClusterView, node: NodeView) -> Iterator[_Leg]:
    settings, outside = view.settings, node.gateway
    assert settings is not None  # noqa: S101 (the callers looked)
    assert outside is not None  # noqa: S101 (the callers looked)
    for version in settings.families:
        subnet = next((each for each in node.subnets if each.version == version), None)
        host = next((each for each in outside.addresses if each.version == version), None)
        join = next((each for each in settings.join_cidrs if each.version == version), None)
        link = addresses.join_of(join, node.node_id) if join else None
        if subnet is None or host is None or join is None or link is None:
            continue
        hosts = {host, *(each for each in node.host_addresses if each.version == version)}
        yield _Leg(
            version=version,
            near=link[0],
            far=link[1],
            management=addresses.management_of(subnet),
            subnet=subnet,
            host=host,
            hosts=tuple(sorted(hosts)),
            cluster=tuple(each.cidr for each in settings.cluster_networks if each.cidr.version == version),
            services=tuple(each for each in settings.service_cidrs if each.version == version),
            next_hops=tuple(each for each in outside.next_hops if each.version == version),
        )


class _Plan:
    """Rows of one node's gateway as they come together."""

    def __init__(self, view: ClusterView, node: NodeView) -> None:
        assert node.gateway is not None  # noqa: S101 (the caller looked)
        self._view = view
        self._node = node
        self._outside = node.gateway
        self._mark = identity.node_mark(node)
        self._gateway = identity.gateway_router(view.zone, node)
        self._cluster = identity.cluster_router(view.zone)
        self._inside = f"rtoj-{names.gateway_router(node.name)}"
        self._cluster_side = f"rtoj-{node.name}"
        self._outdoor = f"rtoe-{names.gateway_router(node.name)}"
        self.rows: list[row.Row] = []
        self.members: set[row.Member] = set()

    def join_switch(self, legs: tuple[_Leg, ...]) -> None:
        """The link between the cluster router and the gateway router."""
        name = self._node.name
        switch = self._switch(names.join_switch(name), "join")
        self._router_port(self._cluster, self._cluster_side, tuple(leg.near for leg in legs))
        self._switch_port(switch, f"jtor-{name}", self._cluster_side)
        self._router_port(self._gateway, self._inside, tuple(leg.far for leg in legs))
        self._switch_port(switch, f"jtor-{names.gateway_router(name)}", self._inside)

    def router(self, legs: tuple[_Leg, ...]) -> None:
        """The gateway router, bound to the node's chassis."""
        own = [str(leg.host.ip) for leg in legs]
        self.rows.append(
            nb.LogicalRouter(
                uuid=self._gateway,
                name=names.gateway_router(self._node.name),
                options={
                    "chassis": self._node.chassis,
                    "lb_force_snat_ip": "router_ip",
                    "always_learn_from_arp_request": "false",
                    # Its own neighbours are planned. With learning, what it sends to an address that it translates to
                    # would be dropped as its own (northd: lr_in_arp_resolve).
                    "dynamic_neigh_routers": "false",
                },
                external_ids={**self._mark, "physical_ip": own[0], "physical_ips": ",".join(own)},
            )
        )
        for group in (names.CLUSTER_LB_GROUP, names.ROUTER_LB_GROUP):
            self.members.add(identity.has_group(self._view.zone, nb.LogicalRouter.TABLE, self._gateway, group))
        options = {"gateway_mtu": str(self._outside.mtu)} if self._outside.mtu else {}
        networks = tuple(gateway.router(leg.version) for leg in legs)
        self._router_port(self._gateway, self._outdoor, networks, mac=self._outside.mac, options=options)

    def external_switch(self) -> None:
        """The switch whose localnet port is patched to the bridge."""
        switch = self._switch(names.external_switch(self._node.name), "external")
        self._switch_port(switch, f"etor-{names.gateway_router(self._node.name)}", self._outdoor)
        alias = " ".join((gateway.HOST_MAC, *map(str, gateway.HOST)))
        port = nb.LogicalSwitchPort(
            uuid=self._id(nb.LogicalSwitchPort.TABLE, "localnet"),
            name=self._outside.port,
            type="localnet",
            addresses=frozenset({"unknown", alias}),
            options={"network_name": names.PHYSICAL_NETWORK},
            tag=self._outside.vlan or None,
            external_ids=self._mark,
        )
        self._add(nb.LogicalSwitch.TABLE, switch, "ports", port)

    def routes(self, leg: _Leg) -> None:
        """Pods' traffic to the gateway router, and from it to pods, the host's network and the world."""
        self._route(self._cluster, leg.subnet, str(leg.far.ip), policy="src-ip")
        if self._node.has_management_port:
            # What gateway routers give back: what any of them balanced, and what the own one doesn't serve.
            for each in leg.hosts:
                self._route(self._cluster, ipaddress.ip_network(each.ip), str(leg.management.ip))
        for network in leg.cluster:
            self._route(self._gateway, network, str(leg.near.ip))
        for network in leg.services:
            # A service's address that nothing serves goes nowhere, above all not out to the wire.
            self._route(self._gateway, network, "discard")
        on_link = {host.network for host in leg.hosts}
        for network in sorted(on_link, key=str):
            self._route(self._gateway, network, "", port=self._outdoor)
        for hop in leg.next_hops:
            self._route(self._gateway, ipaddress.ip_network(_ANYWHERE[leg.version]), str(hop), port=self._outdoor)

    def policies(self, leg: _Leg, settings: config.Settings) -> None:
        """Where routing by destination alone would be wrong: all of it about hosts."""
        ip, low, high = _FIELD[leg.version], *settings.node_port_range
        own = _set_of([str(each.ip) for each in leg.hosts])
        node_ports = " || ".join(f"({low} <= {protocol}.dst <= {high})" for protocol in ("tcp", "udp", "sctp"))
        from_node = f'inport == "{names.router_to_switch(self._node.name)}" && {ip}.dst == {own}'
        self._policy(self._cluster, _TO_OWN_NODE_PORT, f"{from_node} && ({node_ports})", leg.far.ip)
        self._policy(self._cluster, _TO_OWN_HOST, from_node, leg.management.ip)
        other = f'inport == "{names.router_to_switch(self._node.name)}" && {ip}.dst == ${HOSTS[leg.version]}'
        self._policy(self._cluster, _TO_OTHER_HOST, other, leg.far.ip)
        to_hosts = f"ct_mark.natted == 1 && {ip}.dst == ${HOSTS[leg.version]}"
        pods = _set_of([str(each) for each in leg.cluster])
        outdoor, inside = f'inport == "{self._outdoor}"', f'inport == "{self._inside}"'
        self._policy(self._gateway, _BALANCED_FROM_OUTSIDE, f"{outdoor} && {to_hosts}", leg.near.ip)
        self._policy(self._gateway, _BALANCED_FROM_PODS, f"{inside} && {to_hosts} && {ip}.src == {pods}", leg.near.ip)
        unowned = f"{outdoor} && ct_mark.natted == 0 && {ip}.dst != {pods}"
        self._policy(self._gateway, _BOUNCE, unowned, gateway.host(leg.version))
        unserved = f"{inside} && ct_mark.natted == 0 && {ip}.dst == {own}"
        self._policy(self._gateway, _UNSERVED, unserved, leg.near.ip)
        if self._node.has_management_port:
            for each in leg.hosts:
                table = nb.AddressSet.TABLE.name
                self.members.add(row.Member(table, _hosts(self._view, leg.version), "addresses", str(each.ip)))

    def translation(self, leg: _Leg, settings: config.Settings) -> None:
        """Pods' sources become the host's, in a range of ports by which the bridge knows replies."""
        for network in leg.cluster:
            rule = nb.NAT(
                uuid=self._id(nb.NAT.TABLE, f"snat {network}"),
                type="snat",
                external_ip=str(leg.host.ip),
                logical_ip=str(network),
                external_port_range="{}-{}".format(*settings.snat_port_range),
                external_ids=self._mark,
            )
            self._add(nb.LogicalRouter.TABLE, self._gateway, "nat", rule)

    def _switch(self, name: str, part: str) -> row.Uuid:
        switch = nb.LogicalSwitch(
            uuid=self._id(nb.LogicalSwitch.TABLE, part), name=name, other_config={}, external_ids=self._mark
        )
        self.rows.append(switch)
        return switch.uuid

    def _switch_port(self, switch: row.Uuid, name: str, peer: str) -> None:
        port = nb.LogicalSwitchPort(
            uuid=self._id(nb.LogicalSwitchPort.TABLE, name),
            name=name,
            type="router",
            addresses=frozenset({"router"}),
            options={"router-port": peer},
            external_ids=self._mark,
        )
        self._add(nb.LogicalSwitch.TABLE, switch, "ports", port)

    def _router_port(
        self,
        router: row.Uuid,
        name: str,
        networks: tuple[net.Interface, ...],
        *,
        mac: net.Mac | None = None,
        options: dict[str, str] | None = None,
    ) -> None:
        port = nb.LogicalRouterPort(
            uuid=self._id(nb.LogicalRouterPort.TABLE, name),
            name=name,
            mac=mac or net.mac_of(networks[0].ip),
            networks=frozenset(map(str, networks)),
            ipv6_ra_configs={},
            options=options or {},
            external_ids=self._mark,
        )
        self._add(nb.LogicalRouter.TABLE, router, "ports", port)

    def _route(
        self, router: row.Uuid, network: net.Network, nexthop: str, *, port: str | None = None, policy: str = "dst-ip"
    ) -> None:
        route = nb.LogicalRouterStaticRoute(
            uuid=self._id(nb.LogicalRouterStaticRoute.TABLE, f"{router} {policy} {network} {nexthop}"),
            ip_prefix=str(network),
            policy=policy,
            nexthop=nexthop,
            output_port=port,
            external_ids=self._mark,
        )
        self._add(nb.LogicalRouter.TABLE, router, "static_routes", route)

    def _policy(self, router: row.Uuid, priority: int, match: str, nexthop: net.Address) -> None:
        policy = nb.LogicalRouterPolicy(
            uuid=self._id(nb.LogicalRouterPolicy.TABLE, f"{router} {priority} {nexthop.version}"),
            priority=priority,
            match=match,
            action="reroute",
            nexthops=frozenset({str(nexthop)}),
            external_ids=self._mark,
        )
        self._add(nb.LogicalRouter.TABLE, router, "policies", policy)

    def _add(self, parent: row.Table, uuid: row.Uuid, column: str, child: row.Row) -> None:
        self.rows.append(child)
        self.members.add(row.Member(parent.name, uuid, column, child.uuid))

    def _id(self, table: row.Table, part: str) -> row.Uuid:
        return identity.node_row(self._view.zone, table, self._node, part=f"gateway/{part}")


def _set_of(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else "{" + ", ".join(texts) + "}"


def _hosts(view: ClusterView, version: int) -> row.Uuid:
    return identity.cluster_row(view.zone, nb.AddressSet.TABLE, HOSTS[version])
