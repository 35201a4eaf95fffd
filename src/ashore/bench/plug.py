# SPDX-License-Identifier: Apache-2.0
"""``ashore bench plug``: how long pods take to be plugged, node by node; what our processes weigh; how pods talk."""

import asyncio
import contextlib
import pathlib
import time
import uuid
from collections.abc import Callable, Sequence

import msgspec

from ashore import kube
from ashore.bench import figures, place, sandboxes, traffic, workload
from ashore.lab import errors, faults, spec, status, world
from ashore.lab.demo import hands

RESTARTS = 3
ADD_LIMIT_S = 30.0
OURS = ("ashore-agent", "ovn-controller", "ovs-vswitchd", "ovsdb-server")
_TICKS = 100
"""USER_HZ, which /proc counts in on every architecture that we know."""

Say = Callable[[str], None]


class Wanted(msgspec.Struct, frozen=True):
    """How much is measured."""

    n: int
    concurrent: int
    seconds: float
    """Of each TCP stream."""


def run(name: str, wanted: Wanted, say: Say) -> figures.Report:
    """All figures of a running lab.

    Raises:
        LabError: it can't be measured: there is no such lab, none of its nodes runs pods, a daemon doesn't answer.
        NotWell: it can't do what is measured.
    """
    _folders, record = world.find(name)
    places = spec.nodes(record.shape)
    if not record.shape.agents or not any(node.has_kubelet for node in places):
        raise errors.LabError(f"lab {name} has no node with an agent; `ashore lab up --name NAME --pairs 2`")
    return asyncio.run(_run(name, places, wanted, say))


async def _run(name: str, places: Sequence[spec.Node], wanted: Wanted, say: Say) -> figures.Report:
    lab = hands.of_lab(name)
    say(f"lab {name}: entering its nodes …")
    async with contextlib.AsyncExitStack() as stack:
        entered = {}
        for node in places:
            if node.has_kubelet or node.mode == "dpu":
                entered[node.name] = await stack.enter_async_context(place.entered(node.name, lab.enter[node.name]))
        api = await stack.enter_async_context(kube.Client.from_kubeconfig(lab.kubeconfig))
        pods = await stack.enter_async_context(workload.Workload(api, uuid.uuid4().hex[:8]).running())
        hosts = [
            sandboxes.Node(
                name, node.mode, entered[node.name], entered[f"dpu-{node.index}" if node.pair else node.name]
            )
            for node in places
            if node.has_kubelet
        ]
        modes: dict[str, figures.Plugging] = {}
        for host in hosts:
            if host.mode not in modes:
                modes[host.mode] = await _Bench(host, pods, wanted, say).measure()
        ways = await traffic.measure(hosts, pods, wanted.seconds, say)
    mode = next(iter(modes))
    first = modes[mode]
    return figures.Report(
        name=name, mode=mode, add=first.add, delete=first.delete, ready=first.ready,
        concurrent_add=first.concurrent_add, concurrent=wanted.concurrent, rss_mb=_memory(name), modes=modes,
        traffic=ways,
    )  # fmt: skip


class _Bench:
    """What is measured on one node."""

    def __init__(self, node: sandboxes.Node, pods: workload.Workload, wanted: Wanted, say: Say) -> None:
        self._node = node
        self._pods = pods
        self._wanted = wanted
        self._say = say

    async def measure(self) -> figures.Plugging:
        node, wanted = self._node, self._wanted
        self._say(f"{node.host.name} ({node.mode}): {wanted.n} pods one after another …")
        add, delete = await self._sequential()
        self._say(f"{node.host.name} ({node.mode}): {wanted.concurrent} pods at once …")
        concurrent_add, concurrent_del = await self._concurrent()
        self._say(f"{node.host.name} ({node.mode}): pods that Kubernetes runs …")
        ready = figures.timing([await self._pods.ready_ms(node.host.name) for _ in range(wanted.n)])
        self._say(f"{node.host.name} ({node.mode}): restarts of the agent …")
        return figures.Plugging(
            node=node.host.name, add=add, delete=delete, concurrent_add=concurrent_add,
            concurrent_del=concurrent_del, ready=ready, restart=await self._restart(),
        )  # fmt: skip

    async def _sequential(self) -> tuple[figures.Timing, figures.Timing]:
        adds, deletes = [], []
        async with sandboxes.bound(self._node, self._pods, self._wanted.n) as pods:
            for pod in pods:
                adds.append(await self._timed([pod], "ADD"))
                deletes.append(await self._timed([pod], "DEL"))
        return (
            figures.timing([took for (took,), _ in adds], [phases for _, phases in adds]),
            figures.timing([took for (took,), _ in deletes], [phases for _, phases in deletes]),
        )

    async def _concurrent(self) -> tuple[figures.Timing, figures.Timing]:
        adds, deletes = [], []
        left = self._wanted.n
        while left > 0:
            async with sandboxes.bound(self._node, self._pods, self._wanted.concurrent) as pods:
                adds.append(await self._timed(pods, "ADD"))
                deletes.append(await self._timed(pods, "DEL"))
            left -= self._wanted.concurrent
        return (
            figures.timing([ms for took, _ in adds for ms in took], [phases for _, phases in adds]),
            figures.timing([ms for took, _ in deletes for ms in took], [phases for _, phases in deletes]),
        )

    async def _timed(self, pods: Sequence[workload.BenchPod], command: str) -> tuple[list[float], dict[str, float]]:
        """Times of one command for each pod, all at once, and the mean of their phases."""
        node = self._node
        before = await node.host.spent(), await node.switch.spent()
        took = await sandboxes.execute(node, pods, command)
        host, switch = (await node.host.spent()).since(before[0]), (await node.switch.spent()).since(before[1])
        mean = sum(took) / len(took)
        if command == "ADD":
            return took, figures.split_add(mean, host, switch)
        return took, figures.split_delete(mean, host)

    async def _restart(self) -> figures.Restart:
        node = self._node
        from_kill, from_start = [], []
        async with sandboxes.bound(node, self._pods, RESTARTS) as pods:
            for pod in pods:
                killed_s = time.clock_gettime(time.CLOCK_BOOTTIME)
                await asyncio.to_thread(faults.kill_daemon, node.lab, node.host.name, "ashore-agent")
                done = await node.host.ask("persist", job=pod.job("ADD"), limit_s=ADD_LIMIT_S, within_s=2 * ADD_LIMIT_S)
                if done["failure"]:
                    raise errors.NotWell(
                        f"bench on {node.host.name}: no ADD within {ADD_LIMIT_S:g} s of a restart: {done['failure']}"
                    )
                from_kill.append((done["ended_s"] - killed_s) * 1000)
                from_start.append((done["ended_s"] - await asyncio.to_thread(_started_s, node)) * 1000)
        return figures.Restart(figures.timing(from_kill), figures.timing(from_start))


def _started_s(node: sandboxes.Node) -> float:
    """When the node's agent was started, seconds since the machine's boot."""
    place_now = next(found for found in status.look(node.lab).nodes if found.name == node.host.name)
    pid = next(entry.pid for entry in place_now.daemons if entry.name == "ashore-agent")
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
    return int(fields[19]) / _TICKS


def _memory(name: str) -> dict[str, dict[str, float]]:
    found = {}
    for node in status.look(name).nodes:
        mine = {entry.name: entry.rss_mb for entry in node.daemons if entry.name in OURS}
        if mine:
            found[node.name] = mine | {"total": round(sum(mine.values()), 1)}
    return found
