# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.after [--for FILE]… [--touch FILE] -- COMMAND…``: starts a command once files exist.

A daemon that comes before the socket it needs would die or sleep for a second; this waits for the very moment.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

from ashore.lab import kernel


def wait_for(file: pathlib.Path) -> None:
    """Returns when ``file`` exists; its folder is made if it isn't there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(kernel.created_in(file.parent)) as names:
        for _name in names:
            if file.exists():
                return


def main(arguments: list[str]) -> int:
    """The command's exit status; without ``--touch`` the command takes this process over."""
    cut = arguments.index("--")
    options, command = arguments[:cut], arguments[cut + 1 :]
    touched = None
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "--for":
            wait_for(pathlib.Path(value))
        else:
            touched = pathlib.Path(value)
    if touched is None:
        os.execvp(command[0], command)  # noqa: S606 (our own list; a shell would be a parent too many)
    status = subprocess.run(command, check=False).returncode
    if status == 0:
        touched.parent.mkdir(parents=True, exist_ok=True)
        touched.touch()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
