# SPDX-License-Identifier: Apache-2.0
"""Keeps OVS's settings for hardware offload as the NetworkConfig says; says when they aren't in force yet.

ovs-vswitchd reads ``hw-offload`` when it starts. It is never restarted by us: that would interrupt the host. Under
which process the setting was changed is noted beside it, so that the note outlives this agent.
"""

from collections.abc import Callable
from typing import Never

import structlog

from ashore import ovsdb, runtime
from ashore.wiring import offload

log = structlog.get_logger(__name__)
CHANGED_UNDER = "ashore-offload-changed-under"
"""external_ids key: the ovs-vswitchd that ran when the setting was changed."""
RETRY_S = 5.0
_KEY = "offload"


class Offload:
    """One node's.

    ``setting`` gives on, off or auto, None while unknown; ``vswitchd`` the running one's process id.
    """

    def __init__(
        self,
        database: ovsdb.Client,
        setting: Callable[[], str | None],
        *,
        has_eswitch: Callable[[], bool],
        vswitchd: Callable[[], int | None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._setting = setting
        self._has_eswitch = has_eswitch
        self._vswitchd = vswitchd
        self._changed = changed
        self._problem = ""
        self.queue: runtime.WorkQueue[str] = runtime.WorkQueue()

    def problem(self) -> str:
        """Why the setting isn't in force, "" when it is."""
        return self._problem

    def look(self) -> None:
        """Look again."""
        self.queue.add(_KEY)

    async def run(self) -> Never:
        """Follows the settings and the database for ever."""
        self._database.subscribe(lambda change: self.look() if change.table == "Open_vSwitch" else None)
        self._database.subscribe_state(lambda _up: self.look())
        await self._database.synced()
        self.look()
        await self.queue.run(lambda _key: self.reconcile())
        raise AssertionError("a queue ends only when cancelled")

    async def reconcile(self) -> None:
        """One look. Raises runtime.Retry."""
        setting = self._setting()
        row, columns = next(iter(self._database.replica["Open_vSwitch"].items()), (None, {}))
        if setting is None or row is None:
            return
        wanted = offload.wanted(setting, self._has_eswitch())
        put = offload.changes(wanted, columns["other_config"])
        pid = self._vswitchd()
        if put:
            operations: list[ovsdb.Op] = [ovsdb.MutateMap("Open_vSwitch", row, "other_config", put=put)]
            if offload.HW_OFFLOAD in put:
                note = {CHANGED_UNDER: str(pid)}
                operations.append(ovsdb.MutateMap("Open_vSwitch", row, "external_ids", put=note))
            try:
                await self._database.transact(operations)
            except ovsdb.OvsdbError as error:
                raise runtime.Retry(RETRY_S, f"offload: OVS's database didn't take the settings: {error}") from error
            log.info("offload-settings-written", **{key.replace("-", "_"): value for key, value in put.items()})
        needs_restart = bool(put) or columns["external_ids"].get(CHANGED_UNDER) == str(pid)
        self._tell(f"hw-offload={str(wanted.is_on).lower()} needs a restart of ovs-vswitchd; drain the host first"
                   if needs_restart and pid is not None else "")  # fmt: skip

    def _tell(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            log.info("offload-in-force" if not problem else "offload-not-in-force", why=problem)
            self._changed()
