# SPDX-License-Identifier: Apache-2.0
"""The lab's cables: which veth pairs there are, and making the missing ones."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ashore.lab import addresses, netspace, spec

BRIDGE = "br0"


class End(msgspec.Struct, frozen=True):
    """One end of a cable."""

    node: str
    name: str
    mac: str = ""
    alias: str = ""
    """The PCI slot: it stays with the netdev through renames and moves, so the NIC knows its own ends again."""
    is_bridged: bool = False


class Link(msgspec.Struct, frozen=True):
    """A veth pair; ``far`` is the switch's, DPU's or router's end."""

    near: End
    far: End


def plan(shape: spec.Shape) -> tuple[Link, ...]:
    """Every cable of a lab."""
    links = [
        _to_fabric(spec.ROUTER, addresses.ETHERNET, "ethernet", 1),
        Link(End("client", addresses.ETHERNET, addresses.mac("ethernet", 9)), End("router", "eth1")),
        _to_fabric(spec.CP, addresses.ETHERNET, "ethernet", 2),
        _to_oob(spec.NIC_CP, addresses.ETHERNET, 0),
    ]
    for node in spec.nodes(shape):
        if node.mode == "dpu":
            links += [_to_fabric(node, addresses.UPLINK, "uplink", node.index)]
            links += [_to_oob(node, addresses.OOB_PORT, node.index), pf_link(node.index)]
            links += [vf_link(node.index, vf) for vf in range(shape.vfs)]
        elif node.mode == "full":
            links.append(_to_fabric(node, addresses.UPLINK, "uplink", 0x100 + node.index))
            links += [own_vf_link(node.index, vf) for vf in range(shape.full_vfs)]
    return tuple(links)


def pf_link(pair: int) -> Link:
    """The PCI link as the host's PF and the DPU's representor of it."""
    near = End(f"host-{pair}", addresses.PF, addresses.mac("pf", pair), addresses.PF_SLOT)
    return Link(near, End(f"dpu-{pair}", addresses.PF_REPRESENTOR, alias="pf0"))


def vf_link(pair: int, vf: int) -> Link:
    """A VF and its representor."""
    near = End(f"host-{pair}", addresses.vf_name(vf), addresses.mac("vf", pair, vf), addresses.vf_slot(vf))
    return Link(near, End(f"dpu-{pair}", addresses.vf_representor(vf), alias=f"pf0vf{vf}"))


def own_vf_link(full: int, vf: int) -> Link:
    """A VF of a full node's own NIC and its representor: both on that node."""
    node = f"full-{full}"
    mac = addresses.mac("vf", 0x100 + full, vf)
    near = End(node, f"{addresses.UPLINK}v{vf}", mac, addresses.vf_slot(vf))
    return Link(near, End(node, addresses.vf_representor(vf), alias=f"pf0vf{vf}"))


def _to_fabric(node: spec.Node, name: str, kind: str, index: int) -> Link:
    end = End(node.name, name, addresses.mac(kind, index), alias="" if name == addresses.ETHERNET else name)
    return Link(end, End("fabric", f"to-{node.name}", is_bridged=True))


def _to_oob(node: spec.Node, name: str, index: int) -> Link:
    end = End(node.name, name, addresses.mac("oob", index), alias="" if name == addresses.ETHERNET else name)
    return Link(end, End("oob", f"to-{node.name}", is_bridged=True))


def find(shape: spec.Shape, node: str, name: str) -> Link | None:
    """The cable that a node calls by this netdev's name."""
    return next((link for link in plan(shape) if (link.near.node, link.near.name) == (node, name)), None) or next(
        (link for link in plan(shape) if (link.far.node, link.far.name) == (node, name)), None
    )


def other_end(link: Link, node: str) -> End:
    """The end that isn't the node's."""
    return link.far if link.near.node == node else link.near


def make(lab: str, wanted: Iterable[Link]) -> None:
    """Makes cables that don't exist; all in one call of ``ip`` for each namespace that has a near end."""
    batches: dict[str, list[str]] = {}
    made: list[End] = []
    for link in wanted:
        near, far = link.near, link.far
        mac = f" address {near.mac}" if near.mac else ""
        peer = f"peer name {far.name} mtu {addresses.MTU} netns {spec.netns(lab, far.node)}"
        add = f"link add {near.name} mtu {addresses.MTU}{mac} type veth {peer}"
        batches.setdefault(near.node, []).append(add)
        made += [near, far]
    for node, lines in batches.items():
        ip_batch(spec.netns(lab, node), lines)
    _finish(lab, made)


def _finish(lab: str, made: Sequence[End]) -> None:
    for node in dict.fromkeys(end.node for end in made):
        ends = [end for end in made if end.node == node]
        lines = [f"link set {end.name} alias {end.alias}" for end in ends if end.alias]
        lines += [f"link set {end.name} master {BRIDGE} up" for end in ends if end.is_bridged]
        space = spec.netns(lab, node)
        ip_batch(space, lines)
        netspace.quieten(space, [end.name for end in ends])


def make_switch(lab: str, node: str) -> None:
    """A learning bridge that lets everything through."""
    space = spec.netns(lab, node)
    if BRIDGE not in observe(space):
        ip_batch(space, [f"link add {BRIDGE} type bridge mcast_snooping 0", f"link set {BRIDGE} up"])


def observe(space: str) -> Mapping[str, str]:
    """Names and aliases of a namespace's netdevs; an empty name is the caller's own."""
    reply = subprocess.run(["ip", *_in(space), "-j", "link", "show"], capture_output=True, text=True, check=True)
    return {entry["ifname"]: entry.get("ifalias", "") for entry in json.loads(reply.stdout or "[]")}


def ip_batch(space: str, lines: Sequence[str]) -> None:
    """Runs a batch of ``ip`` commands in a namespace, all or an error.

    Raises:
        netspace.LinkError: what ``ip`` said.
    """
    if not lines:
        return
    command = ["ip", *_in(space), "-batch", "-"]
    reply = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, check=False)
    if reply.returncode:
        raise netspace.LinkError(f"namespace {space}: {reply.stderr.strip()}")


def _in(space: str) -> list[str]:
    return ["-n", space] if space else []
