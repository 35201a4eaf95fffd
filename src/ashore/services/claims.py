# SPDX-License-Identifier: Apache-2.0
"""What services claim, and who has it when several do: the oldest, the API server's clock and then the UID deciding."""

from collections.abc import Iterable, Mapping

from ashore.services.view import Claim, ServiceName, ServiceView


def claims_of(service: ServiceView) -> frozenset[Claim]:
    """Everything that no other service may have at the same time."""
    found = set()
    for port in service.ports:
        found |= {Claim(port.protocol, str(ip), port.port) for ip in (*service.cluster_ips, *service.external_ips)}
        if port.node_port:
            found.add(Claim(port.protocol, "", port.node_port))
    return frozenset(found)


class Claims:
    """Who claims what. The outcome doesn't depend on the order in which services came."""

    def __init__(self) -> None:
        self._by_claim: dict[Claim, dict[ServiceName, tuple[str, str]]] = {}
        self._by_service: dict[ServiceName, frozenset[Claim]] = {}

    def put(self, service: ServiceView) -> frozenset[ServiceName]:
        """Takes note of a service's claims; returns the others that claim something of it, or of what it had."""
        return self._replace(service.name, claims_of(service), (service.created, service.uid))

    def drop(self, name: ServiceName) -> frozenset[ServiceName]:
        """The service is gone; returns the others that claim something that it had."""
        return self._replace(name, frozenset(), ("", ""))

    def lost(self, name: ServiceName) -> Mapping[Claim, ServiceName]:
        """What the service claims and another one has, and which."""
        winners = ((claim, self._winner(claim)) for claim in self._by_service.get(name, ()))
        return {claim: winner for claim, winner in winners if winner != name}

    def _winner(self, claim: Claim) -> ServiceName:
        claimants = self._by_claim[claim]
        if len(claimants) == 1:
            return next(iter(claimants))
        return min(claimants, key=lambda name: (claimants[name], name))

    def _replace(self, name: ServiceName, now: Iterable[Claim], order: tuple[str, str]) -> frozenset[ServiceName]:
        before, after = self._by_service.pop(name, frozenset()), frozenset(now)
        touched: set[ServiceName] = set()
        for claim in before:
            claimants = self._by_claim[claim]
            del claimants[name]
            touched |= claimants.keys()
            if not claimants:
                del self._by_claim[claim]
        for claim in after:
            claimants = self._by_claim.setdefault(claim, {})
            touched |= claimants.keys()
            claimants[name] = order
        if after:
            self._by_service[name] = after
        return frozenset(touched)
