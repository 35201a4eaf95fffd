# SPDX-License-Identifier: Apache-2.0
"""Work inside a network namespace: in a thread of its own that enters it and ends with the work.

Never by a fork (the process is large and has threads), and never on a pooled thread, which would stay there.
"""

import asyncio
import contextlib
import ctypes
import errno
import os
import stat
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ashore.netlink import links

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000


def open_netns(path: str) -> int:
    """A descriptor of the namespace at ``path``. Raises NetnsMissing, also for a path that is something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise links.NetnsMissing(f"network namespace {path}: {error.strerror}") from error
    # A namespace's file lives in nsfs, whose device no ordinary file has.
    info = os.fstat(descriptor)
    if not stat.S_ISREG(info.st_mode) or info.st_dev != Path("/proc/self/ns/net").stat().st_dev:
        os.close(descriptor)
        raise links.NetnsMissing(f"network namespace {path}: the file isn't a namespace (its sandbox may be gone)")
    return descriptor


OURS = "/proc/thread-self/ns/net"


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """A namespace's descriptor while the context lasts."""
    descriptor = open_netns(path)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def is_netns(path: str) -> bool:
    """Whether a namespace can be entered at ``path``."""
    try:
        os.close(open_netns(path))
    except links.NetnsMissing:
        return False
    return True


def _enter(path: str) -> None:
    descriptor = open_netns(path)
    try:
        # os.setns needs Python 3.12.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(descriptor, _CLONE_NEWNET) != 0:
            code = ctypes.get_errno()
            text = f"network namespace {path}: can't enter: {os.strerror(code)}"
            if code == errno.EINVAL:
                raise links.NetnsMissing(text + "; it isn't a network namespace")
            raise links.KernelRefused(text + "; the agent needs CAP_SYS_ADMIN", code)
    finally:
        os.close(descriptor)


async def within(path: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` gives when run in the namespace at ``path`` (empty: ours), in a thread with a loop of its own.

    A cancelled caller still waits for the work's end, so that no change happens after its undo.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def body() -> None:
        result, failure = None, None
        try:
            if path:
                _enter(path)
            result = asyncio.run(work())
        except BaseException as error:  # noqa: BLE001 (carried over to the caller's thread)
            failure = error
        loop.call_soon_threadsafe(finish, result, failure)

    thread = threading.Thread(target=body, name="netns", daemon=True)
    thread.start()
    try:
        return await asyncio.shield(done)
    except asyncio.CancelledError:
        await asyncio.wait({done})
        if not done.cancelled():
            done.exception()
        raise
    finally:
        thread.join(0 if not done.done() else None)
