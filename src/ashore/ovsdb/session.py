# SPDX-License-Identifier: Apache-2.0
"""One session with one server: leader check, schema, monitor, updates, until it is lost."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ashore.ovsdb import errors, ops, remote, replica, wire
from ashore.schema import ovsschema, row

NO_TRANSACTION = "00000000-0000-0000-0000-000000000000"
_HANDSHAKE_S = 10.0
# A server may need long to put a big dump together; a dead one is noticed by the wire's probes before that.
_DUMP_S = 60.0


class Session:
    """Keeps ``data`` equal to the server's tables while it lives.

    ``last_transaction`` is where the next session may go on from.
    """

    def __init__(
        self,
        data: replica.Replica,
        *,
        database: str,
        last_transaction: str,
        on_changes: Callable[[list[replica.Change]], None],
    ) -> None:
        self.last_transaction = last_transaction
        self.resumed = False
        self._data = data
        self._database = database
        self._on_changes = on_changes
        self._wire: wire.Wire | None = None
        self._early: list[list[Any]] | None = None
        self._latest: list[Any] = []

    async def open(
        self, where: remote.Remote, tls: remote.MakeContext | None, *, leader_only: bool, probe_s: float
    ) -> None:
        """Connects and brings the replica up to date.

        Raises:
            OSError, TimeoutError: the server can't be reached, or not in time.
            Lost: the session ended on the way.
            NotLeader, SchemaMismatch, Refused: it isn't a server for us.
        """
        async with asyncio.timeout(_HANDSHAKE_S):
            self._wire = await remote.connect(where, lambda: wire.Wire(self._notified, probe_s=probe_s), tls)
            # A server that doesn't know this would end sessions when a database comes or goes.
            await self._wire.call("set_db_change_aware", True)
            await self._watch_server(leader_only=leader_only)
            schema = await self._wire.call("get_schema", self._database)
            with errors.understood("schema"):
                self._use(schema)
        async with asyncio.timeout(_DUMP_S):
            await self._monitor()

    async def ended(self) -> None:
        """Waits for the end; raises its reason."""
        if self._wire:
            await asyncio.shield(self._wire.lost)

    def close(self, reason: Exception) -> None:
        """Ends the session, if there is one."""
        if self._wire:
            self._wire.close(reason)

    async def transact(self, operations: list[dict[str, Any]]) -> list[Any]:
        """The server's reply. The replica shows the transaction's effects already: updates come before the reply."""
        if self._wire is None:
            raise errors.NotConnected("there is no session")
        reply: list[Any] = await self._wire.call("transact", self._database, *operations)
        if not isinstance(reply, list) or not all(item is None or isinstance(item, dict) for item in reply):
            raise errors.Lost(f"{self._database}: the reply can't be understood; the outcome is unknown")
        return reply

    async def _watch_server(self, *, leader_only: bool) -> None:
        columns = ["name", "model", "connected", "leader", "schema"]
        found = await self._call("monitor_cond", "_Server", "server", {"Database": [{"columns": columns}]})
        self._leader_only = leader_only
        self._rows: dict[str, dict[str, Any]] = {}
        with errors.understood("list of databases"):
            self._server_changed(found)
        if self._own_row is None:
            raise errors.Refused("unknown database", f"the server has no database {self._database}")

    @property
    def _own_row(self) -> dict[str, Any] | None:
        return next((values for values in self._rows.values() if values.get("name") == self._database), None)

    def _server_changed(self, updates: Mapping[str, Any]) -> None:
        for uuid, update in updates.get("Database", {}).items():
            if "delete" in update:
                self._rows.pop(uuid, None)
                continue
            news = update.get("initial") or update.get("insert") or update.get("modify") or {}
            before = self._rows.get(uuid, {})
            self._rows[uuid] = before | news
            if before.get("name") == self._database and "schema" in news and news["schema"] != before.get("schema"):
                raise errors.SchemaMismatch(f"{self._database}'s schema changed; reading it again")
        own = self._own_row
        if own is None or own.get("model") != "clustered":
            return
        if not own.get("connected", False):
            raise errors.NotLeader("the server is cut off from its cluster")
        if self._leader_only and not own.get("leader", False):
            raise errors.NotLeader("the server isn't its cluster's leader")

    def _use(self, document: Mapping[str, Any]) -> None:
        schema = ovsschema.parse(document)
        missing = [
            f"{table}.{column}" if table in schema else table
            for table, columns in self._data.columns.items()
            for column in columns
            if table not in schema or column not in schema[table].columns
        ]
        if missing:
            raise errors.SchemaMismatch(
                f"database {self._database} of schema {document.get('version', '?')} lacks "
                f"{', '.join(dict.fromkeys(missing))}; upgrade the server or its schema (ovsdb-client convert)"
            )
        if _types(schema, self._data) != _types(self._data.schema, self._data):
            # Differences are told in terms of the old types.
            self.last_transaction = NO_TRANSACTION
        self._data.use_schema(schema)

    async def _monitor(self) -> None:
        requests = {table: [{"columns": list(columns)}] for table, columns in self._data.columns.items()}
        # Updates may follow the reply in one read, before this task runs again: the reply itself must be taken in
        # first, so updates wait in a list until then.
        self._early = []
        reply = await self._call("monitor_cond_since", self._database, "data", requests, self.last_transaction)
        try:
            with errors.understood("monitor reply"):
                found, last, updates = reply
            changes = self._data.apply(updates) if found else self._data.replace(updates)
        except errors.Garbled:
            self.last_transaction = NO_TRANSACTION
            raise
        self.resumed = bool(found)
        self._on_changes(changes)
        self.last_transaction = last
        early, self._early = self._early, None
        for params in early:
            self._updated(params)

    def _notified(self, method: str, params: list[Any]) -> None:
        if method == "update3" and params[:1] == ["data"]:
            if self._early is not None:
                self._early.append(params)
            else:
                try:
                    self._updated(params)
                except errors.Garbled as error:
                    self.close(error)
        elif method == "update2" and params[:1] == ["server"]:
            try:
                with errors.understood("list of databases"):
                    self._server_changed(params[1])
            except errors.OvsdbError as error:
                self.close(error)
        elif method == "monitor_canceled":
            self.last_transaction = NO_TRANSACTION
            self.close(ConnectionError("the server cancelled the monitor (the database went or was replaced)"))

    def _updated(self, params: list[Any]) -> None:
        try:
            with errors.understood("update"):
                _, last, updates = params
                # A set changes by difference, so the second time would undo the first. A server that keeps no history
                # names no transactions: there two changes to and fro look alike.
                if last != NO_TRANSACTION and params == self._latest:
                    raise ValueError("it came twice")
            changes = self._data.apply(updates)
        except errors.Garbled:
            # What was missed is unknown: the next session reads everything.
            self.last_transaction = NO_TRANSACTION
            raise
        self._latest = params
        self.last_transaction = last
        self._on_changes(changes)

    async def _call(self, method: str, *params: Any) -> Any:
        if self._wire is None:
            raise errors.NotConnected("there is no session")
        return await self._wire.call(method, *params)


def _types(schema: Mapping[str, row.Table], data: replica.Replica) -> list[row.Column | None]:
    return [
        schema[table].columns.get(column) if table in schema else None
        for table, columns in data.columns.items()
        for column in columns
    ]


def outcome(operations: list[dict[str, Any]], reply: list[Any], *, fenced: bool) -> list[ops.Result]:
    """The results of a transaction's reply.

    Raises:
        Fenced, DuplicateUuid, Refused: nothing was done, and why.
        Lost: the cluster doesn't know itself.
    """
    for index, item in enumerate(reply):
        if not (item and item.get("error")):
            continue
        error, details = str(item["error"]), str(item.get("details", ""))
        operation = operations[index] if index < len(operations) else None
        if error == "timed out" and fenced and index == 0:
            raise errors.Fenced(error, "the epoch has moved on; another process leads", operation)
        if error == "duplicate uuid":
            raise errors.DuplicateUuid(error, details, operation)
        if error in {"cluster error", "I/O error"}:
            # The command may be in the raft log already (raft_command_status: lost leadership, timeout, shutdown).
            raise errors.Lost(f"{error}: {details}")
        raise errors.Refused(error, details, operation)
    return [ops.result(item or {}) for item in reply[: len(operations)]]
