# SPDX-License-Identifier: Apache-2.0
"""Plans of random clusters: same input same plan, nothing dangles, nothing collides, families are symmetric."""

import ipaddress
import random
from collections import Counter

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ashore import ovsdb
from ashore.api import net
from ashore.controller import zone
from ashore.ipam import addresses
from ashore.ipam.slots import Exhausted
from ashore.ovsdb import ops
from ashore.schema import nb, row
from ashore.testing import ovsdb_engine
from ashore.topology import plan
from ashore.topology.view import ClusterView, NodeView, PodView

FAMILIES = {4: "10.244.{}.0/24", 6: "fd00:10:244:{}::/64"}


@st.composite
def clusters(draw: st.DrawFn, families: tuple[int, ...] | None = None) -> ClusterView:
    """A cluster whose nodes know more or less of themselves, with pods that have addresses there."""
    families = families or draw(st.sampled_from([(4,), (6,), (4, 6), (6, 4)]))
    nodes: dict[net.NodeName, NodeView] = {}
    pods: dict[net.PodKey, PodView] = {}
    for number in range(draw(st.integers(0, 4))):
        node = NodeView(
            name=net.NodeName(f"host-{number}"),
            uid=f"n{number}-{draw(st.integers(0, 1))}",
            node_id=number + 2,
            subnets=_subnets(number, families) if draw(st.booleans()) else (),
            chassis=f"chassis-{number}" if draw(st.booleans()) else "",
            has_management_port=draw(st.booleans()),
        )
        nodes[node.name] = node
        book = addresses.NodeAddresses.empty(node.name, _subnets(number, families))
        for index in range(draw(st.integers(0, 4))):
            outcome = book.take(0)
            assert not isinstance(outcome, Exhausted)
            book, found = outcome
            key = net.PodKey(draw(st.sampled_from(["default", "kube-system"])), f"web-{number}-{index}")
            pods[key] = PodView(key=key, uid=f"p-{key}", node=node.name, addresses=found, mac=net.mac_of(found[0].ip))
    return ClusterView(nodes=nodes, pods=pods)


def _subnets(number: int, families: tuple[int, ...]) -> tuple[net.Network, ...]:
    return tuple(ipaddress.ip_network(FAMILIES[family].format(number)) for family in families)


def normal(found: row.Plan) -> tuple[list[row.Row], frozenset[row.Member]]:
    return sorted(found.rows, key=lambda r: (r.TABLE.name, r.uuid)), found.members


@given(clusters(), st.randoms(use_true_random=False))
def test_planning_again_in_any_order_gives_the_same(view: ClusterView, shuffler: random.Random) -> None:
    nodes, pods = list(view.nodes.items()), list(view.pods.items())
    shuffler.shuffle(nodes)
    shuffler.shuffle(pods)
    again = msgspec.structs.replace(view, nodes=dict(nodes), pods=dict(pods))
    assert plan.plan(view) == plan.plan(again)


@given(clusters())
def test_the_full_plan_is_the_union_of_the_keys_plans(view: ClusterView) -> None:
    parts = plan.plan_cluster(view)
    for node in view.nodes.values():
        parts += plan.plan_node(view, node)
    for pod in view.pods.values():
        parts += plan.plan_pod(view, pod)
    assert normal(plan.plan(view)) == normal(parts)


@given(clusters())
def test_every_reference_leads_to_a_planned_row_and_every_child_has_one_parent(view: ClusterView) -> None:
    found = plan.plan(view)
    rows = {(r.TABLE.name, r.uuid): r for r in found.rows}
    assert len(rows) == len(found.rows)
    for member in found.members:
        parent = rows[member.table, member.uuid]
        child_table = parent.TABLE.columns[member.column].ref_table
        assert child_table is not None
        assert (child_table, member.value) in rows
    parents = Counter(member.value for member in found.members if member.column != "load_balancer_group")
    children = [r.uuid for r in found.rows if not r.TABLE.is_root]
    assert parents == Counter(children)


@given(clusters())
def test_names_and_addresses_never_collide(view: ClusterView) -> None:
    ports = [r for r in plan.plan(view).rows if isinstance(r, nb.LogicalSwitchPort)]
    names = [str(port.name) for port in ports]
    given_out = [word for port in ports if port.type == "" for text in port.addresses or () for word in text.split()]
    assert len(names) == len(set(names))
    assert len(given_out) == len(set(given_out))


@given(clusters())
def test_every_pods_port_is_bound_to_its_nodes_chassis_and_guarded(view: ClusterView) -> None:
    for key, pod in view.pods.items():
        for port in plan.plan_pod(view, pod).rows:
            assert isinstance(port, nb.LogicalSwitchPort)
            assert isinstance(port.options, dict)
            assert port.options["requested-chassis"] == view.nodes[pod.node].chassis != ""
            assert port.port_security == port.addresses
            assert port.name == f"{key.namespace}_{key.name}"


@given(clusters(families=(4,)))
def test_one_family_is_planned_as_the_other(view: ClusterView) -> None:
    other = msgspec.structs.replace(
        view,
        nodes={n.name: msgspec.structs.replace(n, subnets=_other(n.subnets)) for n in view.nodes.values()},
        pods={p.key: msgspec.structs.replace(p, addresses=_other_faces(p.addresses)) for p in view.pods.values()},
    )
    four, six = plan.plan(view), plan.plan(other)
    assert four.members == six.members
    assert [(r.TABLE.name, r.uuid, _shape(r)) for r in four.rows] == [
        (r.TABLE.name, r.uuid, _shape(r)) for r in six.rows
    ]


@given(clusters(), clusters(), st.randoms(use_true_random=False))
def test_one_transaction_makes_any_state_as_planned_and_a_second_one_is_empty(
    earlier: ClusterView, now: ClusterView, chance: random.Random
) -> None:
    engine = ovsdb_engine.Engine(nb.TABLES)
    engine.transact([ops.encode(op, nb.TABLES) for op in ovsdb.diff(plan.plan(earlier), world(engine))])
    for table, uuid in [(t, u) for t in ("Logical_Switch", "Logical_Router") for u in engine.rows[t]]:
        lost = frozenset(port for port in engine.rows[table][uuid]["ports"] if chance.random() < 0.3)
        damage: list[ovsdb.Op] = [ovsdb.MutateSet(table, row.Uuid(uuid), "ports", remove=lost)]
        if chance.random() < 0.2:
            damage = [ovsdb.Delete(table, row.Uuid(uuid))]
        engine.transact([ops.encode(op, nb.TABLES) for op in damage])
    wanted = plan.plan(now)
    reply, _ = engine.transact(
        [ops.encode(op, nb.TABLES) for op in ovsdb.diff(wanted, world(engine), prune=ovsdb.is_ours)]
    )
    assert not [answer for answer in reply if answer and "error" in answer]
    assert ovsdb.diff(wanted, world(engine), prune=ovsdb.is_ours) == []
    held = {(table, uuid) for table in zone.TABLES for uuid in engine.rows[table]}
    assert held == {(r.TABLE.name, r.uuid) for r in wanted.rows}


def world(engine: ovsdb_engine.Engine) -> ovsdb.Replica:
    replica = ovsdb.Replica(zone.TABLES, nb.TABLES)
    replica.load(
        {
            table: {row.Uuid(uuid): {c: found[c] for c in columns} for uuid, found in engine.rows[table].items()}
            for table, columns in zone.TABLES.items()
        }
    )
    return replica


def _other(subnets: tuple[net.Network, ...]) -> tuple[net.Network, ...]:
    return tuple(ipaddress.ip_network(FAMILIES[6].format(str(s).split(".")[2])) for s in subnets)


def _other_faces(found: tuple[net.Interface, ...]) -> tuple[net.Interface, ...]:
    parts = [str(face.ip).split(".") for face in found]
    return tuple(ipaddress.ip_interface(f"fd00:10:244:{p[2]}::{int(p[3]):x}/64") for p in parts)


def _shape(found: row.Row) -> dict[str, object]:
    """A row without its addresses: how many of them there are."""
    counted = ("addresses", "port_security", "networks")
    plain = {c: v for c, v in found.planned() if c not in (*counted, "other_config", "mac")}
    return plain | {c: len(v) for c, v in found.planned() if c in counted}
