# SPDX-License-Identifier: Apache-2.0
"""Whether packets are switched by the NIC: what to ask of OVS, and what its flows say about it.

Two sources, told apart in every answer: what ``ovs-appctl dpctl/dump-flows -m`` says of each flow (a fact), and what a
NIC of that kind is said to be able to (a profile, ``hardware.vendors``). What neither tells is called unknown.

Source for the dump's words (``offloaded:yes|partial``, ``dp:tc|ovs|dpdk``): ovs-vswitchd(8), dpctl(8), OVS
``lib/dpctl.c`` and ``lib/dpif-netlink.c``.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

HW_OFFLOAD, TC_POLICY = "hw-offload", "tc-policy"
USERSPACE = "netdev"
"""A bridge's datapath_type where packets never meet the kernel's flow classifier."""

# What flows are for. Order: a flow belongs to the first that fits.
NO_FORWARDING, SERVICE, TUNNEL, CONNTRACK, PLAIN = (
    "dropped or slow path", "service (translated)", "tunnel to other nodes", "tracked", "stateless",
)  # fmt: skip
CLASSES = (PLAIN, CONNTRACK, SERVICE, TUNNEL, NO_FORWARDING)

FEATURES = {
    "ct": re.compile(r"\bct\("),
    "ct-nat": re.compile(r"\bct\([^)]*nat"),
    "recirculation": re.compile(r"\brecirc\("),
    "encapsulation": re.compile(r"\btnl_push\(|\bset\(tunnel\("),
    "decapsulation": re.compile(r"\btnl_pop\("),
    "header-rewrite": re.compile(r"\bset\((?:eth|ipv4|ipv6|tcp|udp)\("),
    "packet-size-check": re.compile(r"\bcheck_pkt_len\("),
    "sampling": re.compile(r"\bsample\(|\bpsample\("),
    "meter": re.compile(r"\bmeter\("),
    "userspace": re.compile(r"\buserspace\("),
}
"""Actions that a NIC can or can't do, by the name that profiles use."""


class Settings(msgspec.Struct, frozen=True):
    """``other_config`` of Open_vSwitch as it should be, and what of it OVS wasn't started with."""

    other_config: Mapping[str, str]
    is_on: bool


class Flow(msgspec.Struct, frozen=True):
    """A flow of the datapath. ``offloaded`` is yes, partial or no."""

    matches: str
    actions: str
    packets: int
    offloaded: str
    datapath: str

    @property
    def features(self) -> tuple[str, ...]:
        """What its actions need."""
        return tuple(name for name, pattern in FEATURES.items() if pattern.search(self.actions))

    @property
    def kind(self) -> str:
        """Which of CLASSES it is."""
        found = set(self.features)
        if self.actions == "drop" or "userspace" in found:
            return NO_FORWARDING
        if "ct-nat" in found or "dnat" in self.matches:
            return SERVICE
        if found & {"encapsulation", "decapsulation"} or "tunnel(" in self.matches:
            return TUNNEL
        is_tracked = "ct" in found or re.search(r"ct_state\((?!0/0\))", self.matches)
        return CONNTRACK if is_tracked else PLAIN


class Nic(msgspec.Struct, frozen=True):
    """What is known of a node's NIC. ``can`` says by feature: yes, no; what isn't in it is unknown."""

    name: str
    has_eswitch: bool
    can: Mapping[str, str]


class Node(msgspec.Struct, frozen=True):
    """A node with OVS as it is now."""

    datapath_type: str
    hw_offload: bool
    needs_restart: bool
    nic: Nic
    flows: tuple[Flow, ...]


class ClassReport(msgspec.Struct, frozen=True):
    """One class of flows. ``why_not`` has the reasons for those that aren't offloaded, the surest first."""

    flows: int
    packets: int
    offloaded: int
    partial: int
    why_not: tuple[str, ...] = ()


def wanted(setting: str, uplink_has_eswitch: bool) -> Settings:  # noqa: FBT001 (a fact, named at its one call)
    """What ``spec.offload`` (on, off, auto) means for a node."""
    is_on = setting == "on" or (setting == "auto" and uplink_has_eswitch)
    if not is_on:
        return Settings({HW_OFFLOAD: "false"}, is_on=False)
    # "none": rules go to the NIC and to the kernel, so that what the NIC refuses is still switched.
    return Settings({HW_OFFLOAD: "true", TC_POLICY: "none"}, is_on=True)


def changes(setting: Settings, other_config: Mapping[str, str]) -> dict[str, str]:
    """What has to be written. What is absent is off, and needn't be said."""
    if not setting.is_on and other_config.get(HW_OFFLOAD, "false") == "false":
        return {}
    return {key: value for key, value in setting.other_config.items() if other_config.get(key) != value}


def parse(dump: str) -> tuple[Flow, ...]:
    """The flows in ``dpctl/dump-flows -m``'s output; lines that are no flows are left out."""
    return tuple(flow for line in dump.splitlines() if (flow := _flow(line)) is not None)


def _flow(line: str) -> Flow | None:
    head, found, rest = line.partition(" packets:")
    told, _, actions = rest.partition("actions:")
    if not found or not actions:
        return None
    facts = dict(part.strip().partition(":")[::2] for part in f"packets:{told}".split(","))
    packets = facts.get("packets", "0")
    return Flow(
        matches=head.rstrip(", "),
        actions=actions.partition(", dp-extra-info:")[0].strip(),
        packets=int(packets) if packets.isdigit() else 0,
        offloaded=facts.get("offloaded", "no"),
        datapath=facts.get("dp", ""),
    )


def report(node: Node) -> dict[str, ClassReport]:
    """By class of flows: how many the NIC switches, and why not the others."""
    found = {}
    for kind in CLASSES:
        flows = [flow for flow in node.flows if flow.kind == kind]
        missing = [flow for flow in flows if flow.offloaded != "yes"]
        found[kind] = ClassReport(
            flows=len(flows),
            packets=sum(flow.packets for flow in flows),
            offloaded=sum(flow.offloaded == "yes" for flow in flows),
            partial=sum(flow.offloaded == "partial" for flow in flows),
            why_not=tuple(_reasons(node, missing)) if missing else (),
        )
    return found


def _reasons(node: Node, flows: Iterable[Flow]) -> Iterable[str]:
    if node.datapath_type == USERSPACE:
        yield "br-ex is on OVS's userspace datapath: nothing is given to the NIC (datapath_type=system would)"
        return
    if not node.hw_offload:
        yield "hw-offload is off: set spec.offload of the NetworkConfig to on or auto"
    if node.needs_restart:
        yield "hw-offload was changed after ovs-vswitchd's start: restart it, after draining the host"
    if not node.nic.has_eswitch:
        yield f"{node.nic.name}: the uplink has no phys_switch_id: no eSwitch, or not in switchdev mode"
    features = sorted({feature for flow in flows for feature in flow.features})
    no = [feature for feature in features if node.nic.can.get(feature) == "no"]
    unknown = [feature for feature in features if feature not in node.nic.can]
    if no:
        yield f"{node.nic.name} can't do: {', '.join(no)} (profile)"
    if unknown:
        yield f"unknown whether {node.nic.name} can do: {', '.join(unknown)}"
    yield "otherwise unknown; the kernel says why it refused a rule: dmesg, `tc -s filter show dev REPRESENTOR ingress`"
