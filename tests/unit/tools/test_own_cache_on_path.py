# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from ashore.lab.tools import resolve


def test_the_caches_own_folder_on_path_is_not_an_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = tmp_path / "cache" / "links-1" / "bin"
    links.mkdir(parents=True)
    for name in ("ovs-vswitchd", "ovsdb-server", "ovn-northd"):
        (links / name).write_text("#!/bin/sh\necho 9.9.9\n")
        (links / name).chmod(0o755)
    monkeypatch.setenv("ASHORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{links}{os.pathsep}{os.environ['PATH']}")
    found = resolve.find(("ovs",))
    assert all(not str(tool.path).startswith(str(links)) for tool in found.programs.values())
