# SPDX-License-Identifier: Apache-2.0
"""The only door to OVSDB servers (RFC 7047, ovsdb-server(7)): replica, transactions, fence, and plans' differences.

Admission rule: nothing else in the product speaks to an OVSDB server, and nothing here knows what a row is for.
Imports ``schema`` only. ``diff`` is pure.
"""

from ashore.ovsdb.client import Client
from ashore.ovsdb.diff import MissingParent, NotPlannable, Orphan, Owned, diff, is_ours
from ashore.ovsdb.errors import (
    DuplicateUuid,
    Fenced,
    Lost,
    NotConnected,
    NotLeader,
    OvsdbError,
    Refused,
    SchemaMismatch,
)
from ashore.ovsdb.fence import Fence, read_epoch, take_epoch
from ashore.ovsdb.ops import (
    Comment,
    Delete,
    Increment,
    Insert,
    MutateMap,
    MutateSet,
    Op,
    Result,
    Select,
    Update,
    Wait,
    insert,
)
from ashore.ovsdb.remote import context
from ashore.ovsdb.replica import Change, Replica

__all__ = [
    "Change",
    "Client",
    "Comment",
    "Delete",
    "DuplicateUuid",
    "Fence",
    "Fenced",
    "Increment",
    "Insert",
    "Lost",
    "MissingParent",
    "MutateMap",
    "MutateSet",
    "NotConnected",
    "NotLeader",
    "NotPlannable",
    "Op",
    "Orphan",
    "OvsdbError",
    "Owned",
    "Refused",
    "Replica",
    "Result",
    "SchemaMismatch",
    "Select",
    "Update",
    "Wait",
    "context",
    "diff",
    "insert",
    "is_ours",
    "read_epoch",
    "take_epoch",
]
