# SPDX-License-Identifier: Apache-2.0
import ipaddress

from ashore.api import annotations, net
from ashore.schema import row
from ashore.wiring import dpu, dpu_host, full

NETWORK = annotations.PodNetwork(
    ip_addresses=("10.244.1.5/24", "fd00:10:244:1::5/64"),
    mac_address="0A:58:0A:F4:01:05",
    gateway_ips=("10.244.1.1", "fd00:10:244:1::1"),
    routes=(annotations.PodRoute("10.96.0.0/16", "10.244.1.1"), annotations.PodRoute("0.0.0.0/0", "10.244.1.9")),
)
VIEW = dpu_host.PodView(ifname="eth0", mtu=1400, network=NETWORK)


def test_a_pod_has_its_routes_and_one_default_route_a_family() -> None:
    plan = dpu_host.plan_pod(VIEW)
    assert plan.mac == "0a:58:0a:f4:01:05"
    assert [(route.dest, route.gateway) for route in plan.routes] == [
        ("0.0.0.0/0", "10.244.1.1"),
        ("::/0", "fd00:10:244:1::1"),
        ("10.96.0.0/16", "10.244.1.1"),
    ]


def test_a_management_port_has_second_addresses_and_routes_by_the_first_ones() -> None:
    networks = tuple(map(ipaddress.ip_network, ("10.244.0.0/16", "fd00:10:244::/48")))
    services = tuple(map(ipaddress.ip_network, ("10.96.0.0/16", "fd00:10:96::/112")))
    subnets = tuple(map(ipaddress.ip_network, ("10.244.3.0/24", "fd00:10:244:3::/64")))
    plan = dpu_host.plan_node(
        dpu_host.NodeView(subnets=subnets, cluster_networks=networks, service_networks=services, mtu=1400)
    )
    assert plan.name == "ovn-k8s-mp0"
    assert plan.addresses == ("10.244.3.2/24", "fd00:10:244:3::2/64")
    assert plan.mac == "0a:58:0a:f4:03:02"
    assert {(route.dest, route.gateway) for route in plan.routes} == {
        ("10.244.0.0/16", "10.244.3.1"),
        ("10.96.0.0/16", "10.244.3.1"),
        ("fd00:10:244::/48", "fd00:10:244:3::1"),
        ("fd00:10:96::/112", "fd00:10:244:3::1"),
    }


def test_a_single_family_plans_nothing_of_the_other() -> None:
    both = tuple(map(ipaddress.ip_network, ("10.244.0.0/16", "fd00:10:244::/48")))
    plan = dpu_host.plan_node(
        dpu_host.NodeView(
            subnets=(ipaddress.ip_network("fd00:10:244:3::/64"),), cluster_networks=both, service_networks=(), mtu=1400
        )
    )
    assert [route.dest for route in plan.routes] == ["fd00:10:244::/48"]
    assert plan.mac == net.mac_of(ipaddress.ip_address("fd00:10:244:3::2"))


def test_full_is_both_halves_and_nothing_else() -> None:
    port = dpu.PodPort(
        pod=net.PodKey("default", "web"), pod_uid="u", sandbox="s", representor="rep", vf_netdev_name="",
        mac=NETWORK.mac_address, ip_addresses=NETWORK.ip_addresses,
    )  # fmt: skip
    bridge = row.row_id("ovs", "Bridge", "br-int")
    plan = full.plan_pod(VIEW, bridge, port)
    assert plan == full.Plan(dpu_host.plan_pod(VIEW), dpu.plan_pod(bridge, port))
