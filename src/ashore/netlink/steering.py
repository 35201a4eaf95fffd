# SPDX-License-Identifier: Apache-2.0
"""Ports of this system's own addresses that are served elsewhere: what it sends there itself leaves by a link.

The kernel looks at its ``local`` table first and would deliver such packets to itself, so that table's rule moves from
priority 0 to 10 and ours stand before it. Routing rules alone: no nft, no connection tracking.
"""

import errno
import ipaddress
from pathlib import Path
from typing import Any

import msgspec

from ashore.netlink import links, pyroute

TABLE = 21000
_OURS, _LOCAL_BEHIND_US, _LOCAL_FIRST = 5, 10, 0
_LOCAL_TABLE = 255
_PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_LOOSE = 2


class Steering(msgspec.Struct, frozen=True, kw_only=True):
    """What this system sends to ``ports`` (first, last) of ``addresses`` leaves by ``link``.

    ``ways`` are (gateway, source), at most one of a family.
    """

    link: str
    addresses: tuple[str, ...]
    ports: tuple[int, int]
    ways: tuple[tuple[str, str], ...]


async def put(wanted: Steering) -> None:
    """Have exactly these rules, and none where there are no addresses. Raises NetlinkError's kinds."""
    async with pyroute.AsyncIPRoute() as socket:
        index = await _index(socket, wanted.link)
        for family, version in ((2, 4), (10, 6)):
            ways = [way for way in wanted.ways if ipaddress.ip_address(way[0]).version == version]
            own = {each for each in wanted.addresses if ipaddress.ip_address(each).version == version}
            rules = {(address, protocol) for address in own for protocol in _PROTOCOLS.values()} if ways else set()
            try:
                await _put_rules(socket, family, rules, "{}:{}".format(*wanted.ports))
                if ways:
                    gateway, source = ways[0]
                    await socket.route(
                        "replace", family=family, dst="default", gateway=gateway, oif=index, prefsrc=source,
                        table=TABLE, flags=4,
                    )  # fmt: skip
            except pyroute.Refusal as error:
                raise links.KernelRefused(f"rules for ports of own addresses: {error}", error.code) from error
    if wanted.ways:
        # Answers come with an address of this system as their source.
        base = Path("/proc/sys/net/ipv4/conf") / wanted.link
        (base / "accept_local").write_text("1")
        (base / "rp_filter").write_text(str(_LOOSE))


async def rules() -> frozenset[tuple[str, int]]:
    """The (address, IP protocol) pairs that are steered now."""
    found: set[tuple[str, int]] = set()
    async with pyroute.AsyncIPRoute() as socket:
        for family in (2, 10):
            found |= (await _present(socket, family)).keys()
    return frozenset(found)


async def _put_rules(socket: Any, family: int, wanted: set[tuple[str, int]], ports: str) -> None:
    present = await _present(socket, family)
    if wanted:
        # Before ours, so that there is no moment without a rule for the local table.
        await _put_local(socket, family, _LOCAL_BEHIND_US)
    for key, found in present.items():
        if key not in wanted or found != ports:
            await _rule(socket, "del", family, key, found)
    for key in wanted:
        if present.get(key) != ports:
            await _rule(socket, "add", family, key, ports)
    if not wanted:
        await _put_local(socket, family, _LOCAL_FIRST)


async def _put_local(socket: Any, family: int, priority: int) -> None:
    """The local table's rule stands at this priority alone."""
    found = {
        message.get("priority") or 0
        async for message in await socket.rule("dump", family=family)
        if message.get("table") == _LOCAL_TABLE
    }
    if priority not in found:
        await socket.rule("add", family=family, priority=priority, table=_LOCAL_TABLE)
    for other in found & {_LOCAL_FIRST, _LOCAL_BEHIND_US} - {priority}:
        await socket.rule("del", family=family, priority=other, table=_LOCAL_TABLE)


async def _present(socket: Any, family: int) -> dict[tuple[str, int], str]:
    """Ports by (address, IP protocol) of the rules that are ours."""
    return {
        (message.get("dst"), message.get("ip_proto")): message.get("dport_range")
        async for message in await socket.rule("dump", family=family)
        if message.get("table") == TABLE
    }


async def _rule(socket: Any, verb: str, family: int, key: tuple[str, int], ports: str) -> None:
    address, protocol = key
    try:
        await socket.rule(
            verb, family=family, priority=_OURS, table=TABLE, dst=address, dst_len=32 if family == 2 else 128,  # noqa: PLR2004 (AF_INET)
            iifname="lo", ip_proto=protocol, dport_range=ports,
        )  # fmt: skip
    except pyroute.Refusal as error:
        if error.code != (errno.EEXIST if verb == "add" else errno.ENOENT):
            raise


async def _index(socket: Any, name: str) -> int:
    found = await socket.link_lookup(ifname=name)
    if not found:
        raise links.LinkMissing(f"link {name}: not found")
    index: int = found[0]
    return index
