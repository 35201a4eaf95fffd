# SPDX-License-Identifier: Apache-2.0
"""Pods' representors on the integration bridge: checked, plugged in one transaction, watched until OVN has them."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec
import structlog

from ashore import ovsdb
from ashore.agent import agent_metrics, seam
from ashore.api import names
from ashore.ovs import daemons, unixctl
from ashore.schema import row
from ashore.wiring import dpu, ovs_rows

log = structlog.get_logger(__name__)
INSTALL_LIMIT_S = 20.0


class Links(Protocol):
    """What plugging asks of the kernel."""

    def is_present(self, name: str) -> bool:
        """Whether a netdev of that name is in this namespace."""

    async def open(self, name: str) -> None:
        """Guards the representor against frames for this kernel, without IPv6 of its own, and sets it up."""

    async def close(self, name: str) -> None:
        """Sets the representor down; fine when it is gone."""


class Look(msgspec.Struct, frozen=True):
    """How far a requested port is: installed, or waiting, or broken with a reason for people."""

    is_installed: bool = False
    problem: str = ""


class Plugger:
    """The ``seam.Plugger`` on this node's Open_vSwitch database. What is plugged is read from there, never remembered.

    ``is_live`` says whether a pod's UID belongs to a pod that may hold a representor: a live owner keeps it.
    """

    def __init__(
        self,
        client: ovsdb.Client,
        *,
        running: daemons.Daemons,
        links: Links,
        is_live: Callable[[str], bool] = lambda _uid: True,
        limit_s: float = INSTALL_LIMIT_S,
    ) -> None:
        self._client = client
        self._daemons = running
        self._links = links
        self._is_live = is_live
        self.limit_s = limit_s
        self._one_at_a_time = asyncio.Lock()
        self._changed = asyncio.Event()
        client.subscribe(lambda _change: self._changed.set())

    def ports(self) -> tuple[ovs_rows.ObservedPort, ...]:
        """The ports on the integration bridge that an agent made."""
        bridge = ovs_rows.bridge(self._client.replica, names.INTEGRATION_BRIDGE)
        return tuple(ovs_rows.observe_ports(self._client.replica, bridge)) if bridge else ()

    async def plug(self, request: seam.PlugRequest) -> None:
        """Returns when OVN has installed the port. Idempotent.

        Raises:
            seam.PlugError: what is missing, within the limit; the port stays, so it works as soon as that appears.
        """
        await self.ensure(request)
        try:
            with agent_metrics.phase("ADD", "ovn"):
                async with asyncio.timeout(self.limit_s):
                    while True:
                        self._changed.clear()
                        look = self.look(request)
                        if look.is_installed:
                            return
                        if look.problem:
                            raise seam.PlugError(look.problem)
                        await self._changed.wait()
        except TimeoutError:
            raise seam.PlugError(await self.late(request)) from None

    async def ensure(self, request: seam.PlugRequest) -> None:
        """Returns when the port's rows are in the database; ports of earlier sandboxes of the pod are gone then.

        Raises:
            seam.PlugError: the request can't be served as things stand.
        """
        began = time.perf_counter()
        async with self._one_at_a_time:
            bridge = self._bridge(request)
            self._check(request)
            plan = dpu.plan_pod(bridge, _pod_port(request))
            stale = [port for port in self.ports() if _is_replaced(port, request, plan)]
            missing = row.Plan(tuple(_missing(plan, self._client.replica)), plan.members)
            ops = [*removal(bridge, stale), *ovsdb.diff(missing, self._client.replica)]
            # Neither needs the other: frames pass when both are done.
            both = asyncio.gather(
                self._links.open(request.representor), self._transact(ops, request), return_exceptions=True
            )
            for failure in await both:
                if failure is not None:
                    raise failure
            if stale:
                await self._forget([p for p in stale if p.pod_uid != request.pod_uid], keep=request.representor)
        if ops:
            agent_metrics.PHASE_SECONDS.labels("ADD", "wire").observe(time.perf_counter() - began)

    def sandboxes(self) -> tuple[tuple[str, str], ...]:
        """Pods' ports: (pod's UID, sandbox)."""
        return tuple((port.pod_uid, port.sandbox) for port in self.ports() if port.pod_uid)

    def damage(self, pod_uid: str, sandbox: str) -> str:
        """Why packets of this very sandbox's port don't flow, "" when they do."""
        port = next((port for port in self.ports() if (port.pod_uid, port.sandbox) == (pod_uid, sandbox)), None)
        if port is None:
            return "its port isn't on br-int; recreate the pod"
        if port.error:
            return f"OVS can't use its representor {port.name}: {port.error}"
        return "" if port.is_installed else f"OVN hasn't installed its port {port.name}; is ovn-controller running?"

    async def unplug(self, pod_uid: str, sandbox: str) -> None:
        """Returns when no port of this very sandbox is left; another sandbox's port is left alone. Idempotent.

        Raises:
            seam.PlugError: the database doesn't take it; try again.
        """
        gone = [port for port in self.ports() if (port.pod_uid, port.sandbox) == (pod_uid, sandbox)]
        try:
            await self.remove(gone)
        except ovsdb.OvsdbError as error:
            raise seam.PlugError(f"sandbox {sandbox}: its port can't be taken off br-int: {error}") from error

    async def remove(self, ports: list[ovs_rows.ObservedPort]) -> None:
        """Returns when these ports are gone, their links are down and their addresses' connections forgotten."""
        async with self._one_at_a_time:
            bridge = ovs_rows.bridge(self._client.replica, names.INTEGRATION_BRIDGE)
            present = [port for port in ports if port.port in self._client.replica["Port"]]
            if bridge and present:
                await self._client.transact(removal(bridge, present))
            await self._forget(ports)

    def look(self, request: seam.PlugRequest) -> Look:
        """How far the port of this request is."""
        interface = next(
            r for r in dpu.plan_pod(row.Uuid(""), _pod_port(request)).rows if r.TABLE.name == "Interface"
        ).uuid  # fmt: skip
        port = next((port for port in self.ports() if port.interface == interface), None)
        if port is None:
            return Look(problem=f"pod {request.pod}: its port {request.representor} was taken off br-int again")
        if port.error:
            return Look(problem=f"pod {request.pod}: OVS can't use representor {request.representor}: {port.error}")
        return Look(is_installed=port.is_installed)

    async def late(self, request: seam.PlugRequest) -> str:
        """Why OVN hasn't installed a port in time, as far as this node can see."""
        wanted = f"pod {request.pod}: OVN hasn't installed port {names.pod_port(request.pod)} in {self.limit_s:g} s"
        if problem := await self._daemons.vswitchd_problem() or await self._daemons.southbound_problem():
            return f"{wanted}: {problem}"
        return (
            f"{wanted}: ovn-controller is connected but doesn't bind it; the southbound database needs that port with "
            f"iface-id-ver={request.pod_uid} and this chassis as requested-chassis: is the controller running?"
        )

    def _bridge(self, request: seam.PlugRequest) -> row.Uuid:
        if not self._client.connected:
            raise seam.PlugError(f"pod {request.pod}: no connection to ovsdb-server on this node; is OVS running?")
        bridge = ovs_rows.bridge(self._client.replica, names.INTEGRATION_BRIDGE)
        if bridge is None:
            raise seam.PlugError(f"pod {request.pod}: no bridge br-int on this node yet; the agent makes it from br-ex")
        return bridge

    def _check(self, request: seam.PlugRequest) -> None:
        what = f"pod {request.pod}: representor {request.representor}"
        if not self._links.is_present(request.representor):
            raise seam.PlugError(f"{what} isn't on this node; does the NIC show its VF?")
        holder = next((port for port in self.ports() if port.name == request.representor), None)
        if holder is None and any(p["name"] == request.representor for p in self._client.replica["Port"].values()):
            raise seam.PlugError(f"{what} is a port that isn't the agent's; remove it from its bridge", is_final=True)
        if holder is None or holder.pod_uid == request.pod_uid:
            return
        if not holder.pod_uid:
            raise seam.PlugError(f"{what} is the management port's; pods can't have it", is_final=True)
        if self._is_live(holder.pod_uid):
            raise seam.PlugError(f"{what} is in use by {holder.iface_id.replace('_', '/')} (uid {holder.pod_uid})")

    async def _transact(self, ops: list[ovsdb.Op], request: seam.PlugRequest) -> None:
        try:
            if ops:
                await self._client.transact(ops)
        except ovsdb.OvsdbError as error:
            raise seam.PlugError(f"pod {request.pod}: OVS refused port {request.representor}: {error}") from error

    async def _forget(self, ports: list[ovs_rows.ObservedPort], *, keep: str = "") -> None:
        for port in ports:
            if port.name != keep:
                await self._links.close(port.name)
            try:
                await self._daemons.flush_conntrack(port.addresses)
            except (unixctl.Unreachable, unixctl.CommandFailed) as error:
                # A vswitchd that isn't there tracks nothing; one that is there reports why it wouldn't.
                log.warning("conntrack-not-flushed", port=port.name, addresses=port.addresses, why=str(error))


def _pod_port(request: seam.PlugRequest) -> dpu.PodPort:
    return dpu.PodPort(
        pod=request.pod,
        pod_uid=request.pod_uid,
        sandbox=request.sandbox,
        representor=request.representor,
        vf_netdev_name=request.vf_netdev_name,
        mac=request.network.mac_address,
        ip_addresses=request.network.ip_addresses,
        ingress_bps=request.ingress_bps,
        egress_bps=request.egress_bps,
    )


def _missing(plan: row.Plan, view: ovs_rows.View) -> Iterator[row.Row]:
    """Rows to insert. A port that is there keeps its limits (CNI's are those at ADD): no shaper comes after it."""
    is_plugged = any(planned.uuid in view["Port"] for planned in plan.rows)
    for planned in plan.rows:
        table = planned.TABLE.name
        if planned.uuid not in view[table] and not (is_plugged and table == "QoS"):
            yield planned


def _is_replaced(port: ovs_rows.ObservedPort, request: seam.PlugRequest, plan: row.Plan) -> bool:
    """An earlier sandbox's or incarnation's port, wherever it is, and whatever sits on the representor."""
    is_same = any(port.interface == wanted.uuid for wanted in plan.rows)
    return not is_same and (port.iface_id == names.pod_port(request.pod) or port.name == request.representor)


def removal(bridge: row.Uuid, ports: list[ovs_rows.ObservedPort]) -> list[ovsdb.Op]:
    """Port and Interface rows go with the last reference to them; QoS rows don't.

    A QoS row has to be let go of before it is deleted, also by a port that goes in the same transaction.
    """
    if not ports:
        return []
    ops: list[ovsdb.Op] = [ovsdb.MutateSet("Bridge", bridge, "ports", remove=frozenset(port.port for port in ports))]
    for port in ports:
        if port.qos:
            ops += [ovsdb.Update("Port", port.port, {"qos": None}), ovsdb.Delete("QoS", port.qos)]
    return ops
