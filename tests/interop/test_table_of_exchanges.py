# SPDX-License-Identifier: Apache-2.0
import ast
import pathlib
import re

HERE = pathlib.Path(__file__).parent
TABLE = HERE.parents[1] / "docs" / "reference" / "compatibility.md"


def test_every_exchange_of_the_reference_has_its_test_and_the_other_way_round() -> None:
    named = set(re.findall(r"`(test_\w+)`", TABLE.read_text()))
    here = set()
    for path in HERE.glob("test_*.py"):
        if path != pathlib.Path(__file__):
            functions = (ast.FunctionDef, ast.AsyncFunctionDef)
            found = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, functions)]
            here |= {name for name in found if name.startswith("test_")}
    assert named == here
