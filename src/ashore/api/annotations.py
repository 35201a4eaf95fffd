# SPDX-License-Identifier: Apache-2.0
"""Annotations that controller, host agents and DPU agents exchange; keys and JSON as ovn-kubernetes has them.

Readers accept legacy forms and unknown fields. Writers give the canonical form, so that equal content is an equal
string. Source: ovn-kubernetes ``go-controller/pkg/util/{dpu_annotations,node_annotations,pod_annotation}.go``.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from ashore.api import names, net

PREFIX = "k8s.ovn.org/"
NODE_ID = PREFIX + "node-id"
NODE_SUBNETS = PREFIX + "node-subnets"
POD_NETWORKS = PREFIX + "pod-networks"
NODE_MGMT_PORT = PREFIX + "node-mgmt-port"
PRIMARY_DPU_HOST_ADDR = PREFIX + "primary-dpu-host-addr"
HOST_CIDRS = PREFIX + "host-cidrs"
NODE_CHASSIS_ID = PREFIX + "node-chassis-id"
NODE_ENCAP_IPS = PREFIX + "node-encap-ips"
L3_GATEWAY_CONFIG = PREFIX + "l3-gateway-config"
NODE_PRIMARY_IFADDR = PREFIX + "node-primary-ifaddr"
CONNECTION_DETAILS = PREFIX + "dpu.connection-details"
CONNECTION_STATUS = PREFIX + "dpu.connection-status"
ZONE_NAME = PREFIX + "zone-name"
FREE_VFS = "dpu.ashore.dev/free-vfs"
"""Decimal count of VFs that pods may still take; written by the dpu-host agent."""
MTU_PROBLEM = "dpu.ashore.dev/mtu-problem"
OFFLOAD_PROBLEM = "dpu.ashore.dev/offload-problem"
"""Why the agent with OVS refuses to serve (an uplink whose MTU is too small); absent when all is well."""

T = TypeVar("T")


class Malformed(ValueError):  # noqa: N818 (a finding about data, named as such)
    """An annotation's value isn't what its key promises; the text says which key and why."""


class ConnectionDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which VF a pod's interface uses, told by the host to its DPU. All values are strings, also the numbers."""

    pf_id: str = msgspec.field(name="pfId")
    vf_id: str = msgspec.field(name="vfId")
    sandbox_id: str = msgspec.field(name="sandboxId")
    vf_netdev_name: str = msgspec.field(name="vfNetdevName", default="")


class ConnectionStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of it, told by the DPU. ``status`` is ``Ready`` or ``Error``; ``reason`` is for people.

    ``sandbox_id`` (ours; the anchor ignores it) names the sandbox that the status is about, so that an answer to an
    earlier sandbox is never taken for the current one.
    """

    status: str = msgspec.field(name="Status")
    reason: str = msgspec.field(name="Reason", default="")
    sandbox_id: str = msgspec.field(name="sandboxId", default="")


READY = "Ready"
ERROR = "Error"


class PodRoute(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route inside the pod."""

    dest: str
    next_hop: str = msgspec.field(name="nextHop", default="")


class PodNetwork(msgspec.Struct, frozen=True, omit_defaults=True):
    """A pod's addresses on one network. ``ip_addresses`` are ``a.b.c.d/len``; MAC in lower case.

    Readers get the lists filled from ``ip_address`` and ``gateway_ip`` where only these are there (the legacy form).
    """

    ip_addresses: tuple[str, ...]
    mac_address: str
    gateway_ips: tuple[str, ...] = ()
    routes: tuple[PodRoute, ...] = ()
    ip_address: str = ""
    gateway_ip: str = ""
    role: str = ""


class _ReadPodNetwork(msgspec.Struct, frozen=True):
    """A PodNetwork as others write it: Go writes ``null`` for an empty list, older ones write no lists."""

    mac_address: str
    ip_addresses: tuple[str, ...] | None = None
    gateway_ips: tuple[str, ...] | None = None
    routes: tuple[PodRoute, ...] | None = None
    ip_address: str = ""
    gateway_ip: str = ""
    role: str = ""

    def with_lists(self) -> PodNetwork:
        """The same, in the form of today."""
        return PodNetwork(
            ip_addresses=self.ip_addresses or ((self.ip_address,) if self.ip_address else ()),
            mac_address=self.mac_address,
            gateway_ips=self.gateway_ips or ((self.gateway_ip,) if self.gateway_ip else ()),
            routes=self.routes or (), ip_address=self.ip_address, gateway_ip=self.gateway_ip, role=self.role,
        )  # fmt: skip


class ManagementPort(msgspec.Struct, frozen=True):
    """Which VF is the host's management port."""

    device_id: str = msgspec.field(name="DeviceId", default="")
    pf_id: int = msgspec.field(name="PfId", default=0)
    func_id: int = msgspec.field(name="FuncId", default=0)


class GatewayConfig(msgspec.Struct, frozen=True):
    """A node's leg to the outside, as ``l3-gateway-config`` carries it for one network. Go readers want every field."""

    mode: str = "shared"
    bridge_id: str = msgspec.field(name="bridge-id", default="")
    interface_id: str = msgspec.field(name="interface-id", default="")
    mac_address: str = msgspec.field(name="mac-address", default="")
    ip_addresses: tuple[str, ...] = msgspec.field(name="ip-addresses", default=())
    next_hops: tuple[str, ...] = msgspec.field(name="next-hops", default=())
    node_port_enable: str = msgspec.field(name="node-port-enable", default="true")
    vlan_id: str = msgspec.field(name="vlan-id", default="0")
    mtu: int = 0
    """Ours: the most bytes that a pod's packet may have here; 0: not told."""


class HostAddress(msgspec.Struct, frozen=True, omit_defaults=True):
    """The host's own addresses as ``a.b.c.d/len``; empty where the family is absent."""

    ipv4: str = ""
    ipv6: str = ""


def _decode(key: str, text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise Malformed(f"annotation {key}: {error}; value is {text[:120]!r}") from error


def _encode(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _decode_map(key: str, text: str, kind: type[T], legacy_field: str) -> dict[str, T]:
    """A map keyed by network; the legacy form without the map is the default network's."""
    raw = _decode(key, text, dict[str, msgspec.Raw])
    if legacy_field in raw:
        return {names.DEFAULT_NETWORK: _decode(key, text, kind)}
    return {network: _decode(key, bytes(value).decode(), kind) for network, value in raw.items()}


def decode_details(text: str) -> dict[str, ConnectionDetails]:
    """``connection-details`` by network. Raises Malformed."""
    return _decode_map(CONNECTION_DETAILS, text, ConnectionDetails, "pfId")


def encode_details(details: Mapping[str, ConnectionDetails]) -> str:
    """The canonical text of ``connection-details``."""
    return _encode(dict(details))


def decode_status(text: str) -> dict[str, ConnectionStatus]:
    """``connection-status`` by network. Raises Malformed."""
    return _decode_map(CONNECTION_STATUS, text, ConnectionStatus, "Status")


def encode_status(status: Mapping[str, ConnectionStatus]) -> str:
    """The canonical text of ``connection-status``."""
    return _encode(dict(status))


def decode_pod_networks(text: str) -> dict[str, PodNetwork]:
    """``pod-networks`` by network. Raises Malformed, also for an address that isn't one."""
    raw = _decode_map(POD_NETWORKS, text, _ReadPodNetwork, "mac_address")
    found = {network: entry.with_lists() for network, entry in raw.items()}
    for entry in found.values():
        read_interfaces(POD_NETWORKS, entry.ip_addresses)
    if names.DEFAULT_NETWORK in found and not found[names.DEFAULT_NETWORK].ip_addresses:
        raise Malformed(f"annotation {POD_NETWORKS}: the default network has no address; value is {text[:120]!r}")
    return found


def encode_pod_networks(networks: Mapping[str, PodNetwork]) -> str:
    """The canonical text of ``pod-networks``."""
    return _encode(dict(networks))


def decode_management_port(text: str) -> dict[str, ManagementPort]:
    """``node-mgmt-port`` by network. Raises Malformed."""
    return _decode_map(NODE_MGMT_PORT, text, ManagementPort, "PfId")


def encode_management_port(ports: Mapping[str, ManagementPort]) -> str:
    """The canonical text of ``node-mgmt-port``."""
    return _encode(dict(ports))


def decode_node_subnets(text: str) -> dict[str, tuple[net.Network, ...]]:
    """``node-subnets`` by network; a bare string stands for a list of one. Raises Malformed."""
    raw = _decode(NODE_SUBNETS, text, dict[str, str | tuple[str, ...]])
    try:
        return {
            network: tuple(ipaddress.ip_network(c) for c in ((cidrs,) if isinstance(cidrs, str) else cidrs))
            for network, cidrs in raw.items()
        }
    except ValueError as error:
        raise Malformed(f"annotation {NODE_SUBNETS}: {error}") from error


def encode_node_subnets(subnets: Mapping[str, Iterable[net.Network]]) -> str:
    """The canonical text of ``node-subnets``."""
    return _encode({network: [str(cidr) for cidr in cidrs] for network, cidrs in subnets.items()})


def decode_host_address(text: str, key: str = PRIMARY_DPU_HOST_ADDR) -> HostAddress:
    """``primary-dpu-host-addr`` or ``node-primary-ifaddr``. Raises Malformed."""
    address = _decode(key, text, HostAddress)
    read_interfaces(key, [cidr for cidr in (address.ipv4, address.ipv6) if cidr])
    return address


def encode_host_address(address: HostAddress) -> str:
    """The canonical text of ``primary-dpu-host-addr``."""
    return _encode(address)


def decode_string_list(key: str, text: str) -> tuple[str, ...]:
    """``host-cidrs`` or ``node-encap-ips``. Raises Malformed."""
    return _decode(key, text, tuple[str, ...])


def encode_string_list(values: Iterable[str]) -> str:
    """The canonical text of a list of strings: sorted, without doubles."""
    return _encode(sorted(set(values)))


def decode_gateway_config(text: str) -> dict[str, GatewayConfig]:
    """``l3-gateway-config`` by network. Raises Malformed."""
    return _decode_map(L3_GATEWAY_CONFIG, text, GatewayConfig, "mode")


def encode_gateway_config(configs: Mapping[str, GatewayConfig]) -> str:
    """The canonical text of ``l3-gateway-config``."""
    return _encode(dict(configs))


def decode_node_id(text: str) -> int:
    """``node-id``: a positive decimal number. Raises Malformed."""
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0 and len(text) <= 9):  # noqa: PLR2004 (nine digits fit an int32)
        raise Malformed(f"annotation {NODE_ID}: not a positive number: {text[:40]!r}")
    return int(text)


def read_interfaces(key: str, cidrs: Iterable[str]) -> tuple[net.Interface, ...]:
    """Addresses with their length, as an annotation of this key has them. Raises Malformed."""
    try:
        found = tuple(ipaddress.ip_interface(cidr) for cidr in cidrs)
    except ValueError as error:
        raise Malformed(f"annotation {key}: {error}") from error
    for interface in found:
        # A scope is free text, and means nothing on another machine.
        if getattr(interface, "scope_id", None) is not None:
            raise Malformed(f"annotation {key}: {str(interface)[:80]!r} has a scope; want an address and its length")
    return found
