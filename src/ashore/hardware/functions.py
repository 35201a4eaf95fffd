# SPDX-License-Identifier: Apache-2.0
"""The host's side of a NIC: PFs and their VFs, each known by its PCI address."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ashore.hardware import sysfs

_DEVICES = Path("bus/pci/devices")
_SLOT = re.compile(r"[0-9a-f]{4,}:[0-9a-f]{2}:[0-9a-f]{2}\.([0-7])")
_VFIO = "vfio-pci"
_VIRTFN = re.compile(r"virtfn([0-9]{1,5})")


class NoPf(sysfs.HardwareError):
    """No PF that could be meant."""


class NoVfs(sysfs.HardwareError):
    """The PF has no VFs."""


class Vf(msgspec.Struct, frozen=True):
    """A virtual function. ``netdev`` is empty while its netdev is in another namespace or its driver isn't bound.

    ``driver`` is the kernel driver that has it, empty for none.
    """

    pci: str
    index: int
    netdev: str = ""
    driver: str = ""

    @property
    def is_vfio(self) -> bool:
        """Whether it is for programs that drive it themselves (a virtual machine, DPDK): it has no netdev then."""
        return self.driver == _VFIO


class Pf(msgspec.Struct, frozen=True):
    """A physical function. ``number`` is its PCI function number, which is what a DPU calls it by."""

    pci: str
    number: int
    netdev: str = ""
    vfs: tuple[Vf, ...] = ()

    def vf(self, pci: str) -> Vf | None:
        """The VF with that address."""
        return next((vf for vf in self.vfs if vf.pci == pci), None)


def is_address(text: str) -> bool:
    """Whether a text has the form of a PCI address, as sysfs writes it."""
    return _SLOT.fullmatch(text) is not None


def list_pfs(root: Path) -> tuple[Pf, ...]:
    """Every PF that can have VFs, by address."""
    base = root / _DEVICES
    found = []
    for slot in sysfs.entries(base):
        can_have_vfs = sysfs.text(base / slot / "sriov_totalvfs") and not sysfs.link_name(base / slot / "physfn")
        if can_have_vfs and _SLOT.fullmatch(slot):
            found.append(read_pf(root, slot))
    return tuple(found)


def read_pf(root: Path, pci: str) -> Pf:
    """The PF at that address with its VFs.

    Raises:
        NoPf: nothing, or something else than a PF, is there.
        Unreadable: two VFs claim one index, a VF's link leads to no PCI address, and the like.
    """
    here = root / _DEVICES / pci
    matched = _SLOT.fullmatch(pci)
    if matched is None:
        raise NoPf(f"{pci!r} isn't a PCI address such as 0000:03:00.0")
    if not here.exists():
        raise NoPf(f"{here}: no such device; is the NIC there, and --sys-root right?")
    if pf := sysfs.link_name(here / "physfn"):
        raise NoPf(f"{here}: this is a VF of {pf}; name its PF")
    vfs = []
    for name in sysfs.entries(here):
        if found := _VIRTFN.fullmatch(name):
            slot = sysfs.link_name(here / name)
            if not _SLOT.fullmatch(slot):
                raise sysfs.Unreadable(f"{here / name}: doesn't lead to a PCI device; is --sys-root right?")
            driver = sysfs.link_name(root / _DEVICES / slot / "driver")
            vfs.append(Vf(slot, int(found[1]), _netdev(root / _DEVICES / slot), driver))
    vfs.sort(key=lambda vf: vf.index)
    for one, other in itertools.pairwise(vfs):
        if one.index == other.index or one.pci == other.pci:
            raise sysfs.Unreadable(f"{here}: VFs {one.pci} and {other.pci} can't be told apart; is --sys-root right?")
    return Pf(pci, int(matched[1]), _netdev(here), tuple(vfs))


def choose_pf(root: Path, preferred: Sequence[str], *, pci: str = "") -> Pf:
    """The PF that carries the host's traffic.

    That is the one named, else the first whose netdev is among ``preferred``, else the only one that there is.

    Raises:
        NoPf: none, or several of which none is preferred.
        NoVfs: it has no VFs.
    """
    pf = read_pf(root, pci) if pci else _only_or_preferred(root, preferred)
    if not pf.vfs:
        path = root / _DEVICES / pf.pci / "sriov_numvfs"
        raise NoVfs(f"PF {pf.pci} ({pf.netdev or 'no netdev'}) has no VFs; write their number into {path}")
    return pf


def _only_or_preferred(root: Path, preferred: Sequence[str]) -> Pf:
    pfs = list_pfs(root)
    for name in preferred:
        if found := next((pf for pf in pfs if pf.netdev == name), None):
            return found
    if len(pfs) == 1:
        return pfs[0]
    if not pfs:
        raise NoPf(
            f"{root / _DEVICES}: no device that can have VFs; is the NIC there, SR-IOV enabled in its firmware and the "
            "BIOS, and --sys-root right?"
        )
    told = ", ".join(f"{pf.pci} ({pf.netdev or 'no netdev'})" for pf in pfs)
    raise NoPf(f"several PFs, none with the default route: {told}; name one with --pf")


def _netdev(device: Path) -> str:
    names = sysfs.entries(device / "net")
    if len(names) > 1:
        raise sysfs.Unreadable(f"{device / 'net'}: {len(names)} netdevs ({', '.join(names[:4])}) where one is expected")
    return names[0] if names else ""
