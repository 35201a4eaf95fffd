# SPDX-License-Identifier: Apache-2.0
"""What is being done, how big it is, and how long it took."""

import sys
import time
from collections.abc import Callable

BEAT_S = 20.0  # A log file gets a sign of life this often; a terminal sees every step.

Say = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Print at once: a pipe would hold minutes of progress back."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def quiet(line: str) -> None:
    """Say nothing."""


def size(number: int) -> str:
    """A number of bytes as people read it."""
    return f"{number / 1e6:.1f} MB" if number >= 1e5 else f"{number / 1e3:.1f} kB"  # noqa: PLR2004 (0.1 MB)


def span(seconds: float) -> str:
    """A time span as people read it."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60}:{int(seconds) % 60:02} min"  # noqa: PLR2004


class Steps:
    """Progress within one long step: a line that is rewritten on a terminal, a line now and then elsewhere."""

    def __init__(self, what: str, say: Say) -> None:
        self._what = what
        self._say = say
        self._started = self._told = time.monotonic()
        self._live = say is to_stderr and sys.stderr.isatty()

    def step(self, text: str) -> None:
        """One more thing was done."""
        now = time.monotonic()
        line = f"{self._what}: {text}, {span(now - self._started)}"
        if self._live:
            sys.stderr.write(f"\r\x1b[K{line[:118]}")
            sys.stderr.flush()
        elif now - self._told >= BEAT_S:
            self._told = now
            self._say(line)

    def close(self) -> None:
        """Give the terminal's line back."""
        if self._live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
