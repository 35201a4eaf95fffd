# SPDX-License-Identifier: Apache-2.0
"""Two replicas: one leads, the other is warm; who lost the lead can't write."""

import asyncio
import contextlib
from typing import Any

import pytest

from ashore import kube, ovsdb, runtime
from ashore.controller import reign, zone


class Replica:
    """A controller process: its doors, its candidacy, its reigns."""

    def __init__(self, world: Any, identity: str) -> None:
        self.reigns: list[reign.Reign] = []
        self.elector = world.elector(identity)
        self._world = world

    async def run(self) -> None:
        async with self._world.warm() as doors:
            await self.elector.run(lambda term: self._lead(doors, term))

    async def _lead(self, doors: reign.Doors, term: runtime.Term) -> None:
        self.reigns.append(reign.Reign(doors, term))
        await self.reigns[-1].run()


@contextlib.asynccontextmanager
async def replica(world: Any, identity: str) -> Any:
    one = Replica(world, identity)
    task = asyncio.ensure_future(one.run())
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def snapshot(world: Any) -> dict[str, Any]:
    return {table: dict(world.northbound.rows[table]) for table in zone.TABLES}


async def test_a_standby_plans_nothing_and_takes_over_without_a_change_when_the_leader_goes(world: Any) -> None:
    world.node("host-1")
    world.pod("web")
    async with replica(world, "cp-b") as second:
        async with replica(world, "cp-a") as first:
            await world.eventually(lambda: first.reigns or second.reigns, "somebody leads")
            await world.eventually(
                lambda: world.addresses("web") and "default_web" in world.ports(), "the pod is served"
            )
            leader, standby = (first, second) if first.reigns else (second, first)
            await world.quiet(leader.reigns[0])
            assert standby.reigns == []
            before, addresses = snapshot(world), world.addresses("web")
            if leader is second:
                return
        await world.eventually(lambda: second.reigns, "the other one leads")
        world.pod("later")
        await world.eventually(lambda: "default_later" in world.ports() and world.addresses("later"), "it works")
        await world.quiet(second.reigns[0])
        after = snapshot(world)
        assert world.addresses("web") == addresses
        assert all(after[table][uuid]["name"] == row["name"] for table in before for uuid, row in before[table].items())
        assert len(after["Logical_Switch_Port"]) == len(before["Logical_Switch_Port"]) + 1


async def test_a_leader_whose_fence_fell_writes_nothing_and_ends_its_term(world: Any) -> None:
    world.node("host-1")
    async with world.warm() as doors, world.leading(doors) as (one, task):
        await world.quiet(one)
        await ovsdb.take_epoch(doors.northbound)
        before = snapshot(world)
        world.pod("web")
        with pytest.raises(runtime.NotLeader):
            await asyncio.wait_for(task, 10)
        assert snapshot(world) == before


async def test_a_leader_unsure_of_its_lease_writes_neither_to_the_api_nor_to_the_database(world: Any) -> None:
    world.node("host-1")
    async with world.warm() as doors, world.leading(doors) as (one, task):
        await world.quiet(one)
        before, rows = world.writes(), snapshot(world)
        one.term.ended = True
        world.pod("web")
        with pytest.raises(runtime.NotLeader):
            await asyncio.wait_for(task, 10)
        assert (world.writes(), snapshot(world)) == (before, rows)
        assert world.addresses("web") == ()


async def test_a_paused_leaders_late_patch_can_not_overwrite_its_successors_address(world: Any) -> None:
    world.node("host-1")
    async with world.leader() as one:
        await world.quiet(one)
        world.pod("web")
        stale = world.api.read(kube.PODS, "web", "default")
        await world.eventually(lambda: world.addresses("web"), "the pod has addresses")
        async with world.api.client() as client:
            with pytest.raises(kube.Conflict):
                await client.patch(
                    kube.PODS,
                    "web",
                    "default",
                    {"metadata": {"annotations": {"k8s.ovn.org/pod-networks": "{}"}}},
                    uid=stale.metadata.uid,
                    resource_version=stale.metadata.resource_version,
                )
