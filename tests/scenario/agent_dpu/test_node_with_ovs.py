# SPDX-License-Identifier: Apache-2.0
"""Stories of a node's own part: what the operating system gave is used, what is ours is kept right."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ashore import kube, ovsdb
from ashore.agent import node_ovs
from ashore.api import annotations
from ashore.schema import row, vswitch
from ashore.testing import kube as fake_kube
from ashore.testing import ovsdb as fake_ovsdb
from ashore.wiring import ovs_rows

TOP = row.row_id("test", "Open_vSwitch", "")
EXTERNAL = row.row_id("test", "Bridge", "br-ex")
UPLINK = {each: row.row_id("test", each, "p0") for each in ("Port", "Interface")}


class Kernel:
    """A NIC and a kernel in one: representors by number, br-ex's addresses."""

    def __init__(self) -> None:
        self.present = {"pf0vf0"}
        self.opened: list[str] = []
        self.addresses = {"172.30.2.1/16", "fd00:30::2:1/64"}

    def representor(self, pf: int, vf: int) -> str | None:
        return name if (name := f"pf{pf}vf{vf}") in self.present else None

    def is_present(self, name: str) -> bool:
        return name in self.present

    async def open(self, name: str) -> None:
        self.opened.append(name)

    async def close(self, name: str) -> None:
        del name

    async def on_bridge(self, name: str) -> set[str]:
        assert name == "br-ex"
        return self.addresses


class Node:
    """One running node part."""

    def __init__(self, fake: fake_ovsdb.FakeOvsdb, api: fake_kube.FakeKube, kernel: Kernel) -> None:
        self.ovs, self.api, self.kernel = fake, api, kernel
        self.pod_mtu = 1400
        self.part: node_ovs.NodeOvs

    def make_br_ex(self, *, mtu: int = 1500) -> None:
        self.ovs.transact(
            ovsdb.Insert("Interface", UPLINK["Interface"], {"name": "p0", "mtu": mtu}),
            ovsdb.Insert("Port", UPLINK["Port"], {"name": "p0", "interfaces": frozenset({UPLINK["Interface"]})}),
            ovsdb.Insert("Bridge", EXTERNAL, {
                "name": "br-ex", "datapath_type": "netdev", "ports": frozenset({UPLINK["Port"]}),
            }),
            ovsdb.MutateSet("Open_vSwitch", TOP, "bridges", add=frozenset({EXTERNAL})),
        )  # fmt: skip

    def settings(self) -> dict[str, str]:
        return dict(self.ovs.rows["Open_vSwitch"][TOP]["external_ids"])

    def notes(self) -> dict[str, str]:
        return dict(self.api.read(kube.NODES, "host-1").metadata.annotations)

    def annotate(self, key: str, text: str) -> None:
        self.api.put(kube.NODES, {"metadata": {"name": "host-1", "annotations": {**self.notes(), key: text}}})

    def ports(self) -> list[dict[str, str]]:
        return [dict(c["external_ids"]) for c in self.ovs.rows["Interface"].values() if c["name"].startswith("pf0vf")]


@pytest.fixture
async def node(run_dir: Path, tmp_path: Path) -> AsyncIterator[Node]:
    (tmp_path / "sb").mkdir()
    (tmp_path / "sb/remote").write_text("ssl:172.30.0.2:6642\n")
    async with (
        fake_ovsdb.FakeOvsdb("Open_vSwitch", vswitch.TABLES, run_dir / "n.sock") as ovs,
        fake_kube.FakeKube() as fake, fake.client() as api,
    ):  # fmt: skip
        ovs.transact(ovsdb.Insert("Open_vSwitch", TOP, {"external_ids": {"system-id": "c1"}}))
        fake.put(kube.NODES, {"metadata": {"name": "host-1"}})
        made = Node(ovs, fake, kernel := Kernel())
        client = ovsdb.Client(remotes=[ovs.remote], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False)
        nodes = kube.Informer(api, kube.NODES, field_selector="metadata.name=host-1")
        around = node_ovs.Surroundings(
            credentials=tmp_path, eswitch=kernel, links=kernel, addresses=kernel.on_bridge, uplink=lambda: "p0",
            pod_mtu=lambda: made.pod_mtu,
        )  # fmt: skip
        made.part = node_ovs.NodeOvs(nodes, api, client, "host-1", around)
        tasks = [asyncio.create_task(each) for each in (client.run(), nodes.run(), made.part.run())]
        yield made
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_node_waits_for_br_ex_and_touches_nothing_before(node: Node, eventually: Any) -> None:
    await eventually(lambda: "br-ex" in node.part.queue.problems.get("host-1", ""), "it says what it waits for")
    assert node.settings() == {"system-id": "c1"}
    node.make_br_ex()
    await eventually(lambda: annotations.NODE_CHASSIS_ID in node.notes(), "the node is annotated")
    assert node.notes()[annotations.NODE_ENCAP_IPS] == '["172.30.2.1"]'
    assert {c["name"]: c["datapath_type"] for c in node.ovs.rows["Bridge"].values()} == {
        "br-ex": "netdev",
        "br-int": "netdev",
    }
    assert node.ovs.rows["Bridge"][EXTERNAL]["ports"] == {UPLINK["Port"]}
    (ssl,) = node.ovs.rows["SSL"].values()
    assert ssl["private_key"].endswith("/sb/key.pem")
    assert node.settings()["ovn-remote"] == "ssl:172.30.0.2:6642"


async def test_a_tunnel_address_of_the_operating_system_stays(node: Node, eventually: Any) -> None:
    put = {"ovn-encap-ip": "192.0.2.7"}
    node.ovs.transact(ovsdb.MutateMap("Open_vSwitch", TOP, "external_ids", put=put))
    node.make_br_ex()
    await eventually(lambda: node.notes().get(annotations.NODE_ENCAP_IPS) == '["192.0.2.7"]', "it is announced")
    assert node.settings()["ovn-encap-ip"] == "192.0.2.7"


async def test_a_tunnel_address_of_ours_follows_br_ex(node: Node, eventually: Any) -> None:
    node.make_br_ex()
    await eventually(lambda: node.notes().get(annotations.NODE_ENCAP_IPS) == '["172.30.2.1"]', "the first address")
    node.kernel.addresses = {"172.30.2.99/16"}
    node.part.look()
    await eventually(lambda: node.notes()[annotations.NODE_ENCAP_IPS] == '["172.30.2.99"]', "the new address")
    assert node.settings()["ovn-encap-ip"] == "172.30.2.99"


async def test_the_management_port_is_plugged_once_the_host_names_it(node: Node, eventually: Any) -> None:
    node.make_br_ex()
    await eventually(lambda: annotations.NODE_CHASSIS_ID in node.notes(), "the node is annotated")
    assert node.ports() == []
    node.annotate(annotations.NODE_MGMT_PORT, '{"default":{"DeviceId":"0000:03:00.2","PfId":0,"FuncId":0}}')
    want = {"iface-id": "k8s-host-1", "k8s.ovn.org/management-port-name": "ovn-k8s-mp0"}
    await eventually(lambda: node.ports() == [want], "its representor is on br-int")
    assert node.kernel.opened == ["pf0vf0"]


async def test_an_uplink_too_small_shuts_the_gate_and_is_announced(node: Node, eventually: Any) -> None:
    node.make_br_ex(mtu=1450)
    await eventually(lambda: "raise the uplink" in node.notes().get(annotations.MTU_PROBLEM, ""), "it is announced")
    assert "uplink p0 has MTU 1450" in node.part.gate()
    node.ovs.transact(ovsdb.Update("Interface", UPLINK["Interface"], {"mtu": 1500}))
    await eventually(lambda: annotations.MTU_PROBLEM not in node.notes(), "it is taken back")
    assert node.part.gate() == ""


async def test_settings_damaged_by_hand_come_back(node: Node, eventually: Any) -> None:
    node.make_br_ex()
    await eventually(lambda: "ovn-remote" in node.settings(), "settings are written")
    drop = frozenset({"ovn-remote"})
    node.ovs.transact(ovsdb.MutateMap("Open_vSwitch", TOP, "external_ids", put={"ovn-monitor-all": "true"}, drop=drop))
    await eventually(lambda: node.settings().get("ovn-remote") == "ssl:172.30.0.2:6642", "it is back")
    assert node.settings()["ovn-monitor-all"] == "false"
