# SPDX-License-Identifier: Apache-2.0
"""``NetworkConfig``: the one source of a host cluster's network settings, and its validation."""

import ipaddress
from collections.abc import Collection
from itertools import combinations

import msgspec

from ashore.api import net


class ClusterNetwork(msgspec.Struct, frozen=True, rename="camel"):
    """A range that node subnets are cut from, each ``host_prefix`` long."""

    cidr: str
    host_prefix: int


class NetworkConfigSpec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Settings of one host cluster; defaults are ovn-kubernetes' where it has them."""

    cluster_networks: tuple[ClusterNetwork, ...]
    """Pod ranges, one of each family for dual stack."""
    service_cidrs: tuple[str, ...] = msgspec.field(name="serviceCIDRs")
    """What kube-apiserver's --service-cluster-ip-range says."""
    join_cidrs: tuple[str, ...] = msgspec.field(name="joinCIDRs", default=("100.64.0.0/16", "fd98::/64"))
    """Addresses between the cluster router and gateway routers; seen by nobody else."""
    tunnel_cidrs: tuple[str, ...] = msgspec.field(name="tunnelCIDRs", default=())
    """Where DPUs' tunnel addresses lie; pods may not reach them. Empty: not checked."""
    mtu: int = 0
    """Pods' MTU in bytes; 0: the uplink's less 100."""
    encap_family: str = "IPv4"
    """Family of the tunnels' outer header: IPv4 or IPv6."""
    node_port_range: str = "30000-32767"
    snat_port_range: str = "16384-28671"
    """Source ports that OVN may use for pods' traffic to the outside; keep it off the hosts' ephemeral range."""
    offload: str = "auto"
    """on, off, or auto: on where the uplink has a phys_switch_id."""


class Network(msgspec.Struct, frozen=True):
    """A validated cluster network."""

    cidr: net.Network
    host_prefix: int


class Settings(msgspec.Struct, frozen=True):
    """A validated NetworkConfigSpec, parsed once."""

    cluster_networks: tuple[Network, ...]
    service_cidrs: tuple[net.Network, ...]
    join_cidrs: tuple[net.Network, ...]
    tunnel_cidrs: tuple[net.Network, ...]
    mtu: int
    encap_family: int
    node_port_range: tuple[int, int]
    snat_port_range: tuple[int, int]
    offload: str

    @property
    def families(self) -> tuple[int, ...]:
        """IP versions in use, in the order of the cluster networks."""
        return tuple(dict.fromkeys(network.cidr.version for network in self.cluster_networks))


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with which field."""

    field: str
    what: str


class Invalid(ValueError):  # noqa: N818 (a finding about data)
    """The configuration can't be used; ``problems`` names each field."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(f"spec.{p.field}: {p.what}" for p in problems))
        self.problems = problems


MIN_MTU = 1280
MAX_MTU = 65535
MOST_NODE_BITS = 20
"""More than 2**20 nodes is a mistake in a prefix length."""
FEWEST_HOST_BITS = 3
"""A node needs its gateway, its management port and one pod."""


def parse(spec: NetworkConfigSpec) -> Settings:
    """The usable form of a spec.

    Raises:
        Invalid: with one problem for each wrong field.
    """
    problems: list[Problem] = []
    cluster = _cluster_networks(spec, problems)
    service = _networks("serviceCIDRs", spec.service_cidrs, problems)
    tunnel = _networks("tunnelCIDRs", spec.tunnel_cidrs, problems)
    families = {network.cidr.version for network in cluster}
    join = tuple(n for n in _networks("joinCIDRs", spec.join_cidrs, problems) if n.version in families or not families)
    _overlaps(cluster, service, join, problems)
    _missing_families("serviceCIDRs", families, service, problems)
    _missing_families("joinCIDRs", families, join, problems)
    _scalars(spec, problems)
    node_ports = _port_range("nodePortRange", spec.node_port_range, problems)
    snat_ports = _port_range("snatPortRange", spec.snat_port_range, problems)
    if node_ports[0] <= snat_ports[1] and snat_ports[0] <= node_ports[1] and not problems:
        problems.append(
            Problem("snatPortRange", f"{spec.snat_port_range} overlaps nodePortRange {spec.node_port_range}")
        )
    if problems:
        raise Invalid(tuple(problems))
    return Settings(
        cluster_networks=cluster,
        service_cidrs=service,
        join_cidrs=join,
        tunnel_cidrs=tunnel,
        mtu=spec.mtu,
        encap_family=4 if spec.encap_family == "IPv4" else 6,
        node_port_range=node_ports,
        snat_port_range=snat_ports,
        offload=spec.offload,
    )


def _cluster_networks(spec: NetworkConfigSpec, problems: list[Problem]) -> tuple[Network, ...]:
    found = []
    for index, entry in enumerate(spec.cluster_networks):
        where = f"clusterNetworks[{index}]"
        for cidr in _networks(where + ".cidr", (entry.cidr,), problems):
            fits = cidr.prefixlen <= entry.host_prefix <= cidr.max_prefixlen - FEWEST_HOST_BITS
            if not fits or entry.host_prefix - cidr.prefixlen > MOST_NODE_BITS:
                problems.append(
                    Problem(where + ".hostPrefix", f"{entry.host_prefix} doesn't cut {cidr} into node subnets")
                )
            else:
                found.append(Network(cidr, entry.host_prefix))
    if not spec.cluster_networks:
        problems.append(Problem("clusterNetworks", "is empty; give at least one range"))
    return tuple(found)


def _networks(field: str, cidrs: tuple[str, ...], problems: list[Problem]) -> tuple[net.Network, ...]:
    found = []
    for cidr in cidrs:
        try:
            found.append(ipaddress.ip_network(cidr))
        except ValueError as error:
            problems.append(Problem(field, str(error)))
    return tuple(found)


def _missing_families(
    field: str, families: Collection[int], ranges: tuple[net.Network, ...], problems: list[Problem]
) -> None:
    missing = sorted(set(families) - {cidr.version for cidr in ranges})
    problems += [Problem(field, f"no IPv{family} range, but clusterNetworks has one; add it") for family in missing]


def _scalars(spec: NetworkConfigSpec, problems: list[Problem]) -> None:
    if spec.mtu and not MIN_MTU <= spec.mtu <= MAX_MTU:
        problems.append(Problem("mtu", f"{spec.mtu} is outside {MIN_MTU}..{MAX_MTU} (0: the uplink's less 100)"))
    if spec.encap_family not in ("IPv4", "IPv6"):
        problems.append(Problem("encapFamily", f"{spec.encap_family!r} is neither IPv4 nor IPv6"))
    if spec.offload not in ("on", "off", "auto"):
        problems.append(Problem("offload", f"{spec.offload!r} is none of on, off, auto"))


def _overlaps(
    cluster: tuple[Network, ...],
    service: tuple[net.Network, ...],
    join: tuple[net.Network, ...],
    problems: list[Problem],
) -> None:
    named = [(f"clusterNetworks {n.cidr}", n.cidr) for n in cluster]
    named += [(f"serviceCIDRs {n}", n) for n in service] + [(f"joinCIDRs {n}", n) for n in join]
    for (name, one), (other_name, other) in combinations(named, 2):
        if one.overlaps(other):
            problems.append(Problem(other_name.split()[0], f"{other} overlaps {name}"))


def _port_range(field: str, text: str, problems: list[Problem]) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if low.isdigit() and high.isdigit() and 0 < int(low) <= int(high) < 65536:  # noqa: PLR2004 (ports are 16 bits)
        return int(low), int(high)
    problems.append(Problem(field, f"{text!r} isn't LOW-HIGH within 1..65535"))
    return 0, 0
