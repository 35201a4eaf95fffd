# SPDX-License-Identifier: Apache-2.0
"""NVIDIA BlueField: its Arm side sees the host's functions as ``pf0``/``c1pf0`` and ``pf0vf3``/``c1pf0vf3``.

Source: the kernel's devlink-port documentation (controller numbers) and mlx5's sysfs ``smart_nic``. Offloads: the tc
actions that the kernel's mlx5 driver has (``drivers/net/ethernet/mellanox/mlx5/core/en/tc/act/``: ct, goto for
recirculation, tunnel_key for encapsulation and decapsulation, pedit for header rewrites, sample, police). A packet for
userspace is none of a NIC's. Whether a firmware has them all enabled isn't known here.
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
    offloads={
        "ct": "yes", "ct-nat": "yes", "recirculation": "yes", "encapsulation": "yes", "decapsulation": "yes",
        "header-rewrite": "yes", "sampling": "yes", "meter": "yes", "userspace": "no",
    },
)  # fmt: skip
