# SPDX-License-Identifier: Apache-2.0
"""What pods claim of a DPU, read from their annotations, and whose claim stands. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from ashore import kube
from ashore.agent import bandwidth, seam
from ashore.api import annotations, names, net
from ashore.kube import objects

_FINISHED = ("Succeeded", "Failed")


class Wrong(ValueError):  # noqa: N818 (a finding about data)
    """A pod's claim can't be right as it stands; the text says why, for people."""


class Function(NamedTuple):
    """A virtual function by the numbers that both ends know it by."""

    pf: int
    vf: int

    def __str__(self) -> str:
        return f"VF {self.vf} of PF {self.pf}"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A live pod that wants a function plugged; ``network`` is None until the controller has given addresses.

    ``problem`` says why it may not be plugged anew; what is plugged already stays, as limits hold from ADD on.
    """

    pod: net.PodKey
    uid: str
    created: str
    function: Function
    sandbox: str
    vf_netdev_name: str
    network: annotations.PodNetwork | None
    limits: bandwidth.Limits
    problem: str = ""

    def request(self, representor: str, network: annotations.PodNetwork) -> seam.PlugRequest:
        """The claim as the plugger takes it; ``vf-netdev-name`` is the representor's, as health checks expect it."""
        return seam.PlugRequest(
            pod=self.pod,
            pod_uid=self.uid,
            sandbox=self.sandbox,
            network=network,
            representor=representor,
            vf_netdev_name=representor,
            ingress_bps=self.limits.ingress_bps,
            egress_bps=self.limits.egress_bps,
        )


def is_live(pod: objects.Pod) -> bool:
    """Whether the pod may hold a representor."""
    return pod.status.phase not in _FINISHED


def pod_key(pod: objects.Pod) -> net.PodKey:
    """The pod's key."""
    return net.PodKey(pod.metadata.namespace, pod.metadata.name)


def read_claim(pod: objects.Pod, host: str) -> Claim | None:
    """What the pod claims; None when it claims nothing (any more).

    Raises:
        Wrong: the claim is malformed, or of a pod that isn't this DPU's.
    """
    text = pod.metadata.annotations.get(annotations.CONNECTION_DETAILS, "")
    if not text or pod.spec.host_network or not is_live(pod):
        return None
    key = pod_key(pod)
    if pod.spec.node_name != host:
        raise Wrong(f"pod {key} runs on {pod.spec.node_name or 'no node'}, and this DPU serves {host} alone")
    try:
        details = annotations.decode_details(text).get(names.DEFAULT_NETWORK)
        if details is None:
            return None
        networks = annotations.decode_pod_networks(pod.metadata.annotations.get(annotations.POD_NETWORKS) or "{}")
    except annotations.Malformed as error:
        raise Wrong(f"pod {key}: {error}") from error
    problem = bandwidth.problem(pod)
    return Claim(
        pod=key,
        uid=pod.metadata.uid,
        created=pod.metadata.creation_timestamp or "",
        function=_function(key, details),
        sandbox=details.sandbox_id,
        vf_netdev_name=details.vf_netdev_name,
        network=networks.get(names.DEFAULT_NETWORK),
        limits=bandwidth.Limits() if problem else bandwidth.read(pod),
        problem=problem,
    )


def rightful(claim: Claim, pods: Iterable[objects.Pod], host: str, holder_uid: str) -> Claim:
    """Whose the claimed function is: the claimant that holds it, else the oldest one."""
    rivals = [claim]
    for pod in pods:
        if pod.metadata.uid == claim.uid:
            continue
        try:
            other = read_claim(pod, host)
        except Wrong:
            continue
        if other is not None and other.function == claim.function:
            rivals.append(other)
    return min(rivals, key=lambda rival: (rival.uid != holder_uid, rival.created, rival.uid))


def management_function(node: objects.Node) -> Function | None:
    """The function of the host's management port, once the host has said so. Raises Wrong."""
    text = node.metadata.annotations.get(annotations.NODE_MGMT_PORT, "")
    try:
        port = annotations.decode_management_port(text).get(names.DEFAULT_NETWORK) if text else None
    except annotations.Malformed as error:
        raise Wrong(f"node {node.metadata.name}: {error}") from error
    return Function(port.pf_id, port.func_id) if port else None


def owners(pods: Iterable[objects.Pod]) -> frozenset[str]:
    """UIDs of the pods that may hold a representor."""
    return frozenset(pod.metadata.uid for pod in pods if is_live(pod))


def status_of(pod: objects.Pod) -> dict[str, annotations.ConnectionStatus]:
    """What ``connection-status`` says now; what can't be read is as good as nothing."""
    try:
        return annotations.decode_status(pod.metadata.annotations.get(annotations.CONNECTION_STATUS) or "{}")
    except annotations.Malformed:
        return {}


def informer_selector(host: str) -> str:
    """The field selector that gives this host's pods alone."""
    return f"spec.nodeName={host}"


def _function(key: net.PodKey, details: annotations.ConnectionDetails) -> Function:
    if not all(text.isascii() and text.isdigit() and len(text) <= 4 for text in (details.pf_id, details.vf_id)):  # noqa: PLR2004 (more than any NIC has)
        raise Wrong(f"pod {key}: connection-details name PF {details.pf_id!r}, VF {details.vf_id!r}; want two numbers")
    if not details.sandbox_id:
        raise Wrong(f"pod {key}: connection-details name no sandboxId")
    return Function(int(details.pf_id), int(details.vf_id))


def object_key(key: net.PodKey) -> kube.ObjectKey:
    """The pod's key in an informer's store."""
    return kube.ObjectKey(key.namespace, key.name)
