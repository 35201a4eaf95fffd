# SPDX-License-Identifier: Apache-2.0
"""The ethtool settings that ashore changes, by ioctl in the calling thread's namespace."""

import array
import contextlib
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_STXCSUM = 0x17


def disable_tx_checksums(name: str) -> None:
    """Have this kernel compute the checksums of what it sends itself; a link without the setting is fine."""
    value = array.array("B", struct.pack("II", _STXCSUM, 0))
    address, _ = value.buffer_info()
    request = struct.pack("16sP", name.encode(), address)
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        fcntl.ioctl(door, _SIOCETHTOOL, request)
