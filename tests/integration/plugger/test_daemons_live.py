# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest

from ashore.ovs import daemons, unixctl


async def test_a_running_node_has_no_problem_and_a_dead_controller_is_named(zone: Any, eventually: Any) -> None:
    door = daemons.Daemons(zone.run_dir)
    assert await door.vswitchd_problem() == ""

    async def connected() -> bool:
        return await door.southbound_problem() == ""

    await eventually(connected, "ovn-controller connected")
    zone.stop("ovn-controller")
    assert "ovn-controller doesn't answer" in await door.southbound_problem()


async def test_a_command_that_the_daemon_does_not_know_is_its_own_words(zone: Any) -> None:
    with pytest.raises(unixctl.CommandFailed, match="not a valid command"):
        await unixctl.appctl(zone.run_dir, daemons.VSWITCHD, "no/such-command")
