# SPDX-License-Identifier: Apache-2.0
"""The replica's index of references against a search through all rows."""

import collections

from hypothesis import given
from hypothesis import strategies as st

from ashore import ovsdb
from ashore.ovsdb import values
from ashore.schema import nb, row

COLUMNS: dict[str, tuple[str, ...]] = {
    "Logical_Switch": ("ports", "acls"),
    "Logical_Router": ("ports",),
    "Port_Group": ("ports", "acls"),
}
UUIDS = [row.row_id("zone", "any", str(index)) for index in range(4)]
elements = st.frozensets(st.sampled_from(UUIDS))
contents = st.fixed_dictionaries({"ports": elements, "acls": elements})
steps = st.lists(st.tuples(st.sampled_from(sorted(COLUMNS)), st.sampled_from(UUIDS), st.none() | contents), max_size=20)


def searched(world: ovsdb.Replica) -> dict[str, set[tuple[str, row.Uuid, str]]]:
    found = collections.defaultdict(set)
    for table, rows in world.items():
        for uuid, columns in rows.items():
            for name in COLUMNS[table]:
                if nb.TABLES[table].columns[name].strong:
                    for target in columns[name]:
                        found[target].add((table, uuid, name))
    return found


def updates(world: ovsdb.Replica, step: tuple[str, row.Uuid, dict[str, frozenset[str]] | None]) -> dict[str, object]:
    table, uuid, content = step
    old = world[table].get(uuid)
    if content is None:
        return {table: {uuid: {"delete": None}}} if old is not None else {}
    wanted = {name: content[name] for name in COLUMNS[table]}
    columns = nb.TABLES[table].columns
    if old is None:
        return {table: {uuid: {"insert": {name: values.encode(columns[name], v) for name, v in wanted.items()}}}}
    return {
        table: {uuid: {"modify": {name: values.difference(columns[name], old[name], v) for name, v in wanted.items()}}}
    }


@given(steps)
def test_what_refers_to_a_row_is_known_without_a_search(
    sequence: list[tuple[str, row.Uuid, dict[str, frozenset[str]] | None]],
) -> None:
    world = ovsdb.Replica(COLUMNS, nb.TABLES)
    for step in sequence:
        world.apply(updates(world, step))  # type: ignore[arg-type]
        frozen, then = world.snapshot(), searched(world)
        for target in UUIDS:
            assert set(world.referrers(target)) == then[target]
            assert len(world.referrers(target)) == len(then[target])
        world.apply({})
        assert {t: frozen.referrers(t) for t in UUIDS} == {t: world.referrers(t) for t in UUIDS}


def test_a_snapshot_keeps_what_was() -> None:
    world = ovsdb.Replica(COLUMNS, nb.TABLES)
    world.load({"Port_Group": {UUIDS[0]: {"acls": frozenset({UUIDS[1]})}}})
    frozen = world.snapshot()
    world.apply({"Port_Group": {UUIDS[0]: {"delete": None}}})
    assert UUIDS[0] in frozen["Port_Group"]
    assert frozen.referrers(UUIDS[1]) == (("Port_Group", UUIDS[0], "acls"),)
    assert not world.referrers(UUIDS[1])
