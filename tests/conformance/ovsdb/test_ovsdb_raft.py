# SPDX-License-Identifier: Apache-2.0
"""A real cluster of three servers: the client follows the leader, the fence holds on all of them."""

import asyncio
import contextlib
import pathlib
import socket
from collections.abc import AsyncIterator

import pytest

from ashore import ovsdb
from ashore.schema import nb, row
from ashore.testing import ovsdb_server


def free_ports(count: int) -> list[int]:
    """Raft members need to know each other's address before any of them starts."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def switch(name: str) -> ovsdb.Insert:
    return ovsdb.insert(nb.LogicalSwitch(uuid=row.row_id("zone", "Logical_Switch", name), name=name))


@pytest.fixture
async def cluster(request: pytest.FixtureRequest, folder: pathlib.Path) -> AsyncIterator[list[ovsdb_server.RealServer]]:
    tools = request.getfixturevalue("tools")
    addresses = [f"tcp:127.0.0.1:{port}" for port in free_ports(3)]
    members = []
    async with contextlib.AsyncExitStack() as stack:
        for index, address in enumerate(addresses):
            place = folder / str(index)
            place.mkdir()
            member = ovsdb_server.RealServer(tools, place)
            database = str(member.database)
            if index == 0:
                await member.run("ovsdb-tool", "create-cluster", database, str(tools.schema("ovn-nb")), address)
            else:
                await member.run("ovsdb-tool", "join-cluster", database, nb.DATABASE, address, addresses[0])
            stack.push_async_callback(member.stop)
            await member.start()
            # It has joined when it serves a reader.
            async with ovsdb_server.follow(member.remote, leader_only=False):
                members.append(member)
        yield members


async def leader_of(members: list[ovsdb_server.RealServer]) -> int:
    async with asyncio.timeout(ovsdb_server.LIMIT_S):
        while True:
            for index, member in enumerate(members):
                if "Role: leader" in await member.appctl("cluster/status", nb.DATABASE):
                    return index


async def test_a_client_follows_the_leader_and_the_fence_holds_everywhere(
    cluster: list[ovsdb_server.RealServer],
) -> None:
    remotes = [member.remote for member in cluster]
    async with ovsdb_server.follow(*remotes, probe_s=2) as client:
        first = await ovsdb.take_epoch(client)
        await client.transact([switch("one")], fence=first)
        before = await leader_of(cluster)
        states: list[bool] = []
        client.subscribe_state(states.append)
        seen: list[ovsdb.Change] = []
        client.subscribe(seen.append)
        await cluster[before].appctl("cluster/failure-test", "transfer-leadership")
        await ovsdb_server.until(lambda: states[-2:] == [False, True], "the client is with the new leader")
        assert await leader_of(cluster) != before
        assert client.resumed, "the new leader has the history"
        assert seen == []
        async with ovsdb_server.follow(remotes[before], leader_only=False, probe_s=2) as old:
            second = await ovsdb.take_epoch(client)
            with pytest.raises(ovsdb.Fenced):
                await old.transact([switch("two")], fence=first)
            await client.transact([switch("three")], fence=second)
        assert {each["name"] for each in client.replica["Logical_Switch"].values()} == {"one", "three"}


async def test_a_restarted_server_of_a_cluster_still_has_the_history(
    cluster: list[ovsdb_server.RealServer],
) -> None:
    member = cluster[(await leader_of(cluster) + 1) % 3]
    async with ovsdb_server.follow(member.remote, leader_only=False, probe_s=2) as client:
        await client.transact([switch("one")])
        await member.stop()
        await ovsdb_server.until(lambda: not client.connected, "the loss is noticed")
        async with ovsdb_server.follow(*[each.remote for each in cluster if each is not member], probe_s=2) as other:
            await other.transact([switch("two")])
        seen: list[ovsdb.Change] = []
        client.subscribe(seen.append)
        await member.start()
        await ovsdb_server.until(lambda: client.connected and len(seen) == 1, "it has caught up")
        assert client.resumed
