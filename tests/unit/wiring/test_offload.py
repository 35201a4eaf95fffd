# SPDX-License-Identifier: Apache-2.0
"""Flows as OVS prints them. ``recorded/dpctl-userspace.txt`` is a lab DPU's own output; the kernel's and tc's lines are
reconstructed after OVS's ``lib/dpctl.c`` (format) and ``tests/system-offloads-traffic.at`` (contents)."""

from pathlib import Path

import pytest

from ashore.wiring import offload

RECORDED = (Path(__file__).parent / "recorded/dpctl-userspace.txt").read_text()
HEAD = "ufid:1c1a, skb_priority(0/0),ct_state(0/0),recirc_id(0),in_port(pf0vf1),eth_type(0x0800),ipv4(frag=no)"
TC = f"{HEAD}, packets:10, bytes:980, used:0.1s, offloaded:yes, dp:tc, actions:pf0vf2"
CT = f"{HEAD}, packets:5, bytes:9, used:0.1s, dp:ovs, actions:ct(commit,zone=3,nat(dst=10.0.0.1:80)),recirc(0x5)"
SIZE = f"{HEAD}, packets:1, bytes:9, used:0.1s, dp:ovs, actions:check_pkt_len(size=1400,gt(drop),le(p0))"
SLOW = f"{HEAD}, packets:1, bytes:9, used:0.1s, dp:ovs, actions:userspace(pid=0,slow_path(action))"
MLX = offload.Nic("NVIDIA BlueField", has_eswitch=True, can={"ct": "yes", "ct-nat": "yes", "recirculation": "yes"})


def node(*lines: str, **changes: object) -> offload.Node:
    given: dict[str, object] = {"datapath_type": "system", "hw_offload": True, "needs_restart": False, "nic": MLX}
    return offload.Node(flows=offload.parse("\n".join(lines)), **(given | changes))  # type: ignore[arg-type]


def why(found: offload.Node, kind: str) -> str:
    return "; ".join(offload.report(found)[kind].why_not)


def test_every_line_of_a_real_dump_is_a_flow_of_one_class() -> None:
    flows = offload.parse(RECORDED)
    assert len(flows) == len(RECORDED.splitlines())
    assert {flow.kind for flow in flows} <= set(offload.CLASSES)
    assert {flow.offloaded for flow in flows} == {"no"}


def test_words_around_the_flows_are_left_out() -> None:
    assert offload.parse("flow-dump from the main thread:\n\nflow-dump from pmd on cpu core: 3\n") == ()


@pytest.mark.parametrize(
    ("line", "kind", "features"),
    [
        (TC, offload.PLAIN, ()),
        (CT, offload.SERVICE, ("ct", "ct-nat", "recirculation")),
        (SLOW, offload.NO_FORWARDING, ("userspace",)),
        (SIZE, offload.PLAIN, ("packet-size-check",)),
        (TC.replace("actions:pf0vf2", "actions:ct(zone=3),recirc(0x5)"), offload.CONNTRACK, ("ct", "recirculation")),
        (TC.replace("actions:pf0vf2", "actions:set(tunnel(tun_id=0x1)),genev"), offload.TUNNEL, ("encapsulation",)),
    ],
)
def test_a_flow_has_its_class_and_its_needs(line: str, kind: str, features: tuple[str, ...]) -> None:
    (flow,) = offload.parse(line)
    assert (flow.kind, flow.features) == (kind, features)


def test_what_the_nic_switches_is_counted_and_needs_no_reason() -> None:
    found = offload.report(node(TC))[offload.PLAIN]
    assert (found.flows, found.packets, found.offloaded, found.why_not) == (1, 10, 1, ())


def test_a_userspace_datapath_is_the_whole_reason() -> None:
    assert "userspace datapath" in why(node(CT, datapath_type="netdev"), offload.SERVICE)
    assert "hw-offload is off" not in why(node(CT, datapath_type="netdev", hw_offload=False), offload.SERVICE)


def test_reasons_are_named_and_what_is_not_known_is_called_so() -> None:
    assert "hw-offload is off" in why(node(CT, hw_offload=False), offload.SERVICE)
    assert "restart it" in why(node(CT, needs_restart=True), offload.SERVICE)
    plain = offload.Nic("some NIC", has_eswitch=False, can={"ct": "no"})
    text = why(node(CT, nic=plain), offload.SERVICE)
    assert "no phys_switch_id" in text
    assert "some NIC can't do: ct (profile)" in text
    assert "unknown whether some NIC can do: ct-nat, recirculation" in text
    assert "unknown whether NVIDIA BlueField can do: packet-size-check" in why(node(SIZE), offload.PLAIN)


@pytest.mark.parametrize(
    ("setting", "has_eswitch", "is_on"),
    [("on", False, True), ("off", True, False), ("auto", True, True), ("auto", False, False)],
)
def test_auto_is_on_where_the_uplink_belongs_to_a_switch(setting: str, has_eswitch: bool, is_on: bool) -> None:  # noqa: FBT001 (a parameter)
    assert offload.wanted(setting, has_eswitch).is_on is is_on


def test_what_is_right_already_is_not_written() -> None:
    on, off = offload.wanted("on", True), offload.wanted("off", True)
    assert offload.changes(on, {}) == {"hw-offload": "true", "tc-policy": "none"}
    assert offload.changes(on, {"hw-offload": "true", "tc-policy": "none"}) == {}
    assert offload.changes(off, {}) == {}
    assert offload.changes(off, {"hw-offload": "true"}) == {"hw-offload": "false"}
