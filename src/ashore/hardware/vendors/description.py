# SPDX-License-Identifier: Apache-2.0
"""What can be said about a vendor's NICs."""

import msgspec


class Vendor(msgspec.Struct, frozen=True, kw_only=True):
    """A family of NICs that share their sysfs.

    ``pci_vendor`` as in sysfs ``vendor``. ``host_mac_file`` is, below an uplink's netdev folder, what tells the host
    PF's MAC; ``host_mac_key`` is its line's key. Port names are regular expressions for ``phys_port_name``, with the
    groups ``pf`` and ``vf`` as far as they apply.
    """

    name: str
    pci_vendor: str
    host_mac_file: str
    host_mac_key: str
    uplink: str
    pf_port: str
    vf_port: str
    offloads: dict[str, str]
    """By feature of a flow (``wiring.offload.FEATURES``): "yes" or "no"; what isn't listed isn't known."""
