# SPDX-License-Identifier: Apache-2.0
"""Stories of pods on a DPU's host, told from the DPU's side."""

import asyncio
from typing import Any

from ashore import kube, ovsdb
from ashore.agent import dpu_claims, dpu_pods, plugger
from ashore.api import annotations
from ashore.schema import row


async def test_a_pod_is_plugged_with_the_marks_that_ovn_kubernetes_gives(world: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    network = annotations.decode_pod_networks(
        world.pods.store[kube.ObjectKey("ns", "web")].metadata.annotations[annotations.POD_NETWORKS]
    )["default"]
    assert world.ports()["pf0vf3"] == {
        "attached_mac": network.mac_address,
        "iface-id": "ns_web",
        "iface-id-ver": "u1",
        "ip_addresses": network.ip_addresses[0],
        "sandbox": "s1",
        "vf-netdev-name": "pf0vf3",
        "ovn-installed": "true",
    }
    assert world.kernel.up == {"pf0vf3"}
    assert [port["other_config"] for port in world.fake.rows["Port"].values()] == [{"transient": "true"}]


async def test_addresses_may_come_after_the_details(world: Any) -> None:
    world.pods.add("web", "u1")
    text = world.pods.store[kube.ObjectKey("ns", "web")].metadata.annotations[annotations.POD_NETWORKS]
    world.pods.annotate("web", annotations.POD_NETWORKS, None)
    world.pods.detail("web", 3)
    await world.settled()
    assert world.ports() == {}
    world.pods.annotate("web", annotations.POD_NETWORKS, text)
    await world.ready("web")


async def test_a_real_hosts_legacy_details_are_understood(world: Any) -> None:
    world.pods.add(
        "web", "u1", annotations={annotations.CONNECTION_DETAILS: '{"pfId":"0","vfId":"4","sandboxId":"s9"}'}
    )
    await world.ready("web", "s9")
    assert set(world.ports()) == {"pf0vf4"}


async def test_a_missing_representor_fails_at_once_and_works_when_it_appears(world: Any) -> None:
    world.kernel.present.discard("pf0vf3")
    world.pods.add("web", "u1", vf=3)
    async with asyncio.timeout(1):
        await world.failed("web", "VF 3 of PF 0 has no representor on this DPU")
    world.kernel.present.add("pf0vf3")
    world.agent.look_at_problems()  # what a link event does
    await world.ready("web")


async def test_taken_back_details_unplug_and_leave_an_empty_status(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    world.pods.detail("web", None)
    await eventually(lambda: world.pods.text("web") == "{}", "the status is {}")
    assert world.ports() == {}
    assert world.kernel.up == set()
    address = "10.244.0.10"
    assert ["dpctl/flush-conntrack", f"ct_nw_src={address}"] in world.commands


async def test_a_deleted_or_finished_pod_is_unplugged(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    world.pods.delete("web")
    await eventually(lambda: world.ports() == {}, "the port is gone")


async def test_the_same_name_with_a_new_uid_is_another_pod(world: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    world.pods.delete("web")
    world.pods.add("web", "u2", vf=3, sandbox="s2")
    await world.ready("web", "s2")
    assert {name: marks["iface-id-ver"] for name, marks in world.ports().items()} == {"pf0vf3": "u2"}


async def test_a_new_sandbox_moves_the_pod_to_its_new_function(world: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    world.pods.detail("web", 5, "s2")
    await world.ready("web", "s2")
    assert {name: marks["sandbox"] for name, marks in world.ports().items()} == {"pf0vf5": "s2"}


async def test_an_earlier_sandboxs_answer_is_withdrawn_while_the_new_one_waits(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    world.bound = set()
    world.pods.detail("web", 5, "s2")
    await eventually(lambda: world.pods.status("web") is None, "Ready of s1 is withdrawn")
    world.bound = None
    world.install()
    await world.ready("web", "s2")


async def test_an_agent_that_was_down_converges_when_it_is_back(world: Any, eventually: Any) -> None:
    for number, name in enumerate(("stays", "leaves", "changes"), 1):
        world.pods.add(name, f"u-{name}", vf=number)
        await world.ready(name)
    await world.end()
    world.pods.delete("leaves")
    world.pods.detail("changes", 7, "s2")
    world.pods.add("comes", "u-comes", vf=8)
    world.pods.synced.clear()
    patches = len(world.pods.patches)

    await world.begin()
    await world.settled()
    assert set(world.ports()) == {"pf0vf1", "pf0vf2", "pf0vf3"}, "nothing is taken away before the pods are loaded"
    world.pods.synced.set()
    await world.ready("comes")
    await world.ready("changes", "s2")
    await eventually(lambda: set(world.ports()) == {"pf0vf1", "pf0vf7", "pf0vf8"}, "ports are those of the pods")
    assert "stays" not in {name for name, _ in world.pods.patches[patches:]}


async def test_a_pod_of_another_node_is_refused(world: Any) -> None:
    world.pods.add("web", "u1", vf=3, node="host-2")
    await world.failed("web", "runs on host-2, and this DPU serves host-1 alone")
    assert world.ports() == {}


async def test_the_management_function_is_refused(world: Any) -> None:
    world.management = dpu_claims.Function(0, 3)
    world.pods.add("web", "u1", vf=3)
    await world.failed("web", "is the management port's")
    assert world.ports() == {}


async def test_a_function_in_use_stays_with_its_pod_until_that_lets_it_go(world: Any) -> None:
    world.pods.add("first", "u1", vf=3)
    await world.ready("first")
    world.pods.add("thief", "u2", vf=3, created="2025-01-01T00:00:00Z")
    await world.failed("thief", "is in use by pod ns/first")
    assert world.ports()["pf0vf3"]["iface-id"] == "ns_first"
    assert world.pods.status("first").status == "Ready"
    world.pods.detail("first", None)
    await world.ready("thief")


async def test_details_that_make_no_sense_are_named(world: Any) -> None:
    details = annotations.ConnectionDetails(pf_id="0", vf_id="../3", sandbox_id="s1")
    world.pods.add(
        "web", "u1", annotations={annotations.CONNECTION_DETAILS: annotations.encode_details({"default": details})}
    )
    await world.failed("web", "'../3'; want two numbers")
    world.pods.annotate("web", annotations.CONNECTION_DETAILS, "not json")
    await world.failed("web", "dpu.connection-details")


async def test_a_port_that_ovn_does_not_install_is_reported_and_turns_ready_later(world: Any) -> None:
    await world.end()
    world.limit_s, world.bound = 0.1, set()
    await world.begin()
    world.pods.add("web", "u1", vf=3)
    await world.failed("web", "ovn-controller is connected but doesn't bind it")
    world.bound = None
    world.install()
    await world.ready("web")


async def test_a_port_removed_behind_the_agents_back_returns(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    bridge, columns = next(iter(world.fake.rows["Bridge"].items()))
    world.fake.transact(ovsdb.MutateSet("Bridge", row.Uuid(bridge), "ports", remove=frozenset(columns["ports"])))
    await eventually(lambda: "pf0vf3" in world.ports(), "the port is back")


async def test_a_restart_of_the_database_loses_no_pod(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    await world.ready("web")
    await world.fake.restart(lose_history=True)
    world.pods.add("late", "u2", vf=4)
    await world.ready("late")
    assert set(world.ports()) == {"pf0vf3", "pf0vf4"}


async def test_nothing_is_plugged_while_the_gate_is_shut(world: Any) -> None:
    world.gate = "uplink p0 has MTU 1400"
    world.pods.add("web", "u1", vf=3)
    await world.failed("web", "uplink p0 has MTU 1400")
    world.gate = ""
    world.agent.look_at_problems()
    await world.ready("web")


async def test_a_full_nodes_port_whose_pod_is_gone_is_swept_away(world: Any, eventually: Any) -> None:
    world.pods.add("web", "u1", vf=3)
    world.pods.add("gone", "u2", vf=4)
    await world.ready("web")
    await world.ready("gone")
    ports = plugger.Plugger(world.client, running=world.daemons, links=world.kernel)
    world.pods.forget_subscribers()  # no CNI DEL, and nobody but the sweep
    world.pods.synced.clear()
    sweeping = asyncio.create_task(dpu_pods.keep_swept(world.pods, world.client, ports))
    world.pods.delete("gone")
    await asyncio.sleep(0)
    assert set(world.ports()) == {"pf0vf3", "pf0vf4"}, "nothing is taken away before the pods are loaded"
    world.pods.synced.set()
    await eventually(lambda: set(world.ports()) == {"pf0vf3"}, "the port is gone")
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
