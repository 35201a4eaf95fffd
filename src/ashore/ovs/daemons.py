# SPDX-License-Identifier: Apache-2.0
"""Questions and orders that an agent has for the daemons of its node."""

import asyncio
import ipaddress
from collections.abc import Iterable
from pathlib import Path

from ashore.ovs import unixctl

VSWITCHD = "ovs-vswitchd"
CONTROLLER = "ovn-controller"


class Daemons:
    """ovs-vswitchd and ovn-controller of one run directory."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    async def southbound_problem(self) -> str:
        """Why ovn-controller doesn't follow the southbound database; empty when it does."""
        try:
            status = (await unixctl.appctl(self.run_dir, CONTROLLER, "connection-status")).strip()
        except (unixctl.Unreachable, unixctl.CommandFailed) as error:
            return f"ovn-controller doesn't answer: {error}"
        return "" if status == "connected" else f"ovn-controller is {status!r} to the southbound database"

    async def vswitchd_problem(self) -> str:
        """Why ovs-vswitchd can't be worked with; empty when it can."""
        try:
            await unixctl.appctl(self.run_dir, VSWITCHD, "version")
        except (unixctl.Unreachable, unixctl.CommandFailed) as error:
            return f"ovs-vswitchd doesn't answer: {error}"
        return ""

    def vswitchd_pid(self) -> int | None:
        """The process id of ovs-vswitchd; None where it doesn't run."""
        try:
            return int((self.run_dir / f"{VSWITCHD}.pid").read_text())
        except (OSError, ValueError):
            return None

    async def vswitchd_gone(self) -> None:
        """Returns when the ovs-vswitchd that runs now has gone; a connection to it tells.

        Raises:
            unixctl.Unreachable: none runs.
        """
        await unixctl.until_closed(unixctl.control_socket(self.run_dir, VSWITCHD))

    async def flush_conntrack(self, addresses: Iterable[str]) -> None:
        """Forgets every tracked connection from or to an address, whatever its zone.

        Connections to a pod behind a service carry the pod's address only in the reply tuple, so the sender of each
        direction is matched, once in the original and once in the reply tuple (ovs-vswitchd(8),
        ``dpctl/flush-conntrack``).

        Raises:
            unixctl.Unreachable, unixctl.CommandFailed: nothing certain was flushed.
        """
        for address in addresses:
            field = "ct_nw_src" if ipaddress.ip_address(address).version == 4 else "ct_ipv6_src"  # noqa: PLR2004 (an IP version)
            match = f"{field}={address}"
            for tuples in ((match,), ("", match)):
                await unixctl.appctl(self.run_dir, VSWITCHD, "dpctl/flush-conntrack", *tuples)
                await asyncio.sleep(0)
