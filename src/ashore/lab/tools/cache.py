# SPDX-License-Identifier: Apache-2.0
"""Finished things in a directory of their own, made by one process at a time and seen only when they are whole.

An entry is a directory ``<set>-<key>``. It is filled under another name beside its place and then renamed, so that what
has an entry's name is complete whatever happened to the process that made it.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from ashore.lab.tools import report
from ashore.lab.tools.errors import ToolsError

UNFINISHED = ".unfinished"
KEY_DIGITS = 16
UNUSED_DAYS = 30


@dataclasses.dataclass(frozen=True)
class Job:
    """What a recipe's ``fill`` works with."""

    dest: pathlib.Path
    """The directory to fill. It is renamed to `final` afterwards."""
    scratch: pathlib.Path
    """A directory for what is needed on the way. It is in the cache, so that a killed run's is found and removed."""
    final: pathlib.Path
    """Where the content will be: for files that have to name their own place."""
    say: report.Say
    allow_newer: bool = False
    """Take a package that is newer than the pinned one when the pinned one is gone from the archive."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one tool set is made."""

    name: str
    inputs: Callable[[], Iterable[str | bytes | pathlib.Path]]
    """All that decides the content: sources and lock files (paths), flags, versions."""
    fill: Callable[[Job], Mapping[str, str]]
    """Fill `Job.dest`; returns what it holds: name to version."""


def root(env: Mapping[str, str] = os.environ) -> pathlib.Path:
    """The cache: $ASHORE_CACHE, else $XDG_CACHE_HOME/ashore, else ~/.cache/ashore."""
    if own := env.get("ASHORE_CACHE"):
        return pathlib.Path(own).absolute()
    if xdg := env.get("XDG_CACHE_HOME"):
        return pathlib.Path(xdg).absolute() / "ashore"
    return pathlib.Path(env.get("HOME") or "~").expanduser() / ".cache" / "ashore"


def key_of(inputs: Iterable[str | bytes | pathlib.Path]) -> str:
    """The key of what is made from `inputs` on this machine's architecture; order and boundaries count."""
    digest = hashlib.sha256()
    for part in (platform.machine(), *inputs):
        if isinstance(part, pathlib.Path):
            blob = part.name.encode() + b"\0" + part.read_bytes()
        else:
            blob = part.encode() if isinstance(part, str) else part
        digest.update(len(blob).to_bytes(8, "big") + blob)
    return digest.hexdigest()[:KEY_DIGITS]


def entry_of(recipe: Recipe, *, where: pathlib.Path) -> pathlib.Path:
    """Where the recipe's entry is or would be."""
    return where / f"{recipe.name}-{key_of(recipe.inputs())}"


@contextlib.contextmanager
def locked(name: str, *, where: pathlib.Path, say: report.Say) -> Iterator[None]:
    """Hold the set's lock; the kernel gives it back when this process dies, so nobody waits for a dead one."""
    where.mkdir(parents=True, exist_ok=True)
    with (where / f"{name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: another run is making it; waiting for that run to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def obtain(recipe: Recipe, *, where: pathlib.Path, say: report.Say, allow_newer: bool = False) -> pathlib.Path:
    """The recipe's entry; made now if it isn't there.

    Raises:
        ToolsError: It can't be made.
    """
    entry = entry_of(recipe, where=where)
    if entry.is_dir():
        with contextlib.suppress(OSError):  # A cache that can only be read is good enough.
            os.utime(entry)
        return entry
    with locked(recipe.name, where=where, say=say):
        if not entry.is_dir():
            _remove_unfinished(recipe.name, where=where)
            _make(recipe, entry, say=say, allow_newer=allow_newer)
            _remove_unused(recipe.name, keep=entry)
    return entry


def _make(recipe: Recipe, entry: pathlib.Path, *, say: report.Say, allow_newer: bool) -> None:
    started = time.monotonic()
    whole = pathlib.Path(tempfile.mkdtemp(prefix=f"{entry.name}{UNFINISHED}-", dir=entry.parent))
    temp, scratch = whole / "entry", whole / "scratch"
    try:
        temp.mkdir()
        scratch.mkdir()
        job = Job(dest=temp, scratch=scratch, final=entry, say=say, allow_newer=allow_newer)
        holds = recipe.fill(job)
        total = sum(path.lstat().st_size for path in temp.rglob("*") if path.is_file() and not path.is_symlink())
        took = time.monotonic() - started
        record = {"set": recipe.name, "holds": dict(holds), "bytes": total, "took_s": round(took, 1)}
        (temp / "manifest.json").write_text(json.dumps(record, indent=1) + "\n")
        temp.rename(entry)
    except OSError as error:
        raise ToolsError(
            f"{recipe.name}: can't be written in {entry.parent}: {error}; free space there, or set "
            "ASHORE_CACHE to another directory"
        ) from error
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    say(f"{recipe.name}: ready, {report.size(total)}, {report.span(took)}")


def _remove_unfinished(name: str, *, where: pathlib.Path) -> None:
    """Whoever holds the lock is alone, so what is unfinished belongs to a process that is gone."""
    for left in where.glob(f"{name}-*{UNFINISHED}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _remove_unused(name: str, *, keep: pathlib.Path) -> None:
    """Entries of old sources stay for a month after their last use, for people who go between branches."""
    oldest = time.time() - UNUSED_DAYS * 86400
    for entry in keep.parent.glob(f"{name}-*"):
        if entry != keep and entry.stat().st_mtime < oldest:
            shutil.rmtree(entry, ignore_errors=True)
