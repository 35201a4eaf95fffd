# SPDX-License-Identifier: Apache-2.0
"""The only door to the kernel's network: links, addresses, routes, network namespaces, nft.

Admission rule: whoever needs the kernel's network asks here; nothing here knows a pod, a node or Kubernetes. Every
operation is idempotent. pyroute2's ``AsyncIPRoute`` only; a socket in another namespace is opened by a short thread.
"""

from ashore.netlink import guard
from ashore.netlink.kernel import Kernel, LinuxKernel
from ashore.netlink.links import (
    KernelRefused,
    Link,
    LinkMissing,
    LinkSettings,
    NameTaken,
    NetlinkError,
    NetnsMissing,
    Observed,
    Route,
)
from ashore.netlink.steering import Steering
from ashore.netlink.watch import watch

__all__ = [
    "Kernel",
    "KernelRefused",
    "Link",
    "LinkMissing",
    "LinkSettings",
    "LinuxKernel",
    "NameTaken",
    "NetlinkError",
    "NetnsMissing",
    "Observed",
    "Route",
    "Steering",
    "guard",
    "watch",
]
