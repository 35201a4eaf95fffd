# SPDX-License-Identifier: Apache-2.0
"""The gateway's keeper against a fake node database; bridges are lists of flows."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ashore import netlink, ovsdb
from ashore.agent import gateway
from ashore.api import annotations, config
from ashore.kube import objects
from ashore.ovs import openflow
from ashore.schema import row, vswitch
from ashore.testing import ovsdb as fake_ovsdb
from ashore.wiring import ovs_rows

TOP = row.row_id("test", "Open_vSwitch", "")
BRIDGE = row.row_id("test", "Bridge", "br-ex")
PATCH = "patch-br-ex_host-1-to-br-int"
SETTINGS = config.parse(
    config.NetworkConfigSpec(
        cluster_networks=(config.ClusterNetwork("10.244.0.0/16", 24),), service_cidrs=("10.96.0.0/16",)
    )
)
NOTES = {
    annotations.PRIMARY_DPU_HOST_ADDR: '{"ipv4":"172.30.1.1/16"}',
    annotations.HOST_CIDRS: '["172.30.1.1/16","192.0.2.7/24","fe80::1/64"]',
}


class Bridge(openflow.Bridge):
    """Flows by line, cookie in front."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"), "br")
        self.lines: list[str] = []
        self.is_alive = True
        self.replaced = 0

    async def replace(self, flows: str) -> None:
        self.lines = flows.splitlines()
        self.replaced += 1

    async def count(self, cookie: int | None = None) -> int:
        if not self.is_alive:
            raise openflow.OpenflowError("bridge br: no vswitchd")
        return sum(cookie is None or line.startswith(f"cookie={cookie:#x},") for line in self.lines)


class Daemons:
    """What the node's daemons say; ``restart_vswitchd`` empties the bridges as a restart does."""

    def __init__(self) -> None:
        self.southbound = ""
        self.died = asyncio.Event()

    async def southbound_problem(self) -> str:
        return self.southbound

    async def vswitchd_gone(self) -> None:
        await self.died.wait()
        self.died.clear()


class World:
    """One gateway with everything around it made by hand."""

    def __init__(self, fake: fake_ovsdb.FakeOvsdb) -> None:
        self.ovs = fake
        self.external, self.integration, self.daemons = Bridge(), Bridge(), Daemons()
        self.integration.lines = ["priority=0,actions=drop"]
        self.notes = dict(NOTES)
        self.keeper: gateway.Gateway
        self.routes = frozenset({netlink.Route("0.0.0.0/0", "172.30.0.1"), netlink.Route("::/0", "fd00:99::1")})

    def node(self) -> objects.Node:
        return objects.Node(metadata=objects.ObjectMeta(name="host-1", uid="u1", annotations=self.notes))

    async def observe(self, name: str) -> netlink.Observed:
        assert name == "br-ex"
        return netlink.Observed(netlink.Link(1, name), routes=self.routes)

    def add_port(self, name: str, number: int, **more: Any) -> None:
        port, face = (row.row_id("test", table, name) for table in ("Port", "Interface"))
        self.ovs.transact(
            ovsdb.Insert("Interface", face, {"name": name, "ofport": number, **more}),
            ovsdb.Insert("Port", port, {"name": name, "interfaces": frozenset({face})}),
            ovsdb.MutateSet("Bridge", BRIDGE, "ports", add=frozenset({port})),
        )

    def remove_port(self, name: str) -> None:
        port = row.row_id("test", "Port", name)
        self.ovs.transact(ovsdb.MutateSet("Bridge", BRIDGE, "ports", remove=frozenset({port})))

    def tag(self) -> int | None:
        found: int | None = self.ovs.rows["Port"][row.row_id("test", "Port", PATCH)]["tag"]
        return found

    @property
    def serves_ovn(self) -> bool:
        return len(self.external.lines) > gateway._FEW_FLOWS

    def restart_vswitchd(self) -> None:
        self.external.lines, self.integration.lines = [], []
        self.daemons.died.set()


@pytest.fixture
async def world(run_dir: Path) -> AsyncIterator[World]:
    async with fake_ovsdb.FakeOvsdb("Open_vSwitch", vswitch.TABLES, run_dir / "g.sock") as ovs:
        ovs.transact(
            ovsdb.Insert("Bridge", BRIDGE, {"name": "br-ex", "datapath_type": "netdev"}),
            ovsdb.Insert("Open_vSwitch", TOP, {"bridges": frozenset({BRIDGE})}),
        )
        made = World(ovs)
        made.add_port("p0", 1, mtu=1500)
        made.add_port("pf0hpf", 2)
        made.add_port("br-ex", 65534, type="internal", mac_in_use="02:a5:06:00:00:01")
        client = ovsdb.Client(remotes=[ovs.remote], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False)
        made.keeper = gateway.Gateway(
            gateway.Surroundings(
                database=client, node=made.node, settings=lambda: SETTINGS, running=made.daemons,  # type: ignore[arg-type]
                external=made.external, integration=made.integration, uplink=lambda: "p0", observe=made.observe,
                host=gateway.PfRepresentor(lambda: "02:a5:01:00:00:01", lambda: "pf0hpf"),  # type: ignore[arg-type, return-value]
            )
        )  # fmt: skip
        tasks = [asyncio.create_task(client.run()), asyncio.create_task(made.keeper.run())]
        yield made
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


async def test_ovn_gets_its_share_once_its_patch_port_is_there(world: World, eventually: Any) -> None:
    await eventually(lambda: world.external.lines, "guards")
    assert not world.serves_ovn
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.serves_ovn, "the pipeline")
    assert any("nw_dst=192.0.2.7" in line for line in world.external.lines)
    assert not any("fe80::1" in line for line in world.external.lines)


async def test_the_patch_port_is_hidden_from_switching_by_mac(world: World, eventually: Any) -> None:
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.tag() == 4094, "the tag")


async def test_flows_stay_when_ovn_controller_or_the_databases_go(world: World, eventually: Any) -> None:
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.serves_ovn, "the pipeline")
    world.daemons.southbound = "ovn-controller doesn't answer"
    before = world.external.replaced
    await world.keeper.reconcile()
    assert world.serves_ovn
    assert world.external.replaced == before


async def test_after_a_restart_of_vswitchd_ovn_waits_until_its_controller_is_back(
    world: World, eventually: Any
) -> None:
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.serves_ovn, "the pipeline")
    world.daemons.southbound = "ovn-controller doesn't answer"
    world.restart_vswitchd()
    await eventually(lambda: world.external.lines and not world.serves_ovn, "switching by MAC")
    world.integration.lines = ["priority=0,actions=drop"]
    await eventually(lambda: "doesn't answer" in world.keeper.problem(), "the reason")
    assert not world.serves_ovn
    world.daemons.southbound = ""
    await eventually(lambda: world.serves_ovn, "the pipeline again")


async def test_ovn_loses_its_share_when_its_patch_port_goes(world: World, eventually: Any) -> None:
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.serves_ovn, "the pipeline")
    world.remove_port(PATCH)
    await eventually(lambda: not world.serves_ovn, "switching by MAC")


async def test_a_changed_address_of_the_host_changes_the_flows(world: World, eventually: Any) -> None:
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.serves_ovn, "the pipeline")
    world.notes[annotations.PRIMARY_DPU_HOST_ADDR] = '{"ipv4":"172.30.1.9/16"}'
    world.keeper.look()
    await eventually(lambda: any("->arp_spa" in line and "172.30.1.9" in line for line in world.external.lines), "it")


async def test_the_controller_hears_of_the_hosts_mac_addresses_and_next_hop(world: World, eventually: Any) -> None:
    await eventually(lambda: world.external.lines, "a look")
    told = world.keeper.config(world.node())
    assert told == annotations.GatewayConfig(
        bridge_id="br-ex",
        interface_id="br-ex_host-1",
        mac_address="02:a5:01:00:00:01",
        ip_addresses=("172.30.1.1/16",),
        next_hops=("172.30.0.1",),
        mtu=1400,
    )


async def test_a_bridge_without_its_uplink_is_a_named_problem(world: World, eventually: Any) -> None:
    world.remove_port("p0")
    await eventually(lambda: "br-ex lacks its uplink" in world.keeper.problem(), "the reason")


async def test_no_vswitchd_is_a_named_problem_and_tried_again(world: World, eventually: Any) -> None:
    world.external.is_alive = False
    world.keeper.look()
    await eventually(lambda: "no vswitchd" in world.keeper.problem(), "the reason")
    world.external.is_alive = True
    world.add_port(PATCH, 3, type="patch")
    await eventually(lambda: world.serves_ovn, "the pipeline")
