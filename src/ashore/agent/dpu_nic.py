# SPDX-License-Identifier: Apache-2.0
"""The NIC as a DPU's agent needs it: representors by number, the uplink, what must be guarded."""

import contextlib
from pathlib import Path

from ashore import hardware
from ashore.api import net


class Nic:
    """Read anew at each question: representors come and go."""

    def __init__(self, sys_root: Path) -> None:
        self._root = sys_root

    def representor(self, pf: int, vf: int) -> str | None:
        """The netdev on this side of the host's VF, None while there is none."""
        with contextlib.suppress(hardware.HardwareError):
            return hardware.vf_representor(self._root, pf, vf).netdev
        return None

    def uplink(self) -> str | None:
        """The first port to the fabric."""
        with contextlib.suppress(hardware.HardwareError):
            return next((port.netdev for port in hardware.uplinks(self._root)), None)
        return None

    def host_facing(self) -> frozenset[str]:
        """Every representor of a host's function: all eSwitch ports but the uplinks."""
        with contextlib.suppress(hardware.HardwareError):
            uplinks = {port.netdev for port in hardware.uplinks(self._root)}
            return frozenset(port.netdev for port in hardware.list_ports(self._root)) - uplinks
        return frozenset()

    def host_mac(self) -> net.Mac | None:
        """The host PF's MAC, None while the NIC doesn't tell."""
        with contextlib.suppress(hardware.HardwareError):
            return hardware.host_mac(self._root)
        return None
