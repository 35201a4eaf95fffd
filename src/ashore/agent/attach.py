# SPDX-License-Identifier: Apache-2.0
"""What the agent does for each CNI command: a device into a pod's namespace, connected, and back."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from ashore import kube, netlink
from ashore.agent import admission, agent_metrics, checks, devices, peer, records, results
from ashore.api import annotations, cni, names
from ashore.kube import objects
from ashore.wiring import dpu_host

log = structlog.get_logger(__name__)
POD_LIMIT_S = 5.0
ADDRESS_LIMIT_S = 20.0
CHECK_LIMIT_S = 1.0
"""A pod that runs has its addresses; there is nothing to wait for."""
MIRROR = "kubernetes.io/config.mirror"
"""By which UID the runtime knows a static pod, on the pod that stands for it in the API under a UID of its own
(the kubelet's ConfigMirrorAnnotationKey)."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What the node's CNI service stands on. ``mtu`` gives pods' MTU, 0 while unknown; ``gate`` why it can't serve."""

    pods: kube.Informer[objects.Pod]
    kernel: netlink.Kernel
    devices: devices.Devices
    peer: peer.Peer
    mtu: Callable[[], int]
    gate: Callable[[], str]
    tell: Callable[[objects.Pod, str, str], None] = lambda _pod, _reason, _message: None


async def pod_network(
    pods: kube.Informer[objects.Pod], pod: objects.Pod, *, limit_s: float = ADDRESS_LIMIT_S
) -> annotations.PodNetwork:
    """The pod's addresses, as soon as the controller has given them. Raises cni.Failure."""
    key, uid = kube.key_of(pod), pod.metadata.uid

    def is_told(now: objects.Pod | None) -> bool:
        return now is None or now.metadata.uid != uid or annotations.POD_NETWORKS in now.metadata.annotations

    try:
        now = await pods.wait_for(key, is_told, timeout_s=limit_s)
    except TimeoutError as error:
        text = f"ashore: pod {key} has no address after {limit_s:g} s; is ashore-controller running?"
        raise cni.Failure(cni.NO_ADDRESS, text) from error
    if now is None or now.metadata.uid != uid:
        raise cni.Failure(cni.POD_NOT_FOUND, f"ashore: pod {key} with UID {uid} is gone")
    try:
        return annotations.decode_pod_networks(now.metadata.annotations[annotations.POD_NETWORKS])[
            names.DEFAULT_NETWORK
        ]
    except (annotations.Malformed, KeyError) as error:
        raise cni.Failure(cni.NO_ADDRESS, f"ashore: pod {key}: no usable address: {error}") from error


class Attach:
    """Serves CNI requests; see ``cni_server.Handler``. Those of one sandbox come one after another."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._adding: set[str] = set()

    async def handle(self, request: cni.Request) -> dict[str, Any]:
        """The result of a request. Raises cni.Failure."""
        match request.command:
            case "ADD":
                return await self.add(request)
            case "DEL":
                await self.delete(request.container_id, request.ifname, request.netns)
            case "CHECK":
                await self.check(request)
            case "GC":
                await self.collect(request.config)
            case "STATUS":
                self.status()
            case other:
                raise cni.Failure(cni.INVALID_ENVIRONMENT, f"ashore: unknown CNI command {other[:40]!r}")
        return {}

    async def add(self, request: cni.Request) -> dict[str, Any]:
        """Attach a pod. What was done is undone where it fails."""
        pod = await self._pod(results.read_sandbox(request))
        self._adding.add(request.container_id)
        try:
            admission.refuse(pod)
            return await self._attach(request, pod)
        except cni.Failure as failure:
            self._around.tell(pod, _EVENTS.get(failure.error.code, "NetworkNotReady"), failure.error.msg)
            raise
        finally:
            self._adding.discard(request.container_id)

    async def _attach(self, request: cni.Request, pod: objects.Pod) -> dict[str, Any]:
        around = self._around
        if not around.kernel.has_netns(request.netns):
            raise cni.Failure(cni.BAD_NETNS, f"ashore: CNI_NETNS {request.netns!r} isn't a network namespace")
        if problem := around.gate():
            raise cni.Failure(cni.TRY_AGAIN, f"ashore: {problem}")
        if problem := around.peer.problem():
            raise cni.Failure(cni.DPU_DOWN, f"ashore: {problem}")
        claim = devices.Claim(
            namespace=pod.metadata.namespace, name=pod.metadata.name, pod_uid=pod.metadata.uid,
            sandbox=request.container_id, netns=request.netns, ifname=request.ifname, mtu=around.mtu(),
            device_id=results.read_device(request.config),
        )  # fmt: skip
        try:
            with agent_metrics.phase("ADD", "device"):
                record = await around.devices.take(claim)
            plan, _ = await _both(self._wire(pod, record), around.peer.connect(pod, record))
        except netlink.NetlinkError as error:
            await self._undo(request)
            raise _failure(error) from error
        except (cni.Failure, asyncio.CancelledError, TimeoutError):
            await self._undo(request)
            raise
        return results.added(request, plan, record)

    async def _wire(self, pod: objects.Pod, record: records.Record) -> dpu_host.LinkPlan:
        with agent_metrics.phase("ADD", "address"):
            network = await pod_network(self._around.pods, pod)
        plan = dpu_host.plan_pod(dpu_host.PodView(ifname=record.ifname, mtu=self._around.mtu(), network=network))
        with agent_metrics.phase("ADD", "netns"):
            await self._around.devices.bring(record, link_settings(plan))
        return plan

    async def _undo(self, request: cni.Request) -> None:
        # Shielded: a runtime that gave up must not leave a device half taken.
        undoing = asyncio.ensure_future(self.delete(request.container_id, request.ifname, request.netns))
        try:
            await asyncio.shield(undoing)
        except cni.Failure as failure:
            log.warning("undo-incomplete", sandbox=request.container_id, why=failure.error.msg)

    async def delete(self, sandbox: str, ifname: str, netns: str = "") -> None:
        """Detach; a sandbox that has nothing here, or whose namespace is gone, is fine. Raises cni.Failure."""
        del netns
        record = self._around.devices.store.of(sandbox, ifname)
        if record is None:
            return
        try:
            # The record goes last: as long as something of the sandbox is here, a repeated DEL finds it.
            with agent_metrics.phase("DEL", "tell"):
                await self._around.peer.disconnect(record)
            with agent_metrics.phase("DEL", "netns"):
                await self._around.devices.give_back(record)
        except netlink.NetlinkError as error:
            raise _failure(error) from error

    async def check(self, request: cni.Request) -> None:
        """Compare what is with what was promised. Raises cni.Failure, with every difference in its text."""
        around, sandbox = self._around, results.read_sandbox(request)
        record = around.devices.store.of(request.container_id, request.ifname)
        if record is None:
            text = f"ashore: sandbox {request.container_id} has no {request.ifname} here; {checks.RECREATE}"
            raise cni.Failure(cni.UNKNOWN_CONTAINER, text)
        pod = await self._pod(sandbox)
        wrong = [await around.peer.damage(pod, record), around.devices.damage(record)]
        if record.pod_uid != pod.metadata.uid:
            told = f"{record.namespace}/{record.name} (UID {record.pod_uid})"
            wrong.append(f"device {record.pci} is recorded for pod {told}; {checks.RECREATE}")
        network = await pod_network(around.pods, pod, limit_s=CHECK_LIMIT_S)
        plan = dpu_host.plan_pod(dpu_host.PodView(ifname=record.ifname, mtu=around.mtu(), network=network))
        netns = request.netns or record.netns
        try:
            if record.has_netdev:
                wrong += checks.link(await around.kernel.observe(record.ifname, netns), record, plan)
        except netlink.NetlinkError as error:
            raise _failure(error) from error
        wrong += checks.previous(request.config, netns, plan)
        if found := "; ".join(filter(None, wrong)):
            raise cni.Failure(cni.CHECK_FAILED, f"ashore: {record.ifname} of pod {kube.key_of(pod)}: {found}")

    async def collect(self, config: dict[str, Any]) -> None:
        """Detach everything that the runtime doesn't list; what can't be, doesn't keep the rest. Raises cni.Failure."""
        valid, store = results.read_valid(config), self._around.devices.store
        failures = []
        for record in tuple(store.by_device.values()):
            # A sandbox whose ADD is under way can't be on the list yet.
            if (record.sandbox, record.ifname) in valid or record.sandbox in self._adding:
                continue
            log.info("attachment-collected", device=record.pci, pod=f"{record.namespace}/{record.name}")
            try:
                await self.delete(record.sandbox, record.ifname)
            except cni.Failure as failure:
                failures.append(failure.error.msg)
        known = {record.sandbox for record in store.by_device.values()} | self._adding
        try:
            await self._around.peer.collect(known | {sandbox for sandbox, _ in valid})
        except cni.Failure as failure:
            failures.append(failure.error.msg)
        if failures:
            raise cni.Failure(cni.TRY_AGAIN, f"ashore: GC left {len(failures)} behind: {'; '.join(failures)[:400]}")

    def status(self) -> None:
        """Raises cni.Failure when no ADD could be served; a dead DPU isn't meant, it fails each ADD with its reason."""
        if problem := self._around.gate() or self._around.devices.problem():
            raise cni.Failure(cni.NOT_AVAILABLE, f"ashore: {problem}")

    async def _pod(self, sandbox: results.Sandbox) -> objects.Pod:
        key = kube.ObjectKey(*sandbox.pod)

        def is_it(pod: objects.Pod | None) -> bool:
            return pod is not None and sandbox.pod_uid in ("", pod.metadata.uid, pod.metadata.annotations.get(MIRROR))

        try:
            pod = await self._around.pods.wait_for(key, is_it, timeout_s=POD_LIMIT_S)
        except TimeoutError as error:
            seen = self._around.pods.store.get(key)
            found = f"the API shows UID {seen.metadata.uid}" if seen else "the API shows no such pod on this node"
            text = f"ashore: pod {key} with UID {sandbox.pod_uid or '(any)'}: {found}"
            raise cni.Failure(cni.POD_NOT_FOUND, text) from error
        assert pod is not None  # noqa: S101 (is_it says so)
        return pod


_EVENTS = {
    cni.DPU_REFUSED: "DPURefused",
    cni.DPU_DOWN: "DPUDown",
    cni.NO_FREE_VF: "NoFreeVF",
    cni.NO_ADDRESS: "NoAddress",
    cni.WRONG_DEVICE: "WrongDevice",
    cni.HOST_PORT: "HostPortNotServed",
    cni.BAD_BANDWIDTH: "BadBandwidth",
}


def link_settings(plan: dpu_host.LinkPlan) -> netlink.LinkSettings:
    """A planned link in the kernel door's words."""
    return netlink.LinkSettings(
        name=plan.name, mac=plan.mac, mtu=plan.mtu, addresses=plan.addresses,
        routes=tuple(netlink.Route(route.dest, route.gateway, route.source) for route in plan.routes),
    )  # fmt: skip


async def _both(one: Coroutine[Any, Any, dpu_host.LinkPlan], other: Coroutine[Any, Any, None]) -> tuple[Any, Any]:
    """Both results; the first failure ends the other one (and waits for its end) and is raised."""
    tasks = (asyncio.ensure_future(one), asyncio.ensure_future(other))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = next((task for task in tasks if task.done() and task.exception()), None)
        if failed is not None:
            failed.result()
        return tasks[0].result(), tasks[1].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _failure(error: netlink.NetlinkError) -> cni.Failure:
    code = cni.IO_FAILURE
    if isinstance(error, netlink.NetnsMissing):
        code = cni.BAD_NETNS
    elif isinstance(error, netlink.LinkMissing):
        code = cni.DEVICE_LOST
    return cni.Failure(code, f"ashore: {error}")
