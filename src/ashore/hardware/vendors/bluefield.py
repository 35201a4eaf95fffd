# SPDX-License-Identifier: Apache-2.0
"""NVIDIA BlueField: its Arm side sees the host's functions as ``pf0``/``c1pf0`` and ``pf0vf3``/``c1pf0vf3``.

Source: the kernel's devlink-port documentation (controller numbers) and mlx5's sysfs ``smart_nic``.
"""

from ashore.hardware.vendors.description import Vendor

VENDOR = Vendor(
    name="NVIDIA BlueField",
    pci_vendor="0x15b3",
    host_mac_file="smart_nic/pf/config",
    host_mac_key="MAC",
    uplink=r"^p(?P<pf>\d{1,3})$",
    pf_port=r"^(?:c\d{1,3})?pf(?P<pf>\d{1,3})$",
    vf_port=r"^(?:c\d{1,3})?pf(?P<pf>\d{1,3})vf(?P<vf>\d{1,5})$",
)
