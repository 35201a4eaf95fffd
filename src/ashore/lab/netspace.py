# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: making and removing them, and doing one thing inside of one."""

import array
import fcntl
import pathlib
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from ashore.lab import kernel

T = TypeVar("T")
RUN_NETNS = pathlib.Path("/run/netns")

_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17


class LinkError(Exception):
    """The kernel or ``ip`` refused; the text says which namespace and why."""


def path(space: str) -> pathlib.Path:
    """Where a namespace is pinned."""
    return RUN_NETNS / space


def names() -> frozenset[str]:
    """All pinned namespaces."""
    return frozenset(entry.name for entry in RUN_NETNS.iterdir()) if RUN_NETNS.is_dir() else frozenset()


def make(space: str) -> None:
    """Pins a new namespace, with loopback up and no IPv6 autoconfiguration."""
    reply = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True, check=False)
    if reply.returncode:
        raise LinkError(f"namespace {space}: {reply.stderr.strip()}")
    subprocess.run(["ip", "-n", space, "link", "set", "lo", "up"], check=True)
    within(space, _no_autoconfiguration)


def remove(space: str) -> None:
    """Unpins a namespace; its netdevs go with its last process."""
    subprocess.run(["ip", "netns", "delete", space], capture_output=True, check=False)


def within(space: str, work: Callable[[], T]) -> T:
    """Runs ``work`` in a namespace, in a thread of its own: the caller's threads never leave theirs."""
    results: list[T] = []
    problems: list[OSError] = []

    def enter() -> None:
        try:
            kernel.enter_netns(path(space))
            results.append(work())
        except OSError as error:
            problems.append(error)

    thread = threading.Thread(target=enter, name=f"in {space}")
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    if not results:
        raise LinkError(f"namespace {space}: the work there ended with an error; see the traceback above")
    return results[0]


def quieten(space: str, netdevs: Iterable[str]) -> None:
    """Switches transmit checksum offload off.

    A userspace switch reads frames as they were handed over, so a checksum that is left for hardware to fill in is a
    wrong one.
    """
    wanted = list(netdevs)

    def work() -> None:
        for netdev in wanted:
            checksums_in_software(netdev)

    within(space, work)


def checksums_in_software(netdev: str) -> None:
    """``ethtool -K NETDEV tx off``, in the caller's namespace."""
    value = array.array("I", [_ETHTOOL_STXCSUM, 0])
    request = struct.pack("16sP", netdev.encode(), value.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def set_sysctl(name: str, value: object) -> None:
    """Writes a sysctl of the caller's network namespace, when the kernel has it."""
    file = pathlib.Path("/proc/sys", name)
    if file.exists():
        file.write_text(f"{value}\n", encoding="ascii")


def _no_autoconfiguration() -> bool:
    for which in ("all", "default"):
        set_sysctl(f"net/ipv6/conf/{which}/accept_ra", 0)
        set_sysctl(f"net/ipv6/conf/{which}/accept_dad", 0)
        set_sysctl(f"net/ipv6/conf/{which}/autoconf", 0)
    return True
