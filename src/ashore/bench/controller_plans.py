# SPDX-License-Identifier: Apache-2.0
"""What planning costs at a cluster's size: the controller's own steps on generated nodes and pods, without doors."""

import collections
import concurrent.futures
import functools
import ipaddress
import multiprocessing
import pathlib
import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ashore import ovsdb
from ashore.api import config, names, net
from ashore.bench import figures
from ashore.controller import keys, ledger, service_book, zone
from ashore.ipam.nodes import NodeShare
from ashore.ipam.slots import Exhausted, Rejected
from ashore.ovsdb import values
from ashore.schema import nb, row
from ashore.topology.view import GatewayView

T = TypeVar("T")

SPEC = config.NetworkConfigSpec(
    cluster_networks=(config.ClusterNetwork("10.0.0.0/8", 24), config.ClusterNetwork("fd00:10::/48", 64)),
    service_cidrs=("172.16.0.0/16", "fd00:172::/112"),
)


class Report(msgspec.Struct, frozen=True):
    """One run, in milliseconds of CPU time and MB."""

    nodes: int
    pods: int
    account_ms: float
    """From records to the ledger, with addresses for every pod."""
    full_plan_ms: float
    """Everything planned and compared with an empty database."""
    operations: int
    unchanged_plan_ms: float
    """Everything planned and compared with a database that is as planned: the prune tick."""
    pod_added: figures.Timing
    pod_changed: figures.Timing
    """Another MAC: the port is updated in place."""
    pod_removed: figures.Timing
    peak_mb: float
    """Of a process that does nothing else."""


def run(nodes: int, pods: int, *, changes: int = 200) -> Report:
    """The report, made in a fresh process so that its memory is its own."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(measure, nodes, pods, changes).result()


def measure(nodes: int, pods: int, changes: int) -> Report:
    """The report, made here."""
    account_ms, cluster = _timed(lambda: Cluster(nodes, pods))
    full_ms, operations = _timed(cluster.plan)
    cluster.load()
    unchanged_ms, left = _timed(cluster.plan)
    if left:
        raise AssertionError(f"{len(left)} operations are left after a full plan; planning twice must change nothing")
    added, changed, removed = [], [], []
    for index in range(changes):
        pod = record(pods + index, nodes)
        added.append(_timed(functools.partial(cluster.add, pod))[0])
        changed.append(_timed(functools.partial(cluster.change, pod.key))[0])
        removed.append(_timed(functools.partial(cluster.remove, pod.key))[0])
    return Report(
        nodes=nodes,
        pods=pods,
        account_ms=round(account_ms, 1),
        full_plan_ms=round(full_ms, 1),
        operations=len(operations),
        unchanged_plan_ms=round(unchanged_ms, 1),
        pod_added=figures.timing(added),
        pod_changed=figures.timing(changed),
        pod_removed=figures.timing(removed),
        peak_mb=_peak_mb(),
    )


class Cluster:
    """A ledger with nodes and pods, and the replica of a database that is as planned once ``load`` was called."""

    def __init__(self, nodes: int, pods: int) -> None:
        self.ledger = ledger.Ledger(names.ZONE)
        self.replica = ovsdb.Replica({table: tuple(columns) for table, columns in zone.TABLES.items()}, nb.TABLES)
        self._settled: dict[keys.Key, row.Plan] = {}
        self.ledger.begin(config.parse(SPEC), map(node_record, range(nodes)), ())
        self.services = service_book.ServiceBook(names.ZONE)
        self.services.begin(self.ledger.view)
        for index in range(pods):
            self._give(record(index, nodes))

    def plan(self) -> list[ovsdb.Op]:
        """Everything, as the leader does at its start and at each prune tick."""
        self._settled, operations = zone.plan_whole(self.ledger.view, self.services, self.replica)
        return operations

    def load(self) -> None:
        """The database becomes as planned."""
        _load(self.replica, zone.union(self._settled.values()))

    def add(self, pod: ledger.PodRecord) -> list[ovsdb.Op]:
        """A new pod: address, plan, difference, and the server's answer taken into the replica."""
        self._give(pod)
        operations = self._settle(pod.key)
        port = self._settled[keys.PodKey(pod.key)].rows[0]
        content = {column: values.encode(port.TABLE.columns[column], value) for column, value in port.planned()}
        self._show(operations, port, {"insert": content})
        return operations

    def change(self, pod: net.PodKey) -> list[ovsdb.Op]:
        """Another MAC for a pod: its port differs in place. Nothing keeps it."""
        view = self.ledger.view
        other = msgspec.structs.replace(view.pods[pod], mac=net.Mac("0a:58:00:00:00:01"))
        planned = zone.plan_key(msgspec.structs.replace(view, pods={pod: other}), self.services, keys.PodKey(pod))
        return ovsdb.diff(planned, self.replica, previous=self._settled[keys.PodKey(pod)])

    def remove(self, pod: net.PodKey) -> list[ovsdb.Op]:
        """A pod that goes: its address rests, its port leaves the switch."""
        self.ledger.drop_pod(pod, 0.0)
        port = self._settled[keys.PodKey(pod)].rows[0]
        operations = self._settle(pod)
        self._show(operations, port, {"delete": None})
        return operations

    def _give(self, pod: ledger.PodRecord) -> None:
        given = self.ledger.give(pod, 0.0)
        if isinstance(given, Exhausted | Rejected):
            raise TypeError(f"pod {pod.key}: {given}")

    def _settle(self, pod: net.PodKey) -> list[ovsdb.Op]:
        key = keys.PodKey(pod)
        planned = zone.plan_key(self.ledger.view, self.services, key)
        operations = ovsdb.diff(planned, self.replica, previous=self._settled.pop(key, row.Plan()))
        self._settled[key] = planned
        return operations

    def _show(self, operations: list[ovsdb.Op], port: row.Row, change: dict[str, Any]) -> None:
        updates: dict[str, dict[str, Any]] = {port.TABLE.name: {port.uuid: change}}
        for each in operations:
            if isinstance(each, ovsdb.MutateSet):
                wire = values.encode_set("uuid", each.add | each.remove)
                updates[each.table] = {each.uuid: {"modify": {each.column: wire}}}
        self.replica.apply(updates)


def node_record(index: int) -> ledger.NodeRecord:
    """A pair with everything known, its gateway too."""
    name = net.NodeName(f"node-{index}")
    host = ipaddress.ip_interface(f"192.168.{index // 250}.{index % 250 + 1}/16")
    return ledger.NodeRecord(
        name=name,
        uid=str(uuid.uuid5(row.NAMESPACE, name)),
        created="2026-01-01T00:00:00Z",
        recorded=NodeShare(),
        chassis=str(uuid.uuid5(row.NAMESPACE, f"chassis {name}")),
        has_management_port=True,
        host_addresses=(host,),
        gateway=GatewayView(
            port=names.localnet_port(name),
            mac=net.mac_of(host.ip),
            addresses=(host,),
            next_hops=(ipaddress.ip_address("192.168.255.254"),),
        ),
    )


def record(index: int, nodes: int) -> ledger.PodRecord:
    """A pod without addresses yet, on the next node in turn."""
    return ledger.PodRecord(
        key=net.PodKey("default", f"pod-{index}"),
        uid=str(uuid.uuid5(row.NAMESPACE, f"pod-{index}")),
        created="2026-01-01T00:00:00Z",
        node=net.NodeName(f"node-{index % nodes}"),
    )


def _load(replica: ovsdb.Replica, plan: row.Plan) -> None:
    """Fills the replica as a server would that carried the plan out."""
    tables: dict[str, dict[row.Uuid, dict[str, Any]]] = collections.defaultdict(dict)
    for planned in plan.rows:
        tables[planned.TABLE.name][planned.uuid] = dict(planned.planned())
    sets: dict[tuple[str, row.Uuid, str], set[str]] = collections.defaultdict(set)
    for member in plan.members:
        sets[member.table, member.uuid, member.column].add(member.value)
    for (table, uid, column), elements in sets.items():
        tables[table][uid][column] = frozenset(elements)
    replica.load(tables)


def _timed(step: Callable[[], T]) -> tuple[float, T]:
    # Nothing here waits: CPU time is what it takes on an idle machine, also where others work beside it.
    began = time.process_time()
    result = step()
    return (time.process_time() - began) * 1000, result


def _peak_mb() -> float:
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return round(int(status.split("VmHWM:")[1].split()[0]) / 1024, 1)
