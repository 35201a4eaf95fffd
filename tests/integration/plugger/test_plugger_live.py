# SPDX-License-Identifier: Apache-2.0
"""The plugger on a real zone: what it says is plugged answers, and what can't be is named in time."""

import asyncio
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
ADDRESSES = {"a": ("10.244.0.11/24", "fd00:10:244::b/64"), "b": ("10.244.0.12/24", "fd00:10:244::c/64")}


class NodeLinks:
    """The links of the zone's node, by ip(8)."""

    def __init__(self, zone: Any) -> None:
        self.zone = zone

    def is_present(self, name: str) -> bool:
        return f" {name}@" in self.zone.ip("-o", "link", "show")

    async def open(self, name: str) -> None:
        self.zone.ip("link", "set", name, "up")

    async def close(self, name: str) -> None:
        if self.is_present(name):
            self.zone.ip("link", "set", name, "down")


@pytest.fixture
async def client(zone: Any) -> AsyncIterator[ovsdb.Client]:
    made = ovsdb.Client(
        remotes=[f"unix:{zone.run_dir}/db.sock"], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False
    )
    task = asyncio.create_task(made.run())
    await made.synced(10)
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def plug(zone: Any, client: ovsdb.Client) -> plugger.Plugger:
    return plugger.Plugger(client, running=daemons.Daemons(zone.run_dir), links=NodeLinks(zone), limit_s=10)


def request(name: str, representor: str, *, sandbox: str = "s1", uid: str = "") -> seam.PlugRequest:
    network = annotations.PodNetwork(ip_addresses=ADDRESSES[name], mac_address=MACS[name])
    return seam.PlugRequest(
        pod=PodKey("ns", name), pod_uid=uid or f"uid-{name}", sandbox=sandbox, network=network, representor=representor
    )


def plan_logical(zone: Any, *names: str) -> None:
    zone.nbctl("--may-exist", "ls-add", "sw")
    for name in names:
        addresses = " ".join([MACS[name], *(cidr.partition("/")[0] for cidr in ADDRESSES[name])])
        zone.nbctl("lsp-add", "sw", f"ns_{name}", "--", "lsp-set-addresses", f"ns_{name}", addresses, "--",
                   "lsp-set-port-security", f"ns_{name}", addresses, "--",
                   "lsp-set-options", f"ns_{name}", f"iface-id-ver=uid-{name}",
                   "requested-chassis=chassis-1")  # fmt: skip


async def test_two_plugged_pods_answer_each_other_and_an_unplugged_one_does_not(
    zone: Any, plug: plugger.Plugger
) -> None:
    plan_logical(zone, "a", "b")
    where = {name: zone.representor(f"pf0vf{number}") for number, name in enumerate("ab", 1)}
    for number, name in enumerate("ab", 1):
        await plug.plug(request(name, f"pf0vf{number}"))
        zone.address(where[name], MACS[name], *ADDRESSES[name])
    assert zone.pings(where["a"], "10.244.0.12")
    assert zone.pings(where["a"], "fd00:10:244::c")

    await plug.unplug("uid-b", "another-sandbox")
    assert {port.name for port in plug.ports()} == {"pf0vf1", "pf0vf2"}
    await plug.unplug("uid-b", "s1")
    await plug.unplug("uid-b", "s1")
    assert {port.name for port in plug.ports()} == {"pf0vf1"}
    assert not zone.pings(where["a"], "10.244.0.12")
    tracked = zone.run("ovs-appctl", "-t", f"{zone.run_dir}/ovs-vswitchd.ctl", "dpctl/dump-conntrack")
    assert "10.244.0.12" not in tracked


async def test_a_missing_representor_is_named_at_once_and_works_after_it_appears(
    zone: Any, plug: plugger.Plugger
) -> None:
    plan_logical(zone, "a")
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(seam.PlugError, match="representor pf0vf7 isn't on this node"):
        await plug.plug(request("a", "pf0vf7"))
    assert loop.time() - began < 1
    zone.representor("pf0vf7")
    await plug.plug(request("a", "pf0vf7"))


async def test_a_new_sandbox_takes_the_port_over_and_waits_for_its_own_installation(
    zone: Any, plug: plugger.Plugger
) -> None:
    plan_logical(zone, "a")
    zone.representor("pf0vf1")
    zone.representor("pf0vf2")
    await plug.plug(request("a", "pf0vf1"))
    for representor, sandbox in (("pf0vf1", "s2"), ("pf0vf2", "s3")):
        await plug.plug(request("a", representor, sandbox=sandbox))
        assert [(p.name, p.sandbox, p.is_installed) for p in plug.ports()] == [(representor, sandbox, True)]
    await plug.unplug("uid-a", "s1")
    assert len(plug.ports()) == 1


async def test_a_pod_without_a_logical_port_is_said_to_be_unbound(zone: Any, client: ovsdb.Client) -> None:
    zone.representor("pf0vf1")
    door = daemons.Daemons(zone.run_dir)
    plug = plugger.Plugger(client, running=door, links=NodeLinks(zone), limit_s=0.5)
    with pytest.raises(seam.PlugError, match="ovn-controller is connected but doesn't bind it"):
        await plug.plug(request("a", "pf0vf1"))
    zone.stop("ovn-controller")
    with pytest.raises(seam.PlugError, match="ovn-controller doesn't answer"):
        await plug.plug(request("a", "pf0vf1"))


async def test_a_representor_in_use_by_a_live_pod_is_refused(zone: Any, client: ovsdb.Client) -> None:
    plan_logical(zone, "a", "b")
    zone.representor("pf0vf1")
    alive = {"uid-a", "uid-b"}
    plug = plugger.Plugger(
        client, running=daemons.Daemons(zone.run_dir), links=NodeLinks(zone), is_live=alive.__contains__
    )
    await plug.plug(request("a", "pf0vf1"))
    with pytest.raises(seam.PlugError, match="in use by ns/a"):
        await plug.plug(request("b", "pf0vf1"))
    alive.discard("uid-a")
    await plug.plug(request("b", "pf0vf1"))
    assert [port.iface_id for port in plug.ports()] == ["ns_b"]
