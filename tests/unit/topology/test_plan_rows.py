# SPDX-License-Identifier: Apache-2.0
import ipaddress

from ashore.api import names, net
from ashore.schema import nb, row
from ashore.topology import identity, plan
from ashore.topology.view import ClusterView, NodeView, PodView

NODE = NodeView(
    name=net.NodeName("host-1"),
    uid="n-1",
    node_id=2,
    subnets=(ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("fd00:10:244:1::/64")),
    chassis="chassis-1",
    has_management_port=True,
)
POD = PodView(
    key=net.PodKey("default", "web-1"),
    uid="p-1",
    node=NODE.name,
    addresses=(ipaddress.ip_interface("10.244.1.5/24"), ipaddress.ip_interface("fd00:10:244:1::5/64")),
    mac=net.Mac("0a:58:0a:f4:01:05"),
)


def view(node: NodeView = NODE, *pods: PodView) -> ClusterView:
    return ClusterView(nodes={node.name: node}, pods={pod.key: pod for pod in pods})


def by_name(found: row.Plan) -> dict[str, row.Row]:
    return {str(r.name): r for r in found.rows}  # type: ignore[attr-defined]


def test_a_pods_port_is_as_ovn_kubernetes_makes_it() -> None:
    (port,) = plan.plan_pod(view(NODE, POD), POD).rows
    assert isinstance(port, nb.LogicalSwitchPort)
    assert port.name == "default_web-1"
    assert port.addresses == port.port_security == frozenset({"0a:58:0a:f4:01:05 10.244.1.5 fd00:10:244:1::5"})
    assert port.options == {"iface-id-ver": "p-1", "requested-chassis": "chassis-1"}
    assert port.external_ids == {"namespace": "default", "pod": "true", identity.OWNER: "pod/default/web-1"}


def test_a_pods_port_is_a_member_of_its_nodes_switch() -> None:
    switch = by_name(plan.plan_node(view(), NODE))["host-1"]
    found = plan.plan_pod(view(NODE, POD), POD)
    assert found.members == {row.Member("Logical_Switch", switch.uuid, "ports", found.rows[0].uuid)}


def test_a_node_has_a_switch_two_router_ports_and_a_management_port() -> None:
    rows = by_name(plan.plan_node(view(), NODE))
    assert set(rows) == {"host-1", "rtos-host-1", "stor-host-1", "k8s-host-1"}
    router_port, management = rows["rtos-host-1"], rows["k8s-host-1"]
    assert isinstance(router_port, nb.LogicalRouterPort)
    assert isinstance(management, nb.LogicalSwitchPort)
    assert router_port.mac == "0a:58:0a:f4:01:01"
    assert router_port.networks == frozenset({"10.244.1.1/24", "fd00:10:244:1::1/64"})
    assert router_port.ipv6_ra_configs == {}
    assert management.addresses == frozenset({"0a:58:0a:f4:01:02 10.244.1.2 fd00:10:244:1::2"})
    assert management.options == {"requested-chassis": "chassis-1"}


def test_the_switch_says_its_subnets_as_readers_of_ovn_kubernetes_expect() -> None:
    switch = by_name(plan.plan_node(view(), NODE))["host-1"]
    assert isinstance(switch, nb.LogicalSwitch)
    assert switch.other_config == {
        "subnet": "10.244.1.0/24",
        "exclude_ips": "10.244.1.2",
        "ipv6_prefix": "fd00:10:244:1::",
    }


def test_nothing_is_planned_before_its_inputs_are_known() -> None:
    bare = NodeView(name=NODE.name, uid="n-1")
    unserved = NodeView(name=NODE.name, uid="n-1", subnets=NODE.subnets)
    assert plan.plan_node(view(bare), bare) == row.Plan()
    assert "k8s-host-1" not in by_name(plan.plan_node(view(unserved), unserved))
    assert plan.plan_pod(view(unserved, POD), POD) == row.Plan()
    assert plan.plan_pod(ClusterView(nodes={}, pods={}), POD) == row.Plan()


def test_a_pod_outside_its_nodes_subnets_gets_no_port() -> None:
    stranger = PodView(
        key=POD.key, uid="p-2", node=NODE.name, addresses=(ipaddress.ip_interface("10.244.9.5/24"),), mac=POD.mac
    )
    assert plan.plan_pod(view(NODE, stranger), stranger) == row.Plan()


def test_pod_and_node_of_the_same_name_with_another_uid_are_other_rows() -> None:
    other_node = NodeView(name=NODE.name, uid="n-2", subnets=NODE.subnets, chassis="chassis-1")
    other_pod = PodView(key=POD.key, uid="p-2", node=NODE.name, addresses=POD.addresses, mac=POD.mac)
    first = {r.uuid for r in plan.plan(view(NODE, POD)).rows}
    second = {r.uuid for r in plan.plan(view(other_node, other_pod)).rows}
    assert first & second == {each.uuid for each in plan.plan_cluster(view()).rows}


def test_the_cluster_router_does_not_learn_from_what_ports_claim() -> None:
    router = by_name(plan.plan_cluster(view()))[names.CLUSTER_ROUTER]
    assert isinstance(router, nb.LogicalRouter)
    assert router.name == names.CLUSTER_ROUTER
    assert router.options == {"always_learn_from_arp_request": "false"}
