# SPDX-License-Identifier: Apache-2.0
import ipaddress
from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest

from ashore.api import config, names, net
from ashore.schema import nb, row
from ashore.topology import gateway, plan
from ashore.topology.view import ClusterView, GatewayView, NodeView

SETTINGS = config.parse(
    config.NetworkConfigSpec(
        cluster_networks=(
            config.ClusterNetwork("10.244.0.0/16", 24),
            config.ClusterNetwork("fd00:10:244::/48", 64),
        ),
        service_cidrs=("10.96.0.0/16", "fd00:10:96::/112"),
    )
)


def node(index: int, **changes: object) -> NodeView:
    """The host ``index`` of a cluster, with everything told."""
    v4, v6 = f"172.30.1.{index}/16", f"fd00:30::1:{index}/64"
    found = NodeView(
        name=net.NodeName(f"host-{index}"),
        uid=f"n-{index}",
        node_id=index,
        subnets=(ipaddress.ip_network(f"10.244.{index}.0/24"), ipaddress.ip_network(f"fd00:10:244:{index}::/64")),
        chassis=f"dpu-{index}",
        has_management_port=True,
        host_addresses=(ipaddress.ip_interface(v4), ipaddress.ip_interface(v6)),
        gateway=GatewayView(
            port=f"br-ex_host-{index}",
            mac=net.Mac(f"02:00:00:00:01:0{index}"),
            addresses=(ipaddress.ip_interface(v4), ipaddress.ip_interface(v6)),
            next_hops=(ipaddress.ip_address("172.30.0.1"), ipaddress.ip_address("fd00:30::1")),
            mtu=1400,
        ),
    )
    return msgspec.structs.replace(found, **changes)


def view(nodes: Iterable[NodeView]) -> ClusterView:
    return ClusterView(settings=SETTINGS, nodes={each.name: each for each in nodes}, pods={})


def rows(found: row.Plan, kind: type[row.Row]) -> list[row.Row]:
    return [each for each in found.rows if isinstance(each, kind)]


def of(found: row.Plan, kind: type[row.Row], **wanted: object) -> row.Row:
    """The one row of a kind with these columns."""
    (match,) = [r for r in rows(found, kind) if all(getattr(r, key) == value for key, value in wanted.items())]
    return match


def planned(**changes: object) -> row.Plan:
    host = node(1, **changes)
    return gateway.plan_node(view([host]), host)


def test_the_gateway_router_sits_on_the_nodes_chassis_and_does_not_own_the_hosts_address() -> None:
    router = of(planned(), nb.LogicalRouter, name="GR_host-1")
    port = of(planned(), nb.LogicalRouterPort, name="rtoe-GR_host-1")
    assert isinstance(router, nb.LogicalRouter)
    assert isinstance(port, nb.LogicalRouterPort)
    assert router.options == {
        "chassis": "dpu-1",
        "lb_force_snat_ip": "router_ip",
        "always_learn_from_arp_request": "false",
        "dynamic_neigh_routers": "false",
    }
    assert port.networks == frozenset({"169.254.169.1/30", "fd69::1/126"})
    assert port.mac == "02:00:00:00:01:01"
    assert port.options == {"gateway_mtu": "1400"}


def test_pods_leave_as_their_host_within_the_range_of_ports() -> None:
    nats = rows(planned(), nb.NAT)
    assert {(n.type, n.external_ip, n.logical_ip, n.external_port_range) for n in nats} == {  # type: ignore[attr-defined]
        ("snat", "172.30.1.1", "10.244.0.0/16", "16384-28671"),
        ("snat", "fd00:30::1:1", "fd00:10:244::/48", "16384-28671"),
    }


def test_routes_lead_out_and_back_and_unserved_services_nowhere() -> None:
    found = rows(planned(), nb.LogicalRouterStaticRoute)
    told = {(r.policy, r.ip_prefix, r.nexthop, r.output_port) for r in found}  # type: ignore[attr-defined]
    outdoor = "rtoe-GR_host-1"
    assert told == {
        ("src-ip", "10.244.1.0/24", "100.64.0.6", None),
        ("src-ip", "fd00:10:244:1::/64", "fd98::6", None),
        ("dst-ip", "172.30.1.1/32", "10.244.1.2", None),
        ("dst-ip", "fd00:30::1:1/128", "fd00:10:244:1::2", None),
        ("dst-ip", "10.244.0.0/16", "100.64.0.5", None),
        ("dst-ip", "fd00:10:244::/48", "fd98::5", None),
        ("dst-ip", "10.96.0.0/16", "discard", None),
        ("dst-ip", "fd00:10:96::/112", "discard", None),
        ("dst-ip", "172.30.0.0/16", "", outdoor),
        ("dst-ip", "fd00:30::/64", "", outdoor),
        ("dst-ip", "0.0.0.0/0", "172.30.0.1", outdoor),
        ("dst-ip", "::/0", "fd00:30::1", outdoor),
    }


def test_a_pod_reaches_its_own_host_by_the_management_port_and_its_node_ports_by_the_gateway() -> None:
    policies = rows(planned(), nb.LogicalRouterPolicy)
    told = {(p.priority, p.match, *(p.nexthops or ())) for p in policies}  # type: ignore[attr-defined]
    assert (1011, 'inport == "rtos-host-1" && ip4.dst == 172.30.1.1', "10.244.1.2") in told
    node_ports = "(30000 <= tcp.dst <= 32767) || (30000 <= udp.dst <= 32767) || (30000 <= sctp.dst <= 32767)"
    assert (1012, f'inport == "rtos-host-1" && ip4.dst == 172.30.1.1 && ({node_ports})', "100.64.0.6") in told


def test_what_has_neither_a_translation_nor_a_service_goes_back_to_the_host() -> None:
    policies = {(p.priority, p.match): p.nexthops for p in rows(planned(), nb.LogicalRouterPolicy)}  # type: ignore[attr-defined]
    unowned = 'inport == "rtoe-GR_host-1" && ct_mark.natted == 0 && ip4.dst != 10.244.0.0/16'
    assert policies[1002, unowned] == frozenset({"169.254.169.2"})


def test_further_addresses_of_a_host_are_its_own_too() -> None:
    more = ipaddress.ip_interface("192.0.2.7/24")
    found = planned(host_addresses=(*node(1).host_addresses, more))
    matches = [p.match for p in rows(found, nb.LogicalRouterPolicy)]  # type: ignore[attr-defined]
    assert 'inport == "rtos-host-1" && ip4.dst == {172.30.1.1, 192.0.2.7}' in matches
    assert of(found, nb.LogicalRouterStaticRoute, ip_prefix="192.0.2.0/24", nexthop="")
    assert any(member.value == "192.0.2.7" for member in found.members)


@pytest.mark.parametrize(
    "missing", [{"gateway": None}, {"chassis": ""}, {"subnets": ()}, {"node_id": 0}], ids=lambda each: next(iter(each))
)
def test_nothing_is_planned_before_its_inputs_are_known(missing: dict[str, object]) -> None:
    assert planned(**missing) == row.Plan()


def test_every_node_adds_the_same_number_of_rows_and_no_row_names_another_node() -> None:
    few, many = view(node(i) for i in (1, 2)), view(node(i) for i in range(1, 9))
    for world in (few, many):
        counts = {
            name: Counter(type(each).__name__ for each in plan.plan_node(world, found).rows)
            for name, found in world.nodes.items()
        }
        assert len({tuple(sorted(each.items())) for each in counts.values()}) == 1
    first = node(1)
    assert plan.plan_node(few, first) == plan.plan_node(many, first)


def test_an_id_beyond_the_join_network_is_named() -> None:
    small = config.parse(
        config.NetworkConfigSpec(
            cluster_networks=(config.ClusterNetwork("10.244.0.0/16", 24),),
            service_cidrs=("10.96.0.0/16",),
            join_cidrs=("100.64.0.0/28",),
        )
    )
    host = node(4)
    world = ClusterView(settings=small, nodes={host.name: host}, pods={})
    assert gateway.plan_node(world, host) == row.Plan()
    assert "id 4 has no place in joinCIDRs 100.64.0.0/28" in gateway.problem(world, host)
    assert gateway.problem(world, node(3)) == ""


def test_the_host_may_answer_pods_from_any_of_its_addresses() -> None:
    host = node(1)
    port = of(plan.plan_node(view([host]), host), nb.LogicalSwitchPort, name=names.management_port(host.name))
    assert isinstance(port, nb.LogicalSwitchPort)
    assert port.port_security == frozenset({"0a:58:0a:f4:01:02 10.244.1.2 fd00:10:244:1::2 172.30.1.1 fd00:30::1:1"})
