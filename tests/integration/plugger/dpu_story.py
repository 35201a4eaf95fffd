# SPDX-License-Identifier: Apache-2.0
"""Runs inside a node's network namespace: a DPU's whole agent half, with an API server in memory, lives a short day.

Arguments: run directory, sysfs root, credentials directory. What it found goes to standard output as JSON.
"""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ashore import kube
from ashore.agent import modes, settings
from ashore.api import annotations, names, net
from ashore.testing import kube as fake_kube

LIMIT_S = 20.0


async def until(claim: Callable[[], bool]) -> float:
    """How long it took until the claim held."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(LIMIT_S):
        while not claim():  # noqa: ASYNC110 (the fake server tells no events)
            await asyncio.sleep(0.005)
    return loop.time() - began


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


class Story:
    def __init__(self, fake: fake_kube.FakeKube, run_dir: Path, sys_root: Path) -> None:
        self.fake = fake
        self.run_dir = run_dir
        self.sys_root = sys_root

    def add_pod(self, name: str, index: int, vf: int) -> None:
        address, mac = f"10.244.0.{index}", f"0a:58:0a:f4:00:{index:02x}"
        network = annotations.PodNetwork(ip_addresses=(f"{address}/24",), mac_address=mac)
        details = annotations.ConnectionDetails(pf_id="0", vf_id=str(vf), sandbox_id=f"sandbox-{name}")
        notes = {
            annotations.POD_NETWORKS: annotations.encode_pod_networks({"default": network}),
            annotations.CONNECTION_DETAILS: annotations.encode_details({"default": details}),
        }
        meta = {"name": name, "namespace": "ns", "annotations": notes}
        self.fake.put(kube.PODS, {"metadata": meta, "spec": {"nodeName": "host-1"}})
        uid = self.fake.read(kube.PODS, name, "ns").metadata.uid
        port = names.pod_port(net.PodKey("ns", name))
        run(
            "ovn-nbctl", f"--db=unix:{self.run_dir}/nb.sock", "lsp-add", "sw", port, "--",
            "lsp-set-addresses", port, f"{mac} {address}", "--",
            "lsp-set-options", port, f"iface-id-ver={uid}", "requested-chassis=chassis-1",
        )  # fmt: skip

    def status(self, name: str) -> annotations.ConnectionStatus:
        notes = self.fake.read(kube.PODS, name, "ns").metadata.annotations
        found = annotations.decode_status(notes.get(annotations.CONNECTION_STATUS, "{}"))
        return found.get("default", annotations.ConnectionStatus(status=""))

    def node_notes(self) -> dict[str, str]:
        return dict(self.fake.read(kube.NODES, "host-1").metadata.annotations)

    def has_lease(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(self.fake.read(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes").spec.renew_time)
        return False

    def show_representor(self, name: str) -> None:
        directory = self.sys_root / "class/net" / name
        directory.mkdir(parents=True)
        (directory / "phys_switch_id").write_text("00aa\n")
        (directory / "phys_port_name").write_text(f"{name}\n")

    async def live(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        await until(lambda: annotations.NODE_CHASSIS_ID in self.node_notes())
        found["lease_s"] = await until(self.has_lease)
        self.add_pod("a", 11, 1)
        self.add_pod("b", 12, 2)
        found["ready_s"] = await until(lambda: {self.status(n).status for n in "ab"} == {"Ready"})
        self.add_pod("c", 13, 9)
        found["error_s"] = await until(lambda: self.status("c").status == "Error")
        found["error"] = self.status("c").reason
        self.show_representor("pf0vf9")
        run("ip", "link", "add", "pf0vf9", "type", "veth", "peer", "name", "vf9")
        found["recovered_s"] = await until(lambda: self.status("c").status == "Ready")
        self.fake.remove(kube.PODS, "c", "ns")
        vsctl = ("ovs-vsctl", f"--db=unix:{self.run_dir}/db.sock")
        await until(lambda: "pf0vf9" not in run(*vsctl, "list-ports", "br-int"))
        await until(lambda: "pf0vf0" in run(*vsctl, "list-ports", "br-int"))
        found["management"] = run(*vsctl, "get", "Interface", "pf0vf0", "external_ids:iface-id").strip()
        found["settings"] = run(*vsctl, "get", "Open_vSwitch", ".", "external_ids")
        found["node"] = self.node_notes()
        found["nft"] = run("nft", "list", "table", "netdev", "ashore")
        found["link"] = run("ip", "-d", "addr", "show", "pf0vf1")
        return found


async def main(run_dir: Path, sys_root: Path, credentials: Path) -> None:
    async with fake_kube.FakeKube() as fake, fake.client() as api:
        notes = {
            annotations.NODE_MGMT_PORT: '{"default":{"DeviceId":"0000:03:00.2","PfId":0,"FuncId":0}}',
            annotations.PRIMARY_DPU_HOST_ADDR: '{"ipv4":"172.30.1.1/16"}',
        }
        fake.put(kube.NODES, {"metadata": {"name": "host-1", "annotations": notes}})
        words = ["--mode", "dpu", "--credentials", str(credentials), "--sys-root", str(sys_root)]
        given = settings.parse([*words, "--ovs-run-dir", str(run_dir)])
        tasks = await modes.TABLE["dpu"].compose(given, api, lambda _name, _check: None)
        agent = asyncio.gather(*tasks)
        try:
            story = asyncio.create_task(Story(fake, run_dir, sys_root).live())
            both: set[asyncio.Future[Any]] = {agent, story}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if agent.done():
                agent.result()
            sys.stdout.write(json.dumps(await story))
        finally:
            agent.cancel()
            await asyncio.gather(agent, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main(*map(Path, sys.argv[1:])))
