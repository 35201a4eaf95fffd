# SPDX-License-Identifier: Apache-2.0
"""The host's half, the switch's half and both at once mean the same pod."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from ashore.api import annotations, net
from ashore.schema import row, vswitch
from ashore.wiring import dpu, dpu_host, full

V4 = st.integers(3, 250).map(lambda host: f"10.244.7.{host}/24")
V6 = st.integers(3, 65000).map(lambda host: f"{ipaddress.ip_address('fd00:10:244:7::') + host}/64")
ADDRESSES = st.one_of(st.tuples(V4), st.tuples(V6), st.tuples(V4, V6), st.tuples(V6, V4))
BRIDGE = row.row_id("ovs", "Bridge", "br-int")


def network_of(addresses: tuple[str, ...]) -> annotations.PodNetwork:
    interfaces = [ipaddress.ip_interface(cidr) for cidr in addresses]
    gateways = tuple(str(interface.network.network_address + 1) for interface in interfaces)
    return annotations.PodNetwork(addresses, net.mac_of(interfaces[0].ip), gateways)


def plan(addresses: tuple[str, ...], sandbox: str) -> full.Plan:
    network = network_of(addresses)
    port = dpu.PodPort(
        pod=net.PodKey("default", "web"),
        pod_uid="0f5b",
        sandbox=sandbox,
        representor="pf0vf3",
        vf_netdev_name="pf0vf3",
        mac=network.mac_address,
        ip_addresses=network.ip_addresses,
    )
    return full.plan_pod(dpu_host.PodView(ifname="eth0", mtu=1400, network=network), BRIDGE, port)


@given(ADDRESSES)
def test_what_the_switch_expects_is_what_the_pod_has(addresses: tuple[str, ...]) -> None:
    planned = plan(addresses, "s1")
    interface = next(each for each in planned.rows.rows if isinstance(each, vswitch.Interface))
    assert isinstance(interface.external_ids, dict)
    assert interface.external_ids["attached_mac"] == planned.link.mac
    assert tuple(interface.external_ids["ip_addresses"].split(",")) == planned.link.addresses == addresses
    assert interface.external_ids["iface-id"] == "default_web"


@given(ADDRESSES, st.sampled_from(["s1", "s2"]))
def test_planning_twice_is_the_same_plan(addresses: tuple[str, ...], sandbox: str) -> None:
    assert plan(addresses, sandbox) == plan(addresses, sandbox)


@given(ADDRESSES)
def test_each_family_of_the_pod_has_one_default_route(addresses: tuple[str, ...]) -> None:
    planned = plan(addresses, "s1")
    defaults = [route for route in planned.link.routes if ipaddress.ip_network(route.dest).prefixlen == 0]
    families = {ipaddress.ip_interface(cidr).version for cidr in addresses}
    assert len(defaults) == len(families)
    assert {ipaddress.ip_network(route.dest).version for route in defaults} == families


@given(ADDRESSES)
def test_every_planned_member_is_a_planned_row(addresses: tuple[str, ...]) -> None:
    planned = plan(addresses, "s1")
    rows = {each.uuid for each in planned.rows.rows}
    assert {member.value for member in planned.rows.members} <= rows
