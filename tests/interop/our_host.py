# SPDX-License-Identifier: Apache-2.0
"""Our host half on a kernel in memory, a NIC in a sysfs tree, and CNI requests as a runtime makes them."""

import asyncio
from pathlib import Path
from typing import Any

from ashore import hardware, kube
from ashore.agent import devices, host_half, node_host, peer, records, settings
from ashore.api import cni
from ashore.kube import objects
from ashore.testing import kernel as fake_kernel

from . import cluster

PF = "0000:03:00.0"
NETNS = "/run/netns/{}"


class OurHost:
    """The half, which can be ended and begun; kernel and records stay."""

    def __init__(self, folder: Path, *, vfs: int = 4) -> None:
        self.kernel = fake_kernel.FakeKernel()
        self.half: host_half.HostHalf
        self.watch: peer.LeaseWatch
        self._folder = folder
        self._sys = folder / "sys"
        self._tasks = cluster.Tasks()
        self._results: dict[str, dict[str, Any]] = {}  # what a runtime keeps of each sandbox's ADD
        self.kernel.default_routes = ("ens1f0",)
        self.kernel.add_device("ens1f0", PF)
        link = self.kernel.namespaces[""]["ens1f0"].link
        self.kernel.namespaces[""]["ens1f0"] = type(self.kernel.namespaces[""]["ens1f0"])(
            link, frozenset({"172.30.1.1/16"}), frozenset()
        )
        devices_folder = self._sys / "bus/pci/devices"
        (devices_folder / PF / "net" / "ens1f0").mkdir(parents=True)
        (devices_folder / PF / "sriov_totalvfs").write_text("16\n")
        for index in range(vfs):
            slot = f"0000:03:00.{index + 2}"
            self.kernel.add_device(f"ens1f0v{index}", slot, mac=f"02:00:00:00:00:0{index}")
            (devices_folder / slot / "net" / f"ens1f0v{index}").mkdir(parents=True)
            (devices_folder / slot / "physfn").symlink_to(f"../{PF}")
            (devices_folder / PF / f"virtfn{index}").symlink_to(f"../{slot}")

    async def begin(self, api: kube.Client) -> None:
        """Starts the agent's half, as ``agent.modes`` composes it for dpu-host."""
        given = settings.parse(
            ["--mode=dpu-host", f"--node-name={cluster.NODE}", f"--sys-root={self._sys}", f"--state-dir={self._folder}"]
        )
        sources = host_half.Sources.of(api, cluster.NODE)
        leases: kube.Informer[objects.Lease] = kube.Informer(api, kube.LEASES, namespace="ovn-kubernetes")
        self.watch = peer.LeaseWatch(leases, cluster.NODE, clock=asyncio.get_running_loop().time)
        management = node_host.ManagementVf(self._sys, self.kernel)

        def find() -> tuple[hardware.Pf, str]:
            return management.find()

        pool = devices.VfPool(find, self.kernel, records.Records(self._folder / "vfs"))
        remote = peer.RemotePeer(sources.pods, api, self.watch.problem)
        self.half = host_half.HostHalf(given, sources, self.kernel, host_half.Parts(management, pool, remote))
        self._tasks.begin(
            sources.pods.run(), sources.nodes.run(), sources.configs.run(), leases.run(), self.half.node.run()
        )

    async def end(self) -> None:
        await self._tasks.end()

    async def cni(self, command: str, pod: objects.Pod, sandbox: str = "s1", *, uid: str = "") -> dict[str, Any]:
        """What the runtime asks for a sandbox of the pod. Raises cni.Failure."""
        netns = NETNS.format(sandbox)
        self.kernel.namespaces.setdefault(netns, {})
        uid = uid or pod.metadata.uid
        kept = {"prevResult": self._results[sandbox]} if sandbox in self._results else {}
        args = f"K8S_POD_NAMESPACE=ns;K8S_POD_NAME={pod.metadata.name};K8S_POD_UID={uid}"
        request = cni.Request(
            command=command, container_id=sandbox, netns=netns, ifname="eth0", args=args, pod_uid=uid,
            config={"cniVersion": "1.1.0"} | kept,
        )  # fmt: skip
        result = await self.half._attach.handle(request)
        if command == "ADD":
            self._results[sandbox] = result
        return result

    def inside(self, sandbox: str = "s1") -> set[str]:
        """Addresses of the sandbox's interface; empty when it has none."""
        seen = self.kernel.namespaces[NETNS.format(sandbox)].get("eth0")
        return set(seen.addresses) if seen else set()

    def free(self) -> list[str]:
        """VFs that are at home."""
        return sorted(name for name in self.kernel.namespaces[""] if name.startswith("ens1f0v"))
