# SPDX-License-Identifier: Apache-2.0
"""Each plan of a node's OVS and links as a whole: what isn't listed isn't ours to decide."""

import ipaddress
from typing import Any

from ashore.api.net import NodeName, PodKey
from ashore.schema import row
from ashore.wiring import dpu, dpu_host, ovs_rows

BRIDGE = row.row_id("test", "Bridge", "br-int")
TOP = row.row_id("test", "Open_vSwitch", "")
PORT = dpu.PodPort(
    pod=PodKey("default", "web"), pod_uid="u1", sandbox="s1", representor="pf0vf3", vf_netdev_name="pf0vf3",
    mac="0a:58:0a:f4:01:05", ip_addresses=("10.244.1.5/24", "fd00::5/64"), ingress_bps=2_000_000, egress_bps=3_000_000,
)  # fmt: skip
NODE = dpu.NodeView(
    open_vswitch=TOP, integration_bridge=None, datapath_type="netdev", southbound="ssl:172.30.0.2:6642",
    encap_ip="172.30.2.1", credentials="/etc/ashore/credentials/sb",
)  # fmt: skip


def columns(plan: row.Plan) -> dict[str, dict[str, Any]]:
    return {each.TABLE.name: dict(each.planned()) for each in plan.rows}


def uuids(plan: row.Plan) -> dict[str, row.Uuid]:
    return {each.TABLE.name: each.uuid for each in plan.rows}


def test_a_pod_s_port_is_planned_whole() -> None:
    plan = dpu.plan_pod(BRIDGE, PORT)
    ids = uuids(plan)
    assert ids["Interface"] == row.row_id("ovs", "Interface", "pf0vf3\0u1\0s1")
    assert columns(plan) == {
        "Interface": {
            "name": "pf0vf3", "ingress_policing_rate": 3000, "ingress_policing_burst": 300,
            "external_ids": {
                "attached_mac": "0a:58:0a:f4:01:05", "iface-id": "default_web", "iface-id-ver": "u1", "sandbox": "s1",
                "ip_addresses": "10.244.1.5/24,fd00::5/64", "vf-netdev-name": "pf0vf3",
            },
        },
        "Port": {
            "name": "pf0vf3", "interfaces": {ids["Interface"]}, "qos": ids["QoS"],
            "other_config": {"transient": "true"},
        },
        "QoS": {"type": "linux-htb", "other_config": {"max-rate": "2000000"}, "external_ids": {"sandbox": "s1"}},
    }  # fmt: skip
    assert plan.members == {row.Member("Bridge", BRIDGE, "ports", ids["Port"])}


def test_a_management_port_is_planned_whole() -> None:
    plan = dpu.plan_management_port(BRIDGE, NodeName("host-1"), "pf0vf0")
    ids = uuids(plan)
    assert ids["Interface"] == row.row_id("ovs", "Interface", "pf0vf0\0k8s-host-1")
    assert columns(plan) == {
        "Interface": {
            "name": "pf0vf0",
            "external_ids": {"iface-id": "k8s-host-1", "k8s.ovn.org/management-port-name": "ovn-k8s-mp0"},
        },
        "Port": {
            "name": "pf0vf0",
            "interfaces": {ids["Interface"]},
            "qos": None,
            "other_config": {"transient": "true"},
        },
    }


def test_a_node_s_bridge_and_settings_are_planned_whole() -> None:
    planned = dpu.plan_node(NODE)
    ids = uuids(planned.plan)
    assert columns(planned.plan) == {
        "Bridge": {
            "name": "br-int", "datapath_type": "netdev", "fail_mode": "secure",
            "other_config": {"disable-in-band": "true"},
        },
        "Port": {"name": "br-int", "interfaces": {ids["Interface"]}},
        "Interface": {"name": "br-int", "type": "internal"},
    }  # fmt: skip
    assert planned.plan.members == {
        row.Member("Bridge", ids["Bridge"], "ports", ids["Port"]),
        row.Member("Open_vSwitch", TOP, "bridges", ids["Bridge"]),
    }
    assert ids == {table: row.row_id("ovs", table, "br-int") for table in ids}
    assert planned.external_ids == {
        "ovn-remote": "ssl:172.30.0.2:6642", "ovn-encap-type": "geneve", "ovn-encap-ip": "172.30.2.1",
        "ovn-set-local-ip": "true", "ovn-monitor-all": "false", "ovn-remote-probe-interval": "10000",
        "ovn-openflow-probe-interval": "60", "ovn-ofctrl-wait-before-clear": "8000",
    }  # fmt: skip


def test_credentials_keep_the_row_that_is_there() -> None:
    planned = dpu.plan_credentials(None, "/c")
    assert planned.uuid == row.row_id("ovs", "SSL", "southbound")
    assert dict(planned.planned()) == {
        "private_key": "/c/key.pem", "certificate": "/c/cert.pem", "ca_cert": "/c/ca.pem", "bootstrap_ca_cert": False,
    }  # fmt: skip
    assert dpu.plan_credentials(TOP, "/c").uuid == TOP


def observed(marks: dict[str, str], **more: Any) -> ovs_rows.ObservedPort | None:
    rows: dict[str, dict[row.Uuid, dict[str, Any]]] = {
        "Bridge": {BRIDGE: {"name": "br-int", "ports": [row.Uuid("p")]}},
        "Port": {row.Uuid("p"): {"interfaces": [row.Uuid("i")], "qos": row.Uuid("q")}},
        "Interface": {row.Uuid("i"): {"name": "pf0vf3", "external_ids": marks, "error": None, **more}},
    }
    return next(ovs_rows.observe_ports(rows, BRIDGE), None)


def test_a_port_is_read_whole() -> None:
    marks = {
        "iface-id": "ns_web",
        "iface-id-ver": "u1",
        "sandbox": "s1",
        "ip_addresses": "10.0.0.5/24,fd00::5/64",
        "ovn-installed": "true",
    }
    assert observed(marks, error="no such device") == ovs_rows.ObservedPort(
        port=row.Uuid("p"), interface=row.Uuid("i"), qos=row.Uuid("q"), name="pf0vf3", iface_id="ns_web", pod_uid="u1",
        sandbox="s1", addresses=("10.0.0.5", "fd00::5"), is_installed=True, error="no such device",
    )  # fmt: skip


def test_a_port_that_no_agent_made_is_not_ours() -> None:
    assert observed({}) is None
    assert observed({"iface-id": "ns_web", "sandbox": "s1"}) is None
    assert observed({"iface-id": "ns_web", "iface-id-ver": "u1"}) is None
    management = observed(
        {"k8s.ovn.org/management-port-name": "ovn-k8s-mp0", "sandbox": "s1", "ovn-installed": "false"}
    )
    assert management is not None
    assert (management.iface_id, management.pod_uid, management.sandbox) == ("", "", "")
    assert (management.addresses, management.is_installed, management.error) == ((), False, "")


def test_a_bridge_is_found_by_its_name() -> None:
    rows = {"Bridge": {TOP: {"name": "br-ex"}, BRIDGE: {"name": "br-int"}}}
    assert (ovs_rows.bridge(rows, "br-int"), ovs_rows.bridge(rows, "br-none")) == (BRIDGE, None)


def test_a_half_known_port_is_passed_over() -> None:
    rows: dict[str, dict[row.Uuid, dict[str, Any]]] = {
        "Bridge": {BRIDGE: {"ports": [row.Uuid("gone"), row.Uuid("p")]}},
        "Port": {row.Uuid("p"): {"interfaces": [row.Uuid("gone")], "qos": None}},
        "Interface": {},
    }
    assert list(ovs_rows.observe_ports(rows, BRIDGE)) == []


def test_a_management_link_is_planned_whole() -> None:
    def networks(*texts: str) -> tuple[Any, ...]:
        return tuple(map(ipaddress.ip_network, texts))

    view = dpu_host.NodeView(
        subnets=networks("10.244.3.0/24", "fd00:10:244:3::/64"), cluster_networks=networks("10.244.0.0/16"),
        service_networks=networks("10.96.0.0/16"), join_networks=networks("100.64.0.0/16"),
        host=(ipaddress.ip_address("172.30.1.1"),), mtu=1400,
    )  # fmt: skip
    assert dpu_host.plan_node(view) == dpu_host.LinkPlan(
        name="ovn-k8s-mp0", mac="0a:58:0a:f4:03:02", mtu=1400,
        addresses=("10.244.3.2/24", "fd00:10:244:3::2/64"),
        routes=(
            dpu_host.Route("10.244.0.0/16", "10.244.3.1", ""),
            dpu_host.Route("10.96.0.0/16", "10.244.3.1", ""),
            dpu_host.Route("100.64.0.0/16", "10.244.3.1", "172.30.1.1"),
            dpu_host.Route("10.244.3.0/25", "", "172.30.1.1"),
            dpu_host.Route("10.244.3.128/25", "", "172.30.1.1"),
        ),
    )  # fmt: skip
    assert dpu_host.Route("10.0.0.0/8", "10.244.3.1").source == ""
    assert dpu_host.plan_node_ports(view, (30000, 32767)) == dpu_host.SteeringPlan(
        link="ovn-k8s-mp0", addresses=("172.30.1.1",), ports=(30000, 32767),
        ways=(("10.244.3.1", "10.244.3.2"), ("fd00:10:244:3::1", "fd00:10:244:3::2")),
    )  # fmt: skip
