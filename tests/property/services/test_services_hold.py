# SPDX-License-Identifier: Apache-2.0
"""What holds for plans of any services, in any order of events."""

import ipaddress
import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from ashore.api import config, net
from ashore.controller import keys, zone
from ashore.controller.service_book import ServiceBook
from ashore.schema import nb, row
from ashore.services import view
from ashore.topology import plan as topology
from ashore.topology.view import ClusterView, GatewayView, NodeView

SETTINGS = config.parse(
    config.NetworkConfigSpec(
        cluster_networks=(config.ClusterNetwork("10.244.0.0/16", 24), config.ClusterNetwork("fd00:10:244::/48", 64)),
        service_cidrs=("10.96.0.0/16", "fd00:10:96::/112"),
    )
)
NODES = tuple(net.NodeName(f"n{i}") for i in range(1, 5))
NAMES = tuple(view.ServiceName("s", f"s{i}") for i in range(4))


def node(name: net.NodeName, *, has_gateway: bool, second: bool = False) -> NodeView:
    number = int(name[1:])
    faces = tuple(
        ipaddress.ip_interface(text)
        for text in (f"192.0.2.{number}/24", f"2001:db8::{number}/64", *([f"192.0.2.{number + 100}/24"] * second))
    )
    return NodeView(
        name=name,
        uid=f"u-{name}",
        node_id=number,
        subnets=(ipaddress.ip_network(f"10.244.{number}.0/24"), ipaddress.ip_network(f"fd00:10:244:{number}::/64")),
        chassis=f"c-{name}",
        has_management_port=True,
        host_addresses=faces,
        gateway=GatewayView(port=f"ext-{name}", mac=net.Mac("02:00:00:00:00:01"), addresses=faces[:2])
        if has_gateway
        else None,
        topology_zone=f"z{number % 2}",
    )


@st.composite
def backends(draw: st.DrawFn) -> view.Backend:
    number = draw(st.integers(1, 5))
    forms = ("192.0.2.{0}", "10.244.{0}.9", "2001:db8::{0}", "fd00:10:244:{0}::9")
    return view.Backend(
        address=ipaddress.ip_address(draw(st.sampled_from(forms)).format(number)),
        port=draw(st.sampled_from((80, 8080))),
        node=net.NodeName(draw(st.sampled_from((f"n{number}", "")))),
        is_ready=draw(st.booleans()),
        is_draining=draw(st.booleans()),
        zones=draw(st.sampled_from((frozenset[str](), frozenset({"z0"}), frozenset({"z0", "z1"})))),
    )


@st.composite
def services(draw: st.DrawFn, name: view.ServiceName) -> view.ServiceView:
    number = NAMES.index(name) + 1
    external = draw(st.sampled_from(((), ("198.51.100.1",), ("198.51.100.1", "2001:db8:9::1"))))
    return view.ServiceView(
        name=name,
        uid=f"uid-{draw(st.integers(0, 1))}-{name.name}",
        created=draw(st.sampled_from(("2026-01-01", "2026-01-02"))),
        cluster_ips=(ipaddress.ip_address(f"10.96.0.{number}"), ipaddress.ip_address(f"fd00:10:96::{number}")),
        external_ips=tuple(map(ipaddress.ip_address, external)),
        ports=tuple(
            view.PortView(
                protocol=protocol, port=80, node_port=np, backends=tuple(draw(st.lists(backends(), max_size=4)))
            )
            for protocol, np in draw(st.sampled_from(((("TCP", 0),), (("TCP", 30080), ("UDP", 30080)))))
        ),
        is_sticky=draw(st.booleans()),
        is_external_local=draw(st.booleans()),
        is_internal_local=draw(st.booleans()),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[ClusterView, dict[view.ServiceName, view.ServiceView]]:
    chosen = draw(st.lists(st.sampled_from(NODES), unique=True))
    nodes = {n: node(n, has_gateway=draw(st.booleans()), second=draw(st.booleans())) for n in chosen}
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    return ClusterView(settings=SETTINGS, nodes=nodes, pods={}), {n: draw(services(n)) for n in names}


def full(cluster: ClusterView, asked: dict[view.ServiceName, view.ServiceView]) -> ServiceBook:
    book = ServiceBook(cluster.zone)
    book.begin(cluster)
    for name in sorted(asked):
        book.put(asked[name])
    return book


def everything(cluster: ClusterView, book: ServiceBook) -> dict[keys.Key, row.Plan]:
    wanted = [zone.CLUSTER, *map(keys.NodeKey, cluster.nodes), *book.all_keys()]
    return {key: zone.plan_key(cluster, book, key) for key in wanted}


@given(worlds(), worlds(), st.randoms(use_true_random=False))
def test_any_order_of_events_ends_in_the_full_plan_and_tells_every_key_that_changed(
    earlier: tuple[ClusterView, dict[view.ServiceName, view.ServiceView]],
    now: tuple[ClusterView, dict[view.ServiceName, view.ServiceView]],
    shuffler: random.Random,
) -> None:
    book = full(*earlier)
    written = everything(earlier[0], book)
    steps: list[net.NodeName | view.ServiceName] = [*NODES, *NAMES]
    shuffler.shuffle(steps)
    nodes = dict(earlier[0].nodes)
    cluster = msgspec.structs.replace(earlier[0], nodes=nodes)
    for step in steps:
        if isinstance(step, view.ServiceName):
            told, _ = book.put(now[1][step]) if step in now[1] else book.drop(step)
        else:
            nodes.pop(step, None)
            nodes |= {step: now[0].nodes[step]} if step in now[0].nodes else {}
            told = book.put_node(cluster, step) | {keys.NodeKey(step)}
        for key in told:
            written[key] = zone.plan_key(cluster, book, key)
    wanted = everything(now[0], full(*now))
    assert {key: part for key, part in written.items() if part.rows} == {k: p for k, p in wanted.items() if p.rows}


@given(worlds())
def test_every_membership_is_of_planned_rows_and_no_front_is_twice_on_a_switch_or_router(
    world: tuple[ClusterView, dict[view.ServiceName, view.ServiceView]],
) -> None:
    cluster, asked = world
    found = zone.union(everything(cluster, full(cluster, asked)).values())
    rows = {(each.TABLE.name, each.uuid): each for each in found.rows}
    on: dict[tuple[str, str], set[str]] = {}
    for member in found.members:
        assert (member.table, member.uuid) in rows
        if member.column == "load_balancer":
            assert ("Load_Balancer", member.value) in rows
            on.setdefault((member.table, member.uuid), set()).add(member.value)
    balanced = {place: set(held) for place, held in on.items() if place[0] != "Load_Balancer_Group"}
    for member in found.members:
        if member.column == "load_balancer_group":
            held = on.get(("Load_Balancer_Group", member.value), set())
            balanced.setdefault((member.table, member.uuid), set()).update(held)
    for place, on_it in balanced.items():
        fronts = [
            (balancer.protocol, front)
            for uuid in on_it
            for balancer in [rows["Load_Balancer", row.Uuid(uuid)]]
            if isinstance(balancer, nb.LoadBalancer) and isinstance(balancer.vips, dict)
            for front in balancer.vips
        ]
        assert len(fronts) == len(set(fronts)), (place, sorted(map(str, fronts)))


@given(worlds())
def test_a_services_plan_depends_on_no_other_service_that_claims_nothing_of_it(
    world: tuple[ClusterView, dict[view.ServiceName, view.ServiceView]],
) -> None:
    cluster, asked = world
    book = full(cluster, asked)
    for name, one in asked.items():
        if not book.lost(name):
            alone = full(cluster, {name: one})
            assert alone.plan_key(keys.ServiceKey(name)) == book.plan_key(keys.ServiceKey(name))


@given(worlds())
def test_an_ip_version_is_planned_as_if_the_other_were_not_there(
    world: tuple[ClusterView, dict[view.ServiceName, view.ServiceView]],
) -> None:
    cluster, asked = world
    fronts = {}
    for version in (4, 6):
        only = {
            name: msgspec.structs.replace(one, cluster_ips=tuple(ip for ip in one.cluster_ips if ip.version == version))
            for name, one in asked.items()
        }
        fronts[version] = _cluster_fronts(cluster, only)
    assert fronts[4] | fronts[6] == _cluster_fronts(cluster, asked)


def _cluster_fronts(cluster: ClusterView, asked: dict[view.ServiceName, view.ServiceView]) -> set[tuple[str, str]]:
    found = zone.union(everything(cluster, full(cluster, asked)).values())
    return {
        (front, to)
        for each in found.rows
        if isinstance(each, nb.LoadBalancer) and isinstance(each.vips, dict)
        for front, to in each.vips.items()
        if front.startswith(("10.96.", "[fd00:10:96"))
    }


def test_topology_plans_the_groups_that_services_are_in() -> None:
    book = full(ClusterView(nodes={}, pods={}), {})
    planned = {each.uuid for each in topology.plan_cluster(ClusterView(nodes={}, pods={})).rows}
    assert {book.places.everywhere, book.places.switches, book.places.routers} <= planned
