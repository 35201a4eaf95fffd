# SPDX-License-Identifier: Apache-2.0
"""A pod: its addresses in the ledger, in its annotation and on its port, and what its DPU says of it as Events."""

import time

import structlog

from ashore import kube, runtime
from ashore.api import net
from ashore.controller import keys, metrics, records, service_records
from ashore.controller.ledger import PodRecord
from ashore.controller.means import Means, both
from ashore.ipam.slots import REST_S, Exhausted, Rejected
from ashore.kube import objects
from ashore.topology.view import PodView

log = structlog.get_logger(__name__)


class Pods:
    """Reconciles one pod at a time; see ``Reign``."""

    def __init__(self, means: Means) -> None:
        self._pods = means.pods
        self._ledger = means.ledger
        self._book = means.book
        self._writer = means.writer
        self._writes = means.writes
        self._queue = means.queue
        self._now = means.now
        self._means = means
        self._waiting: dict[net.NodeName, dict[net.PodKey, None]] = {}
        self._waits_for: dict[net.PodKey, net.NodeName] = {}

    async def reconcile(self, key: net.PodKey) -> None:
        """Makes the world level for one pod. Retry, Refused: see there."""
        began = time.monotonic()
        seen = self._pods.store.get(kube.ObjectKey(*key))
        found = self._writes.newest(kube.PODS, seen) if seen else None
        record = records.pod_record(found) if found else None
        self._stop_waiting(key)
        await self._free_unless(key, record)
        if found is None:
            self._writes.forget(kube.PODS, kube.ObjectKey(*key))
            self._queue.forget(keys.PodKey(key))
        if found is None or record is None or self._ledger.node(record.node) is None:
            # A node that isn't there (yet), or that is another zone's: its arrival brings its pods with it.
            return
        view = self._ledger.pod(key)
        if view is None:
            if record.is_finished and not record.recorded:
                return
            view = await self._assign(found, record)
        self._book.put_pod(key, service_records.host_ports(found, view))
        # Both at once: the CNI waits for the annotation, the DPU for the port, and neither for the other.
        await both(
            self._writes.patch(kube.PODS, found, lambda now: _body(records.pod_notes(now, view))),
            self._writer.settle(keys.PodKey(key)),
        )
        metrics.POD_SECONDS.observe(time.monotonic() - began)

    async def tell(self, key: net.PodKey) -> None:
        """Publishes why a pod's DPU couldn't connect it."""
        found = self._pods.store.get(kube.ObjectKey(*key))
        if found is not None:
            for reason in records.faults(found):
                await self._event(found, "NetworkNotReady", reason)

    def free_later(self, node: net.NodeName) -> None:
        """An address of this node becomes free after its rest: those who wait for one look again then."""
        for key in self._waiting.get(node, ()):
            self._queue.add(keys.PodKey(key), after_s=REST_S)

    async def _free_unless(self, key: net.PodKey, record: PodRecord | None) -> None:
        """Lays down what an earlier pod of that name had, or what this one doesn't need any more."""
        held = self._ledger.pod(key)
        if held is None or (record is not None and (record.uid, record.node) == (held.uid, held.node)):
            return
        self._ledger.drop_pod(key, self._now())
        self._book.put_pod(key, None)
        log.info("pod-freed", pod=str(key), addresses=[str(a.ip) for a in held.addresses])
        self.free_later(held.node)
        await self._writer.settle(keys.PodKey(key))

    async def _assign(self, found: objects.Pod, record: PodRecord) -> PodView:
        if record.recorded:
            outcome = self._ledger.claim(record)
            if not isinstance(outcome, Rejected):
                return outcome
            await self._event(found, "AddressInvalid", f"{outcome.why}; a new address is given, recreate the pod")
        given = self._ledger.give(record, self._now())
        if isinstance(given, Rejected):
            raise runtime.Refused(f"pod {record.key}: {given.why}; it is given one when node-subnets is")
        if isinstance(given, Exhausted):
            self._wait(record)
            why = f"{given}; free pods of this node or use a shorter hostPrefix"
            await self._event(found, "NoAddress", why)
            log.warning("no-address", pod=str(record.key), why=str(given))
            # A resting address has its time; else the next pod that goes brings this one back.
            if given.free_at is not None:
                raise runtime.Retry(max(0.1, given.free_at - self._now()), f"pod {record.key}: {why}")
            raise runtime.Refused(f"pod {record.key}: {why}")
        log.info("pod-addressed", pod=str(record.key), addresses=[str(a.ip) for a in given.addresses])
        return given

    def _wait(self, record: PodRecord) -> None:
        self._waiting.setdefault(record.node, {})[record.key] = None
        self._waits_for[record.key] = record.node
        metrics.WAITING_PODS.set(len(self._waits_for))

    def _stop_waiting(self, key: net.PodKey) -> None:
        node = self._waits_for.pop(key, None)
        if node is not None:
            del self._waiting[node][key]
            metrics.WAITING_PODS.set(len(self._waits_for))

    async def _event(self, found: objects.Pod, reason: str, message: str) -> None:
        uid = found.metadata.uid
        await self._means.warn(objects.ObjectReference("v1", "Pod", *records.key_of(found), uid), reason, message)


def _body(notes: dict[str, str]) -> dict[str, object]:
    return {"metadata": {"annotations": notes}} if notes else {}
