# SPDX-License-Identifier: Apache-2.0
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ashore import ovsdb
from ashore.api.net import NodeName, PodKey
from ashore.ovsdb import replica
from ashore.schema import row, vswitch
from ashore.wiring import dpu, ovs_rows

BRIDGE = row.row_id("test", "Bridge", "br-int")
TOP = row.row_id("test", "Open_vSwitch", "")
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True)
PORTS = st.builds(
    dpu.PodPort, pod=st.builds(PodKey, NAMES, NAMES), pod_uid=NAMES, sandbox=NAMES, representor=NAMES,
    vf_netdev_name=NAMES, mac=st.just("0a:58:0a:00:00:01"), ip_addresses=st.just(("10.0.0.1/24", "fd00::1/64")),
    ingress_bps=st.sampled_from([0, 10**6]), egress_bps=st.sampled_from([0, 10**6]),
)  # fmt: skip


def world() -> replica.Replica:
    """A database with an empty integration bridge."""
    made = replica.Replica(dict(ovs_rows.COLUMNS), vswitch.TABLES)
    made.load({"Bridge": {BRIDGE: {"name": "br-int"}}, "Open_vSwitch": {TOP: {"bridges": frozenset({BRIDGE})}}})
    return made


def applied(made: replica.Replica, operations: list[Any]) -> None:
    """Carries out what a diff says, as far as these plans need it."""
    for operation in operations:
        if isinstance(operation, ovsdb.Insert):
            made.load({operation.table: {operation.uuid: dict(operation.columns)}})
        elif isinstance(operation, ovsdb.MutateSet):
            old = made[operation.table][operation.uuid]
            value = (old[operation.column] | operation.add) - operation.remove
            made.load({operation.table: {operation.uuid: {**old, operation.column: value}}})


@given(PORTS)
def test_planning_twice_changes_nothing(port: dpu.PodPort) -> None:
    made = world()
    plan = dpu.plan_pod(BRIDGE, port)
    applied(made, ovsdb.diff(plan, made))
    assert ovsdb.diff(dpu.plan_pod(BRIDGE, port), made) == []


@given(PORTS)
def test_a_planned_port_is_read_back_as_it_was_asked_for(port: dpu.PodPort) -> None:
    made = world()
    applied(made, ovsdb.diff(dpu.plan_pod(BRIDGE, port), made))
    (seen,) = ovs_rows.observe_ports(made, BRIDGE)
    assert (seen.name, seen.pod_uid, seen.sandbox) == (port.representor, port.pod_uid, port.sandbox)
    assert seen.addresses == ("10.0.0.1", "fd00::1")
    assert (seen.qos is not None) == bool(port.ingress_bps)
    assert not seen.is_installed


@given(PORTS, PORTS)
def test_two_ports_share_a_row_only_if_they_are_the_same_sandbox_on_the_same_netdev(
    one: dpu.PodPort, other: dpu.PodPort
) -> None:
    def identity(port: dpu.PodPort) -> tuple[str, str, str]:
        return port.representor, port.pod_uid, port.sandbox

    def rows(port: dpu.PodPort) -> set[str]:
        return {planned.uuid for planned in dpu.plan_pod(BRIDGE, port).rows}

    assert bool(rows(one) & rows(other)) == (identity(one) == identity(other))


def test_the_management_port_is_no_pods_port() -> None:
    made = world()
    applied(made, ovsdb.diff(dpu.plan_management_port(BRIDGE, NodeName("host-1"), "pf0vf0"), made))
    (seen,) = ovs_rows.observe_ports(made, BRIDGE)
    assert (seen.iface_id, seen.pod_uid, seen.name) == ("k8s-host-1", "", "pf0vf0")


def test_a_node_without_br_int_gets_one_of_br_exs_datapath_type() -> None:
    made = world()
    view = dpu.NodeView(
        open_vswitch=TOP, integration_bridge=None, datapath_type="netdev", southbound="ssl:[fd00::2]:6642",
        encap_ip="172.30.2.1", credentials="/etc/ashore/credentials/sb",
    )  # fmt: skip
    planned = dpu.plan_node(view)
    bridges = [each for each in planned.plan.rows if isinstance(each, vswitch.Bridge)]
    assert [(each.name, each.datapath_type, each.fail_mode) for each in bridges] == [("br-int", "netdev", "secure")]
    assert planned.external_ids["ovn-encap-ip"] == "172.30.2.1"
    applied(made, ovsdb.diff(planned.plan, made))
    assert len(made["Open_vSwitch"][TOP]["bridges"]) == 2


def test_settings_of_the_operating_system_are_not_planned() -> None:
    view = dpu.NodeView(
        open_vswitch=TOP, integration_bridge=BRIDGE, datapath_type="netdev", southbound="ssl:h:1", encap_ip="1.2.3.4",
        credentials="/c",
    )  # fmt: skip
    planned = dpu.plan_node(view)
    assert planned.plan == row.Plan()
    assert not planned.external_ids.keys() & {
        "system-id",
        "ovn-bridge-mappings",
        "ovn-bridge-datapath-type",
        "hostname",
    }


@given(PORTS)
def test_every_planned_column_is_one_that_agents_monitor(port: dpu.PodPort) -> None:
    view = dpu.NodeView(
        open_vswitch=TOP, integration_bridge=None, datapath_type="", southbound="", encap_ip="", credentials=""
    )  # fmt: skip
    rows = (*dpu.plan_pod(BRIDGE, port).rows, *dpu.plan_node(view).plan.rows, dpu.plan_credentials(None, "/c"))
    for planned in rows:
        for column, _ in planned.planned():
            assert column in ovs_rows.COLUMNS[planned.TABLE.name]
