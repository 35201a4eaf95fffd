# SPDX-License-Identifier: Apache-2.0
"""``python -m ashore.lab.ovnlisten``: opens the OVN databases to the network once a boot: TLS, SB with a role."""

import subprocess
import sys

from ashore.lab import daemon, init

PROBE = "inactivity_probe=30000"


def main() -> int:
    """0 when both listen."""
    tool = init.read().tools
    north = [tool["ovn-nbctl"], f"--db=unix:{daemon.OVN_RUN}/ovnnb_db.sock", "--timeout=60"]
    south = [tool["ovn-sbctl"], f"--db=unix:{daemon.OVN_RUN}/ovnsb_db.sock", "--timeout=60"]
    for command in (north, south):
        subprocess.run([*command, "init"], check=True)
    everywhere = ["--", "set", "Connection", ".", PROBE]
    subprocess.run([*north, "set-connection", "pssl:6641:[::]", *everywhere], check=True)
    # The role is what keeps a chassis to its own rows.
    subprocess.run([*south, "set-connection", "role=ovn-controller", "pssl:6642:[::]", *everywhere], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
