# SPDX-License-Identifier: Apache-2.0
"""Where a server listens: ``unix:/path``, ``ssl:host:port``, ``tcp:host:port`` (IPv6 in brackets), see ovsdb(7)."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TypeAlias

import msgspec

from ashore.ovsdb import wire

MakeContext: TypeAlias = Callable[[], ssl.SSLContext]


class Remote(msgspec.Struct, frozen=True):
    """A parsed remote. ``host`` is the path for ``unix``."""

    kind: str
    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.host}"
        return f"{self.kind}:[{self.host}]:{self.port}" if ":" in self.host else f"{self.kind}:{self.host}:{self.port}"


def parse(text: str) -> Remote:
    """The remote that the text names.

    Raises:
        ValueError: it names none.
    """
    kind, _, rest = text.strip().partition(":")
    if kind == "unix" and rest:
        return Remote(kind, rest)
    host, _, port = rest.rpartition(":")
    if kind not in {"ssl", "tcp"} or not host or not port.isdecimal():
        raise ValueError(f"remote {text!r}: want unix:/path, ssl:host:port or tcp:host:port")
    return Remote(kind, host.removeprefix("[").removesuffix("]"), int(port))


async def connect(remote: Remote, make_wire: Callable[[], wire.Wire], tls: MakeContext | None) -> wire.Wire:
    """A connected wire.

    The TLS context is made anew for every connection, so rotated credentials are picked up; the server's name or
    address is checked against its certificate (whatever ``tls`` says about ``check_hostname`` holds).

    Raises:
        OSError: no connection (``ssl.SSLError`` among them, also for a key that doesn't fit its certificate).
    """
    loop = asyncio.get_running_loop()
    if remote.kind == "unix":
        return (await loop.create_unix_connection(make_wire, remote.host))[1]
    if remote.kind == "tcp":
        return (await loop.create_connection(make_wire, remote.host, remote.port))[1]
    if tls is None:
        raise OSError(f"{remote}: no TLS credentials were given; give the client a tls=")
    return (await loop.create_connection(make_wire, remote.host, remote.port, ssl=tls(), server_hostname=remote.host))[
        1
    ]


def context(*, key: str, cert: str, ca: str) -> ssl.SSLContext:
    """A client context of PEM files that checks the server's certificate and name."""
    made = ssl.create_default_context(cafile=ca)
    made.load_cert_chain(cert, key)
    return made
