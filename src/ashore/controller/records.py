# SPDX-License-Identifier: Apache-2.0
"""From the API's objects to the ledger's records and back to annotations. Pure.

What an annotation says is taken only as far as it can be understood: the rest is as if it weren't there, and what the
controller owns is then written anew.
"""

import functools
import ipaddress
from collections.abc import Callable, Mapping
from typing import TypeVar

from ashore.api import annotations, names, net
from ashore.controller.ledger import NodeRecord, PodRecord
from ashore.ipam import addresses
from ashore.ipam.nodes import NodeShare
from ashore.kube import objects
from ashore.topology.view import GatewayView, PodView

T = TypeVar("T")
FINISHED = ("Succeeded", "Failed")


def node_record(found: objects.Node, zone: str) -> NodeRecord | None:
    """The node's record; None for a node of another zone, which is left alone."""
    notes = found.metadata.annotations
    if notes.get(annotations.ZONE_NAME, zone) != zone:
        return None
    subnets = read(annotations.decode_node_subnets, notes.get(annotations.NODE_SUBNETS)) or {}
    return NodeRecord(
        name=net.NodeName(found.metadata.name),
        uid=found.metadata.uid,
        created=found.metadata.creation_timestamp or "",
        recorded=NodeShare(
            read(annotations.decode_node_id, notes.get(annotations.NODE_ID)) or 0,
            subnets.get(names.DEFAULT_NETWORK, ()),
        ),
        chassis=notes.get(annotations.NODE_CHASSIS_ID, ""),
        has_management_port=annotations.NODE_MGMT_PORT in notes,
        host_addresses=_host_addresses(notes),
        gateway=_gateway(notes, net.NodeName(found.metadata.name)),
        topology_zone=found.metadata.labels.get("topology.kubernetes.io/zone", ""),
    )


def _host_addresses(notes: Mapping[str, str]) -> tuple[net.Interface, ...]:
    decode = functools.partial(annotations.decode_string_list, annotations.HOST_CIDRS)
    cidrs = read(decode, notes.get(annotations.HOST_CIDRS)) or ()
    return tuple(each for each in map(_interface, cidrs) if each and not each.ip.is_link_local)


def _gateway(notes: Mapping[str, str], node: net.NodeName) -> GatewayView | None:
    """The node's leg to the outside; None where it tells of none, or of one of a kind that we don't make."""
    configs = read(annotations.decode_gateway_config, notes.get(annotations.L3_GATEWAY_CONFIG)) or {}
    told = configs.get(names.DEFAULT_NETWORK)
    if told is None or told.mode != "shared" or not net.is_unicast_mac(told.mac_address):
        return None
    first: dict[int, net.Interface] = {}
    for each in (found for found in map(_interface, told.ip_addresses) if found):
        first.setdefault(each.version, each)
    hops = (_interface(hop) for hop in told.next_hops)
    return GatewayView(
        # What the port is called in OVN and OVS follows from the node, whatever a node would like it to be.
        port=names.localnet_port(node),
        mac=net.Mac(told.mac_address.lower()),
        addresses=tuple(first.values()),
        next_hops=tuple(hop.ip for hop in hops if hop),
        vlan=int(told.vlan_id) if told.vlan_id.isascii() and told.vlan_id.isdigit() and len(told.vlan_id) <= 4 else 0,  # noqa: PLR2004 (a VLAN is at most 4095)
        mtu=max(told.mtu, 0),
    )


def _interface(text: str) -> net.Interface | None:
    try:
        (found,) = annotations.read_interfaces("", [text])
    except annotations.Malformed:
        return None
    return found


def pod_record(found: objects.Pod) -> PodRecord | None:
    """The pod's record; None for one that needs no address (any more).

    A finished pod needs its address until its connection-status entry is gone, which says that its port is unplugged.
    """
    if found.spec.host_network or not found.spec.node_name:
        return None
    is_finished = found.status.phase in FINISHED
    if is_finished and names.DEFAULT_NETWORK not in connection_status(found):
        return None
    network = pod_networks(found).get(names.DEFAULT_NETWORK)
    return PodRecord(
        key=key_of(found),
        uid=found.metadata.uid,
        created=found.metadata.creation_timestamp or "",
        node=net.NodeName(found.spec.node_name),
        recorded=tuple(ipaddress.ip_interface(a) for a in network.ip_addresses) if network else (),
        is_finished=is_finished,
    )


def key_of(found: objects.Pod) -> net.PodKey:
    """The pod's key."""
    return net.PodKey(found.metadata.namespace, found.metadata.name)


def connection_status(found: objects.Pod) -> Mapping[str, annotations.ConnectionStatus]:
    """What the pod's DPU says, by network; nothing when it can't be understood."""
    text = found.metadata.annotations.get(annotations.CONNECTION_STATUS)
    return read(annotations.decode_status, text) or {}


def faults(found: objects.Pod) -> tuple[str, ...]:
    """Why the pod's DPU couldn't connect it; empty when it says nothing of the kind."""
    if annotations.CONNECTION_STATUS not in found.metadata.annotations:
        return ()
    return tuple(
        status.reason or "no reason given"
        for _, status in sorted(connection_status(found).items())
        if status.status == annotations.ERROR
    )


def pod_networks(found: objects.Pod) -> Mapping[str, annotations.PodNetwork]:
    """The pod's recorded addresses, by network; nothing when they can't be understood."""
    return read(annotations.decode_pod_networks, found.metadata.annotations.get(annotations.POD_NETWORKS)) or {}


def node_notes(found: objects.Node, share: NodeShare) -> dict[str, str]:
    """The node's annotations that have to be written to record its share; empty when they say so already."""
    notes = found.metadata.annotations
    changed = {}
    if share.node_id and notes.get(annotations.NODE_ID) != str(share.node_id):
        changed[annotations.NODE_ID] = str(share.node_id)
    subnets = read(annotations.decode_node_subnets, notes.get(annotations.NODE_SUBNETS)) or {}
    if share.subnets and subnets.get(names.DEFAULT_NETWORK) != share.subnets:
        wanted = {**subnets, names.DEFAULT_NETWORK: share.subnets}
        changed[annotations.NODE_SUBNETS] = annotations.encode_node_subnets(wanted)
    return changed


def pod_notes(found: objects.Pod, view: PodView) -> dict[str, str]:
    """The pod's annotations that have to be written to record its addresses; empty when they say so already."""
    wanted = pod_network(view)
    recorded = pod_networks(found)
    have = recorded.get(names.DEFAULT_NETWORK)
    # Compared by what matters, so that a record written by another implementation with more in it stays.
    if have is not None and _essence(have) == _essence(wanted):
        return {}
    return {annotations.POD_NETWORKS: annotations.encode_pod_networks({**recorded, names.DEFAULT_NETWORK: wanted})}


def pod_network(view: PodView) -> annotations.PodNetwork:
    """A pod's addresses as the annotation has them; single-stack pods also in the old singular fields."""
    ips = tuple(str(address) for address in view.addresses)
    gateways = tuple(str(addresses.gateway_of(address.network).ip) for address in view.addresses)
    return annotations.PodNetwork(
        ip_addresses=ips,
        mac_address=view.mac,
        gateway_ips=gateways,
        ip_address=ips[0] if len(ips) == 1 else "",
        gateway_ip=gateways[0] if len(gateways) == 1 else "",
        role="primary",
    )


def taints(found: objects.Node) -> tuple[objects.Taint, ...]:
    """The taints that the node should have, by the VF count that its agent tells; as they are where it tells none."""
    text = found.metadata.annotations.get(annotations.FREE_VFS, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 9):  # noqa: PLR2004 (more than any node has)
        return found.spec.taints
    others = tuple(t for t in found.spec.taints if t.key != names.VFS_EXHAUSTED_TAINT)
    if int(text) > 0:
        return others if len(others) < len(found.spec.taints) else found.spec.taints
    if len(others) < len(found.spec.taints):
        return found.spec.taints
    return (*others, objects.Taint(names.VFS_EXHAUSTED_TAINT, "NoSchedule"))


def read(decode: Callable[[str], T], text: str | None) -> T | None:
    """The decoded annotation; None when it is absent or can't be understood."""
    if text is None:
        return None
    try:
        return decode(text)
    except annotations.Malformed:
        return None


def _essence(network: annotations.PodNetwork) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    return network.ip_addresses, network.mac_address.lower(), network.gateway_ips
