# SPDX-License-Identifier: Apache-2.0
"""Where ``ashore-agent`` begins: settles how this process uses memory before anything large is loaded."""

import contextlib
import ctypes
import sys
from typing import Any

_M_ARENA_MAX = -8
"""mallopt(3)'s number for it."""


def main() -> None:
    """Run the agent; see ``process``."""
    # structlog loads rich where it is installed, for tracebacks in colour: 3.5 MB and a sixth of the time to start.
    modules: dict[str, Any] = sys.modules
    modules.setdefault("rich", None)
    # Threads that enter namespaces are short and many; each would get a heap of its own, which stays.
    with contextlib.suppress(AttributeError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    from ashore.agent import process  # noqa: PLC0415 (see above)

    process.main()


if __name__ == "__main__":
    main()
