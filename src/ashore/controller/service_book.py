# SPDX-License-Identifier: Apache-2.0
"""The leader's account of services: their plans, who claims what, and who has to be looked at when a node changes."""

import copy
from collections.abc import Iterable, Mapping

import msgspec

from ashore.api import names, net
from ashore.controller import keys
from ashore.schema import nb, row
from ashore.services import claims, plan, view
from ashore.topology import gateway, identity
from ashore.topology.view import ClusterView, NodeView


class ServiceBook:
    """Plans of all services, kept as they are put in; the writer only reads them.

    No method awaits, so that each one is a step that nothing comes between.
    """

    def __init__(self, zone: str) -> None:
        self._nodes: dict[net.NodeName, view.Place] = {}
        self._hosts: dict[net.Address, net.NodeName] = {}
        self._most = {4: 0, 6: 0}
        self.places = view.Places(
            zone=zone,
            everywhere=identity.lb_group(zone, names.CLUSTER_LB_GROUP),
            switches=identity.lb_group(zone, names.SWITCH_LB_GROUP),
            routers=identity.lb_group(zone, names.ROUTER_LB_GROUP),
            nodes=self._nodes,
            hosts=self._hosts,
            most_addresses=self._most,
        )
        self._services: dict[view.ServiceName, view.ServiceView] = {}
        self._plans: dict[view.ServiceName, plan.Planned] = {}
        self._pods: dict[net.PodKey, view.HostPortsView] = {}
        self._claims = claims.Claims()
        self._users: dict[view.Reach, set[view.ServiceName]] = {}
        self._near: dict[str, set[view.ServiceName]] = {}
        """By node the services with endpoints there; under "" those with endpoints that don't say where."""

    def begin(self, cluster: ClusterView) -> None:
        """Starts with these nodes and no services."""
        for held in (self._nodes, self._services, self._plans, self._pods, self._users, self._near):
            held.clear()
        self._claims = claims.Claims()
        for node in cluster.nodes.values():
            self.put_node(cluster, node.name)

    def put_node(self, cluster: ClusterView, name: net.NodeName) -> frozenset[keys.Key]:
        """Takes note of a node as it is, or that it is gone; returns what has to be written because of it."""
        node = cluster.nodes.get(name)
        place = place_of(cluster, node) if node and node.subnets else None
        before = self._nodes.get(name)
        if place == before:
            return frozenset()
        if place is None:
            del self._nodes[name]
        else:
            self._nodes[name] = place
        most = dict(self._most)
        self._hosts.clear()
        self._hosts |= view.hosts_of(self._nodes)
        self._most |= view.most_addresses_of(self._nodes)
        near = self._near.get(name, set()) | self._near.get("", set())
        touched = near if most == self._most else self._services
        found: set[keys.Key] = {*map(keys.ReachKey, self._users)}
        for service in tuple(touched):
            found |= self._replan(self._services[service])
        return frozenset(found)

    def put(self, service: view.ServiceView) -> tuple[frozenset[keys.Key], frozenset[view.ServiceName]]:
        """A service as it is; returns what has to be written, and the other services that it takes something from."""
        self._forget_near(service.name)
        others = self._claims.put(service)
        self._services[service.name] = service
        for port in service.ports:
            for backend in port.backends:
                self._near.setdefault(backend.node, set()).add(service.name)
        found = set(self._replan(service))
        for other in others:
            found |= self._replan(self._services[other])
        return frozenset(found), others

    def drop(self, name: view.ServiceName) -> tuple[frozenset[keys.Key], frozenset[view.ServiceName]]:
        """The service is gone, or wants nothing; returns as ``put`` does, nothing for an unknown one."""
        if name not in self._services:
            return frozenset(), frozenset()
        self._forget_near(name)
        others = self._claims.drop(name)
        del self._services[name]
        found: set[keys.Key] = {keys.ServiceKey(name)}
        found |= self._use(name, self._plans.pop(name).reaches, frozenset())
        for other in others:
            found |= self._replan(self._services[other])
        return frozenset(found), others

    def put_pod(self, key: net.PodKey, ports: view.HostPortsView | None) -> None:
        """A pod's host ports, if it has any; they are written with the pod."""
        if ports is None:
            self._pods.pop(key, None)
        else:
            self._pods[key] = ports

    def lost(self, name: view.ServiceName) -> Mapping[view.Claim, view.ServiceName]:
        """What the service claims and an older one has."""
        return self._claims.lost(name)

    def plan_key(self, key: keys.Key) -> row.Plan:
        """What stands here for a key; nothing for what isn't there."""
        match key:
            case keys.ServiceKey(name) if name in self._plans:
                return self._plans[name].plan
            case keys.ReachKey(reach) if reach in self._users:
                return plan.plan_reach(self.places, reach)
            case keys.NodeKey(node) if node in self._nodes:
                return plan.plan_place(self.places, self._nodes[node])
            case keys.PodKey(pod) if pod in self._pods:
                return plan.plan_host_ports(self.places, self._pods[pod])
        return row.Plan()

    def parents_of(self, key: keys.Key) -> Iterable[keys.Key]:
        """The keys whose rows a key's memberships are in."""
        if isinstance(key, keys.ServiceKey) and key.service in self._plans:
            planned = self._plans[key.service]
            yield from map(keys.ReachKey, planned.reaches)
            on = {member.uuid for member in planned.plan.members if member.table != nb.LoadBalancerGroup.TABLE.name}
            for place in self._nodes.values() if on else ():
                if not on.isdisjoint((place.switch, place.router)):
                    yield keys.NodeKey(place.name)
        elif isinstance(key, keys.ReachKey) and key.reach in self._users:
            yield from map(keys.NodeKey, self._nodes)

    def all_keys(self) -> list[keys.Key]:
        """Everything that is planned here, but for nodes and pods."""
        return [*map(keys.ReachKey, self._users), *map(keys.ServiceKey, self._plans)]

    def frozen(self) -> "ServiceBook":
        """A copy that nothing changes, for a thread to plan from."""
        twin = copy.copy(self)
        twin._nodes, twin._hosts = dict(self._nodes), dict(self._hosts)  # noqa: SLF001 (its own kind)
        twin._plans, twin._users, twin._pods = dict(self._plans), dict(self._users), dict(self._pods)  # noqa: SLF001
        twin.places = msgspec.structs.replace(self.places, nodes=twin._nodes, hosts=twin._hosts)  # noqa: SLF001
        return twin

    def __len__(self) -> int:
        return len(self._plans)

    def _replan(self, service: view.ServiceView) -> set[keys.Key]:
        lost = frozenset(self._claims.lost(service.name))
        planned = plan.plan_service(self.places, msgspec.structs.replace(service, lost=lost))
        before = self._plans.get(service.name)
        self._plans[service.name] = planned
        found = self._use(service.name, before.reaches if before else frozenset(), planned.reaches)
        if before != planned:
            found.add(keys.ServiceKey(service.name))
        return found

    def _use(self, name: view.ServiceName, before: frozenset[view.Reach], now: frozenset[view.Reach]) -> set[keys.Key]:
        """Counts who uses which group; returns those that came or went."""
        changed: set[keys.Key] = set()
        for reach in now - before:
            if reach not in self._users:
                changed.add(keys.ReachKey(reach))
            self._users.setdefault(reach, set()).add(name)
        for reach in before - now:
            self._users[reach].discard(name)
            if not self._users[reach]:
                del self._users[reach]
                changed.add(keys.ReachKey(reach))
        return changed

    def _forget_near(self, name: view.ServiceName) -> None:
        known = self._services.get(name)
        for port in known.ports if known else ():
            for backend in port.backends:
                if (services := self._near.get(backend.node)) is not None:
                    services.discard(name)
                    if not services:
                        del self._near[backend.node]


def place_of(cluster: ClusterView, node: NodeView) -> view.Place:
    """Where load balancers of a node go."""
    has_gateway = gateway.is_planned(cluster, node)
    outside = node.gateway.addresses if node.gateway else ()
    # The address that the gateway shares comes first, so that it has the same variable on every node.
    addresses = dict.fromkeys(each.ip for each in (*outside, *sorted(node.host_addresses, key=str)))
    return view.Place(
        name=node.name,
        chassis=node.chassis,
        switch=identity.switch(cluster.zone, node),
        router=identity.gateway_router(cluster.zone, node) if has_gateway else None,
        addresses=tuple(addresses) if has_gateway else (),
        is_host=has_gateway and node.has_management_port,
        topology_zone=node.topology_zone,
    )
