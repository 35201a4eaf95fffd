# SPDX-License-Identifier: Apache-2.0
"""FakeOvsdb: an ovsdb-server in memory, on a unix socket, that can be told to misbehave."""

import asyncio
import pathlib
import uuid as uuid_module
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec

from ashore.ovsdb import ops, replica, values, wire
from ashore.schema import ovsschema, row
from ashore.testing import ovsdb_engine

_HISTORY = 100
_SERVER = "00000000-0000-4000-8000-00000000d0d0"


class FakeOvsdb:
    """Speaks what ``ashore.ovsdb.Client`` needs: ``async with FakeOvsdb(nb.DATABASE, nb.TABLES, path) as fake``.

    ``remote`` is where it listens, ``rows`` what it holds, ``transact`` changes it from inside. Misbehaviour:
    ``drop_before_reply``, ``truncate_next``, ``stall``/``resume``, ``restart``, ``cancel_monitors``, ``lead``,
    ``convert``.
    """

    def __init__(self, database: str, tables: Mapping[str, row.Table], socket: pathlib.Path) -> None:
        self.remote = f"unix:{socket}"
        self.calls: list[str] = []
        """The methods that clients called, in order."""
        self.drop_before_reply = False
        """The next transaction is done, but the connection is cut before the reply."""
        self.truncate_next = ""
        """The next answer to this method is cut in the middle, then the connection closed."""
        self.running = asyncio.Event()
        self.running.set()
        self.database = database
        self.engine = ovsdb_engine.Engine(tables)
        self._socket = socket
        self._clustered: bool | None = None
        self._history: list[tuple[str, list[ovsdb_engine.RowChange]]] = [(str(uuid_module.uuid4()), [])]
        self._connections: set[_Connection] = set()
        self._listener: asyncio.Server | None = None

    @property
    def rows(self) -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
        """All tables as they are."""
        return self.engine.rows

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_unix_server(lambda: _Connection(self), self._socket)

    async def stop(self) -> None:
        """Ends all connections and listens no more; the data stay."""
        if self._listener:
            self._listener.close()
            self._listener = None
        for connection in list(self._connections):
            connection.abort()
        self._socket.unlink(missing_ok=True)
        # One round of the loop lets aborted transports close their sockets.
        await asyncio.sleep(0)

    async def restart(self, *, lose_history: bool = False) -> None:
        """Goes away and comes back, with its data."""
        await self.stop()
        if lose_history:
            self._history = [(str(uuid_module.uuid4()), [])]
        await self.start()

    def transact(self, *operations: ops.Op) -> list[Any]:
        """Changes the data as another client would; returns the reply in wire form."""
        return self.execute([ops.encode(operation, self.engine.tables) for operation in operations])

    def stall(self) -> None:
        """Neither reads nor writes, as a stopped process: connections stay open."""
        self.running.clear()

    def resume(self) -> None:
        """Goes on where it stalled."""
        self.running.set()
        for connection in list(self._connections):
            connection.catch_up()

    def cancel_monitors(self) -> None:
        """Cancels all monitors, as when the database is replaced."""
        for connection in self._connections:
            for name in list(connection.monitors):
                connection.send({"id": None, "method": "monitor_canceled", "params": [name]})
            connection.monitors.clear()

    def lead(self, *, leader: bool) -> None:
        """Makes it a cluster's server that leads, or that has lost the lead."""
        self._clustered = leader
        self._tell_server_row()

    def convert(self, tables: Mapping[str, row.Table]) -> None:
        """Changes the schema while running; columns that both have keep their values."""
        old = self.engine
        self.engine = ovsdb_engine.Engine(tables)
        for name, spec in tables.items():
            for uuid, columns in old.rows.get(name, {}).items():
                self.engine.rows[name][uuid] = {
                    column: columns.get(column, values.default(kind)) for column, kind in spec.columns.items()
                }
        self._history = [(str(uuid_module.uuid4()), [])]
        self._tell_server_row()
        self.cancel_monitors()

    def execute(self, operations: list[dict[str, Any]]) -> list[Any]:
        """A transaction in wire form."""
        reply, changes = self.engine.transact(operations)
        if changes:
            self._history = [*self._history[-_HISTORY:], (str(uuid_module.uuid4()), changes)]
            for connection in self._connections:
                connection.tell(self._history[-1][0], changes)
        return reply

    def since(self, last: str) -> tuple[bool, str, list[ovsdb_engine.RowChange]]:
        """(found, newest transaction, what happened since ``last``, or all there is when that isn't known any more)."""
        newest = self._history[-1][0]
        known = [transaction for transaction, _ in self._history]
        if last in known:
            changes = [change for _, each in self._history[known.index(last) + 1 :] for change in each]
            return True, newest, _merged(changes)
        rows = self.engine.rows.items()
        return False, newest, [(table, uuid, None, columns) for table, each in rows for uuid, columns in each.items()]

    def schema(self) -> dict[str, Any]:
        """The schema document."""
        return ovsschema.dump(self.database, self.engine.tables)

    def server_row(self) -> dict[str, Any]:
        """Its row of _Server's Database table."""
        schema = msgspec.json.encode(self.schema()).decode()
        told = {"name": self.database, "connected": True, "schema": schema}
        if self._clustered is None:
            return told | {"model": "standalone", "leader": True}
        return told | {"model": "clustered", "leader": self._clustered}

    def joined(self, connection: "_Connection") -> None:
        """A connection's word."""
        self._connections.add(connection)

    def left(self, connection: "_Connection") -> None:
        """A connection's word."""
        self._connections.discard(connection)

    def _tell_server_row(self) -> None:
        row_update = {"Database": {_SERVER: {"modify": self.server_row()}}}
        for connection in self._connections:
            if connection.watches_server:
                connection.send({"id": None, "method": "update2", "params": ["server", row_update]})


class _Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: FakeOvsdb) -> None:
        self.server = server
        self.monitors: dict[Any, dict[str, list[str]]] = {}
        self.watches_server = False
        self._framer = wire.Framer()
        self._inbox: list[bytes] = []
        self._outbox: list[bytes] = []
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 (a stream's transport is one)
        self._transport = transport
        self.server.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.server.left(self)

    def data_received(self, data: bytes) -> None:
        self._inbox.append(data)
        if self.server.running.is_set():
            self.catch_up()

    def catch_up(self) -> None:
        inbox, self._inbox = self._inbox, []
        outbox, self._outbox = self._outbox, []
        for data in outbox:
            self._write(data)
        for data in inbox:
            for text in self._framer.feed(data):
                self._received(msgspec.json.decode(text))

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def send(self, message: dict[str, Any]) -> None:
        data = msgspec.json.encode(message)
        if self.server.running.is_set():
            self._write(data)
        else:
            self._outbox.append(data)

    def tell(self, transaction: str, changes: list[ovsdb_engine.RowChange]) -> None:
        for name, tables in self.monitors.items():
            if updates := self._updates(tables, changes):
                self.send({"id": None, "method": "update3", "params": [name, transaction, updates]})

    def _write(self, data: bytes) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(data)

    def _received(self, message: dict[str, Any]) -> None:
        if message.get("method") is None:
            return
        method = message["method"]
        self.server.calls.append(method)
        result = self._result(method, message["params"])
        if method == "transact" and self.server.drop_before_reply:
            self.server.drop_before_reply = False
            self.abort()
            return
        reply = {"id": message["id"], "result": result, "error": None}
        if method == self.server.truncate_next:
            self.server.truncate_next = ""
            data = msgspec.json.encode(reply)
            self._write(data[: len(data) // 2])
            if self._transport:
                self._transport.close()
            return
        self.send(reply)

    def _result(self, method: str, params: list[Any]) -> Any:
        match method:
            case "echo":
                return params
            case "get_schema":
                return self.server.schema()
            case "transact":
                return self.server.execute(params[1:])
            case "monitor_cond":
                self.watches_server = True
                return {"Database": {_SERVER: {"initial": self.server.server_row()}}}
            case "monitor_cond_since":
                self.monitors[params[1]] = {table: request[0]["columns"] for table, request in params[2].items()}
                found, newest, changes = self.server.since(params[3])
                return [found, newest, self._updates(self.monitors[params[1]], changes)]
            case _:
                return {}

    def _updates(self, tables: dict[str, list[str]], changes: list[ovsdb_engine.RowChange]) -> dict[str, Any]:
        updates: dict[str, Any] = {}
        for table, uuid, old, new in changes:
            if table not in tables:
                continue
            kinds = self.server.engine.tables[table].columns
            if update := _row_update({name: kinds[name] for name in tables[table]}, old, new):
                updates.setdefault(table, {})[uuid] = update
        return updates


def _row_update(
    columns: Mapping[str, row.Column], old: replica.RowValues | None, new: replica.RowValues | None
) -> dict[str, Any] | None:
    if new is None:
        return {"delete": None}
    if old is None:
        told = {name: column for name, column in columns.items() if new[name] != values.default(column)}
        return {"insert": {name: values.encode(column, new[name]) for name, column in told.items()}}
    differing = {name: column for name, column in columns.items() if old[name] != new[name]}
    if not differing:
        return None
    return {"modify": {name: values.difference(column, old[name], new[name]) for name, column in differing.items()}}


def _merged(changes: list[ovsdb_engine.RowChange]) -> list[ovsdb_engine.RowChange]:
    """One change a row: from what it first was to what it is."""
    merged: dict[tuple[str, str], ovsdb_engine.RowChange] = {}
    for table, uuid, old, new in changes:
        first = merged[table, uuid][2] if (table, uuid) in merged else old
        merged[table, uuid] = (table, uuid, first, new)
    return [each for each in merged.values() if not (each[2] is None and each[3] is None)]
