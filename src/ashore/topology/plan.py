# SPDX-License-Identifier: Apache-2.0
"""The logical network: one router for the cluster, a switch for each node, a port for each pod.

Names and columns are ovn-kubernetes' (``reference/ovn-kubernetes.md`` 2.4 and 2.5), deviations are listed in
``docs/reference/compatibility.md``. Routing is distributed: no router port is bound to a chassis.
"""

from collections.abc import Iterable

from ashore.api import names, net
from ashore.ipam import addresses
from ashore.schema import nb, row
from ashore.topology import gateway, identity
from ashore.topology.view import ClusterView, NodeView, PodView


def plan(view: ClusterView) -> row.Plan:
    """Everything that the view asks for: the sum of all keys' plans."""
    rows: list[row.Row] = []
    members: set[row.Member] = set()
    for part in _parts(view):
        rows += part.rows
        members |= part.members
    return row.Plan(tuple(rows), frozenset(members))


def _parts(view: ClusterView) -> Iterable[row.Plan]:
    yield plan_cluster(view)
    for name in sorted(view.nodes):
        yield plan_node(view, view.nodes[name])
    for key in sorted(view.pods):
        yield plan_pod(view, view.pods[key])


def plan_cluster(view: ClusterView) -> row.Plan:
    """What the cluster has once: its router, and the groups by which switches and routers get load balancers."""
    router = nb.LogicalRouter(
        uuid=identity.cluster_router(view.zone),
        name=names.CLUSTER_ROUTER,
        # Every address behind the router is planned, so it has nothing to learn from what ports say about themselves.
        options={"always_learn_from_arp_request": "false"},
        external_ids={identity.OWNER: identity.CLUSTER_OWNER, "k8s-cluster-router": "yes"},
    )
    groups = tuple(
        nb.LoadBalancerGroup(uuid=identity.lb_group(view.zone, name), name=name)
        for name in (names.CLUSTER_LB_GROUP, names.SWITCH_LB_GROUP, names.ROUTER_LB_GROUP)
    )
    return row.Plan((router, *groups)) + gateway.plan_cluster(view)


def plan_node(view: ClusterView, node: NodeView) -> row.Plan:
    """A node's switch, its ports to and from the cluster router, its management port, its gateway.

    Nothing before the node has subnets.
    """
    if not node.subnets:
        return row.Plan()
    switch = nb.LogicalSwitch(
        uuid=identity.switch(view.zone, node),
        name=node.name,
        other_config=_switch_config(node),
        external_ids=identity.node_mark(node),
    )
    balanced = frozenset(
        identity.has_group(view.zone, nb.LogicalSwitch.TABLE, switch.uuid, group)
        for group in (names.CLUSTER_LB_GROUP, names.SWITCH_LB_GROUP)
    )
    rows = row.Plan((switch,), balanced) + _plan_router_ports(view, node) + _plan_management_port(view, node)
    return rows + gateway.plan_node(view, node)


def plan_pod(view: ClusterView, pod: PodView) -> row.Plan:
    """A pod's port on its node's switch; nothing while its node lacks such subnets or a chassis to bind the port to.

    Without ``requested-chassis`` any chassis could claim the port.
    """
    node = view.nodes.get(pod.node)
    if node is None or not node.chassis or not {a.network for a in pod.addresses} <= set(node.subnets):
        return row.Plan()
    port = nb.LogicalSwitchPort(
        uuid=identity.pod_row(view.zone, nb.LogicalSwitchPort.TABLE, pod.uid),
        name=names.pod_port(pod.key),
        type="",
        addresses=frozenset({_port_addresses(pod.mac, pod.addresses)}),
        port_security=frozenset({_port_addresses(pod.mac, pod.addresses)}),
        options={"iface-id-ver": pod.uid, "requested-chassis": node.chassis},
        external_ids={"namespace": pod.key.namespace, "pod": "true", identity.OWNER: identity.pod_owner(pod.key)},
    )
    return row.Plan((port,), frozenset({_on_switch(view, node, port.uuid)}))


def _plan_router_ports(view: ClusterView, node: NodeView) -> row.Plan:
    gateways = [addresses.gateway_of(subnet) for subnet in node.subnets]
    router_port = nb.LogicalRouterPort(
        uuid=identity.node_row(view.zone, nb.LogicalRouterPort.TABLE, node, part="rtos"),
        name=names.router_to_switch(node.name),
        mac=net.mac_of(gateways[0].ip),
        networks=frozenset(str(gateway) for gateway in gateways),
        # Pods get addresses and routes from us; a router advertisement would give them a second opinion.
        ipv6_ra_configs={},
        external_ids=identity.node_mark(node),
    )
    switch_port = nb.LogicalSwitchPort(
        uuid=identity.node_row(view.zone, nb.LogicalSwitchPort.TABLE, node, part="stor"),
        name=names.switch_to_router(node.name),
        type="router",
        addresses=frozenset({"router"}),
        options={"router-port": names.router_to_switch(node.name)},
        external_ids=identity.node_mark(node),
    )
    on_router = row.Member(nb.LogicalRouter.TABLE.name, identity.cluster_router(view.zone), "ports", router_port.uuid)
    return row.Plan((router_port, switch_port), frozenset({on_router, _on_switch(view, node, switch_port.uuid)}))


def _plan_management_port(view: ClusterView, node: NodeView) -> row.Plan:
    if not (node.has_management_port or node.chassis):
        return row.Plan()
    port = nb.LogicalSwitchPort(
        uuid=identity.node_row(view.zone, nb.LogicalSwitchPort.TABLE, node, part="management"),
        name=names.management_port(node.name),
        type="",
        addresses=frozenset({_port_addresses(management_mac(node), _management_addresses(node))}),
        port_security=frozenset({_port_addresses(management_mac(node), _management_sources(node))}),
        options={"requested-chassis": node.chassis} if node.chassis else {},
        external_ids=identity.node_mark(node),
    )
    return row.Plan((port,), frozenset({_on_switch(view, node, port.uuid)}))


def management_mac(node: NodeView) -> net.Mac:
    """The MAC of a node's management port: that of its first ``.2`` address."""
    return net.mac_of(_management_addresses(node)[0].ip)


def _management_addresses(node: NodeView) -> list[net.Interface]:
    return [addresses.management_of(subnet) for subnet in node.subnets]


def _management_sources(node: NodeView) -> list[net.Interface]:
    """What the host may send there: it answers pods from any of its own addresses."""
    return [*_management_addresses(node), *sorted(node.host_addresses, key=str)]


def _port_addresses(mac: net.Mac, found: Iterable[net.Interface]) -> str:
    return " ".join((mac, *(str(address.ip) for address in found)))


def _switch_config(node: NodeView) -> dict[str, str]:
    config = {}
    for subnet in node.subnets:
        if subnet.version == 4:  # noqa: PLR2004 (an IP version)
            config["subnet"] = str(subnet)
            config["exclude_ips"] = str(addresses.management_of(subnet).ip)
        else:
            config["ipv6_prefix"] = str(subnet.network_address)
    return config


def _on_switch(view: ClusterView, node: NodeView, port: row.Uuid) -> row.Member:
    return row.Member(nb.LogicalSwitch.TABLE.name, identity.switch(view.zone, node), "ports", port)
