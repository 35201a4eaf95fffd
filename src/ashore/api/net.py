# SPDX-License-Identifier: Apache-2.0
"""Network words that every room shares: addresses, MACs, object keys."""

import hashlib
import ipaddress
from typing import NamedTuple, NewType

Mac = NewType("Mac", str)
"""A lower-case, colon-separated Ethernet address."""

NodeName = NewType("NodeName", str)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


class PodKey(NamedTuple):
    """Names one pod; its UID tells incarnations apart and is carried beside it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def mac_of(address: Address) -> Mac:
    """The MAC that an OVN port of this address has.

    IPv4: ``0a:58`` and the four address bytes. IPv6: ``0a:58`` and the first four bytes of SHA-256 of the address in
    text form (as ovn-kubernetes' ``IPAddrToHWAddr``).
    """
    tail = address.packed if address.version == 4 else hashlib.sha256(str(address).encode()).digest()[:4]  # noqa: PLR2004 (an IP version)
    return Mac(":".join(f"{byte:02x}" for byte in b"\x0a\x58" + tail))
