# SPDX-License-Identifier: Apache-2.0
"""Nodes' cgroups: below the root of every hierarchy where the machine has version 1, of the one where it has 2."""

import contextlib
import pathlib
import time

ROOT = pathlib.Path("/sys/fs/cgroup")
_GONE_WITHIN_S = 5.0
_CPUSET = ("cpuset.cpus", "cpuset.mems")


def is_unified(root: pathlib.Path = ROOT) -> bool:
    """Whether the machine has version 2 alone."""
    return (root / "cgroup.controllers").exists()


def make(name: str) -> None:
    """Makes a cgroup in which a kubelet can make its own."""
    if is_unified():
        _make_unified(name)
        return
    for hierarchy in _hierarchies():
        group = hierarchy
        for part in pathlib.PurePath(name).parts:
            parent, group = group, group / part
            group.mkdir(exist_ok=True)
            for file in _CPUSET:
                # A new version 1 cpuset is empty, and no process can enter it.
                if (group / file).exists():
                    (group / file).write_text((parent / file).read_text(encoding="ascii"), encoding="ascii")


def _make_unified(name: str) -> None:
    group = ROOT
    for part in pathlib.PurePath(name).parts:
        controllers = (group / "cgroup.controllers").read_text(encoding="ascii").split()
        for controller in controllers:
            with contextlib.suppress(OSError):  # one that can't be delegated here doesn't spoil the others
                (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")
        group /= part
        group.mkdir(exist_ok=True)


def remove(name: str) -> None:
    """Removes a cgroup and all below it, everywhere. Its processes must be dead or dying.

    Raises:
        OSError: one couldn't be removed in time.
    """
    for hierarchy in [ROOT] if is_unified() else _hierarchies():
        top = hierarchy / name
        deepest_first = sorted(top.rglob("*/"), key=lambda path: len(path.parts), reverse=True) if top.is_dir() else []
        for group in (*deepest_first, *([top] if top.is_dir() else ())):
            _remove_one(group)


def _remove_one(group: pathlib.Path) -> None:
    limit = time.monotonic() + _GONE_WITHIN_S
    while True:
        try:
            group.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            # Version 1 tells nobody when a cgroup's last dying process is gone.
            if time.monotonic() > limit:
                raise
            time.sleep(0.02)
        else:
            return


def _hierarchies() -> list[pathlib.Path]:
    return [path for path in sorted(ROOT.iterdir()) if path.is_dir() and not path.is_symlink()]
