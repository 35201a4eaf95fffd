# SPDX-License-Identifier: Apache-2.0
"""CNI GC frees what a crashed runtime left, and nothing else; so does an agent that starts."""

import asyncio
from typing import Any

import pytest

from ashore import kube, netlink, runtime
from ashore.agent import node_host
from ashore.api import annotations, cni

Host = Any
VALID = "cni.dev/valid-attachments"
pytestmark = pytest.mark.looptime


def entry(sandbox: str, ifname: str = "eth0") -> dict[str, str]:
    return {"containerID": sandbox, "ifname": ifname}


async def three_pods(host: Host) -> None:
    networks = host.api.notes()[annotations.POD_NETWORKS]
    for index in range(3):
        host.api.put(f"p{index}", f"u-{index}", **{annotations.POD_NETWORKS: networks})
        host.kernel.namespaces[f"/run/netns/{index}"] = {}
        await host.do("ADD", f"x{index}", name=f"p{index}", uid=f"u-{index}", netns=f"/run/netns/{index}")


def sandboxes(host: Host) -> set[str]:
    return {record.sandbox for record in host.pool.store.by_device.values()}


def told(host: Host) -> set[str]:
    return {pod.metadata.name for pod in host.api.store.values()
            if annotations.CONNECTION_DETAILS in pod.metadata.annotations}  # fmt: skip


async def test_only_what_is_listed_stays(host: Host) -> None:
    await three_pods(host)
    await host.do("GC", **{VALID: [entry("x1"), entry("x2", "net1"), entry("unheard-of")]})
    assert (sandboxes(host), told(host)) == ({"x1"}, {"p1"})
    assert "eth0" in host.kernel.namespaces["/run/netns/1"]
    await host.do("GC", **{VALID: []})
    assert host.is_clean()


@pytest.mark.parametrize(
    "listed",
    [None, {}, "x1", [None], [entry("x1"), 3], [{"containerID": "x1"}], [{"containerID": 1, "ifname": "eth0"}],
     [{"containerID": "", "ifname": "eth0"}]],
)  # fmt: skip
async def test_a_list_that_makes_no_sense_frees_nothing(host: Host, listed: Any) -> None:
    await three_pods(host)
    with pytest.raises(cni.Failure, match="nothing was freed") as info:
        await host.do("GC", **({} if listed is None else {VALID: listed}))
    assert (info.value.error.code, sandboxes(host)) == (cni.INVALID_CONFIG, {"x0", "x1", "x2"})


async def test_a_dead_namespaces_vf_is_freed(host: Host) -> None:
    await three_pods(host)
    host.kernel.drop_netns("/run/netns/0")
    await host.do("GC", **{VALID: [entry("x1"), entry("x2")]})
    assert (sandboxes(host), host.pool.free(), told(host)) == ({"x1", "x2"}, 1, {"p1", "p2"})


async def test_details_without_a_record_are_taken_back(host: Host) -> None:
    await three_pods(host)
    host.pool.store.drop("0000:03:00.3")
    await host.do("GC", **{VALID: [entry("x1"), entry("x2")]})
    assert told(host) == {"p1", "p2"}


async def test_valid_details_without_a_record_stay(host: Host) -> None:
    await three_pods(host)
    host.pool.store.drop("0000:03:00.3")
    await host.do("GC", **{VALID: [entry("x0"), entry("x1"), entry("x2")]})
    assert told(host) == {"p0", "p1", "p2"}


async def test_what_can_not_be_freed_does_not_keep_the_rest(host: Host) -> None:
    await three_pods(host)
    host.kernel.refusals["move_back"] = netlink.KernelRefused("device or resource busy", 16)
    with pytest.raises(cni.Failure, match=r"GC left 1 behind: .*busy") as info:
        await host.do("GC", **{VALID: []})
    assert (info.value.error.code, len(sandboxes(host))) == (cni.TRY_AGAIN, 1)
    await host.do("GC", **{VALID: []})
    assert host.is_clean()


async def test_an_api_that_is_away_leaves_records_for_the_next_time(host: Host) -> None:
    await three_pods(host)
    host.api.down = True
    with pytest.raises(cni.Failure, match="can't tell the DPU"):
        await host.do("GC", **{VALID: [entry("x1")]})
    assert sandboxes(host) == {"x0", "x1", "x2"}
    host.api.down = False
    await host.do("GC", **{VALID: [entry("x1")]})
    assert (sandboxes(host), told(host)) == ({"x1"}, {"p1"})


async def test_a_sandbox_whose_add_is_under_way_is_not_collected(host: Host) -> None:
    host.dpu.status = ""
    adding = asyncio.ensure_future(host.do("ADD"))
    key = kube.ObjectKey("default", "web")
    await host.api.wait_for(key, lambda pod: annotations.CONNECTION_DETAILS in pod.metadata.annotations, timeout_s=1)
    await host.do("GC", **{VALID: []})
    assert (sandboxes(host), told(host)) == ({"s1"}, {"web"})
    host.dpu.status = "Ready"
    host.api.annotate("web", {})
    await adding
    await host.do("GC", **{VALID: [entry("s1")]})
    assert host.inside() is not None


async def test_a_starting_agent_frees_what_belongs_to_dead_namespaces_only(host: Host) -> None:
    await three_pods(host)
    for index in range(2):
        host.kernel.drop_netns(f"/run/netns/{index}")
    host.start()
    host.kernel.refusals["move_back"] = netlink.KernelRefused("busy", 16)
    with pytest.raises(runtime.Retry, match="1 devices of gone sandboxes not given back"):
        await node_host.sweep(host.around, host.attach)
    await node_host.sweep(host.around, host.attach)
    assert (sandboxes(host), told(host)) == ({"x2"}, {"p2"})
