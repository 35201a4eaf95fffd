# SPDX-License-Identifier: Apache-2.0
"""The strain itself: seeded random operations on the pods of a few nodes, or many pods at once."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ashore.lab import errors, faults, spec
from ashore.lab.demo import hands, pods
from ashore.lab.soak import traces

WARM_UP = 20
"""Operations before the first look: what a daemon takes once isn't a leak."""
MOST_PODS = 8
SETTLE_S = 150.0
READY_S = 300.0
_PAUSE_S = 2.0


class Wish(msgspec.Struct, frozen=True):
    """How much of what.

    ``operations`` or ``minutes`` of random operations; ``burst`` pods at once on the first node.
    """

    operations: int = 0
    minutes: float = 0
    burst: int = 0
    seed: int = 1
    with_faults: bool = True


class Report(msgspec.Struct, frozen=True):
    """What was done and what stayed behind. ``passed``: nothing did, and every pod became ready."""

    passed: bool
    seed: int
    done: Mapping[str, int]
    leaks: tuple[traces.Leak, ...]
    held: Mapping[str, tuple[traces.Held, traces.Held]]
    """By "node daemon": before and after."""
    seconds: float
    settle_seconds: float
    burst_ready_seconds: float | None = None
    problems: tuple[str, ...] = ()


class Lab(msgspec.Struct, frozen=True):
    """A lab in a soak's hands."""

    name: str
    hands: hands.Hands
    places: tuple[spec.Node, ...]

    @property
    def workers(self) -> tuple[spec.Node, ...]:
        """Nodes that pods run on."""
        return tuple(node for node in self.places if node.has_kubelet)


async def run(lab: Lab, wish: Wish, say: Callable[[str], None]) -> Report:
    """The strain from beginning to end. Raises hands.CommandFailed when the lab can't be asked."""
    story = _Story(lab, wish, say)
    await story.prepare()
    try:
        return await story.play()
    finally:
        await lab.hands.kubectl("delete", "namespace", traces.NAMESPACE, "--ignore-not-found", timeout_s=120)


class _Story:
    def __init__(self, lab: Lab, wish: Wish, say: Callable[[str], None]) -> None:
        self._lab = lab
        self._wish = wish
        self._say = say
        self._dice = random.Random(wish.seed)  # noqa: S311 (a story that can be told again)
        self._alive: dict[str, str] = {}
        self._done: Counter[str] = Counter()
        self._serial = 0
        self._problems: list[str] = []

    async def prepare(self) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": traces.NAMESPACE}}
        await self._apply(namespace)

    async def play(self) -> Report:
        for _ in range(WARM_UP):
            await self._one(with_faults=False)
        await self._empty()
        before = await self._at_rest()
        self._say(f"soak: warm after {WARM_UP} operations; seed {self._wish.seed}")
        began = time.monotonic()
        burst = await self._burst() if self._wish.burst else None
        while self._goes_on(began):
            await self._one(with_faults=self._wish.with_faults)
            if (count := self._done.total() - WARM_UP) % 50 == 0:
                self._say(f"soak: {count} operations after {time.monotonic() - began:.0f} s")
        took = time.monotonic() - began
        await self._empty()
        leaks, after, settle = await self._compared(before)
        held = {who: (before.held[who], after.held[who]) for who in sorted(before.held.keys() & after.held.keys())}
        return Report(
            passed=not leaks and not self._problems, seed=self._wish.seed, done=dict(sorted(self._done.items())),
            leaks=leaks, held=held, seconds=round(took, 1), settle_seconds=round(settle, 1),
            burst_ready_seconds=burst, problems=tuple(self._problems),
        )  # fmt: skip

    def _goes_on(self, began: float) -> bool:
        if self._wish.minutes:
            return time.monotonic() - began < self._wish.minutes * 60
        return self._done.total() - WARM_UP < self._wish.operations

    async def _one(self, *, with_faults: bool) -> None:
        """One operation, chosen by the dice from what makes sense now."""
        choices: list[tuple[int, Callable[[], Any]]] = []
        if len(self._alive) < MOST_PODS:
            choices.append((40, self._create))
        if self._alive:
            choices += [(30, self._delete), (10, self._replace), (6, self._wait)]
            if with_faults:
                choices.append((4, self._kill_sandbox))
        if with_faults:
            choices.append((8, self._kill_daemon))
        weights = [weight for weight, _ in choices]
        await self._dice.choices([act for _, act in choices], weights)[0]()

    async def _create(self) -> None:
        self._serial += 1
        name, node = f"p{self._serial}", self._dice.choice(self._lab.workers).name
        await self._make(name, node)
        self._done["create"] += 1

    async def _make(self, name: str, node: str) -> None:
        manifest = pods.manifest(pods.Place(name, node))
        manifest["metadata"]["namespace"] = traces.NAMESPACE
        await self._apply(manifest)
        self._alive[name] = node

    async def _delete(self) -> None:
        name = self._dice.choice(sorted(self._alive))
        how = self._dice.choice((("--wait=false",), ("--force", "--grace-period=0", "--wait=false")))
        await self._kubectl("delete", "pod", name, *how)
        del self._alive[name]
        self._done["delete"] += 1

    async def _replace(self) -> None:
        """The same name with a new UID, as fast as the API lets it."""
        name = self._dice.choice(sorted(self._alive))
        node = self._dice.choice(self._lab.workers).name
        await self._kubectl("delete", "pod", name, "--wait=true", "--timeout=60s", timeout_s=70)
        await self._make(name, node)
        self._done["replace"] += 1

    async def _wait(self) -> None:
        """Everything that is there becomes ready."""
        names = sorted(self._alive)
        limit = f"--timeout={READY_S:.0f}s"
        try:
            await self._kubectl("wait", "--for=condition=Ready", limit, "pod", *names, timeout_s=READY_S + 10)
        except hands.CommandFailed as error:
            self._problems.append(str(error)[:400])
        self._done["all ready"] += 1

    async def _kill_daemon(self) -> None:
        """An agent or ovn-controller dies; its supervisor starts it again."""
        targets = [(node.name, "ashore-agent") for node in self._lab.places if node.mode in ("dpu", "dpu-host", "full")]
        targets += [(node.name, "ovn-controller") for node in self._lab.places if node.has_ovs]
        node, daemon = self._dice.choice(targets)
        try:
            await asyncio.to_thread(faults.kill_daemon, self._lab.name, node, daemon)
        except errors.LabError:
            return  # it was being started again after the last time
        self._done[f"kill {daemon}"] += 1

    async def _kill_sandbox(self) -> None:
        """A pod's sandbox dies under it; the kubelet makes another one."""
        name = self._dice.choice(sorted(self._alive))
        ctr = ("ctr", "-a", "/run/containerd/containerd.sock", "-n", "k8s.io")
        labels = f'labels."io.kubernetes.pod.name"=={name},labels."io.cri-containerd.kind"==sandbox'
        node = self._alive[name]
        found = (await self._lab.hands.inside(node, *ctr, "containers", "ls", "-q", labels)).split()
        for sandbox in found:
            try:
                await self._lab.hands.inside(node, *ctr, "tasks", "kill", "-s", "SIGKILL", sandbox)
                self._done["kill sandbox"] += 1
            except hands.CommandFailed:
                continue  # it isn't started yet, or gone already

    async def _burst(self) -> float:
        """Many pods at once on the first node; the seconds until all are ready."""
        node, began = self._lab.workers[0].name, time.monotonic()
        manifests = []
        for index in range(self._wish.burst):
            manifest = pods.manifest(pods.Place(f"burst-{index}", node))
            manifest["metadata"]["namespace"] = traces.NAMESPACE
            manifests.append(manifest)
            self._alive[f"burst-{index}"] = node
        await self._apply({"apiVersion": "v1", "kind": "List", "items": manifests})
        await self._wait()
        self._done["burst"] += self._wish.burst
        took = round(time.monotonic() - began, 1)
        self._say(f"soak: {self._wish.burst} pods on {node} ready after {took} s")
        return took

    async def _empty(self) -> None:
        await self._kubectl("delete", "pod", "--all", "--wait=true", "--timeout=300s", timeout_s=310)
        self._alive.clear()

    async def _at_rest(self) -> traces.Traces:
        """The traces once two looks in a row see the same."""
        last = await self._look()
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            await asyncio.sleep(_PAUSE_S)
            now = await self._look()
            if now.things == last.things:
                return now
            last = now
        return last

    async def _compared(self, before: traces.Traces) -> tuple[tuple[traces.Leak, ...], traces.Traces, float]:
        began = time.monotonic()
        while True:
            after = await self._look()
            leaks = traces.compare(before, after)
            if not leaks or time.monotonic() - began > SETTLE_S:
                return leaks, after, time.monotonic() - began
            await asyncio.sleep(_PAUSE_S)

    async def _look(self) -> traces.Traces:
        return await traces.look(self._lab.hands, self._lab.name, self._lab.places)

    async def _kubectl(self, *words: str, timeout_s: float = 60) -> str:
        return await self._lab.hands.kubectl("-n", traces.NAMESPACE, *words, timeout_s=timeout_s)

    async def _apply(self, thing: Mapping[str, Any]) -> None:
        await self._lab.hands.kubectl("apply", "-f", "-", stdin=json.dumps(thing))
