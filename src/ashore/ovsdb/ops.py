# SPDX-License-Identifier: Apache-2.0
"""Operations of a transaction as data, and their wire form (RFC 7047, 5.2).

They hold Python values; the wire form is made with the column types of the server that gets them.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from ashore.ovsdb import errors, values
from ashore.schema import row

Condition: TypeAlias = tuple[str, str, Any]
"""(column, function, value), for example ``("name", "==", "web")`` or ``("external_ids", "includes", {"a": "b"})``."""


class Insert(msgspec.Struct, frozen=True):
    """A new row with this UUID; refused as ``DuplicateUuid`` when it exists."""

    table: str
    uuid: row.Uuid
    columns: Mapping[str, Any]


class Update(msgspec.Struct, frozen=True):
    """These columns of that row get these values. No such row: nothing happens."""

    table: str
    uuid: row.Uuid
    columns: Mapping[str, Any]


class MutateSet(msgspec.Struct, frozen=True):
    """Elements out of and into a set (or optional) column."""

    table: str
    uuid: row.Uuid
    column: str
    add: frozenset[Any] = frozenset()
    remove: frozenset[Any] = frozenset()


class MutateMap(msgspec.Struct, frozen=True):
    """Keys of a map column: those of ``put`` get their values, those of ``drop`` go, the others stay as they are."""

    table: str
    uuid: row.Uuid
    column: str
    put: Mapping[Any, Any] = msgspec.field(default_factory=dict)
    drop: frozenset[Any] = frozenset()


class Increment(msgspec.Struct, frozen=True):
    """Adds to an integer column (``next_cfg``, ``nb_cfg``)."""

    table: str
    uuid: row.Uuid
    column: str
    by: int = 1


class Delete(msgspec.Struct, frozen=True):
    """The row goes. Only for rows of root tables: others go with their last reference."""

    table: str
    uuid: row.Uuid


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Refuses the transaction ("timed out") at once unless the rows that match are (``until``: == or !=) ``rows``."""

    table: str
    where: tuple[Condition, ...]
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]
    until: str = "=="


class Select(msgspec.Struct, frozen=True, kw_only=True):
    """Asks for ``columns`` of the rows that match; they come as ``Result.rows``, ``_uuid`` included."""

    table: str
    columns: tuple[str, ...]
    where: tuple[Condition, ...] = ()


class Comment(msgspec.Struct, frozen=True):
    """A line for the database's log."""

    text: str


Op: TypeAlias = Insert | Update | MutateSet | MutateMap | Increment | Delete | Wait | Select | Comment


def insert(planned: row.Row) -> Insert:
    """The planned row as a new one."""
    return Insert(planned.TABLE.name, planned.uuid, dict(planned.planned()))


def mutate_set(member: row.Member) -> MutateSet:
    """The planned membership as a mutation."""
    return MutateSet(member.table, member.uuid, member.column, add=frozenset({member.value}))


def encode(op: Op, tables: Mapping[str, row.Table]) -> dict[str, Any]:
    """The wire form for a server of this schema.

    Raises:
        SchemaMismatch: the server doesn't know a table or column.
    """
    if isinstance(op, Comment):
        return {"op": "comment", "comment": op.text}
    if isinstance(op, Wait | Select):
        return _on_rows(op, tables)
    encoded: dict[str, Any] = {"op": _NAMES[type(op)], "table": op.table}
    if isinstance(op, Insert):
        return encoded | {"uuid": op.uuid, "row": _row(op.table, op.columns, tables)}
    encoded["where"] = [["_uuid", "==", ["uuid", op.uuid]]]
    if isinstance(op, Update):
        encoded["row"] = _row(op.table, op.columns, tables)
    elif not isinstance(op, Delete):
        encoded["mutations"] = _mutations(op, column_of(op.table, op.column, tables))
    return encoded


_NAMES: Mapping[type, str] = {
    Insert: "insert",
    Update: "update",
    Delete: "delete",
    MutateSet: "mutate",
    MutateMap: "mutate",
    Increment: "mutate",
}


def _on_rows(op: Wait | Select, tables: Mapping[str, row.Table]) -> dict[str, Any]:
    where = [_condition(op.table, condition, tables) for condition in op.where]
    if isinstance(op, Select):
        return {"op": "select", "table": op.table, "where": where, "columns": ["_uuid", *op.columns]}
    return {
        "op": "wait",
        "table": op.table,
        "timeout": 0,
        "where": where,
        "columns": list(op.columns),
        "until": op.until,
        "rows": [_row(op.table, columns, tables) for columns in op.rows],
    }


def column_of(table: str, column: str, tables: Mapping[str, row.Table]) -> row.Column:
    """The column's type at the server."""
    if column == "_uuid":
        return _UUID
    if table not in tables:
        raise errors.SchemaMismatch(f"the server has no table {table}; upgrade its schema")
    if column not in tables[table].columns:
        raise errors.SchemaMismatch(f"the server's table {table} has no column {column}; upgrade its schema")
    return tables[table].columns[column]


_UUID = row.Column(kind="scalar", key="uuid")


def _row(table: str, columns: Mapping[str, Any], tables: Mapping[str, row.Table]) -> dict[str, Any]:
    return {name: values.encode(column_of(table, name, tables), value) for name, value in columns.items()}


def _condition(table: str, condition: Condition, tables: Mapping[str, row.Table]) -> list[Any]:
    name, function, value = condition
    return [name, function, values.encode(column_of(table, name, tables), value)]


def _mutations(op: MutateSet | MutateMap | Increment, column: row.Column) -> list[Any]:
    if isinstance(op, Increment):
        return [[op.column, "+=", op.by]]
    if isinstance(op, MutateSet):
        sets = (("delete", op.remove), ("insert", op.add))
        return [[op.column, how, values.encode_set(column.key, atoms)] for how, atoms in sets if atoms]
    # An insert leaves keys that exist as they are, so they are taken out first.
    mutations: list[Any] = [[op.column, "delete", values.encode_set(column.key, op.drop | op.put.keys())]]
    if op.put:
        mutations.append([op.column, "insert", values.encode_map(column, op.put)])
    return mutations


class Result(msgspec.Struct, frozen=True):
    """What an operation did: how many rows it touched, the inserted row's UUID, the selected rows."""

    count: int = 0
    uuid: row.Uuid | None = None
    rows: tuple[Mapping[str, Any], ...] = ()


def result(wire: Mapping[str, Any]) -> Result:
    """An operation's result from its wire form; selected rows are left as the server writes them."""
    uuid = wire.get("uuid")
    return Result(
        count=wire.get("count", 0), uuid=row.Uuid(uuid[1]) if uuid else None, rows=tuple(wire.get("rows", ()))
    )
