# SPDX-License-Identifier: Apache-2.0
"""The half of an agent that has OVS: composes the database's client, the node's rows, the plugger and the lease."""

from collections.abc import Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from ashore import hardware, kube, netlink, ovsdb
from ashore.agent import (
    dpu_claims,
    dpu_lease,
    dpu_links,
    dpu_pods,
    gateway,
    host_half,
    node_host,
    node_ovs,
    offload,
    plugger,
    settings,
)
from ashore.api import config, names, net
from ashore.kube import objects
from ashore.ovs import daemons, openflow
from ashore.wiring import ovs_rows

DATABASE = "Open_vSwitch"


def open_database(given: settings.Settings) -> ovsdb.Client:
    """A client of this node's own database."""
    remote = f"unix:{given.ovs_run_dir / 'db.sock'}"
    return ovsdb.Client(remotes=[remote], database=DATABASE, tables=ovs_rows.COLUMNS, leader_only=False)


class Nic:
    """The eSwitch below a sysfs root, as ``dpu_pods.Eswitch``; also which netdevs must be guarded."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def representor(self, pf: int, vf: int) -> str | None:
        """The netdev of a VF's representor."""
        try:
            return hardware.vf_representor(self._root, pf, vf).netdev
        except hardware.NoRepresentor:
            return None

    def representors(self) -> Collection[str]:
        """All of them, the PF's included."""
        fabric = {port.netdev for port in hardware.uplinks(self._root)}
        return {port.netdev for port in hardware.list_ports(self._root)} - fabric


class Pairs(Nic):
    """A full node's ports: veth pairs, whose ends are named by whoever plugs them, and its NIC's representors."""

    def representor(self, pf: int, vf: int) -> str | None:
        """The management port's other end; pods' don't come by number."""
        return node_host.ManagementVeth.REPRESENTOR if (pf, vf) == (0, 0) else None


class Place(msgspec.Struct, frozen=True):
    """Which host this switch serves, and where its ports and the host itself are found."""

    host: str
    nic: Nic
    seen_as: gateway.Host


class SwitchHalf:
    """Composes the half; ``run`` it beside its sources."""

    def __init__(
        self,
        given: settings.Settings,
        sources: host_half.Sources,
        database: ovsdb.Client,
        place: Place,
    ) -> None:
        nic, host = place.nic, place.host
        self._sources = sources
        self._database = database
        self._daemons = daemons.Daemons(given.ovs_run_dir)
        kernel = netlink.LinuxKernel()
        self._links = dpu_links.Representors(kernel, lambda: _seen_by_two(database, nic.representors()))

        async def addresses(name: str) -> Collection[str]:
            seen = await kernel.observe(name)
            return seen.addresses if seen else ()

        self.plugger = plugger.Plugger(
            database, running=self._daemons, links=self._links,
            is_live=lambda uid: uid in dpu_claims.owners(sources.pods.store.values()),
        )  # fmt: skip

        self._kernel = kernel
        self._place = place
        self.gateway = self._compose_gateway(given)
        self.offload = self._compose_offload(given)
        around = node_ovs.Surroundings(
            credentials=given.credentials, eswitch=nic, links=self._links, addresses=addresses,
            uplink=self.uplink, gateway=self.gateway.config, offload_problem=self.offload.problem,
            pod_mtu=lambda: _settings(sources, lambda found: found.mtu, 0),
            encap_family=lambda: _settings(sources, lambda found: found.encap_family, 4),
        )  # fmt: skip
        self.node = node_ovs.NodeOvs(sources.nodes, sources.api, database, host, around)
        self.pods = dpu_pods.PodPorts(
            sources.pods, sources.api, database, self.plugger,
            dpu_pods.Node(host=host, eswitch=nic, management=self.node.management, gate=self.node.gate),
        )  # fmt: skip
        self.lease = dpu_lease.DpuLease(sources.api, self.node.node, self.problem)

    def _compose_gateway(self, given: settings.Settings) -> gateway.Gateway:
        bridges = (
            openflow.Bridge(given.ovs_run_dir, name) for name in (names.EXTERNAL_BRIDGE, names.INTEGRATION_BRIDGE)
        )
        external, integration = bridges
        return gateway.Gateway(
            gateway.Surroundings(
                database=self._database, node=lambda: self.node.node(), settings=lambda: _parsed(self._sources),  # noqa: PLW0108 (it comes later)
                running=self._daemons, external=external, integration=integration, host=self._place.seen_as,
                uplink=self.uplink, observe=self._kernel.observe,
            )
        )  # fmt: skip

    def _compose_offload(self, given: settings.Settings) -> offload.Offload:
        def setting() -> str | None:
            found = _parsed(self._sources)
            return found.offload if found else None

        return offload.Offload(
            self._database,
            setting,
            has_eswitch=lambda: hardware.has_eswitch(given.sys_root, self.uplink() or ""),
            changed=lambda: self.node.look(),  # noqa: PLW0108 (it comes later)
            vswitchd=self._daemons.vswitchd_pid,
        )

    def uplink(self) -> str | None:
        """The external bridge's port to the fabric."""
        return _uplink(self._database, self._place.nic.representors())

    async def problem(self) -> str:
        """Why this switch can't be relied on, "" when it can."""
        return self.node.gate() or await node_ovs.health_problem(self._database, self._daemons)

    def local_problem(self) -> str:
        """The same, as far as it can be told without asking anybody."""
        return self.node.gate() or ("" if self._database.connected else f"OVS: {self._database.problem}")

    def tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What both a DPU and a full node run."""
        for informer in (self._sources.nodes, self._sources.configs):
            informer.subscribe(lambda _old, _new: self.gateway.look())
            informer.subscribe(lambda _old, _new: self.offload.look())
        return (
            self.node.run(on_gate=self.pods.look_at_problems),
            self._links.run(self._links_changed),
            self.gateway.run(on_routes=self.node.look),
            self.offload.run(),
        )

    def dpu_tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """What a DPU runs for its host beside that."""
        return (self.pods.run(), self.lease.run())

    def _links_changed(self) -> None:
        self.node.look()
        self.gateway.look()
        self.pods.look_at_problems()


def behind_pf(root: Path) -> gateway.Host:
    """The host of the NIC below a sysfs root."""

    def mac() -> net.Mac | None:
        try:
            return hardware.host_mac(root)
        except hardware.HardwareError:
            return None

    def port() -> str | None:
        try:
            return hardware.pf_representor(root).netdev
        except hardware.HardwareError:
            return ""

    return gateway.PfRepresentor(mac, port)


def _settings(sources: host_half.Sources, pick: Callable[[config.Settings], int], default: int) -> int:
    found = _parsed(sources)
    return pick(found) if found else default


def _parsed(sources: host_half.Sources) -> config.Settings | None:
    found: objects.NetworkConfig | None = sources.configs.store.get(kube.ObjectKey("", "default"))
    try:
        return config.parse(found.spec) if found else None
    except config.Invalid:
        return None


def _seen_by_two(database: ovsdb.Client, representors: Collection[str]) -> Collection[str] | None:
    """The ports whose frames both this system's stack and userspace OVS receive; None where OVS is in the kernel."""
    bridge = ovs_rows.bridge(database.replica, names.EXTERNAL_BRIDGE)
    if bridge is None or database.replica["Bridge"][bridge]["datapath_type"] != "netdev":
        return None
    uplink = _uplink(database, representors)
    return {*representors, uplink} if uplink else representors


def _uplink(database: ovsdb.Client, representors: Collection[str]) -> str | None:
    """The external bridge's port to the fabric: its only one that is neither its own, a patch, nor the host's."""
    bridge = ovs_rows.bridge(database.replica, names.EXTERNAL_BRIDGE)
    if bridge is None:
        return None
    for port in database.replica["Bridge"][bridge]["ports"]:
        for interface in database.replica["Port"].get(port, {}).get("interfaces", ()):
            columns = database.replica["Interface"].get(interface)
            if columns and columns["type"] in ("", "system") and columns["name"] not in representors:
                name: str = columns["name"]
                return name
    return None
