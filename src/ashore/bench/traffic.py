# SPDX-License-Identifier: Apache-2.0
"""Throughput and round trips between pods on one node and across nodes."""

import contextlib
import itertools
from collections.abc import Callable, Sequence

from ashore.bench import figures, sandboxes, workload

PINGS = 200

End = tuple[sandboxes.Node, workload.BenchPod]


async def measure(
    hosts: Sequence[sandboxes.Node], pods: workload.Workload, seconds: float, say: Callable[[str], None]
) -> tuple[figures.Way, ...]:
    """Within the first node of each mode and between every two kinds of nodes, one way after another."""
    found = []
    async with contextlib.AsyncExitStack() as stack:
        ends: list[End] = []
        for node in hosts:
            # Two on each node, so that "same node" is among the pairs.
            made = await stack.enter_async_context(sandboxes.bound(node, pods, 2))
            await sandboxes.execute(node, made, "ADD")
            ends += [(node, pod) for pod in made]
        seen: set[str] = set()
        for one, other in itertools.combinations(ends, 2):
            way = describe(one[0], other[0])
            if way in seen:
                continue
            seen.add(way)
            say(f"traffic: {way} …")
            found += [await _way(way, one, other, ip, seconds) for ip in other[1].ips]
    return tuple(found)


def describe(one: sandboxes.Node, other: sandboxes.Node) -> str:
    """What two pods have between them."""
    if one.host.name == other.host.name:
        return f"{one.mode}, same node"
    return f"{one.mode} → {other.mode}"


async def _way(way: str, one: End, other: End, ip: str, seconds: float) -> figures.Way:
    (client_node, client), (server_node, server) = one, other
    pings = await client_node.host.ask("ping", netns=client.netns, ip=ip, count=PINGS, within_s=PINGS + 10)
    port = await server_node.host.ask("serve", netns=server.netns, ip=ip)
    rate = await client_node.host.ask(
        "stream", netns=client.netns, ip=ip, port=port, seconds=seconds, within_s=seconds + 30
    )
    return figures.Way(
        way=way, family="IPv6" if ":" in ip else "IPv4", mbit_per_s=round(rate),
        ping_p50_ms=round(figures.percentile(pings, 50), 3) if pings else 0.0,
        ping_max_ms=round(max(pings), 3) if pings else 0.0, lost=PINGS - len(pings),
    )  # fmt: skip
