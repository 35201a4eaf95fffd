# SPDX-License-Identifier: Apache-2.0
"""The same claims on the fake kernel and on the one that runs the tests."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from ashore import netlink
from ashore.netlink import namespace
from ashore.testing import kernel as fake


class World(NamedTuple):
    kernel: netlink.Kernel
    netns: str
    device: str
    alias: str
    is_real: bool


SETTINGS = netlink.LinkSettings(
    name="eth0",
    mac="0a:58:0a:f4:01:05",
    mtu=1400,
    addresses=("10.244.1.5/24", "fd00:10:244:1::5/64"),
    routes=(
        netlink.Route("0.0.0.0/0", "10.244.1.1"),
        netlink.Route("::/0", "fd00:10:244:1::1"),
        netlink.Route("10.96.0.0/16", "10.244.1.1"),
    ),
)


@pytest.fixture(params=["fake", "linux"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    tag = uuid.uuid4().hex[:6]
    if request.param == "fake":
        made = fake.FakeKernel("/run/netns/pod")
        made.add_device("vf0", "0000:03:00.2", mac="02:00:00:00:00:77")
        yield World(made, "/run/netns/pod", "vf0", "0000:03:00.2", is_real=False)
        return
    if os.geteuid() != 0:
        if os.environ.get("CI") == "true":
            pytest.fail("needs root")
        pytest.skip("needs root")
    netns, device, alias = f"ft-{tag}", f"ft{tag}a", f"ft-{tag}"
    run("ip", "netns", "add", netns)
    try:
        run("ip", "link", "add", device, "address", "02:00:00:00:00:77", "type", "veth", "peer", f"ft{tag}b")
        run("ip", "link", "set", device, "alias", alias)
        yield World(netlink.LinuxKernel(), f"/run/netns/{netns}", device, alias, is_real=True)
    finally:
        subprocess.run(["ip", "link", "del", f"ft{tag}b"], check=False, capture_output=True)
        run("ip", "netns", "del", netns)


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


async def test_a_device_moves_in_gets_its_settings_and_leaves_ours(world: World) -> None:
    await world.kernel.move_in(world.alias, world.netns, SETTINGS)
    seen = await world.kernel.observe("eth0", world.netns)
    assert seen is not None
    assert seen.addresses == set(SETTINGS.addresses)
    assert seen.routes == set(SETTINGS.routes)
    assert (seen.link.mac, seen.link.mtu, seen.link.is_up) == (SETTINGS.mac, 1400, True)
    assert world.device not in {link.name for link in await world.kernel.all_links()}


async def test_a_nic_that_takes_no_vf_mac_says_so_and_a_missing_one_is_an_error(world: World) -> None:
    assert not await world.kernel.set_vf_mac(world.device, 1, "0a:58:0a:f4:01:05")
    with pytest.raises(netlink.LinkMissing):
        await world.kernel.set_vf_mac("no-such-pf", 1, "0a:58:0a:f4:01:05")


async def test_moving_in_twice_changes_nothing(world: World) -> None:
    await world.kernel.move_in(world.alias, world.netns, SETTINGS)
    first = await world.kernel.observe("eth0", world.netns)
    await world.kernel.move_in(world.alias, world.netns, SETTINGS)
    assert await world.kernel.observe("eth0", world.netns) == first


async def test_addresses_and_routes_that_are_not_wanted_any_more_go(world: World) -> None:
    await world.kernel.move_in(world.alias, world.netns, SETTINGS)
    other = netlink.LinkSettings(name="eth0", addresses=("10.244.1.9/24",), routes=())
    await world.kernel.move_in(world.alias, world.netns, other)
    seen = await world.kernel.observe("eth0", world.netns)
    assert seen is not None
    assert (seen.addresses, seen.routes) == (frozenset({"10.244.1.9/24"}), frozenset())


async def test_a_device_comes_back_as_it_was(world: World) -> None:
    await world.kernel.move_in(world.alias, world.netns, SETTINGS)
    back = netlink.LinkSettings(name=world.device, mac="02:00:00:00:00:77")
    assert await world.kernel.move_back(world.alias, world.netns, back)
    seen = await world.kernel.observe(world.device)
    assert seen is not None
    assert (seen.link.mac, seen.link.is_up, seen.addresses) == ("02:00:00:00:00:77", False, frozenset())
    assert await world.kernel.observe("eth0", world.netns) is None


async def test_coming_back_twice_or_from_nowhere_is_fine(world: World) -> None:
    back = netlink.LinkSettings(name=world.device)
    assert not await world.kernel.move_back(world.alias, world.netns, back)
    assert not await world.kernel.move_back(world.alias, "/run/netns/ft-none", back)


async def test_a_namespace_that_is_missing_is_named_and_nothing_moves(world: World) -> None:
    with pytest.raises(netlink.NetnsMissing, match="ft-none"):
        await world.kernel.move_in(world.alias, "/run/netns/ft-none", SETTINGS)
    assert await world.kernel.observe(world.device) is not None


async def test_a_device_that_is_nowhere_is_named(world: World) -> None:
    with pytest.raises(netlink.LinkMissing, match="ft-unknown"):
        await world.kernel.move_in("ft-unknown", world.netns, SETTINGS)


async def test_a_name_that_is_taken_is_refused_and_the_device_can_still_come_back(world: World) -> None:
    await world.kernel.add_veth(f"{world.device}x", f"{world.device}y", alias=f"{world.alias}y", mtu=1500)
    try:
        await world.kernel.move_in(f"{world.alias}y", world.netns, netlink.LinkSettings(name="eth0"))
        with pytest.raises(netlink.NameTaken):
            await world.kernel.move_in(world.alias, world.netns, SETTINGS)
        assert await world.kernel.move_back(world.alias, world.netns, netlink.LinkSettings(name=world.device))
    finally:
        await world.kernel.delete(f"{world.device}x")
    assert await world.kernel.observe("eth0", world.netns) is None


async def test_our_own_link_is_renamed_and_configured_once(world: World) -> None:
    settings = netlink.LinkSettings(name=f"{world.device}m", addresses=("10.244.1.2/24",))
    await world.kernel.configure(world.device, settings)
    await world.kernel.configure(world.device, settings)
    seen = await world.kernel.observe(f"{world.device}m")
    assert seen is not None
    assert (seen.addresses, seen.link.is_up) == (frozenset({"10.244.1.2/24"}), True)


async def test_deleting_a_pair_s_end_deletes_the_other_wherever_it_is(world: World) -> None:
    await world.kernel.add_veth(f"{world.device}x", f"{world.device}y", alias=f"{world.alias}y", mtu=1400)
    await world.kernel.move_in(f"{world.alias}y", world.netns, SETTINGS)
    await world.kernel.delete(f"{world.device}x")
    await world.kernel.delete(f"{world.device}x")
    assert await world.kernel.observe("eth0", world.netns) is None


def test_only_a_namespace_counts_as_one(world: World, tmp_path: object) -> None:
    assert world.kernel.has_netns(world.netns)
    assert not world.kernel.has_netns("/etc/passwd")
    assert not world.kernel.has_netns(f"{tmp_path}/none")


async def test_what_fails_inside_a_namespace_reaches_the_caller() -> None:
    async def fail() -> None:
        raise LookupError("inside")

    with pytest.raises(LookupError, match="inside"):
        await namespace.within("", fail)
