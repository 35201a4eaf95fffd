# SPDX-License-Identifier: Apache-2.0
"""Rules of a real kernel, in a namespace of the test's own."""

import functools
import os
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from ashore import netlink
from ashore.netlink import namespace, steering

WANTED = netlink.Steering(
    link="mp0",
    addresses=("192.0.2.1", "2001:db8::1"),
    ports=(30000, 32767),
    ways=(("10.244.1.1", "10.244.1.2"), ("fd00:10:244:1::1", "fd00:10:244:1::2")),
)


@pytest.fixture
def netns() -> Iterator[str]:
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root")
        pytest.skip("needs root")
    name = f"st-{uuid.uuid4().hex[:6]}"
    ip("netns", "add", name)
    try:
        for words in (
            "link add mp0 type veth peer name mp1", "link set mp0 up", "link set mp1 up", "link set lo up",
            "addr add 10.244.1.2/24 dev mp0", "addr add fd00:10:244:1::2/64 dev mp0 nodad",
            "addr add 192.0.2.1/32 dev lo", "addr add 2001:db8::1/128 dev lo",
        ):  # fmt: skip
            ip("-n", name, *words.split())
        yield name
    finally:
        ip("netns", "del", name)


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


async def put(netns: str, wanted: netlink.Steering) -> None:
    await namespace.within(f"/run/netns/{netns}", functools.partial(steering.put, wanted))


def way(netns: str, address: str, port: int) -> str:
    """The link by which a TCP connection from here to an own address would leave."""
    words = ip("-n", netns, "route", "get", address, "ipproto", "tcp", "dport", str(port)).split()
    return words[words.index("dev") + 1]


@pytest.mark.parametrize("address", WANTED.addresses)
async def test_node_ports_of_own_addresses_leave_by_the_link_and_other_ports_do_not(netns: str, address: str) -> None:
    assert way(netns, address, 30080) == "lo"
    await put(netns, WANTED)
    assert way(netns, address, 30080) == "mp0"
    assert way(netns, address, 30080 - 100) == "lo"


async def test_steering_twice_is_steering_once(netns: str) -> None:
    await put(netns, WANTED)
    before = ip("-n", netns, "rule"), ip("-n", netns, "-6", "rule")
    await put(netns, WANTED)
    assert (ip("-n", netns, "rule"), ip("-n", netns, "-6", "rule")) == before


async def test_another_range_replaces_the_first(netns: str) -> None:
    await put(netns, WANTED)
    await put(netns, netlink.Steering(link="mp0", addresses=WANTED.addresses, ports=(20000, 20010), ways=WANTED.ways))
    assert way(netns, "192.0.2.1", 30080) == "lo"
    assert way(netns, "192.0.2.1", 20001) == "mp0"


async def test_without_addresses_the_rules_are_as_a_kernel_has_them(netns: str) -> None:
    before = ip("-n", netns, "rule"), ip("-n", netns, "-6", "rule")
    await put(netns, WANTED)
    await put(netns, netlink.Steering(link="mp0", addresses=(), ports=(30000, 32767), ways=()))
    assert (ip("-n", netns, "rule"), ip("-n", netns, "-6", "rule")) == before


async def test_a_link_that_is_gone_is_named(netns: str) -> None:
    with pytest.raises(netlink.LinkMissing, match="mp9"):
        await put(netns, netlink.Steering(link="mp9", addresses=("192.0.2.1",), ports=(1, 2), ways=WANTED.ways))
