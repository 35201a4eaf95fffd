# SPDX-License-Identifier: Apache-2.0
"""The lab's numbering: addresses, MACs and PCI slots follow from a node's mode and index."""

import ipaddress
from collections.abc import Sequence

import msgspec

from ashore.lab import spec

PF = "ens1f0"
UPLINK = "p0"
PF_REPRESENTOR = "pf0hpf"
OOB_PORT = "oob0"
ETHERNET = "eth0"
EXTERNAL_BRIDGE = "br-ex"
PF_SLOT = "0000:03:00.0"
MTU = 1500

API_PORT = 6443
POD_CIDRS = {4: "10.244.0.0/16", 6: "fd00:10:244::/48"}
HOST_PREFIXES = {4: 24, 6: 64}
SERVICE_CIDRS = {4: "10.96.0.0/16", 6: "fd00:10:96::/112"}
GATEWAYS = ("172.30.0.1", "fd00:30::1")
CLIENT_GATEWAYS = ("203.0.113.1", "2001:db8:3::1")

_THIRD_BYTE = {"dpu-host": 1, "dpu": 2, "full": 3}
_LINK_BYTE = {"pf": 1, "vf": 2, "uplink": 3, "oob": 4, "ethernet": 5, "bridge": 6}


class Interface(msgspec.Struct, frozen=True):
    """A netdev that a node's init addresses."""

    name: str
    addresses: tuple[str, ...]
    """With prefix length."""
    gateways: tuple[str, ...] = ()


def fabric(node: spec.Node) -> tuple[str, ...]:
    """A node's fabric addresses with prefix length, IPv4 first; none for nodes without a leg there."""
    if node == spec.CP:
        return "172.30.0.2/16", "fd00:30::2/64"
    third = _THIRD_BYTE.get(node.mode)
    if third is None:
        return ()
    return f"172.30.{third}.{node.index}/16", f"fd00:30::{third}:{node.index:x}/64"


def node_ips(node: spec.Node, families: Sequence[int]) -> tuple[str, ...]:
    """What kubelet reports as the node's addresses, the primary family first."""
    plain = [ipaddress.ip_interface(address).ip for address in fabric(node)]
    return tuple(str(ip) for family in families for ip in plain if ip.version == family)


def out_of_band(node: spec.Node) -> tuple[str, ...]:
    """A node's addresses on the NIC cluster's network; hosts have none."""
    if node == spec.NIC_CP:
        return "172.31.0.2/16", "fd00:31::2/64"
    if node.mode == "dpu":
        return f"172.31.2.{node.index}/16", f"fd00:31::2:{node.index:x}/64"
    return ()


def interfaces(node: spec.Node) -> tuple[Interface, ...]:
    """What a node's init sets up at boot. A DPU's fabric address is on ``br-ex``, which doesn't exist that early."""
    by_place = {
        spec.ROUTER: (
            Interface(ETHERNET, ("172.30.0.1/16", "fd00:30::1/64")),
            Interface("eth1", ("203.0.113.1/24", "2001:db8:3::1/64")),
        ),
        spec.CLIENT: (Interface(ETHERNET, ("203.0.113.9/24", "2001:db8:3::9/64"), CLIENT_GATEWAYS),),
        spec.CP: (Interface(ETHERNET, fabric(node), GATEWAYS),),
        spec.NIC_CP: (Interface(ETHERNET, out_of_band(node)),),
    }
    by_mode = {
        "dpu-host": (Interface(PF, fabric(node), GATEWAYS),),
        "dpu": (Interface(OOB_PORT, out_of_band(node)), Interface(UPLINK, ()), Interface(PF_REPRESENTOR, ())),
        "full": (Interface(UPLINK, ()),),
    }
    return by_place.get(node) or by_mode.get(node.mode, ())


def api_server(cluster: str) -> str:
    """Where a cluster's nodes reach its API server."""
    return f"https://{api_ips(cluster)[0]}:{API_PORT}"


def api_ips(cluster: str) -> tuple[str, ...]:
    """Both addresses of a cluster's control plane."""
    node, of = (spec.CP, fabric) if cluster == "host" else (spec.NIC_CP, out_of_band)
    return tuple(str(ipaddress.ip_interface(address).ip) for address in of(node))


def service_ips() -> tuple[str, ...]:
    """The ``kubernetes`` service's addresses: the first of each service range."""
    return tuple(str(ipaddress.ip_network(cidr)[1]) for cidr in SERVICE_CIDRS.values())


def mac(kind: str, index: int, sub: int = 0) -> str:
    """A locally administered MAC, the same in every lab: labs share no segment."""
    return f"02:a5:{_LINK_BYTE[kind]:02x}:{sub:02x}:{index >> 8:02x}:{index & 255:02x}"


def vf_slot(vf: int) -> str:
    """A VF's PCI address: functions follow the PF's and roll over into further devices."""
    place = vf + 2
    return f"0000:03:{place // 8:02x}.{place % 8}"


def vf_name(vf: int) -> str:
    """What the host's kernel calls a VF."""
    return f"{PF}v{vf}"


def vf_representor(vf: int) -> str:
    """What the DPU's kernel calls a VF's other end."""
    return f"pf0vf{vf}"
