# SPDX-License-Identifier: Apache-2.0
import pathlib

import pytest

from ashore import ovsdb
from ashore.schema import nb, row
from ashore.testing.ovsdb import FakeOvsdb


def uid(table: str, key: str) -> row.Uuid:
    return row.row_id("zone", table, key)


NET = uid("Logical_Switch", "net")
OTHER = uid("Logical_Switch", "other")
WEB = uid("Logical_Switch_Port", "web")
GROUP = uid("Port_Group", "group")
FOREIGN = row.Uuid("11111111-2222-4333-8444-555555555555")


def switch(uuid: row.Uuid = NET, name: str = "net") -> nb.LogicalSwitch:
    return nb.LogicalSwitch(uuid=uuid, name=name)


def port(uuid: row.Uuid = WEB, name: str = "web", **columns: str) -> nb.LogicalSwitchPort:
    return nb.LogicalSwitchPort(uuid=uuid, name=name, external_ids=dict(columns))


def member(value: str, uuid: row.Uuid = NET) -> row.Member:
    return row.Member("Logical_Switch", uuid, "ports", value)


class World:
    """A server's data and the replica of them, without a wire."""

    def __init__(self) -> None:
        self.server = FakeOvsdb(nb.DATABASE, nb.TABLES, pathlib.Path("/nonexistent"))

    @property
    def replica(self) -> ovsdb.Replica:
        columns = {name: tuple(table.columns) for name, table in nb.TABLES.items()}
        made = ovsdb.Replica(columns, nb.TABLES)
        made.load({t: {row.Uuid(u): c for u, c in rows.items()} for t, rows in self.server.rows.items()})
        return made

    def carry_out(
        self, plan: row.Plan, *, previous: row.Plan | None = None, prune: ovsdb.Owned | None = None
    ) -> list[ovsdb.Op]:
        operations = ovsdb.diff(plan, self.replica, previous=previous, prune=prune)
        reply = self.server.transact(*operations)
        assert not [each for each in reply if each and "error" in each]
        assert ovsdb.diff(plan, self.replica, prune=prune) == [], "planning the same again changes nothing"
        return operations

    def names(self, table: str) -> set[str]:
        return {columns["name"] for columns in self.server.rows[table].values()}


BASIC = row.Plan((switch(), port()), frozenset({member(WEB)}))


def test_new_rows_are_inserted_with_their_members() -> None:
    world = World()
    operations = world.carry_out(BASIC)
    assert all(isinstance(each, ovsdb.Insert) for each in operations)
    assert world.server.rows["Logical_Switch"][NET]["ports"] == {WEB}


def test_a_new_port_of_an_existing_switch_is_one_insert_and_one_mutation() -> None:
    world = World()
    world.carry_out(row.Plan((switch(),)))
    operations = world.carry_out(row.Plan((port(),), frozenset({member(WEB)})))
    assert [type(each) for each in operations] == [ovsdb.Insert, ovsdb.MutateSet]


def test_only_planned_columns_that_differ_are_written() -> None:
    world = World()
    world.carry_out(BASIC)
    world.server.transact(ovsdb.Update("Logical_Switch_Port", WEB, {"up": True}))
    operations = world.carry_out(row.Plan((switch(), port(pod="1")), BASIC.members))
    assert operations == [ovsdb.Update("Logical_Switch_Port", WEB, {"external_ids": {"pod": "1"}})]
    assert world.server.rows["Logical_Switch_Port"][WEB]["up"] is True


def test_what_was_planned_before_and_is_not_now_goes() -> None:
    world = World()
    world.carry_out(BASIC)
    world.carry_out(row.Plan((switch(),)), previous=BASIC)
    assert world.names("Logical_Switch_Port") == set()
    world.carry_out(row.Plan(), previous=BASIC)
    assert world.names("Logical_Switch") == set()


def test_a_port_moves_between_switches_in_place() -> None:
    world = World()
    before = row.Plan((switch(), switch(OTHER, "other"), port()), frozenset({member(WEB)}))
    after = row.Plan(before.rows, frozenset({member(WEB, OTHER)}))
    world.carry_out(before)
    for kind in ("previous", "prune"):
        operations = world.carry_out(
            after, previous=before if kind == "previous" else None, prune=ovsdb.is_ours if kind == "prune" else None
        )
        assert [type(each) for each in operations] == [ovsdb.MutateSet, ovsdb.MutateSet]
        before, after = after, before


def test_pruning_takes_what_is_ours_and_leaves_what_is_not() -> None:
    world = World()
    foreign_port = uid("Logical_Switch_Port", "f")[:14] + "4" + uid("Logical_Switch_Port", "f")[15:]
    world.carry_out(BASIC)
    world.carry_out(row.Plan((switch(OTHER, "other"),)))
    world.server.transact(
        ovsdb.Insert("Logical_Switch", FOREIGN, {"name": "theirs"}),
        ovsdb.Insert("Logical_Switch_Port", row.Uuid(foreign_port), {"name": "theirs"}),
        ovsdb.MutateSet("Logical_Switch", NET, "ports", add=frozenset({foreign_port})),
    )
    world.carry_out(row.Plan((switch(),)), prune=ovsdb.is_ours)
    assert world.names("Logical_Switch") == {"net", "theirs"}
    assert world.names("Logical_Switch_Port") == {"theirs"}


def test_pruning_takes_a_planned_port_out_of_a_group_that_it_left() -> None:
    world = World()
    group = nb.PortGroup(uuid=GROUP, name="group")
    grouped = row.Member("Port_Group", GROUP, "ports", WEB)
    world.carry_out(row.Plan((*BASIC.rows, group), BASIC.members | {grouped}))
    world.carry_out(row.Plan((*BASIC.rows, group), BASIC.members), prune=ovsdb.is_ours)
    assert world.server.rows["Port_Group"][GROUP]["ports"] == frozenset()
    assert world.names("Logical_Switch_Port") == {"web"}


def test_pruning_takes_stray_strings_out_of_member_planned_columns() -> None:
    world = World()
    uuid = uid("Address_Set", "a")
    addresses = nb.AddressSet(uuid=uuid, name="a")
    wanted = frozenset({row.Member("Address_Set", uuid, "addresses", "10.0.0.1")})
    world.carry_out(row.Plan((addresses,), wanted | {row.Member("Address_Set", uuid, "addresses", "10.0.0.9")}))
    world.carry_out(row.Plan((addresses,), wanted), prune=ovsdb.is_ours)
    assert world.server.rows["Address_Set"][uuid]["addresses"] == {"10.0.0.1"}


def test_a_row_that_would_vanish_is_refused() -> None:
    with pytest.raises(ovsdb.Orphan, match="Logical_Switch_Port"):
        World().carry_out(row.Plan((port(),)))


def test_a_weak_reference_does_not_keep_a_row() -> None:
    group = nb.PortGroup(uuid=GROUP, name="group", ports=frozenset({WEB}))
    with pytest.raises(ovsdb.Orphan):
        World().carry_out(row.Plan((group, port())))


def test_a_member_of_a_switch_that_is_not_there_yet_waits() -> None:
    with pytest.raises(ovsdb.MissingParent, match="doesn't exist yet"):
        World().carry_out(row.Plan((port(),), frozenset({member(WEB)})))


def test_a_row_planned_twice_is_refused() -> None:
    with pytest.raises(ovsdb.NotPlannable, match="planned twice"):
        World().carry_out(row.Plan((switch(), switch())))


def test_a_column_that_is_not_monitored_is_named() -> None:
    replica = ovsdb.Replica({"Logical_Switch": ("ports",)}, nb.TABLES)
    replica.load({"Logical_Switch": {NET: {}}})
    with pytest.raises(KeyError, match=r"Logical_Switch\.name is planned but not monitored"):
        ovsdb.diff(row.Plan((switch(),)), replica)
