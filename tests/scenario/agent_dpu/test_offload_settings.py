# SPDX-License-Identifier: Apache-2.0
"""OVS's offload settings against a fake node database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ashore import ovsdb
from ashore.agent import offload
from ashore.schema import row, vswitch
from ashore.testing import ovsdb as fake_ovsdb
from ashore.wiring import ovs_rows

TOP = row.row_id("test", "Open_vSwitch", "")


class World:
    def __init__(self, fake: fake_ovsdb.FakeOvsdb) -> None:
        self.ovs = fake
        self.setting: str | None = "on"
        self.pid: int | None = 41
        self.keeper: offload.Offload

    @property
    def config(self) -> dict[str, str]:
        return dict(self.ovs.rows["Open_vSwitch"][TOP]["other_config"])

    def set(self, setting: str) -> None:
        self.setting = setting
        self.keeper.look()


@pytest.fixture
async def world(run_dir: Path) -> AsyncIterator[World]:
    async with fake_ovsdb.FakeOvsdb("Open_vSwitch", vswitch.TABLES, run_dir / "o.sock") as ovs:
        ovs.transact(ovsdb.Insert("Open_vSwitch", TOP, {"other_config": {"vlan-limit": "0"}}))
        made = World(ovs)
        client = ovsdb.Client(remotes=[ovs.remote], database="Open_vSwitch", tables=ovs_rows.COLUMNS, leader_only=False)
        made.keeper = offload.Offload(
            client, lambda: made.setting, has_eswitch=lambda: True, vswitchd=lambda: made.pid
        )  # fmt: skip
        tasks = [asyncio.create_task(client.run()), asyncio.create_task(made.keeper.run())]
        yield made
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_offload_is_switched_on_beside_what_others_set(world: World, eventually: Any) -> None:
    await eventually(lambda: world.config.get("hw-offload") == "true", "the setting")
    assert world.config == {"vlan-limit": "0", "hw-offload": "true", "tc-policy": "none"}


async def test_a_change_waits_for_a_restart_that_is_never_ours_and_the_wait_survives_the_agent(
    world: World, eventually: Any
) -> None:
    await eventually(lambda: "needs a restart" in world.keeper.problem(), "the problem")
    again = offload.Offload(
        world.keeper._database, lambda: "on", has_eswitch=lambda: True, vswitchd=lambda: world.pid
    )  # fmt: skip
    await again.reconcile()
    assert "needs a restart" in again.problem()
    world.pid = 77
    await again.reconcile()
    assert again.problem() == ""


async def test_off_is_not_written_where_nobody_switched_it_on(world: World, eventually: Any) -> None:
    await eventually(lambda: world.config.get("hw-offload") == "true", "the first setting")
    world.set("off")
    await eventually(lambda: world.config.get("hw-offload") == "false", "off")


async def test_a_setting_changed_by_hand_comes_back(world: World, eventually: Any) -> None:
    await eventually(lambda: world.config.get("hw-offload") == "true", "the setting")
    world.ovs.transact(ovsdb.MutateMap("Open_vSwitch", TOP, "other_config", put={"hw-offload": "false"}))
    await eventually(lambda: world.config.get("hw-offload") == "true", "the setting again")
