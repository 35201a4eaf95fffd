# SPDX-License-Identifier: Apache-2.0
"""The only door to NICs as hardware: PFs, VFs and representors, read from sysfs below a root that is a setting.

Admission rule: reads files, changes nothing, knows no Kubernetes and no OVS. What differs between vendors is data in
``vendors``. There is no simulated backend: whoever has no such NIC lays out such a tree.
"""

from ashore.hardware.functions import NoPf, NoVfs, Pf, Vf, choose_pf, is_address, list_pfs, read_pf
from ashore.hardware.representors import (
    NoHostMac,
    NoRepresentor,
    Port,
    has_eswitch,
    host_mac,
    list_ports,
    pf_representor,
    uplinks,
    vendor_of,
    vf_representor,
)
from ashore.hardware.sysfs import HardwareError, Unreadable

__all__ = [
    "HardwareError",
    "NoHostMac",
    "NoPf",
    "NoRepresentor",
    "NoVfs",
    "Pf",
    "Port",
    "Unreadable",
    "Vf",
    "choose_pf",
    "has_eswitch",
    "host_mac",
    "is_address",
    "list_pfs",
    "list_ports",
    "pf_representor",
    "read_pf",
    "uplinks",
    "vendor_of",
    "vf_representor",
]
