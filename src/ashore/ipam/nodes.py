# SPDX-License-Identifier: Apache-2.0
"""Node ids and node subnets of one cluster."""

import ipaddress
from collections.abc import Iterable

import msgspec

from ashore.api import config, net
from ashore.ipam.slots import Exhausted, Rejected, Slots

FIRST_NODE_ID = 2
"""Ids become host parts of join addresses; 0 is the network and 1 the cluster router."""
LARGEST_NODE_ID = (1 << 16) - 2


class NodeShare(msgspec.Struct, frozen=True):
    """What a node has of the cluster: its id (0: none yet) and one subnet of each family."""

    node_id: int = 0
    subnets: tuple[net.Network, ...] = ()


class NodeBook(msgspec.Struct, frozen=True):
    """Which ids and subnets are taken. One Slots for each cluster network, a slot being one node's subnet."""

    networks: tuple[config.Network, ...]
    ids: Slots
    cuts: tuple[Slots, ...]

    @classmethod
    def empty(cls, networks: Iterable[config.Network]) -> "NodeBook":
        """The book of a cluster without nodes."""
        found = tuple(networks)
        ids = Slots(size=LARGEST_NODE_ID + 1, reserved=(1 << FIRST_NODE_ID) - 1)
        return cls(found, ids, tuple(Slots(size=1 << (n.host_prefix - n.cidr.prefixlen)) for n in found))

    def complete(self, share: NodeShare) -> "tuple[NodeBook, NodeShare, tuple[Exhausted, ...]]":
        """The book and the share with everything filled in that is missing and free, and what was exhausted."""
        book, problems = self, []
        if not share.node_id:
            taken = book.ids.take(0)
            if taken is None:
                problems.append(book.ids.exhausted("node ids"))
            else:
                book = msgspec.structs.replace(book, ids=taken[0])
                share = msgspec.structs.replace(share, node_id=taken[1])
        have = {subnet.version: subnet for subnet in share.subnets}
        for family in dict.fromkeys(n.cidr.version for n in self.networks):
            if family not in have:
                outcome = book.cut(family)
                if isinstance(outcome, Exhausted):
                    problems.append(outcome)
                else:
                    book, have[family] = outcome
        order = dict.fromkeys(n.cidr.version for n in self.networks)
        subnets = tuple(have[family] for family in order if family in have)
        return book, msgspec.structs.replace(share, subnets=subnets), tuple(problems)

    def claim(self, share: NodeShare) -> "tuple[NodeBook, NodeShare, tuple[Rejected, ...]]":
        """The book with as much of a recorded share taken as can stand, that much, and why the rest can't."""
        book, problems = self, []
        node_id = 0
        subnets: list[net.Network] = []
        if share.node_id:
            ids = book.ids.claim(share.node_id)
            if ids is None:
                problems.append(Rejected(f"node id {share.node_id} is reserved or belongs to another node"))
            else:
                book, node_id = msgspec.structs.replace(book, ids=ids), share.node_id
        for subnet in share.subnets:
            outcome = book.claim_subnet(subnet, {s.version for s in subnets})
            if isinstance(outcome, Rejected):
                problems.append(outcome)
            else:
                book = outcome
                subnets.append(subnet)
        return book, NodeShare(node_id, tuple(subnets)), tuple(problems)

    def release(self, share: NodeShare) -> "NodeBook":
        """The book with a node's share free again."""
        ids = self.ids.release(share.node_id, 0) if share.node_id else self.ids
        cuts = list(self.cuts)
        for subnet in share.subnets:
            for position, network in enumerate(self.networks):
                if _is_cut(subnet, network):
                    cuts[position] = cuts[position].release(_index(subnet, network), 0)
        return msgspec.structs.replace(self, ids=ids, cuts=tuple(cuts))

    def cut(self, family: int) -> "tuple[NodeBook, net.Network] | Exhausted":
        """The book with the next free subnet of a family taken, and that subnet."""
        full = []
        for position, network in enumerate(self.networks):
            if network.cidr.version != family:
                continue
            taken = self.cuts[position].take(0)
            if taken is None:
                full.append(network)
                continue
            cuts = (*self.cuts[:position], taken[0], *self.cuts[position + 1 :])
            return msgspec.structs.replace(self, cuts=cuts), _subnet(network, taken[1])
        in_use = sum(cut.in_use for cut, n in zip(self.cuts, self.networks, strict=True) if n in full)
        names = ", ".join(f"{n.cidr} in /{n.host_prefix}" for n in full)
        return Exhausted(f"node subnets of {names}", in_use, 0)

    def claim_subnet(self, subnet: net.Network, families: set[int]) -> "NodeBook | Rejected":
        """The book with this very subnet taken, for a node that has subnets of ``families`` already."""
        if subnet.version in families:
            return Rejected(f"{subnet} is a second subnet of its family")
        for position, network in enumerate(self.networks):
            if _is_cut(subnet, network):
                cut = self.cuts[position].claim(_index(subnet, network))
                if cut is None:
                    return Rejected(f"{subnet} belongs to another node")
                return msgspec.structs.replace(self, cuts=(*self.cuts[:position], cut, *self.cuts[position + 1 :]))
        return Rejected(f"{subnet} isn't cut from a cluster network")


class NodeClaim(msgspec.Struct, frozen=True):
    """A node's recorded share; the older node keeps what two claim."""

    created: str
    node: net.NodeName
    share: NodeShare


def rebuild(
    empty: NodeBook, claims: Iterable[NodeClaim]
) -> tuple[NodeBook, dict[net.NodeName, NodeShare], dict[net.NodeName, tuple[Rejected, ...]]]:
    """The book that the nodes' records make, what of each stands, and what doesn't. Order is no matter."""
    book = empty
    stand: dict[net.NodeName, NodeShare] = {}
    fall: dict[net.NodeName, tuple[Rejected, ...]] = {}
    for claim in sorted(claims, key=lambda c: (c.created, c.node)):
        book, stand[claim.node], problems = book.claim(claim.share)
        if problems:
            fall[claim.node] = problems
    return book, stand, fall


def _is_cut(subnet: net.Network, network: config.Network) -> bool:
    if subnet.version != network.cidr.version or subnet.prefixlen != network.host_prefix:
        return False
    return subnet.network_address in network.cidr


def _index(subnet: net.Network, network: config.Network) -> int:
    offset = int(subnet.network_address) - int(network.cidr.network_address)
    return offset >> (network.cidr.max_prefixlen - network.host_prefix)


def _subnet(network: config.Network, index: int) -> net.Network:
    address = network.cidr.network_address + (index << (network.cidr.max_prefixlen - network.host_prefix))
    return ipaddress.ip_network(f"{address}/{network.host_prefix}")
