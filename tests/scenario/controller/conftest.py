# SPDX-License-Identifier: Apache-2.0
"""A host cluster without machines: a fake API server, a fake northbound database, and real controllers on both."""

import asyncio
import contextlib
import pathlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from ashore import kube, ovsdb, runtime
from ashore.api import annotations
from ashore.controller import lease, reign, zone
from ashore.schema import nb
from ashore.testing import kube_store
from ashore.testing.kube import FakeKube
from ashore.testing.ovsdb import FakeOvsdb

LIMIT_S = 10.0
DUAL = (("10.244.0.0/16", 24), ("fd00:10:244::/48", 64))
FOREIGN = annotations.ZONE_NAME
MARK_NODE = kube.ObjectKey("", "zz-mark")
MARK_POD = kube.ObjectKey("m", "zz-mark")
FAST = runtime.Timing(duration_s=1.0, renew_s=0.1)


class Sure:
    """A term that lasts until the test ends it."""

    ended = False

    def check(self) -> None:
        if self.ended:
            raise runtime.NotLeader("the test said so")


class World:
    """Both fakes, and short words for what tests arrange and look at."""

    DUAL = DUAL

    def __init__(self, api: FakeKube, northbound: FakeOvsdb) -> None:
        self.api = api
        self.northbound = northbound
        self.has_config = False

    def config(self, *networks: tuple[str, int], **more: Any) -> None:
        """The NetworkConfig, its status kept."""
        self.has_config = True
        spec = {
            "clusterNetworks": [{"cidr": cidr, "hostPrefix": prefix} for cidr, prefix in networks],
            "serviceCIDRs": ["10.96.0.0/16", "fd00:10:96::/112"],
            **more,
        }
        status = {}
        with contextlib.suppress(kube_store.Rejection, KeyError):
            status = {"status": self.raw(kube.NETWORK_CONFIGS, "default")["status"]}
        self.api.put(kube.NETWORK_CONFIGS, {"metadata": {"name": "default"}, "spec": spec, **status})

    def node(self, name: str, **notes: str) -> None:
        """A node whose DPU serves it, made or changed."""
        with contextlib.suppress(kube_store.Rejection, KeyError):
            notes = {**self.notes(kube.NODES, name), **notes}
        notes.setdefault(annotations.NODE_CHASSIS_ID, f"chassis-{name}")
        notes.setdefault(annotations.NODE_MGMT_PORT, '{"default":{"DeviceId":"0000:03:00.2","PfId":0,"FuncId":0}}')
        self.api.put(kube.NODES, {"metadata": {"name": name, "annotations": notes}})

    def pod(self, name: str, node: str = "host-1", *, notes: Mapping[str, str] | None = None, **more: Any) -> None:
        """A scheduled pod, made or changed."""
        metadata: dict[str, Any] = {"name": name, "namespace": "default"}
        with contextlib.suppress(kube_store.Rejection, KeyError):
            metadata["annotations"] = self.notes(kube.PODS, name)
        metadata["annotations"] = {**metadata.get("annotations", {}), **(notes or {})}
        status = {"phase": more.pop("phase", "Pending")}
        spec = {"nodeName": node, **more}
        self.api.put(kube.PODS, {"metadata": metadata, "spec": spec, "status": status})

    def raw(self, kind: kube.Kind[Any], name: str, namespace: str = "") -> Any:
        """The object as JSON."""
        return msgspec.to_builtins(self.api.read(kind, name, namespace))

    def all(self, kind: kube.Kind[Any]) -> list[dict[str, Any]]:
        """All objects of a kind as JSON."""
        return self.api.store.list(kube_store.Resource(kind.group, kind.plural), lambda _: True)

    def notes(self, kind: kube.Kind[Any], name: str) -> dict[str, str]:
        """The object's annotations."""
        found = self.api.read(kind, name, "default" if kind.namespaced else "")
        return dict(found.metadata.annotations)

    def addresses(self, pod: str) -> tuple[str, ...]:
        """What the pod's annotation gives it; empty before."""
        text = self.notes(kube.PODS, pod).get(annotations.POD_NETWORKS)
        return annotations.decode_pod_networks(text)["default"].ip_addresses if text else ()

    def rows(self, table: str) -> dict[str, Mapping[str, Any]]:
        """Northbound rows by name."""
        return {str(columns["name"]): columns for columns in self.northbound.rows[table].values()}

    def ports(self) -> set[str]:
        """Names of the switch ports."""
        return set(self.rows("Logical_Switch_Port"))

    def writes(self) -> int:
        """How many writes both servers got so far; leases aside."""
        api = sum(method != "GET" and "/leases" not in path for method, path in self.api.requests)
        return api + self.northbound.calls.count("transact")

    def doors(self, client: kube.Client) -> reign.Doors:
        """A replica's doors."""
        return reign.Doors(
            api=client,
            nodes=kube.Informer(client, kube.NODES),
            pods=kube.Informer(client, kube.PODS),
            configs=kube.Informer(client, kube.NETWORK_CONFIGS),
            services=kube.Informer(client, kube.SERVICES),
            slices=kube.Informer(client, kube.ENDPOINT_SLICES),
            northbound=ovsdb.Client(remotes=[self.northbound.remote], database=nb.DATABASE, tables=zone.TABLES),
        )

    @contextlib.asynccontextmanager
    async def leader(self) -> AsyncIterator[reign.Reign]:
        """A controller that leads while the context lasts."""
        async with self.warm() as doors, self.leading(doors) as (one, task):
            yield one
            if task.done():
                task.result()

    @contextlib.asynccontextmanager
    async def leading(self, doors: reign.Doors) -> AsyncIterator[tuple[reign.Reign, asyncio.Task[None]]]:
        """A reign on these doors, and the task that it runs in."""
        one = reign.Reign(doors, Sure())  # type: ignore[arg-type]
        task = asyncio.ensure_future(one.run())
        try:
            await self.eventually(lambda: doors.configs.store or not self.has_config, "the settings are seen")
            await self.eventually(lambda: hasattr(one, "nodes") or task.done(), "it leads")
            await self.quiet(one)
            yield one, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def warm(self) -> AsyncIterator[reign.Doors]:
        """Doors that run and are loaded, as a standby's are."""
        async with self.api.client() as client:
            doors = self.doors(client)
            async with running(*(each.run() for each in doors.informers), doors.northbound.run()):
                async with asyncio.timeout(LIMIT_S):
                    await doors.synced()
                yield doors

    async def eventually(self, claim: Callable[[], object], what: str) -> None:
        """Returns when the claim holds; a claim about things that aren't there yet doesn't."""
        try:
            async with asyncio.timeout(LIMIT_S):
                while True:
                    with contextlib.suppress(KeyError, kube_store.Rejection):
                        if claim():
                            return
                    await asyncio.sleep(0.005)
        except TimeoutError:
            pytest.fail(f"not within {LIMIT_S:g} s: {what}")

    async def quiet(self, one: reign.Reign) -> None:
        """Returns when the controller has seen all that happened until now and has nothing left to do."""
        newest = str(self.api.store.version)
        self.api.put(kube.NODES, {"metadata": {"name": "zz-mark", "annotations": {"mark": newest, FOREIGN: "other"}}})
        self.api.put(kube.PODS, {"metadata": {"name": "zz-mark", "namespace": "m", "annotations": {"mark": newest}}})
        doors = one.doors

        def seen() -> bool:
            marks = (doors.nodes.store[MARK_NODE], doors.pods.store[MARK_POD])
            return all(mark.metadata.annotations["mark"] == newest for mark in marks)

        await self.eventually(seen, "the informers are up to date")
        async with asyncio.timeout(LIMIT_S):
            await one.queue.idle()

    def elector(self, identity: str) -> runtime.Elector:
        """A candidate for the controllers' lease, with a life of a second."""

        @contextlib.asynccontextmanager
        async def open_store() -> AsyncIterator[runtime.LeaseStore]:
            async with self.api.client() as client:
                yield lease.KubeLease(client, "ovn-kubernetes", "ashore-controller")

        return runtime.Elector(identity, open_store, timing=FAST)


@contextlib.asynccontextmanager
async def running(*work: Any) -> AsyncIterator[None]:
    """Runs while the context lasts; what fails in it fails the test."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        yield
    finally:
        failed = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in failed:
            task.result()


@pytest.fixture
def socket() -> Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory(prefix="ashore-nb-") as folder:
        yield pathlib.Path(folder) / "nb.sock"


@pytest.fixture
async def world(socket: pathlib.Path) -> AsyncIterator[World]:
    async with FakeKube() as api, FakeOvsdb(nb.DATABASE, nb.TABLES, socket) as northbound:
        made = World(api, northbound)
        made.config(*DUAL)
        yield made
