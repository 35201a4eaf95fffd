# SPDX-License-Identifier: Apache-2.0
"""A DPU's agent half against an OVSDB in memory, an OVN that installs what it knows, and an API that holds pods."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ashore import kube, ovsdb
from ashore.agent import dpu_claims, dpu_pods, plugger
from ashore.api import annotations, names
from ashore.kube import objects
from ashore.ovs import daemons
from ashore.schema import row, vswitch
from ashore.testing import ovsdb as fake_ovsdb
from ashore.wiring import ovs_rows

LIMIT_S = 5.0
BRIDGE = row.row_id("test", "Bridge", "br-int")
TOP = row.row_id("test", "Open_vSwitch", "")


async def eventually(claim: Callable[[], bool], what: str) -> None:
    """Returns when the claim holds; fails the test with ``what`` when it doesn't within the limit."""
    deadline = asyncio.get_running_loop().time() + LIMIT_S
    while not claim():
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"not within {LIMIT_S} s: {what}")
        await asyncio.sleep(0.005)


class Pods:
    """The API server's pods and the informer's view of them in one: what is written is seen at once."""

    def __init__(self) -> None:
        self.synced = asyncio.Event()
        self.synced.set()
        self.store: dict[kube.ObjectKey, objects.Pod] = {}
        self.patches: list[tuple[str, str]] = []
        self._subscribers: list[Callable[[Any, Any], None]] = []

    def subscribe(self, callback: Callable[[Any, Any], None]) -> Callable[[], None]:
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    def forget_subscribers(self) -> None:
        """What the end of a process does to its watches."""
        self._subscribers.clear()

    def put(self, pod: objects.Pod) -> None:
        key = kube.key_of(pod)
        old = self.store.get(key)
        self.store[key] = pod
        for callback in self._subscribers:
            if old is not None and old.metadata.uid != pod.metadata.uid:
                callback(old, None)
                old = None
            callback(old, pod)

    def add(self, name: str, uid: str, *, vf: int | None = None, sandbox: str = "s1", **more: Any) -> None:
        """A pod with addresses, and with connection-details where ``vf`` is given."""
        index = 10 + len(self.patches) + len(self.store)
        network = annotations.PodNetwork(
            ip_addresses=(f"10.244.0.{index}/24",), mac_address=f"0a:58:0a:f4:00:{index:02x}"
        )
        notes = {annotations.POD_NETWORKS: annotations.encode_pod_networks({"default": network})}
        notes |= more.pop("annotations", {})
        meta = objects.ObjectMeta(
            name=name, namespace="ns", uid=uid, annotations=notes,
            creation_timestamp=more.pop("created", f"2026-01-01T00:00:{index:02}Z"),
        )  # fmt: skip
        self.put(objects.Pod(metadata=meta, spec=objects.PodSpec(node_name=more.pop("node", "host-1"))))
        if vf is not None:
            self.detail(name, vf, sandbox)

    def annotate(self, name: str, key: str, text: str | None) -> None:
        pod = self.store[kube.ObjectKey("ns", name)]
        notes = {**pod.metadata.annotations, key: text}
        kept = {key: value for key, value in notes.items() if value is not None}
        meta = msgspec.structs.replace(pod.metadata, annotations=kept)
        self.put(msgspec.structs.replace(pod, metadata=meta))

    def detail(self, name: str, vf: int | None, sandbox: str = "s1") -> None:
        details = annotations.ConnectionDetails(
            pf_id="0", vf_id=str(vf), sandbox_id=sandbox, vf_netdev_name=f"ens1f0v{vf}"
        )
        text = None if vf is None else annotations.encode_details({"default": details})
        self.annotate(name, annotations.CONNECTION_DETAILS, text)

    def delete(self, name: str) -> None:
        old = self.store.pop(kube.ObjectKey("ns", name))
        for callback in self._subscribers:
            callback(old, None)

    async def patch(self, kind: Any, name: str, namespace: str, body: Any, *, uid: str) -> None:
        pod = self.store.get(kube.ObjectKey(namespace, name))
        if pod is None:
            raise kube.NotFound(name, "not found", status=404)
        if pod.metadata.uid != uid:
            raise kube.Conflict(name, "another uid", status=409)
        for key, text in body["metadata"]["annotations"].items():
            self.patches.append((name, text))
            self.annotate(name, key, text)

    def text(self, name: str) -> str | None:
        return self.store[kube.ObjectKey("ns", name)].metadata.annotations.get(annotations.CONNECTION_STATUS)

    def status(self, name: str) -> annotations.ConnectionStatus | None:
        return annotations.decode_status(self.text(name) or "{}").get("default")


class Kernel:
    """Representors that exist, and what was done to them; also what sysfs shows."""

    def __init__(self) -> None:
        self.present = {f"pf0vf{number}" for number in range(16)}
        self.up: set[str] = set()

    def is_present(self, name: str) -> bool:
        return name in self.present

    async def open(self, name: str) -> None:
        self.up.add(name)

    async def close(self, name: str) -> None:
        self.up.discard(name)

    def representor(self, pf: int, vf: int) -> str | None:
        name = f"pf{pf}vf{vf}"
        return name if name in self.present else None


class World:
    """All of it, with the agent's half that can be ended and begun."""

    def __init__(self, fake: fake_ovsdb.FakeOvsdb, run_dir: Path) -> None:
        self.fake = fake
        self.pods = Pods()
        self.kernel = Kernel()
        self.daemons = daemons.Daemons(run_dir)
        self.commands: list[list[str]] = []
        self.bound: set[str] | None = None
        self.management: dpu_claims.Function | None = dpu_claims.Function(0, 0)
        self.gate = ""
        self.limit_s = 5.0
        self.agent: dpu_pods.PodPorts
        self.client: ovsdb.Client
        self._tasks: list[asyncio.Task[Any]] = []

    def ports(self) -> dict[str, dict[str, str]]:
        """external_ids by port, of what br-int has."""
        wired = {interface for port in self.fake.rows["Bridge"][BRIDGE]["ports"]
                 for interface in self.fake.rows["Port"][port]["interfaces"]}  # fmt: skip
        rows = self.fake.rows["Interface"]
        return {rows[uuid]["name"]: dict(rows[uuid]["external_ids"]) for uuid in wired}

    async def begin(self) -> None:
        self.client = self._connect()
        ports = plugger.Plugger(
            self.client, running=self.daemons, links=self.kernel, limit_s=self.limit_s,
            is_live=lambda uid: uid in dpu_claims.owners(self.pods.store.values()),
        )  # fmt: skip
        node = dpu_pods.Node(
            host="host-1", eswitch=self.kernel, management=lambda: self.management, gate=lambda: self.gate
        )
        pods: Any = self.pods
        self.agent = dpu_pods.PodPorts(pods, pods, self.client, ports, node)
        self._tasks.append(asyncio.create_task(self.agent.run()))
        await self.client.synced(LIMIT_S)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self.pods.forget_subscribers()

    async def settled(self) -> None:
        await self.agent.queue.idle()

    async def ready(self, name: str, sandbox: str = "s1") -> None:
        def claim() -> bool:
            status = self.pods.status(name)
            return status is not None and (status.status, status.sandbox_id) == ("Ready", sandbox)

        await eventually(claim, f"{name} is Ready; it is {self.pods.text(name)}")

    async def failed(self, name: str, words: str) -> None:
        def claim() -> bool:
            status = self.pods.status(name)
            return status is not None and status.status == "Error" and words in status.reason

        await eventually(claim, f"{name} fails with {words!r}")

    def _connect(self) -> ovsdb.Client:
        client = ovsdb.Client(
            remotes=[self.fake.remote], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False
        )
        self._tasks.append(asyncio.create_task(client.run()))
        return client

    def install(self, name: str | None = None) -> None:
        """OVN installs ports that it knows (all, unless ``bound`` says which)."""
        for uuid, columns in list(self.fake.rows["Interface"].items()):
            marks = columns["external_ids"]
            iface = marks.get("iface-id")
            if iface and marks.get("ovn-installed") != "true" and (self.bound is None or iface in self.bound):
                put = {"ovn-installed": "true"}
                self.fake.transact(ovsdb.MutateMap("Interface", row.Uuid(uuid), "external_ids", put=put))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both daemons' control sockets."""
        request = json.loads(await reader.readuntil(b"}"))
        self.commands.append([request["method"], *request["params"]])
        result = "connected" if request["method"] == "connection-status" else "fine"
        writer.write(json.dumps({"id": request["id"], "result": result, "error": None}).encode())
        writer.close()
        await writer.wait_closed()

    async def ovn(self) -> None:
        """Installs what appears, as ovn-controller does."""
        news = asyncio.Event()
        client = self._connect()
        task = self._tasks.pop()
        client.subscribe(lambda _change: news.set())
        try:
            while True:
                await news.wait()
                news.clear()
                self.install()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Any:
    return eventually


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: a unix socket's has at most 107 bytes."""
    with ExitStack() as undo:
        yield Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="gs-")))


@pytest.fixture
async def world(run_dir: Path) -> AsyncIterator[World]:
    async with AsyncExitStack() as undo:
        fake = await undo.enter_async_context(fake_ovsdb.FakeOvsdb("Open_vSwitch", vswitch.TABLES, run_dir / "db.sock"))
        fake.transact(
            ovsdb.Insert("Open_vSwitch", TOP, {"bridges": frozenset({BRIDGE}), "external_ids": {"system-id": "c"}}),
            ovsdb.Insert("Bridge", BRIDGE, {"name": names.INTEGRATION_BRIDGE}),
        )
        made = World(fake, run_dir)
        for daemon in (daemons.VSWITCHD, daemons.CONTROLLER):
            server = await asyncio.start_unix_server(made.serve, str(run_dir / f"{daemon}.ctl"))
            undo.callback(server.close)
        ovn = asyncio.create_task(made.ovn())
        await made.begin()
        yield made
        await made.end()
        ovn.cancel()
        await asyncio.gather(ovn, return_exceptions=True)
