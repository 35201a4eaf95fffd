# SPDX-License-Identifier: Apache-2.0
"""Who waits for whom at the start: interop.md section 1."""

import asyncio
import itertools
import json
import time
from typing import Any

import pytest

from ashore.api import annotations

from . import cluster, go_dpu, go_dpu_host, go_form

Pair = Any
pytestmark = pytest.mark.looptime(start=time.monotonic, noop_cycles=100)


async def test_our_dpu_may_come_long_after_a_go_host(ours_and_go_host: Pair) -> None:
    """The Go host is ready for 40 s by the lease that it makes itself, then not, then by our lease."""
    pair = ours_and_go_host
    await pair.cluster.subnets()
    await pair.go.start()
    pair.tasks.begin(pair.go.monitor())
    await asyncio.sleep(35)
    pair.go.status()
    await asyncio.sleep(600)
    with pytest.raises(go_dpu_host.CniError, match="expired") as info:
        pair.go.status()
    assert info.value.code == 50
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: not pair.go.not_ready, "the Go host is ready", limit_s=11)
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)


async def test_our_dpu_may_come_long_before_a_go_host(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.ours.begin(pair.api)
    await asyncio.sleep(600)
    await pair.cluster.subnets()
    await pair.go.start()
    await cluster.until(lambda: "pf0vf0" in pair.ours.ports(), "the management port is plugged")
    await pair.cluster.pod()
    await pair.go.add("web", "s1", 3)


async def test_our_dpu_gives_other_zones_and_the_host_what_a_go_dpu_gives(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    await cluster.until(lambda: go_form.PRIMARY_ADDRESS in pair.cluster.node_notes(), "the node is annotated")
    notes = pair.cluster.node_notes()
    assert notes[go_form.CHASSIS] == "d0d0-1"
    assert json.loads(notes[go_form.ENCAP_IPS]) == ["172.30.2.1"]
    assert json.loads(notes[go_form.PRIMARY_ADDRESS]) == json.loads(notes[go_form.HOST_ADDRESS])
    management = pair.ours.ports()["pf0vf0"]
    assert management == {"iface-id": "k8s-host-1", "k8s.ovn.org/management-port-name": "ovn-k8s-mp0"}


HOST_WRITES = {
    go_form.MANAGEMENT: '{"default":{"DeviceId":"0000:03:00.2","PfId":0,"FuncId":0}}',
    go_form.HOST_ADDRESS: '{"ipv4":"172.30.1.1/16"}',
    go_form.HOST_CIDRS: '["172.30.1.1/16"]',
}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_our_dpu_takes_the_host_s_annotations_in_any_order(
    ours_and_go_host: Pair, order: tuple[int, ...]
) -> None:
    pair = ours_and_go_host
    await pair.ours.begin(pair.api)
    written = list(HOST_WRITES.items())
    for index in order:
        key, text = written[index]
        await pair.cluster.tell_node({key: text})
        await asyncio.sleep(1)
    assert "pf0vf0" in pair.ours.ports()
    assert pair.cluster.node_notes()[go_form.PRIMARY_ADDRESS] == HOST_WRITES[go_form.HOST_ADDRESS]


async def test_a_host_address_that_changes_is_followed(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.up()
    moved = '{"ipv4":"172.30.1.9/16"}'
    await pair.cluster.tell_node({go_form.HOST_ADDRESS: moved})
    await cluster.until(lambda: pair.cluster.node_notes()[go_form.PRIMARY_ADDRESS] == moved, "it is announced")


async def test_the_management_port_s_legacy_form_is_understood_and_a_change_followed(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.cluster.subnets()
    await pair.ours.begin(pair.api)
    await pair.go.start(function=(0, 2), legacy=True)
    await cluster.until(lambda: "pf0vf2" in pair.ours.ports(), "VF 2 is the management port")
    await pair.host().start(function=(0, 5))
    await cluster.until(lambda: set(pair.ours.ports()) == {"pf0vf5"}, "VF 5 is it now, and VF 2 no longer")


async def test_a_go_dpu_that_comes_too_early_ends_and_its_next_start_finds_everything(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.cluster.subnets()
    with pytest.raises(go_dpu_host.Exits, match="node-mgmt-port"):
        await pair.dpu().start()
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: go_form.MANAGEMENT in pair.cluster.node_notes(), "our host has written its part")
    await pair.dpu().start()
    assert pair.go.ports["rep0-0"] == {"iface-id": "k8s-host-1"}


async def test_our_host_writes_all_that_a_go_dpu_needs_at_once(ours_and_go_dpu: Pair) -> None:
    """With node-mgmt-port and without the address it would end; so there is no moment between them."""
    pair = ours_and_go_dpu
    seen: list[set[str]] = []
    wanted = {go_form.MANAGEMENT, go_form.HOST_ADDRESS, go_form.HOST_CIDRS}
    pair.cluster.nodes.subscribe(lambda _old, new: seen.append(wanted & set(new.metadata.annotations)))
    await pair.cluster.subnets()
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: wanted in seen, "our host has written its part")
    assert all(found in (set(), wanted) for found in seen)
    notes = pair.cluster.node_notes()
    port = go_form.entry(notes, go_form.MANAGEMENT)
    assert port == {"DeviceId": "0000:03:00.2", "PfId": 0, "FuncId": 0}
    assert json.loads(notes[go_form.HOST_ADDRESS]) == {"ipv4": "172.30.1.1/16"}
    assert json.loads(notes[go_form.HOST_CIDRS]) == ["172.30.1.1/16"]


async def test_our_host_writes_its_part_with_no_dpu_and_no_subnet(ours_and_go_dpu: Pair) -> None:
    """A Go host gives up after 300 s without node-subnets; ours waits, and a DPU can start meanwhile."""
    pair = ours_and_go_dpu
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: go_form.HOST_ADDRESS in pair.cluster.node_notes(), "our host has written its part")
    assert pair.cluster.lease() is None
    await pair.dpu().start()
    await asyncio.sleep(400)
    assert "no node-subnets yet" in pair.ours.half.gate()
    await pair.cluster.subnets()
    await cluster.until(lambda: not pair.ours.half.gate(), "our host can serve")


async def test_a_go_host_ends_without_a_subnet_and_our_dpu_waits_for_its_next_run(ours_and_go_host: Pair) -> None:
    pair = ours_and_go_host
    await pair.ours.begin(pair.api)
    with pytest.raises(go_dpu_host.Exits, match="node-subnets"):
        await pair.go.start()
    await pair.cluster.subnets()
    await pair.host().start()
    await cluster.until(lambda: "pf0vf0" in pair.ours.ports(), "the management port is plugged")


async def test_what_a_go_dpu_writes_to_the_node_is_left_alone_by_our_host(ours_and_go_dpu: Pair) -> None:
    pair = ours_and_go_dpu
    await pair.up()
    theirs = (go_form.ENCAP_IPS, go_form.CHASSIS, go_form.GATEWAY, go_form.PRIMARY_ADDRESS)
    await cluster.until(lambda: set(theirs) <= set(pair.cluster.node_notes()), "the Go DPU has written its part")
    before = {key: pair.cluster.node_notes()[key] for key in theirs}
    await pair.ours.end()
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: not pair.ours.half.gate(), "our host is back")
    assert {key: pair.cluster.node_notes()[key] for key in theirs} == before


async def test_our_dpu_takes_over_from_a_go_dpu_and_the_other_way_round(ours_and_go_host: Pair) -> None:
    """Half of a pair is exchanged while the other one goes on; nothing of the former is in the way."""
    pair = ours_and_go_host
    await pair.cluster.subnets()
    await pair.go.start()
    pair.tasks.begin(pair.go.monitor())
    theirs = go_dpu.GoDpu(pair.go._api, cluster.NODE, pair.clock)
    await theirs.start()
    running = cluster.Tasks()
    running.begin(theirs.run())
    await pair.cluster.pod(allocated=False)
    await pair.go.add("web", "s1", 3)
    await running.end()
    await pair.ours.begin(pair.api)
    await cluster.until(lambda: "pf0vf3" in pair.ours.ports(), "our DPU has plugged the pod that was there")
    await cluster.until(lambda: "sandboxId" in (pair.cluster.status() or ""), "and answers in its own words")
    await asyncio.sleep(120)
    pair.go.status()
    await pair.go.delete("web", "s1")
    await cluster.until(lambda: pair.cluster.status() == "{}", "the Go DPU's answer is withdrawn")
    await pair.ours.end()
    theirs = go_dpu.GoDpu(pair.go._api, cluster.NODE, pair.clock)
    await theirs.start()
    running.begin(theirs.run())
    await pair.go.add("web", "s2", 4)
    assert annotations.CONNECTION_STATUS in pair.cluster.notes()
    await running.end()
