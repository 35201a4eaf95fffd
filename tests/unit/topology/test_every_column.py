# SPDX-License-Identifier: Apache-2.0
"""Everything that is planned for one node and one pod, column by column: what isn't listed isn't ours to decide."""

import ipaddress
from typing import Any

from ashore.api import net
from ashore.schema import row
from ashore.topology import identity, plan
from ashore.topology.view import ClusterView, NodeView, PodView

NODE = NodeView(
    name=net.NodeName("host-1"),
    uid="n-1",
    node_id=2,
    subnets=(ipaddress.ip_network("10.244.1.0/24"), ipaddress.ip_network("fd00:10:244:1::/64")),
    chassis="chassis-1",
    has_management_port=True,
    host_addresses=(ipaddress.ip_interface("172.30.1.9/16"), ipaddress.ip_interface("172.30.1.1/16")),
)
POD = PodView(
    key=net.PodKey("default", "web-1"),
    uid="p-1",
    node=NODE.name,
    addresses=(ipaddress.ip_interface("10.244.1.5/24"),),
    mac=net.Mac("0a:58:0a:f4:01:05"),
)
VIEW = ClusterView(nodes={NODE.name: NODE}, pods={POD.key: POD})
MARK = {"dpu.ashore.dev/owner": "node/host-1"}
WANTED: dict[str, dict[str, Any]] = {
    "ovn_cluster_router": {
        "options": {"always_learn_from_arp_request": "false"},
        "external_ids": {"dpu.ashore.dev/owner": "cluster", "k8s-cluster-router": "yes"},
    },
    "clusterLBGroup": {},
    "clusterSwitchLBGroup": {},
    "clusterRouterLBGroup": {},
    "ashore_hosts_v4": {"external_ids": {"dpu.ashore.dev/owner": "cluster"}},
    "ashore_hosts_v6": {"external_ids": {"dpu.ashore.dev/owner": "cluster"}},
    "host-1": {
        "other_config": {"subnet": "10.244.1.0/24", "exclude_ips": "10.244.1.2", "ipv6_prefix": "fd00:10:244:1::"},
        "external_ids": MARK,
    },
    "rtos-host-1": {
        "mac": "0a:58:0a:f4:01:01", "networks": {"10.244.1.1/24", "fd00:10:244:1::1/64"}, "ipv6_ra_configs": {},
        "external_ids": MARK,
    },
    "stor-host-1": {
        "type": "router", "addresses": {"router"}, "options": {"router-port": "rtos-host-1"}, "external_ids": MARK,
    },
    "k8s-host-1": {
        "type": "", "addresses": {"0a:58:0a:f4:01:02 10.244.1.2 fd00:10:244:1::2"},
        "port_security": {"0a:58:0a:f4:01:02 10.244.1.2 fd00:10:244:1::2 172.30.1.1 172.30.1.9"},
        "options": {"requested-chassis": "chassis-1"}, "external_ids": MARK,
    },
    "default_web-1": {
        "type": "", "addresses": {"0a:58:0a:f4:01:05 10.244.1.5"}, "port_security": {"0a:58:0a:f4:01:05 10.244.1.5"},
        "options": {"iface-id-ver": "p-1", "requested-chassis": "chassis-1"},
        "external_ids": {"namespace": "default", "pod": "true", "dpu.ashore.dev/owner": "pod/default/web-1"},
    },
}  # fmt: skip


def test_every_planned_column_is_listed_here() -> None:
    planned = {each.name: dict(each.planned()) for each in plan.plan(VIEW).rows}  # type: ignore[attr-defined]
    assert planned == {name: {"name": name, **columns} for name, columns in WANTED.items()}


def test_every_planned_member_is_listed_here() -> None:
    rows = {each.uuid: each.name for each in plan.plan(VIEW).rows}  # type: ignore[attr-defined]
    members = plan.plan(VIEW).members
    assert {(each.table, rows[each.uuid], each.column, rows[row.Uuid(each.value)]) for each in members} == {
        ("Logical_Router", "ovn_cluster_router", "ports", "rtos-host-1"),
        ("Logical_Switch", "host-1", "ports", "stor-host-1"),
        ("Logical_Switch", "host-1", "ports", "k8s-host-1"),
        ("Logical_Switch", "host-1", "ports", "default_web-1"),
        ("Logical_Switch", "host-1", "load_balancer_group", "clusterLBGroup"),
        ("Logical_Switch", "host-1", "load_balancer_group", "clusterSwitchLBGroup"),
    }


def test_a_management_port_without_a_chassis_is_bound_to_none() -> None:
    node = NodeView(name=NODE.name, uid="n-1", subnets=NODE.subnets[:1], has_management_port=True)
    found = {each.name: each for each in plan.plan_node(VIEW, node).rows}  # type: ignore[attr-defined]
    assert dict(found["k8s-host-1"].planned())["options"] == {}


def test_rows_keep_the_identities_that_running_zones_have() -> None:
    """Another key or scope would replace every row of a zone, and cut every pod off while that lasts."""
    node = f"node/{NODE.name}/{NODE.uid}/"
    assert identity.switch("global", NODE) == row.row_id("global", "Logical_Switch", node)
    assert identity.cluster_router("global") == row.row_id("global", "Logical_Router", "cluster/ovn_cluster_router")
    ids = {each.name: each.uuid for each in plan.plan(VIEW).rows}  # type: ignore[attr-defined]
    wanted = {
        "rtos-host-1": "Logical_Router_Port",
        "stor-host-1": "Logical_Switch_Port",
        "k8s-host-1": "Logical_Switch_Port",
    }
    for (name, table), part in zip(wanted.items(), ("rtos", "stor", "management"), strict=True):
        assert ids[name] == row.row_id("global", table, node + part)
    assert ids["default_web-1"] == row.row_id("global", "Logical_Switch_Port", "pod/p-1")
    assert ids["clusterLBGroup"] == row.row_id("global", "Load_Balancer_Group", "cluster/clusterLBGroup")
