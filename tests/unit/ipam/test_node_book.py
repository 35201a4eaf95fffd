# SPDX-License-Identifier: Apache-2.0
import ipaddress

from ashore.api import config, net
from ashore.ipam import nodes
from ashore.ipam.nodes import NodeShare

TINY = config.Network(ipaddress.ip_network("10.244.0.0/23"), 24)
SECOND = config.Network(ipaddress.ip_network("10.245.0.0/24"), 24)
V6 = config.Network(ipaddress.ip_network("fd00:10:244::/48"), 64)


def subnets(*texts: str) -> tuple[net.Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


def test_a_node_gets_an_id_and_a_subnet_of_each_family_in_the_order_of_the_config() -> None:
    _, share, problems = nodes.NodeBook.empty([V6, TINY]).complete(NodeShare())
    assert share == NodeShare(2, subnets("fd00:10:244::/64", "10.244.0.0/24"))
    assert problems == ()


def test_a_second_range_of_a_family_is_used_when_the_first_is_full() -> None:
    book = nodes.NodeBook.empty([TINY, SECOND])
    found: list[net.Network] = []
    for _ in range(3):
        book, share, _ = book.complete(NodeShare())
        found += share.subnets
    assert found == list(subnets("10.244.0.0/24", "10.244.1.0/24", "10.245.0.0/24"))


def test_an_exhausted_family_is_named_and_the_rest_is_given_all_the_same() -> None:
    book = nodes.NodeBook.empty([TINY, V6])
    for _ in range(2):
        book, _, _ = book.complete(NodeShare())
    _, share, problems = book.complete(NodeShare())
    assert share == NodeShare(4, subnets("fd00:10:244:2::/64"))
    assert [str(p) for p in problems] == ["node subnets of 10.244.0.0/23 in /24: all 2 are taken (2 in use)"]


def test_what_a_removed_node_had_goes_to_the_next_one() -> None:
    book, first, _ = nodes.NodeBook.empty([TINY, V6]).complete(NodeShare())
    book, _, _ = book.complete(NodeShare())
    _, third, _ = book.release(first).complete(NodeShare())
    assert third == first


def test_a_complete_share_stays_as_it_is() -> None:
    book, share, _ = nodes.NodeBook.empty([TINY, V6]).complete(NodeShare())
    assert book.complete(share) == (book, share, ())


def test_of_two_nodes_with_one_share_the_older_keeps_it() -> None:
    share = NodeShare(5, subnets("10.244.1.0/24"))
    old = nodes.NodeClaim("2026-01-01T00:00:00Z", net.NodeName("b"), share)
    new = nodes.NodeClaim("2026-01-02T00:00:00Z", net.NodeName("a"), share)
    for order in ([old, new], [new, old]):
        _, stand, fall = nodes.rebuild(nodes.NodeBook.empty([TINY]), order)
        assert stand == {"b": share, "a": NodeShare()}
        assert [p.why for p in fall[net.NodeName("a")]] == [
            "node id 5 is reserved or belongs to another node",
            "10.244.1.0/24 belongs to another node",
        ]


def test_a_subnet_outside_the_config_or_of_another_length_is_rejected() -> None:
    for bad in ("10.9.0.0/24", "10.244.0.0/25", "10.244.0.0/23"):
        _, share, problems = nodes.NodeBook.empty([TINY]).claim(NodeShare(2, subnets(bad)))
        assert share == NodeShare(2)
        assert [p.why for p in problems] == [f"{bad} isn't cut from a cluster network"]
