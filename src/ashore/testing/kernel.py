# SPDX-License-Identifier: Apache-2.0
"""A kernel's network in memory, with the interface of ``netlink.Kernel``."""
# ruff: noqa: D102 (what the methods do is told by the protocol)

import msgspec

from ashore import netlink
from ashore.api.net import Mac

HERE = ""


class FakeKernel:
    """Namespaces by path; ``""`` is ours. ``refusals`` (method to error) makes the next call of a method fail."""

    def __init__(self, *paths: str) -> None:
        self.namespaces: dict[str, dict[str, netlink.Observed]] = {path: {} for path in (HERE, *paths)}
        self.refusals: dict[str, netlink.NetlinkError] = {}
        self.vf_macs: dict[tuple[str, int], str] | None = None
        """What PFs were told about their VFs' MACs, by PF and index; None: a NIC that isn't told."""
        self.default_routes: tuple[str, ...] = ()
        self.steered: netlink.Steering | None = None
        self._next_index = 1
        self._pairs: dict[str, str] = {}

    def add_device(self, name: str, alias: str = "", *, mac: str = "02:00:00:00:00:01", mtu: int = 1500) -> None:
        """Plug a device in, into our namespace."""
        link = netlink.Link(self._index(), name, Mac(mac), mtu, alias=alias)
        self.namespaces[HERE][name] = netlink.Observed(link)

    def drop_netns(self, path: str) -> None:
        """A namespace ends: devices come back to ours as they are, veths end with it."""
        for name, seen in self.namespaces.pop(path).items():
            if seen.link.kind != "veth":
                self.namespaces[HERE][name] = netlink.Observed(msgspec.structs.replace(seen.link, is_up=False))

    async def all_links(self) -> tuple[netlink.Link, ...]:
        self._maybe_refuse("all_links")
        return tuple(seen.link for seen in self.namespaces[HERE].values())

    async def default_route_links(self) -> tuple[str, ...]:
        return self.default_routes

    async def observe(self, name: str, netns: str = "") -> netlink.Observed | None:
        self._maybe_refuse("observe")
        return self._enter(netns).get(name)

    async def configure(self, name: str, settings: netlink.LinkSettings) -> netlink.Link:
        self._maybe_refuse("configure")
        here = self.namespaces[HERE]
        found = here.get(settings.name) or here.get(name)
        if found is None:
            raise netlink.LinkMissing(f"link {name}: not found (nor {settings.name})")
        return self._put(HERE, found.link, settings)

    async def move_in(
        self, alias: str, netns: str, settings: netlink.LinkSettings, *, likely: str = ""
    ) -> netlink.Link:
        del likely
        self._maybe_refuse("move_in")
        inside = self._enter(netns)
        self._send(alias, HERE, netns)
        link = self._by_alias(alias, netns)
        if link is None:
            raise netlink.LinkMissing(f"device {alias}: in neither namespace")
        if settings.name in inside and inside[settings.name].link.alias != alias:
            raise netlink.NameTaken(f"device {alias}: the namespace has another link named {settings.name}")
        return self._put(netns, link, settings)

    async def move_back(self, alias: str, netns: str, settings: netlink.LinkSettings, *, likely: str = "") -> bool:
        del likely
        self._maybe_refuse("move_back")
        was_there = netns in self.namespaces and self._send(alias, netns, HERE)
        if link := self._by_alias(alias, HERE):
            self._put(HERE, link, msgspec.structs.replace(settings, addresses=(), routes=()), is_up=False)
        return was_there

    async def set_alias(self, name: str, alias: str) -> netlink.Link:
        self._maybe_refuse("set_alias")
        seen = self._need(name)
        self.namespaces[HERE][name] = netlink.Observed(msgspec.structs.replace(seen.link, alias=alias))
        return seen.link

    async def set_vf_mac(self, name: str, index: int, mac: str) -> bool:
        self._maybe_refuse("set_vf_mac")
        self._need(name)
        if self.vf_macs is None:
            return False
        self.vf_macs[name, index] = mac
        return True

    async def add_veth(self, name: str, peer: str, *, alias: str, mtu: int) -> None:
        self._maybe_refuse("add_veth")
        if name in self.namespaces[HERE]:
            return
        for end, text in ((name, ""), (peer, alias)):
            link = netlink.Link(self._index(), end, Mac("02:00:00:00:00:02"), mtu, kind="veth", alias=text)
            self.namespaces[HERE][end] = netlink.Observed(link)
        self._pairs[name] = alias

    async def delete(self, name: str) -> None:
        self._maybe_refuse("delete")
        self.namespaces[HERE].pop(name, None)
        alias = self._pairs.pop(name, None)
        for inside in self.namespaces.values() if alias else ():
            for other in [other for other, seen in inside.items() if seen.link.alias == alias]:
                del inside[other]

    async def set_up(self, name: str, *, mtu: int = 0) -> None:
        seen = self._need(name)
        link = msgspec.structs.replace(seen.link, is_up=True, mtu=mtu or seen.link.mtu)
        self.namespaces[HERE][name] = msgspec.structs.replace(seen, link=link)

    async def set_down(self, name: str) -> None:
        if seen := self.namespaces[HERE].get(name):
            link = msgspec.structs.replace(seen.link, is_up=False)
            self.namespaces[HERE][name] = msgspec.structs.replace(seen, link=link)

    async def steer(self, wanted: netlink.Steering) -> None:
        """See Kernel."""
        self.steered = wanted

    def has_netns(self, netns: str) -> bool:
        return netns in self.namespaces

    def _index(self) -> int:
        self._next_index += 1
        return self._next_index

    def _maybe_refuse(self, method: str) -> None:
        if error := self.refusals.pop(method, None):
            raise error

    def _enter(self, netns: str) -> dict[str, netlink.Observed]:
        if netns not in self.namespaces:
            raise netlink.NetnsMissing(f"network namespace {netns}: No such file or directory")
        return self.namespaces[netns]

    def _need(self, name: str) -> netlink.Observed:
        if name not in self.namespaces[HERE]:
            raise netlink.LinkMissing(f"link {name}: not found")
        return self.namespaces[HERE][name]

    def _by_alias(self, alias: str, netns: str) -> netlink.Link | None:
        return next((seen.link for seen in self.namespaces[netns].values() if seen.link.alias == alias), None)

    def _send(self, alias: str, source: str, target: str) -> bool:
        link = self._by_alias(alias, source)
        if link is None:
            return False
        del self.namespaces[source][link.name]
        moved = msgspec.structs.replace(link, name=f"moving-{alias}", is_up=False)
        self.namespaces[target][moved.name] = netlink.Observed(moved)
        return True

    def _put(
        self, netns: str, link: netlink.Link, settings: netlink.LinkSettings, *, is_up: bool = True
    ) -> netlink.Link:
        del self.namespaces[netns][link.name]
        changed = msgspec.structs.replace(
            link, name=settings.name, is_up=is_up, mac=Mac(settings.mac or link.mac), mtu=settings.mtu or link.mtu
        )
        self.namespaces[netns][settings.name] = netlink.Observed(
            changed, frozenset(settings.addresses), frozenset(settings.routes)
        )
        return changed
