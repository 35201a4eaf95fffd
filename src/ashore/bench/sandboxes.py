# SPDX-License-Identifier: Apache-2.0
"""Pods with the network namespaces that a runtime would have made for them, on one node."""

import contextlib
from collections.abc import AsyncIterator, Sequence

import msgspec

from ashore.bench import place, workload
from ashore.lab import errors


class Node(msgspec.Struct, frozen=True):
    """A node that pods run on and the place where its switch is (itself on a full node)."""

    lab: str
    mode: str
    host: place.Place
    switch: place.Place


@contextlib.asynccontextmanager
async def bound(node: Node, pods: workload.Workload, count: int) -> AsyncIterator[tuple[workload.BenchPod, ...]]:
    """Pods with addresses and empty network namespaces; both are gone, and unplugged, at the end."""
    made = await pods.bound(node.host.name, count)
    await node.host.ask("make", names=[pod.netns for pod in made])
    try:
        yield made
    finally:
        await node.host.ask("run", jobs=[pod.job("DEL") for pod in made])
        await node.host.ask("drop", names=[pod.netns for pod in made])
        await pods.delete([pod.name for pod in made])


async def execute(node: Node, pods: Sequence[workload.BenchPod], command: str) -> list[float]:
    """Milliseconds of the plugin's command for each pod, all at once.

    Raises:
        NotWell: one of them failed.
    """
    done = await node.host.ask("run", jobs=[pod.job(command) for pod in pods])
    if failure := next((entry["failure"] for entry in done if entry["failure"]), ""):
        raise errors.NotWell(f"bench on {node.host.name}: {command} failed: {failure}")
    return [entry["took_ms"] for entry in done]
