# SPDX-License-Identifier: Apache-2.0
import ipaddress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ashore.api import net
from ashore.wiring import gateway

GOLDEN = Path(__file__).parent / "golden"
DPU = gateway.View(
    uplink=1,
    host=2,
    host_mac=net.Mac("02:a5:01:00:00:01"),
    addresses=(ipaddress.ip_interface("172.30.1.1/16"), ipaddress.ip_interface("fd00:30::1:1/64")),
    own_mac=net.Mac("02:a5:06:00:00:01"),
    patch=3,
    snat_ports=(16384, 28671),
    node_ports=(30000, 32767),
    tunnels=(ipaddress.ip_network("172.30.2.0/24"),),
)
FULL = msgspec.structs.replace(DPU, host=gateway.LOCAL, own_mac=None, tunnels=())
WITHOUT_OVN = msgspec.structs.replace(DPU, patch=None)


@pytest.mark.parametrize(("name", "view"), [("dpu", DPU), ("full", FULL), ("without-ovn", WITHOUT_OVN)])
def test_the_flows_are_as_written_down(name: str, view: gateway.View) -> None:
    """To renew a golden file, print ``plan(view).lines`` and read what changed."""
    assert gateway.plan(view).lines == tuple((GOLDEN / f"{name}.flows").read_text().splitlines())


def test_without_ovn_the_bridge_switches_by_mac_and_the_host_still_forges_no_tunnel() -> None:
    lines = gateway.plan(WITHOUT_OVN).lines
    assert lines[-1] == "priority=0,actions=NORMAL"
    assert [line for line in lines[:-1] if "actions=drop" not in line] == []


def test_the_cookie_is_of_the_content() -> None:
    moved = msgspec.structs.replace(DPU, uplink=4)
    assert gateway.plan(DPU) == gateway.plan(DPU)
    assert gateway.plan(DPU).cookie != gateway.plan(moved).cookie


def test_no_two_flows_have_one_match_and_priority() -> None:
    for view in (DPU, FULL, WITHOUT_OVN):
        matches = [line.partition("actions=")[0] for line in gateway.plan(view).lines]
        assert len(set(matches)) == len(matches)


def test_a_single_family_has_no_flow_of_the_other() -> None:
    only = msgspec.structs.replace(DPU, addresses=DPU.addresses[:1], tunnels=())
    assert not [line for line in gateway.plan(only).lines if "fd00:30" in line or "fd69" in line]


@given(st.integers(0, 65535), st.integers(0, 65535))
def test_port_masks_match_the_range_and_nothing_else(one: int, other: int) -> None:
    low, high = sorted((one, other))
    masks = gateway.port_masks(low, high)
    for value, mask in masks:
        assert value & mask == value
    covered = sum(65536 - mask for _, mask in masks)
    assert covered == high - low + 1
    firsts = [value for value, _ in masks]
    assert firsts[0] == low
    assert all(b == a + (65536 - mask) for (a, mask), b in zip(masks, firsts[1:], strict=False))


def test_the_default_ranges_take_few_masks() -> None:
    assert gateway.port_masks(16384, 28671) == ((0x4000, 0xE000), (0x6000, 0xF000))
    assert len(gateway.port_masks(30000, 32767)) == 5
