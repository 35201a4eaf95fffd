# SPDX-License-Identifier: Apache-2.0
"""Writes secrets to disk so that no reader sees half of one and no stranger sees any of it."""

import contextlib
import os
import pathlib
import tempfile


def write_private(path: pathlib.Path, content: bytes) -> None:
    """Puts ``content`` at ``path``, mode 0600, replacing what was there in one step; makes missing directories 0700.

    A reader sees the old or the new file, never a part. It is on disk when this returns: a key that a power cut takes
    away after its certificate was issued can't be had again.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mkstemp's mode is 0600
    temporary = pathlib.Path(name)
    with contextlib.ExitStack() as undo:
        undo.callback(temporary.unlink, missing_ok=True)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        undo.pop_all()
