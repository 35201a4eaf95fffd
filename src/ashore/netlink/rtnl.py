# SPDX-License-Identifier: Apache-2.0
"""Requests to the kernel from within one network namespace; see ``kernel.py`` for what they are good for."""

import contextlib
import errno
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ashore.api.net import Mac
from ashore.netlink import links, pyroute

_IFF_UP = 1
_NODAD = 0x02
_ONLINK = 4
_STATIC_PROTOCOLS = (3, 4)
"""boot and static: what people and programs add; the kernel's own and routing daemons' are left alone."""
_MAIN_TABLE = 254
_LINK_SCOPE = 253
_UNICAST = 1
_DUMP_TRIES = 5
_OF_LINKS = frozenset({"IFLA_IFNAME", "IFLA_ADDRESS", "IFLA_MTU", "IFLA_LINKINFO", "IFLA_IFALIAS", "IFLA_PERM_ADDRESS"})


@contextlib.asynccontextmanager
async def open_session() -> AsyncIterator["Session"]:
    """A session in the calling thread's network namespace."""
    async with pyroute.AsyncIPRoute() as socket:
        yield Session(socket)


class Session:
    """One netlink socket. Every method raises KernelRefused where the kernel says no."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def all(self) -> tuple[links.Link, ...]:
        """All links of the namespace."""
        for _ in range(_DUMP_TRIES):
            # The kernel interrupts a dump when links change meanwhile; another one is complete.
            with contextlib.suppress(pyroute.NetlinkDumpInterrupted):
                return tuple([_link(message) async for message in await self._socket.link("dump")])
        raise links.KernelRefused("listing links: interrupted again and again; are links flapping?", errno.EINTR)

    async def by_name(self, name: str) -> links.Link | None:
        """The link of that name."""
        try:
            found = await self._socket.link("get", ifname=name)
        except pyroute.Refusal as error:
            if error.code in (errno.ENODEV, errno.EINVAL):
                return None
            raise links.KernelRefused(f"link {name}: {error}", error.code) from error
        return _link(found[0]) if found else None

    async def by_alias(self, alias: str, *likely: str) -> links.Link | None:
        """The link that carries that alias; all links are looked at only if none of these names has it."""
        for name in filter(None, likely):
            link = await self.by_name(name)
            if link is not None and link.alias == alias:
                return link
        return next((link for link in await self.all() if link.alias == alias), None)

    async def set(self, link: links.Link, **changes: Any) -> None:
        """Change a link's attributes, in pyroute2's words."""
        try:
            await self._socket.link("set", index=link.index, **changes)
        except pyroute.Refusal as error:
            told = ", ".join(f"{key}={value}" for key, value in changes.items())
            if error.code == errno.ENODEV:
                raise links.LinkMissing(f"link {link.name} vanished while being set to {told}") from error
            if error.code == errno.EEXIST:
                raise links.NameTaken(f"link {link.name}: {told}: another link has that name") from error
            raise links.KernelRefused(f"link {link.name}: can't set {told}: {error}", error.code) from error

    async def delete(self, link: links.Link) -> None:
        """Delete a link; one that is gone already is fine."""
        try:
            await self._socket.link("del", index=link.index)
        except pyroute.Refusal as error:
            if error.code != errno.ENODEV:
                raise links.KernelRefused(f"link {link.name}: can't delete: {error}", error.code) from error

    async def add_veth(self, name: str, peer: str, *, mtu: int) -> None:
        """A pair of links; one that exists already is fine."""
        try:
            await self._socket.link("add", ifname=name, kind="veth", mtu=mtu, peer={"ifname": peer, "mtu": mtu})
        except pyroute.Refusal as error:
            if error.code != errno.EEXIST:
                raise links.KernelRefused(f"link {name}: can't create veth pair: {error}", error.code) from error

    async def addresses(self, link: links.Link) -> frozenset[str]:
        """The link's addresses but the link-local ones, as ``a.b.c.d/len``."""
        return frozenset(
            [
                f"{message.get('address')}/{message['prefixlen']}"
                async for message in await self._socket.addr("dump", index=link.index)
                if message["scope"] != _LINK_SCOPE
            ]
        )

    async def routes(self, link: links.Link) -> frozenset[links.Route]:
        """The link's static routes in the main table."""
        found = set()
        for family, default in ((2, "0.0.0.0/0"), (10, "::/0")):
            async for message in await self._socket.route("dump", family=family, oif=link.index):
                if _is_static(message, link.index):
                    dest = message.get("dst")
                    text = f"{dest}/{message['dst_len']}" if dest else default
                    found.add(links.Route(text, message.get("gateway") or "", message.get("prefsrc") or ""))
        return frozenset(found)

    async def default_route_links(self) -> tuple[int, ...]:
        """Indices of links that carry a default route, IPv4's first."""
        found: list[int] = []
        for family in (2, 10):
            async for message in await self._socket.route("dump", family=family, dst_len=0):
                is_default = message["dst_len"] == 0 and message.get("table") == _MAIN_TABLE
                if is_default and message["type"] == _UNICAST and message.get("oif"):
                    found.append(message.get("oif"))
        return tuple(dict.fromkeys(found))

    async def put_addresses(self, link: links.Link, wanted: tuple[str, ...]) -> None:
        """Make the link's global addresses exactly these; IPv6 ones without duplicate address detection."""
        interfaces = {str(ipaddress.ip_interface(text)) for text in wanted}
        present = await self.addresses(link)
        for text in sorted(present - interfaces):
            await self._address("del", link, text)
        for text in sorted(interfaces - present):
            await self._address("replace", link, text)

    async def _address(self, verb: str, link: links.Link, text: str) -> None:
        address, _, length = text.partition("/")
        extra = {"flags": _NODAD} if ":" in address and verb != "del" else {}
        try:
            await self._socket.addr(verb, index=link.index, address=address, prefixlen=int(length), **extra)
        except pyroute.Refusal as error:
            if verb == "del" and error.code == errno.EADDRNOTAVAIL:
                return
            raise links.KernelRefused(f"link {link.name}: address {text}: {error}", error.code) from error

    async def put_routes(
        self, link: links.Link, wanted: tuple[links.Route, ...], *, present: frozenset[links.Route] | None = None
    ) -> None:
        """Make the link's static routes exactly these; ``present`` where they are known."""
        if present is None:
            present = await self.routes(link)
        for route in sorted(present - set(wanted)):
            await self._route("del", link, route)
        for route in sorted(set(wanted) - present, key=lambda route: (bool(route.gateway), route)):
            await self._route("replace", link, route)

    async def _route(self, verb: str, link: links.Link, route: links.Route) -> None:
        family = 10 if ":" in route.dest else 2
        # On-link: the gateway is reachable once the other end comes up, which may be later.
        via: dict[str, Any] = {"gateway": route.gateway, "flags": _ONLINK} if route.gateway else {}
        if route.source:
            via["prefsrc"] = route.source
        try:
            await self._socket.route(verb, family=family, dst=route.dest, oif=link.index, **via)
        except pyroute.Refusal as error:
            if verb == "del" and error.code == errno.ESRCH:
                return
            text = f"link {link.name}: route to {route.dest} via {route.gateway or 'the link'}: {error}"
            raise links.KernelRefused(text, error.code) from error


def tune(name: str) -> None:
    """No addresses by router advertisements and no duplicate address detection on a link of the calling thread's netns.

    Without IPv6 in the kernel there is nothing to do.
    """
    base = Path("/proc/sys/net/ipv6/conf") / name
    for key, value in (("accept_ra", "0"), ("accept_dad", "0"), ("dad_transmits", "0")):
        with contextlib.suppress(FileNotFoundError):
            (base / key).write_text(value)


def _is_static(message: Any, index: int) -> bool:
    return bool(
        message.get("oif") == index
        and message["proto"] in _STATIC_PROTOCOLS
        and message.get("table") == _MAIN_TABLE
        and message["type"] == _UNICAST
    )


def _link(message: Any) -> links.Link:
    # In one go: the message's own lookup walks through all sixty attributes each time.
    found = {entry[0]: entry for entry in message["attrs"] if entry[0] in _OF_LINKS}

    def value(name: str) -> Any:
        return found[name][1] if name in found else None

    info = value("IFLA_LINKINFO")
    return links.Link(
        index=message["index"],
        name=value("IFLA_IFNAME") or "",
        mac=Mac(value("IFLA_ADDRESS") or ""),
        mtu=value("IFLA_MTU") or 0,
        is_up=bool(message["flags"] & _IFF_UP),
        kind=(info.get("kind") or "") if info else "",
        alias=value("IFLA_IFALIAS") or "",
        permanent_mac=Mac(value("IFLA_PERM_ADDRESS") or ""),
    )
