# SPDX-License-Identifier: Apache-2.0
"""The limits of STYLE: files, functions, parameters, names, and a docstring with an admission rule in each room."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "ashore"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 5
GENERATED = {SOURCE / "schema" / "nb.py", SOURCE / "schema" / "vswitch.py"}
MANY_PARAMETERS = {
    "cli/lab.py:up": "each is one option of the command",
    "cli/lab.py:logs": "each is one option of the command",
    "cli/lab.py:fault": "each is one option of the command",
    "controller/main.py:main": "each is one option of the command",
    "kube/client.py:patch": "what a patch is made of; keyword-only, and most calls need two",
    "kube/events.py:publish_event": "an Event's contents, each named",
    "ovsdb/client.py:__init__": "the settings of one connection; keyword-only",
    "pki/authority.py:issue": "what a certificate says; keyword-only",
}
"""``path:function`` to the reason why it may have more than five parameters."""
FORBIDDEN_NAMES = ("utils", "helpers", "common", "misc", "manager")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def python_files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*.py")) if path not in GENERATED]


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def body_lines(function: Function) -> int:
    """Lines from the signature to the end, the docstring not counted."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        first = function.body[0]
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def parameters(function: Function) -> int:
    named = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return len([argument for argument in named if argument.arg not in ("self", "cls")])


@pytest.mark.parametrize("path", python_files(ROOT / "src") + python_files(ROOT / "tests"), ids=str)
def test_a_file_is_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


def test_functions_are_small() -> None:
    found = []
    for path in python_files(ROOT / "src"):
        for function in functions(path):
            name = f"{path.relative_to(SOURCE)}:{function.name}"
            lines, wanted = body_lines(function), parameters(function)
            if lines > MAX_FUNCTION_LINES or (wanted > MAX_PARAMETERS and name not in MANY_PARAMETERS):
                found.append(f"{name}: {lines} lines, {wanted} parameters")
    assert found == [], "\n".join(found)


def test_every_file_starts_with_its_licence() -> None:
    files = python_files(ROOT / "src") + python_files(ROOT / "tests")
    assert [str(p) for p in files if not p.read_text().startswith("# SPDX-License-Identifier: Apache-2.0\n")] == []


def test_every_room_has_an_admission_rule() -> None:
    rooms = [path for path in SOURCE.iterdir() if (path / "__init__.py").exists()]
    missing = [
        room.name
        for room in rooms
        if "Admission rule" not in (ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or "")
    ]
    assert missing == []


def test_no_file_has_a_name_that_says_nothing() -> None:
    found = [str(p) for p in python_files(ROOT / "src") if p.stem in FORBIDDEN_NAMES or p.stem.startswith("base_")]
    assert found == []


def catches_everything(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler):
        return False
    return node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException"))


def test_only_the_runtime_catches_everything() -> None:
    allowed = {
        SOURCE / "cni" / "shim.py",  # whatever happens, the container runtime must get a CNI error object
        SOURCE / "netlink" / "namespace.py",  # carries whatever a thread raised over to its caller, unchanged
    }
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in python_files(SOURCE)
        if not path.is_relative_to(SOURCE / "runtime") and path not in allowed
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler) and catches_everything(node)
    ]
    assert found == []
