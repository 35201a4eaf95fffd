# SPDX-License-Identifier: Apache-2.0
import pathlib
from typing import Protocol

import msgspec
import pytest

from ashore.schema import generate, nb, ovsschema, row, vswitch


class Tools(Protocol):
    def schema(self, name: str) -> pathlib.Path: ...


@pytest.mark.parametrize(("module", "name"), [(nb, "ovn-nb"), (vswitch, "vswitch")], ids=["nb", "vswitch"])
def test_the_committed_rows_are_what_the_schema_generates(module: object, name: str, tools: Tools) -> None:
    source = tools.schema(name).read_text()
    version = msgspec.json.decode(source)["version"]
    if version != getattr(module, "VERSION", None):
        pytest.skip(f"this machine's schema is {version}; the rows are of another version")
    path = pathlib.Path(str(getattr(module, "__file__", "")))
    assert generate.generate(getattr(module, "DATABASE", ""), source) == path.read_text()


@pytest.mark.parametrize("tables", [nb.TABLES, vswitch.TABLES], ids=["nb", "vswitch"])
def test_a_dumped_schema_is_read_back(tables: dict[str, row.Table]) -> None:
    assert ovsschema.parse(ovsschema.dump("x", tables)) == tables


def test_a_schema_of_another_database_is_refused() -> None:
    with pytest.raises(ValueError, match="is of database Other"):
        generate.generate("OVN_Northbound", '{"name": "Other", "version": "1", "tables": {}}')
