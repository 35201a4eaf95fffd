# SPDX-License-Identifier: Apache-2.0
import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from ashore.api import net
from ashore.schema import nb, row
from ashore.services import plan, view

EVERYWHERE, SWITCHES, ROUTERS = row.Uuid("everywhere"), row.Uuid("switches"), row.Uuid("routers")


def place(number: int, **more: Any) -> view.Place:
    made = view.Place(
        name=net.NodeName(f"n{number}"),
        chassis=f"c{number}",
        switch=row.Uuid(f"ls-{number}"),
        router=row.Uuid(f"gr-{number}"),
        addresses=(ipaddress.ip_address("192.0.2.0") + number, ipaddress.ip_address(f"2001:db8::{number}")),
        is_host=True,
        topology_zone=f"z{number % 2}",
    )
    return msgspec.structs.replace(made, **more)


def places(count: int = 4, *extra: view.Place) -> view.Places:
    nodes = {each.name: each for each in (*(place(i) for i in range(1, count + 1)), *extra)}
    return view.Places(
        zone="z",
        everywhere=EVERYWHERE,
        switches=SWITCHES,
        routers=ROUTERS,
        nodes=nodes,
        hosts=view.hosts_of(nodes),
        most_addresses=view.most_addresses_of(nodes),
    )


def pod(text: str, node: int = 1, **more: Any) -> view.Backend:
    return view.Backend(address=ipaddress.ip_address(text), port=8080, node=net.NodeName(f"n{node}"), **more)


def host(number: int) -> view.Backend:
    return pod(f"192.0.2.{number}", number)


def service(*backends: view.Backend, node_port: int = 0, protocol: str = "TCP", **more: Any) -> view.ServiceView:
    port = view.PortView(protocol=protocol, port=80, node_port=node_port, backends=backends)
    made = view.ServiceView(
        name=view.ServiceName("shop", "web"),
        uid="u-1",
        created="2026-01-01T00:00:00Z",
        cluster_ips=(ipaddress.ip_address("10.96.0.10"), ipaddress.ip_address("fd00:10:96::10")),
        ports=(port,),
    )
    return msgspec.structs.replace(made, **more)


def balancers(found: row.Plan) -> dict[str, nb.LoadBalancer]:
    return {str(each.name): each for each in found.rows if isinstance(each, nb.LoadBalancer)}


def parents(found: row.Plan, name: str) -> set[str]:
    uuid = balancers(found)[name].uuid
    return {member.uuid for member in found.members if member.value == uuid}


def vips(each: nb.LoadBalancer) -> Mapping[str, str]:
    assert isinstance(each.vips, dict)
    return each.vips


def group(kind: str, *names: str) -> row.Uuid:
    return plan.plan_reach(places(), view.Reach(kind, tuple(sorted(names)))).rows[0].uuid


def test_a_service_with_pods_is_one_load_balancer_in_one_group_named_as_ovn_kubernetes_names_it() -> None:
    made = plan.plan_service(places(), service(pod("10.244.1.5"), pod("10.244.2.6", 2), pod("fd00:10:244:1::5")))
    (only,) = balancers(made.plan).values()
    assert only.name == "Service_shop/web_TCP_cluster"
    assert only.protocol == "tcp"
    assert only.vips == {
        "10.96.0.10:80": "10.244.1.5:8080,10.244.2.6:8080",
        "[fd00:10:96::10]:80": "[fd00:10:244:1::5]:8080",
    }
    assert only.options == {"reject": "true", "event": "false", "skip_snat": "false", "neighbor_responder": "none"}
    assert only.selection_fields == frozenset()
    assert only.external_ids == {
        "dpu.ashore.dev/owner": "service/shop/web",
        "k8s.ovn.org/kind": "Service",
        "k8s.ovn.org/owner": "shop/web",
    }
    assert parents(made.plan, only.name) == {EVERYWHERE}
    assert made.reaches == frozenset()


def test_a_service_without_endpoints_keeps_its_fronts_and_rejects() -> None:
    (only,) = balancers(plan.plan_service(places(), service()).plan).values()
    assert only.vips == {"10.96.0.10:80": "", "[fd00:10:96::10]:80": ""}
    assert isinstance(only.options, dict)
    assert only.options["reject"] == "true"


def test_external_addresses_are_further_fronts_of_the_same_load_balancer() -> None:
    asked = service(pod("10.244.1.5"), external_ips=(ipaddress.ip_address("198.51.100.7"),))
    (only,) = balancers(plan.plan_service(places(), asked).plan).values()
    assert vips(only)["198.51.100.7:80"] == "10.244.1.5:8080"


def test_a_service_whose_endpoint_is_a_host_is_on_all_routers_and_on_other_nodes_switches() -> None:
    made = plan.plan_service(places(), service(host(2), pod("10.244.1.5")))
    four = next(name for name, each in balancers(made.plan).items() if "10.96.0.10:80" in vips(each))
    six = next(name for name, each in balancers(made.plan).items() if "[fd00:10:96::10]:80" in vips(each))
    assert four.startswith("Service_shop/web_TCP_cluster_hosts_")
    assert vips(balancers(made.plan)[four]) == {"10.96.0.10:80": "10.244.1.5:8080,192.0.2.2:8080"}
    assert parents(made.plan, four) == {ROUTERS, group("switches-but", "n2")}
    assert parents(made.plan, six) == {EVERYWHERE}
    assert made.reaches == {view.Reach("switches-but", ("n2",))}
    members = plan.plan_reach(places(), view.Reach("switches-but", ("n2",))).members
    assert {member.uuid for member in members} == {"ls-1", "ls-3", "ls-4"}


def test_a_host_that_is_not_reached_through_ovn_is_an_endpoint_like_any_outside() -> None:
    stranger = place(5, is_host=False)
    made = plan.plan_service(places(4, stranger), service(host(5)))
    assert parents(made.plan, "Service_shop/web_TCP_cluster") == {EVERYWHERE}


def test_all_node_ports_of_a_family_are_one_template_whatever_the_number_of_nodes() -> None:
    for count in (1, 50):
        made = plan.plan_service(places(count), service(pod("10.244.1.5"), pod("fd00:10:244:1::5"), node_port=30080))
        found = balancers(made.plan)
        assert set(found) == {f"Service_shop/web_TCP_{kind}" for kind in ("cluster", "template_IPv4", "template_IPv6")}
        four = found["Service_shop/web_TCP_template_IPv4"]
        assert four.vips == {"^NODEIP_IPv4_0:30080": "10.244.1.5:8080"}
        assert isinstance(four.options, dict)
        assert (four.options["template"], four.options["address-family"]) == ("true", "ipv4")
        assert found["Service_shop/web_TCP_template_IPv6"].vips == {"^NODEIP_IPv6_0:30080": "[fd00:10:244:1::5]:8080"}
        assert parents(made.plan, str(four.name)) == {EVERYWHERE}


def test_a_node_with_more_addresses_than_others_has_node_ports_on_each_of_them() -> None:
    more = place(5, addresses=tuple(map(ipaddress.ip_address, ("192.0.2.5", "192.0.2.55"))))
    made = plan.plan_service(places(1, more), service(pod("10.244.1.5"), node_port=30080))
    found = vips(balancers(made.plan)["Service_shop/web_TCP_template_IPv4"])
    assert set(found) == {"^NODEIP_IPv4_0:30080", "^NODEIP_IPv4_1:30080"}
    (rich,), (poor,) = (plan.plan_place(places(), each).rows for each in (more, place(1)))
    assert isinstance(rich, nb.ChassisTemplateVar)
    assert isinstance(poor, nb.ChassisTemplateVar)
    assert rich.chassis == "c5"
    assert rich.variables == {"NODEIP_IPv4_0": "192.0.2.5", "NODEIP_IPv4_1": "192.0.2.55"}
    assert poor.variables == {"NODEIP_IPv4_0": "192.0.2.1", "NODEIP_IPv6_0": "2001:db8::1"}


def test_a_node_without_a_gateway_has_no_template_variables() -> None:
    assert plan.plan_place(places(), place(1, router=None)) == row.Plan()


def test_external_traffic_stays_on_the_node_with_its_source_and_drops_where_there_is_nothing() -> None:
    asked = service(
        *(pod("10.244.1.5", 1), pod("10.244.3.5", 3)),
        node_port=30080,
        is_external_local=True,
        external_ips=(ipaddress.ip_address("198.51.100.7"),),
        cluster_ips=(ipaddress.ip_address("10.96.0.10"),),
    )
    made = plan.plan_service(places(), asked)
    found = balancers(made.plan)
    both = "10.244.1.5:8080,10.244.3.5:8080"
    local = found["Service_shop/web_TCP_node_local_router_n1"]
    assert vips(local) == {"198.51.100.7:80": "10.244.1.5:8080", "192.0.2.1:30080": "10.244.1.5:8080"}
    assert isinstance(local.options, dict)
    assert (local.options["skip_snat"], local.options["reject"]) == ("true", "false")
    assert parents(made.plan, str(local.name)) == {"gr-1"}
    assert vips(found["Service_shop/web_TCP_external_all"]) == {"198.51.100.7:80": both}
    assert parents(made.plan, "Service_shop/web_TCP_external_all") == {SWITCHES}
    assert vips(found["Service_shop/web_TCP_template_IPv4_all"]) == {"^NODEIP_IPv4_0:30080": both}
    (elsewhere,) = (name for name in found if "_external_elsewhere_" in name)
    assert vips(found[elsewhere]) == {"198.51.100.7:80": ""}
    assert parents(made.plan, elsewhere) == {group("routers-but", "n1", "n3")}
    assert vips(found["Service_shop/web_TCP_cluster"]) == {"10.96.0.10:80": both}


def test_a_host_that_is_a_local_endpoint_has_the_whole_service_on_its_router() -> None:
    asked = service(host(2), pod("10.244.1.5"), node_port=30080, is_external_local=True)
    made = plan.plan_service(places(), asked)
    (whole,) = (name for name in balancers(made.plan) if "_template_IPv4_all_" in name)
    assert parents(made.plan, whole) == {"gr-2", group("switches-but", "n2")}
    assert "Service_shop/web_TCP_node_local_router_n1" in balancers(made.plan)
    assert "Service_shop/web_TCP_node_local_router_n2" not in balancers(made.plan)


def test_internal_traffic_stays_on_the_node_and_drops_where_there_is_nothing() -> None:
    asked = service(pod("10.244.1.5", 1), host(2), is_internal_local=True)
    made = plan.plan_service(places(), asked)
    found = balancers(made.plan)
    assert vips(found["Service_shop/web_TCP_node_switch_n1"])["10.96.0.10:80"] == "10.244.1.5:8080"
    assert parents(made.plan, "Service_shop/web_TCP_node_switch_n1") == {"ls-1"}
    assert parents(made.plan, "Service_shop/web_TCP_node_router_n2") == {"gr-2"}
    four, six = (
        next(each for name, each in found.items() if "elsewhere" in name and front in vips(each))
        for front in ("10.96.0.10:80", "[fd00:10:96::10]:80")
    )
    assert parents(made.plan, str(four.name)) == {group("switches-but", "n1", "n2")}
    assert parents(made.plan, str(six.name)) == {SWITCHES}
    assert isinstance(four.options, dict)
    assert four.options["reject"] == "false"


def test_hints_send_each_zone_to_its_own_endpoints_and_everybody_else_to_all() -> None:
    asked = service(pod("10.244.1.5", 1, zones=frozenset({"z1"})), pod("10.244.3.5", 3, zones=frozenset({"z9"})))
    made = plan.plan_service(places(), asked)
    found = balancers(made.plan)
    assert vips(found["Service_shop/web_TCP_zone_z1"]) == {"10.96.0.10:80": "10.244.1.5:8080"}
    assert parents(made.plan, "Service_shop/web_TCP_zone_z1") == {group("switches-in", "z1")}
    (rest,) = (name for name in found if "_any_zone_" in name)
    assert vips(found[rest]) == {"10.96.0.10:80": "10.244.1.5:8080,10.244.3.5:8080"}
    assert parents(made.plan, rest) == {ROUTERS, group("switches-outside", "z1", "z9")}
    in_zone = plan.plan_reach(places(), view.Reach("switches-in", ("z1",))).members
    outside = plan.plan_reach(places(), view.Reach("switches-outside", ("z1", "z9"))).members
    assert {member.uuid for member in in_zone} == {"ls-1", "ls-3"}
    assert {member.uuid for member in outside} == {"ls-2", "ls-4"}


def test_hints_count_only_when_every_endpoint_has_one() -> None:
    asked = service(pod("10.244.1.5", 1, zones=frozenset({"z1"})), pod("10.244.3.5", 3))
    assert set(balancers(plan.plan_service(places(), asked).plan)) == {"Service_shop/web_TCP_cluster"}


def test_terminating_endpoints_serve_only_while_nothing_is_ready() -> None:
    draining = pod("10.244.1.5", is_ready=False, is_draining=True)
    gone = pod("10.244.1.7", is_ready=False)
    (last,) = balancers(plan.plan_service(places(), service(draining, gone)).plan).values()
    (more,) = balancers(plan.plan_service(places(), service(draining, pod("10.244.1.6"))).plan).values()
    assert vips(last)["10.96.0.10:80"] == "10.244.1.5:8080"
    assert vips(more)["10.96.0.10:80"] == "10.244.1.6:8080"


@pytest.mark.parametrize(("protocol", "flushed"), [("TCP", False), ("UDP", True), ("SCTP", False)])
def test_only_udps_entries_are_flushed_when_an_endpoint_goes(protocol: str, flushed: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    (only,) = balancers(plan.plan_service(places(), service(pod("10.244.1.5"), protocol=protocol)).plan).values()
    assert isinstance(only.options, dict)
    assert ("ct_flush" in only.options) is flushed
    assert only.protocol == protocol.lower()


def test_affinity_chooses_by_addresses_alone() -> None:
    (only,) = balancers(plan.plan_service(places(), service(pod("10.244.1.5"), is_sticky=True)).plan).values()
    assert only.selection_fields == frozenset({"ip_src", "ip_dst"})


def test_what_an_older_service_has_is_left_out_and_the_rest_stays() -> None:
    lost = frozenset({view.Claim("TCP", "", 30080), view.Claim("TCP", "198.51.100.7", 80)})
    asked = service(pod("10.244.1.5"), node_port=30080, external_ips=(ipaddress.ip_address("198.51.100.7"),), lost=lost)
    (only,) = balancers(plan.plan_service(places(), asked).plan).values()
    assert set(vips(only)) == {"10.96.0.10:80", "[fd00:10:96::10]:80"}


def test_a_pods_host_port_is_on_its_nodes_switch_and_router_alone() -> None:
    pod_view = view.HostPortsView(
        pod=net.PodKey("shop", "web-1"),
        uid="p-1",
        node=net.NodeName("n2"),
        addresses=(ipaddress.ip_address("10.244.2.5"), ipaddress.ip_address("fd00:10:244:2::5")),
        ports=(
            view.HostPort(protocol="TCP", port=443, target=8443),
            view.HostPort(protocol="UDP", port=53, target=5353, address=ipaddress.ip_address("192.0.2.2")),
        ),
    )
    found = plan.plan_host_ports(places(), pod_view)
    assert vips(balancers(found)["HostPort_shop/web-1_TCP_host_port"]) == {
        "192.0.2.2:443": "10.244.2.5:8443",
        "[2001:db8::2]:443": "[fd00:10:244:2::5]:8443",
    }
    assert vips(balancers(found)["HostPort_shop/web-1_UDP_host_port"]) == {"192.0.2.2:53": "10.244.2.5:5353"}
    assert parents(found, "HostPort_shop/web-1_TCP_host_port") == {"ls-2", "gr-2"}


def test_an_endpoint_that_goes_changes_one_row_whatever_the_number_of_nodes() -> None:
    before, after = (
        plan.plan_service(places(1000), service(*(pod(f"10.244.1.{i}") for i in range(5, last)), node_port=30080)).plan
        for last in (10, 9)
    )
    assert before.members == after.members
    assert len(before.rows) == len(after.rows) == 3
    assert sum(a != b for a, b in zip(before.rows, after.rows, strict=True)) == 2  # its address and its node port
