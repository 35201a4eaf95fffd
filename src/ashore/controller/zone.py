# SPDX-License-Identifier: Apache-2.0
"""The one writer of a zone's northbound content: plans, differences and fenced transactions, one after another.

Keys that wait are settled together in one transaction, so that a hundred pods cost few round trips; a plan that the
server refuses is tried key by key, so that one bad key holds up nobody else.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Never, Protocol

import msgspec
import structlog

from ashore import ovsdb, runtime
from ashore.controller import keys, metrics
from ashore.schema import nb, row
from ashore.topology import plan
from ashore.topology.view import ClusterView

log = structlog.get_logger(__name__)

TABLES: Mapping[str, tuple[str, ...]] = {
    "Address_Set": ("name", "addresses", "external_ids"),
    "Chassis_Template_Var": ("chassis", "variables", "external_ids"),
    "Load_Balancer": ("name", "vips", "protocol", "selection_fields", "options", "external_ids"),
    "Load_Balancer_Group": ("name", "load_balancer"),
    "Logical_Router": (
        *("name", "ports", "static_routes", "policies", "nat", "options", "external_ids"),
        *("load_balancer", "load_balancer_group"),
    ),
    "Logical_Router_Policy": ("priority", "match", "action", "nexthops", "external_ids"),
    "Logical_Router_Port": ("name", "mac", "networks", "ipv6_ra_configs", "options", "external_ids"),
    "Logical_Router_Static_Route": ("ip_prefix", "policy", "nexthop", "output_port", "external_ids"),
    "Logical_Switch": ("name", "ports", "other_config", "external_ids", "load_balancer", "load_balancer_group"),
    "Logical_Switch_Port": ("name", "type", "addresses", "port_security", "options", "tag", "external_ids"),
    "NAT": ("type", "external_ip", "logical_ip", "external_port_range", "external_ids"),
}
"""What is planned, and thus monitored. Columns that northd writes aren't in it: each would be an event a pod."""

THREAD_ABOVE_KEYS = 500
"""A plan over more keys runs in a worker thread, so that the loop goes on meanwhile."""
RETRY_S = 1.0

CLUSTER = keys.ConfigKey()
"""Under this key stands what the cluster has once."""


class Northbound(Protocol):
    """What is needed of ``ovsdb.Client``."""

    replica: ovsdb.Replica

    async def transact(
        self, operations: list[ovsdb.Op], *, fence: ovsdb.Fence | None = None, timeout_s: float = 10
    ) -> list[ovsdb.Result]:
        """See Client.transact."""


class Planner(Protocol):
    """Who plans beside the topology."""

    def plan_key(self, key: keys.Key) -> row.Plan:
        """What to add to a key's plan."""

    def parents_of(self, key: keys.Key) -> Iterable[keys.Key]:
        """The keys whose rows have to be there first."""

    def all_keys(self) -> Iterable[keys.Key]:
        """All keys that topology doesn't have."""

    def frozen(self) -> "Planner":
        """A copy that nothing changes."""


class _Wish(msgspec.Struct, frozen=True):
    """Somebody waits until these keys are settled; no keys: the whole zone."""

    keys: tuple[keys.Key, ...]
    done: asyncio.Future[None]


class ZoneWriter:
    """Makes the database as planned. ``check`` stands before every transaction and raises when we no longer lead."""

    def __init__(
        self,
        client: Northbound,
        view: Callable[[], ClusterView],
        *,
        fence: ovsdb.Fence,
        check: Callable[[], None],
        services: Planner,
    ) -> None:
        self._client = client
        self._view = view
        self._services = services
        self._fence = fence
        self._check = check
        self._wishes: list[_Wish] = []
        self._wake = asyncio.Event()
        self._settled: dict[keys.Key, row.Plan] = {}
        """What stands in the database for a key, as far as we know; what may stand there after a lost reply too."""

    async def settle(self, *wanted: keys.Key) -> None:
        """Returns when the database is as planned for these keys.

        Raises:
            Retry: not now; ``Refused``: the server says no.
        """
        if wanted:
            await self._wish(wanted)

    async def settle_all(self) -> None:
        """Returns when the database is as planned, and nothing else of ours is in it."""
        await self._wish(())

    async def run(self) -> Never:
        """Serves wishes for ever. Raises NotLeader when the fence has fallen."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                batch, self._wishes = self._wishes, []
                batch = [wish for wish in batch if not wish.done.done()]
                for wish in (w for w in batch if not w.keys):
                    await self._serve([wish])
                if some := [w for w in batch if w.keys]:
                    await self._serve(some)
        finally:
            for wish in self._wishes:
                wish.done.cancel()

    async def _wish(self, wanted: tuple[keys.Key, ...]) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wishes.append(_Wish(wanted, done))
        self._wake.set()
        await done

    async def _serve(self, wishes: list[_Wish]) -> None:
        wanted = dict.fromkeys(key for wish in wishes for key in wish.keys)
        try:
            await (self._write_keys(wanted) if wanted else self._write_all())
        except (ovsdb.Fenced, runtime.NotLeader) as error:
            for wish in wishes:
                wish.done.cancel()
            raise runtime.NotLeader(f"northbound: {error}") from error
        except ovsdb.Lost as error:
            self._fail(wishes, runtime.Retry(RETRY_S, str(error)))
        except (ovsdb.OvsdbError, ovsdb.NotPlannable) as error:
            metrics.TRANSACTIONS.labels("refused").inc()
            if len(wishes) > 1:
                for wish in wishes:
                    await self._serve([wish])
                return
            log.warning("northbound-refused", keys=[str(key) for key in wanted][:5], error=str(error))
            self._fail(wishes, runtime.Retry(RETRY_S, str(error)))
        else:
            for wish in wishes:
                if not wish.done.done():
                    wish.done.set_result(None)

    def _fail(self, wishes: list[_Wish], verdict: Exception) -> None:
        for wish in wishes:
            if not wish.done.done():
                wish.done.set_exception(verdict)

    async def _write_keys(self, wanted: Iterable[keys.Key]) -> None:
        view = self._view()
        parts = {key: plan_key(view, self._services, key) for key in self._with_parents(wanted)}
        previous = {key: self._settled.get(key, row.Plan()) for key in parts}
        operations = ovsdb.diff(union(parts.values()), self._client.replica, previous=union(previous.values()))
        # Should the reply get lost, either plan may stand: the next diff has to look at both.
        self._settled |= {key: union((previous[key], parts[key])) for key in parts}
        await self._transact(operations)
        self._settle(parts)

    def _with_parents(self, wanted: Iterable[keys.Key]) -> dict[keys.Key, None]:
        """The keys, each after those whose rows it is a member of, where these aren't there yet."""
        ordered: dict[keys.Key, None] = {}
        pods = self._view().pods

        def add(key: keys.Key) -> None:
            pod = pods.get(key.pod) if isinstance(key, keys.PodKey) else None
            parents = [keys.NodeKey(pod.node)] if pod is not None else self._services.parents_of(key)
            for parent in parents:
                if parent not in self._settled and parent not in ordered:
                    add(parent)
            ordered[key] = None

        for key in wanted:
            add(key)
        return ordered

    async def _write_all(self) -> None:
        began = time.monotonic()
        now = self._view()
        view = msgspec.structs.replace(now, nodes=dict(now.nodes), pods=dict(now.pods))
        if len(view.nodes) + len(view.pods) + len(tuple(self._services.all_keys())) > THREAD_ABOVE_KEYS:
            world = self._client.replica.snapshot()
            parts, operations = await asyncio.to_thread(plan_whole, view, self._services.frozen(), world)
        else:
            parts, operations = plan_whole(view, self._services, self._client.replica)
        metrics.PLAN_SECONDS.observe(time.monotonic() - began)
        await self._transact(operations)
        self._settled.clear()
        self._settle(parts)
        for table, rows in self._client.replica.items():
            foreign = sum(not ovsdb.is_ours(table, uuid, columns) for uuid, columns in rows.items())
            metrics.FOREIGN_ROWS.labels(table).set(foreign)

    def _settle(self, parts: Mapping[keys.Key, row.Plan]) -> None:
        for key, part in parts.items():
            if part.rows or part.members:
                self._settled[key] = part
            else:
                self._settled.pop(key, None)

    async def _transact(self, operations: list[ovsdb.Op]) -> None:
        if not operations:
            return
        self._check()
        await self._client.transact(operations, fence=self._fence, timeout_s=30)
        metrics.TRANSACTIONS.labels("done").inc()
        metrics.ROWS_CHANGED.inc(len(operations))


def plan_key(view: ClusterView, services: Planner, key: keys.Key) -> row.Plan:
    """A key's part of the full plan; nothing for what isn't there."""
    # A node's or pod's part of it stands on rows of the topology: without these there is nothing to be planned.
    own = _plan_topology(view, key)
    if isinstance(key, keys.NodeKey | keys.PodKey) and not own.rows:
        return own
    return own + services.plan_key(key)


def _plan_topology(view: ClusterView, key: keys.Key) -> row.Plan:
    match key:
        case keys.ConfigKey():
            return plan.plan_cluster(view)
        case keys.NodeKey(name):
            node = view.nodes.get(name)
            return plan.plan_node(view, node) if node else row.Plan()
        case keys.PodKey(name):
            pod = view.pods.get(name)
            return plan.plan_pod(view, pod) if pod else row.Plan()
    return row.Plan()


def union(parts: Iterable[row.Plan]) -> row.Plan:
    """The sum of plans that may share rows; of two versions of a row the later one stays."""
    rows: dict[tuple[str, row.Uuid], row.Row] = {}
    members: set[row.Member] = set()
    for part in parts:
        rows |= {(planned.TABLE.name, planned.uuid): planned for planned in part.rows}
        members |= part.members
    return row.Plan(tuple(rows.values()), frozenset(members))


def plan_whole(
    view: ClusterView, services: Planner, world: ovsdb.Replica
) -> tuple[dict[keys.Key, row.Plan], list[ovsdb.Op]]:
    """Every key's plan, and what makes the world so with nothing else of ours in it."""
    wanted: list[keys.Key] = [
        CLUSTER,
        *map(keys.NodeKey, view.nodes),
        *map(keys.PodKey, view.pods),
        *services.all_keys(),
    ]
    parts = {key: plan_key(view, services, key) for key in wanted}
    return parts, ovsdb.diff(union(parts.values()), world, prune=ovsdb.is_ours)


def stale_addresses(world: ovsdb.Replica) -> list[str]:
    """The addresses of all ports of ours in the database, as text."""
    found = []
    for uuid, columns in world[nb.LogicalSwitchPort.TABLE.name].items():
        if ovsdb.is_ours("", uuid, columns):
            found += [word for text in columns["addresses"] for word in text.split()[1:]]
    return found
