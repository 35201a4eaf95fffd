# SPDX-License-Identifier: Apache-2.0
"""Servers that go, stop, lie and lose the lead."""

import asyncio
import pathlib
import time

import pytest

from ashore import ovsdb
from ashore.schema import nb, row
from ashore.testing import ovsdb_server
from ashore.testing.ovsdb import FakeOvsdb


def switch(name: str) -> ovsdb.Insert:
    return ovsdb.insert(nb.LogicalSwitch(uuid=row.row_id("zone", "Logical_Switch", name), name=name))


def names(client: ovsdb.Client) -> set[str]:
    return {each["name"] for each in client.replica["Logical_Switch"].values()}


async def test_a_restarted_server_is_followed_again(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote) as client:
        states: list[bool] = []
        client.subscribe_state(states.append)
        await client.transact([switch("one")])
        await server.restart()
        await ovsdb_server.until(lambda: states[-2:] == [False, True], "the client is back")
        await client.transact([switch("two")])
        assert names(client) == {"one", "two"}


async def test_after_a_stall_the_client_has_noticed_and_comes_back(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote, probe_s=0.2) as client:
        server.stall()
        began = time.monotonic()
        await ovsdb_server.until(lambda: not client.connected, "the half-open connection is noticed")
        assert time.monotonic() - began < 3 * 0.2 + 0.3
        assert "echo not answered" in client.problem
        with pytest.raises(ovsdb.NotConnected):
            await client.transact([switch("one")])
        server.resume()
        await client.synced(20)
        await client.transact([switch("one")])


async def test_a_transaction_without_a_reply_in_time_is_lost(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote, probe_s=5.0) as client:
        server.stall()
        with pytest.raises(ovsdb.Lost, match="outcome is unknown"):
            await client.transact([switch("one")], timeout_s=0.2)
        server.resume()
        with pytest.raises(ovsdb.DuplicateUuid):
            await client.transact([switch("one")])


async def test_after_a_loss_only_the_difference_is_read(fake: FakeOvsdb) -> None:
    async with ovsdb_server.follow(fake.remote) as client:
        await client.transact([switch("one"), switch("two")])
        seen: list[ovsdb.Change] = []
        client.subscribe(seen.append)
        await fake.stop()
        await ovsdb_server.until(lambda: not client.connected, "the loss is noticed")
        fake.transact(switch("three"), ovsdb.Delete("Logical_Switch", row.row_id("zone", "Logical_Switch", "one")))
        await fake.start()
        await client.synced(20)
        assert client.resumed
        assert names(client) == {"two", "three"}
        assert len(seen) == 2


async def test_without_history_a_full_dump_reports_only_what_differs(fake: FakeOvsdb) -> None:
    async with ovsdb_server.follow(fake.remote) as client:
        await client.transact([switch("one"), switch("two")])
        seen: list[ovsdb.Change] = []
        client.subscribe(seen.append)
        await fake.stop()
        await ovsdb_server.until(lambda: not client.connected, "the loss is noticed")
        fake.transact(switch("three"), ovsdb.Delete("Logical_Switch", row.row_id("zone", "Logical_Switch", "one")))
        await fake.restart(lose_history=True)
        await client.synced(20)
        assert not client.resumed
        assert names(client) == {"two", "three"}
        assert len(seen) == 2


async def test_a_transaction_whose_reply_was_cut_off_is_lost_and_was_done(fake: FakeOvsdb) -> None:
    async with ovsdb_server.follow(fake.remote) as client:
        fake.drop_before_reply = True
        with pytest.raises(ovsdb.Lost):
            await client.transact([switch("one")])
        await asyncio.sleep(0)
        await client.synced(20)
        with pytest.raises(ovsdb.DuplicateUuid):
            await client.transact([switch("one")])
        assert names(client) == {"one"}


@pytest.mark.parametrize("method", ["transact", "get_schema", "monitor_cond_since"])
async def test_a_truncated_answer_ends_the_session_and_the_next_one_is_whole(fake: FakeOvsdb, method: str) -> None:
    fake.transact(switch("zero"))
    if method != "transact":
        fake.truncate_next = method
    async with ovsdb_server.follow(fake.remote) as client:
        if method == "transact":
            fake.truncate_next = method
            with pytest.raises(ovsdb.Lost):
                await client.transact([switch("one")])
        assert fake.truncate_next == ""
        await client.synced(20)
        assert "zero" in names(client)


async def test_a_cancelled_monitor_is_asked_for_again_from_the_beginning(fake: FakeOvsdb) -> None:
    async with ovsdb_server.follow(fake.remote) as client:
        await client.transact([switch("one")])
        fake.cancel_monitors()
        await ovsdb_server.until(
            lambda: fake.calls.count("monitor_cond_since") == 2 and client.connected, "a new monitor"
        )
        assert not client.resumed
        assert names(client) == {"one"}


async def test_a_changed_schema_is_read_again(fake: FakeOvsdb) -> None:
    async with ovsdb_server.follow(fake.remote) as client:
        await client.transact([switch("one")])
        tables = dict(nb.TABLES)
        tables["Logical_Switch"] = row.Table(
            name="Logical_Switch",
            is_root=True,
            columns={**nb.LogicalSwitch.TABLE.columns, "shiny": row.Column("scalar", "string")},
        )
        fake.convert(tables)
        await ovsdb_server.until(
            lambda: fake.calls.count("get_schema") >= 2 and client.connected, "the new schema is known"
        )
        await client.transact(
            [ovsdb.Update("Logical_Switch", row.row_id("zone", "Logical_Switch", "one"), {"shiny": "yes"})]
        )
        assert fake.rows["Logical_Switch"][row.row_id("zone", "Logical_Switch", "one")]["shiny"] == "yes"


async def test_a_column_that_the_server_lacks_is_named(server: ovsdb_server.Server) -> None:
    tables = {"Logical_Switch": ["name", "from_the_future"], "Warp_Core": ["heat"]}
    async with ovsdb_server.follow(server.remote, tables=tables, sync=False) as client:
        await ovsdb_server.until(lambda: "lacks" in client.problem, "the finding is told")
        assert "Logical_Switch.from_the_future, Warp_Core" in client.problem
        with pytest.raises(TimeoutError, match="from_the_future"):
            await client.synced(0.05)


async def test_a_missing_database_is_named(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote, database="Atlantis", tables={}, sync=False) as client:
        await ovsdb_server.until(lambda: "no database Atlantis" in client.problem, "the finding is told")


async def test_a_server_that_lost_the_lead_is_left(fake: FakeOvsdb) -> None:
    fake.lead(leader=True)
    async with ovsdb_server.follow(fake.remote) as client:
        fake.lead(leader=False)
        await ovsdb_server.until(lambda: not client.connected, "the client leaves")
        await ovsdb_server.until(lambda: "isn't its cluster's leader" in client.problem, "the client asks again")
        fake.lead(leader=True)
        await client.synced(20)


async def test_the_next_remote_is_tried(fake: FakeOvsdb, folder: pathlib.Path) -> None:
    async with ovsdb_server.follow(f"unix:{folder}/nobody.sock", "tcp:127.0.0.1:1", fake.remote) as client:
        assert client.connected


async def test_a_silent_but_healthy_session_stays(server: ovsdb_server.Server) -> None:
    async with ovsdb_server.follow(server.remote, probe_s=0.05) as client:
        states: list[bool] = []
        client.subscribe_state(states.append)
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        await ovsdb_server.until(lambda: loop.time() > end, "ten probes have passed")
        assert states == []


async def test_a_bug_in_a_subscriber_ends_run(fake: FakeOvsdb) -> None:
    def buggy(change: ovsdb.Change) -> None:
        raise ZeroDivisionError(change.table)

    client = ovsdb.Client(remotes=[fake.remote], database=nb.DATABASE, tables={"Logical_Switch": ["name"]})
    client.subscribe(buggy)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncio tells of it too
    task = asyncio.create_task(client.run())
    await client.synced(20)
    fake.transact(switch("one"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(task, 20)


async def test_what_goes_to_and_fro_isnt_taken_for_an_update_that_came_twice(server: ovsdb_server.Server) -> None:
    place = row.row_id("zone", "Logical_Switch", "one")
    async with ovsdb_server.follow(server.remote) as client:
        await client.transact([switch("one")])
        states: list[bool] = []
        client.subscribe_state(states.append)
        for _ in range(2):
            await client.transact([ovsdb.MutateMap("Logical_Switch", place, "external_ids", put={"a": "b"})])
            await client.transact([ovsdb.MutateMap("Logical_Switch", place, "external_ids", drop=frozenset({"a"}))])
        assert client.replica["Logical_Switch"][place]["external_ids"] == {}
        assert states == []
