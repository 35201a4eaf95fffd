# SPDX-License-Identifier: Apache-2.0
"""From Services and EndpointSlices to what the planners of load balancers read. Pure.

What can't be understood is left out and named; the rest of the object counts.
"""

import ipaddress
from collections.abc import Iterable, Mapping

from ashore.api import net
from ashore.kube import objects
from ashore.services import view
from ashore.topology.view import PodView

SERVICE_LABEL = "kubernetes.io/service-name"
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_PORTS = range(1, 65536)
_VERSION = {"IPv4": 4, "IPv6": 6}


def name_of(service: objects.Service) -> view.ServiceName:
    """The service's name."""
    return view.ServiceName(service.metadata.namespace, service.metadata.name)


def service_of(found: objects.EndpointSlice) -> view.ServiceName | None:
    """The service that the slice belongs to."""
    name = found.metadata.labels.get(SERVICE_LABEL)
    return view.ServiceName(found.metadata.namespace, name) if name else None


def service_view(
    service: objects.Service, slices: Iterable[objects.EndpointSlice]
) -> tuple[view.ServiceView | None, tuple[str, ...]]:
    """The service with its endpoints, and what is wrong with it; None where nothing is to be balanced.

    That is: headless services, and ExternalName.
    """
    spec = service.spec
    if spec.type == "ExternalName":
        return None, ()
    problems: list[str] = []
    texts = spec.cluster_ips or (spec.cluster_ip,)
    cluster_ips = _addresses("spec.clusterIPs", (each for each in texts if each not in ("", "None")), problems)
    if not cluster_ips:
        return None, tuple(problems)
    # With mode Proxy the address's owner sends on to node ports itself, and in-cluster clients have to go through it.
    ingress = (each.ip for each in service.status.load_balancer.ingress if each.ip and each.ip_mode != "Proxy")
    external = (
        *_addresses("spec.externalIPs", spec.external_ips, problems),
        *_addresses("status.loadBalancer.ingress", ingress, problems),
    )
    made = view.ServiceView(
        name=name_of(service),
        uid=service.metadata.uid,
        created=service.metadata.creation_timestamp or "",
        cluster_ips=cluster_ips,
        external_ips=tuple(dict.fromkeys(external)),
        ports=_ports(spec, tuple(slices), problems),
        is_sticky=spec.session_affinity == "ClientIP",
        is_external_local=spec.external_traffic_policy == "Local",
        is_internal_local=spec.internal_traffic_policy == "Local",
    )
    return made, tuple(problems)


def host_ports(found: objects.Pod, pod: PodView | None) -> view.HostPortsView | None:
    """The pod's host ports; one that can't be understood is left out. None for a pod without any, or no address."""
    if pod is None or pod.uid != found.metadata.uid or not (ports := _host_ports(found)):
        return None
    addresses = tuple(each.ip for each in pod.addresses)
    return view.HostPortsView(pod=pod.key, uid=pod.uid, node=pod.node, addresses=addresses, ports=ports)


def _host_ports(found: objects.Pod) -> tuple[view.HostPort, ...]:
    made = []
    for port in (each for container in found.spec.containers for each in container.ports):
        if port.host_port not in _PORTS or port.container_port not in _PORTS or port.protocol not in _PROTOCOLS:
            continue
        address = _address(port.host_ip) if port.host_ip else None
        if port.host_ip and address is None:
            continue
        if address is not None and address.is_unspecified:
            address = None
        made.append(
            view.HostPort(protocol=port.protocol, port=port.host_port, target=port.container_port, address=address)
        )
    return tuple(made)


def _ports(
    spec: objects.ServiceSpec, slices: tuple[objects.EndpointSlice, ...], problems: list[str]
) -> tuple[view.PortView, ...]:
    backends = _backends(slices, problems)
    found = []
    for port in spec.ports:
        where = f"spec.ports: {port.name or port.port}"
        if port.protocol not in _PROTOCOLS:
            problems.append(f"{where}: protocol {port.protocol} is none of {', '.join(_PROTOCOLS)}")
        elif port.port not in _PORTS:
            problems.append(f"{where}: {port.port} is no port number")
        else:
            if port.node_port and port.node_port not in _PORTS:
                problems.append(f"{where}: node port {port.node_port} is no port number")
            found.append(
                view.PortView(
                    protocol=port.protocol,
                    port=port.port,
                    node_port=port.node_port if port.node_port in _PORTS else 0,
                    backends=tuple(backends.get((port.name, port.protocol), ())),
                )
            )
    return tuple(found)


def _backends(
    slices: tuple[objects.EndpointSlice, ...], problems: list[str]
) -> Mapping[tuple[str, str], list[view.Backend]]:
    """By port name and protocol. A slice's port number counts: named target ports may differ from pod to pod."""
    found: dict[tuple[str, str], dict[tuple[net.Address, int], view.Backend]] = {}
    for each in slices:
        if each.address_type not in _VERSION:
            continue
        where = f"endpointslice {each.metadata.name}"
        endpoints = _endpoints(each, where, problems)
        for port in each.ports or ():
            if port.port is None or port.port not in _PORTS:
                problems.append(f"{where}: {port.port} is no port number")
                continue
            kept = found.setdefault((port.name or "", port.protocol or "TCP"), {})
            for address, endpoint in endpoints:
                # While an endpoint moves from slice to slice it may stand in two; a ready one counts.
                made = _backend(endpoint, address, port.port)
                known = kept.get((address, port.port))
                if known is None or (made.is_ready and not known.is_ready):
                    kept[address, port.port] = made
    return {port: [kept[at] for at in sorted(kept, key=_order)] for port, kept in found.items()}


def _order(at: tuple[net.Address, int]) -> tuple[int, bytes, int]:
    return at[0].version, at[0].packed, at[1]


def _endpoints(
    found: objects.EndpointSlice, where: str, problems: list[str]
) -> list[tuple[net.Address, objects.Endpoint]]:
    made = []
    for endpoint in found.endpoints or ():
        address = _address(endpoint.addresses[0]) if endpoint.addresses else None
        if address is None or address.version != _VERSION[found.address_type]:
            problems.append(f"{where}: {', '.join(endpoint.addresses) or 'nothing'} is no {found.address_type} address")
        else:
            made.append((address, endpoint))
    return made


def _backend(endpoint: objects.Endpoint, address: net.Address, port: int) -> view.Backend:
    conditions = endpoint.conditions
    is_ready = conditions.ready is not False
    serves = is_ready if conditions.serving is None else conditions.serving
    return view.Backend(
        address=address,
        port=port,
        node=net.NodeName(endpoint.node_name),
        is_ready=is_ready,
        is_draining=bool(conditions.terminating) and serves,
        zones=frozenset(zone.name for zone in endpoint.hints.for_zones) if endpoint.hints else frozenset(),
    )


def _addresses(field: str, texts: Iterable[str], problems: list[str]) -> tuple[net.Address, ...]:
    found = []
    for text in texts:
        if (address := _address(text)) is None:
            problems.append(f"{field}: {text!r} is no IP address")
        else:
            found.append(address)
    return tuple(found)


def _address(text: str) -> net.Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
