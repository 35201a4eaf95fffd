# SPDX-License-Identifier: Apache-2.0
import ipaddress

import pytest

from ashore.api import net
from ashore.ipam import addresses
from ashore.ipam.slots import Exhausted, Rejected, Slots

V4 = ipaddress.ip_network("10.244.1.0/29")
V6 = ipaddress.ip_network("fd00:10:244:1::/64")
NODE = net.NodeName("host-1")


def book(*subnets: net.Network) -> addresses.NodeAddresses:
    return addresses.NodeAddresses.empty(NODE, subnets)


def take(pool: addresses.NodeAddresses, now: float = 0) -> tuple[addresses.NodeAddresses, tuple[net.Interface, ...]]:
    outcome = pool.take(now)
    assert not isinstance(outcome, Exhausted), outcome
    return outcome


def drain(pool: addresses.NodeAddresses, now: float = 0) -> tuple[addresses.NodeAddresses, list[str], Exhausted]:
    found = []
    while not isinstance(outcome := pool.take(now), Exhausted):
        pool, given = outcome
        found.append(str(given[0].ip))
    return pool, found, outcome


def faces(*texts: str) -> tuple[net.Interface, ...]:
    return tuple(ipaddress.ip_interface(text) for text in texts)


def test_a_pod_gets_an_address_of_each_family_after_gateway_and_management_port() -> None:
    _, given = take(book(V4, V6))
    assert given == faces("10.244.1.3/29", "fd00:10:244:1::3/64")


def test_network_gateway_management_and_broadcast_addresses_are_never_given_out() -> None:
    _, found, _ = drain(book(V4))
    assert found == ["10.244.1.3", "10.244.1.4", "10.244.1.5", "10.244.1.6"]


def test_exhaustion_is_a_value_that_names_node_subnet_and_counts() -> None:
    pool, _, full = drain(book(V4))
    pool = pool.release(faces("10.244.1.4/29"), 10)
    full_again = pool.take(20)
    assert str(full) == "node host-1: addresses of 10.244.1.0/29: all 4 are taken (4 in use)"
    assert isinstance(full_again, Exhausted)
    assert str(full_again) == "node host-1: addresses of 10.244.1.0/29: all 4 are taken (3 in use, 1 rest after use)"
    assert full_again.free_at == 70


def test_one_exhausted_family_takes_nothing_of_the_other() -> None:
    pool = book(V6, V4)
    for _ in range(4):
        pool, _ = take(pool)
    assert isinstance(pool.take(0), Exhausted)
    assert [p.in_use for p in pool.pools] == [4, 4]


def test_an_address_rests_a_minute_before_it_is_given_out_again() -> None:
    pool, first = take(book(V4))
    pool = pool.release(first, 100)
    pool, second = take(pool, 159.9)
    assert second != first
    _, third = take(pool, 160)
    assert third == first


def test_releasing_twice_or_something_foreign_changes_nothing() -> None:
    pool, given = take(book(V4))
    once = pool.release(given, 5)
    assert once.release(given, 50) == once
    assert pool.release(faces("10.244.2.3/24"), 5) == pool


def test_the_pod_that_had_an_address_may_claim_it_out_of_its_rest() -> None:
    pool, given = take(book(V4))
    claimed = pool.release(given, 5).claim(given)
    assert not isinstance(claimed, Rejected)
    assert claimed.in_use == 1


@pytest.mark.parametrize(
    "bad",
    [
        (),
        ("10.244.2.3/29",),
        ("10.244.1.3/24",),
        ("10.244.1.1/29",),
        ("10.244.1.2/29",),
        ("10.244.1.7/29",),
        ("fd00:10:244:1::1:0/64",),
        ("10.244.1.3/29", "10.244.1.4/29"),
    ],
)
def test_a_record_that_is_not_one_address_per_subnet_of_the_node_is_rejected(bad: tuple[str, ...]) -> None:
    assert isinstance(book(V4, V6).claim(faces(*bad)), Rejected)


def test_the_older_of_two_pods_with_one_address_keeps_it() -> None:
    old = addresses.Claim("2026-01-01T00:00:00Z", "old", faces("10.244.1.3/29"))
    new = addresses.Claim("2026-01-02T00:00:00Z", "new", faces("10.244.1.3/29"))
    for order in ([old, new], [new, old]):
        pool, stand, fall = addresses.rebuild(book(V4), order)
        assert set(stand) == {"old"}
        assert set(fall) == {"new"}
        assert pool.in_use == 1


def test_addresses_found_in_use_by_nobody_rest_but_taken_ones_stay_taken() -> None:
    pool, given = take(book(V4))
    rested = pool.rest((*given, *faces("10.244.1.4/29")), 0)
    assert rested.in_use == 1
    assert take(rested, 1)[1] == faces("10.244.1.5/29")


def test_a_slash_64_is_counted_only_as_far_as_a_node_can_use_it() -> None:
    assert book(V6).pools[0].size == addresses.LARGEST_POOL


def test_slots_give_the_lowest_free_one() -> None:
    slots = Slots(size=4)
    for expected in range(4):
        taken = slots.take(0)
        assert taken is not None
        slots, got = taken
        assert got == expected
    assert slots.take(0) is None
    taken = slots.release(2, 0).take(0)
    assert taken is not None
    assert taken[1] == 2
