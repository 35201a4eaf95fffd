# SPDX-License-Identifier: Apache-2.0
import ipaddress
from typing import Any

import msgspec
import pytest

from ashore.api import net
from ashore.controller import service_records
from ashore.kube import objects
from ashore.services import claims, view
from ashore.topology.view import PodView


def service(**spec: Any) -> objects.Service:
    base = {"clusterIPs": ["10.96.0.10"], "ports": [{"name": "http", "port": 80}]}
    metadata = {"name": "web", "namespace": "shop", "uid": "u-1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    status = spec.pop("status", {})
    return msgspec.convert({"metadata": metadata, "spec": base | spec, "status": status}, objects.Service)


def piece(*endpoints: dict[str, Any], **more: Any) -> objects.EndpointSlice:
    labels = {service_records.SERVICE_LABEL: "web"}
    base = {
        "metadata": {"name": "web-1", "namespace": "shop", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": endpoints,
    }
    return msgspec.convert(base | more, objects.EndpointSlice)


def backends(*pieces: objects.EndpointSlice) -> tuple[view.Backend, ...]:
    found, problems = service_records.service_view(service(), pieces)
    assert found is not None
    assert not problems
    return found.ports[0].backends


@pytest.mark.parametrize("spec", [{"clusterIPs": ["None"]}, {"type": "ExternalName", "clusterIPs": []}])
def test_headless_and_external_names_want_nothing_and_are_no_problem(spec: dict[str, Any]) -> None:
    assert service_records.service_view(service(**spec), [piece({"addresses": ["10.244.1.5"]})]) == (None, ())


def test_target_ports_may_differ_from_pod_to_pod() -> None:
    other = piece({"addresses": ["10.244.1.6"]}, ports=[{"name": "http", "protocol": "TCP", "port": 9090}])
    found = backends(piece({"addresses": ["10.244.1.5"]}), other)
    assert [(str(each.address), each.port) for each in found] == [("10.244.1.5", 8080), ("10.244.1.6", 9090)]


def test_slices_in_any_order_say_the_same() -> None:
    one, two = piece({"addresses": ["10.244.1.5"]}, {"addresses": ["10.244.1.4"]}), piece({"addresses": ["10.244.1.6"]})
    assert backends(one, two) == backends(two, one)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, (True, False)),
        ({"ready": False}, (False, False)),
        ({"ready": False, "serving": True, "terminating": True}, (False, True)),
        ({"ready": False, "serving": False, "terminating": True}, (False, False)),
        # publishNotReadyAddresses: the API server's controller says ready.
        ({"ready": True, "serving": False, "terminating": False}, (True, False)),
    ],
)
def test_conditions_are_read_as_the_api_defines_them(conditions: dict[str, bool], expected: tuple[bool, bool]) -> None:
    (found,) = backends(piece({"addresses": ["10.244.1.5"], "conditions": conditions}))
    assert (found.is_ready, found.is_draining) == expected


def test_hints_and_nodes_come_with_endpoints() -> None:
    (found,) = backends(
        piece({"addresses": ["10.244.1.5"], "nodeName": "n1", "hints": {"forZones": [{"name": "a"}, {"name": "b"}]}})
    )
    assert found.node == "n1"
    assert found.zones == {"a", "b"}


def test_an_endpoint_in_two_slices_is_ready_when_one_of_them_says_so() -> None:
    old = piece({"addresses": ["10.244.1.5"], "conditions": {"ready": False}})
    (found,) = backends(old, piece({"addresses": ["10.244.1.5"]}))
    assert found.is_ready


def test_a_proxied_ingress_address_is_not_ours() -> None:
    ingress = [
        {"ip": "198.51.100.1"},
        {"ip": "198.51.100.2", "ipMode": "Proxy"},
        {"ip": "198.51.100.3", "ipMode": "VIP"},
    ]
    asked = service(status={"loadBalancer": {"ingress": ingress}}, externalIPs=["198.51.100.9", "198.51.100.1"])
    found, _ = service_records.service_view(asked, ())
    assert found is not None
    assert list(map(str, found.external_ips)) == ["198.51.100.9", "198.51.100.1", "198.51.100.3"]


def test_what_is_wrong_is_named_and_the_rest_counts() -> None:
    asked = service(
        externalIPs=["198.51.100.9", "no-address"],
        ports=[
            {"name": "http", "port": 80},
            {"name": "bad", "port": 99999},
            {"name": "odd", "port": 1, "protocol": "X"},
        ],
    )
    found, problems = service_records.service_view(
        asked, [piece({"addresses": ["10.244.1.5"]}, {"addresses": ["fd00::1"]}, {"addresses": []})]
    )
    assert found is not None
    assert [port.port for port in found.ports] == [80]
    assert len(found.ports[0].backends) == 1
    assert list(map(str, found.external_ips)) == ["198.51.100.9"]
    assert problems == (
        "spec.externalIPs: 'no-address' is no IP address",
        "endpointslice web-1: fd00::1 is no IPv4 address",
        "endpointslice web-1: nothing is no IPv4 address",
        "spec.ports: bad: 99999 is no port number",
        "spec.ports: odd: protocol X is none of TCP, UDP, SCTP",
    )


def test_a_pods_host_ports_are_read_from_all_containers() -> None:
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    other = [{"containerPort": 53, "hostPort": 53, "protocol": "UDP", "hostIP": "192.0.2.1"}]
    pod = msgspec.convert(
        {
            "metadata": {"uid": "p"},
            "spec": {"containers": [{"name": "a", "ports": ports}, {"name": "b", "ports": other}]},
        },
        objects.Pod,
    )
    addressed = PodView(
        key=net.PodKey("shop", "web-1"),
        uid="p",
        node=net.NodeName("n1"),
        addresses=(ipaddress.ip_interface("10.244.1.5/24"),),
        mac=net.Mac("0a:58:0a:f4:01:05"),
    )
    found = service_records.host_ports(pod, addressed)
    assert found is not None
    assert found.ports == (
        view.HostPort(protocol="TCP", port=8080, target=80),
        view.HostPort(protocol="UDP", port=53, target=53, address=ipaddress.ip_address("192.0.2.1")),
    )
    assert service_records.host_ports(pod, None) is None
    assert service_records.host_ports(pod, msgspec.structs.replace(addressed, uid="another")) is None


def test_the_oldest_service_has_what_several_claim() -> None:
    def one(name: str, created: str) -> view.ServiceView:
        return view.ServiceView(
            name=view.ServiceName("shop", name),
            uid=f"u-{name}",
            created=created,
            cluster_ips=(),
            external_ips=(ipaddress.ip_address("198.51.100.7"),),
            ports=(view.PortView(protocol="TCP", port=80),),
        )

    older, younger = one("older", "2026-01-01"), one("younger", "2026-02-01")
    book = claims.Claims()
    assert book.put(younger) == frozenset()
    assert book.put(older) == {younger.name}
    assert dict(book.lost(younger.name)) == {view.Claim("TCP", "198.51.100.7", 80): older.name}
    assert not book.lost(older.name)
    assert book.drop(older.name) == {younger.name}
    assert not book.lost(younger.name)
