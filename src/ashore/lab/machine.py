# SPDX-License-Identifier: Apache-2.0
"""What labs change of the machine itself: as little as can be, written down, and given back by the last one."""

import contextlib
import fcntl
import os
import pathlib
import subprocess
from collections.abc import Iterator, Mapping

import msgspec

from ashore.lab import errors, netspace, spec

DEFAULT_HOME = "/var/lib/ashore-lab"
_INSTANCES = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
_INSTANCES_PER_NODE = 12
_INSTANCES_SPARE = 128


class Changes(msgspec.Struct, frozen=True):
    """What was found before the first lab."""

    sysctls: Mapping[str, str] = {}
    made_run_netns: bool = False


def home() -> pathlib.Path:
    """The folder of all labs of this machine (``ASHORE_LAB_HOME``)."""
    return pathlib.Path(os.environ.get("ASHORE_LAB_HOME", DEFAULT_HOME))


def require_root() -> None:
    """Raises LabError for others than root."""
    if os.geteuid() != 0:
        raise errors.LabError("the lab makes namespaces and mounts, and you aren't root; run it with sudo")


@contextlib.contextmanager
def alone(folder: pathlib.Path, lab: str) -> Iterator[None]:
    """Keeps other ``up`` and ``down`` runs of the same lab out meanwhile.

    Raises:
        LabError: one is at work.
    """
    file = folder / f".{lab}.lock"
    try:
        lock = _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise errors.LabError(f"lab {lab}: another `ashore lab up` or `down` is at work on it; wait for it") from None
    try:
        yield
    finally:
        if not (folder / lab).exists():
            file.unlink(missing_ok=True)
        os.close(lock)
        _remove_if_empty(folder)


@contextlib.contextmanager
def counted(folder: pathlib.Path) -> Iterator[None]:
    """Waits until nobody else counts labs or changes the machine: labs come and go side by side."""
    file = folder / ".lock"
    lock = _lock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if not (folder / "machine.json").exists():
            file.unlink(missing_ok=True)
        os.close(lock)


def _lock(file: pathlib.Path, operation: int) -> int:
    while True:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the last lab's `down` removed the folder just now
        try:
            fcntl.flock(lock, operation)
            # Whoever had it may have removed it: then it keeps nobody out any more.
            if os.path.samestat(os.fstat(lock), file.stat()):
                return lock
        except FileNotFoundError:
            pass
        except OSError:
            os.close(lock)
            raise
        os.close(lock)


def _remove_if_empty(folder: pathlib.Path) -> None:
    with contextlib.suppress(OSError):  # not empty: other labs, or things that the user keeps there
        folder.rmdir()


def prepare(folder: pathlib.Path, shapes: list[spec.Shape]) -> list[str]:
    """Makes room for labs of these shapes, within ``counted``; returns what was changed, in words."""
    record = folder / "machine.json"
    changes = msgspec.json.decode(record.read_bytes(), type=Changes) if record.exists() else Changes()
    said, sysctls = [], dict(changes.sysctls)
    wanted = sum(len(spec.nodes(shape)) for shape in shapes) * _INSTANCES_PER_NODE + _INSTANCES_SPARE
    found = _INSTANCES.read_text(encoding="ascii").strip()
    if int(found) < wanted:
        sysctls.setdefault(str(_INSTANCES), found)
        said.append(f"fs.inotify.max_user_instances {found} -> {wanted}; the last lab's `down` restores it")
    made = changes.made_run_netns or not netspace.RUN_NETNS.exists()
    record.write_bytes(msgspec.json.encode(Changes(sysctls, made)))
    if said:
        _INSTANCES.write_text(f"{wanted}\n", encoding="ascii")
    return said


def restore(folder: pathlib.Path) -> None:
    """Gives back what was changed, if no lab is left; called within ``counted``."""
    if not folder.is_dir() or any(entry.is_dir() for entry in folder.iterdir()):
        return
    record = folder / "machine.json"
    if record.exists():
        changes = msgspec.json.decode(record.read_bytes(), type=Changes)
        for file, value in changes.sysctls.items():
            pathlib.Path(file).write_text(f"{value}\n", encoding="ascii")
        if changes.made_run_netns and not netspace.names():
            subprocess.run(["umount", str(netspace.RUN_NETNS)], capture_output=True, check=False)
            with contextlib.suppress(OSError):  # someone else's by now
                netspace.RUN_NETNS.rmdir()
        record.unlink()
