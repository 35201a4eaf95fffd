# SPDX-License-Identifier: Apache-2.0
"""Who takes part in a check: clients and servers, and the services before the servers. Data and manifests only."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

PORT = 17000
"""What servers listen on; host-network ones too, so nothing of a host's own."""
PODS, HOSTS, EXTERNAL = "pod", "host", "external"
"""Kinds of participants: a pod, a host-network pod (which is the host as far as the network knows), the outside."""
NODES_OF_A_MODE = 2
_LABEL = "ashore-check"


class Node(msgspec.Struct, frozen=True, order=True):
    """A node that takes part. ``mode`` is what it looks like from the API: with a DPU or without."""

    name: str
    mode: str
    ips: tuple[str, ...]


class Actor(msgspec.Struct, frozen=True, order=True):
    """A client, and but for the external one a server as well."""

    kind: str
    node: str = ""
    mode: str = ""
    ips: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its pod's name."""
        return f"{self.kind}-{self.node}" if self.node else self.kind

    @property
    def title(self) -> str:
        """For people."""
        if not self.node:
            return self.kind
        return f"{'host-network pod' if self.kind == HOSTS else self.kind} on {self.node}"


class Service(msgspec.Struct, frozen=True):
    """A service in front of one actor, as the API made it. ``vips`` are its addresses by how they are reached."""

    actor: str
    vips: Mapping[str, tuple[str, ...]]
    node_ports: Mapping[str, int]
    """By protocol."""


def choose(nodes: Iterable[Node]) -> tuple[Node, ...]:
    """The nodes to use: two of each mode, so that same node, other node and other mode are among the pairs."""
    chosen: list[Node] = []
    for node in sorted(nodes):
        if sum(each.mode == node.mode for each in chosen) < NODES_OF_A_MODE:
            chosen.append(node)
    return tuple(chosen)


def nodes(listing: Mapping[str, Any], leases: Mapping[str, Any]) -> tuple[Node, ...]:
    """The nodes that can run pods now. One that a DPU renews a lease for has a DPU."""
    served = {item["metadata"]["name"] for item in leases["items"]}
    found = []
    for item in listing["items"]:
        name, status, spec = item["metadata"]["name"], item["status"], item.get("spec", {})
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
        is_shut = spec.get("unschedulable") or any(
            taint["effect"] in ("NoSchedule", "NoExecute") for taint in spec.get("taints", ())
        )
        if is_ready and not is_shut:
            ips = tuple(each["address"] for each in status["addresses"] if each["type"] == "InternalIP")
            found.append(Node(name, "dpu" if f"ovn-dpu-{name}" in served else "full", ips))
    return tuple(found)


def actors(places: Sequence[Node]) -> tuple[Actor, ...]:
    """A pod and a host-network pod on every node."""
    return tuple(Actor(kind, node.name, node.mode) for node in places for kind in (PODS, HOSTS))


class Made(msgspec.Struct, frozen=True):
    """What every pod of a check has."""

    namespace: str
    image: str


def pod(actor: Actor, made: Made) -> dict[str, Any]:
    """An actor's pod: server and client in one."""
    labels = {_LABEL: actor.name}
    return server(actor.name, made, node=actor.node, labels=labels, host_network=actor.kind == HOSTS)


def server(
    name: str, made: Made, *, node: str, labels: Mapping[str, str], host_network: bool = False
) -> dict[str, Any]:
    """A pod that tells its name and whom it sees asking, on TCP and UDP."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": made.namespace, "labels": {**labels, "app": _LABEL}},
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "dnsPolicy": "Default",
            "terminationGracePeriodSeconds": 0,
            "tolerations": [{"operator": "Exists"}],
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "probe",
                    "image": made.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["/bin/probe", "serve", "-port", str(PORT), "-name", name],
                    "ports": [{"name": "probe", "containerPort": PORT}],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                }
            ],
        },
    }


def service(name: str, namespace: str, selector: Mapping[str, str], **spec: Any) -> dict[str, Any]:
    """A service on TCP and UDP port 80 in front of the selected servers."""
    ports = [
        {"name": protocol.lower(), "protocol": protocol, "port": 80, "targetPort": PORT} for protocol in ("TCP", "UDP")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": _LABEL}},
        "spec": {"selector": dict(selector), "ports": ports, "ipFamilyPolicy": "PreferDualStack", **spec},
    }


def actor_service(actor: Actor, namespace: str, external: Sequence[str] = ()) -> dict[str, Any]:
    """The service before one actor, reachable in every way."""
    extra = {"externalIPs": list(external)} if external else {}
    return service(f"to-{actor.name}", namespace, {_LABEL: actor.name}, type="LoadBalancer", **extra)


def read_service(item: Mapping[str, Any]) -> Service:
    """What the API made of a service."""
    spec, ingress = item["spec"], item.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    return Service(
        item["metadata"]["name"].removeprefix("to-"),
        {
            "cluster-ip": tuple(ip for ip in spec.get("clusterIPs", ()) if ip != "None"),
            "external-ip": tuple(spec.get("externalIPs", ())),
            "load-balancer": tuple(each["ip"] for each in ingress if "ip" in each),
        },
        {port["protocol"].lower(): port["nodePort"] for port in spec["ports"] if "nodePort" in port},
    )


def family(ip: str) -> str:
    """``IPv4`` or ``IPv6``."""
    return f"IPv{ipaddress.ip_address(ip).version}"
