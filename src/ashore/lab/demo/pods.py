# SPDX-License-Identifier: Apache-2.0
"""The demonstration's pods: made by manifest, scheduled by the scheduler, ready by the kubelet's own probe."""

from collections.abc import Iterable
from typing import Any

import msgspec

from ashore.lab.demo import hands

NAMESPACE = "ashore-demo"
PORT = 7000
IMAGE = "lab.local/demo:1"


class Place(msgspec.Struct, frozen=True):
    """A pod that is wanted on a node."""

    pod: str
    node: str


class DemoPod(msgspec.Struct, frozen=True):
    """A running pod."""

    name: str
    node: str
    ips: tuple[str, ...]


def places(host_nodes: Iterable[str], full_nodes: Iterable[str]) -> tuple[Place, ...]:
    """Two pods on the first node of each kind, so that "same node" is among the pairs; one on each other."""
    found = []
    for nodes in (tuple(host_nodes), tuple(full_nodes)):
        for index, node in enumerate(nodes):
            found += [Place(f"{node}-{letter}", node) for letter in ("ab" if index == 0 else "a")]
    return tuple(found)


def manifest(place: Place) -> dict[str, Any]:
    """A pod that echoes on TCP and UDP port 7000 of both families."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": place.pod, "namespace": NAMESPACE, "labels": {"app": "ashore-demo"}},
        "spec": {
            "nodeSelector": {"kubernetes.io/hostname": place.node},
            "terminationGracePeriodSeconds": 0,
            # The lab has no cluster DNS yet; "Default" says so, where "ClusterFirst" earns a warning Event.
            "dnsPolicy": "Default",
            "containers": [
                {
                    "name": "probe",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["/bin/probe", "serve", "-port", str(PORT)],
                    "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                }
            ],
        },
    }


async def bring_up(lab: hands.Hands, wanted: Iterable[Place], *, timeout_s: float = 90) -> tuple[DemoPod, ...]:
    """Make the pods that are missing and wait until the kubelets call all of them ready. Raises CommandFailed."""
    items: list[dict[str, Any]] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}]
    items += [manifest(place) for place in wanted]
    listing = {"apiVersion": "v1", "kind": "List", "items": items}
    await lab.kubectl("apply", "-f", "-", stdin=msgspec.json.encode(listing).decode())
    selected = ("-n", NAMESPACE, "pod", "-l", "app=ashore-demo")
    await lab.kubectl(
        "wait", "--for=condition=Ready", *selected, f"--timeout={timeout_s:.0f}s", timeout_s=timeout_s + 10
    )
    found = msgspec.json.decode(await lab.kubectl("get", *selected, "-o", "json"))
    return tuple(
        DemoPod(
            item["metadata"]["name"],
            item["spec"]["nodeName"],
            tuple(entry["ip"] for entry in item["status"].get("podIPs", ())),
        )
        for item in found["items"]
    )
