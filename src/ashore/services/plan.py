# SPDX-License-Identifier: Apache-2.0
"""Where each front of a service is balanced, and to what.

A front is an address (or template variable) with a port. Its load balancer is on

* all switches and gateway routers, when no endpoint is the host of one of our nodes;
* all gateway routers, and the switches of nodes whose host is no endpoint, when some are: a switch can't balance to the
  host that is behind its own management port and wire (spike: ``docs/decisions/0008``);
* single nodes' routers or switches, with local endpoints, where a traffic policy is Local; the rest then drops.

The same for every family, and each family for itself.
"""

from collections.abc import Iterable, Mapping

import msgspec

from ashore.api import names, net
from ashore.schema import nb, row
from ashore.services import rows
from ashore.services.view import Backend, Claim, HostPortsView, Place, Places, PortView, Reach, ServiceView

_NO_REJECT = {"reject": "false"}


class Planned(msgspec.Struct, frozen=True):
    """A service's rows, and the shared groups that they are members of (``plan_reach``)."""

    plan: row.Plan
    reaches: frozenset[Reach]


class _Front(msgspec.Struct, frozen=True, kw_only=True):
    """One family of one port, by one kind of address."""

    suffix: str
    port: PortView
    version: int
    addresses: tuple[net.Address, ...] = ()
    """Empty for a node port, which is on the node's own."""
    backends: tuple[Backend, ...] = ()

    @property
    def is_node_port(self) -> bool:
        return not self.addresses


def plan_service(places: Places, service: ServiceView) -> Planned:
    """One service's load balancers. Reads of ``places`` only what its endpoints touch."""
    planner = _Planner(places, service)
    for front in _fronts(service):
        planner.add(front)
    return Planned(planner.draft.plan(), frozenset(planner.reaches))


def plan_reach(places: Places, reach: Reach) -> row.Plan:
    """A shared group and the switches or routers that have it."""
    group = nb.LoadBalancerGroup(uuid=_reach_id(places, reach), name=reach_name(reach))
    members = frozenset(
        row.Member(parent.table, parent.uuid, "load_balancer_group", group.uuid)
        for place in places.nodes.values()
        for parent in _reached(place, reach)
    )
    return row.Plan((group,), members)


def plan_place(places: Places, place: Place) -> row.Plan:
    """What the template variables of node ports stand for on a node's chassis."""
    if not place.chassis or place.router is None:
        return row.Plan()
    variables = {
        rows.variable(version, index): str(address)
        for version in (4, 6)
        for index, address in enumerate(_of_version(place.addresses, version))
    }
    values = nb.ChassisTemplateVar(
        uuid=row.row_id(places.zone, nb.ChassisTemplateVar.TABLE.name, f"chassis/{place.chassis}"),
        chassis=place.chassis,
        variables=variables,
        external_ids={names.OWNER: f"node/{place.name}"},
    )
    return row.Plan((values,))


def plan_host_ports(places: Places, pod: HostPortsView) -> row.Plan:
    """A pod's host ports: its node's addresses lead to it, for the outside and for the node's own pods."""
    place = places.nodes.get(pod.node)
    if place is None:
        return row.Plan()
    draft = rows.Draft(rows.Owner(places.zone, "HostPort", str(pod.pod), pod.uid))
    parents = [rows.switch(place.switch), *([rows.router(place.router)] if place.router else [])]
    for port in pod.ports:
        for target in pod.addresses:
            own = [a for a in place.addresses if a.version == target.version and port.address in (None, a)]
            fronts = {rows.socket(address, port.port): rows.socket(target, port.target) for address in own}
            draft.add("host_port", port.protocol, fronts, parents)
    return draft.plan()


def reach_name(reach: Reach) -> str:
    """The name of a shared group."""
    return f"ashore-{reach.kind}-{rows.digest(reach.names)}"


def _reached(place: Place, reach: Reach) -> Iterable[rows.Parent]:
    match reach.kind:
        case "switches-but" if place.name not in reach.names:
            yield rows.switch(place.switch)
        case "routers-but" if place.name not in reach.names and place.router is not None:
            yield rows.router(place.router)
        case "switches-in" if place.topology_zone in reach.names:
            yield rows.switch(place.switch)
        case "switches-outside" if place.topology_zone not in reach.names:
            yield rows.switch(place.switch)


def _reach_id(places: Places, reach: Reach) -> row.Uuid:
    return row.row_id(places.zone, nb.LoadBalancerGroup.TABLE.name, f"reach/{reach_name(reach)}")


def _fronts(service: ServiceView) -> Iterable[_Front]:
    for port in service.ports:
        for version in (4, 6):
            backends = tuple(each for each in port.backends if each.address.version == version)
            for suffix, addresses in (("cluster", service.cluster_ips), ("external", service.external_ips)):
                held = tuple(
                    address
                    for address in _of_version(addresses, version)
                    if Claim(port.protocol, str(address), port.port) not in service.lost
                )
                if held:
                    yield _Front(suffix=suffix, port=port, version=version, addresses=held, backends=backends)
            has_family = any(ip.version == version for ip in service.cluster_ips)
            if port.node_port and has_family and Claim(port.protocol, "", port.node_port) not in service.lost:
                yield _Front(suffix=f"template_IPv{version}", port=port, version=version, backends=backends)


class _Planner:
    """Places a service's fronts."""

    def __init__(self, places: Places, service: ServiceView) -> None:
        self._places = places
        self._service = service
        self.draft = rows.Draft(
            rows.Owner(places.zone, "Service", str(service.name), service.uid), is_sticky=service.is_sticky
        )
        self.reaches: set[Reach] = set()

    def add(self, front: _Front) -> None:
        """One front by the policy that it falls under."""
        pool = _usable(front.backends)
        hosts = self._hosts(pool)
        if front.suffix == "cluster" and self._service.is_internal_local:
            self._add_internal_local(front)
        elif front.suffix != "cluster" and self._service.is_external_local:
            self._add_external_local(front, pool)
        elif front.suffix == "cluster" and not hosts and pool and all(each.zones for each in pool):
            self._add_zoned(front, pool)
        else:
            self._add_everywhere(front, pool, hosts)

    def _add_everywhere(self, front: _Front, pool: tuple[Backend, ...], hosts: frozenset[str]) -> None:
        # External addresses have the same backends as the cluster's: one load balancer for both.
        suffix = "cluster" if not front.is_node_port else front.suffix
        if not hosts:
            self._put(front, suffix, pool, [rows.group(self._places.everywhere)])
            return
        parents = [rows.group(self._places.routers), self._reach("switches-but", hosts)]
        self._put(front, f"{suffix}_hosts_{rows.digest(hosts)}", pool, parents)

    def _add_zoned(self, front: _Front, pool: tuple[Backend, ...]) -> None:
        zones = frozenset[str]().union(*(each.zones for each in pool))
        for zone in zones:
            near = tuple(each for each in pool if zone in each.zones)
            self._put(front, f"zone_{zone}", near, [self._reach("switches-in", {zone})])
        parents = [rows.group(self._places.routers), self._reach("switches-outside", zones)]
        self._put(front, f"any_zone{_but(zones)}", pool, parents)

    def _add_external_local(self, front: _Front, pool: tuple[Backend, ...]) -> None:
        """From outside only to endpoints of the node that was asked, sources kept; from inside to all of them."""
        local = self._local(front.backends)
        hosts = self._hosts(pool) | self._hosts(each for found in local.values() for each in found)
        parents = [self._reach("switches-but", hosts)] if hosts else [rows.group(self._places.switches)]
        # Where the host itself is an endpoint its pods are balanced on the router, and from outside the bridge sends
        # to the host before OVN sees it.
        parents += [rows.router(router) for host in sorted(hosts) if (router := self._router(host))]
        self._put(front, f"{front.suffix}_all{_but(hosts)}", pool, parents)
        served = {node: found for node, found in local.items() if node not in hosts and self._router(node)}
        for node, found in served.items():
            router = self._router(node)
            assert router is not None  # noqa: S101 (served)
            vips = self._vips_on(front, self._places.nodes[node], found)
            options = {**_NO_REJECT, "skip_snat": "true"}
            self.draft.add(f"node_local_router_{node}", front.port.protocol, vips, [rows.router(router)], options)
        rest = frozenset(served) | hosts
        others = self._reach("routers-but", rest) if rest else rows.group(self._places.routers)
        self._put(front, f"{front.suffix}_elsewhere{_but(rest)}", (), [others], _NO_REJECT)

    def _add_internal_local(self, front: _Front) -> None:
        """From a node only to its own endpoints; nodes without any drop."""
        local = self._local(front.backends)
        for node, found in local.items():
            place = self._places.nodes[node]
            if node in self._hosts(found) and place.router is not None:
                self._put(front, f"node_router_{node}", found, [rows.router(place.router)], _NO_REJECT)
            else:
                self._put(front, f"node_switch_{node}", found, [rows.switch(place.switch)], _NO_REJECT)
        others = self._reach("switches-but", frozenset(local)) if local else rows.group(self._places.switches)
        self._put(front, f"elsewhere{_but(frozenset(local))}", (), [others], _NO_REJECT)

    def _put(
        self,
        front: _Front,
        suffix: str,
        backends: tuple[Backend, ...],
        parents: Iterable[rows.Parent],
        options: Mapping[str, str] | None = None,
    ) -> None:
        options = dict(options or {})
        if front.is_node_port:
            options |= rows.template(front.version)
            variables = (rows.variable(front.version, i) for i in range(self._places.most_addresses[front.version]))
            vips = {f"^{variable}:{front.port.node_port}": rows.targets(backends) for variable in variables}
        else:
            vips = {rows.socket(ip, front.port.port): rows.targets(backends) for ip in front.addresses}
        self.draft.add(suffix, front.port.protocol, vips, parents, options)

    def _vips_on(self, front: _Front, place: Place, backends: tuple[Backend, ...]) -> dict[str, str]:
        if front.is_node_port:
            own = _of_version(place.addresses, front.version)
            return {rows.socket(ip, front.port.node_port): rows.targets(backends) for ip in own}
        return {rows.socket(ip, front.port.port): rows.targets(backends) for ip in front.addresses}

    def _reach(self, kind: str, which: Iterable[str]) -> rows.Parent:
        reach = Reach(kind, tuple(sorted(which)))
        self.reaches.add(reach)
        return rows.group(_reach_id(self._places, reach))

    def _hosts(self, backends: Iterable[Backend]) -> frozenset[str]:
        """The nodes whose hosts are among the backends."""
        owner = self._places.hosts.get
        return frozenset(host for each in backends if (host := owner(each.address)))

    def _local(self, backends: Iterable[Backend]) -> dict[net.NodeName, tuple[Backend, ...]]:
        """By node what is usable on it; nodes with nothing, or that aren't ours, are left out."""
        found: dict[net.NodeName, list[Backend]] = {}
        for each in backends:
            node = each.node or self._places.hosts.get(each.address, net.NodeName(""))
            if node in self._places.nodes:
                found.setdefault(node, []).append(each)
        return {node: usable for node in sorted(found) if (usable := _usable(found[node]))}

    def _router(self, node: str) -> row.Uuid | None:
        return self._places.nodes[net.NodeName(node)].router


def _but(which: frozenset[str]) -> str:
    """Part of the name of a load balancer that is not on these nodes or in these zones."""
    return f"_{rows.digest(which)}" if which else ""


def _usable(backends: Iterable[Backend]) -> tuple[Backend, ...]:
    """The ready ones; where there are none those that still serve while they terminate."""
    everything = tuple(backends)
    ready = tuple(each for each in everything if each.is_ready)
    return ready or tuple(each for each in everything if each.is_draining)


def _of_version(addresses: Iterable[net.Address], version: int) -> tuple[net.Address, ...]:
    return tuple(each for each in addresses if each.version == version)
