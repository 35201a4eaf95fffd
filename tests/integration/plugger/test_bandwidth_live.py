# SPDX-License-Identifier: Apache-2.0
"""Bandwidth limits on a real switch, measured with real packets: as ratios within one run."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ashore import ovsdb
from ashore.agent import plugger, seam
from ashore.api import annotations
from ashore.api.net import PodKey
from ashore.ovs import daemons
from ashore.wiring import ovs_rows

MACS = {"a": "0a:58:0a:f4:00:0b", "b": "0a:58:0a:f4:00:0c"}
ADDRESSES = {"a": "10.244.0.11", "b": "10.244.0.12"}
LIMIT_BPS = 4_000_000

# Prints how many bytes a second arrive over TCP; 0.5 s pass before it counts, and the counting takes 1.5 s.
MEASURE = """
import socket, sys, time
server = socket.create_server((sys.argv[1], 7000))
print("listening", flush=True)
server.settimeout(10)
connection, _ = server.accept()
connection.settimeout(5)
began, counted, size = time.monotonic(), None, 0
while (now := time.monotonic()) < began + 2:
    size += len(connection.recv(1 << 20))
    if counted is None and now > began + 0.5:
        counted, size = now, 0
print(int(size / (now - counted)), flush=True)
"""
SEND = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), 10)
connection.settimeout(10)
try:
    while True:
        connection.sendall(bytes(1 << 16))
except OSError:
    pass
"""


class NodeLinks:
    """The links of the zone's node, by ip(8)."""

    def __init__(self, zone: Any) -> None:
        self.zone = zone

    def is_present(self, name: str) -> bool:
        return f" {name}@" in self.zone.ip("-o", "link", "show")

    async def open(self, name: str) -> None:
        self.zone.ip("link", "set", name, "up")

    async def close(self, name: str) -> None:
        self.zone.ip("link", "set", name, "down")


class Pair:
    """Pods a and b on one bridge."""

    def __init__(self, zone: Any, client: ovsdb.Client) -> None:
        self.zone = zone
        self.plugger = plugger.Plugger(client, running=daemons.Daemons(zone.run_dir), links=NodeLinks(zone), limit_s=10)
        self.where: dict[str, str] = {}

    async def start(self) -> None:
        self.zone.nbctl("ls-add", "sw")
        for number, name in enumerate("ab", 1):
            told = f"{MACS[name]} {ADDRESSES[name]}"
            self.zone.nbctl("lsp-add", "sw", f"ns_{name}", "--", "lsp-set-addresses", f"ns_{name}", told, "--",
                            "lsp-set-options", f"ns_{name}", f"iface-id-ver=uid-{name}")  # fmt: skip
            self.where[name] = self.zone.representor(f"pf0vf{number}")
            await self.plug(name)
            self.zone.address(self.where[name], MACS[name], f"{ADDRESSES[name]}/24")

    async def plug(self, name: str, *, sandbox: str = "s1", ingress_bps: int = 0, egress_bps: int = 0) -> None:
        network = annotations.PodNetwork(ip_addresses=(f"{ADDRESSES[name]}/24",), mac_address=MACS[name])
        request = seam.PlugRequest(
            pod=PodKey("ns", name), pod_uid=f"uid-{name}", sandbox=sandbox, network=network,
            representor="pf0vf1" if name == "a" else "pf0vf2", ingress_bps=ingress_bps, egress_bps=egress_bps,
        )  # fmt: skip
        await self.plugger.plug(request)

    def bytes_per_second(self, source: str, target: str) -> int:
        """What goes through between the two over TCP."""
        inside = ["ip", "netns", "exec", self.where[target], sys.executable, "-c", MEASURE, ADDRESSES[target]]
        with subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) as measuring:
            assert measuring.stdout is not None
            assert measuring.stdout.readline() == "listening\n"
            outside = ["ip", "netns", "exec", self.where[source], sys.executable, "-c", SEND, ADDRESSES[target]]
            with subprocess.Popen(outside) as sending:
                found = measuring.stdout.readline()
                sending.terminate()
        return int(found)


@pytest.fixture
async def pair(zone: Any) -> AsyncIterator[Pair]:
    client = ovsdb.Client(
        remotes=[f"unix:{zone.run_dir}/db.sock"], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False
    )
    task = asyncio.create_task(client.run())
    await client.synced(10)
    made = Pair(zone, client)
    await made.start()
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_a_pod_receives_is_shaped_and_only_that(pair: Pair) -> None:
    free = pair.bytes_per_second("b", "a")
    await pair.plug("a", sandbox="s2", ingress_bps=LIMIT_BPS)
    shaped, back = pair.bytes_per_second("b", "a"), pair.bytes_per_second("a", "b")
    assert shaped * 10 < free, (free, shaped)
    assert shaped * 10 < back, (back, shaped)
    await pair.plug("a", sandbox="s3")
    freed = pair.bytes_per_second("b", "a")
    assert shaped * 10 < freed, "a new sandbox has no limit of an old one"
    assert pair.zone.vsctl("--columns=_uuid", "list", "QoS") == ""


async def test_what_a_pod_sends_is_policed_by_ovs(pair: Pair) -> None:
    """OVS is told; the userspace datapath of this switch doesn't police kernel netdevs, so rates can't tell."""
    await pair.plug("a", sandbox="s2", egress_bps=LIMIT_BPS)
    told = pair.zone.vsctl("get", "Interface", "pf0vf1", "ingress_policing_rate", "ingress_policing_burst")
    assert told.split() == ["4000", "400"]


async def test_a_shaped_pod_is_unplugged_without_leftovers(pair: Pair) -> None:
    await pair.plug("a", sandbox="s2", ingress_bps=LIMIT_BPS, egress_bps=LIMIT_BPS)
    assert pair.zone.vsctl("--columns=_uuid", "list", "QoS") != ""
    await pair.plugger.unplug("uid-a", "s2")
    assert [port.name for port in pair.plugger.ports()] == ["pf0vf2"]
    assert pair.zone.vsctl("--columns=_uuid", "list", "QoS") == ""
