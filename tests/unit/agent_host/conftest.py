# SPDX-License-Identifier: Apache-2.0
"""A host with four VFs, a kernel in memory, and an API that is a dictionary."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ashore import hardware, kube, netlink
from ashore.agent import attach, devices, peer, records
from ashore.api import annotations, cni
from ashore.kube import objects
from ashore.testing import kernel as fake

NETNS = "/run/netns/pod"
NETWORKS = annotations.encode_pod_networks(
    {
        "default": annotations.PodNetwork(
            ip_addresses=("10.244.1.5/24", "fd00:10:244:1::5/64"),
            mac_address="0a:58:0a:f4:01:05",
            gateway_ips=("10.244.1.1", "fd00:10:244:1::1"),
        )
    }
)


class Api:
    """Pods as the API has them; the informer's and the client's face in one."""

    def __init__(self) -> None:
        self.store: dict[kube.ObjectKey, objects.Pod] = {}
        self.subscribers: list[Callable[[Any, Any], None]] = []
        self.down = False
        self.patches: list[dict[str, str | None]] = []

    def put(self, name: str, uid: str, **notes: str) -> objects.Pod:
        meta = objects.ObjectMeta(name=name, namespace="default", uid=uid, annotations=notes)
        return self._set(objects.Pod(metadata=meta))

    def annotate(self, name: str, changes: Mapping[str, str | None]) -> objects.Pod:
        pod = self.store[kube.ObjectKey("default", name)]
        merged = {k: v for k, v in {**pod.metadata.annotations, **changes}.items() if v is not None}
        meta = msgspec.structs.replace(pod.metadata, annotations=merged)
        return self._set(msgspec.structs.replace(pod, metadata=meta))

    def notes(self, name: str = "web") -> Mapping[str, str]:
        return self.store[kube.ObjectKey("default", name)].metadata.annotations

    def _set(self, pod: objects.Pod) -> objects.Pod:
        key = kube.key_of(pod)
        old, self.store[key] = self.store.get(key), pod
        for callback in tuple(self.subscribers):
            callback(old, pod)
        return pod

    def subscribe(self, callback: Callable[[Any, Any], None]) -> Callable[[], None]:
        self.subscribers.append(callback)
        return lambda: self.subscribers.remove(callback)

    async def wait_for(self, key: kube.ObjectKey, predicate: Callable[[Any], bool], *, timeout_s: float) -> Any:
        async with asyncio.timeout(timeout_s):
            while not predicate(self.store.get(key)):
                changed = asyncio.Event()
                unsubscribe = self.subscribe(lambda _old, _new, changed=changed: changed.set())  # type: ignore[misc]
                try:
                    await changed.wait()
                finally:
                    unsubscribe()
        return self.store.get(key)

    async def patch(self, _kind: Any, name: str, _namespace: str, body: Any, *, uid: str = "") -> objects.Pod:
        if self.down:
            raise kube.Unreachable("pod default/web", "no route")
        pod = self.store.get(kube.ObjectKey("default", name))
        if pod is None:
            raise kube.NotFound("pod", "not found")
        if pod.metadata.uid != uid:
            raise kube.Conflict("pod", "uid")
        self.patches.append(body["metadata"]["annotations"])
        return self.annotate(name, body["metadata"]["annotations"])


class Dpu:
    """Answers connection-details at once, as told."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.status = annotations.READY
        self.reason = ""
        self.names_sandbox = True
        self.is_alive = True
        api.subscribe(self._seen)

    def problem(self) -> str:
        return "" if self.is_alive else "lease ovn-kubernetes/ovn-dpu-host-1 not renewed for 13 s"

    def _seen(self, _old: objects.Pod | None, new: objects.Pod) -> None:
        if not self.is_alive or self.status == "":
            return
        details = annotations.decode_details(new.metadata.annotations.get(annotations.CONNECTION_DETAILS, "{}"))
        wanted = None
        if details:
            sandbox = details["default"].sandbox_id if self.names_sandbox else ""
            answer = annotations.ConnectionStatus(self.status, self.reason, sandbox)
            wanted = annotations.encode_status({"default": answer})
        if new.metadata.annotations.get(annotations.CONNECTION_STATUS) != wanted:
            name = new.metadata.name
            asyncio.get_running_loop().call_soon(self.api.annotate, name, {annotations.CONNECTION_STATUS: wanted})


class Host:
    """The host half without its process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = Api()
        self.kernel = fake.FakeKernel(NETNS, NETNS + "2")
        for index in range(4):
            self.kernel.add_device(f"ens1f0v{index}", f"0000:03:00.{index + 2}", mac=f"02:00:00:00:00:0{index}")
        self.events: list[tuple[str, str]] = []
        self.results: dict[str, Any] = {}
        self.vfio: set[str] = set()
        self.gone: set[str] = set()
        self.others: tuple[range, ...] = ()
        self.start()

    def start(self) -> None:
        """Also a restart: everything in memory is new, the files, kernel and API are not."""
        api: Any = self.api
        self.dpu = Dpu(self.api)
        store = records.Records(self.folder / "vfs")
        self.pool = devices.VfPool(self.find, self.kernel, store, others=self.others)
        self.peer = peer.RemotePeer(api, api, self.dpu.problem, limit_s=2)
        self.around = attach.Surroundings(
            pods=api, kernel=self.kernel, devices=self.pool, peer=self.peer, mtu=lambda: 1400, gate=lambda: "",
            tell=lambda _pod, reason, message: self.events.append((reason, message)),
        )  # fmt: skip
        self.attach = attach.Attach(self.around)

    def find(self) -> tuple[hardware.Pf, str]:
        here = {seen.link.alias: name for name, seen in self.kernel.namespaces[""].items()}
        slots = [f"0000:03:00.{index + 2}" for index in range(4)]
        vfs = tuple(
            hardware.Vf(slot, index, "", "vfio-pci") if slot in self.vfio
            else hardware.Vf(slot, index, here.get(slot, ""), "mlx5_core")
            for index, slot in enumerate(slots) if slot not in self.gone
        )  # fmt: skip
        return hardware.Pf("0000:03:00.0", 0, "ens1f0", vfs), slots[0]

    async def do(self, command: str, sandbox: str = "s1", *, uid: str = "u1", name: str = "web", **more: Any) -> Any:
        netns = more.pop("netns", NETNS)
        args = f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}"
        if command == "CHECK" and sandbox in self.results:
            more.setdefault("prevResult", self.results[sandbox])
        result = await self.attach.handle(
            cni.Request(
                command=command, container_id=sandbox, netns=netns, ifname="eth0", args=args, pod_uid=uid,
                config={"cniVersion": "1.1.0", **more},
            )
        )  # fmt: skip
        if command == "ADD":
            self.results[sandbox] = result
        return result

    def inside(self, netns: str = NETNS) -> netlink.Observed | None:
        return self.kernel.namespaces[netns].get("eth0")

    def is_clean(self) -> bool:
        """No trace of any sandbox: all VFs home, no record, no details."""
        home = {name for name in self.kernel.namespaces[""] if name.startswith("ens1f0v")}
        told = [pod for pod in self.api.store.values() if annotations.CONNECTION_DETAILS in pod.metadata.annotations]
        return len(home) == 4 and not self.pool.store.by_device and not told


@pytest.fixture
async def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.api.put("web", "u1", **{annotations.POD_NETWORKS: NETWORKS})
    return made
