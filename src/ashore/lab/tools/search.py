# SPDX-License-Identifier: Apache-2.0
"""Tools that are there already: named by a setting, or on PATH and new enough."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Mapping

from ashore.lab.tools.errors import ToolsError

VERSION_LIMIT_S = 10.0
SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # Often not in a person's PATH.
SETTING = "ASHORE_TOOL_"
FOLDERS_SETTING = "ASHORE_TOOLS_DIR"

Version = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A group of programs that has to come from one place."""

    names: tuple[str, ...]
    least: Version = ()
    """The oldest version that will do; empty: any, and no question is asked."""
    asks: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    """How to ask a program for its version, where that isn't `--version`; an empty one isn't asked."""
    whole: bool = True
    """All from one place, or each on its own."""
    folders: tuple[str, ...] = ()
    """Where else than in PATH to look."""


def explicit(name: str, *, env: Mapping[str, str]) -> pathlib.Path | None:
    """The program that a setting names: ASHORE_TOOL_OVS_VSWITCHD=/path, or a folder of ASHORE_TOOLS_DIR that has it.

    Raises:
        ToolsError: The setting names something that can't be executed.
    """
    variable = SETTING + re.sub(r"[^A-Z0-9]", "_", name.upper())
    if value := env.get(variable):
        if not os.access(value, os.X_OK) or not pathlib.Path(value).is_file():
            raise ToolsError(f"{variable}={value}: no such program; name an executable file or unset it")
        return pathlib.Path(value).absolute()
    folders = env.get(FOLDERS_SETTING)
    found = shutil.which(name, path=folders) if folders else None
    return pathlib.Path(found).absolute() if found else None


def on_path(wanted: Wanted, *, env: Mapping[str, str]) -> dict[str, pathlib.Path]:
    """The programs of the group that are on PATH and new enough; of a group that belongs together all or none."""
    path = os.pathsep.join((*wanted.folders, env.get("PATH", os.defpath), *SYSTEM_FOLDERS))
    found = {name: pathlib.Path(hit) for name in wanted.names if (hit := shutil.which(name, path=path))}
    if wanted.whole and len(found) < len(wanted.names):
        return {}
    fit = {name: where for name, where in found.items() if _will_do(name, where, wanted=wanted)}
    return fit if not wanted.whole or len(fit) == len(wanted.names) else {}


def _will_do(name: str, where: pathlib.Path, *, wanted: Wanted) -> bool:
    words = wanted.asks.get(name, ("--version",))
    if not wanted.least or not words:
        return True
    version = version_of(where, words)
    return version is not None and version >= wanted.least


def version_of(program: pathlib.Path, words: tuple[str, ...] = ("--version",)) -> Version | None:
    """What the program says of itself; None if it says nothing that can be read."""
    try:
        done = subprocess.run([program, *words], capture_output=True, text=True, check=False, timeout=VERSION_LIMIT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout + done.stderr)


def parse_version(text: str) -> Version | None:
    """The first number with a dot in it: `ovs-vswitchd (Open vSwitch) 3.5.0`, `Kubernetes v1.37.2`."""
    match = re.search(r"(?<![\d.])v?(\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in match[1].split(".")) if match else None
