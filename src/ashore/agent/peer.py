# SPDX-License-Identifier: Apache-2.0
"""The half with OVS as the host half sees it: behind annotations (a DPU) or in this process (a full node)."""

import time
from collections.abc import Callable, Collection
from typing import Any, Protocol

import structlog

from ashore import kube
from ashore.agent import agent_metrics, bandwidth, dpu_claims, records, seam
from ashore.api import annotations, cni, names, net
from ashore.kube import objects

log = structlog.get_logger(__name__)
ANSWER_LIMIT_S = 25.0
LEFTOVER_LIMIT_S = 3.0
"""How long a DPU may take to withdraw its answer once the details are gone; ovn-kubernetes' takes up to one second."""


class Peer(Protocol):
    """Connects a pod's device to the network and takes it off again."""

    async def connect(self, pod: objects.Pod, record: records.Record) -> None:
        """Returns when packets flow. Idempotent. Raises cni.Failure."""

    async def disconnect(self, record: records.Record) -> None:
        """Nothing of this very sandbox stays; another sandbox's is left alone. Idempotent. Raises cni.Failure."""

    async def damage(self, pod: objects.Pod, record: records.Record) -> str:
        """Why packets of a connected pod may not flow, "" when they do. Nothing is waited for."""

    async def collect(self, keep: Collection[str]) -> None:
        """Nothing stays of sandboxes other than these. Raises cni.Failure."""

    def problem(self) -> str:
        """Why nothing can be connected now, "" when it can."""


class LeaseWatch:
    """Whether the DPU shows that it serves us.

    Timed by our own clock from when we saw the lease change, for the lease's own duration: clocks of two machines
    aren't compared, and a DPU that renews at another pace is fine.
    """

    def __init__(
        self, leases: kube.Informer[objects.Lease], node: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._leases = leases
        self._name = names.dpu_lease(net.NodeName(node))
        self._clock = clock
        self._changed_at = clock()
        self._began = clock()
        leases.subscribe(self._saw)

    def problem(self) -> str:
        """Why the DPU is taken for dead, "" when it is alive."""
        lease = self._leases.store.get(kube.ObjectKey(names.LEASE_NAMESPACE, self._name))
        if lease is None:
            return f"lease {names.LEASE_NAMESPACE}/{self._name} doesn't exist: the DPU's agent never ran; start it"
        # One without a renewal, or without a duration, is nobody's promise.
        duration_s = (lease.spec.lease_duration_seconds or 0) if lease.spec.renew_time else 0
        silent_s = self._clock() - self._changed_at
        if duration_s > 0 and silent_s <= duration_s:
            return ""
        return (
            f"lease {names.LEASE_NAMESPACE}/{self._name} not renewed for {silent_s:.0f} s (it lasts {duration_s} s): "
            "the DPU, its agent, OVS or ovn-controller is down, or it can't reach the API"
        )

    def _saw(self, old: objects.Lease | None, new: objects.Lease | None) -> None:
        if new is None or new.metadata.name != self._name:
            return
        if old is None or old.spec.renew_time != new.spec.renew_time:
            self._changed_at = self._clock()


class RemotePeer:
    """A DPU: told by ``connection-details``, answers by ``connection-status``."""

    def __init__(
        self,
        pods: kube.Informer[objects.Pod],
        api: kube.Client,
        lease_problem: Callable[[], str],
        *,
        limit_s: float = ANSWER_LIMIT_S,
    ) -> None:
        self._pods = pods
        self._api = api
        self._lease_problem = lease_problem
        self._limit_s = limit_s
        self._told: dict[str, str] = {}

    def problem(self) -> str:
        """Why the DPU can't be asked."""
        return self._lease_problem()

    async def connect(self, pod: objects.Pod, record: records.Record) -> None:
        """Tell the DPU which VF it is and wait for its answer about this sandbox."""
        key = kube.ObjectKey(record.namespace, record.name)
        wanted = annotations.ConnectionDetails(
            pf_id=str(record.pf_id), vf_id=str(record.vf_id), sandbox_id=record.sandbox, vf_netdev_name=record.netdev
        )
        self._told[record.pod_uid] = record.sandbox
        latest = self._pods.store.get(key) or pod
        if _details(latest).get(names.DEFAULT_NETWORK) != wanted:
            with agent_metrics.phase("ADD", "tell"):
                await self._shed_leftover(latest, record)
                text = annotations.encode_details({**_details(latest), names.DEFAULT_NETWORK: wanted})
                await self._patch(record, {annotations.CONNECTION_DETAILS: text})

        def answer(now: objects.Pod | None) -> annotations.ConnectionStatus | None:
            if now is None or now.metadata.uid != record.pod_uid:
                return annotations.ConnectionStatus(annotations.ERROR, f"pod {record.namespace}/{record.name} is gone")
            status = dpu_claims.status_of(now).get(names.DEFAULT_NETWORK)
            return status if status and status.sandbox_id in ("", record.sandbox) else None

        try:
            with agent_metrics.phase("ADD", "answer"):
                now = await self._pods.wait_for(key, lambda pod: answer(pod) is not None, timeout_s=self._limit_s)
        except TimeoutError as error:
            why = self.problem() or "its agent's log and `ashore status` tell more"
            text = f"ashore: pod {key}: the DPU didn't connect VF {record.vf_id} within {self._limit_s:g} s; {why}"
            raise cni.Failure(cni.DEADLINE, text) from error
        status = answer(now)
        if status is None or status.status != annotations.READY:
            reason = (status.reason if status else "") or "no reason given"
            raise cni.Failure(cni.DPU_REFUSED, f"ashore: pod {key}: the DPU refused: {reason}")

    async def _shed_leftover(self, pod: objects.Pod, record: records.Record) -> None:
        """An answer that names no sandbox (ovn-kubernetes' DPU) is gone before the DPU hears of the next sandbox.

        Its text would be the next answer's as well, so neither could be told from the other afterwards.
        """

        def is_gone(now: objects.Pod | None) -> bool:
            status = dpu_claims.status_of(now).get(names.DEFAULT_NETWORK) if now else None
            return status is None or bool(status.sandbox_id)

        if is_gone(pod):
            return
        await self._take_back(record, _details(pod))
        try:
            await self._pods.wait_for(kube.key_of(pod), is_gone, timeout_s=LEFTOVER_LIMIT_S)
        except TimeoutError:
            # A DPU that was started anew doesn't know what it said before; its leftovers stay for ever.
            log.warning("leftover-status-stays", pod=str(kube.key_of(pod)), sandbox=record.sandbox)

    async def disconnect(self, record: records.Record) -> None:
        """Take the details back, if they are this sandbox's; the DPU unplugs on that."""
        pod = self._pods.store.get(kube.ObjectKey(record.namespace, record.name))
        told = self._told.get(record.pod_uid) == record.sandbox
        details = _details(pod) if pod is not None and pod.metadata.uid == record.pod_uid else {}
        current = details.get(names.DEFAULT_NETWORK)
        is_ours = current.sandbox_id == record.sandbox if current else told
        if is_ours:
            await self._take_back(record, details)
        if told:
            del self._told[record.pod_uid]

    async def damage(self, pod: objects.Pod, record: records.Record) -> str:
        """What the DPU says about this sandbox, and whether it was told of it."""
        told = _details(pod).get(names.DEFAULT_NETWORK)
        if told is None or told.sandbox_id != record.sandbox:
            return f"annotation {annotations.CONNECTION_DETAILS} doesn't name its sandbox; recreate the pod"
        if problem := self.problem():
            return f"nothing is known of its representor: {problem}"
        status = dpu_claims.status_of(pod).get(names.DEFAULT_NETWORK)
        if status is None or status.sandbox_id not in ("", record.sandbox):
            return f"the DPU doesn't say that VF {record.vf_id} is connected; see its agent's log"
        if status.status != annotations.READY:
            return f"the DPU has disconnected it: {status.reason or 'no reason given'}"
        return ""

    async def collect(self, keep: Collection[str]) -> None:
        """Details of a sandbox that nobody knows are taken back: they hold a VF on the DPU."""
        for key, pod in list(self._pods.store.items()):
            details = _details(pod)
            told = details.get(names.DEFAULT_NETWORK)
            if told is None or told.sandbox_id in keep:
                continue
            log.info("details-collected", pod=str(key), sandbox=told.sandbox_id)
            record = records.Record(
                pci="", pod_uid=pod.metadata.uid, sandbox=told.sandbox_id, netns="", ifname="", netdev="",
                namespace=key.namespace, name=key.name,
            )  # fmt: skip
            await self._take_back(record, details)

    async def _take_back(self, record: records.Record, details: dict[str, annotations.ConnectionDetails]) -> None:
        rest = {network: entry for network, entry in details.items() if network != names.DEFAULT_NETWORK}
        await self._patch(record, {annotations.CONNECTION_DETAILS: annotations.encode_details(rest) if rest else None})

    async def _patch(self, record: records.Record, changes: dict[str, str | None]) -> None:
        body: dict[str, Any] = {"metadata": {"annotations": changes}}
        try:
            await self._api.patch(kube.PODS, record.name, record.namespace, body, uid=record.pod_uid)
        except (kube.NotFound, kube.Conflict) as error:
            if changes[annotations.CONNECTION_DETAILS] is not None:
                raise cni.Failure(cni.POD_NOT_FOUND, f"ashore: {error}") from error
        except kube.ApiError as error:
            raise cni.Failure(cni.TRY_AGAIN, f"ashore: can't tell the DPU: {error}") from error


class LocalPeer:
    """The switch on this very node, by its Plugger."""

    def __init__(
        self,
        plugger: seam.Plugger,
        network: Callable[[objects.Pod], Any],
        problem: Callable[[], str],
        representor: Callable[[int, int], str | None] = lambda _pf, _vf: None,
    ) -> None:
        self._plugger = plugger
        self._network = network
        self._problem = problem
        self._representor = representor

    def problem(self) -> str:
        """Why this node's switch can't be used."""
        return self._problem()

    async def connect(self, pod: objects.Pod, record: records.Record) -> None:
        """Plug the representor as soon as the pod has its address."""
        network: annotations.PodNetwork = await self._network(pod)
        try:
            limits = bandwidth.read(pod)
            request = seam.PlugRequest(
                pod=net.PodKey(record.namespace, record.name), pod_uid=record.pod_uid, sandbox=record.sandbox,
                network=network, representor=self._other_end(record), vf_netdev_name=record.netdev,
                ingress_bps=limits.ingress_bps, egress_bps=limits.egress_bps,
            )  # fmt: skip
            await self._plugger.plug(request)
        except (seam.PlugError, bandwidth.BadBandwidth) as error:
            text = f"ashore: pod {record.namespace}/{record.name}: not connected: {error}"
            raise cni.Failure(cni.DPU_REFUSED, text) from error

    def _other_end(self, record: records.Record) -> str:
        """The pair's other end, or a VF's representor. Raises seam.PlugError."""
        found = record.representor or self._representor(record.pf_id, record.vf_id)
        if not found:
            raise seam.PlugError(f"VF {record.pci} has no representor here; is the eSwitch in switchdev mode?")
        return found

    async def disconnect(self, record: records.Record) -> None:
        """Unplug the representor."""
        try:
            await self._plugger.unplug(record.pod_uid, record.sandbox)
        except seam.PlugError as error:
            raise cni.Failure(cni.TRY_AGAIN, f"ashore: {record.representor}: not unplugged: {error}") from error

    async def damage(self, pod: objects.Pod, record: records.Record) -> str:
        """What OVS and OVN say about the port."""
        del pod
        return self.problem() or self._plugger.damage(record.pod_uid, record.sandbox)

    async def collect(self, keep: Collection[str]) -> None:
        """Ports of other sandboxes are unplugged."""
        for uid, sandbox in self._plugger.sandboxes():
            if sandbox in keep:
                continue
            log.info("port-collected", sandbox=sandbox)
            try:
                await self._plugger.unplug(uid, sandbox)
            except seam.PlugError as error:
                raise cni.Failure(cni.TRY_AGAIN, f"ashore: sandbox {sandbox}: not unplugged: {error}") from error


def _details(pod: objects.Pod) -> dict[str, annotations.ConnectionDetails]:
    try:
        return annotations.decode_details(pod.metadata.annotations.get(annotations.CONNECTION_DETAILS) or "{}")
    except annotations.Malformed as error:
        log.warning("details-unreadable", pod=str(kube.key_of(pod)), why=str(error))
        return {}
