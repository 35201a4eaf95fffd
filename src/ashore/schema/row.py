# SPDX-License-Identifier: Apache-2.0
"""What a planned row, a planned membership and a plan are."""

import uuid as uuid_module
from collections.abc import Iterator
from typing import Any, ClassVar, NewType

import msgspec
from msgspec import UNSET

Uuid = NewType("Uuid", str)
"""A row's UUID in its canonical text form."""

NAMESPACE = uuid_module.UUID("6f3b1d52-6f0e-5d5c-9d57-2f0a4b7c1e01")


def row_id(zone: str, table: str, key: str) -> Uuid:
    """The UUID that a planned row has: the same for the same zone, table and key, wherever and whenever it is planned.

    The key is what can't change about the thing (a pod's port: the pod's UID).
    """
    return Uuid(str(uuid_module.uuid5(NAMESPACE, f"{zone}\0{table}\0{key}")))


class Column(msgspec.Struct, frozen=True):
    """A column's type. ``kind`` is scalar, optional, set or map; ``key`` and ``value`` are OVSDB's atom types.

    ``ref_table`` names the table that a uuid key refers to, ``strong`` says how; ``mutable`` is False for columns that
    only an insert may set. ``enum`` lists the only values that a string may have; empty: any.
    """

    kind: str
    key: str
    value: str | None = None
    ref_table: str | None = None
    strong: bool = False
    mutable: bool = True
    value_ref_table: str | None = None
    enum: tuple[str, ...] = ()


class Table(msgspec.Struct, frozen=True):
    """A table's name, columns, and whether its rows live without being referenced.

    ``indexes`` are the column groups whose values are unique in the table, ``max_rows`` is None for "any number".
    """

    name: str
    is_root: bool
    columns: dict[str, Column]
    indexes: tuple[tuple[str, ...], ...] = ()
    max_rows: int | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A planned row; a column left UNSET is not ours to decide.

    Values: str, int, float, bool; ``frozenset`` for sets; ``dict`` for maps; None for an absent optional; references
    are Uuid strings.
    """

    TABLE: ClassVar[Table]

    uuid: Uuid

    def planned(self) -> Iterator[tuple[str, Any]]:
        """(column, value) for every column that this plan decides."""
        for column in self.TABLE.columns:
            value = getattr(self, attribute(column))
            if value is not UNSET:
                yield column, value


def attribute(column: str) -> str:
    """The struct field of a column: the same name, with ``_`` after a Python keyword or a name that Row uses itself."""
    return column + "_" if column in RESERVED else column


RESERVED = frozenset({"uuid", "from", "in", "is", "class", "global"})


class Member(msgspec.Struct, frozen=True, order=True):
    """``value`` belongs into the set column ``column`` of row ``uuid`` of ``table``.

    References from a parent to its children are planned this way, never as whole columns, so that a pod's change
    touches one element of its switch's ports. A set column is planned either by members or by rows, not by both.
    """

    table: str
    uuid: Uuid
    column: str
    value: str


class Plan(msgspec.Struct, frozen=True):
    """Desired rows and memberships of one key, or of the world. Order carries no meaning; UUIDs are unique."""

    rows: tuple[Row, ...] = ()
    members: frozenset[Member] = frozenset()

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(self.rows + other.rows, self.members | other.members)
