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
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other ``up`` and ``down`` runs out meanwhile."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise errors.LabError(
                f"another `ashore lab` is at work in {folder}; wait for it (or set ASHORE_LAB_HOME elsewhere)"
            ) from None
        yield


def prepare(folder: pathlib.Path, shapes: list[spec.Shape]) -> list[str]:
    """Makes room for labs of these shapes; returns what was changed, in words."""
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
    """Gives back what was changed, if no lab is left."""
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
    (folder / ".lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # it may be a folder that the user keeps other things in
        folder.rmdir()
