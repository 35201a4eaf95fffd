# SPDX-License-Identifier: Apache-2.0
"""Puts the shim and its network configuration where the container runtime looks for them."""

import os
import sys
from pathlib import Path

import msgspec

from ashore.api import cni

PLUGIN = "ashore-cni"
CONFLIST = "10-ashore.conflist"


def compiled() -> Path | None:
    """The shim that was compiled from ``cni/shim.c`` and put beside our interpreter, if that was done."""
    beside = Path(sys.executable).with_name(PLUGIN)
    return beside if os.access(beside, os.X_OK) else None


def install(bin_dir: Path, conf_dir: Path, socket: Path, *, program: Path | None = None) -> None:
    """Shim first, then the configuration that makes the runtime use it; each appears at once or not at all.

    ``program`` is a compiled shim; without one the shim is ``cni/shim.py``, run by our interpreter. What is installed
    stays when the agent ends: a pod that starts meanwhile gets an error to try again, not another network.
    """
    _put(bin_dir / PLUGIN, program.read_bytes() if program else _interpreted(), 0o755)
    conflist = {
        "cniVersion": cni.CNI_VERSION,
        "name": "ashore",
        "plugins": [{"type": PLUGIN, "socket": str(socket)}],
    }
    _put(conf_dir / CONFLIST, msgspec.json.format(msgspec.json.encode(conflist)) + b"\n", 0o644)


def _interpreted() -> bytes:
    interpreter = os.path.realpath(sys.executable)
    source = (Path(__file__).parent.parent / "cni" / "shim.py").read_text(encoding="utf-8")
    return f"#!{interpreter} -IS\n{source}".encode()


def _put(path: Path, content: bytes, mode: int) -> None:
    if path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # A runtime reads every file of the folder that ends in .conflist; a draft must not.
    draft = path.with_name(f".{path.name}.new")
    draft.write_bytes(content)
    draft.chmod(mode)
    draft.replace(path)
