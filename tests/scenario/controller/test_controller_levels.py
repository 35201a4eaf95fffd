# SPDX-License-Identifier: Apache-2.0
"""Stories of a leading controller: what happens to nodes and pods, and what the records and the database show then."""

import json
import uuid
from typing import Any

from ashore import kube, ovsdb
from ashore.api import annotations
from ashore.controller import zone
from ashore.schema import nb, row

STATUS = annotations.CONNECTION_STATUS


def error(reason: str) -> dict[str, str]:
    return {STATUS: json.dumps({"default": {"Status": "Error", "Reason": reason}})}


async def test_a_scheduled_pod_gets_addresses_and_a_port_on_its_nodes_chassis(world: Any) -> None:
    world.node("host-1")
    async with world.leader():
        world.pod("web")
        await world.eventually(lambda: world.addresses("web") and "default_web" in world.ports(), "the pod has both")
    assert world.addresses("web") == ("10.244.0.3/24", "fd00:10:244::3/64")
    port = world.rows("Logical_Switch_Port")["default_web"]
    assert port["addresses"] == frozenset({"0a:58:0a:f4:00:03 10.244.0.3 fd00:10:244::3"})
    assert port["options"]["requested-chassis"] == "chassis-host-1"
    assert world.notes(kube.NODES, "host-1")[annotations.NODE_ID] == "2"


async def test_a_restart_with_running_pods_writes_nothing(world: Any) -> None:
    for number in (1, 2):
        world.node(f"host-{number}")
        world.pod(f"web-{number}", f"host-{number}")
    async with world.leader() as one:
        await world.quiet(one)
    before, rows = world.writes(), {table: dict(world.northbound.rows[table]) for table in zone.TABLES}
    async with world.leader() as again:
        await world.quiet(again)
    # The fence is taken anew: the epoch is read twice and raised once.
    assert world.writes() - before == 3
    assert {table: dict(world.northbound.rows[table]) for table in zone.TABLES} == rows


async def test_a_pod_made_again_under_its_name_gets_another_port_and_another_address(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
        first = world.rows("Logical_Switch_Port")["default_web"]
        old = world.addresses("web")
        world.api.remove(kube.PODS, "web", "default")
        world.pod("web")
        await world.eventually(lambda: world.addresses("web"), "the new pod has addresses")
        await world.quiet(one)
    second = world.rows("Logical_Switch_Port")["default_web"]
    assert second["options"]["iface-id-ver"] != first["options"]["iface-id-ver"]
    assert world.addresses("web")[0] == "10.244.0.4/24" != old[0]


async def test_a_finished_pod_keeps_its_port_until_it_is_unplugged(world: Any) -> None:
    ready = {STATUS: json.dumps({"default": {"Status": "Ready"}})}
    world.node("host-1")
    world.pod("job", notes=ready)
    async with world.leader() as one:
        await world.quiet(one)
        world.pod("job", notes=ready, phase="Succeeded")
        await world.quiet(one)
        assert "default_job" in world.ports()
        world.pod("job", notes={STATUS: "{}"}, phase="Succeeded")
        await world.eventually(lambda: "default_job" not in world.ports(), "the port is gone")


async def test_host_network_and_unscheduled_pods_get_nothing(world: Any) -> None:
    world.node("host-1")
    world.pod("proxy", hostNetwork=True)
    world.pod("pending", "")
    async with world.leader() as one:
        await world.quiet(one)
    assert world.addresses("proxy") == world.addresses("pending") == ()
    assert world.ports() == {"stor-host-1", "k8s-host-1"}


async def test_a_pod_waits_for_its_nodes_chassis_and_gets_its_port_when_it_comes(world: Any) -> None:
    world.node("host-1", **{annotations.NODE_CHASSIS_ID: ""})
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
        assert world.addresses("web")
        assert "default_web" not in world.ports()
        world.node("host-1", **{annotations.NODE_CHASSIS_ID: "late"})
        await world.eventually(lambda: "default_web" in world.ports(), "the port")
    assert world.rows("Logical_Switch_Port")["k8s-host-1"]["options"] == {"requested-chassis": "late"}


async def test_a_node_removed_takes_its_rows_and_gives_its_subnets_to_the_next(world: Any) -> None:
    world.node("host-1")
    world.node("host-2")
    world.pod("web", "host-1")
    async with world.leader() as one:
        await world.quiet(one)
        freed = world.notes(kube.NODES, "host-1")[annotations.NODE_SUBNETS]
        world.api.remove(kube.NODES, "host-1")
        await world.eventually(lambda: set(world.rows("Logical_Switch")) == {"host-2"}, "the switch is gone")
        await world.quiet(one)
        assert world.ports() == {"stor-host-2", "k8s-host-2"}
        assert set(world.rows("Logical_Router_Port")) == {"rtos-host-2"}
        world.node("host-3")
        await world.eventually(lambda: world.notes(kube.NODES, "host-3")[annotations.NODE_SUBNETS] == freed, "reuse")


async def test_a_node_made_again_under_its_name_gets_new_rows_and_its_pods_ports_move(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
        notes = world.notes(kube.NODES, "host-1")
        world.api.remove(kube.NODES, "host-1")
        world.node("host-1", **notes)
        await world.quiet(one)
        await world.eventually(lambda: "default_web" in world.ports(), "the pod's port is back")
        await world.quiet(one)
    switches = world.northbound.rows["Logical_Switch"]
    assert [columns["name"] for columns in switches.values()] == ["host-1"]
    assert len(next(iter(switches.values()))["ports"]) == 3


async def test_a_node_of_another_zone_is_left_alone(world: Any) -> None:
    world.node("host-1", **{annotations.ZONE_NAME: "elsewhere"})
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
    assert annotations.NODE_ID not in world.notes(kube.NODES, "host-1")
    assert world.rows("Logical_Switch") == {}
    assert world.addresses("web") == ()


async def test_exhausted_addresses_are_told_on_the_pod_and_others_go_on(world: Any) -> None:
    world.config(("10.244.0.0/27", 29))
    world.node("host-1")
    world.node("host-2")
    for number in range(5):
        world.pod(f"web-{number}", "host-1")
    world.pod("other", "host-2")
    async with world.leader() as one:
        await world.quiet(one)
        served = [n for n in range(5) if world.addresses(f"web-{n}")]
        assert len(served) == 4
        assert world.addresses("other")
        told = [e["message"] for e in world.all(kube.EVENTS) if e["reason"] == "NoAddress"]
        full = "node host-1: addresses of 10.244.0.0/29: all 4 are taken (4 in use)"
        assert told == [f"{full}; free pods of this node or use a shorter hostPrefix"]


async def test_exhausted_node_subnets_are_told_on_the_node_and_served_when_one_goes(world: Any) -> None:
    world.config(("10.244.0.0/23", 24))
    for number in (1, 2, 3):
        world.node(f"host-{number}")
    async with world.leader() as one:
        await world.quiet(one)
        nodes = {n: annotations.NODE_SUBNETS in world.notes(kube.NODES, f"host-{n}") for n in (1, 2, 3)}
        (short,) = [n for n, has in nodes.items() if not has]
        (told,) = [e for e in world.all(kube.EVENTS) if e["reason"] == "NoNodeSubnet"]
        assert "all 2 are taken" in told["message"]
        world.api.remove(kube.NODES, f"host-{1 if short != 1 else 2}")
        await world.eventually(
            lambda: annotations.NODE_SUBNETS in world.notes(kube.NODES, f"host-{short}"), "the freed subnet is used"
        )


async def test_foreign_rows_are_untouched_and_own_leftovers_go(world: Any) -> None:
    foreign, stale = str(uuid.uuid4()), row.row_id("global", "Logical_Switch", "node/gone")
    for row_id, name in ((foreign, "theirs"), (stale, "ours-of-old")):
        world.northbound.transact(ovsdb.insert(nb.LogicalSwitch(uuid=row.Uuid(row_id), name=name)))
    world.node("host-1")
    async with world.leader() as one:
        await world.quiet(one)
        assert set(world.rows("Logical_Switch")) == {"theirs", "host-1"}


async def test_the_address_of_a_pod_that_went_while_nobody_led_rests_too(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
    world.api.remove(kube.PODS, "web", "default")
    world.pod("next")
    async with world.leader() as one:
        await world.quiet(one)
        assert "default_web" not in world.ports()
    assert world.addresses("next")[0] == "10.244.0.4/24"


async def test_an_error_of_the_dpu_becomes_one_event_on_the_pod(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
        world.pod("web", notes=error("representor pf0vf3 is missing"))
        await world.quiet(one)
        world.pod("web", notes={**error("representor pf0vf3 is missing"), "x": "y"})
        await world.quiet(one)
        (told,) = [e for e in world.all(kube.EVENTS) if e["reason"] == "NetworkNotReady"]
    assert told["message"] == "representor pf0vf3 is missing"
    assert told["count"] == 1


async def test_a_node_without_free_vfs_is_tainted_until_it_has_some(world: Any) -> None:
    world.node("host-1", **{annotations.FREE_VFS: "0"})
    async with world.leader() as one:
        await world.quiet(one)
        (taint,) = world.raw(kube.NODES, "host-1")["spec"]["taints"]
        assert (taint["key"], taint["effect"]) == ("dpu.ashore.dev/vfs-exhausted", "NoSchedule")
        body = {"metadata": {"annotations": {annotations.FREE_VFS: "3"}}}
        async with world.api.client() as client:
            await client.patch(kube.NODES, "host-1", "", body)
        await world.eventually(lambda: not world.raw(kube.NODES, "host-1").get("spec", {}).get("taints"), "no taint")


async def test_a_removed_record_is_written_again_as_it_was(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
        before = world.addresses("web")
        async with world.api.client() as client:
            await client.patch(
                kube.PODS, "web", "default", {"metadata": {"annotations": {annotations.POD_NETWORKS: None}}}
            )
        await world.eventually(lambda: world.addresses("web") == before, "the record is back")


async def test_of_two_pods_with_one_address_the_older_keeps_it(world: Any) -> None:
    recorded = annotations.PodNetwork(("10.244.0.9/24",), "0a:58:0a:f4:00:09")
    note = {annotations.POD_NETWORKS: annotations.encode_pod_networks({"default": recorded})}
    world.config(("10.244.0.0/16", 24))
    world.node("host-1")
    world.pod("old", notes=note)
    world.pod("new", notes=note)
    async with world.leader() as one:
        await world.quiet(one)
    assert sorted((world.addresses("old"), world.addresses("new"))) == [("10.244.0.3/24",), ("10.244.0.9/24",)]


async def test_ports_lost_with_the_database_come_back_when_it_does(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with world.leader() as one:
        await world.quiet(one)
        rows = {table: dict(world.northbound.rows[table]) for table in zone.TABLES}
        await world.northbound.stop()
        for row_id in list(world.northbound.rows["Logical_Switch"]):
            world.northbound.transact(ovsdb.Delete("Logical_Switch", row_id))
        await world.northbound.start()
        await world.eventually(
            lambda: {table: dict(world.northbound.rows[table]) for table in zone.TABLES} == rows, "all rows are back"
        )


async def test_an_unreachable_api_server_delays_but_loses_nothing(world: Any) -> None:
    world.node("host-1")
    async with world.leader() as one:
        await world.quiet(one)
        world.api.faults.fail(2, status=503)
        world.pod("web")
        await world.eventually(lambda: world.addresses("web") and "default_web" in world.ports(), "the pod has both")
