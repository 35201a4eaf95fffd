# SPDX-License-Identifier: Apache-2.0
"""A DPU's half of plugging its host's pods: connection-details in, ports and connection-status out. Level-driven."""

import asyncio
from collections.abc import Callable
from typing import Never, Protocol

import msgspec
import structlog

from ashore import kube, ovsdb, runtime
from ashore.agent import agent_metrics, dpu_claims, plugger, seam
from ashore.api import annotations, names, net
from ashore.kube import objects
from ashore.runtime import queue
from ashore.wiring import ovs_rows

log = structlog.get_logger(__name__)
RETRY_S = 10.0
API_RETRY_S = 1.0
WORKERS = 8


class Eswitch(Protocol):
    """What the DPU's NIC shows of its host's functions."""

    def representor(self, pf: int, vf: int) -> str | None:
        """The netdev on this side of a virtual function, None while there is none."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """What pods' ports depend on beside their pods.

    ``management`` gives the management port's function, None when unknown yet; ``gate`` why no pod may be plugged at
    all now, "" when they may.
    """

    host: str
    eswitch: Eswitch
    management: Callable[[], dpu_claims.Function | None]
    gate: Callable[[], str]


class PodPorts:
    """Keeps ports and ``connection-status`` of one host's pods as their annotations say."""

    def __init__(
        self,
        pods: kube.Informer[objects.Pod],
        api: kube.Client,
        client: ovsdb.Client,
        ports: plugger.Plugger,
        node: Node,
    ) -> None:
        self._pods = pods
        self._api = api
        self._client = client
        self._plugger = ports
        self._node = node
        self._waiting: dict[net.PodKey, tuple[str, float]] = {}
        self._written: dict[net.PodKey, tuple[str, str, str]] = {}
        self.queue: queue.WorkQueue[net.PodKey] = queue.WorkQueue()

    async def run(self, *, workers: int = WORKERS) -> Never:
        """Follows pods and ports for ever. Nothing is taken away before both sides are loaded."""
        self._pods.subscribe(self._pod_changed)
        self._client.subscribe(self._row_changed)
        self._client.subscribe_state(lambda up: self.look_at_all() if up else None)
        await self._pods.synced.wait()
        await self._client.synced()
        self.look_at_all()
        await self.queue.run(self.reconcile, workers=workers)
        raise AssertionError("a queue ends only when cancelled")

    def look_at_all(self) -> None:
        """Every pod, and every port whose pod may be gone, is looked at again."""
        if not self._pods.synced.is_set():
            return
        for key in self._pods.store:
            self.queue.add(net.PodKey(key.namespace, key.name))
        for port in self._plugger.ports():
            if port.pod_uid:
                self.queue.add(_key_of(port.iface_id))

    def look_at_problems(self) -> None:
        """Whatever didn't work is looked at again: a link has come, a function is free, the gate is open."""
        for key in list(self.queue.problems):
            self.queue.add(key)

    async def reconcile(self, key: net.PodKey) -> None:
        """Makes one pod's port and status right.

        Raises:
            runtime.Refused: not as things stand; its status says why.
            runtime.Retry: not yet.
        """
        pod = self._pods.store.get(dpu_claims.object_key(key))
        try:
            claim = dpu_claims.read_claim(pod, self._node.host) if pod else None
        except dpu_claims.Wrong as wrong:
            await self._take_away(key, None)
            await self._fail(pod, str(wrong), "")
            raise runtime.Refused(str(wrong)) from wrong
        await self._take_away(key, claim)
        if pod is None or claim is None:
            self._waiting.pop(key, None)
            await self._report(pod, None)
            if pod is None:
                self._written.pop(key, None)
            return
        if claim.network is None:
            await self._drop_stale_status(pod, claim)
            raise runtime.Refused(f"pod {key}: no {annotations.POD_NETWORKS} yet; is ashore-controller running?")
        try:
            request = claim.request(self._representor(claim), claim.network)
            await self._plugger.ensure(request)
        except seam.PlugError as error:
            await self._fail(pod, error.reason, claim.sandbox)
            if error.is_final:
                raise runtime.Refused(error.reason) from error
            raise runtime.Retry(RETRY_S, error.reason) from error
        await self._follow(pod, claim, request)

    async def _follow(self, pod: objects.Pod, claim: dpu_claims.Claim, request: seam.PlugRequest) -> None:
        """Reports what OVS and OVN make of a port that is in the database; their changes bring us back here."""
        look = self._plugger.look(request)
        if look.is_installed:
            began = self._waiting.pop(claim.pod, None)
            took_s = asyncio.get_running_loop().time() - began[1] if began else 0.0
            if began:
                agent_metrics.PHASE_SECONDS.labels("ADD", "ovn").observe(took_s)
            if await self._report(
                pod, annotations.ConnectionStatus(status=annotations.READY, sandbox_id=claim.sandbox)
            ):
                log.info(
                    "pod-plugged",
                    pod=str(claim.pod),
                    representor=request.representor,
                    took_ms=round(took_s * 1000),
                )
            return
        if look.problem:
            await self._fail(pod, look.problem, claim.sandbox)
            raise runtime.Retry(RETRY_S, look.problem)
        identity = f"{claim.uid}/{claim.sandbox}"
        known, since = self._waiting.get(claim.pod, ("", 0.0))
        if known != identity:
            since = asyncio.get_running_loop().time()
            self._waiting[claim.pod] = (identity, since)
        remaining_s = since + self._plugger.limit_s - asyncio.get_running_loop().time()
        if remaining_s > 0:
            await self._drop_stale_status(pod, claim)
            raise runtime.Retry(remaining_s, f"pod {claim.pod}: waiting for OVN to install its port")
        reason = await self._plugger.late(request)
        await self._fail(pod, reason, claim.sandbox)
        raise runtime.Retry(RETRY_S, reason)

    def _representor(self, claim: dpu_claims.Claim) -> str:
        if reason := self._node.gate():
            raise seam.PlugError(reason)
        ports = self._plugger.ports()
        if claim.problem and not any((p.pod_uid, p.sandbox) == (claim.uid, claim.sandbox) for p in ports):
            raise seam.PlugError(claim.problem, is_final=True)
        what = f"pod {claim.pod}: {claim.function}"
        if claim.function == self._node.management():
            raise seam.PlugError(f"{what} is the management port's; pods can't have it", is_final=True)
        name = self._node.eswitch.representor(*claim.function)
        if name is None:
            raise seam.PlugError(f"{what} has no representor on this DPU; does the NIC show that VF?")
        holder = next((port.pod_uid for port in ports if port.name == name), "")
        owner = dpu_claims.rightful(claim, self._pods.store.values(), self._node.host, holder)
        if owner.uid != claim.uid:
            raise seam.PlugError(f"{what} is in use by pod {owner.pod} (uid {owner.uid})")
        return name

    async def _take_away(self, key: net.PodKey, claim: dpu_claims.Claim | None) -> None:
        wanted = (claim.uid, claim.sandbox) if claim else None
        stale = [
            port
            for port in self._plugger.ports()
            if port.iface_id == names.pod_port(key) and port.pod_uid and (port.pod_uid, port.sandbox) != wanted
        ]
        if not stale:
            return
        try:
            await self._plugger.remove(stale)
        except ovsdb.OvsdbError as error:
            raise runtime.Retry(API_RETRY_S, f"pod {key}: its old port can't be removed: {error}") from error
        log.info("pod-unplugged", pod=str(key), representors=[port.name for port in stale])
        self.look_at_problems()

    async def _fail(self, pod: objects.Pod | None, reason: str, sandbox: str) -> None:
        status = annotations.ConnectionStatus(status=annotations.ERROR, reason=reason, sandbox_id=sandbox)
        if pod is not None and await self._report(pod, status):
            log.warning("pod-not-plugged", pod=str(dpu_claims.pod_key(pod)), why=reason)

    async def _drop_stale_status(self, pod: objects.Pod, claim: dpu_claims.Claim) -> None:
        """An answer about an earlier sandbox mustn't be read as the answer about this one."""
        status = dpu_claims.status_of(pod).get(names.DEFAULT_NETWORK)
        if status is not None and status.sandbox_id != claim.sandbox:
            await self._report(pod, None)

    async def _report(self, pod: objects.Pod | None, status: annotations.ConnectionStatus | None) -> bool:
        """Writes the default network's entry where it differs; whether it did. ``{}`` stays, as in the anchor."""
        if pod is None:
            return False
        current = dpu_claims.status_of(pod)
        wanted = {network: entry for network, entry in current.items() if network != names.DEFAULT_NETWORK}
        if status is not None:
            wanted[names.DEFAULT_NETWORK] = status
        if wanted == current:
            return False
        meta = pod.metadata
        text = annotations.encode_status(wanted)
        # The watch hasn't shown what we wrote a moment ago; writing it again would change nothing.
        write = (meta.uid, meta.resource_version, text)
        if self._written.get(dpu_claims.pod_key(pod)) == write:
            return False
        body = {"metadata": {"annotations": {annotations.CONNECTION_STATUS: text}}}
        try:
            with agent_metrics.phase("ADD" if status else "DEL", "report"):
                await self._api.patch(kube.PODS, meta.name, meta.namespace, body, uid=meta.uid)
        except (kube.NotFound, kube.Conflict):
            # The pod is gone or another one; the watch says so and brings us back.
            return False
        except kube.ApiError as error:
            raise runtime.Retry(
                API_RETRY_S, f"pod {meta.namespace}/{meta.name}: status not written: {error}"
            ) from error
        self._written[dpu_claims.pod_key(pod)] = write
        return True

    def _pod_changed(self, old: objects.Pod | None, new: objects.Pod | None) -> None:
        pod = new or old
        if pod is None or not self._pods.synced.is_set():
            return
        self.queue.add(dpu_claims.pod_key(pod))
        if old is not None and (new is None or _details(old) != _details(new)):
            self.look_at_problems()

    def _row_changed(self, change: ovsdb.Change) -> None:
        if change.table != "Interface" or not self._pods.synced.is_set():
            return
        for columns in (change.old, change.new):
            marks = columns["external_ids"] if columns else {}
            if ovs_rows.SANDBOX in marks and "_" in marks.get(ovs_rows.IFACE_ID, ""):
                self.queue.add(_key_of(marks[ovs_rows.IFACE_ID]))


def _details(pod: objects.Pod) -> str:
    return pod.metadata.annotations.get(annotations.CONNECTION_DETAILS, "")


def _key_of(iface_id: str) -> net.PodKey:
    """Neither namespaces nor pods have an underscore in their names."""
    namespace, _, name = iface_id.partition("_")
    return net.PodKey(namespace, name)


async def keep_swept(pods: kube.Informer[objects.Pod], client: ovsdb.Client, ports: plugger.Plugger) -> Never:
    """Takes ports away whose pods are gone, for ever: a full node's net for what no CNI DEL came for.

    Nothing is taken before pods and ports are loaded. A DPU doesn't need it: ``PodPorts`` does as much.
    """
    news = asyncio.Event()
    pods.subscribe(lambda _old, new: news.set() if new is None else None)
    client.subscribe_state(lambda up: news.set() if up else None)
    await pods.synced.wait()
    await client.synced()
    while True:
        news.clear()
        live = dpu_claims.owners(pods.store.values())
        stale = [port for port in ports.ports() if port.pod_uid and port.pod_uid not in live]
        try:
            await ports.remove(stale)
        except ovsdb.OvsdbError as error:
            # The database's return is an event, and brings us back.
            log.warning("stale-ports-not-removed", why=str(error))
        else:
            if stale:
                log.info("stale-ports-removed", ports=[port.name for port in stale])
        await news.wait()
