# SPDX-License-Identifier: Apache-2.0
"""The few system calls that Python's standard library lacks: mount, umount, setns, inotify."""

import ctypes
import os
import pathlib
import struct
from collections.abc import Generator

_libc = ctypes.CDLL(None, use_errno=True)

MS_RDONLY = 1
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_SHARED = 1 << 20
MNT_DETACH = 2
CLONE_NEWNET = 0x40000000

_IN_CREATE = 0x100
_IN_MOVED_TO = 0x80
_EVENT = struct.Struct("iIII")


def mount(source: str, target: str | pathlib.Path, kind: str = "", *, flags: int = 0, options: str = "") -> None:
    """Mounts a file system, or with flags changes or copies a mount."""
    result = _libc.mount(
        os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
    )
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"mount of {source} on {target} failed: {os.strerror(error)}")


def bind(source: str | pathlib.Path, target: str | pathlib.Path, *, recursive: bool = False) -> None:
    """Shows ``source`` at ``target`` too."""
    mount(str(source), target, flags=MS_BIND | (MS_REC if recursive else 0))


def unmount(target: str | pathlib.Path) -> None:
    """Unmounts, lazily."""
    if _libc.umount2(os.fsencode(target), MNT_DETACH):
        error = ctypes.get_errno()
        raise OSError(error, f"umount of {target} failed: {os.strerror(error)}")


def enter_netns(path: pathlib.Path) -> None:
    """Moves the calling thread into a network namespace."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(descriptor, CLONE_NEWNET):
            error = ctypes.get_errno()
            raise OSError(error, f"can't enter network namespace {path}: {os.strerror(error)}")
    finally:
        os.close(descriptor)


def created_in(folder: pathlib.Path) -> Generator[str, None, None]:
    """Names that appear in a folder, from now on; the first item is empty and says that nothing is missed any more."""
    descriptor = _libc.inotify_init1(os.O_CLOEXEC)
    if descriptor < 0 or _libc.inotify_add_watch(descriptor, os.fsencode(folder), _IN_CREATE | _IN_MOVED_TO) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"can't watch {folder}: {os.strerror(error)} (see fs.inotify.max_user_instances)")
    try:
        yield ""
        while True:
            data, offset = os.read(descriptor, 65536), 0
            while offset < len(data):
                length = _EVENT.unpack_from(data, offset)[3]
                offset += _EVENT.size
                yield os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
                offset += length
    finally:
        os.close(descriptor)
