# SPDX-License-Identifier: Apache-2.0
"""What an ovsdb-server does with transactions (RFC 7047, 4.1.3 and 5.2), in memory."""

import copy
import uuid as uuid_module
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ashore.ovsdb import values
from ashore.schema import row

Rows: TypeAlias = dict[str, dict[str, dict[str, Any]]]
RowChange: TypeAlias = tuple[str, str, dict[str, Any] | None, dict[str, Any] | None]
"""(table, uuid, old, new)"""


class TransactionError(Exception):
    """A transaction's error as the server words it."""

    def __init__(self, error: str, details: str = "") -> None:
        super().__init__(error, details)
        self.wire = {"error": error, "details": details}


class Engine:
    """Tables, and transactions on them. Values are Python's, as in ``ashore.ovsdb.values``."""

    def __init__(self, tables: Mapping[str, row.Table]) -> None:
        self.tables = tables
        self.rows: Rows = {name: {} for name in tables}

    def transact(self, operations: list[dict[str, Any]]) -> tuple[list[Any], list[RowChange]]:
        """The reply, and the changes that were made: none when the reply has an error."""
        draft = _Draft(self.tables, self.rows)
        reply: list[Any] = []
        for operation in operations:
            try:
                reply.append(draft.execute(operation))
            except TransactionError as error:
                nothing: list[Any] = [None] * (len(operations) - len(reply) - 1)
                return [*reply, error.wire, *nothing], []
        try:
            draft.settle()
        except TransactionError as error:
            return [*reply, error.wire], []
        changes = list(_changes(self.rows, draft.rows))
        self.rows = draft.rows
        return reply, changes


class _Draft:
    """One transaction on its way."""

    def __init__(self, tables: Mapping[str, row.Table], rows: Rows) -> None:
        self.tables = tables
        self.rows: Rows = {table: dict(content) for table, content in rows.items()}
        self._deleted: set[tuple[str, str]] = set()
        self._names: dict[str, str] = {}

    def execute(self, operation: dict[str, Any]) -> dict[str, Any]:
        name = operation["op"]
        if name == "comment":
            return {}
        if operation.get("table") not in self.tables:
            raise TransactionError("syntax error", f"no table named {operation.get('table')}")
        handlers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "insert": self._insert,
            "update": self._update,
            "mutate": self._mutate,
            "delete": self._delete,
            "select": self._select,
            "wait": self._wait,
        }
        if name not in handlers:
            raise TransactionError("unknown operation", name)
        return handlers[name](operation)

    def settle(self) -> None:
        """What a commit does: garbage collection, weak references, strong ones, limits, indexes."""
        self._refuse_held_deletions()
        self._collect()
        for table, content in self.rows.items():
            spec = self.tables[table]
            for uuid, columns in content.items():
                content[uuid] = self._checked_references(table, uuid, columns)
            if spec.max_rows is not None and len(content) > spec.max_rows:
                limit = (
                    f"transaction causes {table} table to contain {len(content)} rows, greater than the schema-defined"
                )
                raise TransactionError("constraint violation", f"{limit} limit of {spec.max_rows} row(s)")
            for index in spec.indexes:
                keys = [tuple(columns[name] for name in index) for columns in content.values()]
                if len(set(keys)) != len(keys):
                    text = f"Transaction causes multiple rows in {table} table to have identical values for index"
                    raise TransactionError("constraint violation", f"{text} on columns {', '.join(index)}")

    def _insert(self, operation: dict[str, Any]) -> dict[str, Any]:
        table = operation["table"]
        uuid = operation.get("uuid") or str(uuid_module.uuid4())
        if uuid in self.rows[table] or (table, uuid) in self._deleted:
            text = "This UUID would duplicate a UUID already present within the table or deleted within the same"
            raise TransactionError("duplicate uuid", f"{text} transaction.")
        if "uuid-name" in operation:
            self._names[operation["uuid-name"]] = uuid
        columns = {name: values.default(column) for name, column in self.tables[table].columns.items()}
        columns |= self._values(table, operation["row"])
        for name, column in self.tables[table].columns.items():
            _check_enum(table, name, column, columns[name])
        self.rows[table][uuid] = columns
        return {"uuid": ["uuid", uuid]}

    def _update(self, operation: dict[str, Any]) -> dict[str, Any]:
        table = operation["table"]
        new = self._values(table, operation["row"])
        for name, value in new.items():
            column = self.tables[table].columns[name]
            if not column.mutable:
                raise TransactionError(
                    "constraint violation", f"Cannot update immutable column {name} in table {table}."
                )
            _check_enum(table, name, column, value)
        matches = self._matches(operation)
        for uuid in matches:
            self.rows[table][uuid] = {**self.rows[table][uuid], **new}
        return {"count": len(matches)}

    def _mutate(self, operation: dict[str, Any]) -> dict[str, Any]:
        table = operation["table"]
        matches = self._matches(operation)
        for uuid in matches:
            columns = dict(self.rows[table][uuid])
            for name, how, wire in operation["mutations"]:
                columns[name] = self._mutated(self._column(table, name), columns[name], how, wire)
            self.rows[table][uuid] = columns
        return {"count": len(matches)}

    def _mutated(self, column: row.Column, old: Any, how: str, wire: Any) -> Any:
        if how in {"+=", "-="}:
            return old + wire if how == "+=" else old - wire
        wire = self._named(wire)
        if column.kind == "map":
            if how == "insert":
                return {**values.decode(column, wire), **old}
            keys = column if wire[0] == "map" else row.Column(kind="set", key=column.key)
            gone = values.decode(keys, wire)
            if isinstance(gone, dict):
                return {k: v for k, v in old.items() if gone.get(k) != v}
            return {k: v for k, v in old.items() if k not in gone}
        atoms = values.decode(row.Column(kind="set", key=column.key), wire)
        have = old if isinstance(old, frozenset) else frozenset() if old is None else frozenset((old,))
        new = have | atoms if how == "insert" else have - atoms
        if column.kind == "set":
            return new
        if len(new) > 1:
            raise TransactionError("constraint violation", "attempted to insert too many elements into an optional")
        return next(iter(new), None)

    def _delete(self, operation: dict[str, Any]) -> dict[str, Any]:
        matches = self._matches(operation)
        for uuid in matches:
            del self.rows[operation["table"]][uuid]
            self._deleted.add((operation["table"], uuid))
        return {"count": len(matches)}

    def _select(self, operation: dict[str, Any]) -> dict[str, Any]:
        table = operation["table"]
        names = operation.get("columns", ["_uuid", *self.tables[table].columns])
        return {"rows": [self._shown(table, uuid, names) for uuid in self._matches(operation)]}

    def _shown(self, table: str, uuid: str, names: list[str]) -> dict[str, Any]:
        columns = self.rows[table][uuid]
        plain = {name: values.encode(self._column(table, name), columns[name]) for name in names if name != "_uuid"}
        return plain | ({"_uuid": ["uuid", uuid]} if "_uuid" in names else {})

    def _wait(self, operation: dict[str, Any]) -> dict[str, Any]:
        table, names = operation["table"], operation["columns"]
        found = [{name: self.rows[table][uuid][name] for name in names} for uuid in self._matches(operation)]
        wanted = [self._values(table, each) for each in operation["rows"]]
        equal = all(each in wanted for each in found) and all(each in found for each in wanted)
        if equal != (operation["until"] == "=="):
            # Every wait here has a time-out of 0: the door sends no others.
            raise TransactionError("timed out", '"wait" timed out')
        return {}

    def _matches(self, operation: dict[str, Any]) -> list[str]:
        table = operation["table"]
        conditions = operation["where"]
        if len(conditions) == 1 and conditions[0][:2] == ["_uuid", "=="]:
            uuid = self._named(conditions[0][2])[1]
            return [uuid] if uuid in self.rows[table] else []
        return [uuid for uuid in self.rows[table] if all(self._holds(table, uuid, *each) for each in conditions)]

    def _holds(self, table: str, uuid: str, name: str, function: str, wire: Any) -> bool:
        if name == "_uuid":
            return bool(uuid == wire[1]) == (function == "==")
        column = self._column(table, name)
        have: Any = self.rows[table][uuid][name]
        want: Any = values.decode(column, self._named(wire))
        if function in {"==", "!="}:
            return bool(have == want) == (function == "==")
        if function == "includes":
            return _pairs(want) <= _pairs(have)
        return not _pairs(want) & _pairs(have)

    def _values(self, table: str, wire: Mapping[str, Any]) -> dict[str, Any]:
        return {name: values.decode(self._column(table, name), self._named(value)) for name, value in wire.items()}

    def _column(self, table: str, name: str) -> row.Column:
        if name not in self.tables[table].columns:
            raise TransactionError("syntax error", f"No column {name} in table {table}.")
        return self.tables[table].columns[name]

    def _named(self, wire: Any) -> Any:
        if not isinstance(wire, list):
            return wire
        if len(wire) == 2 and wire[0] == "named-uuid":  # noqa: PLR2004 (a pair)
            return ["uuid", self._names[wire[1]]]
        return [self._named(each) for each in wire]

    def _refuse_held_deletions(self) -> None:
        """A deleted row mustn't be referenced even by a row that this commit's garbage collection would take."""
        held = [reference[:2] for reference in self._references() if reference[2]] if self._deleted else []
        for table, uuid in sorted(self._deleted):
            if count := held.count((table, uuid)):
                text = f"cannot delete {table} row {uuid} because of {count} remaining reference(s)"
                raise TransactionError("referential integrity violation", text)

    def _collect(self) -> None:
        """Rows of non-root tables go with their last strong reference."""
        while True:
            held = {reference[:2] for reference in self._references() if reference[2]}
            gone = [
                (table, uuid)
                for table, content in self.rows.items()
                if not self.tables[table].is_root
                for uuid in content
                if (table, uuid) not in held
            ]
            if not gone:
                return
            for table, uuid in gone:
                del self.rows[table][uuid]

    def _references(self) -> Iterator[tuple[str, str, bool]]:
        for table, content in self.rows.items():
            for name, column in self.tables[table].columns.items():
                if column.ref_table is not None and column.kind != "map":
                    for columns in content.values():
                        for target in _set(columns[name]):
                            yield column.ref_table, target, column.strong

    def _checked_references(self, table: str, uuid: str, columns: dict[str, Any]) -> dict[str, Any]:
        checked = columns
        for name, column in self.tables[table].columns.items():
            if column.ref_table is None or column.kind == "map":
                continue
            if not (missing := {each for each in _set(columns[name]) if each not in self.rows[column.ref_table]}):
                continue
            if column.strong:
                text = f"Table {table} column {name} row {uuid} references nonexistent row {min(missing)}"
                raise TransactionError("referential integrity violation", f"{text} in table {column.ref_table}.")
            left = _set(columns[name]) - missing
            checked = {**checked, name: frozenset(left) if column.kind == "set" else next(iter(left), None)}
        return checked


def _set(value: Any) -> set[Any]:
    if isinstance(value, frozenset | set):
        return set(value)
    return set() if value is None else {value}


def _pairs(value: Any) -> set[Any]:
    return set(value.items()) if isinstance(value, dict) else _set(value)


def _check_enum(table: str, name: str, column: row.Column, value: Any) -> None:
    for each in _set(value) if column.enum else ():
        if each not in column.enum:
            text = f"{each} is not one of the allowed values ({', '.join(column.enum)}) of column {name} of {table}"
            raise TransactionError("constraint violation", text)


def _changes(old: Rows, new: Rows) -> Iterator[RowChange]:
    for table, content in new.items():
        before = old[table]
        for uuid, columns in content.items():
            if before.get(uuid) != columns:
                yield table, uuid, copy.copy(before.get(uuid)), columns
        for uuid, columns in before.items():
            if uuid not in content:
                yield table, uuid, columns, None
