# SPDX-License-Identifier: Apache-2.0
"""A fence for the leader's writes to OVN_Northbound.

OVSDB's locks belong to one server process, so on a raft cluster an old leader keeps writing under its lock. Instead one
epoch stands in ``NB_Global.external_ids``; whoever wins the lease raises it by compare-and-swap, and each of its
transactions begins with a ``wait`` for it. Works on standalone and raft servers, stale followers included.
"""

from typing import Final, Protocol

import msgspec

from ashore.ovsdb import errors, ops, values
from ashore.schema import nb, row

KEY: Final = "ashore-epoch"
_TABLE: Final = "NB_Global"


class Fence(msgspec.Struct, frozen=True):
    """The right to write while the epoch is still ours."""

    epoch: int

    def wait(self) -> ops.Wait:
        """The operation that refuses the transaction when the epoch has moved on, or NB_Global has lost it."""
        return ops.Wait(
            table=_TABLE,
            where=(("external_ids", "includes", {KEY: str(self.epoch)}),),
            columns=("name",),
            rows=(),
            until="!=",
        )


class Transactor(Protocol):
    """What is needed of a client."""

    async def transact(
        self, operations: list[ops.Op], *, fence: Fence | None = None, timeout_s: float = 10
    ) -> list[ops.Result]:
        """See Client.transact."""


async def read_epoch(client: Transactor) -> int:
    """The epoch now; 0 when there is none."""
    return (await _look(client))[1]


async def take_epoch(client: Transactor, previous: int | None = None) -> Fence:
    """Raises the epoch; every older fence refuses from then on.

    Args:
        client: connected to OVN_Northbound; it needn't monitor anything.
        previous: the epoch read *before* the lease was won. With it, a process that was paused between winning
            the lease and this call can't take the epoch away from a later leader. None: whatever it is now.

    Raises:
        Fenced: somebody else raised it at the same time; look at the lease again.
    """
    found, epoch, external_ids = await _look(client)
    if previous is not None and previous != epoch:
        raise errors.Fenced("timed out", f"{_TABLE} external_ids:{KEY} is {epoch}, not {previous}; look at the lease")
    fence = Fence(epoch + 1)
    mark = {KEY: str(fence.epoch)}
    try:
        if found is None:
            # Neither ovn-northd nor `ovn-nbctl init` has made the row yet; the table takes one row only.
            uuid = row.row_id("", _TABLE, KEY)
            await client.transact([ops.Insert(_TABLE, uuid, {"external_ids": mark})])
        else:
            unchanged = ops.Wait(
                table=_TABLE,
                where=(("_uuid", "==", found),),
                columns=("external_ids",),
                rows=({"external_ids": external_ids},),
            )
            raised = ops.MutateMap(_TABLE, found, "external_ids", put=mark)
            await client.transact([unchanged, raised])
    except errors.Refused as refused:
        if refused.error in {"timed out", "duplicate uuid", "constraint violation"}:
            raise errors.Fenced(
                refused.error, "another process changed NB_Global first; look at the lease"
            ) from refused
        raise
    return fence


async def _look(client: Transactor) -> tuple[row.Uuid | None, int, dict[str, str]]:
    (result,) = await client.transact([ops.Select(table=_TABLE, columns=("external_ids",))])
    if not result.rows:
        return None, 0, {}
    found = result.rows[0]
    external_ids = values.decode(nb.NBGlobal.TABLE.columns["external_ids"], found["external_ids"])
    plain = dict(external_ids) if isinstance(external_ids, dict) else {}
    epoch = plain.get(KEY, "0")
    return row.Uuid(found["_uuid"][1]), int(epoch) if epoch.isdecimal() else 0, plain
