# SPDX-License-Identifier: Apache-2.0
"""Services and their endpoints come, change and go; the northbound database follows."""

import itertools
from typing import Any, Protocol

import pytest

from ashore import kube
from ashore.api import annotations
from ashore.controller import metrics, reign
from ashore.testing import kube_store

WEB = "Service_default/web_TCP_cluster"
GATEWAY = (
    '{"default":{"mode":"shared","interface-id":"br-ex_%s","mac-address":"02:00:00:00:00:0%d",'
    '"ip-addresses":["192.0.2.%d/24"],"next-hops":["192.0.2.254"],"node-port-enable":"true","vlan-id":"0"}}'
)


class World(Protocol):
    api: Any
    northbound: Any

    def node(self, name: str, **notes: str) -> None: ...
    def leader(self) -> Any: ...
    def rows(self, table: str) -> dict[str, Any]: ...
    def all(self, kind: kube.Kind[Any]) -> list[dict[str, Any]]: ...
    async def quiet(self, one: reign.Reign) -> None: ...
    async def eventually(self, claim: Any, what: str) -> None: ...
    def pod(self, name: str, node: str = "host-1", **more: Any) -> None: ...


def service(world: World, name: str = "web", **spec: Any) -> None:
    base = {"clusterIPs": ["10.96.0.10"], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}
    world.api.put(kube.SERVICES, {"metadata": {"name": name, "namespace": "default"}, "spec": base | spec})


def endpoints(world: World, *addresses: str, name: str = "web", node: str = "host-1") -> None:
    metadata = {"name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name}}
    world.api.put(
        kube.ENDPOINT_SLICES,
        {
            "metadata": metadata,
            "addressType": "IPv4",
            "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
            "endpoints": [{"addresses": [address], "nodeName": node} for address in addresses],
        },
    )


def vips(world: World, name: str = WEB) -> Any:
    return dict(world.rows("Load_Balancer")[name]["vips"])


def serves(world: World, *addresses: str) -> Any:
    wanted = {"10.96.0.10:80": ",".join(f"{address}:8080" for address in addresses)}
    return lambda: vips(world) == wanted


def gateway(world: World, *numbers: int) -> None:
    for number in numbers:
        name = f"host-{number}"
        notes = {annotations.L3_GATEWAY_CONFIG: GATEWAY % (name, number, number)}
        world.node(name, **notes, **{annotations.HOST_CIDRS: f'["192.0.2.{number}/24"]'})


async def test_a_service_and_its_endpoints_may_come_in_any_order(world: World) -> None:
    async with world.leader() as one:
        endpoints(world, "10.244.0.5")
        await world.quiet(one)
        assert WEB not in world.rows("Load_Balancer")
        service(world)
        await world.eventually(serves(world, "10.244.0.5"), "the service is balanced")
        group = world.rows("Load_Balancer_Group")["clusterLBGroup"]
        (uuid,) = (u for u, row in world.northbound.rows["Load_Balancer"].items() if row["name"] == WEB)
        assert set(group["load_balancer"]) == {uuid}


async def test_an_endpoint_that_changes_is_one_transaction(world: World) -> None:
    for number in range(1, 6):
        world.node(f"host-{number}")
    service(world)
    endpoints(world, "10.244.0.5", "10.244.0.6")
    async with world.leader() as one:
        await world.eventually(serves(world, "10.244.0.5", "10.244.0.6"), "the service is balanced")
        await world.quiet(one)
        before = world.northbound.calls.count("transact")
        endpoints(world, "10.244.0.5")
        await world.eventually(serves(world, "10.244.0.5"), "the endpoint is gone")
        assert world.northbound.calls.count("transact") == before + 1


async def test_a_service_that_goes_takes_its_rows_along(world: World) -> None:
    service(world)
    endpoints(world, "10.244.0.5")
    async with world.leader() as one:
        await world.eventually(serves(world, "10.244.0.5"), "the service is balanced")
        world.api.remove(kube.SERVICES, "web", "default")
        await world.eventually(lambda: WEB not in world.rows("Load_Balancer"), "its load balancer is gone")
        await world.quiet(one)
        assert not world.rows("Load_Balancer_Group")["clusterLBGroup"]["load_balancer"]


async def test_a_new_leader_prunes_nothing_that_is_still_wanted(world: World) -> None:
    world.node("host-1")
    gateway(world, 1, 2)
    service(world)
    endpoints(world, "192.0.2.1")
    async with world.leader() as one:
        await world.quiet(one)
        rows = dict(world.northbound.rows["Load_Balancer"])
        assert len(rows) == 1
    before = metrics.ROWS_CHANGED._value.get()
    async with world.leader() as one:
        await world.quiet(one)
        assert world.northbound.rows["Load_Balancer"] == rows
    # What stands is not taken away and put back.
    assert metrics.ROWS_CHANGED._value.get() == before


async def test_an_endpoint_that_is_a_host_takes_the_service_off_its_own_switch_when_its_gateway_comes(
    world: World,
) -> None:
    world.node("host-1")
    world.node("host-2")
    service(world)
    endpoints(world, "192.0.2.1")
    async with world.leader() as one:
        await world.eventually(serves(world, "192.0.2.1"), "a host without gateway is an endpoint like any other")
        gateway(world, 1, 2)
        await world.eventually(lambda: WEB not in world.rows("Load_Balancer"), "it is balanced elsewhere now")
        await world.quiet(one)
        (found,) = world.rows("Load_Balancer")
        assert found.startswith(f"{WEB}_hosts_")
        (reach,) = (uuid for uuid, row in world.northbound.rows["Load_Balancer_Group"].items() if "but" in row["name"])
        switches = world.rows("Logical_Switch")
        assert reach in switches["host-2"]["load_balancer_group"]
        assert reach not in switches["host-1"]["load_balancer_group"]
        world.node("host-3")
        await world.eventually(
            lambda: reach in world.rows("Logical_Switch")["host-3"]["load_balancer_group"], "a new node joins"
        )
        service(world, clusterIPs=["None"])
        await world.eventually(lambda: not world.rows("Load_Balancer"), "a service that became headless has none")
        await world.eventually(
            lambda: reach not in world.northbound.rows["Load_Balancer_Group"], "and its group is gone"
        )


async def test_node_ports_are_one_row_and_a_variable_per_chassis(world: World) -> None:
    gateway(world, 1, 2)
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080}]
    service(world, ports=ports)
    endpoints(world, "10.244.0.5")
    async with world.leader() as one:
        await world.quiet(one)
        assert vips(world, "Service_default/web_TCP_template_IPv4") == {"^NODEIP_IPv4_0:30080": "10.244.0.5:8080"}
        found = {
            row["chassis"]: dict(row["variables"]) for row in world.northbound.rows["Chassis_Template_Var"].values()
        }
        assert found == {
            "chassis-host-1": {"NODEIP_IPv4_0": "192.0.2.1"},
            "chassis-host-2": {"NODEIP_IPv4_0": "192.0.2.2"},
        }


async def test_an_address_that_two_services_claim_is_the_older_ones_and_the_younger_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    years = itertools.count(2001)
    monkeypatch.setattr(kube_store, "_now", lambda: f"{next(years)}-01-01T00:00:00Z")
    service(world, "older", clusterIPs=["10.96.0.1"], externalIPs=["198.51.100.7"])
    async with world.leader() as one:
        await world.quiet(one)
        base = {
            "clusterIPs": ["10.96.0.2"],
            "externalIPs": ["198.51.100.7"],
            "ports": [{"port": 80, "protocol": "TCP"}],
        }
        world.api.put(kube.SERVICES, {"metadata": {"name": "younger", "namespace": "default"}, "spec": base})
        await world.eventually(lambda: world.all(kube.EVENTS), "an Event says so")
        (event,) = world.all(kube.EVENTS)
        assert event["involvedObject"]["name"] == "younger"
        assert "198.51.100.7:80/TCP is already default/older's" in event["message"]
        assert vips(world, "Service_default/younger_TCP_cluster") == {"10.96.0.2:80": ""}
        assert "198.51.100.7:80" in vips(world, "Service_default/older_TCP_cluster")
        world.api.remove(kube.SERVICES, "older", "default")
        await world.eventually(
            lambda: "198.51.100.7:80" in vips(world, "Service_default/younger_TCP_cluster"), "it is free again"
        )


async def test_a_pods_host_ports_come_and_go_with_it(world: World) -> None:
    gateway(world, 1)
    async with world.leader() as one:
        world.pod("web-1", containers=[{"name": "c", "ports": [{"containerPort": 80, "hostPort": 8080}]}])
        name = "HostPort_default/web-1_TCP_host_port"
        await world.eventually(lambda: name in world.rows("Load_Balancer"), "the host port leads to the pod")
        assert set(vips(world, name)) == {"192.0.2.1:8080"}
        world.api.remove(kube.PODS, "web-1", "default")
        await world.eventually(lambda: name not in world.rows("Load_Balancer"), "and goes with it")
        await world.quiet(one)
