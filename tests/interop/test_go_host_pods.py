# SPDX-License-Identifier: Apache-2.0
"""Pods of a Go dpu-host on our DPU half: interop.md sections 2 (ADD) and 3 (DEL)."""

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from ashore.api import annotations

from . import cluster, go_dpu_host, go_form

Pair = Any
pytestmark = pytest.mark.looptime(start=time.monotonic, noop_cycles=100)


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_go_host_s_add_succeeds_with_go_s_marks_on_the_port(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    pod = await pair.cluster.pod()
    given = await pair.go.add("web", "s1", 3)
    assert pair.ours.ports()["pf0vf3"] == {
        "attached_mac": given["mac"], "iface-id": "ns_web", "iface-id-ver": pod.metadata.uid,
        "ip_addresses": given["addresses"][0], "sandbox": "s1", "vf-netdev-name": "pf0vf3",
    }  # fmt: skip
    assert (given["gateways"], given["role"]) == (["10.244.0.1"], "primary")


async def test_status_and_addresses_come_in_any_order(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod(allocated=False)
    adding = asyncio.create_task(pair.go.add("web", "s1", 3))
    await asyncio.sleep(1.6)
    assert not adding.done()
    await pair.cluster.allocate()
    assert (await adding)["addresses"] == ["10.244.0.3/24"]
    # The other order: as seen with a hand-written status, 1.6 s before the addresses.
    await pair.cluster.pod("api", allocated=False, **{annotations.CONNECTION_STATUS: '{"default":{"Status":"Ready"}}'})
    adding = asyncio.create_task(pair.go.add("api", "s2", 4))
    await asyncio.sleep(1.6)
    assert not adding.done()
    await pair.cluster.allocate("api")
    await adding


async def test_ready_means_that_ovn_has_installed_the_port(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    pair.ours.installs = False
    await pair.cluster.pod()
    adding = asyncio.create_task(pair.go.add("web", "s1", 3))
    await asyncio.sleep(5)
    assert (adding.done(), "pf0vf3" in pair.ours.ports()) == (False, True)
    pair.ours.installs = True
    pair.ours.install()
    await asyncio.wait_for(adding, 1)


async def test_an_error_ends_a_go_host_s_add_at_its_next_look(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    pair.ours.nic.present.discard("pf0vf3")
    await pair.cluster.pod()
    began = now()
    with pytest.raises(go_dpu_host.CniError, match="connection status is Error"):
        await pair.go.add("web", "s1", 3)
    assert now() - began <= 3 * go_dpu_host.POLL_S
    told = go_form.entry(pair.cluster.notes(), go_form.STATUS)
    assert "VF 3 of PF 0 has no representor" in told["Reason"]


async def test_a_try_after_an_error_is_not_failed_by_the_old_error(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    pair.ours.nic.present.discard("pf0vf3")
    await pair.cluster.pod()
    with pytest.raises(go_dpu_host.CniError):
        await pair.go.add("web", "s1", 3)
    await pair.go.delete("web", "s1")  # what a runtime does after a failed ADD
    await cluster.until(lambda: pair.cluster.status() == "{}", "the error is withdrawn")
    pair.ours.nic.present.add("pf0vf3")
    await pair.go.add("web", "s2", 3)


async def test_the_sandbox_in_our_status_is_nothing_to_a_go_host(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)
    await cluster.until(lambda: pair.cluster.status() is not None, "the status is seen")
    assert json.loads(pair.cluster.status())["default"] == {"Status": "Ready", "sandboxId": "s1"}
    assert go_form.entry(pair.cluster.notes(), go_form.STATUS) == {"Status": "Ready"}


async def test_a_go_host_finds_the_answer_within_two_looks(ours_and_go_host: Pair) -> None:
    """OVN takes 0.1 s here; the 0.2 s between Go's looks are Go's own."""
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    pair.go.polls = 0
    await pair.go.add("web", "s1", 3)
    assert pair.go.polls <= 2


@pytest.mark.parametrize("by_patch", [False, True], ids=["whole object on status", "kubectl annotate"])
async def test_details_may_be_written_either_way(ours_and_go_host: Pair, *, by_patch: bool) -> None:
    pair = ours_and_go_host
    await pair.up()
    host = pair.host(by_patch=by_patch)
    await pair.cluster.pod()
    await host.add("web", "s1", 3)
    await host.delete("web", "s1")
    await cluster.until(lambda: pair.cluster.status() == "{}", "the status is the empty map")


@pytest.mark.parametrize("form", ["map", "legacy", "vfio", "newer"])
async def test_each_form_of_the_details_is_understood(ours_and_go_host: Pair, form: str) -> None:
    """A map by network; without the map (of old); without a netdev (VFIO); with netnsPath (newer than 1.3)."""
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 5, form=form)
    assert pair.ours.ports()["pf0vf5"]["sandbox"] == "s1"


@pytest.mark.parametrize(
    ("details", "words"),
    [
        ('{"default":{"pfId":"0","vfId":"3"}}', "sandboxId"),
        ('{"default":{"pfId":"0","vfId":"3","sandboxId":""}}', "sandboxId"),
        ('{"default":{"pfId":"0","vfId":3,"sandboxId":"s1"}}', "connection-details"),
        ("not json", "connection-details"),
    ],
)
async def test_details_that_lack_something_are_answered_with_what(
    ours_and_go_host: Pair, details: str, words: str
) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod(**{annotations.CONNECTION_DETAILS: details})
    await cluster.until(lambda: words in (pair.cluster.status() or ""), "the reason names it")
    assert go_form.entry(pair.cluster.notes(), go_form.STATUS)["Status"] == "Error"
    assert "pf0vf3" not in pair.ours.ports()


async def test_another_network_s_entries_are_left_to_others(ours_and_go_host: Pair) -> None:
    """Of a pod with a primary UDN we serve the default network; Go waits for the other one until its own limit."""
    pair = ours_and_go_host
    await pair.up()
    foreign = '{"ns/udn":{"Status":"Ready"}}'
    await pair.cluster.pod(**{annotations.CONNECTION_STATUS: foreign})
    with pytest.raises(go_dpu_host.CniError, match="timed out"):
        await pair.go.add("web", "s1", 3, networks=("default", "ns/udn"), limit_s=10)
    told = go_form.read_map(pair.cluster.notes(), go_form.STATUS)
    assert told == {"default": {"Status": "Ready"}, "ns/udn": {"Status": "Ready"}}
    assert {marks["iface-id"] for marks in pair.ours.ports().values()} == {"k8s-host-1", "ns_web"}


async def test_a_pod_of_another_node_is_not_plugged_here(ours_and_go_host: Pair) -> None:
    """A Go host doesn't look whose pod it is; with two Go halves that pod would be plugged."""
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod(node="host-2")
    with pytest.raises(go_dpu_host.CniError, match="timed out"):
        await pair.go.add("web", "s1", 3, limit_s=10)
    assert set(pair.ours.ports()) == {"pf0vf0"}


async def test_an_add_that_is_repeated_needs_no_new_answer(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    given = await pair.go.add("web", "s1", 3)
    began = now()
    assert await pair.go.add("web", "s1", 3) == given
    assert now() - began < go_dpu_host.POLL_S


async def test_a_go_host_s_del_takes_all_details_and_waits_for_nothing(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)
    began = now()
    await pair.go.delete("web", "s1")
    assert now() - began < go_dpu_host.POLL_S
    took_s = await cluster.until(lambda: pair.cluster.status() == "{}", "the status is the empty map")
    assert took_s < 1
    assert (pair.cluster.details(), set(pair.ours.ports())) == (None, {"pf0vf0"})


async def test_a_del_of_another_sandbox_changes_nothing(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s2", 3)
    await pair.go.delete("web", "s1")
    await asyncio.sleep(2)
    assert pair.ours.ports()["pf0vf3"]["sandbox"] == "s2"


@pytest.mark.parametrize("order", list(itertools.permutations(["details", "pod", "nothing"], 2)), ids="-".join)
async def test_details_and_pod_may_go_in_any_order(ours_and_go_host: Pair, order: tuple[str, str]) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)
    for what in order:
        if what == "details":
            await pair.go.delete("web", "s1")
        elif what == "pod":
            await pair.cluster.delete()
    await cluster.until(lambda: set(pair.ours.ports()) == {"pf0vf0"}, "the port is gone")


async def test_a_sandbox_that_was_never_taken_back_is_replaced(ours_and_go_host: Pair) -> None:
    """A Go host's DEL without a namespace does nothing; the next ADD writes over the details."""
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)
    await pair.go.delete("web", "s1", netns="")
    assert pair.cluster.details() is not None
    pair.ours.installs = False
    adding = asyncio.create_task(pair.go.add("web", "s2", 6))
    await cluster.until(lambda: pair.cluster.status() == "{}", "the answer about s1 is withdrawn")
    pair.ours.installs = True
    pair.ours.install()
    await adding
    assert {name: marks["sandbox"] for name, marks in pair.ours.ports().items() if name != "pf0vf0"} == {"pf0vf6": "s2"}


async def test_a_go_host_that_dies_during_an_add_is_answered_after_its_start(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod(allocated=False)
    adding = asyncio.create_task(pair.go.add("web", "s1", 3))
    await asyncio.sleep(1)
    adding.cancel()
    await asyncio.gather(adding, return_exceptions=True)
    await pair.cluster.allocate()
    host = pair.host()
    await host.start()
    await host.add("web", "s1", 3)
    assert pair.ours.ports()["pf0vf3"]["sandbox"] == "s1"


async def test_a_go_host_that_adds_right_after_its_del_is_plugged_if_it_believed_the_old_answer_or_not(
    ours_and_go_host: Pair,
) -> None:
    """Its first look may come before our DPU heard of the DEL; nothing that we write can keep it from believing it."""
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)
    await pair.go.delete("web", "s1")
    await pair.go.add("web", "s2", 3)
    took_s = await cluster.until(
        lambda: pair.ours.ports().get("pf0vf3", {}).get("sandbox") == "s2", "the new sandbox's port is there"
    )
    assert took_s < go_dpu_host.POLL_S


async def test_our_dpu_s_restart_is_nothing_to_pods_and_serves_what_came_meanwhile(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)
    before = pair.ours.ports()
    await pair.ours.end()
    await pair.cluster.pod("api")
    adding = asyncio.create_task(pair.go.add("api", "s2", 4))
    await asyncio.sleep(20)
    assert pair.ours.ports() == before
    await pair.ours.begin(pair.api)
    await asyncio.wait_for(adding, 2)
    assert {name: marks for name, marks in pair.ours.ports().items() if name != "pf0vf4"} == before


async def test_without_our_dpu_a_go_host_s_add_ends_at_its_own_limit(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await pair.ours.end()
    await pair.cluster.pod()
    began = now()
    with pytest.raises(go_dpu_host.CniError, match="timed out"):
        await pair.go.add("web", "s1", 3)
    assert now() - began == pytest.approx(go_dpu_host.ADD_LIMIT_S, abs=1)
