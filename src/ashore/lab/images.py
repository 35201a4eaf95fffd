# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.images CTR ARCHIVE…``: gives a node's containerd the images that the lab brings."""

import subprocess
import sys

from ashore.lab import daemon


def main(arguments: list[str]) -> int:
    """0, or 1 after a line about the archive that couldn't be read."""
    ctr, *archives = arguments
    for archive in archives:
        command = [ctr, "-a", daemon.CONTAINERD_SOCKET, "-n", "k8s.io", "images", "import", "--local", archive]
        reply = subprocess.run(command, capture_output=True, text=True, check=False)
        if reply.returncode:
            sys.stderr.write(f"image archive {archive}: {reply.stderr.strip()}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
