# SPDX-License-Identifier: Apache-2.0
"""An OVSDB server that babbles, cuts off, repeats itself and mixes things up is left; the next one is believed."""

import asyncio
import contextlib
import itertools
import json
import pathlib
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ashore import ovsdb
from ashore.ovsdb import errors, replica, wire
from ashore.schema import nb, row
from ashore.testing import ovsdb_server
from ashore.testing.ovsdb import FakeOvsdb

Tamper = Callable[[list[bytes]], Iterable[bytes]]
"""What a client gets to hear instead of the server's messages."""

SWITCH, PORT = "Logical_Switch", "Logical_Switch_Port"
ONE, TWO, LSP = (row.row_id("zone", table, name) for table, name in ((SWITCH, "one"), (SWITCH, "two"), (PORT, "p")))
COLUMNS = ["name", "ports", "other_config", "external_ids"]
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "set", "map", "uuid", "named-uuid", str(ONE), 0, -1, 2**70, 1.5, True, [], {}, ["set"], ["set", [[]]],
     ["uuid", []], ["uuid", str(TWO)], ["map", [["a"]]], ["map", [[["set", []], 1]]], ["set", [["set", []]]], "\ud800"]
)  # fmt: skip
JSON: st.SearchStrategy[Any] = st.recursive(
    ODD, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
KINDS = st.sampled_from(["initial", "insert", "modify", "delete", "old", ""])
ROWS = st.dictionaries(st.sampled_from(COLUMNS), ODD | JSON, max_size=3)
UPDATES = JSON | st.dictionaries(
    st.sampled_from([SWITCH, PORT, "Nowhere"]),
    JSON | st.dictionaries(st.sampled_from([ONE, TWO, LSP, ""]), JSON | st.dictionaries(KINDS, ROWS | JSON)),
)


def filled() -> replica.Replica:
    made = replica.Replica({SWITCH: tuple(COLUMNS), PORT: ("name", "addresses")}, nb.TABLES)
    made.load({SWITCH: {ONE: {"name": "one", "ports": frozenset({LSP})}}, PORT: {LSP: {"name": "p"}}})
    return made


def content(data: replica.Replica) -> dict[str, dict[row.Uuid, replica.RowValues]]:
    return {table: dict(rows) for table, rows in data.items()}


@given(UPDATES, st.booleans())
@example({SWITCH: {TWO: {"insert": {"ports": ["set", [["uuid", {}]]]}}}}, False)
def test_an_update_is_taken_in_whole_or_not_at_all(updates: Any, is_dump: bool) -> None:  # noqa: FBT001 (drawn)
    data = filled()
    before = content(data)
    try:
        changes = data.replace(updates) if is_dump else data.apply(updates)
    except errors.Garbled:
        assert content(data) == before
        return
    for change in changes:
        assert before[change.table].get(change.uuid) == change.old
        assert data[change.table].get(change.uuid) == change.new
    fresh = replica.Replica(data.columns, nb.TABLES)
    fresh.load(content(data))
    for target in (ONE, TWO, LSP):
        assert set(data.referrers(target)) == set(fresh.referrers(target))


@pytest.mark.parametrize("kind", ["modify", "delete"])
def test_a_change_of_a_row_that_isnt_here_is_refused(kind: str) -> None:
    with pytest.raises(errors.Garbled, match="isn't here"):
        filled().apply({SWITCH: {TWO: {kind: {"name": "two"}}}})


@given(st.lists(st.binary(max_size=30) | st.sampled_from([b"{", b"}", b'"', b"\\", b'{"id":1}', b" \n", b"\0", b"[]"])))
def test_a_stream_of_anything_is_cut_into_objects_or_refused(chunks: list[bytes]) -> None:
    framer, got = wire.Framer(), b""
    with contextlib.suppress(ValueError):
        for chunk in chunks:
            for text in framer.feed(chunk):
                assert text.lstrip(b" \t\r\n")[:1] == b"{"
                got += text
    assert b"".join(chunks).startswith(got)


class Liar:
    """Stands between a client and a server; tampers with what the server says on the first connection."""

    def __init__(self, server: pathlib.Path, place: pathlib.Path) -> None:
        self.remote = f"unix:{place}"
        self.tamper: Tamper | None = None
        self._server, self._place = server, place
        self._tasks: set[asyncio.Task[Any]] = set()
        self._held: list[bytes] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        listener = await asyncio.start_unix_server(self._serve, self._place)
        try:
            yield
        finally:
            listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._server)
        for source, sink, is_answer in ((reader, there_writer, False), (there_reader, writer, True)):
            self._tasks.add(asyncio.create_task(self._copy(source, sink, is_answer=is_answer)))

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, is_answer: bool) -> None:
        framer = wire.Framer()
        with contextlib.suppress(ConnectionError):
            try:
                while data := await source.read(65536):
                    for said in self._said(framer.feed(data)) if is_answer else [data]:
                        if not said:
                            return
                        sink.write(said)
                        await sink.drain()
            finally:
                sink.close()

    def _said(self, messages: list[bytes]) -> Iterable[bytes]:
        return messages if self.tamper is None else self.tamper(messages)


Story = Callable[[FakeOvsdb, Liar, ovsdb.Client], Coroutine[Any, Any, None]]


def play(story: Story) -> None:
    """Runs a story with a server, a liar before it, and a client that has to live through it."""

    async def play_it() -> None:
        with tempfile.TemporaryDirectory(prefix="fo-") as name:
            folder = pathlib.Path(name)
            liar = Liar(folder / "nb.sock", folder / "liar.sock")
            async with FakeOvsdb(nb.DATABASE, nb.TABLES, folder / "nb.sock") as fake, liar.listening():
                client = ovsdb.Client(remotes=[liar.remote], database=nb.DATABASE, tables={SWITCH: COLUMNS})
                async with ovsdb_server.following(client, sync=False):
                    await story(fake, liar, client)

    with asyncio.Runner() as runner:
        runner.run(play_it())


def agree(fake: FakeOvsdb, client: ovsdb.Client) -> bool:
    wanted = {uuid: {name: each[name] for name in COLUMNS} for uuid, each in fake.rows[SWITCH].items()}
    return client.connected and dict(client.replica[SWITCH]) == wanted


def change_all(fake: FakeOvsdb) -> None:
    """Inserts, modifies and deletes, so that each update makes sense only in its place."""
    fake.transact(ovsdb.insert(nb.LogicalSwitch(uuid=TWO, name="two")))
    fake.transact(ovsdb.MutateMap(SWITCH, TWO, "external_ids", put={"a": "b"}))
    fake.transact(ovsdb.Delete(SWITCH, TWO))
    fake.transact(ovsdb.MutateMap(SWITCH, ONE, "external_ids", put={"c": "d"}))


def updates_only(tamper: Callable[[list[bytes]], list[bytes]]) -> Tamper:
    """Waits for the four updates of ``change_all`` and tampers with them alone."""
    held: list[bytes] = []

    def hold(messages: list[bytes]) -> Iterable[bytes]:
        for message in messages:
            if b'"update3"' not in message:
                yield message
                continue
            held.append(message)
            if len(held) == 4:
                yield from tamper(held)
            elif len(held) > 4:
                yield message

    return hold


def survives(tamper: Callable[[list[bytes]], list[bytes]]) -> None:
    async def story(fake: FakeOvsdb, liar: Liar, client: ovsdb.Client) -> None:
        fake.transact(ovsdb.insert(nb.LogicalSwitch(uuid=ONE, name="one")))
        await client.synced(ovsdb_server.LIMIT_S)
        liar.tamper = updates_only(tamper)
        change_all(fake)
        await ovsdb_server.until(lambda: agree(fake, client), "the client knows what the server knows")

    play(story)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
def test_updates_in_any_order_end_in_the_servers_state(order: tuple[int, ...]) -> None:
    survives(lambda messages: [messages[index] for index in order])


@pytest.mark.parametrize("index", range(4))
def test_an_update_that_comes_twice_changes_nothing(index: int) -> None:
    survives(lambda messages: [*messages[: index + 1], *messages[index:]])


@settings(max_examples=30)
@given(st.integers(0, 3), st.integers(1, 400), st.sampled_from([b"", b"\0", b"}", b"\xff{"]))
def test_an_update_that_breaks_off_is_read_again(index: int, length: int, rest: bytes) -> None:
    survives(lambda messages: [*messages[:index], messages[index][:length] + rest, b""])


@settings(max_examples=10)
@given(st.integers(1, 40))
def test_updates_that_trickle_in_are_taken_in(size: int) -> None:
    def trickle(messages: list[bytes]) -> list[bytes]:
        stream = b"".join(messages)
        return [stream[at : at + size] for at in range(0, len(stream), size)]

    survives(trickle)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all parts of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(deeper for key, part in inner for deeper in places(part, (*path, key)))]


def replaced(value: Any, path: tuple[Any, ...], odd: Any) -> Any:
    if not path:
        return odd
    if isinstance(value, dict):
        return value | {path[0]: replaced(value[path[0]], path[1:], odd)}
    return [replaced(part, path[1:], odd) if at == path[0] else part for at, part in enumerate(value)]


@settings(max_examples=60)
@given(st.integers(0, 7), st.integers(0, 60), JSON)
@example(0, 1, [])  # the answer to set_db_change_aware
@example(3, 1, {})  # the monitor's reply
@example(3, 1, [True, None, {}])
def test_whatever_part_of_an_answer_is_odd_the_client_lives_and_a_full_dump_heals_it(
    which: int, where: int, odd: Any
) -> None:
    said = itertools.count()

    def tamper(messages: list[bytes]) -> Iterable[bytes]:
        for message in messages:
            if next(said) == which:
                value = json.loads(message)
                # Without its id an answer is none, and silence has its own test.
                paths = [path for path in places(value) if path not in ((), ("id",))]
                yield json.dumps(replaced(value, paths[where % len(paths)], odd)).encode()
            else:
                yield message

    async def story(fake: FakeOvsdb, liar: Liar, client: ovsdb.Client) -> None:
        fake.transact(ovsdb.insert(nb.LogicalSwitch(uuid=ONE, name="one")))
        liar.tamper = tamper
        await client.synced(ovsdb_server.LIMIT_S)
        change_all(fake)
        with contextlib.suppress(ovsdb.OvsdbError):
            await client.transact([ovsdb.Delete(SWITCH, TWO)])
        liar.tamper = None
        await client.synced(ovsdb_server.LIMIT_S)
        fake.cancel_monitors()
        await ovsdb_server.until(lambda: agree(fake, client), "the client knows what the server knows")

    play(story)


def test_a_server_that_doesnt_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ashore.ovsdb.session._HANDSHAKE_S", 0.2)
    monkeypatch.setattr("ashore.ovsdb.session._DUMP_S", 0.2)

    async def story(fake: FakeOvsdb, liar: Liar, client: ovsdb.Client) -> None:
        fake.transact(ovsdb.insert(nb.LogicalSwitch(uuid=ONE, name="one")))
        for count in range(4):
            heard = itertools.count()
            liar.tamper = lambda messages, heard=heard, count=count: [each for each in messages if next(heard) < count]
            await fake.restart()
            await ovsdb_server.until(lambda: "TimeoutError" in client.problem, "the client gave up")
            liar.tamper = None
            await ovsdb_server.until(lambda: agree(fake, client), "the client came back")

    play(story)


@given(JSON)
def test_any_message_is_a_message_or_ends_the_session(value: Any) -> None:
    async def hear() -> None:
        heard: list[str] = []
        line = wire.Wire(lambda method, _: heard.append(method), probe_s=1)
        line.data_received(json.dumps({"method": value, "params": value, "id": value, "error": value}).encode())
        line.data_received(msgspec.json.encode({"method": "after"}))
        assert line.lost.done() or heard[-1] == "after"
        line.close(ConnectionError("over"))

    with asyncio.Runner() as runner:
        runner.run(hear())
