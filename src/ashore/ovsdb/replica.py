# SPDX-License-Identifier: Apache-2.0
"""The local copy of the monitored tables."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from ashore.ovsdb import errors, values
from ashore.schema import row

RowValues: TypeAlias = Mapping[str, Any]
"""A row's monitored columns; never changed in place: a changed row is a new mapping."""


Place: TypeAlias = tuple[str, row.Uuid, str]
"""A row's column: table, row, column."""


class Change(msgspec.Struct, frozen=True):
    """One row became ``new`` from ``old``: None where it didn't exist before or doesn't any more."""

    table: str
    uuid: row.Uuid
    old: RowValues | None
    new: RowValues | None


class Replica(Mapping[str, Mapping[row.Uuid, RowValues]]):
    """``replica[table][uuid][column]``: all monitored columns are present, defaults filled in.

    ``schema`` tells the columns' types: the server's, or before the first session that one which the reader gave.
    """

    def __init__(self, columns: Mapping[str, tuple[str, ...]], schema: Mapping[str, row.Table]) -> None:
        self.columns = columns
        self._rows: dict[str, dict[row.Uuid, RowValues]] = {table: {} for table in columns}
        self._views = {table: MappingProxyType(rows) for table, rows in self._rows.items()}
        self._referrers: dict[str, tuple[Place, ...]] = {}
        self.use_schema(schema)

    def use_schema(self, schema: Mapping[str, row.Table]) -> None:
        """From now on, updates are read by these types."""
        self.schema = schema
        self._types = {
            table: {name: schema[table].columns[name] for name in names}
            for table, names in self.columns.items()
            if table in schema
        }
        self._defaults = {
            table: {name: values.default(column) for name, column in columns.items()}
            for table, columns in self._types.items()
        }
        self._strong = {
            table: tuple(
                name for name, column in columns.items() if column.strong and column.kind in {"set", "optional"}
            )
            for table, columns in self._types.items()
        }
        self._referrers.clear()
        for table in self._strong:
            for uuid, content in self._rows[table].items():
                self._note_references(table, uuid, None, content)

    def referrers(self, uuid: row.Uuid) -> tuple[Place, ...]:
        """The set and optional columns that refer strongly to a row: looked up, not searched for."""
        return self._referrers.get(uuid, ())

    def snapshot(self) -> "Replica":
        """A copy that later updates don't reach; rows are shared, since none is ever changed in place."""
        made = Replica(self.columns, {})
        made.schema, made._types, made._defaults = self.schema, self._types, self._defaults
        made._strong, made._referrers = self._strong, dict(self._referrers)
        for table, rows in self._rows.items():
            made._rows[table].update(rows)
        return made

    def __getitem__(self, table: str) -> Mapping[row.Uuid, RowValues]:
        if table not in self._views:
            raise KeyError(f"table {table} isn't monitored; add it to the client's tables")
        return self._views[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def apply(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Change]:
        """Takes <table-updates2> (ovsdb-server(7), 4.1.14) in; returns what changed.

        Raises:
            Garbled: it can't be read, or doesn't follow from what is here; then nothing is taken in.
        """
        return self._take(self._read(updates))

    def replace(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Change]:
        """Takes a full dump in: rows that it doesn't name are gone. Only what differs from before is a change."""
        named = self._read(updates)
        stay = {(change.table, change.uuid) for change in named}
        gone = [
            Change(table, uuid, old, None)
            for table, rows in self._rows.items()
            for uuid, old in rows.items()
            if (table, uuid) not in stay
        ]
        return self._take(gone) + [change for change in self._take(named) if change.old != change.new]

    def load(self, rows: Mapping[str, Mapping[row.Uuid, RowValues]]) -> None:
        """Puts rows in as they are, defaults filled: for planners' tests and offline looks."""
        for table, content in rows.items():
            for uuid, columns in content.items():
                self._put(table, uuid, {**self._defaults[table], **columns})

    def _take(self, changes: list[Change]) -> list[Change]:
        for change in changes:
            self._put(change.table, change.uuid, change.new)
        return changes

    def _read(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Change]:
        with errors.understood("update"):
            return [change for table, rows in updates.items() for change in self._read_table(table, rows)]

    def _read_table(self, table: str, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
        have, types, defaults = self._rows[table], self._types[table], self._defaults[table]
        for key, update in rows.items():
            uuid = row.Uuid(key)
            old = have.get(uuid)
            new: dict[str, Any] | None
            if (full := update.get("initial", update.get("insert"))) is not None:
                # Columns of default value are left out by the server.
                new = defaults | {name: values.decode(types[name], wire) for name, wire in full.items()}
            elif (part := update.get("modify")) is not None:
                if old is None:
                    raise ValueError(f"row {uuid} of {table} is modified, and it isn't here")
                new = {**old, **{name: values.merge(types[name], old[name], wire) for name, wire in part.items()}}
            elif "delete" in update:
                if old is None:
                    raise ValueError(f"row {uuid} of {table} is deleted, and it isn't here")
                new = None
            else:
                raise ValueError(f"row {uuid} of {table}: {sorted(update)} is no kind of change")
            yield Change(table, uuid, old, new)

    def _put(self, table: str, uuid: row.Uuid, new: RowValues | None) -> RowValues | None:
        """The row is ``new`` from now on; returns what it was."""
        rows = self._rows[table]
        old = rows.pop(uuid, None) if new is None else rows.get(uuid)
        if new is not None:
            rows[uuid] = new
        self._note_references(table, uuid, old, new)
        return old

    def _note_references(self, table: str, uuid: row.Uuid, old: RowValues | None, new: RowValues | None) -> None:
        for name in self._strong[table]:
            before, after = values.elements(old[name] if old else None), values.elements(new[name] if new else None)
            if before is after:
                continue
            place = (table, uuid, name)
            for target in before - after:
                if left := tuple(each for each in self._referrers[target] if each != place):
                    self._referrers[target] = left
                else:
                    del self._referrers[target]
            for target in after - before:
                self._referrers[target] = (*self._referrers.get(target, ()), place)
