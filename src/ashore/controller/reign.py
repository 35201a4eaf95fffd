# SPDX-License-Identifier: Apache-2.0
"""One term of leadership: events say which keys to look at, looking makes the world level for that key."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Never

import msgspec
import structlog

from ashore import kube, ovsdb, runtime
from ashore.api import names, net
from ashore.controller import (
    api,
    config_key,
    keys,
    means,
    metrics,
    node_key,
    pod_key,
    records,
    service_key,
    service_records,
    zone,
)
from ashore.controller.ledger import Ledger, NodeRecord
from ashore.controller.service_book import ServiceBook
from ashore.kube import objects

log = structlog.get_logger(__name__)

PRUNE_S = 60.0
WORKERS = 16


@dataclass(frozen=True)
class Doors:
    """What the controller sees and writes through. A standby keeps them open and warm."""

    api: kube.Client
    nodes: kube.Informer[objects.Node]
    pods: kube.Informer[objects.Pod]
    configs: kube.Informer[objects.NetworkConfig]
    services: kube.Informer[objects.Service]
    slices: kube.Informer[objects.EndpointSlice]
    northbound: ovsdb.Client

    @property
    def informers(self) -> tuple[kube.Informer[Any], ...]:
        """All watches of the API."""
        return self.nodes, self.pods, self.configs, self.services, self.slices

    async def synced(self) -> None:
        """Returns when everything is loaded: nothing is planned, let alone pruned, before."""
        for informer in self.informers:
            await informer.synced.wait()
        await self.northbound.synced()


class Reign:
    """The leader's work, from winning the lease to losing it."""

    def __init__(self, doors: Doors, term: runtime.Term, *, zone_name: str = names.ZONE) -> None:
        self.doors = doors
        self.term = term
        self.ledger = Ledger(zone_name)
        self.book = ServiceBook(zone_name)
        self.queue: runtime.WorkQueue[keys.Key] = runtime.WorkQueue()
        self._zone = zone_name
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Leads until cancelled. Raises NotLeader when it must not write any more."""
        await self.doors.synced()
        # The epoch is read before the check: whoever was paused in between can't take it from a later leader.
        epoch = await ovsdb.read_epoch(self.doors.northbound)
        self.term.check()
        try:
            fence = await ovsdb.take_epoch(self.doors.northbound, epoch)
        except ovsdb.Fenced as error:
            raise runtime.NotLeader(str(error)) from error
        self.writes = api.Writes(self.doors.api, self.term.check)
        self.writer = zone.ZoneWriter(
            self.doors.northbound, lambda: self.ledger.view, fence=fence, check=self.term.check, services=self.book
        )  # fmt: skip
        parts = means.Means(
            nodes=self.doors.nodes,
            pods=self.doors.pods,
            services=self.doors.services,
            slices=self.doors.slices,
            ledger=self.ledger,
            book=self.book,
            writer=self.writer,
            writes=self.writes,
            queue=self.queue,
        )
        self.pods = pod_key.Pods(parts)
        self.nodes = node_key.Nodes(parts)
        self.services = service_key.Services(parts)
        metrics.LEADING.set(1)
        try:
            with self._subscribed():
                self.queue.add(keys.ConfigKey())
                await self._work()
        finally:
            metrics.LEADING.set(0)

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.writer.run())
                group.create_task(self.queue.run(self._look, workers=WORKERS))
                group.create_task(self._tick())
                group.create_task(self._end())
        except* runtime.NotLeader as errors:
            raise runtime.NotLeader(str(errors.exceptions[0])) from errors

    async def _tick(self) -> Never:
        while True:
            await asyncio.sleep(PRUNE_S)
            self.queue.add(keys.WholeZone(self._zone))
            metrics.QUEUE_LENGTH.set(len(self.queue))
            metrics.PROBLEMS.set(len(self.queue.problems))

    async def _end(self) -> Never:
        await self._over.wait()
        raise runtime.NotLeader("the term is over")

    async def _look(self, key: keys.Key) -> None:
        try:
            await self._reconcile(key)
        except runtime.NotLeader as error:
            # Not this key's problem: the whole term ends.
            self._over.set()
            raise runtime.Retry(PRUNE_S, str(error)) from error

    async def _reconcile(self, key: keys.Key) -> None:
        if isinstance(key, keys.ConfigKey):
            await self._reconcile_config()
            return
        if self.ledger.settings is None:
            # No settings yet: all keys are added when there are some.
            return
        match key:
            case keys.NodeKey(node):
                await self.nodes.reconcile(node)
            case keys.PodKey(pod):
                await self.pods.reconcile(pod)
            case keys.EventKey(pod):
                await self.pods.tell(pod)
            case keys.ServiceKey(service):
                await self.services.reconcile(service)
            case keys.ReachKey():
                await self.writer.settle(key)
            case keys.WholeZone():
                await self.writer.settle_all()
        metrics.NODES.set(len(self.ledger.view.nodes))
        metrics.PODS.set(len(self.ledger.view.pods))

    async def _reconcile_config(self) -> None:
        found = self.doors.configs.store.get(kube.ObjectKey("", "default"))
        if found is None:
            if self.ledger.settings is None:
                log.warning("no-network-config", remedy="create the NetworkConfig named default")
            return
        found = self.writes.newest(kube.NETWORK_CONFIGS, found)
        shares = self.ledger.shares.values() if self.ledger.settings else (r.recorded for r in self._node_records())
        verdict = config_key.judge(found, shares)
        # The record of what holds comes first: a restart in between must not take a later spec instead.
        await self.writes.patch(kube.NETWORK_CONFIGS, found, lambda now: _status_body(now, verdict))
        if verdict.settings is not None and verdict.settings != self.ledger.settings:
            await self._begin(verdict)

    async def _begin(self, verdict: config_key.Verdict) -> None:
        assert verdict.settings is not None  # noqa: S101 (the caller looked)
        # What we wrote last counts, also where the watch doesn't show it yet.
        seen = [self.writes.newest(kube.PODS, pod) for pod in self.doors.pods.store.values()]
        pods = filter(None, map(records.pod_record, seen))
        problems = self.ledger.begin(verdict.settings, self._node_records(), pods)
        for what, why in problems.items():
            log.warning("record-does-not-stand", object=what, why=why)
        texts = zone.stale_addresses(self.doors.northbound.replica)
        self.ledger.rest(map(ipaddress.ip_address, texts), asyncio.get_running_loop().time())
        self.book.begin(self.ledger.view)
        for pod in seen:
            key = records.key_of(pod)
            self.book.put_pod(key, service_records.host_ports(pod, self.ledger.pod(key)))
        self.services.begin()
        await self.writer.settle_all()
        for node in self.doors.nodes.store:
            self.queue.add(keys.NodeKey(net.NodeName(node.name)))
        for pod in self.doors.pods.store.values():
            self._pod_changed(None, pod)
        log.info("in-force", networks=[str(n.cidr) for n in verdict.settings.cluster_networks])

    def _node_records(self) -> list[NodeRecord]:
        seen = [self.writes.newest(kube.NODES, node) for node in self.doors.nodes.store.values()]
        found = (records.node_record(node, self._zone) for node in seen)
        return [record for record in found if record is not None]

    @contextlib.contextmanager
    def _subscribed(self) -> Iterator[None]:
        ends: list[Callable[[], None]] = [
            self.doors.nodes.subscribe(self._node_changed),
            self.doors.pods.subscribe(self._pod_changed),
            self.doors.configs.subscribe(lambda _old, _new: self.queue.add(keys.ConfigKey())),
            self.doors.services.subscribe(self.services.service_changed),
            self.doors.slices.subscribe(self.services.slice_changed),
            self.doors.northbound.subscribe_state(self._northbound_changed),
        ]
        try:
            yield
        finally:
            for end in ends:
                end()

    def _node_changed(self, old: objects.Node | None, new: objects.Node | None) -> None:
        for node in (old, new):
            if node is not None:
                self.queue.add(keys.NodeKey(net.NodeName(node.metadata.name)))

    def _pod_changed(self, old: objects.Pod | None, new: objects.Pod | None) -> None:
        for pod in (old, new):
            if pod is not None and pod.spec.node_name and not pod.spec.host_network:
                self.queue.add(keys.PodKey(records.key_of(pod)))
        if new is not None and records.faults(new) and (old is None or records.faults(old) != records.faults(new)):
            self.queue.add(keys.EventKey(records.key_of(new)))

    def _northbound_changed(self, is_up: bool) -> None:  # noqa: FBT001 (the door's callback)
        # Nobody knows what the database went through meanwhile: it may be an older copy, or a new one.
        if is_up and self.ledger.settings is not None:
            self.queue.add(keys.WholeZone(self._zone))


def _status_body(found: objects.NetworkConfig, verdict: config_key.Verdict) -> dict[str, object]:
    wanted = config_key.status_of(found, verdict, dt.datetime.now(dt.UTC))
    if wanted == found.status:
        return {}
    return {"status": {"inForce": None, **msgspec.to_builtins(wanted)}}
