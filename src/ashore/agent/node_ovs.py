# SPDX-License-Identifier: Apache-2.0
"""What a node with OVS needs beside its pods: br-int, ovn-controller's settings, management port, annotations."""

import asyncio
import ipaddress
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Never, Protocol

import msgspec
import structlog

from ashore import kube, ovsdb, runtime
from ashore.agent import dpu_claims, dpu_pods, plugger
from ashore.api import annotations, names, net
from ashore.kube import objects
from ashore.ovs import daemons
from ashore.runtime import queue
from ashore.schema import row
from ashore.wiring import dpu, ovs_rows

log = structlog.get_logger(__name__)
HOST_NODE_NAME = "host-k8s-nodename"
OUR_ENCAP_IP = "ashore-encap-ip"
"""What we wrote to ``ovn-encap-ip``; where the two differ, the operating system chose it and it stays."""
ENCAPSULATION_BYTES = 100
RETRY_S = 5.0


class Addresses(Protocol):
    """What the kernel has on a link."""

    async def __call__(self, name: str) -> Collection[str]:
        """The link's global addresses as ``a.b.c.d/len``."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the node's facts come from.

    ``credentials`` holds ``sb/{remote,key.pem,cert.pem,ca.pem}``; ``pod_mtu`` and ``encap_family`` come from the
    NetworkConfig (0: not set), ``uplink`` from the NIC, ``gateway`` gives the l3-gateway-config once it can be known.
    """

    credentials: Path
    eswitch: dpu_pods.Eswitch
    links: plugger.Links
    addresses: Addresses
    uplink: Callable[[], str | None]
    pod_mtu: Callable[[], int] = lambda: 0
    encap_family: Callable[[], int] = lambda: 4
    gateway: Callable[[objects.Node], annotations.GatewayConfig | None] = lambda _node: None
    offload_problem: Callable[[], str] = lambda: ""


async def host_node_name(client: ovsdb.Client) -> net.NodeName:
    """Which node this DPU serves: what the operating system wrote, as soon as it has."""
    while True:
        news = asyncio.Event()
        unsubscribe = client.subscribe(lambda _change, news=news: news.set())  # type: ignore[misc]
        try:
            for columns in client.replica["Open_vSwitch"].values():
                if name := columns["external_ids"].get(HOST_NODE_NAME):
                    return net.NodeName(name)
            log.info("waiting-for-host-name", where=f"Open_vSwitch external_ids:{HOST_NODE_NAME}")
            await news.wait()
        finally:
            unsubscribe()


class NodeOvs:
    """Keeps the node's part of the Open_vSwitch database and its annotations right. Level-driven, one key."""

    def __init__(
        self,
        nodes: kube.Informer[objects.Node],
        api: kube.Client,
        client: ovsdb.Client,
        node: str,
        around: Surroundings,
    ) -> None:
        self._nodes = nodes
        self._api = api
        self._client = client
        self._name = node
        self._around = around
        self._mtu_problem = ""
        self.queue: queue.WorkQueue[str] = queue.WorkQueue()

    def node(self) -> objects.Node | None:
        """The Node object as last seen."""
        return self._nodes.store.get(kube.ObjectKey("", self._name))

    def management(self) -> dpu_claims.Function | None:
        """The management port's function as the host told it."""
        node = self.node()
        try:
            return dpu_claims.management_function(node) if node else None
        except dpu_claims.Wrong:
            return None

    def gate(self) -> str:
        """Why no pod may be plugged, "" when they may."""
        return self._mtu_problem

    async def run(self, *, on_gate: Callable[[], None] = lambda: None) -> Never:
        """Follows the Node and the database for ever; ``on_gate`` hears when ``gate`` changes its mind."""
        self._client.subscribe(self._row_changed)
        self._client.subscribe_state(lambda _up: self.look())
        self._nodes.subscribe(lambda _old, _new: self.look())
        await self._nodes.synced.wait()
        await self._client.synced()
        self.look()

        async def reconcile(_key: str) -> None:
            before = self.gate()
            try:
                await self.reconcile()
            finally:
                if self.gate() != before:
                    on_gate()

        await self.queue.run(reconcile)
        raise AssertionError("a queue ends only when cancelled")

    def look(self) -> None:
        """Everything about the node is looked at again."""
        self.queue.add(self._name)

    async def reconcile(self) -> None:
        """One look. Raises runtime.Retry, runtime.Refused with what is missing."""
        view = self._client.replica
        external = ovs_rows.bridge(view, names.EXTERNAL_BRIDGE)
        top = next(iter(view["Open_vSwitch"]), None)
        if external is None or top is None:
            raise runtime.Refused("no bridge br-ex: the operating system makes it (uplink, host PF, its own address)")
        encap_ip = await self._encap_ip(view["Open_vSwitch"][top]["external_ids"])
        self._check_mtu()
        wanted = dpu.NodeView(
            open_vswitch=top,
            integration_bridge=ovs_rows.bridge(view, names.INTEGRATION_BRIDGE),
            datapath_type=view["Bridge"][external]["datapath_type"],
            southbound=self._southbound(),
            encap_ip=encap_ip,
            credentials=str(self._around.credentials / "sb"),
        )
        await self._write_rows(wanted)
        node = self.node()
        if node is None:
            raise runtime.Refused(f"node {self._name}: no such Node in the host cluster yet")
        await self._annotate(node, top, encap_ip)
        await self._plug_management(node)

    async def _encap_ip(self, external_ids: Mapping[str, str]) -> str:
        chosen = external_ids.get("ovn-encap-ip", "")
        if chosen and chosen != external_ids.get(OUR_ENCAP_IP):
            return chosen
        family = self._around.encap_family()
        own = [ipaddress.ip_interface(cidr) for cidr in await self._around.addresses(names.EXTERNAL_BRIDGE)]
        found = sorted(str(each.ip) for each in own if each.version == family and not each.is_link_local)
        if chosen in found:
            return chosen
        if not found:
            raise runtime.Retry(RETRY_S, f"br-ex has no IPv{family} address for tunnels; the operating system gives it")
        return found[0]

    def _southbound(self) -> str:
        path = self._around.credentials / "sb" / "remote"
        try:
            return path.read_text().strip()
        except OSError as error:
            raise runtime.Retry(RETRY_S, f"where the southbound database is: {path}: {error.strerror}") from error

    def _check_mtu(self) -> None:
        uplink, pods = self._around.uplink(), self._around.pod_mtu()
        rows = self._client.replica["Interface"].values()
        mtu = next((columns["mtu"] for columns in rows if columns["name"] == uplink), None)
        problem = ""
        if mtu is not None and pods and mtu - ENCAPSULATION_BYTES < pods:
            problem = (
                f"uplink {uplink} has MTU {mtu}, pods' MTU {pods} needs {pods + ENCAPSULATION_BYTES}; "
                "raise the uplink's or lower spec.mtu of the NetworkConfig"
            )
        if problem and problem != self._mtu_problem:
            log.error("uplink-mtu-too-small", why=problem)
        self._mtu_problem = problem

    async def _write_rows(self, wanted: dpu.NodeView) -> None:
        planned = dpu.plan_node(wanted)
        view = self._client.replica
        columns = view["Open_vSwitch"][wanted.open_vswitch]
        rows = planned.plan
        if wanted.southbound.startswith("ssl:"):
            ssl = dpu.plan_credentials(columns["ssl"], wanted.credentials)
            rows += row.Plan((ssl,), frozenset())
        settings = {**planned.external_ids, OUR_ENCAP_IP: wanted.encap_ip}
        if columns["external_ids"].get("ovn-encap-ip") == wanted.encap_ip:
            settings.pop(OUR_ENCAP_IP)
        put = {key: value for key, value in settings.items() if columns["external_ids"].get(key) != value}
        ops = self._ops(rows, wanted.open_vswitch)
        if put:
            ops.append(ovsdb.MutateMap("Open_vSwitch", wanted.open_vswitch, "external_ids", put=put))
        if ops:
            await self._transact(ops)
            log.info("node-rows-written", settings=sorted(put), operations=len(ops))

    def _ops(self, rows: row.Plan, top: row.Uuid) -> list[ovsdb.Op]:
        view = self._client.replica
        ssl = next((planned for planned in rows.rows if planned.TABLE.name == "SSL"), None)
        if ssl is not None and view["Open_vSwitch"][top]["ssl"] != ssl.uuid:
            others = row.Plan(tuple(planned for planned in rows.rows if planned is not ssl), rows.members)
            return [
                *ovsdb.diff(others, view),
                ovsdb.insert(ssl),
                ovsdb.Update("Open_vSwitch", top, {"ssl": ssl.uuid}),
            ]
        return ovsdb.diff(rows, view)

    async def _annotate(self, node: objects.Node, top: row.Uuid, encap_ip: str) -> None:
        chassis = self._client.replica["Open_vSwitch"][top]["external_ids"].get("system-id", "")
        if not chassis:
            raise runtime.Refused("Open_vSwitch external_ids:system-id is empty: the operating system sets it once")
        wanted: dict[str, str | None] = {
            annotations.NODE_CHASSIS_ID: chassis,
            annotations.NODE_ENCAP_IPS: annotations.encode_string_list([encap_ip]),
            annotations.MTU_PROBLEM: self._mtu_problem or None,
            annotations.OFFLOAD_PROBLEM: self._around.offload_problem() or None,
        }
        if host := node.metadata.annotations.get(annotations.PRIMARY_DPU_HOST_ADDR):
            wanted[annotations.NODE_PRIMARY_IFADDR] = host
        if gateway := self._around.gateway(node):
            wanted[annotations.L3_GATEWAY_CONFIG] = annotations.encode_gateway_config({names.DEFAULT_NETWORK: gateway})
        changes = {key: value for key, value in wanted.items() if node.metadata.annotations.get(key) != value}
        if not changes:
            return
        body: dict[str, Any] = {"metadata": {"annotations": changes}}
        try:
            await self._api.patch(kube.NODES, self._name, "", body, uid=node.metadata.uid)
        except (kube.NotFound, kube.Conflict):
            return
        except kube.ApiError as error:
            raise runtime.Retry(RETRY_S, f"node {self._name}: annotations not written: {error}") from error
        log.info("node-annotated", keys=sorted(changes))

    async def _plug_management(self, node: objects.Node) -> None:
        try:
            function = dpu_claims.management_function(node)
        except dpu_claims.Wrong as wrong:
            raise runtime.Refused(str(wrong)) from wrong
        if function is None:
            return
        bridge = ovs_rows.bridge(self._client.replica, names.INTEGRATION_BRIDGE)
        name = self._around.eswitch.representor(*function)
        if bridge is None or name is None or not self._around.links.is_present(name):
            raise runtime.Refused(f"node {self._name}: {function}, the management port's, has no representor here yet")
        plan = dpu.plan_management_port(bridge, net.NodeName(self._name), name)
        planned = {each.uuid for each in plan.rows}
        stale = [
            port
            for port in ovs_rows.observe_ports(self._client.replica, bridge)
            if port.interface not in planned and (not port.pod_uid or port.name == name)
        ]
        missing = row.Plan(
            tuple(each for each in plan.rows if each.uuid not in self._client.replica[each.TABLE.name]), plan.members
        )
        ops = [*plugger.removal(bridge, stale), *ovsdb.diff(missing, self._client.replica)]
        if ops:
            await self._around.links.open(name)
            await self._transact(ops)
            log.info("management-port-plugged", representor=name)

    async def _transact(self, ops: list[ovsdb.Op]) -> None:
        try:
            await self._client.transact(ops)
        except ovsdb.OvsdbError as error:
            raise runtime.Retry(RETRY_S, f"OVS's database didn't take the node's rows: {error}") from error

    def _row_changed(self, change: ovsdb.Change) -> None:
        if change.table in ("Open_vSwitch", "SSL") or _is_about_the_node(change):
            self.look()


def _is_about_the_node(change: ovsdb.Change) -> bool:
    """Not each pod's port: bridges that come, go or are set up otherwise, the management port, an MTU."""
    old, new = change.old, change.new
    if change.table == "Bridge":
        return old is None or new is None or {**old, "ports": None} != {**new, "ports": None}
    if change.table != "Interface":
        return False
    if old is None or new is None:
        marks = (new or old or {}).get("external_ids", {})
        return ovs_rows.MANAGEMENT_PORT_NAME in marks
    return bool(old["mtu"] != new["mtu"])


async def health_problem(client: ovsdb.Client, running: daemons.Daemons) -> str:
    """Why this node's switch can't be relied on; "" when it can."""
    if not client.connected:
        return f"no connection to this node's ovsdb-server: {client.problem}"
    return await running.vswitchd_problem() or await running.southbound_problem()
