# SPDX-License-Identifier: Apache-2.0
"""The lease in both directions: interop.md section 3. Ours is 4 s / 40 s for a Go host; a Go DPU's is 10 s / 40 s."""

import asyncio
import time
from typing import Any

import pytest

from ashore import kube
from ashore.agent import dpu_lease
from ashore.api import cni

from . import cluster, go_api, go_dpu_host

Pair = Any
pytestmark = pytest.mark.looptime(start=time.monotonic, noop_cycles=100)
HOUR_S = 3600


def now() -> float:
    return asyncio.get_running_loop().time()


async def watch_for(pair: Pair, seconds: float) -> set[str]:
    """What a Go host says at each of its looks."""
    said = set()
    for _ in range(int(seconds // 10)):
        await asyncio.sleep(10)
        await pair.go.look()
        said.add(pair.go.not_ready)
    return said


async def test_our_lease_keeps_a_go_host_ready(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    assert await watch_for(pair, 600) == {""}
    spec = (await pair.go.lease.read())["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == ("ovnkube-dpu-node", 40)
    assert spec["acquireTime"] < spec["renewTime"]


@pytest.mark.parametrize("skew_s", [-30, 30])
async def test_a_go_host_s_clock_may_differ_as_much_as_with_a_go_dpu(ours_and_go_host: Pair, skew_s: int) -> None:
    """It compares our time with its own."""
    pair = ours_and_go_host
    await pair.up()
    pair.go._clock = go_dpu_host.clock_of(asyncio.get_running_loop(), skew_s)
    assert await watch_for(pair, 120) == {""}


async def test_a_replaced_agent_of_ours_does_not_take_a_go_host_s_node_down(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await asyncio.sleep(30)
    await pair.ours.end()
    assert await watch_for(pair, 30) == {""}
    await pair.ours.begin(pair.api)
    assert await watch_for(pair, 60) == {""}


async def test_our_silence_makes_a_go_host_fail_status_and_add(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await asyncio.sleep(30)
    pair.tasks.begin(pair.go.monitor())
    pair.ours.problem = "ovn-controller doesn't answer"
    took_s = await cluster.until(lambda: pair.go.not_ready != "", "the Go host is not ready", limit_s=60)
    assert 36 <= took_s <= 50
    with pytest.raises(go_dpu_host.CniError) as status:
        pair.go.status()
    with pytest.raises(go_dpu_host.CniError) as add:
        await pair.go.add("web", "s1", 3)
    assert (status.value.code, add.value.code) == (50, 999)
    pair.ours.problem = ""
    await cluster.until(lambda: not pair.go.not_ready, "ready at its next look", limit_s=11)


async def test_a_lease_renewed_by_hand_makes_a_go_host_healthy(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.cluster.subnets()
    await pair.go.start()
    await asyncio.sleep(60)
    pair.tasks.begin(pair.go.monitor())
    await cluster.until(lambda: pair.go.not_ready != "", "the Go host is not ready")
    renewed = {"spec": {"renewTime": pair.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ")}}
    await pair.cluster.admin.patch(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes", renewed)
    await cluster.until(lambda: not pair.go.not_ready, "ready at its next look", limit_s=11)


async def test_a_lease_that_a_go_host_made_is_renewed_by_our_dpu_and_stays_the_node_s(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.cluster.subnets()
    await pair.go.start()
    made = await pair.go.lease.read()
    await asyncio.sleep(100)
    await pair.ours.begin(pair.api)
    await asyncio.sleep(10)
    kept = await pair.go.lease.read()
    assert kept["spec"]["renewTime"] > made["spec"]["renewTime"]
    for key in ("ownerReferences", "uid"):
        assert kept["metadata"][key] == made["metadata"][key]
    await pair.host().start()  # a Go host renews it once at each start: what it writes is what we write
    again = (await pair.go.lease.read())["spec"]
    await asyncio.sleep(10)
    after = (await pair.go.lease.read())["spec"]
    assert {**again, "renewTime": ""} == {**after, "renewTime": ""}


async def test_a_lease_of_ours_belongs_to_the_node_as_a_go_half_would_have_it(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: pair.cluster.lease() is not None, "our DPU has made the lease")
    lease = await pair.go.lease.read()
    (owner,) = lease["metadata"]["ownerReferences"]
    node = await pair.cluster.admin.get(kube.NODES, cluster.NODE)
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Node", cluster.NODE, node.metadata.uid)
    await pair.go.lease.renew()
    assert len((await pair.go.lease.read())["metadata"]["ownerReferences"]) == 1


async def test_a_deleted_lease_is_made_again(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.admin.delete(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes")
    await pair.go.look()
    assert "not found" in pair.go.not_ready
    await asyncio.sleep(dpu_lease.RENEW_S + 1)
    await pair.go.look()
    assert not pair.go.not_ready


async def test_a_go_dpu_s_lease_keeps_our_host_serving(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    for _ in range(10):
        await asyncio.sleep(60)
        assert pair.ours.watch.problem() == ""


async def test_a_go_dpu_may_miss_two_renewals_of_three(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    pair.go.lease.renew_s = 30
    for _ in range(30):
        await asyncio.sleep(10)
        assert pair.ours.watch.problem() == ""


@pytest.mark.parametrize("skew_s", [-HOUR_S, HOUR_S])
async def test_a_go_dpu_s_clock_does_not_matter_to_our_host(ours_and_go_dpu: Pair, skew_s: int) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    await pair.tasks.end()
    pair.clock = go_dpu_host.clock_of(asyncio.get_running_loop(), skew_s)
    await pair.dpu().start()
    pair.tasks.begin(pair.go.run())
    await asyncio.sleep(120)
    assert pair.ours.watch.problem() == ""


async def test_a_silent_go_dpu_fails_our_adds_after_its_own_40_s_and_nothing_else(ours_and_go_dpu: Pair) -> None:
    """A Go host would fail STATUS and so the whole node; pods that run don't need a DPU's agent."""
    pair = ours_and_go_dpu
    await pair.up()
    pod = await pair.cluster.pod()
    await pair.ours.cni("ADD", pod)
    await asyncio.sleep(15)
    renewed = pair.cluster.lease().spec.renew_time
    await pair.tasks.end()
    took_s = await cluster.until(lambda: pair.ours.watch.problem() != "", "it is taken for dead", limit_s=60)
    assert 30 <= took_s <= 41
    late = await pair.cluster.pod("late")
    with pytest.raises(cni.Failure, match=r"not renewed for 4. s \(it lasts 40 s\)") as info:
        await pair.ours.cni("ADD", late, "s2")
    assert info.value.error.code == cni.DPU_DOWN
    await pair.ours.cni("STATUS", pod)
    await pair.ours.cni("DEL", pod)
    assert pair.cluster.lease().spec.renew_time == renewed, "our host never writes the lease"


async def test_without_a_lease_our_host_serves_no_pod(ours_and_go_dpu: Pair) -> None:
    """So a Go DPU with --dpu-node-lease-renew-interval=0 isn't supported."""
    pair = ours_and_go_dpu
    await pair.cluster.subnets()
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: not pair.ours.half.gate(), "our host can serve")
    pod = await pair.cluster.pod()
    with pytest.raises(cni.Failure, match="doesn't exist: the DPU's agent never ran") as info:
        await pair.ours.cni("ADD", pod)
    assert info.value.error.code == cni.DPU_DOWN


async def test_a_lease_that_a_go_host_left_behind_is_no_sign_of_life_for_long(ours_and_go_dpu: Pair) -> None:
    """It renews the lease at its own start; after an exchange of the host half nobody may be behind it."""
    pair = ours_and_go_dpu
    await go_api.GoLease(go_api.GoApi(pair.api), cluster.NODE, pair.clock).renew()
    await pair.ours.begin(pair.api)
    await asyncio.sleep(39)
    assert pair.ours.watch.problem() == ""
    await asyncio.sleep(3)
    assert "not renewed" in pair.ours.watch.problem()


@pytest.mark.parametrize("field", ["leaseDurationSeconds", "renewTime"])
async def test_a_lease_without_a_duration_or_a_renewal_is_no_sign_of_life(ours_and_go_dpu: Pair, field: str) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    await pair.tasks.end()
    await pair.cluster.admin.patch(kube.LEASES, "ovn-dpu-host-1", "ovn-kubernetes", {"spec": {field: None}})
    await asyncio.sleep(1)
    assert pair.ours.watch.problem() != ""
