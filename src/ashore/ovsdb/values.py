# SPDX-License-Identifier: Apache-2.0
"""Column values between OVSDB's JSON (RFC 7047, 5.1) and Python.

Python side: str, int, float, bool; a UUID is its text; a set is a ``frozenset``, a map a ``dict``, an absent optional
is None.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from ashore.schema import row

Atom: TypeAlias = str | int | float | bool
Value: TypeAlias = Atom | frozenset[Any] | Mapping[Any, Any] | None

_DEFAULTS: Mapping[str, Atom] = {
    "string": "",
    "integer": 0,
    "real": 0.0,
    "boolean": False,
    "uuid": "00000000-0000-0000-0000-000000000000",
}

_ATOM_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "real": (int, float),
    "boolean": (bool,),
}


def default(column: row.Column) -> Value:
    """What an insert that doesn't name the column gives it."""
    if column.kind == "scalar":
        return _DEFAULTS[column.key]
    if column.kind == "map":
        return {}
    return frozenset() if column.kind == "set" else None


def decode(column: row.Column, wire: Any) -> Any:
    """The Python value of a wire value."""
    match column.kind:
        case "scalar":
            return _from_atom(column.key, wire)
        case "set":
            return frozenset(_from_atom(column.key, atom) for atom in _elements(wire))
        case "map":
            tag, pairs = wire
            if tag != "map":
                raise ValueError(f"{str(wire)[:60]} where a map is expected")
            return {_from_atom(column.key, k): _from_atom(column.value or "string", v) for k, v in pairs}
        case _:
            return next((_from_atom(column.key, atom) for atom in _elements(wire)), None)


def encode(column: row.Column, value: Value) -> Any:
    """The wire value of a Python value. Sets and maps come out sorted, so that equal values have equal texts."""
    if column.kind == "scalar":
        return _to_atom(column.key, value)
    if column.kind == "map":
        return encode_map(column, value if isinstance(value, Mapping) else {})
    return encode_set(column.key, () if value is None else value if isinstance(value, frozenset | set) else (value,))


def encode_set(key: str, atoms: Iterable[Any]) -> Any:
    """A wire set of atoms of type ``key``."""
    return ["set", [_to_atom(key, atom) for atom in sorted(atoms)]]


def encode_map(column: row.Column, pairs: Mapping[Any, Any]) -> Any:
    """A wire map."""
    value_type = column.value or "string"
    return ["map", [[_to_atom(column.key, k), _to_atom(value_type, v)] for k, v in sorted(pairs.items())]]


_NOTHING: frozenset[Any] = frozenset()


def elements(value: Any) -> frozenset[Any]:
    """A set's elements, or those of an optional."""
    if isinstance(value, frozenset):
        return value
    return _NOTHING if value is None else frozenset((value,))


def merge(column: row.Column, old: Value, wire: Any) -> Any:
    """The new value, from the old one and what a ``modify`` of update2 or update3 says (ovsdb-server(7), 4.1.14).

    A set's modification names the elements that come or go; a map's names new and changed pairs by their new value
    and removed pairs by their old value; anything else is the new value.
    """
    if column.kind == "set" and isinstance(old, frozenset):
        return old.symmetric_difference(_decoded_set(column, wire))
    if column.kind == "map" and isinstance(old, Mapping):
        new = dict(old)
        for k, v in _decoded_map(column, wire).items():
            if k in new and new[k] == v:
                del new[k]
            else:
                new[k] = v
        return new
    return decode(column, wire)


def difference(column: row.Column, old: Value, new: Value) -> Any:
    """The wire form that ``merge`` undoes: what a server tells of a change from ``old`` to ``new``."""
    if column.kind == "set" and isinstance(old, frozenset) and isinstance(new, frozenset):
        return encode_set(column.key, old ^ new)
    if column.kind == "map" and isinstance(old, Mapping) and isinstance(new, Mapping):
        gone = {k: v for k, v in old.items() if k not in new}
        return encode_map(column, gone | {k: v for k, v in new.items() if k not in old or old[k] != v})
    return encode(column, new)


def _decoded_set(column: row.Column, wire: Any) -> frozenset[Any]:
    value = decode(column, wire)
    return value if isinstance(value, frozenset) else frozenset()


def _decoded_map(column: row.Column, wire: Any) -> Mapping[Any, Any]:
    value = decode(column, wire)
    return value if isinstance(value, Mapping) else {}


def _elements(wire: Any) -> list[Any]:
    if isinstance(wire, list) and wire[0] == "set":
        elements: list[Any] = wire[1]
        return elements
    return [wire]


def _from_atom(kind: str, atom: Any) -> Any:
    if kind == "uuid":
        tag, text = atom
        if tag == "uuid" and type(text) is str:
            return text
    elif type(atom) in _ATOM_TYPES[kind]:
        return float(atom) if kind == "real" else atom
    raise ValueError(f"{str(atom)[:60]} where a value of type {kind} is expected")


def _to_atom(kind: str, atom: Any) -> Any:
    return ["uuid", atom] if kind == "uuid" else atom
