# SPDX-License-Identifier: Apache-2.0
"""Random lives of a node's addresses: nothing is given twice, nothing is lost, a rebuild gives the same book."""

import ipaddress
import random

from hypothesis import given
from hypothesis import strategies as st

from ashore.api import config, net
from ashore.ipam import addresses, nodes
from ashore.ipam.slots import REST_S, Exhausted

NODE = net.NodeName("host-1")
SUBNETS = {
    "v4": [ipaddress.ip_network("10.244.1.0/28")],
    "v6": [ipaddress.ip_network("fd00:10:244:1::/124")],
    "dual": [ipaddress.ip_network("10.244.1.0/28"), ipaddress.ip_network("fd00:10:244:1::/64")],
}
STEPS = st.lists(st.tuples(st.sampled_from(["take", "free", "wait"]), st.integers(0, 40)), max_size=60)


def live(steps: list[tuple[str, int]], subnets: list[net.Network]) -> tuple[addresses.NodeAddresses, dict[str, object]]:
    book = addresses.NodeAddresses.empty(NODE, subnets)
    now = 0.0
    held: dict[str, tuple[net.Interface, ...]] = {}
    freed_at: dict[net.Interface, float] = {}
    for number, (what, amount) in enumerate(steps):
        if what == "take":
            outcome = book.take(now)
            if isinstance(outcome, Exhausted):
                continue
            book, found = outcome
            for address in found:
                assert now - freed_at.get(address, -REST_S) >= REST_S
                assert not any(address in others for others in held.values())
                assert address.ip in address.network
            held[f"{number:03}"] = found
        elif what == "free" and held:
            owner = sorted(held)[amount % len(held)]
            freed_at |= dict.fromkeys(held[owner], now)
            book = book.release(held.pop(owner), now)
        else:
            now += amount
    return book, {"held": held, "now": now}


@given(STEPS, st.sampled_from(sorted(SUBNETS)))
def test_no_address_is_held_twice_or_before_its_rest(steps: list[tuple[str, int]], families: str) -> None:
    book, world = live(steps, SUBNETS[families])
    assert book.in_use == len(world["held"])  # type: ignore[arg-type]


@given(STEPS, st.sampled_from(sorted(SUBNETS)), st.randoms(use_true_random=False))
def test_a_rebuild_from_records_gives_the_same_book_in_any_order(
    steps: list[tuple[str, int]], families: str, shuffler: random.Random
) -> None:
    book, world = live(steps, SUBNETS[families])
    held: dict[str, tuple[net.Interface, ...]] = world["held"]  # type: ignore[assignment]
    claims = [addresses.Claim(owner, owner, found) for owner, found in held.items()]
    shuffler.shuffle(claims)
    rebuilt, stand, fall = addresses.rebuild(addresses.NodeAddresses.empty(NODE, book.subnets), claims)
    assert (stand, fall) == (held, {})
    assert [p.in_use for p in rebuilt.pools] == [p.in_use for p in book.pools]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 2)), max_size=12), st.randoms())
def test_node_records_never_overlap_after_a_rebuild(raw: list[tuple[int, int, int]], shuffler: random.Random) -> None:
    networks = [
        config.Network(ipaddress.ip_network("10.244.0.0/22"), 24),
        config.Network(ipaddress.ip_network("fd00::/62"), 64),
    ]
    claims = [
        nodes.NodeClaim(
            str(age),
            net.NodeName(f"n{number}"),
            nodes.NodeShare(
                node_id, (ipaddress.ip_network(f"10.244.{cut}.0/24"), ipaddress.ip_network(f"fd00:0:0:{cut}::/64"))
            ),
        )
        for number, (age, cut, node_id) in enumerate(raw)
    ]
    first = nodes.rebuild(nodes.NodeBook.empty(networks), claims)
    shuffler.shuffle(claims)
    assert nodes.rebuild(nodes.NodeBook.empty(networks), claims) == first
    book, stand, _ = first
    for name, share in stand.items():
        book, stand[name], _ = book.complete(share)
    ids = [share.node_id for share in stand.values()]
    cut = [subnet for share in stand.values() for subnet in share.subnets]
    assert len(ids) == len(set(ids))
    assert len(cut) == len(set(cut))
    assert all(any(s.subnet_of(n.cidr) for n in networks if n.cidr.version == s.version) for s in cut)  # type: ignore[arg-type]
