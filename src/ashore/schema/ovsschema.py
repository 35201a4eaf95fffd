# SPDX-License-Identifier: Apache-2.0
"""Reading and writing an .ovsschema document (RFC 7047, 3.2)."""

from collections.abc import Mapping
from typing import Any

from ashore.schema import row


def parse(document: Mapping[str, Any]) -> dict[str, row.Table]:
    """The tables of a database schema, by name."""
    return {name: _table(name, table) for name, table in document["tables"].items()}


def dump(name: str, tables: Mapping[str, row.Table], *, version: str = "1.0.0") -> dict[str, Any]:
    """A schema document that says what ``tables`` says; limits that ``row.Column`` doesn't know are left out."""
    return {"name": name, "version": version, "tables": {key: _dump_table(table) for key, table in tables.items()}}


def _table(name: str, table: Mapping[str, Any]) -> row.Table:
    return row.Table(
        name=name,
        is_root=bool(table.get("isRoot", False)),
        columns={column: _column(spec) for column, spec in table["columns"].items()},
        indexes=tuple(tuple(index) for index in table.get("indexes", ())),
        max_rows=table.get("maxRows"),
    )


def _column(spec: Mapping[str, Any]) -> row.Column:
    kind = spec["type"]
    mutable = bool(spec.get("mutable", True))
    if isinstance(kind, str):
        return row.Column(kind="scalar", key=kind, mutable=mutable)
    key = _atom(kind["key"])
    value = _atom(kind["value"]) if "value" in kind else None
    return row.Column(
        kind=_kind(kind),
        key=key["type"],
        value=value["type"] if value else None,
        ref_table=key.get("refTable"),
        strong=key.get("refTable") is not None and key.get("refType", "strong") == "strong",
        mutable=mutable,
        value_ref_table=value.get("refTable") if value else None,
        enum=_enum(key),
    )


def _kind(kind: Mapping[str, Any]) -> str:
    if "value" in kind:
        return "map"
    if kind.get("max", 1) != 1:
        return "set"
    return "scalar" if kind.get("min", 1) == 1 else "optional"


def _atom(atom: str | Mapping[str, Any]) -> Mapping[str, Any]:
    return {"type": atom} if isinstance(atom, str) else atom


def _enum(key: Mapping[str, Any]) -> tuple[str, ...]:
    enum = key.get("enum")
    if enum is None or key["type"] != "string":
        return ()
    return tuple(enum[1]) if isinstance(enum, list) else (enum,)


def _dump_table(table: row.Table) -> dict[str, Any]:
    document: dict[str, Any] = {"columns": {name: _dump_column(column) for name, column in table.columns.items()}}
    if table.is_root:
        document["isRoot"] = True
    if table.indexes:
        document["indexes"] = [list(index) for index in table.indexes]
    if table.max_rows is not None:
        document["maxRows"] = table.max_rows
    return document


def _dump_column(column: row.Column) -> dict[str, Any]:
    key: dict[str, Any] = {"type": column.key}
    if column.ref_table:
        key |= {"refTable": column.ref_table, "refType": "strong" if column.strong else "weak"}
    if column.enum:
        key["enum"] = ["set", list(column.enum)]
    limits = {"scalar": (1, 1), "optional": (0, 1)}.get(column.kind, (0, "unlimited"))
    kind: dict[str, Any] = {"key": key, "min": limits[0], "max": limits[1]}
    if column.value:
        kind["value"] = {"type": column.value}
        if column.value_ref_table:
            kind["value"] |= {"refTable": column.value_ref_table}
    document: dict[str, Any] = {"type": kind}
    if not column.mutable:
        document["mutable"] = False
    return document
