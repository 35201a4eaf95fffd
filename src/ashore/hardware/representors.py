# SPDX-License-Identifier: Apache-2.0
"""The DPU's side of a NIC: uplinks and the representors of the host's functions."""

import re
from pathlib import Path

import msgspec

from ashore.api.net import Mac
from ashore.hardware import sysfs
from ashore.hardware.vendors import bluefield, description

_NET = Path("class/net")
_MAC = re.compile(r"^[0-9a-f]{2}(:[0-9a-f]{2}){5}$")
_ZERO = "00:00:00:00:00:00"
_HOST_PREFIX = re.compile(r"^c\d+")
VENDORS: tuple[description.Vendor, ...] = (bluefield.VENDOR,)


class NoRepresentor(sysfs.HardwareError):
    """There is no representor of that function (yet)."""


class NoHostMac(sysfs.HardwareError):
    """The host PF's MAC can't be learnt from the NIC."""


class Port(msgspec.Struct, frozen=True):
    """A netdev that is an eSwitch port: ``switch`` tells eSwitches apart, ``port_name`` their ports."""

    netdev: str
    switch: str
    port_name: str


def list_ports(root: Path) -> tuple[Port, ...]:
    """Every eSwitch port, by netdev name."""
    found = []
    for name in sysfs.entries(root / _NET):
        here = root / _NET / name
        switch, port = sysfs.text(here / "phys_switch_id"), sysfs.text(here / "phys_port_name")
        if switch and port:
            found.append(Port(name, switch, port))
    return tuple(found)


def vf_representor(root: Path, pf: int, vf: int) -> Port:
    """The representor of the host's VF. Raises NoRepresentor."""
    found = _matching(root, "vf_port", {"pf": pf, "vf": vf})
    if found is None:
        raise NoRepresentor(
            f"{root / _NET}: no representor of VF {vf} of PF {pf} (phys_port_name pf{pf}vf{vf}); does the host have "
            "that VF, and is the eSwitch in switchdev mode?"
        )
    return found


def pf_representor(root: Path, pf: int = 0) -> Port:
    """The representor of the host's PF. Raises NoRepresentor."""
    found = _matching(root, "pf_port", {"pf": pf})
    if found is None:
        raise NoRepresentor(f"{root / _NET}: no representor of the host's PF {pf} (phys_port_name pf{pf})")
    return found


def uplinks(root: Path) -> tuple[Port, ...]:
    """The ports to the fabric, by netdev name."""
    patterns = [re.compile(vendor.uplink) for vendor in VENDORS]
    return tuple(port for port in list_ports(root) if any(pattern.match(port.port_name) for pattern in patterns))


def has_eswitch(root: Path, netdev: str) -> bool:
    """Whether a netdev is a port of a switch in a NIC."""
    return any(port.netdev == netdev for port in list_ports(root))


def vendor_of(root: Path, netdev: str) -> description.Vendor | None:
    """The family of a netdev's NIC; None for one that isn't described here."""
    told = sysfs.text(root / _NET / netdev / "device" / "vendor")
    return next((vendor for vendor in VENDORS if vendor.pci_vendor == told), None)


def host_mac(root: Path, pf: int = 0) -> Mac:
    """The host PF's MAC as the NIC tells its DPU.

    Raises:
        NoHostMac: no uplink of that PF has a file that tells it.
    """
    looked = []
    for port in uplinks(root):
        for vendor in VENDORS:
            match = re.match(vendor.uplink, port.port_name)
            if match is None or int(match["pf"]) != pf:
                continue
            path = root / _NET / port.netdev / vendor.host_mac_file
            looked.append(str(path))
            for line in sysfs.text(path).splitlines():
                key, _, value = line.partition(":")
                mac = value.strip().lower()
                if key.strip() == vendor.host_mac_key and _MAC.match(mac) and mac != _ZERO:
                    return Mac(mac)
    raise NoHostMac(f"the host PF's MAC isn't in {' or '.join(looked) or f'{root / _NET}: no uplink'}; is it a DPU?")


def _matching(root: Path, kind: str, wanted: dict[str, int]) -> Port | None:
    """The port with these numbers; of several, one of another controller (the host) comes before our own (the DPU)."""
    found = []
    for port in list_ports(root):
        for vendor in VENDORS:
            match = re.match(getattr(vendor, kind), port.port_name)
            if match and {key: int(value) for key, value in match.groupdict().items()} == wanted:
                found.append(port)
                break
    return min(found, key=lambda port: (not _HOST_PREFIX.match(port.port_name), port.netdev), default=None)
