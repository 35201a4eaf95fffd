# SPDX-License-Identifier: Apache-2.0
"""What a gateway router, its bridge and its host call each other: the same on every node, never seen on a wire."""

import ipaddress

from ashore.api import net

ROUTER = (ipaddress.ip_interface("169.254.169.1/30"), ipaddress.ip_interface("fd69::1/126"))
"""The gateway router's own addresses on its leg to the bridge. The host's address isn't its own, only what it
translates to, so that it may send to the host and hear from it."""
HOST = (ipaddress.ip_address("169.254.169.2"), ipaddress.ip_address("fd69::2"))
"""The host as next hop of its gateway router: what OVN doesn't own goes back there."""
HOST_MAC = net.mac_of(HOST[0])
"""What frames to that next hop are addressed to; the bridge puts the host's MAC in its place."""


def router(version: int) -> net.Interface:
    """The gateway router's address of an IP version."""
    return next(each for each in ROUTER if each.version == version)


def host(version: int) -> net.Address:
    """The host's alias of an IP version."""
    return next(each for each in HOST if each.version == version)
