# SPDX-License-Identifier: Apache-2.0
import ipaddress
from collections import Counter

import pytest

from ashore.lab import addresses, links, spec

SHAPE = spec.Shape(pairs=3, full_nodes=2, vfs=20)


def test_no_address_is_given_twice() -> None:
    given = [
        str(ipaddress.ip_interface(address).ip)
        for node in spec.nodes(SHAPE)
        for address in {*addresses.fabric(node), *addresses.out_of_band(node)}
    ]
    given += [str(ipaddress.ip_interface(a).ip) for i in addresses.interfaces(spec.ROUTER) for a in i.addresses]
    assert [address for address, times in Counter(given).items() if times > 1] == []


def test_no_mac_is_given_twice() -> None:
    macs = [end.mac for link in links.plan(SHAPE) for end in (link.near, link.far) if end.mac]
    macs += [addresses.mac("bridge", pair) for pair in (1, 2, 3)]
    assert len(macs) == len(set(macs))


def test_no_netdev_name_is_used_twice_in_a_node_or_is_too_long() -> None:
    ends = [(end.node, end.name) for link in links.plan(SHAPE) for end in (link.near, link.far)]
    assert len(ends) == len(set(ends))
    assert all(len(name) <= 15 for _node, name in ends)


def test_virtual_functions_roll_over_into_further_devices() -> None:
    assert [addresses.vf_slot(vf) for vf in (0, 5, 6, 13, 14)] == [
        "0000:03:00.2",
        "0000:03:00.7",
        "0000:03:01.0",
        "0000:03:01.7",
        "0000:03:02.0",
    ]


def test_a_host_is_cabled_to_its_own_dpu_alone() -> None:
    peers = {links.other_end(link, "host-2").node for link in links.plan(SHAPE) if link.near.node == "host-2"}
    assert peers == {"dpu-2"}
    assert not any(link.far.node == "host-2" for link in links.plan(SHAPE))


def test_a_host_has_no_out_of_band_address() -> None:
    assert all(addresses.out_of_band(node) == () for node in spec.nodes(SHAPE) if node.mode in ("dpu-host", "full"))


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        ((4, 6), ("172.30.1.2", "fd00:30::1:2")),
        ((6, 4), ("fd00:30::1:2", "172.30.1.2")),
        ((6,), ("fd00:30::1:2",)),
        ((4,), ("172.30.1.2",)),
    ],
)
def test_a_node_reports_the_primary_family_first(families: tuple[int, ...], expected: tuple[str, ...]) -> None:
    host = next(node for node in spec.nodes(SHAPE) if node.name == "host-2")
    assert addresses.node_ips(host, families) == expected


def test_a_cable_is_found_by_either_of_its_names() -> None:
    from_host = links.find(SHAPE, "host-1", addresses.PF)
    assert from_host == links.find(SHAPE, "dpu-1", addresses.PF_REPRESENTOR) != None  # noqa: E711 (a chain)
    assert links.find(SHAPE, "host-1", "no-such") is None


@pytest.mark.parametrize("name", ["", "Lab", "9x", "a_b", "a" * 17, "-a", "a/b"])
def test_a_name_that_would_break_a_path_is_no_lab_name(name: str) -> None:
    assert not spec.NAME.fullmatch(name)
