# SPDX-License-Identifier: Apache-2.0
"""What a client sees and writes, against the fake and a real ovsdb-server."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import pytest

from ashore import ovsdb
from ashore.schema import nb, row
from ashore.testing import ovsdb_server


def uid(table: str, key: str) -> row.Uuid:
    return row.row_id("zone", table, key)


def switch(name: str, *ports: row.Uuid) -> nb.LogicalSwitch:
    return nb.LogicalSwitch(uuid=uid("Logical_Switch", name), name=name, ports=frozenset(ports))


def port(name: str, **columns: Any) -> nb.LogicalSwitchPort:
    return nb.LogicalSwitchPort(uuid=uid("Logical_Switch_Port", name), name=name, **columns)


def copy_of(client: ovsdb.Client) -> dict[str, dict[row.Uuid, Mapping[str, Any]]]:
    return {table: dict(rows) for table, rows in client.replica.items()}


async def test_an_inserted_row_is_in_the_replica_when_transact_returns(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        web = port("web", addresses=frozenset({"dynamic"}), options={"a": "b"}, enabled=True, tag=7)
        await client.transact([ovsdb.insert(switch("net", web.uuid)), ovsdb.insert(web)])
        assert client.replica["Logical_Switch"][uid("Logical_Switch", "net")]["ports"] == {web.uuid}
        assert client.replica["Logical_Switch_Port"][web.uuid] == {
            "name": "web",
            "addresses": frozenset({"dynamic"}),
            "options": {"a": "b"},
            "external_ids": {},
            "up": None,
            "enabled": True,
            "tag": 7,
            "type": "",
        }


async def test_update_mutation_and_delete_are_seen_as_changes(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        one, two = port("one"), port("two", external_ids={"keep": "1", "old": "1"})
        net = switch("net", one.uuid)
        await client.transact([ovsdb.insert(net), ovsdb.insert(one)])
        seen: list[ovsdb.Change] = []
        end = client.subscribe(seen.append)
        add = ovsdb.MutateSet("Logical_Switch", net.uuid, "ports", add=frozenset({two.uuid}))
        await client.transact([add, ovsdb.insert(two)])
        assert {(change.table, change.old is None) for change in seen} == {
            ("Logical_Switch", False),
            ("Logical_Switch_Port", True),
        }
        drop_one = ovsdb.MutateSet("Logical_Switch", net.uuid, "ports", remove=frozenset({one.uuid}))
        ids = ovsdb.MutateMap("Logical_Switch_Port", two.uuid, "external_ids", {"new": "2"}, frozenset({"old"}))
        tag = ovsdb.Update("Logical_Switch_Port", two.uuid, {"tag": 5, "addresses": frozenset({"x", "y"})})
        await client.transact([drop_one, ids, tag])
        assert set(client.replica["Logical_Switch_Port"]) == {two.uuid}, "a port without a switch is collected"
        assert client.replica["Logical_Switch_Port"][two.uuid]["external_ids"] == {"keep": "1", "new": "2"}
        await client.transact([ovsdb.Update("Logical_Switch_Port", two.uuid, {"tag": None})])
        assert client.replica["Logical_Switch_Port"][two.uuid]["tag"] is None
        end()
        count = len(seen)
        await client.transact([ovsdb.Delete("Logical_Switch", net.uuid)])
        assert not client.replica["Logical_Switch"]
        assert not client.replica["Logical_Switch_Port"]
        assert len(seen) == count, "an ended subscription hears no more"


async def test_a_second_insert_of_a_row_is_a_duplicate(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        await client.transact([ovsdb.insert(switch("net"))])
        with pytest.raises(ovsdb.DuplicateUuid):
            await client.transact([ovsdb.insert(switch("net"))])
        gone = ovsdb.Delete("Logical_Switch", uid("Logical_Switch", "net"))
        with pytest.raises(ovsdb.DuplicateUuid):
            await client.transact([gone, ovsdb.insert(switch("net"))])
        assert len(client.replica["Logical_Switch"]) == 1


async def test_an_index_an_enum_and_a_dangling_reference_are_refused_in_its_words(
    server: ovsdb_server.Server,
) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        sets = [nb.AddressSet(uuid=uid("Address_Set", key), name="same") for key in "ab"]
        with pytest.raises(ovsdb.Refused, match=r"constraint violation.*identical values"):
            await client.transact([ovsdb.insert(each) for each in sets])
        odd = nb.LoadBalancer(uuid=uid("Load_Balancer", "x"), name="x", protocol="carrier-pigeon")
        with pytest.raises(ovsdb.Refused, match=r"constraint violation.*allowed values"):
            await client.transact([ovsdb.insert(odd)])
        with pytest.raises(ovsdb.Refused, match="referential integrity violation"):
            await client.transact([ovsdb.insert(switch("net", uid("Logical_Switch_Port", "none")))])
        assert not any(rows for rows in client.replica.values())


async def test_a_weak_reference_to_a_deleted_row_vanishes(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        balancer = nb.LoadBalancer(uuid=uid("Load_Balancer", "lb"), name="lb")
        net = nb.LogicalSwitch(uuid=uid("Logical_Switch", "n"), name="n", load_balancer=frozenset({balancer.uuid}))
        await client.transact([ovsdb.insert(balancer), ovsdb.insert(net)])
        assert client.replica["Logical_Switch"][net.uuid]["load_balancer"] == {balancer.uuid}
        await client.transact([ovsdb.Delete("Load_Balancer", balancer.uuid)])
        assert client.replica["Logical_Switch"][net.uuid]["load_balancer"] == frozenset()


async def test_a_row_is_deleted_only_after_the_last_row_has_let_it_go(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        group = nb.HAChassisGroup(uuid=uid("HA_Chassis_Group", "g"), name="g")
        held = port("p", ha_chassis_group=group.uuid)
        net = switch("n", held.uuid)
        await client.transact([ovsdb.insert(group), ovsdb.insert(held), ovsdb.insert(net)])
        unplug = ovsdb.MutateSet("Logical_Switch", net.uuid, "ports", remove=frozenset({held.uuid}))
        gone = ovsdb.Delete("HA_Chassis_Group", group.uuid)
        # The port goes with this very transaction, and still its reference counts.
        with pytest.raises(ovsdb.Refused, match=r"cannot delete HA_Chassis_Group row .* 1 remaining reference"):
            await client.transact([unplug, gone])
        await client.transact(
            [unplug, ovsdb.Update("Logical_Switch_Port", held.uuid, {"ha_chassis_group": None}), gone]
        )
        assert not client.replica["Logical_Switch_Port"]


async def test_an_unreferenced_port_vanishes_at_once(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        await client.transact([ovsdb.insert(port("alone"))])
        assert not client.replica["Logical_Switch_Port"]


@pytest.mark.parametrize("seed", range(3))
async def test_after_random_changes_the_replica_equals_a_fresh_dump(server: ovsdb_server.Server, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 (a repeatable test)
    async with ovsdb_server.follow(server.remote) as writer, ovsdb_server.follow(server.remote) as follower:
        for _ in range(60):
            await writer.transact(random_operations(chance, writer.replica))
        async with ovsdb_server.follow(server.remote) as fresh:
            assert copy_of(writer) == copy_of(fresh)
            await ovsdb_server.until(lambda: copy_of(follower) == copy_of(fresh), "the follower has it all")
        assert any(writer.replica["Logical_Switch_Port"].values())


def random_operations(chance: random.Random, replica: ovsdb.Replica) -> list[ovsdb.Op]:
    """Operations that a server accepts, over every kind of column."""
    operations: list[ovsdb.Op] = []
    name = f"s{chance.randrange(5)}"
    net = uid("Logical_Switch", name)
    if net not in replica["Logical_Switch"]:
        operations.append(ovsdb.insert(switch(name)))
    elif chance.random() < 0.1:
        return [ovsdb.Delete("Logical_Switch", net)]
    ports = [uid("Logical_Switch_Port", f"{name}-{i}") for i in range(6)]
    i = chance.randrange(6)
    if ports[i] not in replica["Logical_Switch_Port"]:
        operations.append(ovsdb.insert(port(f"{name}-{i}", **random_columns(chance))))
        operations.append(ovsdb.MutateSet("Logical_Switch", net, "ports", add=frozenset({ports[i]})))
    elif chance.random() < 0.3:
        operations.append(ovsdb.MutateSet("Logical_Switch", net, "ports", remove=frozenset({ports[i]})))
    else:
        operations.append(ovsdb.Update("Logical_Switch_Port", ports[i], random_columns(chance)))
        put = {chance.choice("abcd"): chance.choice("12")}
        operations.append(ovsdb.MutateMap("Logical_Switch_Port", ports[i], "options", put, frozenset({"b"})))
    return operations


def random_columns(chance: random.Random) -> dict[str, Any]:
    columns = {
        "addresses": frozenset(chance.sample(["a", "b", 'c"{', "d}\\", "é"], chance.randrange(5))),
        "external_ids": {key: chance.choice("12") for key in chance.sample("abcd", chance.randrange(4))},
        "up": chance.choice([None, True, False]),
        "tag": chance.choice([None, 1, 2]),
        "type": chance.choice(["", "router"]),
    }
    return dict(chance.sample(sorted(columns.items(), key=lambda item: item[0]), chance.randrange(1, 6)))


async def test_the_fence_stops_the_old_leader(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as old, ovsdb_server.follow(server.remote) as new:
        first = await ovsdb.take_epoch(old, await ovsdb.read_epoch(old))
        await old.transact([ovsdb.insert(switch("one"))], fence=first)
        second = await ovsdb.take_epoch(new, await ovsdb.read_epoch(new))
        assert second.epoch == first.epoch + 1
        with pytest.raises(ovsdb.Fenced):
            await old.transact([ovsdb.insert(switch("two"))], fence=first)
        await new.transact([ovsdb.insert(switch("three"))], fence=second)
        names = {each["name"] for each in new.replica["Logical_Switch"].values()}
        assert names == {"one", "three"}


@pytest.mark.parametrize("exists", [False, True])
async def test_of_two_takers_one_wins(server: ovsdb_server.Server, *, exists: bool) -> None:
    async with ovsdb_server.follow(server.remote) as a, ovsdb_server.follow(server.remote) as b:
        if exists:
            await ovsdb.take_epoch(a)
        before = await ovsdb.read_epoch(a)
        outcomes = await asyncio.gather(
            ovsdb.take_epoch(a, before), ovsdb.take_epoch(b, before), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in outcomes) == ["Fence", "Fenced"]
        assert await ovsdb.read_epoch(b) == before + 1


async def test_taking_the_epoch_keeps_other_external_ids(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        globally = nb.NBGlobal(uuid=uid("NB_Global", "."), external_ids={"theirs": "1"})
        await client.transact([ovsdb.insert(globally)])
        await ovsdb.take_epoch(client)
        await ovsdb.take_epoch(client)
        assert client.replica["NB_Global"][globally.uuid]["external_ids"] == {"theirs": "1", "ashore-epoch": "2"}
