# SPDX-License-Identifier: Apache-2.0
"""The bench's pods: such as only we plug, and such as Kubernetes runs.

A pod that only we plug is bound to its node and gets its address and its logical port as any other, but mounts a secret
that doesn't exist: its kubelet waits for that before it makes a sandbox, so no runtime plugs it beside us.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from ashore import kube
from ashore.api import annotations
from ashore.kube import objects
from ashore.lab import errors
from ashore.lab.demo import pods as demo_pods

NAMESPACE = "ashore-bench"
LABEL = "ashore-bench"
LIMIT_S = 60.0


class BenchPod(msgspec.Struct, frozen=True):
    """A pod with its addresses; ``sandbox`` and ``netns`` are what a runtime would have made up for it."""

    name: str
    uid: str
    sandbox: str
    netns: str
    ips: tuple[str, ...]

    def job(self, command: str) -> dict[str, str]:
        """One execution of the plugin, in ``onnode``'s words."""
        return {
            "command": command, "namespace": NAMESPACE, "pod": self.name, "uid": self.uid,
            "sandbox": self.sandbox, "netns": self.netns,
        }  # fmt: skip


class Workload:
    """Makes pods of one run and forgets none."""

    def __init__(self, api: kube.Client, run: str) -> None:
        self._api = api
        self._run = run
        self._made: set[str] = set()
        self._pods = kube.Informer(api, kube.PODS, namespace=NAMESPACE, label_selector=f"{LABEL}={run}")

    async def bound(self, node: str, count: int) -> tuple[BenchPod, ...]:
        """Pods that only we plug, each with its addresses."""
        return tuple(await asyncio.gather(*(self._bound(node) for _ in range(count))))

    async def _bound(self, node: str) -> BenchPod:
        never = {"name": "never", "secret": {"secretName": "there-is-no-such-secret"}}
        # A kubelet waits for those volumes alone that a container mounts.
        pod = await self._create({"nodeName": node, "volumes": [never]}, [{"name": "never", "mountPath": "/never"}])
        told = await self._wait(pod, lambda now: annotations.POD_NETWORKS in now.metadata.annotations, "an address")
        networks = annotations.decode_pod_networks(told.metadata.annotations[annotations.POD_NETWORKS])
        ips = tuple(text.partition("/")[0] for text in networks["default"].ip_addresses)
        sandbox = uuid.uuid4().hex + uuid.uuid4().hex
        return BenchPod(pod.metadata.name, pod.metadata.uid, sandbox, f"bench-{sandbox[:12]}", ips)

    async def ready_ms(self, node: str) -> float:
        """From the request that creates a pod to the watch that shows it Ready; the scheduler and all others work."""
        began = time.perf_counter()
        pod = await self._create({"nodeSelector": {"kubernetes.io/hostname": node}})
        await self._wait(pod, _is_ready, "Ready")
        took_s = time.perf_counter() - began
        await self.delete([pod.metadata.name])
        return took_s * 1000

    async def delete(self, names: Sequence[str]) -> None:
        """These pods are gone from the API."""
        for name in names:
            with contextlib.suppress(kube.NotFound):
                await self._api.delete(kube.PODS, name, NAMESPACE, grace_s=0)
            self._made.discard(name)

    async def _create(self, spec: dict[str, Any], mounts: Sequence[dict[str, str]] = ()) -> objects.Pod:
        name = f"bench-{uuid.uuid4().hex[:8]}"
        container = {
            "name": "c", "image": demo_pods.IMAGE, "imagePullPolicy": "Never", "command": ["/bin/probe", "serve"],
            "volumeMounts": mounts,
        }  # fmt: skip
        body = {
            "metadata": {"name": name, "namespace": NAMESPACE, "labels": {LABEL: self._run}},
            "spec": {
                "terminationGracePeriodSeconds": 0, "dnsPolicy": "Default", "automountServiceAccountToken": False,
                "containers": [container], **spec,
            },
        }  # fmt: skip
        self._made.add(name)
        # A mapping goes to the API as it is; what comes back has the parts that we know.
        return await self._api.create(kube.PODS, body, NAMESPACE)

    async def _wait(self, pod: objects.Pod, is_it: Any, what: str) -> objects.Pod:
        key = kube.key_of(pod)
        try:
            now = await self._pods.wait_for(key, lambda seen: seen is not None and is_it(seen), timeout_s=LIMIT_S)
        except TimeoutError as error:
            text = f"bench: pod {key} isn't {what} after {LIMIT_S:g} s; `ashore lab status` may tell why"
            raise errors.NotWell(text) from error
        assert now is not None  # noqa: S101 (the predicate says so)
        return now

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Workload"]:
        """Follows the pods while the context lasts and deletes them at its end."""
        with contextlib.suppress(kube.AlreadyExists):
            await self._api.create(kube.NAMESPACES, {"metadata": {"name": NAMESPACE}})
        accounts = kube.Informer(self._api, kube.SERVICE_ACCOUNTS, namespace=NAMESPACE)
        following = [asyncio.create_task(accounts.run()), asyncio.create_task(self._pods.run())]
        try:
            # No pod is admitted before its namespace has its account.
            account = kube.ObjectKey(NAMESPACE, "default")
            await accounts.wait_for(account, lambda seen: seen is not None, timeout_s=LIMIT_S)
            yield self
        finally:
            await self.delete(tuple(self._made))
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)


def _is_ready(pod: objects.Pod) -> bool:
    return any(entry.type == "Ready" and entry.status == "True" for entry in pod.status.conditions)
