# SPDX-License-Identifier: Apache-2.0
"""Pods' addresses on one node: one of each of the node's subnets."""

import ipaddress
from collections.abc import Iterable

import msgspec

from ashore.api import net
from ashore.ipam import slots
from ashore.ipam.slots import REST_S, Exhausted, Rejected, Slots

GATEWAY_INDEX = 1
MANAGEMENT_INDEX = 2
JOIN_LINK_BITS = 2
JOIN_LINK_SIZE = 1 << JOIN_LINK_BITS
LARGEST_POOL = 1 << 16
"""Slots of a subnet that are used at most; a v6 /64 has more than any node has pods."""


def gateway_of(subnet: net.Network) -> net.Interface:
    """The cluster router's address in a node's subnet, ``.1``."""
    return _interface(subnet, GATEWAY_INDEX)


def management_of(subnet: net.Network) -> net.Interface:
    """The address of the node's management port, ``.2``."""
    return _interface(subnet, MANAGEMENT_INDEX)


def join_of(network: net.Network, node_id: int) -> tuple[net.Interface, net.Interface] | None:
    """A node's link between cluster router and gateway router, in this order: four addresses of the join network.

    None when the network has none left for such an id.
    """
    first = JOIN_LINK_SIZE * node_id
    if first + JOIN_LINK_SIZE > network.num_addresses:
        return None
    length = network.max_prefixlen - JOIN_LINK_BITS
    near, far = (ipaddress.ip_interface(f"{network.network_address + first + place}/{length}") for place in (1, 2))
    return near, far


def in_subnet(subnet: net.Network, address: net.Address) -> net.Interface:
    """The address with its subnet's prefix length."""
    return ipaddress.ip_interface(f"{address}/{subnet.prefixlen}")


def _interface(subnet: net.Network, index: int) -> net.Interface:
    return in_subnet(subnet, subnet.network_address + index)


def _empty(subnet: net.Network) -> Slots:
    reserved = 1 | 1 << GATEWAY_INDEX | 1 << MANAGEMENT_INDEX
    if subnet.version == 4:  # noqa: PLR2004 (an IP version; v6 has no broadcast address)
        reserved |= 1 << (subnet.num_addresses - 1)
    size = min(subnet.num_addresses, LARGEST_POOL)
    return Slots(size=size, reserved=reserved & ((1 << size) - 1))


class NodeAddresses(msgspec.Struct, frozen=True):
    """What is taken of a node's subnets. A pod has one address of each, all of them or none."""

    node: net.NodeName
    subnets: tuple[net.Network, ...]
    pools: tuple[Slots, ...]

    @classmethod
    def empty(cls, node: net.NodeName, subnets: Iterable[net.Network]) -> "NodeAddresses":
        """A node's book with nothing taken but what is reserved."""
        found = tuple(subnets)
        return cls(node, found, tuple(_empty(subnet) for subnet in found))

    @property
    def in_use(self) -> int:
        """How many addresses of the fullest subnet pods have."""
        return max((pool.in_use for pool in self.pools), default=0)

    def take(self, now: float) -> "tuple[NodeAddresses, tuple[net.Interface, ...]] | Exhausted":
        """The book with the next free address of each subnet taken, and these addresses."""
        pools, found = [], []
        for subnet, pool in zip(self.subnets, self.pools, strict=True):
            taken = pool.take(now)
            if taken is None:
                return pool.exhausted(f"node {self.node}: addresses of {subnet}")
            pools.append(taken[0])
            found.append(_interface(subnet, taken[1]))
        return msgspec.structs.replace(self, pools=tuple(pools)), tuple(found)

    def claim(self, addresses: Iterable[net.Interface]) -> "NodeAddresses | Rejected":
        """The book with a record's addresses taken; Rejected when the record can't stand beside this book.

        A record may have fewer families than the node: it was made before the cluster got its second one.
        """
        found = tuple(addresses)
        if not found:
            return Rejected("has no address")
        pools = list(self.pools)
        claimed: set[int] = set()
        for address in found:
            position = self.position(address)
            if position is None or position in claimed:
                return Rejected(f"{address} isn't the one address of a subnet of node {self.node}")
            pool = pools[position].claim(_index(self.subnets[position], address))
            if pool is None:
                return Rejected(f"{address} is reserved or belongs to another pod of node {self.node}")
            pools[position] = pool
            claimed.add(position)
        return msgspec.structs.replace(self, pools=tuple(pools))

    def release(self, addresses: Iterable[net.Interface], now: float, *, rest_s: float = REST_S) -> "NodeAddresses":
        """The book with these addresses at rest; those that aren't the node's are ignored."""
        pools = list(self.pools)
        for address in addresses:
            position = self.position(address)
            if position is not None:
                index = _index(self.subnets[position], address)
                pools[position] = pools[position].release(index, now, rest_s=rest_s)
        return msgspec.structs.replace(self, pools=tuple(pools))

    def rest(self, addresses: Iterable[net.Interface], now: float) -> "NodeAddresses":
        """The book with free ones of these addresses at rest: somebody may have used them until just now."""
        book = self
        for address in addresses:
            position = book.position(address)
            if position is None:
                continue
            pool = book.pools[position].claim(_index(book.subnets[position], address))
            if pool is not None:
                pools = (*book.pools[:position], pool, *book.pools[position + 1 :])
                book = msgspec.structs.replace(book, pools=pools).release((address,), now)
        return book

    def position(self, address: net.Interface) -> int | None:
        """Which of the node's subnets the address is in; None for a foreign one."""
        for position, subnet in enumerate(self.subnets):
            if address.network == subnet and _index(subnet, address) < self.pools[position].size:
                return position
        return None


def _index(subnet: net.Network, address: net.Interface) -> int:
    return int(address.ip) - int(subnet.network_address)


class Claim(msgspec.Struct, frozen=True, order=True):
    """A record of addresses given out: the older one stands. ``created`` sorts by age, ``owner`` breaks ties."""

    created: str
    owner: str
    addresses: tuple[net.Interface, ...] = ()


def rebuild(
    empty: NodeAddresses, claims: Iterable[Claim]
) -> tuple[NodeAddresses, dict[str, tuple[net.Interface, ...]], dict[str, Rejected]]:
    """The book that a node's records make, whose addresses stand, and why the others' don't. Order is no matter."""
    book = empty
    stand: dict[str, tuple[net.Interface, ...]] = {}
    fall: dict[str, slots.Rejected] = {}
    for claim in sorted(claims, key=lambda c: (c.created, c.owner)):
        outcome = book.claim(claim.addresses)
        if isinstance(outcome, Rejected):
            fall[claim.owner] = outcome
        else:
            book = outcome
            stand[claim.owner] = claim.addresses
    return book, stand, fall
