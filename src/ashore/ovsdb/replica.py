# SPDX-License-Identifier: Apache-2.0
"""The local copy of the monitored tables."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from ashore.ovsdb import values
from ashore.schema import row

RowValues: TypeAlias = Mapping[str, Any]
"""A row's monitored columns; never changed in place: a changed row is a new mapping."""


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

    def __getitem__(self, table: str) -> Mapping[row.Uuid, RowValues]:
        if table not in self._views:
            raise KeyError(f"table {table} isn't monitored; add it to the client's tables")
        return self._views[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def apply(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Change]:
        """Takes <table-updates2> (ovsdb-server(7), 4.1.14) in; returns what changed."""
        return [change for table, rows in updates.items() for change in self._apply_table(table, rows)]

    def replace(self, updates: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[Change]:
        """Takes a full dump in: rows that it doesn't name are gone. Only what differs from before is a change."""
        changes: list[Change] = []
        for table, rows in self._rows.items():
            gone = [uuid for uuid in rows if uuid not in updates.get(table, {})]
            changes += [Change(table, uuid, rows.pop(uuid), None) for uuid in gone]
        return changes + [change for change in self.apply(updates) if change.old != change.new]

    def load(self, rows: Mapping[str, Mapping[row.Uuid, RowValues]]) -> None:
        """Puts rows in as they are, defaults filled: for planners' tests and offline looks."""
        for table, content in rows.items():
            self._rows[table].update({uuid: {**self._defaults[table], **columns} for uuid, columns in content.items()})

    def _apply_table(self, table: str, rows: Mapping[str, Mapping[str, Any]]) -> Iterator[Change]:
        have, types, defaults = self._rows[table], self._types[table], self._defaults[table]
        for key, update in rows.items():
            uuid = row.Uuid(key)
            old = have.get(uuid)
            new: dict[str, Any] | None
            if (full := update.get("initial", update.get("insert"))) is not None:
                # Columns of default value are left out by the server.
                new = defaults | {name: values.decode(types[name], wire) for name, wire in full.items()}
            elif (part := update.get("modify")) is not None:
                base = defaults if old is None else old
                new = {**base, **{name: values.merge(types[name], base[name], wire) for name, wire in part.items()}}
            else:
                new = None
            if new is None:
                have.pop(uuid, None)
            else:
                have[uuid] = new
            if old is not None or new is not None:
                yield Change(table, uuid, old, new)
