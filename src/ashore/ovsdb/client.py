# SPDX-License-Identifier: Apache-2.0
"""The client: a replica that follows the server through restarts and leader moves, and transactions."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Never

import structlog

from ashore.ovsdb import errors, ops, remote, replica, session
from ashore.ovsdb import fence as fence_module

log = structlog.get_logger("ashore.ovsdb")

_BACKOFF_FIRST_S = 0.1
_BACKOFF_CAP_S = 8.0
_FAILURES = (OSError, TimeoutError, errors.OvsdbError)


class Client:
    """Keeps a copy of some tables of one database, and changes the database.

    ``replica[table][uuid][column]`` is the copy; it stays, and grows old, while there is no session. ``connected`` is
    True while it follows the server. ``problem`` says why the last session ended or couldn't begin, "" while one
    lives. After a loss only the difference is read, where the server still has it in its history.
    """

    def __init__(  # noqa: PLR0913 (the settings of one connection; all keyword-only)
        self,
        *,
        remotes: Sequence[str],
        database: str,
        tables: Mapping[str, Sequence[str]],
        tls: remote.MakeContext | None = None,
        leader_only: bool = True,
        probe_s: float = 5.0,
    ) -> None:
        """See the class.

        Args:
            remotes: ``unix:/path``, ``ssl:host:port``, ``tcp:host:port``, IPv6 in brackets; tried in turn.
            database: its name, such as OVN_Northbound.
            tables: the columns to follow, by table.
            tls: makes the context of a connection, from files as they are at that time (``remote.context``).
            leader_only: on a cluster, stay with the leader.
            probe_s: silence after which the server is asked for a sign of life; three times that is the limit.
        """
        if not remotes:
            raise ValueError(f"{database}: no remotes; give at least one")
        self._remotes = [remote.parse(text) for text in remotes]
        self._database = database
        self._tls = tls
        self._leader_only = leader_only
        self._probe_s = probe_s
        self.replica = replica.Replica({table: tuple(columns) for table, columns in tables.items()}, {})
        self.problem = "not connected yet"
        self.resumed = False
        self._session: session.Session | None = None
        self._last_transaction = session.NO_TRANSACTION
        self._up = asyncio.Event()
        self._on_change: list[Callable[[replica.Change], None]] = []
        self._on_state: list[Callable[[bool], None]] = []

    @property
    def connected(self) -> bool:
        """The replica follows the server at this moment."""
        return self._up.is_set()

    async def synced(self, timeout_s: float | None = None) -> None:
        """Waits until the replica follows the server.

        Raises:
            TimeoutError: not in this time; the text says what stands in the way.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._up.wait()
        except TimeoutError as error:
            where = ", ".join(map(str, self._remotes))
            raise TimeoutError(f"{self._database} at {where}: not synced in {timeout_s} s: {self.problem}") from error

    def subscribe(self, callback: Callable[[replica.Change], None]) -> Callable[[], None]:
        """Calls back on every row's change, in order, after the whole update is in the replica.

        Returns:
            What ends the subscription. An exception from a callback is a bug and ends ``run``.
        """
        self._on_change.append(callback)
        return lambda: self._on_change.remove(callback)

    def subscribe_state(self, callback: Callable[[bool], None]) -> Callable[[], None]:
        """Calls back with True when the replica begins to follow a server, with False when it stops."""
        self._on_state.append(callback)
        return lambda: self._on_state.remove(callback)

    async def run(self) -> Never:
        """Follows the server for ever: reconnects, takes the next remote, backs off when all have failed."""
        backoff_s, attempt, failures = _BACKOFF_FIRST_S, 0, 0
        while True:
            where = self._remotes[attempt % len(self._remotes)]
            attempt += 1
            failures += 1
            if await self._one_session(where):
                backoff_s, failures = _BACKOFF_FIRST_S, 0
            # A cluster's other servers are asked at once, each server again only after a while.
            if failures % len(self._remotes) == 0 and (failures or len(self._remotes) == 1):
                # Jitter keeps a thousand clients from coming back in step.
                await asyncio.sleep(backoff_s * random.uniform(0.5, 1))  # noqa: S311 (not a secret)
                backoff_s = min(backoff_s * 2, _BACKOFF_CAP_S)

    async def transact(
        self, operations: Sequence[ops.Op], *, fence: fence_module.Fence | None = None, timeout_s: float = 10
    ) -> list[ops.Result]:
        """Does all of it or nothing; when it returns, the replica shows it.

        Returns:
            One result for each operation.

        Raises:
            Fenced: ``fence`` is void; step down.
            DuplicateUuid: an inserted row exists.
            Refused: the server says why.
            SchemaMismatch: the server doesn't know a table or column.
            NotConnected: no session, nothing was done.
            Lost: the outcome is unknown.
        """
        current = self._session
        if current is None or not self._up.is_set():
            raise errors.NotConnected(f"{self._database}: {self.problem or 'no session'}; nothing was done")
        guarded = [fence.wait(), *operations] if fence else list(operations)
        encoded = [ops.encode(operation, self.replica.schema) for operation in guarded]
        try:
            async with asyncio.timeout(timeout_s):
                reply = await current.transact(encoded)
        except TimeoutError as error:
            raise errors.Lost(f"{self._database}: no reply in {timeout_s:g} s; the outcome is unknown") from error
        results = session.outcome(encoded, reply, fenced=fence is not None)
        return results[1:] if fence else results

    async def _one_session(self, where: remote.Remote) -> bool:
        """Runs a session to its end; whether it ever was in sync."""
        current = self._session = session.Session(
            self.replica,
            database=self._database,
            last_transaction=self._last_transaction,
            on_changes=self._changed,
        )
        began = False
        try:
            await current.open(where, self._tls, leader_only=self._leader_only, probe_s=self._probe_s)
            began = True
            self._begin(where, resumed=current.resumed)
            await current.ended()
        except _FAILURES as failure:
            self._note(where, failure)
        finally:
            self._end(current)
        return began

    def _begin(self, where: remote.Remote, *, resumed: bool) -> None:
        self.problem, self.resumed = "", resumed
        log.info("ovsdb-synced", database=self._database, remote=str(where), resumed=resumed)
        self._up.set()
        for callback in tuple(self._on_state):
            callback(True)

    def _end(self, ended: session.Session) -> None:
        ended.close(ConnectionError("the client has ended the session"))
        self._last_transaction = ended.last_transaction
        self._session = None
        if self._up.is_set():
            self._up.clear()
            for callback in tuple(self._on_state):
                callback(False)

    def _note(self, where: remote.Remote, failure: BaseException) -> None:
        problem = f"{where}: {type(failure).__name__}: {failure}"
        # The same finding again and again, every few seconds, is one event.
        report = log.debug if problem == self.problem else log.warning
        report("ovsdb-session-ended", database=self._database, remote=str(where), why=problem)
        self.problem = problem

    def _changed(self, changes: list[replica.Change]) -> None:
        for change in changes:
            for callback in tuple(self._on_change):
                callback(change)
