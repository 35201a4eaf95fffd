# SPDX-License-Identifier: Apache-2.0
"""A host's part of being a node: its management port, and what it tells about itself. Level-driven, one key."""

import asyncio
import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from ashore import hardware, kube, netlink, runtime
from ashore.agent import attach, devices, records
from ashore.api import annotations, cni, config, names, net
from ashore.kube import objects
from ashore.wiring import dpu_host

log = structlog.get_logger(__name__)
ENCAPSULATION_BYTES = 100
RETRY_S = 5.0
SETTLE_S = 0.3
"""How long changes of the free count are gathered before the Node hears of them."""


class Management(msgspec.Struct, frozen=True, kw_only=True):
    """The management port's device (``netdev`` may be its final name already) and the link with the host's address."""

    netdev: str
    alias: str
    port: annotations.ManagementPort
    host_link: str


class FindsManagement(Protocol):
    """Where a mode's management port comes from."""

    async def prepare(self, node: objects.Node) -> Management:
        """The device, there now. Raises hardware.HardwareError, netlink.NetlinkError."""


class ManagementVf:
    """The PF and its VF that is the management port; also what the VF pool asks.

    The kernel's name tells first, then what the Node says, else it is the first VF.
    """

    def __init__(self, sys_root: Path, kernel: netlink.Kernel, *, pf: str = "") -> None:
        self._root = sys_root
        self._kernel = kernel
        self._pf = pf
        self._preferred: tuple[str, ...] = ()
        self._told = ""

    def find(self) -> tuple[hardware.Pf, str]:
        """The PF, and the management VF's PCI address. Raises hardware.HardwareError."""
        pf = hardware.choose_pf(self._root, self._preferred, pci=self._pf)
        named = next((vf.pci for vf in pf.vfs if vf.netdev == names.MANAGEMENT_PORT), "")
        told = self._told if pf.vf(self._told) else ""
        return pf, named or told or pf.vfs[0].pci

    async def prepare(self, node: objects.Node) -> Management:
        """The VF as it is now. Raises hardware.HardwareError."""
        self._preferred = await self._kernel.default_route_links() or self._preferred
        self._told = _told_device(node)
        pf, pci = self.find()
        vf = pf.vf(pci)
        if vf is None or not vf.netdev:
            raise hardware.NoVfs(
                f"management VF {pci} of {pf.netdev or pf.pci} has no netdev here; is its driver bound?"
            )
        port = annotations.ManagementPort(device_id=pci, pf_id=pf.number, func_id=vf.index)
        return Management(netdev=vf.netdev, alias=pci, port=port, host_link=pf.netdev)


class ManagementVeth:
    """A pair of links of this very node; the other end is plugged by its name."""

    REPRESENTOR = names.MANAGEMENT_PORT + "_0"

    def __init__(self, kernel: netlink.Kernel) -> None:
        self._kernel = kernel

    async def prepare(self, node: objects.Node) -> Management:
        """The pair, made where it isn't there. Raises netlink.NetlinkError."""
        del node
        alias = f"veth-{names.MANAGEMENT_PORT}"
        await self._kernel.add_veth(self.REPRESENTOR, names.MANAGEMENT_PORT, alias=alias, mtu=1500)
        port = annotations.ManagementPort()
        return Management(netdev=names.MANAGEMENT_PORT, alias=alias, port=port, host_link=names.EXTERNAL_BRIDGE)


class Informers(msgspec.Struct, frozen=True):
    """What the host half watches."""

    nodes: kube.Informer[objects.Node]
    configs: kube.Informer[objects.NetworkConfig]
    api: kube.Client


class NodeHost:
    """Keeps the management port and the Node's annotations right."""

    def __init__(
        self,
        name: str,
        seen: Informers,
        kernel: netlink.Kernel,
        management: FindsManagement,
        pool: Callable[[], devices.Devices],
    ) -> None:
        self._key = kube.ObjectKey("", name)
        self._seen = seen
        self._kernel = kernel
        self._management = management
        self._pool = pool
        self._host_mtu = 0
        self.ready = asyncio.Event()
        """Set once the management port was right; stays set."""
        self.queue: runtime.WorkQueue[str] = runtime.WorkQueue()

    def gate(self) -> str:
        """Why no pod can be served yet, "" once the management port was right."""
        if self.ready.is_set() and self.mtu():
            return ""
        return self.queue.problems.get(self._key.name, "the node's management port isn't set up yet")

    def mtu(self) -> int:
        """Pods' MTU; 0 while unknown."""
        settings = self.settings()
        wanted = settings.mtu if settings else 0
        return wanted or max(self._host_mtu - ENCAPSULATION_BYTES, 0)

    def settings(self) -> config.Settings | None:
        """The cluster's network settings; None while there are none that make sense."""
        found = self._seen.configs.store.get(kube.ObjectKey("", "default"))
        try:
            return config.parse(found.spec) if found else None
        except config.Invalid:
            return None

    def look(self) -> None:
        """Look at the node again."""
        self.queue.add(self._key.name)

    def look_soon(self) -> None:
        """Look again after a moment in which more may change."""
        self.queue.add(self._key.name, after_s=SETTLE_S)

    async def run(self) -> None:
        """Follow the Node, the settings and (by ``look``) links for ever."""
        self._seen.nodes.subscribe(lambda _old, _new: self.look())
        self._seen.configs.subscribe(lambda _old, _new: self.look())
        await self._seen.nodes.synced.wait()
        await self._seen.configs.synced.wait()
        self.look()
        await self.queue.run(lambda _key: self.reconcile())

    async def reconcile(self) -> None:
        """One look. Raises runtime.Retry, runtime.Refused."""
        node = self._seen.nodes.store.get(self._key)
        if node is None:
            raise runtime.Refused(f"node {self._key}: the API has no such Node; does the kubelet run under this name?")
        try:
            device = await self._management.prepare(node)
            host = await self._kernel.observe(device.host_link)
            await self._annotate(node, device, host)
            self._host_mtu = host.link.mtu if host else 0
            await self._put_port(node, device, host)
        except (hardware.HardwareError, netlink.NetlinkError) as error:
            # It may heal by itself (a driver that binds late): the link watch looks again, this is for the rest.
            raise runtime.Retry(RETRY_S, str(error)) from error
        if not self.ready.is_set():
            log.info("management-port-ready", node=self._key.name, device=device.alias)
        self.ready.set()

    async def _put_port(self, node: objects.Node, device: Management, host: netlink.Observed | None) -> None:
        settings = self.settings()
        if settings is None:
            raise runtime.Refused("NetworkConfig default is missing or invalid; see its status")
        text = node.metadata.annotations.get(annotations.NODE_SUBNETS, "")
        try:
            subnets = annotations.decode_node_subnets(text).get(names.DEFAULT_NETWORK, ()) if text else ()
        except annotations.Malformed as error:
            raise runtime.Refused(f"node {self._key}: {error}") from error
        if not subnets:
            raise runtime.Refused(f"node {self._key}: no node-subnets yet; is ashore-controller running?")
        view = dpu_host.NodeView(
            subnets=subnets, cluster_networks=tuple(network.cidr for network in settings.cluster_networks),
            service_networks=settings.service_cidrs, join_networks=settings.join_cidrs, host=_sources(node, host),
            mtu=self.mtu(),
        )  # fmt: skip
        await self._kernel.configure(device.netdev, attach.link_settings(dpu_host.plan_node(view)))
        steering = dpu_host.plan_node_ports(view, settings.node_port_range)
        await self._kernel.steer(netlink.Steering(**msgspec.structs.asdict(steering)))

    async def _annotate(self, node: objects.Node, device: Management, host: netlink.Observed | None) -> None:
        cidrs = sorted(host.addresses) if host else []
        wanted = {
            annotations.NODE_MGMT_PORT: annotations.encode_management_port({names.DEFAULT_NETWORK: device.port}),
            annotations.HOST_CIDRS: annotations.encode_string_list(cidrs),
        }
        if cidrs:
            wanted[annotations.PRIMARY_DPU_HOST_ADDR] = annotations.encode_host_address(_primary(node, cidrs))
        free = self._pool().free()
        if free is not None:
            wanted[annotations.FREE_VFS] = str(free)
        changes = {key: value for key, value in wanted.items() if node.metadata.annotations.get(key) != value}
        if not changes:
            return
        body: dict[str, Any] = {"metadata": {"annotations": changes}}
        try:
            await self._seen.api.patch(kube.NODES, self._key.name, "", body, uid=node.metadata.uid)
        except kube.ApiError as error:
            raise runtime.Retry(RETRY_S, f"node {self._key}: annotations not written: {error}") from error
        log.info("node-annotated", keys=sorted(changes))


def _sources(node: objects.Node, host: netlink.Observed | None) -> tuple[net.Address, ...]:
    primary = _primary(node, sorted(host.addresses) if host else [])
    return tuple(ipaddress.ip_interface(text).ip for text in (primary.ipv4, primary.ipv6) if text)


def _primary(node: objects.Node, cidrs: list[str]) -> annotations.HostAddress:
    """One address of each family: the one by which Kubernetes knows the node, else the first."""
    known = {address.address for address in node.status.addresses}
    chosen: dict[int, str] = {}
    for cidr in sorted(cidrs, key=lambda text: (text.partition("/")[0] not in known, text)):
        chosen.setdefault(ipaddress.ip_interface(cidr).version, cidr)
    return annotations.HostAddress(ipv4=chosen.get(4, ""), ipv6=chosen.get(6, ""))


def _told_device(node: objects.Node) -> str:
    try:
        ports = annotations.decode_management_port(node.metadata.annotations.get(annotations.NODE_MGMT_PORT) or "{}")
    except annotations.Malformed:
        return ""
    port = ports.get(names.DEFAULT_NETWORK)
    return port.device_id if port else ""


async def sweep(around: attach.Surroundings, served: attach.Attach) -> None:
    """Give back what belongs to sandboxes that are gone without a DEL: their namespaces don't exist any more.

    Raises runtime.Retry for what can't be given back now; the rest is.
    """
    stale: list[records.Record] = [
        record for record in around.devices.store.by_device.values() if not around.kernel.has_netns(record.netns)
    ]
    failures = []
    for record in stale:
        log.info("device-reclaimed", device=record.pci, pod=f"{record.namespace}/{record.name}")
        try:
            await served.delete(record.sandbox, record.ifname)
        except cni.Failure as failure:
            failures.append(failure.error.msg)
    if failures:
        raise runtime.Retry(RETRY_S, f"{len(failures)} devices of gone sandboxes not given back: {failures[0]}")
