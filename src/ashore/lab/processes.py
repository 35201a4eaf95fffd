# SPDX-License-Identifier: Apache-2.0
"""A lab's processes: found by the mark in their environment and by their pid namespace, never by name."""

import contextlib
import os
import pathlib
import select
import signal
from collections.abc import Iterable

import msgspec

from ashore.lab import spec

_PROC = pathlib.Path("/proc")


class Process(msgspec.Struct, frozen=True):
    """One process, as the machine sees it."""

    pid: int
    inner_pid: int
    """Its number in its own pid namespace."""
    namespace: str
    """Its pid namespace."""
    mark: str
    """The uuid of the lab that started it; empty for others, and for containers' processes."""


def scan() -> tuple[Process, ...]:
    """Every process of the machine that could be looked at."""
    return tuple(
        found for entry in _PROC.iterdir() if entry.name.isdigit() and (found := _look(int(entry.name))) is not None
    )


def of_lab(uuid: str, among: Iterable[Process] | None = None) -> tuple[Process, ...]:
    """Processes with the lab's mark, and all others in pid namespaces that the lab made."""
    everyone = scan() if among is None else tuple(among)
    own = str((_PROC / "self/ns/pid").readlink())
    made = {process.namespace for process in everyone if process.mark == uuid} - {own}
    return tuple(process for process in everyone if process.mark == uuid or process.namespace in made)


def kill_all(uuid: str, *, within_s: float = 15) -> int:
    """SIGKILLs a lab's processes until none is left, and returns how many there were.

    Raises:
        TimeoutError: some didn't die in time; the text has their pids.
    """
    killed: set[int] = set()
    for _round in range(5):
        # Supervisors may have started something between the look and the kill: look again.
        alive = [process.pid for process in of_lab(uuid) if process.pid != os.getpid()]
        if not alive:
            return len(killed)
        killed.update(alive)
        _kill(alive, within_s)
    raise TimeoutError(f"processes {sorted(p.pid for p in of_lab(uuid))} of lab {uuid} don't stay dead")


def _kill(pids: Iterable[int], within_s: float) -> None:
    poll, waiting = select.poll(), set[int]()
    with contextlib.ExitStack() as stack:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(pid)
                stack.callback(os.close, descriptor)
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                poll.register(descriptor, select.POLLIN)
                waiting.add(descriptor)
        while waiting:
            ready = poll.poll(within_s * 1000)
            if not ready:
                raise TimeoutError(f"{len(waiting)} killed processes are still there after {within_s:.0f} s")
            for descriptor, _event in ready:
                poll.unregister(descriptor)
                waiting.discard(descriptor)


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident and proportional memory; zeros for a process that is gone."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0, 0.0
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return values.get("Rss", 0) / 1024, values.get("Pss", 0) / 1024


def _look(pid: int) -> Process | None:
    folder = _PROC / str(pid)
    try:
        status = (folder / "status").read_text(encoding="utf-8", errors="replace")
        namespace = str((folder / "ns/pid").readlink())
        variables = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return None  # gone meanwhile
    prefix = f"{spec.MARK}=".encode()
    mark = next((entry[len(prefix) :].decode() for entry in variables if entry.startswith(prefix)), "")
    inner = next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), str(pid))
    if "\nState:\tZ" in status:
        return None  # dead, and only not yet reaped
    return Process(pid, int(inner), namespace, mark)
