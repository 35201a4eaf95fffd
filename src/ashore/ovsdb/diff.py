# SPDX-License-Identifier: Apache-2.0
"""From a plan and the world to the operations that make the world as planned. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ashore.ovsdb import ops, replica, values
from ashore.schema import row

Owned: TypeAlias = Callable[[str, row.Uuid, replica.RowValues], bool]
"""Whether a row (table, uuid, columns) is ours to delete."""

_Key: TypeAlias = tuple[str, row.Uuid]
_UUID_VERSION_AT = 14


class NotPlannable(ValueError):  # noqa: N818 (a finding about the plan)
    """The plan can't be carried out as it is."""


class MissingParent(NotPlannable):
    """A membership's parent is neither in the world nor in the plan: plan again when it is."""


class Orphan(NotPlannable):
    """A row that lives only while referenced would be inserted with nothing that refers to it, and vanish."""


def is_ours(table: str, uuid: row.Uuid, columns: replica.RowValues) -> bool:
    """Ownership by UUID: ours are version 5 (``row.row_id``), those that servers make up are version 4.

    No planner can forget this mark, and tables without external_ids have it too.
    """
    del table, columns
    return uuid[_UUID_VERSION_AT] == "5"


def diff(
    plan: row.Plan, world: replica.Replica, *, previous: row.Plan | None = None, prune: Owned | None = None
) -> list[ops.Op]:
    """The operations of one transaction that make ``world`` as ``plan`` says; none when it is so already.

    Rows are inserted, or updated in place where a planned column differs. Members are added by mutation. What else
    there is stays, but for:

    * rows and members of ``previous`` (what was planned for this key before) that ``plan`` doesn't have;
    * with ``prune``: rows that it owns and that aren't planned, so ``plan`` must be everything; and in owned rows'
      set columns that the plan doesn't decide as a whole, references to owned rows that aren't planned members, and
      unplanned values of string columns that have planned members somewhere.

    Raises:
        MissingParent, Orphan, NotPlannable: see there.
        KeyError: the replica doesn't monitor a planned table or column.
    """
    return _Diff(plan, world, previous or row.Plan()).run(prune)


class _Diff:
    """One run."""

    def __init__(self, plan: row.Plan, world: replica.Replica, previous: row.Plan) -> None:
        self.world = world
        self.plan = plan
        self.previous = previous
        self.planned = {(planned.TABLE.name, planned.uuid): planned for planned in plan.rows}
        if len(self.planned) != len(plan.rows):
            raise NotPlannable("a row is planned twice; each UUID belongs into a plan once")
        self.members = _by_column(plan.members)
        self.of_row: dict[_Key, list[tuple[str, frozenset[Any]]]] = defaultdict(list)
        for (table, uuid, column), wanted in self.members.items():
            self.of_row[table, uuid].append((column, wanted))
        self.schema = {**world.schema, **{planned.TABLE.name: planned.TABLE for planned in plan.rows}}
        self.ops: list[ops.Op] = []

    def run(self, prune: Owned | None) -> list[ops.Op]:
        doomed = self._doomed(prune)
        inserted = {key for key in self.planned if key[1] not in self.world[key[0]]}
        self._refuse_orphans(inserted)
        removals = self._removals(doomed, prune)
        for key, planned in self.planned.items():
            if key in inserted:
                self.ops.append(self._insert(key, planned))
            elif changed := self._changed(key, planned):
                self.ops.append(ops.Update(*key, changed))
        self._mutate(inserted, removals)
        self.ops += [ops.Delete(*key) for key in sorted(doomed) if self._is_root(key[0])]
        return self.ops

    def _insert(self, key: _Key, planned: row.Row) -> ops.Insert:
        columns = dict(planned.planned())
        for column, wanted in self.of_row.get(key, ()):
            columns[column] = frozenset(columns.get(column, ())) | wanted
        return ops.Insert(*key, columns)

    def _changed(self, key: _Key, planned: row.Row) -> dict[str, Any]:
        table, uuid = key
        existing = self.world[table][uuid]
        changed = {}
        for column, value in planned.planned():
            if column not in existing:
                raise KeyError(f"{table}.{column} is planned but not monitored; add it to the client's tables")
            if existing[column] == value:
                continue
            if not self.schema[table].columns[column].mutable:
                raise NotPlannable(f"{table} {uuid}: column {column} can't change; put it into the row's key")
            changed[column] = value
        return changed

    def _mutate(self, inserted: set[_Key], removals: Mapping[replica.Place, set[Any]]) -> None:
        for table, uuid, column in sorted(self.members.keys() | removals.keys()):
            if (table, uuid) in inserted:
                continue
            wanted = self.members.get((table, uuid, column), frozenset())
            existing = self.world[table].get(uuid)
            if existing is None:
                raise MissingParent(f"{table} {uuid} of planned {column} {', '.join(sorted(wanted))} doesn't exist yet")
            add = wanted - values.elements(existing[column])
            remove = frozenset(removals.get((table, uuid, column), ())) - wanted
            if add or remove:
                self.ops.append(ops.MutateSet(table, uuid, column, add=add, remove=remove))

    def _doomed(self, prune: Owned | None) -> set[_Key]:
        """Rows of the world that go."""
        doomed = {(gone.TABLE.name, gone.uuid) for gone in self.previous.rows} - self.planned.keys()
        doomed = {(table, uuid) for table, uuid in doomed if uuid in self.world[table]}
        if prune is not None:
            for table, rows in self.world.items():
                for uuid, columns in rows.items():
                    if (table, uuid) not in self.planned and prune(table, uuid, columns):
                        doomed.add((table, uuid))
        return doomed

    def _removals(self, doomed: set[_Key], prune: Owned | None) -> dict[replica.Place, set[Any]]:
        removals: dict[replica.Place, set[Any]] = defaultdict(set)
        for member in self.previous.members - self.plan.members:
            rows = self.world[member.table]
            if member.uuid in rows and member.value in values.elements(rows[member.uuid][member.column]):
                removals[member.table, member.uuid, member.column].add(member.value)
        for place, found in self._references_to(doomed):
            removals[place] |= found
        if prune is not None:
            for place, found in self._stray_members(prune):
                removals[place] |= found
        # Deleted rows take their references with them, and columns planned as a whole have them no more.
        return {place: gone for place, gone in removals.items() if place[:2] not in doomed and self._ours(place)}

    def _ours(self, place: replica.Place) -> bool:
        planned = self.planned.get((place[0], place[1]))
        return planned is None or place[2] not in dict(planned.planned())

    def _references_to(self, doomed: set[_Key]) -> Iterator[tuple[replica.Place, set[Any]]]:
        """Where the world refers strongly to doomed rows that live only while referenced."""
        for table, uuid in doomed:
            if not self._is_root(table):
                for place in self.world.referrers(uuid):
                    yield place, {uuid}

    def _stray_members(self, prune: Owned) -> Iterator[tuple[replica.Place, set[Any]]]:
        """Elements of owned, planned rows' set columns that aren't planned members."""
        strings = {(table, column) for table, _, column in self.members}
        for table, name, column in self._set_columns():
            if column.ref_table is None and (table, name) not in strings:
                continue
            for uuid, columns in self.world[table].items():
                if not (columns[name] and (table, uuid) in self.planned and prune(table, uuid, columns)):
                    continue
                stray = set(columns[name]) - self.members.get((table, uuid, name), frozenset())
                if column.ref_table is not None:
                    stray = {each for each in stray if self._is_owned(column.ref_table, each, prune)}
                if stray:
                    yield (table, uuid, name), stray

    def _is_owned(self, table: str, uuid: row.Uuid, prune: Owned) -> bool:
        target = self.world[table].get(uuid) if table in self.world else None
        return target is not None and prune(table, uuid, target)

    def _set_columns(self) -> Iterator[tuple[str, str, row.Column]]:
        for table, names in self.world.columns.items():
            for name in names:
                column = self.schema[table].columns[name]
                if column.kind == "set":
                    yield table, name, column

    def _refuse_orphans(self, inserted: set[_Key]) -> None:
        needy = {key for key in inserted if not self._is_root(key[0])}
        if not needy:
            return
        held = {
            (self._target(table, column), value) for (table, _, column), each in self.members.items() for value in each
        }
        for (table, _), planned in self.planned.items():
            for column, value in planned.planned():
                if target := self._target(table, column):
                    held |= {(target, each) for each in values.elements(value)}
        for table, uuid in sorted(needy - held):
            raise Orphan(f"{table} {uuid} is planned, but nothing planned refers to it; plan its parent's membership")

    def _target(self, table: str, column: str) -> str | None:
        spec = self.schema[table].columns[column]
        return spec.ref_table if spec.strong else None

    def _is_root(self, table: str) -> bool:
        return self.schema[table].is_root


def _by_column(members: frozenset[row.Member]) -> dict[replica.Place, frozenset[Any]]:
    grouped: dict[replica.Place, set[Any]] = defaultdict(set)
    for member in members:
        grouped[member.table, member.uuid, member.column].add(member.value)
    return {place: frozenset(values) for place, values in grouped.items()}
