# SPDX-License-Identifier: Apache-2.0
"""Network words that every room shares: addresses, MACs, object keys."""

import hashlib
import ipaddress
import re
from typing import NamedTuple, NewType

Mac = NewType("Mac", str)
"""A lower-case, colon-separated Ethernet address."""

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")

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


def is_unicast_mac(text: str) -> bool:
    """Whether it is the text of an address that one device can have."""
    return bool(_MAC.fullmatch(text.lower())) and not int(text[1], 16) & 1 and text.strip("0:") != ""


def mac_of(address: Address) -> Mac:
    """The MAC that an OVN port of this address has.

    IPv4: ``0a:58`` and the four address bytes. IPv6: ``0a:58`` and the first four bytes of SHA-256 of the address in
    text form (as ovn-kubernetes' ``IPAddrToHWAddr``).
    """
    tail = address.packed if address.version == 4 else hashlib.sha256(str(address).encode()).digest()[:4]  # noqa: PLR2004 (an IP version)
    return Mac(":".join(f"{byte:02x}" for byte in b"\x0a\x58" + tail))
