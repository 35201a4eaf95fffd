# SPDX-License-Identifier: Apache-2.0
"""Pods of our host half on a Go dpu and its zone: interop.md sections 2 (ADD) and 3 (DEL)."""

import asyncio
import json
import time
from typing import Any

import pytest

from ashore.agent import peer
from ashore.api import annotations, cni

from . import cluster, go_form

Pair = Any
pytestmark = pytest.mark.looptime(start=time.monotonic, noop_cycles=100)
READY = '{"default":{"Status":"Ready"}}'


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_our_host_s_add_succeeds_on_details_alone(ours_and_go_dpu: Pair) -> None:
    """The zone gives the addresses, with routes, a tunnel id and the singular keys; Ready names no sandbox."""
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod(allocated=False)
    result = await pair.ours.cni("ADD", pod)
    await cluster.until(lambda: pair.cluster.status() is not None, "it is seen here as well")
    assert json.loads(pair.cluster.details()) == {
        "default": {"pfId": "0", "vfId": "1", "sandboxId": "s1", "vfNetdevName": "ens1f0v1"}
    }
    assert pair.cluster.status() == READY
    assert pair.ours.inside() == {result["ips"][0]["address"]}
    assert {route["dst"] for route in result["routes"]} == {"0.0.0.0/0", "10.244.0.0/16"}
    port = pair.go.ports["rep0-1"]
    assert (port["sandbox"], port["iface-id-ver"]) == ("s1", pod.metadata.uid)
    assert port["attached_mac"] == result["interfaces"][0]["mac"]


async def test_a_go_dpu_that_saw_the_details_too_early_is_brought_back_by_the_addresses(ours_and_go_dpu: Pair) -> None:
    """It tries a pod again only when an event of it comes; the last thing that it needs is one."""
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.allocates_after_s = 2
    pod = await pair.cluster.pod(allocated=False)
    await pair.ours.cni("ADD", pod)
    assert [error.split(":")[0] for error in pair.go.errors] == ["web"], "it failed without addresses, once"
    assert pair.ours.inside()


async def test_ready_comes_from_a_watch_not_from_a_look_each_200_ms(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.install_s = 0.333
    pod = await pair.cluster.pod()
    began = now()
    await pair.ours.cni("ADD", pod)
    assert now() - began == pytest.approx(0.333, abs=0.02)


@pytest.mark.parametrize(
    "form",
    [READY, '{"Status":"Ready"}', '{"default":{"Status":"Ready","Reason":"","added":1},"ns/udn":{"Status":"x"}}'],
)
async def test_each_form_of_the_status_is_understood(ours_and_go_dpu: Pair, form: str) -> None:
    """The map; the legacy form without it; names that we don't know and other networks."""
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.present.clear()
    pod = await pair.cluster.pod()
    adding = asyncio.create_task(pair.ours.cni("ADD", pod))
    await cluster.until(lambda: pair.cluster.details() is not None, "the DPU is told")
    await pair.cluster.annotate("web", {annotations.CONNECTION_STATUS: form})
    await asyncio.wait_for(adding, 1)


@pytest.mark.parametrize("form", ["{}", '{"ns/udn":{"Status":"Ready"}}', "garbage"])
async def test_an_empty_or_unreadable_status_is_no_answer(ours_and_go_dpu: Pair, form: str) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.present.clear()
    pod = await pair.cluster.pod()
    adding = asyncio.create_task(pair.ours.cni("ADD", pod))
    await cluster.until(lambda: pair.cluster.details() is not None, "the DPU is told")
    await pair.cluster.annotate("web", {annotations.CONNECTION_STATUS: form})
    await asyncio.sleep(3)
    assert not adding.done()
    await pair.cluster.annotate("web", {annotations.CONNECTION_STATUS: READY})
    await asyncio.wait_for(adding, 1)


async def test_any_status_but_ready_ends_our_add_at_once(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.present.clear()
    pod = await pair.cluster.pod()
    adding = asyncio.create_task(pair.ours.cni("ADD", pod))
    await cluster.until(lambda: pair.cluster.details() is not None, "the DPU is told")
    await pair.cluster.annotate("web", {annotations.CONNECTION_STATUS: '{"default":{"Status":"Error"}}'})
    with pytest.raises(cni.Failure, match="no reason given") as info:
        await asyncio.wait_for(adding, 1)
    assert info.value.error.code == cni.DPU_REFUSED
    await cluster.until(lambda: pair.cluster.details() is None, "the details are taken back")


async def test_a_go_dpu_that_fails_says_nothing_and_our_add_ends_with_everything_undone(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.present.discard("rep0-1")
    pod = await pair.cluster.pod()
    began = now()
    with pytest.raises(cni.Failure, match="didn't connect VF 1") as info:
        await pair.ours.cni("ADD", pod)
    assert info.value.error.code == cni.DEADLINE
    assert now() - began == pytest.approx(peer.ANSWER_LIMIT_S, abs=1)
    assert (pair.ours.inside(), len(pair.ours.free())) == (set(), 3)
    pair.go.present.add("rep0-1")
    await pair.ours.cni("ADD", pod, "s2")  # a Go dpu looks again because the details are another sandbox's
    assert pair.go.ports["rep0-1"]["sandbox"] == "s2"


async def test_our_del_makes_a_go_dpu_unplug_and_leave_the_empty_map(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    await pair.ours.cni("DEL", pod)
    took_s = await cluster.until(lambda: pair.cluster.status() == "{}", "the status is the empty map")
    assert took_s < 1
    await cluster.until(lambda: "rep0-1" not in pair.go.ports, "the representor is unplugged")
    assert pair.ours.free() == ["ens1f0v1", "ens1f0v2", "ens1f0v3"]


async def test_our_del_leaves_other_networks_details(ours_and_go_dpu: Pair) -> None:
    """A Go host takes the whole annotation, so that a UDN of the pod is unplugged with the default network."""
    pair = ours_and_go_dpu
    await pair.up()
    other = '{"ns/udn":{"pfId":"0","sandboxId":"s1","vfId":"9"}}'
    pod = await pair.cluster.pod(**{annotations.CONNECTION_DETAILS: other})
    await pair.ours.cni("ADD", pod)
    await cluster.until(lambda: '"default"' in pair.cluster.details(), "ours is beside it")
    await pair.ours.cni("DEL", pod)
    await cluster.until(lambda: pair.cluster.details() == other, "the other one is as it was")


async def test_the_next_sandbox_waits_for_its_own_ready(ours_and_go_dpu: Pair) -> None:
    """Both answers read alike; a DEL and an ADD in quick succession mustn't see the first one twice."""
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    await pair.ours.cni("DEL", pod)
    pair.go.install_s = 2
    began = now()
    await pair.ours.cni("ADD", pod, "s2")
    assert now() - began >= 2
    assert pair.go.ports["rep0-1"]["sandbox"] == "s2"


async def test_a_sandbox_that_was_never_taken_back_is_replaced_without_waiting_in_vain(
    ours_and_go_dpu: Pair, tmp_path: Any
) -> None:
    """A host that lost its records (a boot) has the old details still standing."""
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    await pair.ours.end()
    for record in (tmp_path / "vfs").iterdir():
        record.unlink()
    pair.ours.kernel.drop_netns("/run/netns/s1")
    pair.ours.kernel.add_device("ens1f0v1", "0000:03:00.3")
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: not pair.ours.half.gate(), "our host can serve again")
    await cluster.until(lambda: not pair.ours.watch.problem(), "the lease is seen")
    pair.go.install_s = 2
    began = now()
    await pair.ours.cni("ADD", pod, "s2")
    assert 2 <= now() - began < 4
    assert pair.go.ports["rep0-1"]["sandbox"] == "s2"


async def test_an_add_that_is_repeated_needs_no_new_answer(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    first = await pair.ours.cni("ADD", pod)
    began = now()
    assert await pair.ours.cni("ADD", pod) == first
    assert now() - began < 0.1


async def test_a_go_dpu_s_restart_is_nothing_to_pods_and_serves_what_came_meanwhile(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    before = dict(pair.go.ports)
    await pair.tasks.end()
    late = await pair.cluster.pod("api")
    adding = asyncio.create_task(pair.ours.cni("ADD", late, "s2"))
    await asyncio.sleep(15)
    assert not adding.done()
    await pair.dpu().start()
    pair.tasks.begin(pair.go.run())
    await asyncio.wait_for(adding, 3)
    assert {name: port for name, port in pair.go.ports.items() if name != "rep0-2"} == before
    assert pair.ours.inside()


async def test_a_leftover_of_a_go_dpu_that_forgot_it_costs_a_moment_not_the_pod(ours_and_go_dpu: Pair) -> None:
    """It keeps in memory what it answered; started anew it takes nothing back."""
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod(**{annotations.CONNECTION_STATUS: READY})
    began = now()
    await pair.ours.cni("ADD", pod)
    assert now() - began == pytest.approx(peer.LEFTOVER_LIMIT_S, abs=1)
    await cluster.until(lambda: "rep0-1" in pair.go.ports, "it is plugged")


async def test_our_host_s_restart_keeps_its_sandboxes(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    told = pair.cluster.details()
    await pair.ours.end()
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: not pair.ours.half.gate(), "our host can serve again")
    await cluster.until(lambda: not pair.ours.watch.problem(), "the lease is seen")
    await pair.ours.cni("CHECK", pod)
    assert pair.cluster.details() == told
    await pair.ours.cni("DEL", pod)
    await cluster.until(lambda: "rep0-1" not in pair.go.ports, "it is unplugged")


async def test_a_deleted_pod_is_unplugged_by_a_go_dpu_and_its_vf_comes_home(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    await pair.cluster.delete()
    await cluster.until(lambda: "rep0-1" not in pair.go.ports, "it is unplugged")
    await pair.ours.cni("DEL", pod)
    assert pair.ours.free() == ["ens1f0v1", "ens1f0v2", "ens1f0v3"]


OLD = '{"default":{"ip_address":"10.244.0.9/24","mac_address":"0a:58:0a:f4:00:09","gateway_ip":"10.244.0.1"}}'
BESIDE = """{
"default":{"ip_addresses":["10.244.0.9/24"],"mac_address":"0a:58:0a:f4:00:09","gateway_ips":["10.244.0.1"]},
"ns/l2":{"ip_addresses":null,"mac_address":"0a:58:00:00:00:01","tunnel_id":9,"role":"secondary"}}"""


@pytest.mark.parametrize("network", [OLD, BESIDE], ids=["legacy", "beside a network without addresses"])
async def test_each_form_of_a_zone_s_addresses_is_understood(ours_and_go_dpu: Pair, network: str) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod(allocated=False, **{go_form.NETWORKS: network})
    await pair.ours.cni("ADD", pod)
    assert pair.ours.inside() == {"10.244.0.9/24"}


async def test_a_static_pod_is_served_as_its_mirror(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod(**{"kubernetes.io/config.mirror": "5d41402a"})
    await pair.ours.cni("ADD", pod, uid="5d41402a")
    assert pair.go.ports["rep0-1"]["iface-id-ver"] == pod.metadata.uid
