# SPDX-License-Identifier: Apache-2.0
"""A pod on a DPU pair and a pod on a full node are wired alike: full is both halves at once."""

import ipaddress
import json
from typing import Any

import pytest

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("pods")]


def seen_inside(lab: Any, pod: str) -> list[str]:
    """A pod's interface, addresses and routes with what must differ (hosts' parts of addresses) taken out."""
    annotated = json.loads(lab.get("pod", pod)["metadata"]["annotations"]["k8s.ovn.org/pod-networks"])["default"]
    replaced = {annotated["mac_address"]: "MAC"}
    for index, cidr in enumerate(annotated["ip_addresses"]):
        interface = ipaddress.ip_interface(cidr)
        replaced[str(interface.ip)] = f"IP{index}"
        replaced[str(interface.network)] = f"NET{index}"
        replaced[str(interface.network.network_address + 1)] = f"GW{index}"
    text = "".join(
        lab.kubectl("exec", pod, "--", "sh", "-c", command)
        for command in ("ip -o address show eth0", "ip -4 route", "ip -6 route", "cat /sys/class/net/eth0/mtu")
    )
    lines = []
    for line in text.splitlines():
        # Kernel-made link-local addresses and their routes are nobody's plan.
        if "fe80" in line or "ff00::" in line:
            continue
        words = [replaced.get(word, replaced.get(word.partition("/")[0], word)) for word in line.split()]
        lines.append(" ".join(word for word in words[1:] if not word.startswith("if")))
    return sorted(lines)


def marks_on_the_bridge(lab: Any, pod: str, node: str) -> dict[str, str]:
    """The external ids of a pod's OVS interface, with what must differ taken out."""
    name = lab.ovs_ports(node)[f"default_{pod}"]
    listed = lab.inside(node, "ovs-vsctl", "--format=json", "--columns=external_ids", "list", "Interface", name)
    marks = dict(json.loads(listed)["data"][0][0][1])
    network = json.loads(lab.get("pod", pod)["metadata"]["annotations"]["k8s.ovn.org/pod-networks"])["default"]
    assert marks["attached_mac"] == network["mac_address"]
    assert marks["ip_addresses"].split(",") == network["ip_addresses"]
    assert marks["iface-id-ver"] == lab.get("pod", pod)["metadata"]["uid"]
    assert marks["iface-id"] == f"default_{pod}"
    own = ("attached_mac", "ip_addresses", "iface-id-ver", "iface-id", "sandbox", "ovn-installed-ts", "vf-netdev-name")
    return {key: value for key, value in marks.items() if key not in own}


def test_a_pair_and_a_full_node_wire_a_pod_alike(lab: Any) -> None:
    lab.make_pod("on-pair", "host-1")
    lab.make_pod("on-full", "full-1")
    assert seen_inside(lab, "on-pair") == seen_inside(lab, "on-full")
    assert marks_on_the_bridge(lab, "on-pair", "dpu-1") == marks_on_the_bridge(lab, "on-full", "full-1")
