# SPDX-License-Identifier: Apache-2.0
"""Keeps the external bridge's flows, and tells the controller how this node reaches the outside. Level-driven, one key.

OVN gets its share of the host's address only while it is there to serve it: while its patch port exists and br-int has
flows. Flows that are in place stay when ovn-controller or the databases go, and so does what they carry; to put them
there anew ovn-controller must be connected, or packets would go to a bridge that knows nothing (``vswitchd`` restarted
without it). Otherwise the bridge switches by MAC and the host has its network with none of ours.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from typing import Any, Never, Protocol

import msgspec
import structlog

from ashore import netlink, ovsdb, runtime
from ashore.api import annotations, config, names, net
from ashore.kube import objects
from ashore.ovs import daemons, openflow, unixctl
from ashore.schema import row
from ashore.wiring import gateway, ovs_rows

log = structlog.get_logger(__name__)
ENCAPSULATION_BYTES = 100
RETRY_S = 1.0
AGAIN_S = 30.0
"""How long flows that somebody else removed may stay away."""
_KEY = "gateway"
_FEW_FLOWS = 3
"""A bridge with more flows than this has our pipeline."""


class Host(Protocol):
    """Where this node's host is, seen from its bridge."""

    def mac(self) -> net.Mac | None:
        """The host's MAC; None while it can't be told."""

    def port(self) -> str | None:
        """The bridge's port to the host, "" while it can't be told; None where the bridge's own port is the host."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the facts come from. ``gateways`` are the default routes' next hops of a link of this system."""

    database: ovsdb.Client
    node: Callable[[], objects.Node | None]
    settings: Callable[[], config.Settings | None]
    running: daemons.Daemons
    external: openflow.Bridge
    integration: openflow.Bridge
    host: Host
    uplink: Callable[[], str | None]
    observe: Callable[[str], Any]


class Gateway:
    """One node's."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._hops: tuple[str, ...] = ()
        self._told = ""
        self.queue: runtime.WorkQueue[str] = runtime.WorkQueue()

    def problem(self) -> str:
        """Why pods don't reach the outside, "" when they do as far as it is known."""
        return self.queue.problems.get(_KEY, "")

    def config(self, node: objects.Node) -> annotations.GatewayConfig | None:
        """The node's leg to the outside as the controller hears of it; None while it isn't known."""
        mac = self._around.host.mac()
        told = node.metadata.annotations.get(annotations.PRIMARY_DPU_HOST_ADDR)
        if mac is None or told is None:
            return None
        try:
            host = annotations.decode_host_address(told)
        except annotations.Malformed:
            return None
        addresses = tuple(text for text in (host.ipv4, host.ipv6) if text)
        if not addresses:
            return None
        return annotations.GatewayConfig(
            bridge_id=names.EXTERNAL_BRIDGE,
            interface_id=names.localnet_port(net.NodeName(node.metadata.name)),
            mac_address=mac,
            ip_addresses=addresses,
            next_hops=_within(self._hops, addresses),
            mtu=self._pod_mtu(),
        )

    def look(self) -> None:
        """Everything about the gateway is looked at again."""
        self.queue.add(_KEY)

    async def run(self, *, on_routes: Callable[[], None] = lambda: None) -> Never:
        """Follows the world for ever; ``on_routes`` hears when ``config`` changes for what the kernel says."""
        self._around.database.subscribe(lambda change: self.look() if _concerns(change) else None)
        await self._around.database.synced()
        self.look()

        async def reconcile(_key: str) -> None:
            before = self._hops
            await self._learn_routes()
            if self._hops != before:
                on_routes()
            await self.reconcile()
            self.queue.add(_KEY, after_s=AGAIN_S)

        async with asyncio.TaskGroup() as group:
            group.create_task(self.queue.run(reconcile))
            group.create_task(self._follow_vswitchd())
        raise AssertionError("a queue ends only when cancelled")

    async def reconcile(self) -> None:
        """One look. Raises runtime.Retry, runtime.Refused with what is missing."""
        try:
            await self._put(self._view())
        except (openflow.OpenflowError, unixctl.Unreachable, ovsdb.OvsdbError) as error:
            raise runtime.Retry(RETRY_S, f"gateway: {error}") from error

    def _view(self) -> gateway.View:
        node, settings = self._around.node(), self._around.settings()
        if node is None or settings is None:
            raise runtime.Refused("gateway: no Node or no valid NetworkConfig yet")
        mac = self._around.host.mac()
        addresses = _host_addresses(node)
        if mac is None or not addresses:
            raise runtime.Refused(f"gateway: node {node.metadata.name}: the host's MAC or addresses aren't known yet")
        uplink = self._around.uplink()
        name = self._around.host.port()
        wire, host = self._ofport(uplink), gateway.LOCAL if name is None else self._ofport(name)
        if wire is None or host is None:
            lacks = "its uplink" if wire is None else "the port to the host"
            raise runtime.Refused(f"gateway: br-ex lacks {lacks}; the operating system adds it")
        own = self._interface(names.EXTERNAL_BRIDGE) if name else None
        return gateway.View(
            uplink=wire,
            host=host,
            host_mac=mac,
            addresses=addresses,
            own_mac=net.Mac(own["mac_in_use"]) if own and own["mac_in_use"] else None,
            patch=self._ofport(names.patch_port(names.localnet_port(net.NodeName(node.metadata.name)))),
            snat_ports=settings.snat_port_range,
            node_ports=settings.node_port_range,
            tunnels=settings.tunnel_cidrs,
        )

    async def _put(self, view: gateway.View) -> None:
        has_pipeline = await self._around.external.count() > _FEW_FLOWS
        missing = await self._missing(view, is_there=has_pipeline)
        if missing:
            view = msgspec.structs.replace(view, patch=None)
        else:
            await self._hide_patch(view)
        wanted = gateway.plan(view)
        if await self._around.external.count(wanted.cookie) != len(wanted.lines):
            await self._around.external.replace(wanted.text)
            log.info("bridge-flows-replaced", flows=len(wanted.lines), without_ovn=missing)
        if missing:
            raise runtime.Retry(RETRY_S, f"gateway: {missing}")

    async def _missing(self, view: gateway.View, *, is_there: bool) -> str:
        """Why OVN can't have its share; "" when it can."""
        if view.patch is None:
            return "OVN hasn't made the gateway's patch port yet"
        if not await self._around.integration.count():
            return "br-int has no flows; ovn-controller gives it some"
        return "" if is_there else await self._around.running.southbound_problem()

    async def _hide_patch(self, view: gateway.View) -> None:
        del view
        node = self._around.node()
        assert node is not None  # noqa: S101 (there was a view)
        name = names.patch_port(names.localnet_port(net.NodeName(node.metadata.name)))
        for uuid, columns in self._around.database.replica["Port"].items():
            if columns["name"] == name and columns["tag"] != gateway.HIDDEN_TAG:
                change = ovsdb.Update("Port", row.Uuid(uuid), {"tag": gateway.HIDDEN_TAG})
                await self._around.database.transact([change])

    async def _learn_routes(self) -> None:
        seen: netlink.Observed | None = await self._around.observe(names.EXTERNAL_BRIDGE)
        routes = seen.routes if seen else ()
        self._hops = tuple(sorted(each.gateway for each in routes if each.dest in _ANYWHERE and each.gateway))

    async def _follow_vswitchd(self) -> Never:
        while True:
            try:
                await self._around.running.vswitchd_gone()
            except unixctl.Unreachable:
                await asyncio.sleep(RETRY_S)
            self.look()

    def _pod_mtu(self) -> int:
        settings = self._around.settings()
        if settings is not None and settings.mtu:
            return settings.mtu
        uplink = self._around.uplink()
        columns = self._interface(uplink) if uplink else None
        mtu: int | None = columns["mtu"] if columns else None
        return mtu - ENCAPSULATION_BYTES if mtu else 0

    def _interface(self, name: str) -> Any:
        rows = self._around.database.replica["Interface"].values()
        return next((columns for columns in rows if columns["name"] == name), None)

    def _ofport(self, name: str | None) -> int | None:
        columns = self._interface(name) if name else None
        number: int | None = columns["ofport"] if columns else None
        return number if number is not None and number > 0 else None


_ANYWHERE = ("0.0.0.0/0", "::/0")


def _within(hops: tuple[str, ...], addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The next hops that the host reaches directly."""
    networks = [ipaddress.ip_interface(text).network for text in addresses]
    return tuple(hop for hop in hops if any(ipaddress.ip_address(hop) in network for network in networks))


def _host_addresses(node: objects.Node) -> tuple[net.Interface, ...]:
    """The host's addresses, those first that stand for it."""
    notes = node.metadata.annotations
    try:
        told = annotations.decode_host_address(notes.get(annotations.PRIMARY_DPU_HOST_ADDR) or "{}")
        more = annotations.decode_string_list(annotations.HOST_CIDRS, notes.get(annotations.HOST_CIDRS) or "[]")
        listed = [text for text in (told.ipv4, told.ipv6, *sorted(more)) if text]
        found = annotations.read_interfaces(annotations.HOST_CIDRS, listed)
    except annotations.Malformed:
        return ()
    return tuple(dict.fromkeys(each for each in found if not each.ip.is_link_local))


def _concerns(change: ovsdb.Change) -> bool:
    if change.table not in ("Interface", "Port"):
        return False
    columns = change.new or change.old or {}
    name = columns.get("name", "")
    if change.table == "Port":
        return str(name).startswith("patch-")
    if change.old is not None and change.new is not None:
        return any(change.old.get(key) != change.new.get(key) for key in ("ofport", "mtu", "mac_in_use"))
    return columns.get("type") in ("", "patch", "internal") and ovs_rows.IFACE_ID not in columns.get("external_ids", {})


class PfRepresentor:
    """A host on the other side of its NIC."""

    def __init__(self, mac: Callable[[], net.Mac | None], port: Callable[[], str | None]) -> None:
        self.mac = mac
        self.port = port


class ThisSystem:
    """A host that has the bridge itself: the bridge's own port is it."""

    def __init__(self, database: ovsdb.Client) -> None:
        self._database = database

    def mac(self) -> net.Mac | None:
        """The bridge's own."""
        for columns in self._database.replica["Interface"].values():
            if columns["name"] == names.EXTERNAL_BRIDGE and columns["mac_in_use"]:
                return net.Mac(columns["mac_in_use"])
        return None

    def port(self) -> None:
        """None: LOCAL."""
