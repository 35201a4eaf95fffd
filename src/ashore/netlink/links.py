# SPDX-License-Identifier: Apache-2.0
"""What the kernel has and what it should have, as data."""

import msgspec

from ashore.api.net import Mac


class NetlinkError(Exception):
    """The kernel's network can't be brought to the wanted state; the text names object, finding and remedy."""


class NetnsMissing(NetlinkError):  # noqa: N818 (a finding, named as such)
    """There is no such network namespace (any more)."""


class LinkMissing(NetlinkError):  # noqa: N818 (a finding, named as such)
    """There is no such link where it was looked for."""


class NameTaken(NetlinkError):  # noqa: N818 (a finding, named as such)
    """Another link has the wanted name."""


class KernelRefused(NetlinkError):  # noqa: N818 (a finding, named as such)
    """The kernel said no; ``errno`` is its reason."""

    def __init__(self, text: str, errno: int) -> None:
        super().__init__(text)
        self.errno = errno


class Link(msgspec.Struct, frozen=True):
    """A link. ``alias`` is free text that stays with it when it moves; we keep the device's identity there."""

    index: int
    name: str
    mac: Mac = Mac("")
    mtu: int = 0
    is_up: bool = False
    kind: str = ""
    alias: str = ""
    permanent_mac: Mac = Mac("")


class Route(msgspec.Struct, frozen=True, order=True):
    """``dest`` as ``a.b.c.d/len`` (``0.0.0.0/0``, ``::/0`` for the default); no gateway: the link itself.

    ``source`` is the address that what is sent there has unless its sender chose one; empty: the kernel's choice.
    """

    dest: str
    gateway: str = ""
    source: str = ""


class LinkSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a link should be. Its addresses and static routes are exactly these; link-local ones are the kernel's.

    Empty ``mac`` and zero ``mtu``: left as they are.
    """

    name: str
    mac: str = ""
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()


class Observed(msgspec.Struct, frozen=True):
    """A link with its global addresses (``a.b.c.d/len``) and its static routes."""

    link: Link
    addresses: frozenset[str] = frozenset()
    routes: frozenset[Route] = frozenset()


def temporary_name(alias: str) -> str:
    """A name that a device has between two namespaces: nobody else's, and the same at each try."""
    digest = short_hash(alias)
    return f"ash-{digest}"


def short_hash(text: str) -> str:
    """Eight hex digits that identify a text well enough for a netdev name."""
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return f"{value:08x}"
