# SPDX-License-Identifier: Apache-2.0
"""What can go wrong at this door."""

import contextlib
from collections.abc import Iterator


class OvsdbError(Exception):
    """Anything that this door raises."""


class Lost(OvsdbError):  # noqa: N818 (a finding, not a fault of ours)
    """The session ended or the time was up before the reply: the transaction may or may not have been done.

    What to do: wait for ``Client.synced`` and look at the replica, then plan again. A repeated insert of a row with
    a planned UUID can't double: it fails as ``DuplicateUuid``.
    """


class NotConnected(Lost):
    """There was no session to send it on: certainly nothing was done."""


class Refused(OvsdbError):  # noqa: N818 (a finding, not a fault of ours)
    """The server answered with an error; nothing was changed.

    ``error`` and ``details`` are the server's words (RFC 7047, 4.1.3 and 5.2), ``operation`` is the wire form of the
    refused operation, None when the commit as a whole was refused.
    """

    def __init__(self, error: str, details: str = "", operation: object = None) -> None:
        where = "" if operation is None else f" (operation {operation})"
        super().__init__(f"{error}: {details}{where}" if details else f"{error}{where}")
        self.error = error
        self.details = details
        self.operation = operation


class DuplicateUuid(Refused):
    """A row of that UUID exists already (perhaps this very transaction was done before), or was deleted in this one."""


class Fenced(Refused):
    """Another process has taken the epoch: stop leading; write nothing more under this fence."""


class SchemaMismatch(OvsdbError):  # noqa: N818 (a finding, not a fault of ours)
    """The server's schema lacks a table or column that we need."""


class NotLeader(OvsdbError):  # noqa: N818 (a finding, not a fault of ours)
    """This server isn't the cluster's leader; another one of the remotes is."""


class Garbled(OvsdbError):  # noqa: N818 (a finding, not a fault of ours)
    """The server said something that isn't of the protocol or doesn't follow from what it said before."""


@contextlib.contextmanager
def understood(what: str) -> Iterator[None]:
    """Reading foreign data within: whatever its shape makes fail becomes Garbled. Not for calls of others' code."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise Garbled(f"the server's {what} can't be understood: {type(error).__name__}: {error}") from error
