# SPDX-License-Identifier: Apache-2.0
"""Running what fetches and builds: its output is shown only when it fails, and it dies with us."""

import collections
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence

from ashore.lab.tools.errors import ToolsError

LIMIT_S = 3600.0
SHOWN_LINES = 40


def run(argv: Sequence[str], *, cwd: pathlib.Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """The command's output.

    Raises:
        ToolsError: It failed; the text has the last lines that it wrote.
    """
    done = subprocess.run(
        [*_dies_with_us(), *argv], cwd=cwd, env=_environment(env), capture_output=True, text=True, check=False,
        timeout=LIMIT_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise _failed(argv, done.returncode, (done.stdout + done.stderr).splitlines())
    return done.stdout


def follow(argv: Sequence[str], *, cwd: pathlib.Path, env: Mapping[str, str], on_line: Callable[[str], None]) -> None:
    """Run the command and hand on each line of its standard error as it comes.

    Raises:
        ToolsError: It failed; the text has the last lines that it wrote.
    """
    last: collections.deque[str] = collections.deque(maxlen=SHOWN_LINES)
    with tempfile.TemporaryFile("w+") as out:
        with subprocess.Popen(
            [*_dies_with_us(), *argv], cwd=cwd, env=_environment(env), text=True, stdin=subprocess.DEVNULL,
            stdout=out, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            for line in process.stderr or ():
                last.append(line.rstrip())
                on_line(last[-1])
        if process.returncode:
            out.seek(0)
            raise _failed(argv, process.returncode, [*out.read().splitlines(), *last])


def _failed(argv: Sequence[str], status: int, lines: Sequence[str]) -> ToolsError:
    tail = "\n".join(f"  | {line}" for line in lines[-SHOWN_LINES:])
    return ToolsError(f"`{' '.join(argv)[:300]}` ended with status {status}; its last lines:\n{tail}")


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    # Error texts are looked into, so they have to be in the language that they are known in.
    return {**os.environ, "LC_ALL": "C", **(extra or {})}


def _dies_with_us() -> list[str]:
    """A build that outlives its killed parent would keep both cores busy for minutes, for nothing."""
    return [setpriv, "--pdeathsig", "KILL", "--"] if (setpriv := shutil.which("setpriv")) else []
