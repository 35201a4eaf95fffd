# SPDX-License-Identifier: Apache-2.0
"""Flows of the external bridge: host and OVN share one address on the wire and are told apart without connection state.

Ports in OVN's ranges and addresses that aren't the host's are OVN's, the rest is the host's; what OVN doesn't own comes
back to the host by way of its gateway router (``topology.gateway``). Fixed ports, no learning, no ``NORMAL``. Only
fragments are tracked, since the later ones carry no ports. ``docs/explanation/gateway.md`` walks packets through it.

On a DPU the host is behind its PF's representor and LOCAL is the DPU itself; where one system is both, LOCAL is the
host.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec

from ashore.api import gateway, net

LOCAL = "LOCAL"
GENEVE_PORT = 6081
FRAGMENT_ZONE = 64004
HIDDEN_TAG = 4094
"""VLAN tag of the patch port: without our flows the bridge switches by MAC, and must not see the second owner of the
host's. Explicit outputs ignore it."""
_PORT_BITS = 16
_TRACKED_PROTOCOLS = {"tcp": 6, "udp": 17}
_FRAMES_TO_ALL = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00"


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What the flows follow from.

    ``uplink``, ``host`` and ``patch`` are OpenFlow port numbers (``host`` LOCAL where the host is this system).
    """

    uplink: int
    host: int | str
    host_mac: net.Mac
    addresses: tuple[net.Interface, ...]
    """All of the host's; the first of each family is what OVN translates to."""
    own_mac: net.Mac | None = None
    """The DPU's own on this bridge; None where this system is the host."""
    patch: int | None = None
    """The port to the integration bridge; None while OVN isn't up: the bridge then switches by MAC."""
    vlan: int = 0
    snat_ports: tuple[int, int]
    node_ports: tuple[int, int]
    tunnels: tuple[net.Network, ...] = ()
    """Where tunnels end; pods have no business there."""


class Flows(msgspec.Struct, frozen=True):
    """The whole content of the bridge, a line each as ovs-ofctl(8) reads it, all with ``cookie``."""

    lines: tuple[str, ...]
    cookie: int

    @property
    def text(self) -> str:
        """For ``replace-flows``."""
        return "".join(f"cookie={self.cookie:#x},{line}\n" for line in self.lines)


def plan(view: View) -> Flows:
    """The bridge's flows. The cookie is of their content, so that one question tells whether they are all there."""
    lines = tuple(_guards(view))
    lines += ("priority=0,actions=NORMAL",) if view.patch is None else tuple(_pipeline(view, view.patch))
    digest = hashlib.sha256("\n".join(lines).encode()).digest()
    return Flows(lines, int.from_bytes(digest[:8], "big"))


def port_masks(low: int, high: int) -> tuple[tuple[int, int], ...]:
    """The fewest (value, mask) pairs that match exactly the ports ``low`` to ``high``."""
    found = []
    while low <= high:
        size = low & -low if low else 1 << _PORT_BITS
        while size > high - low + 1:
            size >>= 1
        found.append((low, (1 << _PORT_BITS) - size))
        low += size
    return tuple(found)


def _guards(view: View) -> Iterator[str]:
    """What a host behind a NIC may never send, whether our pipeline is there or the bridge switches by MAC."""
    if view.own_mac is None:
        return
    for protocol in ("udp", "udp6"):
        yield f"priority=199,in_port={view.host},{protocol},tp_dst={GENEVE_PORT},actions=drop"


def _pipeline(view: View, patch: int) -> Iterator[str]:
    yield from _from_host(view)
    if view.own_mac is not None:
        yield from _dpu(view, view.own_mac)
    yield from _from_ovn(view, patch)
    yield from _to_all(view, patch)
    yield from _from_wire(view, patch)
    yield from _fragments(view, patch)


def _from_host(view: View) -> Iterator[str]:
    """Its own MAC and addresses, nobody else's."""
    own = f"in_port={view.host},dl_src={view.host_mac}"
    out = f"actions=output:{view.uplink}"
    for address in view.addresses:
        yield f"priority=90,{own},{_field(address, 'src')}={address.ip},{out}"
        if address.version == 4:  # noqa: PLR2004 (an IP version)
            yield f"priority=90,{own},arp,arp_spa={address.ip},{out}"
    yield f"priority=90,{own},arp,arp_spa=0.0.0.0,{out}"
    yield f"priority=90,{own},udp,nw_src=0.0.0.0,tp_src=68,{out}"
    yield f"priority=90,{own},ipv6,ipv6_src=fe80::/10,{out}"
    yield f"priority=90,{own},icmp6,ipv6_src=::,{out}"
    # In the network that it shares with pods it speaks for nobody else; what isn't IP, and other VLANs, are the site's.
    for kind in ("arp", "ip", "ipv6"):
        yield f"priority=85,{own},{_vlan(view)},{kind},actions=drop"
    yield f"priority=80,{own},{out}"


def _dpu(view: View, own_mac: net.Mac) -> Iterator[str]:
    """The DPU itself: to the wire freely; its host only answers it (an API server there), and opens nothing."""
    to_host, to_local = f"output:{view.host}", "actions=LOCAL"
    yield f"priority=90,in_port=LOCAL,actions=output:{view.uplink}"
    yield f"priority=92,in_port=LOCAL,dl_dst={view.host_mac},actions={to_host}"
    yield f"priority=92,in_port=LOCAL,{_FRAMES_TO_ALL},actions=output:{view.uplink},{to_host}"
    back = f"in_port={view.host},dl_src={view.host_mac},dl_dst={own_mac}"
    for address in view.addresses:
        tcp = "tcp" if address.version == 4 else "tcp6"  # noqa: PLR2004 (an IP version)
        source = f"{'nw' if tcp == 'tcp' else 'ipv6'}_src={address.ip}"
        yield f"priority=95,{back},{tcp},{source},tcp_flags=+ack,{to_local}"
        if address.version == 4:  # noqa: PLR2004 (an IP version)
            yield f"priority=95,{back},arp,arp_spa={address.ip},{to_local}"
    for kind in (135, 136):
        yield f"priority=95,{back},icmp6,icmp_type={kind},{to_local}"
    yield f"priority=94,in_port={view.host},dl_dst={own_mac},actions=drop"
    yield f"priority=90,in_port={view.uplink},dl_dst={own_mac},{to_local}"


def _from_ovn(view: View, patch: int) -> Iterator[str]:
    """To the wire in the host's name. The host alone answers for the address that both have."""
    port, out = f"in_port={patch}", f"output:{view.uplink}"
    host = {address.version: str(address.ip) for address in reversed(view.addresses)}
    # What OVN doesn't own comes back for the host.
    yield f"priority=97,{port},dl_dst={gateway.HOST_MAC},actions=set_field:{view.host_mac}->eth_dst,output:{view.host}"
    for network in view.tunnels:
        yield f"priority=98,{port},{_field(network, 'dst')}={network},actions=drop"
    yield f"priority=95,{port},arp,arp_op=2,actions=drop"
    yield f"priority=95,{port},icmp6,icmp_type=136,actions=drop"
    if 4 in host:  # noqa: PLR2004 (an IP version)
        own = gateway.router(4).ip
        yield f"priority=96,{port},arp,arp_op=1,arp_spa={own},actions=set_field:{host[4]}->arp_spa,{out}"
        yield f"priority=94,{port},ip,nw_src={own},actions=set_field:{host[4]}->ip_src,{out}"
    if 6 in host:  # noqa: PLR2004 (an IP version)
        own = gateway.router(6).ip
        yield f"priority=96,{port},icmp6,icmp_type=135,actions=set_field:{host[6]}->ipv6_src,{out}"
        yield f"priority=94,{port},ipv6,ipv6_src={own},actions=set_field:{host[6]}->ipv6_src,{out}"
    yield f"priority=90,{port},dl_src={view.host_mac},actions={out}"


def _to_all(view: View, patch: int) -> Iterator[str]:
    """Broadcast and multicast from the wire; OVN sees what it learns neighbours from, and answers none of it."""
    both = f"output:{view.host}" if view.own_mac is None else f"output:{view.host},LOCAL"
    port = f"in_port={view.uplink}"
    yield f"priority=80,{port},{_FRAMES_TO_ALL},actions={both}"
    yield f"priority=85,{port},arp,dl_dst=ff:ff:ff:ff:ff:ff,actions={both},output:{patch}"
    neighbours = "icmp6,icmp_type=136,dl_dst=33:33:00:00:00:00/ff:ff:00:00:00:00"
    yield f"priority=85,{port},{neighbours},actions={both},output:{patch}"


def _from_wire(view: View, patch: int) -> Iterator[str]:
    to_host, to_ovn = f"actions=output:{view.host}", f"actions=output:{patch}"
    to_both = f"{to_host},output:{patch}"
    wire = _wire(view)
    yield f"priority=80,in_port={view.uplink},dl_dst={view.host_mac},{to_host}"
    yield f"priority=95,{wire},arp,{to_both}"
    yield f"priority=95,{wire},icmp6,icmp_type=136,{to_both}"
    # Addresses that aren't the host's are services', or come back to the host from its gateway router.
    for kind in ("ip", "ipv6"):
        yield f"priority=91,{wire},{kind},{to_ovn}"
    for kind in ("ip,nw_dst=169.254.0.0/16", "ipv6,ipv6_dst=fe80::/10", "udp,tp_dst=68", "udp6,tp_dst=546"):
        yield f"priority=92,{wire},{kind},{to_host}"
    ranges = [mask for low, high in (view.snat_ports, view.node_ports) for mask in port_masks(low, high)]
    for address in view.addresses:
        suffix, destination = ("" if address.version == 4 else "6"), f"{_bare_field(address, 'dst')}={address.ip}"  # noqa: PLR2004 (an IP version)
        yield f"priority=92,{wire},{_field(address, 'dst')}={address.ip},{to_host}"
        # Errors and echo replies go to both: who has no state for them ignores them.
        icmp, kinds = ("icmp", (0, 3, 11, 12)) if not suffix else ("icmp6", (1, 2, 3, 4, 129))
        for number in kinds:
            yield f"priority=95,{wire},{icmp},{destination},icmp_type={number},{to_both}"
        for protocol in ("tcp", "udp", "sctp"):
            for value, mask in ranges:
                yield f"priority=100,{wire},{protocol}{suffix},{destination},tp_dst={value:#x}/{mask:#x},{to_ovn}"


def _fragments(view: View, patch: int) -> Iterator[str]:
    """Reassembled for the port, then as any packet."""
    to_host, to_ovn = f"actions=output:{view.host}", f"actions=output:{patch}"
    for address in view.addresses:
        fragment = f"{_field(address, 'dst')}={address.ip},nw_frag=yes"
        yield f"priority=110,{_wire(view)},{fragment},actions=ct(zone={FRAGMENT_ZONE},table=1)"
    yield f"table=1,priority=10,{to_host}"
    for version in sorted({address.version for address in view.addresses}):
        kind = "ip" if version == 4 else "ipv6"  # noqa: PLR2004 (an IP version)
        for number in _TRACKED_PROTOCOLS.values():
            for value, mask in _ranges(view):
                match = f"ct_state=+trk-inv,{kind},ct_nw_proto={number},ct_tp_dst={value:#x}/{mask:#x}"
                yield f"table=1,priority=100,{match},{to_ovn}"
        # Fragmented echo replies are invalid to an empty zone; a v6 packet's later fragments are of protocol 44.
        yield f"table=1,priority=90,ct_state=+trk+inv,{kind},{to_host},output:{patch}"


def _ranges(view: View) -> Iterable[tuple[int, int]]:
    return (*port_masks(*view.snat_ports), *port_masks(*view.node_ports))


def _wire(view: View) -> str:
    """Frames for the host and OVN, on the VLAN that they share."""
    return f"in_port={view.uplink},{_vlan(view)},dl_dst={view.host_mac}"


def _vlan(view: View) -> str:
    return f"dl_vlan={view.vlan}" if view.vlan else "vlan_tci=0x0000/0x1fff"


def _field(address: net.Interface | net.Network, side: str) -> str:
    return ("ip," if address.version == 4 else "ipv6,") + _bare_field(address, side)  # noqa: PLR2004 (an IP version)


def _bare_field(address: net.Interface | net.Network, side: str) -> str:
    return f"nw_{side}" if address.version == 4 else f"ipv6_{side}"  # noqa: PLR2004 (an IP version)
