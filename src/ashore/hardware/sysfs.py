# SPDX-License-Identifier: Apache-2.0
"""Reads small files, links and folders of sysfs; whatever is odd becomes a HardwareError that names the path."""

import os
from pathlib import Path

_LARGEST_FILE = 65536


class HardwareError(Exception):
    """The hardware isn't as needed; the text names the path, the finding and the remedy."""


class Unreadable(HardwareError):  # noqa: N818 (a finding, named as such)
    """Something is there, but it isn't what a kernel puts there."""


def text(path: Path) -> str:
    """A file's content without surrounding white space; empty where there is none.

    A kernel gives EOPNOTSUPP or EINVAL for an attribute that this device doesn't have: that is none, too.
    """
    try:
        # Not to wait for a writer, should a pipe stand where a file is expected.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(handle, _LARGEST_FILE).decode("ascii", "replace").strip()
    except OSError:
        return ""
    finally:
        os.close(handle)


def number(path: Path) -> int:
    """A file's decimal number; 0 where there is none. Raises Unreadable for anything else."""
    content = text(path)
    if not content:
        return 0
    if not (content.isascii() and content.isdigit() and len(content) <= 9):  # noqa: PLR2004 (nine digits fit an int32)
        raise Unreadable(f"{path}: {content[:40]!r} isn't a number; is --sys-root right?")
    return int(content)


def entries(path: Path) -> tuple[str, ...]:
    """The names in a folder, sorted; none where there is no folder. Hidden ones aren't sysfs'.

    A name that isn't UTF-8 (a netdev may have one) can't be told to anybody and is none of ours: left out.
    """
    try:
        return tuple(sorted(entry.name for entry in path.iterdir() if _is_ours(entry.name)))
    except OSError:
        return ()


def link_name(path: Path) -> str:
    """The last part of a symbolic link's target; empty where there is no link.

    The target isn't followed, so that a loop does no harm.
    """
    try:
        return path.readlink().name
    except OSError:
        return ""


def _is_ours(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return not name.startswith(".")
