# SPDX-License-Identifier: Apache-2.0
"""The half of an agent that pods' namespaces are on: CNI server, device pool, management port."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import structlog

from ashore import kube, netlink, runtime
from ashore.agent import agent_metrics, attach, cni_server, devices, install, node_host, peer, settings
from ashore.kube import objects

log = structlog.get_logger(__name__)
SOCKET = "cni.sock"
COMPONENT = "ashore-agent"


class Sources(msgspec.Struct, frozen=True):
    """What a node's agent watches at the API, each run by whoever made it."""

    api: kube.Client
    pods: kube.Informer[objects.Pod]
    nodes: kube.Informer[objects.Node]
    configs: kube.Informer[objects.NetworkConfig]

    @classmethod
    def of(cls, api: kube.Client, node: str) -> "Sources":
        """The sources of one node: its own pods only."""
        return cls(
            api,
            kube.Informer(api, kube.PODS, field_selector=f"spec.nodeName={node}"),
            kube.Informer(api, kube.NODES, field_selector=f"metadata.name={node}"),
            kube.Informer(api, kube.NETWORK_CONFIGS),
        )


class Parts(msgspec.Struct, frozen=True):
    """What differs between modes in this half."""

    management: node_host.FindsManagement
    pool: devices.Devices
    peer: peer.Peer


class HostHalf:
    """Composes the half; ``run`` it beside its sources."""

    def __init__(self, given: settings.Settings, sources: Sources, kernel: netlink.Kernel, parts: Parts) -> None:
        self._given = given
        self._sources = sources
        self._told: set[asyncio.Task[None]] = set()
        informers = node_host.Informers(sources.nodes, sources.configs, sources.api)
        self.node = node_host.NodeHost(given.node, informers, kernel, parts.management, lambda: parts.pool)
        self._around = attach.Surroundings(
            pods=sources.pods, kernel=kernel, devices=parts.pool, peer=parts.peer,
            mtu=self.node.mtu, gate=self.gate, tell=self._tell,
        )  # fmt: skip
        self._attach = attach.Attach(self._around)
        self._server = cni_server.CniServer(given.state_dir / SOCKET, self._attach.handle)
        self._sweeps: runtime.WorkQueue[str] = runtime.WorkQueue()

    def gate(self) -> str:
        """Why no request can be served, "" when they can."""
        if not self._sources.pods.synced.is_set():
            return f"the API isn't reached yet: {self._sources.pods.statistics.last_failure or 'first list under way'}"
        return self.node.gate()

    def tasks(self) -> tuple[Coroutine[Any, Any, None], ...]:
        """Everything that runs as long as the half does."""
        return (self.node.run(), self._server.run(), self._follow_links(), self._sweep(), self._offer())

    async def _follow_links(self) -> None:
        def changed() -> None:
            self.node.look_soon()
            self._sweeps.add("all", after_s=node_host.SETTLE_S)

        await netlink.watch(changed)

    async def _sweep(self) -> None:
        await self._sources.pods.synced.wait()
        self._sources.pods.subscribe(lambda _old, new: self._sweeps.add("all", after_s=1) if new is None else None)

        async def sweep(_key: str) -> None:
            await node_host.sweep(self._around, self._attach)
            free = self._around.devices.free()
            if free is not None:
                agent_metrics.FREE_DEVICES.set(free)

        await self._sweeps.run(sweep)

    async def _offer(self) -> None:
        """The runtime learns of us once we can serve; what it knows stays when we go."""
        await self._sources.pods.synced.wait()
        await self.node.ready.wait()
        given = self._given
        program = install.compiled()
        install.install(given.cni_bin_dir, given.cni_conf_dir, given.state_dir / SOCKET, program=program)
        log.info(
            "cni-installed",
            compiled=program is not None,
            bin_dir=str(given.cni_bin_dir),
            conf_dir=str(given.cni_conf_dir),
        )

    def _tell(self, pod: objects.Pod, reason: str, message: str) -> None:
        """Publish an Event without making the runtime wait for it."""
        meta = pod.metadata
        regarding = objects.ObjectReference(
            api_version="v1", kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid
        )

        async def publish() -> None:
            try:
                await kube.publish_event(
                    self._sources.api, regarding=regarding, reason=reason, message=message, type_="Warning",
                    component=COMPONENT,
                )  # fmt: skip
            except kube.ApiError as error:
                agent_metrics.EVENTS_LOST.inc()
                log.warning("event-lost", pod=f"{meta.namespace}/{meta.name}", reason=reason, why=str(error))

        task = asyncio.ensure_future(publish())
        self._told.add(task)
        task.add_done_callback(self._told.discard)
