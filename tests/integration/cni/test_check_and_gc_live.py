# SPDX-License-Identifier: Apache-2.0
"""ADD, CHECK and GC by the installed plugin on a real namespace, with damage done by ip(8)."""

import asyncio
import json
import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ashore import kube, netlink
from ashore.agent import attach, cni_server, devices, install, records
from ashore.api import annotations
from ashore.kube import objects

NETWORK = annotations.PodNetwork(
    ip_addresses=("10.244.1.5/24", "fd00:10:244:1::5/64"), mac_address="0a:58:0a:f4:01:05",
    gateway_ips=("10.244.1.1", "fd00:10:244:1::1"),
)  # fmt: skip
META = objects.ObjectMeta(
    name="web", namespace="default", uid="u1",
    annotations={annotations.POD_NETWORKS: annotations.encode_pod_networks({"default": NETWORK})},
)  # fmt: skip


class Pods:
    """An informer that knows one pod."""

    async def wait_for(self, _key: kube.ObjectKey, _predicate: Any, **_limit: float) -> objects.Pod:
        return objects.Pod(metadata=META)


class Switch:
    """A peer that connects everything at once; the switch isn't what is tried here."""

    async def connect(self, pod: Any, record: Any) -> None:
        del pod, record

    async def disconnect(self, record: Any) -> None:
        del record

    async def damage(self, pod: Any, record: Any) -> str:
        del pod, record
        return ""

    async def collect(self, keep: Any) -> None:
        del keep

    def problem(self) -> str:
        return ""


class Node:
    """A node with one sandbox, and its runtime."""

    def __init__(self, folder: Path) -> None:
        self.sandbox = f"gc{uuid.uuid4().hex[:6]}"
        self.netns = f"/run/netns/{self.sandbox}"
        self.socket = folder / "cni.sock"
        install.install(folder / "bin", folder / "net.d", self.socket)
        self.plugin = folder / "bin" / install.PLUGIN
        pods: Any = Pods()
        kernel = netlink.LinuxKernel()
        self.store = records.Records(folder / "veths")
        pool = devices.VethPool(kernel, self.store)
        around = attach.Surroundings(
            pods=pods, kernel=kernel, devices=pool, peer=Switch(), mtu=lambda: 1400, gate=lambda: ""
        )
        self.server = cni_server.CniServer(self.socket, attach.Attach(around).handle)

    async def run(self, command: str, **more: Any) -> Any:
        """What the plugin prints, None for nothing."""
        env = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": self.sandbox, "CNI_NETNS": self.netns, "CNI_IFNAME": "eth0",
            "CNI_ARGS": "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_UID=u1",
        }  # fmt: skip
        config = {"cniVersion": "1.1.0", "name": "ashore", "type": "ashore-cni", "socket": str(self.socket), **more}
        process = await asyncio.create_subprocess_exec(
            self.plugin, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        async with asyncio.timeout(20):
            output, _ = await process.communicate(json.dumps(config).encode())
        return json.loads(output) if output else None

    def netns_is(self, verb: str) -> None:
        """Makes the sandbox's namespace or removes it."""
        subprocess.run(["ip", "netns", verb, self.sandbox], check=True)

    def ip(self, *words: str) -> str:
        """ip(8) in the sandbox."""
        done = subprocess.run(["ip", "-n", self.sandbox, *words], check=True, capture_output=True, text=True)
        return done.stdout


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Node(tmp_path)
    made.netns_is("add")
    listening = asyncio.Event()
    task = asyncio.create_task(made.server.run(listening.set))
    await listening.wait()
    yield made
    await made.run("DEL")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made.netns_is("del")


DAMAGE = {
    "down": ("link set eth0 down", "it is down"),
    "MAC": ("link set eth0 address 02:00:00:00:00:99", "MAC is 02:00:00:00:00:99, not 0a:58:0a:f4:01:05"),
    "MTU": ("link set eth0 mtu 1380", "MTU is 1380, not 1400"),
    "missing address": ("address del fd00:10:244:1::5/64 dev eth0", "address fd00:10:244:1::5/64 is missing"),
    "foreign address": ("address add 10.9.9.9/32 dev eth0", "address 10.9.9.9/32 isn't the pod's"),
    "missing route": ("route del default", "route to 0.0.0.0/0 by 10.244.1.1 is missing"),
    "no interface": ("link del eth0", "the namespace has no eth0"),
    "another interface": ("link set eth0 alias somebody", "eth0 isn't device veth-"),
}


@pytest.mark.parametrize("kind", DAMAGE)
async def test_damage_done_to_a_real_interface_is_found(node: Node, kind: str) -> None:
    command, says = DAMAGE[kind]
    result = await node.run("ADD")
    assert await node.run("CHECK", prevResult=result) is None
    node.ip(*command.split())
    found = await node.run("CHECK", prevResult=result)
    assert found["code"] == 109
    assert says in found["msg"]


async def test_gc_frees_what_is_not_listed_and_only_that(node: Node) -> None:
    await node.run("ADD")
    listed = [{"containerID": node.sandbox, "ifname": "eth0"}]
    assert await node.run("GC", **{"cni.dev/valid-attachments": listed}) is None
    assert "eth0" in node.ip("-o", "link")
    refused = await node.run("GC", **{"cni.dev/valid-attachments": [{}]})
    assert (refused["code"], "eth0" in node.ip("-o", "link")) == (7, True)
    assert await node.run("GC", **{"cni.dev/valid-attachments": []}) is None
    assert "eth0" not in node.ip("-o", "link")
    assert not node.store.by_device
