# SPDX-License-Identifier: Apache-2.0
"""Our DPU half, composed as ``agent.switch_half`` does, on an OVSDB in memory and an OVN that installs ports."""

import asyncio
import json
from pathlib import Path
from typing import Any

from ashore import kube, ovsdb
from ashore.agent import dpu_claims, dpu_lease, dpu_pods, host_half, node_ovs, plugger
from ashore.ovs import daemons
from ashore.schema import row
from ashore.testing import ovsdb as fake_ovsdb
from ashore.wiring import ovs_rows

from . import cluster, go_api

TOP = row.row_id("test", "Open_vSwitch", "")
EXTERNAL = row.row_id("test", "Bridge", "br-ex")


class Nic:
    """Representors that exist, and the kernel's part of them."""

    def __init__(self) -> None:
        self.present = {f"pf0vf{index}" for index in range(16)}

    def representor(self, pf: int, vf: int) -> str | None:
        return name if (name := f"pf{pf}vf{vf}") in self.present else None

    def is_present(self, name: str) -> bool:
        return name in self.present

    async def open(self, name: str) -> None:
        pass

    async def close(self, name: str) -> None:
        pass

    async def addresses(self, name: str) -> set[str]:
        return {"172.30.2.1/16"} if name == "br-ex" else set()


class OurDpu:
    """The half, which can be ended and begun; the switch below it goes on."""

    def __init__(self, ovs: fake_ovsdb.FakeOvsdb, run_dir: Path, clock: go_api.Clock) -> None:
        self.ovs = ovs
        self.nic = Nic()
        self.problem = ""
        self.installs = True
        self.pods: dpu_pods.PodPorts
        self.node: node_ovs.NodeOvs
        self._run_dir = run_dir
        self._clock = clock
        self._tasks = cluster.Tasks()
        (run_dir / "sb").mkdir()
        (run_dir / "sb/remote").write_text("ssl:172.30.0.2:6642\n")
        ovs.transact(
            ovsdb.Insert(
                "Open_vSwitch", TOP, {"bridges": frozenset({EXTERNAL}), "external_ids": {"system-id": "d0d0-1"}}
            ),
            ovsdb.Insert("Bridge", EXTERNAL, {"name": "br-ex"}),
        )

    async def begin(self, api: kube.Client) -> None:
        """Starts the agent's half; returns at once, as a process does."""
        sources = host_half.Sources.of(api, cluster.NODE)
        client = self._database()
        switch = plugger.Plugger(
            client, running=daemons.Daemons(self._run_dir), links=self.nic,
            is_live=lambda uid: uid in dpu_claims.owners(sources.pods.store.values()),
        )  # fmt: skip
        around = node_ovs.Surroundings(
            credentials=self._run_dir, eswitch=self.nic, links=self.nic, addresses=self.nic.addresses,
            uplink=lambda: None,
        )  # fmt: skip
        self.node = node_ovs.NodeOvs(sources.nodes, api, client, cluster.NODE, around)
        self.pods = dpu_pods.PodPorts(
            sources.pods, api, client, switch,
            dpu_pods.Node(
                host=cluster.NODE, eswitch=self.nic, management=self.node.management, gate=self.node.gate
            ),
        )  # fmt: skip
        lease = dpu_lease.DpuLease(api, self.node.node, self._problem, now=self._clock)
        self._tasks.begin(
            client.run(), sources.pods.run(), sources.nodes.run(), sources.configs.run(),
            self.node.run(on_gate=self.pods.look_at_problems), self.pods.run(), lease.run(),
        )  # fmt: skip

    async def end(self) -> None:
        """The agent is gone; OVS, OVN and everything in them stay."""
        await self._tasks.end()

    async def _problem(self) -> str:
        return self.problem

    def ports(self) -> dict[str, dict[str, str]]:
        """br-int: external_ids by port, without what OVN says."""
        found = {}
        for bridge in self.ovs.rows["Bridge"].values():
            for port in bridge["ports"] if bridge["name"] == "br-int" else ():
                for interface in self.ovs.rows["Port"][port]["interfaces"]:
                    columns = self.ovs.rows["Interface"][interface]
                    found[columns["name"]] = {
                        key: value for key, value in columns["external_ids"].items() if key != ovs_rows.INSTALLED
                    }
        found.pop("br-int", None)
        return found

    def _database(self) -> ovsdb.Client:
        return ovsdb.Client(
            remotes=[self.ovs.remote], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False
        )

    async def ovn(self) -> None:
        """ovn-controller: installs each port 100 ms after it appears, unless told not to."""
        news = asyncio.Event()
        client = self._database()
        client.subscribe(lambda _change: news.set())
        async with asyncio.TaskGroup() as group:
            group.create_task(client.run())
            while True:
                await news.wait()
                news.clear()
                await asyncio.sleep(0.1)
                self.install()

    def install(self) -> None:
        for uuid, columns in list(self.ovs.rows["Interface"].items()):
            marks = columns["external_ids"]
            if self.installs and "iface-id" in marks and ovs_rows.INSTALLED not in marks:
                put = {ovs_rows.INSTALLED: "true"}
                self.ovs.transact(ovsdb.MutateMap("Interface", row.Uuid(uuid), "external_ids", put=put))


async def answer_control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Both daemons' control sockets: all is well."""
    request = json.loads(await reader.readuntil(b"}"))
    result: Any = "connected" if request["method"] == "connection-status" else "fine"
    writer.write(json.dumps({"id": request["id"], "result": result, "error": None}).encode())
    writer.close()
    await writer.wait_closed()
