# SPDX-License-Identifier: Apache-2.0
"""The half of an agent that has OVS, put together: alone on a DPU, beside the host's half on a full node."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Never

import msgspec

from ashore import kube, netlink, ovsdb
from ashore.agent import dpu_claims, dpu_lease, dpu_links, dpu_nic, dpu_pods, node_ovs, plugger
from ashore.api import annotations, config, names
from ashore.kube import objects
from ashore.ovs import daemons
from ashore.wiring import ovs_rows


class Doors(msgspec.Struct, frozen=True, kw_only=True):
    """What the half works through. ``settings`` is the NetworkConfig as last seen valid."""

    api: kube.Client
    client: ovsdb.Client
    running: daemons.Daemons
    kernel: netlink.Kernel
    nic: dpu_nic.Nic
    credentials: Path
    settings: Callable[[], config.Settings | None] = lambda: None


def switch_client(run_dir: Path) -> ovsdb.Client:
    """A client of the node's own Open_vSwitch database; the caller runs it."""
    return ovsdb.Client(
        remotes=[f"unix:{run_dir}/db.sock"], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False
    )


class OvsHalf:
    """The parts that DPUs and full nodes share. ``plugger`` is what a full node's CNI server calls."""

    def __init__(
        self, doors: Doors, node: str, nodes: kube.Informer[objects.Node], *, is_live: Callable[[str], bool]
    ) -> None:
        self.doors = doors
        self.links = dpu_links.Representors(doors.kernel, doors.nic.host_facing)
        self.plugger = plugger.Plugger(doors.client, running=doors.running, links=self.links, is_live=is_live)
        self.node = node_ovs.NodeOvs(
            nodes,
            doors.api,
            doors.client,
            node,
            node_ovs.Surroundings(
                credentials=doors.credentials,
                eswitch=doors.nic,
                links=self.links,
                addresses=self._addresses,
                uplink=doors.nic.uplink,
                pod_mtu=lambda: settings.mtu if (settings := doors.settings()) else 0,
                encap_family=lambda: settings.encap_family if (settings := doors.settings()) else 4,
                gateway=self._gateway,
            ),
        )

    async def health(self) -> str:
        """Why this half can't serve, "" when it can."""
        return await node_ovs.health_problem(self.doors.client, self.doors.running)

    async def run(self, *, on_change: Callable[[], None] = lambda: None) -> None:
        """Keeps the node's part right for ever. ``on_change``: a link or the gate did something; look again."""

        def links_changed() -> None:
            self.node.look()
            on_change()

        async with asyncio.TaskGroup() as group:
            group.create_task(self.links.run(links_changed))
            group.create_task(self.node.run(on_gate=on_change))

    async def _addresses(self, name: str) -> frozenset[str]:
        observed = await self.doors.kernel.observe(name)
        return observed.addresses if observed else frozenset()

    def _gateway(self, node: objects.Node) -> annotations.GatewayConfig | None:
        """The gateway's leg has the host's address and MAC, never the DPU's."""
        text = node.metadata.annotations.get(annotations.PRIMARY_DPU_HOST_ADDR)
        mac = self.doors.nic.host_mac()
        if not text or mac is None:
            return None
        try:
            host = annotations.decode_host_address(text)
        except annotations.Malformed:
            return None
        return annotations.GatewayConfig(
            bridge_id=names.EXTERNAL_BRIDGE,
            interface_id=f"{names.EXTERNAL_BRIDGE}_{node.metadata.name}",
            mac_address=mac,
            ip_addresses=tuple(cidr for cidr in (host.ipv4, host.ipv6) if cidr),
        )


async def run_dpu(doors: Doors) -> Never:
    """Everything that mode ``dpu`` does, for ever. Waits for the operating system to say which host it serves."""
    async with asyncio.TaskGroup() as group:
        group.create_task(doors.client.run())
        host = await node_ovs.host_node_name(doors.client)
        nodes = kube.Informer(doors.api, kube.NODES, field_selector=f"metadata.name={host}")
        pods = kube.Informer(doors.api, kube.PODS, field_selector=dpu_claims.informer_selector(host))
        half = OvsHalf(doors, host, nodes, is_live=lambda uid: uid in dpu_claims.owners(pods.store.values()))
        ports = dpu_pods.PodPorts(
            pods,
            doors.api,
            doors.client,
            half.plugger,
            dpu_pods.Node(host=host, eswitch=doors.nic, management=half.node.management, gate=half.node.gate),
        )
        lease = dpu_lease.DpuLease(doors.api, half.node.node, half.health)
        group.create_task(nodes.run())
        group.create_task(pods.run())
        group.create_task(half.run(on_change=ports.look_at_problems))
        group.create_task(ports.run())
        group.create_task(lease.run())
    raise AssertionError("its tasks end only when cancelled")
