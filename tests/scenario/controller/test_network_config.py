# SPDX-License-Identifier: Apache-2.0
"""Stories of the NetworkConfig: what is wrong with which field, and what holds meanwhile."""

from typing import Any

from ashore import kube
from ashore.api import annotations


def conditions(world: Any) -> dict[str, tuple[str, str]]:
    status = world.raw(kube.NETWORK_CONFIGS, "default").get("status", {})
    return {c["type"]: (c["status"], c.get("message", "")) for c in status.get("conditions", [])}


async def test_a_good_config_is_valid_in_use_and_recorded(world: Any) -> None:
    async with world.leader() as one:
        await world.quiet(one)
    assert {kind: status for kind, (status, _) in conditions(world).items()} == {"Valid": "True", "InUse": "True"}
    found = world.raw(kube.NETWORK_CONFIGS, "default")
    assert found["status"]["inForce"]["clusterNetworks"] == found["spec"]["clusterNetworks"]


async def test_a_bad_config_says_each_wrong_field_and_gives_nothing_to_anybody(world: Any) -> None:
    world.config(("10.244.0.0/16", 12), joinCIDRs=["10.96.0.0/24"], offload="maybe")
    world.node("host-1")
    async with world.leader() as one:
        await world.eventually(lambda: conditions(world), "the status is written")
        await world.quiet(one)
    status, message = conditions(world)["Valid"]
    assert status == "False"
    assert "spec.clusterNetworks[0].hostPrefix" in message
    assert "spec.offload" in message
    assert annotations.NODE_SUBNETS not in world.notes(kube.NODES, "host-1")


async def test_a_mended_config_is_taken_at_once(world: Any) -> None:
    world.config(("10.244.0.0/16", 12))
    world.node("host-1")
    async with world.leader():
        await world.eventually(lambda: conditions(world)["Valid"][0] == "False", "it is refused")
        world.config(*world.DUAL)
        await world.eventually(lambda: "host-1" in world.rows("Logical_Switch"), "the node is served")


async def test_nobody_gets_anything_before_there_is_a_config(world: Any) -> None:
    world.api.remove(kube.NETWORK_CONFIGS, "default")
    world.has_config = False
    world.node("host-1")
    async with world.leader() as one:
        await world.quiet(one)
        assert annotations.NODE_SUBNETS not in world.notes(kube.NODES, "host-1")
        world.config(*world.DUAL)
        await world.eventually(lambda: annotations.NODE_SUBNETS in world.notes(kube.NODES, "host-1"), "the node's turn")


async def test_networks_in_use_can_not_be_changed_not_even_across_a_restart(world: Any) -> None:
    world.node("host-1")
    async with world.leader() as one:
        await world.quiet(one)
        world.config(("10.9.0.0/16", 24), world.DUAL[1])
        await world.eventually(lambda: conditions(world)["InUse"][0] == "False", "the change is refused")
    message = conditions(world)["InUse"][1]
    assert "10.244.0.0/16 in /24 is in use by 1 nodes, keep it" in message
    before = world.notes(kube.NODES, "host-1")
    world.node("host-2")
    async with world.leader() as one:
        await world.quiet(one)
    assert world.notes(kube.NODES, "host-1") == before
    assert "10.244.1.0/24" in world.notes(kube.NODES, "host-2")[annotations.NODE_SUBNETS]


async def test_a_second_family_may_be_added_while_nodes_run(world: Any) -> None:
    world.config(world.DUAL[0])
    world.node("host-1")
    world.pod("old")
    async with world.leader() as one:
        await world.quiet(one)
        old = world.addresses("old")
        world.config(*world.DUAL)
        await world.eventually(lambda: "fd00:" in world.notes(kube.NODES, "host-1")[annotations.NODE_SUBNETS], "v6")
        world.pod("new")
        await world.eventually(lambda: len(world.addresses("new")) == 2, "new pods have both")
        await world.quiet(one)
    assert world.addresses("old") == old == ("10.244.0.3/24",)
    assert {"default_old", "default_new"} <= world.ports()
