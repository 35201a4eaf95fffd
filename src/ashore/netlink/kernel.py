# SPDX-License-Identifier: Apache-2.0
"""What ashore asks of the kernel's network, and the kernel that answers."""
# ruff: noqa: D102 (what LinuxKernel does is told by the protocol)

import contextlib
import errno
import functools
from typing import Protocol

import msgspec

from ashore.netlink import ethtool, links, namespace, rtnl, steering


class Kernel(Protocol):
    """Links of this process' network namespace (``netns`` empty) and of others, by their path.

    Every operation is idempotent and may be repeated after a crash anywhere in it. All raise NetlinkError's kinds.
    """

    async def all_links(self) -> tuple[links.Link, ...]:
        """All links of our namespace."""

    async def default_route_links(self) -> tuple[str, ...]:
        """Names of links that carry a default route, IPv4's first."""

    async def observe(self, name: str, netns: str = "") -> links.Observed | None:
        """A link with addresses and routes; None when there is none of that name. Raises NetnsMissing."""

    async def configure(self, name: str, settings: links.LinkSettings) -> links.Link:
        """Make our link ``name`` (or the one that has the wanted name already) what it should be, and up."""

    async def move_in(self, alias: str, netns: str, settings: links.LinkSettings, *, likely: str = "") -> links.Link:
        """Bring the device with that alias from our namespace into another and make it what it should be.

        ``likely`` is the name under which it is probably found here, which spares looking at every link.

        Raises:
            NetnsMissing: nothing was moved.
            LinkMissing: the device is in neither.
            NameTaken: the namespace has another link of that name; the device is still there under a temporary one.
        """

    async def move_back(self, alias: str, netns: str, settings: links.LinkSettings, *, likely: str = "") -> bool:
        """Bring the device with that alias back to our namespace, down, without addresses; gives whether it was there.

        ``likely`` is the name under which it is probably found there.

        A namespace that is gone is fine: the kernel has brought a physical device back itself; it is put right here.
        """

    async def set_alias(self, name: str, alias: str) -> links.Link:
        """Give our link the alias by which it is found anywhere; gives the link as it was. Raises LinkMissing."""

    async def set_vf_mac(self, name: str, index: int, mac: str) -> bool:
        """Give a VF of our PF ``name`` its MAC; all zeros: the VF's driver chooses. False: this NIC doesn't do that."""

    async def add_veth(self, name: str, peer: str, *, alias: str, mtu: int) -> None:
        """Have a pair of links in our namespace; ``alias`` goes to the peer. Does nothing when ``name`` is there."""

    async def delete(self, name: str) -> None:
        """Have no link of that name."""

    async def set_up(self, name: str, *, mtu: int = 0) -> None:
        """Set our link up, without IPv6 of its own. Raises LinkMissing."""

    async def set_down(self, name: str) -> None:
        """Set our link down; one that is gone is fine."""

    async def steer(self, wanted: steering.Steering) -> None:
        """Have what our system sends to these ports of its own addresses leave by a link, and nothing else do so."""

    def has_netns(self, netns: str) -> bool:
        """Whether a namespace can be entered at that path."""


class LinuxKernel:
    """The kernel that runs this process. Needs CAP_NET_ADMIN and, for other namespaces, CAP_SYS_ADMIN."""

    async def all_links(self) -> tuple[links.Link, ...]:
        return await namespace.within("", _links)

    async def default_route_links(self) -> tuple[str, ...]:
        return await namespace.within("", _default_route_links)

    async def observe(self, name: str, netns: str = "") -> links.Observed | None:
        return await namespace.within(netns, functools.partial(_observe, name))

    async def configure(self, name: str, settings: links.LinkSettings) -> links.Link:
        return await namespace.within("", functools.partial(_configure, name, settings))

    async def move_in(self, alias: str, netns: str, settings: links.LinkSettings, *, likely: str = "") -> links.Link:
        with namespace.opened(netns) as target:
            await namespace.within("", functools.partial(_send, alias, target, likely))
        return await namespace.within(netns, functools.partial(_receive, alias, settings))

    async def move_back(self, alias: str, netns: str, settings: links.LinkSettings, *, likely: str = "") -> bool:
        was_there = False
        with contextlib.suppress(links.NetnsMissing), namespace.opened(namespace.OURS) as home:
            was_there = await namespace.within(netns, functools.partial(_send, alias, home, likely))
        await namespace.within("", functools.partial(_rest, alias, settings))
        return was_there

    async def set_alias(self, name: str, alias: str) -> links.Link:
        return await namespace.within("", functools.partial(_set, name, {"ifalias": alias}))

    async def set_vf_mac(self, name: str, index: int, mac: str) -> bool:
        try:
            await namespace.within("", functools.partial(_set, name, {"vf": {"vf": index, "mac": mac}}))
        except links.KernelRefused as refusal:
            if refusal.errno != errno.EOPNOTSUPP:
                raise
            return False
        return True

    async def add_veth(self, name: str, peer: str, *, alias: str, mtu: int) -> None:
        await namespace.within("", functools.partial(_add_veth, name, peer, alias=alias, mtu=mtu))

    async def delete(self, name: str) -> None:
        await namespace.within("", functools.partial(_delete, name))

    async def set_up(self, name: str, *, mtu: int = 0) -> None:
        await namespace.within("", functools.partial(_set_up, name, mtu))

    async def set_down(self, name: str) -> None:
        with contextlib.suppress(links.LinkMissing):
            await namespace.within("", functools.partial(_set, name, {"state": "down"}))

    async def steer(self, wanted: steering.Steering) -> None:
        await namespace.within("", functools.partial(steering.put, wanted))

    def has_netns(self, netns: str) -> bool:
        return namespace.is_netns(netns)


async def _links() -> tuple[links.Link, ...]:
    async with rtnl.open_session() as session:
        return await session.all()


async def _default_route_links() -> tuple[str, ...]:
    async with rtnl.open_session() as session:
        names = {link.index: link.name for link in await session.all()}
        return tuple(names[index] for index in await session.default_route_links() if index in names)


async def _observe(name: str) -> links.Observed | None:
    async with rtnl.open_session() as session:
        link = await session.by_name(name)
        if link is None:
            return None
        return links.Observed(link, await session.addresses(link), await session.routes(link))


async def _configure(name: str, settings: links.LinkSettings) -> links.Link:
    async with rtnl.open_session() as session:
        link = await session.by_name(settings.name) or await session.by_name(name)
        if link is None:
            raise links.LinkMissing(f"link {name}: not found (nor {settings.name}); was the device removed?")
        return await _put(session, link, settings)


async def _send(alias: str, target: int, likely: str) -> bool:
    """Move the device out of the calling thread's namespace under its temporary name; False when it isn't here.

    Its addresses, routes and neighbours end with the move: they belong to the namespace.
    """
    async with rtnl.open_session() as session:
        link = await session.by_alias(alias, likely)
        if link is None:
            return False
        # A link that is up is set down by the move itself.
        await session.set(link, ifname=links.temporary_name(alias), net_ns_fd=target)
        return True


async def _receive(alias: str, settings: links.LinkSettings) -> links.Link:
    async with rtnl.open_session() as session:
        link = await session.by_alias(alias, links.temporary_name(alias), settings.name)
        if link is None:
            raise links.LinkMissing(f"device {alias}: in neither namespace; was the NIC reset or the VF removed?")
        holder = await session.by_name(settings.name)
        if holder is not None and holder.index != link.index:
            raise links.NameTaken(f"device {alias}: the namespace has another link named {settings.name}")
        return await _put(session, link, settings)


async def _rest(alias: str, settings: links.LinkSettings) -> None:
    async with rtnl.open_session() as session:
        link = await session.by_alias(alias, links.temporary_name(alias), settings.name)
        if link is None:
            return
        if link.is_up:
            await session.set(link, state="down")
        await session.put_addresses(link, ())
        changes = _changes(link, settings)
        if changes:
            await session.set(link, **changes)


def _changes(link: links.Link, settings: links.LinkSettings) -> dict[str, object]:
    changes: dict[str, object] = {}
    if settings.name != link.name:
        changes["ifname"] = settings.name
    if settings.mac and settings.mac != link.mac:
        changes["address"] = settings.mac
    if settings.mtu and settings.mtu != link.mtu:
        changes["mtu"] = settings.mtu
    return changes


async def _put(session: rtnl.Session, link: links.Link, settings: links.LinkSettings) -> links.Link:
    changes = _changes(link, settings)
    was_up = link.is_up
    if was_up and changes.keys() - {"mtu"}:
        # Neither name nor MAC can be changed on every driver while the link is up.
        await session.set(link, state="down")
        was_up = False
    rtnl.tune(link.name)
    if not was_up:
        changes["state"] = "up"
    if changes:
        await session.set(link, **changes)
    named = msgspec.structs.replace(link, name=settings.name)
    await session.put_addresses(named, settings.addresses)
    # A link that was down had no routes.
    await session.put_routes(named, settings.routes, present=None if was_up else frozenset())
    return msgspec.structs.replace(
        named, is_up=True, mac=settings.mac or link.mac, mtu=settings.mtu or link.mtu
    )  # fmt: skip


async def _set(name: str, changes: dict[str, object]) -> links.Link:
    async with rtnl.open_session() as session:
        link = await session.by_name(name)
        if link is None:
            raise links.LinkMissing(f"link {name}: not found")
        await session.set(link, **changes)
        return link


async def _set_up(name: str, mtu: int) -> None:
    rtnl.tune(name)
    await _set(name, {"state": "up", **({"mtu": mtu} if mtu else {})})


async def _add_veth(name: str, peer: str, *, alias: str, mtu: int) -> None:
    async with rtnl.open_session() as session:
        if await session.by_name(name) is not None:
            return
        await session.add_veth(name, peer, mtu=mtu)
        for end in (name, peer):
            # Userspace OVS reads frames as they are: a checksum that the kernel left to the NIC would stay wrong.
            ethtool.disable_tx_checksums(end)
            rtnl.tune(end)
        other = await session.by_name(peer)
        if other is not None:
            await session.set(other, ifalias=alias)


async def _delete(name: str) -> None:
    async with rtnl.open_session() as session:
        link = await session.by_name(name)
        if link is not None:
            await session.delete(link)
