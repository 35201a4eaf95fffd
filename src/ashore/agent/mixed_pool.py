# SPDX-License-Identifier: Apache-2.0
"""A full node's devices: VFs where its NIC switches them, else veth pairs."""
# ruff: noqa: D102 (what the pools do is told by the protocol)

from collections.abc import Callable
from pathlib import Path

from ashore import hardware, netlink
from ashore.agent import devices, records


class MixedPool:
    """VFs as long as the NIC is one that can switch them, which is asked anew each time; pairs otherwise.

    Both pools keep their records in one store, so that a pod keeps what it got when the NIC is set up otherwise.
    """

    def __init__(self, vfs: devices.VfPool, veths: devices.VethPool) -> None:
        self._vfs = vfs
        self._veths = veths
        self.store = vfs.store

    async def take(self, claim: devices.Claim) -> records.Record:
        if record := self.store.of(claim.sandbox, claim.ifname):
            return await self._of(record).take(claim)
        return await (self._veths if self._vfs.problem() else self._vfs).take(claim)

    async def bring(self, record: records.Record, settings: netlink.LinkSettings) -> None:
        await self._of(record).bring(record, settings)

    async def give_back(self, record: records.Record) -> None:
        await self._of(record).give_back(record)

    def damage(self, record: records.Record) -> str:
        return self._of(record).damage(record)

    def problem(self) -> str:
        return ""

    def free(self) -> int | None:
        return None if self._vfs.problem() else self._vfs.free()

    def _of(self, record: records.Record) -> devices.VfPool | devices.VethPool:
        return self._veths if record.representor else self._vfs


def switched_pf(root: Path, uplink: Callable[[], str | None], *, pci: str = "") -> tuple[hardware.Pf, str]:
    """The PF behind the bridge's uplink, if its eSwitch has representors of its VFs; no VF is the management port's.

    Raises:
        hardware.HardwareError: it hasn't; pods get veth pairs.
    """
    name = uplink() or ""
    pf = hardware.choose_pf(root, (name,), pci=pci)
    if pf.netdev != name:
        raise hardware.NoPf(f"uplink {name or '(none)'} of br-ex isn't PF {pf.pci}'s netdev ({pf.netdev or 'none'})")
    hardware.vf_representor(root, pf.number, pf.vfs[0].index)
    return pf, ""
